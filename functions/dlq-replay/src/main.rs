//! Starts the function.

use dlq_replay::{Broker, Desk};
use guard::{Guard, Policy, Role, Takes};
use http::Method;
use invoke::Functions;
use lambda_http::{Error, Request, run_concurrent, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let guard = Guard::from_env().await?;
    let database = db::url_from_file("DATABASE_URL_DLQ_FILE")?;
    let desk = Desk {
        pool: db::pool(database.clone()),
        database,
        broker: Broker::from_env()?,
        functions: Functions::from_env()?,
    };
    run_concurrent(service_fn(move |request: Request| {
        let (guard, desk) = (guard.clone(), desk.clone());
        async move {
            let takes = if request.method() == Method::POST {
                Takes::Json
            } else {
                Takes::Nothing
            };
            let policy = Policy {
                roles: &[Role::Operator],
                takes,
            };
            guard::serve(&guard, policy, request, |call| {
                dlq_replay::answer(desk, call)
            })
            .await
        }
    }))
    .await
}
