//! Starts the function.

use guard::{Guard, Policy, Role, Takes};
use lambda_http::{Error, Request, run_concurrent, service_fn};

const POLICY: Policy = Policy {
    roles: &[Role::Operator],
    takes: Takes::Json,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let guard = Guard::from_env().await?;
    let database = db::url_from_file("DATABASE_URL_RECON_FILE")?;
    run_concurrent(service_fn(move |request: Request| {
        let (guard, database) = (guard.clone(), database.clone());
        async move {
            guard::serve(&guard, POLICY, request, |call| {
                recon_resolve::resolve(database, call)
            })
            .await
        }
    }))
    .await
}
