//! Continuous: sends webhooks to the endpoints of merchants, and again until they are taken.

mod attempt;
mod client;
mod sender;

use std::{env, num::NonZeroU32, sync::Arc};

use anyhow::Context as _;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use signature::KeyFile;
use tokio::sync::Mutex;
use webhook::{Addresses, Schedule};

use crate::{client::Client, sender::Sender};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let sender = Arc::new(Mutex::new(sender()?));
    let handler = service_fn(move |_event: LambdaEvent<Value>| {
        let sender = Arc::clone(&sender);
        async move { Ok::<_, Error>(sender.lock().await.run().await?) }
    });
    lambda_runtime::run_concurrent(handler).await
}

fn sender() -> anyhow::Result<Sender> {
    let pool = db::pool(db::url_from_file("DATABASE_URL_NOTIFY_FILE")?);
    let keys = env::var("KEYS_FILE").context("KEYS_FILE must name the file of keys")?;
    let client = Client::new(addresses()?)?;
    Ok(Sender::new(pool, KeyFile::open(keys)?, client, schedule()?))
}

/// By `WEBHOOK_PRIVATE_ALLOWED`; public ones without it.
fn addresses() -> anyhow::Result<Addresses> {
    match env::var("WEBHOOK_PRIVATE_ALLOWED").as_deref() {
        Ok("true") => Ok(Addresses::Any),
        Ok("false") | Err(_) => Ok(Addresses::Public),
        Ok(_) => anyhow::bail!("WEBHOOK_PRIVATE_ALLOWED must be true or false"),
    }
}

/// By `WEBHOOK_SCHEDULE_DIVISOR`; as the specification has it without that.
fn schedule() -> anyhow::Result<Schedule> {
    let divisor = env::var("WEBHOOK_SCHEDULE_DIVISOR").unwrap_or_else(|_| "1".to_owned());
    let divisor: NonZeroU32 = divisor
        .parse()
        .context("WEBHOOK_SCHEDULE_DIVISOR must be a number from 1")?;
    Ok(Schedule::faster(divisor))
}
