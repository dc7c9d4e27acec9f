//! Scheduled: ends what has run out, authorizations after 7 days and stored replies after 15.

mod expire;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let pool = db::pool(db::url_from_file("DATABASE_URL_PAYMENT_FILE")?);
    let handler = service_fn(move |_event: LambdaEvent<Value>| {
        let pool = pool.clone();
        async move { Ok::<_, Error>(expire::run(&pool).await?) }
    });
    lambda_runtime::run_concurrent(handler).await
}
