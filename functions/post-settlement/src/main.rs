//! Kafka, `settlement.closed`: posts what a settlement takes and pays out in the payment ledger.

mod event;

use consumer::Batch;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use post::Counters;

use crate::event::journal;

const COUNTERS: Counters = Counters {
    posted: "settlements_posted_total",
    refused: "settlements_refused_total",
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let pool = db::pool(db::url_from_file("DATABASE_URL_PAYMENT_FILE")?);
    let handler = service_fn(move |event: LambdaEvent<Batch>| {
        let pool = pool.clone();
        async move { Ok::<_, Error>(post::run(&pool, &event.payload, journal, COUNTERS).await?) }
    });
    lambda_runtime::run_concurrent(handler).await
}
