//! Invoked by other services: what was captured and refunded of each merchant and day, as the ledger
//! has it.

mod totals;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use settlement::control::Asked;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let pool = db::pool(db::url_from_file("DATABASE_URL_PAYMENT_FILE")?);
    let handler = service_fn(move |event: LambdaEvent<Asked>| {
        let pool = pool.clone();
        async move { Ok::<_, Error>(totals::run(&pool, event.payload).await?) }
    });
    lambda_runtime::run_concurrent(handler).await
}
