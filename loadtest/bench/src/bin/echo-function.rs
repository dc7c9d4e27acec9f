//! Answers with the request's body: the function of `bench router`.

use lambda_http::{Body, Error, Request, Response, run_concurrent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run_concurrent(service_fn(|request: Request| async move {
        Ok::<Response<Body>, Error>(Response::new(request.into_body()))
    }))
    .await
}
