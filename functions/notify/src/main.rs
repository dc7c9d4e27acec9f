//! Kafka, every event of payments and `settlement.closed`: notes what merchants are to be told.

mod event;
mod ingest;

use std::{env, sync::Arc};

use consumer::Batch;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use signature::KeyFile;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let pool = db::pool(db::url_from_file("DATABASE_URL_NOTIFY_FILE")?);
    let path = env::var("KEYS_FILE").map_err(|_| "KEYS_FILE must name the file of keys")?;
    let keys = Arc::new(KeyFile::open(path)?);
    let handler = service_fn(move |event: LambdaEvent<Batch>| {
        let (pool, keys) = (pool.clone(), Arc::clone(&keys));
        async move { Ok::<_, Error>(ingest::run(&pool, &keys.ring(), event.payload).await?) }
    });
    lambda_runtime::run_concurrent(handler).await
}
