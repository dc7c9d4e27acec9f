//! Takes any event and does nothing: the function of `bench router kafka`.

use lambda_http::{
    Error, LambdaEvent,
    lambda_runtime::{run_concurrent, service_fn},
};
use serde::de::IgnoredAny;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run_concurrent(service_fn(|_: LambdaEvent<IgnoredAny>| async {
        Ok::<(), Error>(())
    }))
    .await
}
