//! Starts the function.

use guard::{Guard, Policy, Role, Takes};
use lambda_http::{Error, Request, run_concurrent, service_fn};

const POLICY: Policy = Policy {
    roles: &[Role::Merchant, Role::Operator],
    takes: Takes::Nothing,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let guard = Guard::from_env().await?;
    let pool = db::pool(db::url_from_file("DATABASE_URL_NOTIFY_FILE")?);
    run_concurrent(service_fn(move |request: Request| {
        let (guard, pool) = (guard.clone(), pool.clone());
        async move {
            guard::serve(&guard, POLICY, request, |call| {
                webhook_query::query(pool, call)
            })
            .await
        }
    }))
    .await
}
