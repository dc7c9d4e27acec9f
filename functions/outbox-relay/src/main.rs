//! Continuous: sends what is pending in the outbox of one database to Kafka, the events of each key in
//! order.

mod broker;
mod held;
mod relay;

use std::sync::Arc;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{broker::Broker, relay::Relay};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let database = db::url_from_file("DATABASE_URL_OUTBOX_FILE")?;
    let relay = Arc::new(Mutex::new(Relay::new(database, Broker::from_env()?)));
    let handler = service_fn(move |_event: LambdaEvent<Value>| {
        let relay = Arc::clone(&relay);
        async move { relay.lock().await.run().await }
    });
    lambda_runtime::run_concurrent(handler).await
}
