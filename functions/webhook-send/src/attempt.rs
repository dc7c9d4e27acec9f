use chrono::Utc;
use signature::Endpoint;
use sqlx::MySqlPool;
use uuid::Uuid;
use webhook::{Delivery, Next, NoAnswer, Schedule, Sent, delivery_table, gone_table};

use crate::client::Client;

/// Sends a webhook once and notes that. What cannot be noted is sent again when its lease is over.
pub(crate) async fn attempt(
    client: &Client,
    pool: &MySqlPool,
    schedule: Schedule,
    merchant_id: String,
    endpoint: Endpoint,
    delivery: Delivery,
) {
    let sent = client.send(&endpoint, &delivery).await;
    let webhook_id = delivery.webhook_id;
    let noted = note(pool, schedule, merchant_id, endpoint, webhook_id, sent).await;
    match noted {
        Ok(next) => told(webhook_id, sent, next),
        Err(error) => {
            tracing::error!(error = %error, webhook.id = %webhook_id, "an attempt was not noted");
        }
    }
}

async fn note(
    pool: &MySqlPool,
    schedule: Schedule,
    merchant_id: String,
    endpoint: Endpoint,
    webhook_id: Uuid,
    sent: Sent,
) -> sqlx::Result<Next> {
    db::transaction(pool, move |tx| {
        Box::pin(async move {
            let next = delivery_table::note(tx, webhook_id, sent, schedule).await?;
            if next == Next::Gone {
                gone_table::insert(tx, &merchant_id, &endpoint.url, Utc::now()).await?;
            }
            Ok(next)
        })
    })
    .await
}

fn told(webhook_id: Uuid, sent: Sent, next: Next) {
    let outcome = match sent.outcome {
        Ok(200..300) => "taken",
        Ok(_) => "not-taken",
        Err(NoAnswer::TimedOut) => "timed-out",
        Err(NoAnswer::AddressRefused) => "address-refused",
        Err(NoAnswer::Unreachable) => "unreachable",
    };
    metrics::counter!("webhook_attempts_total", "outcome" => outcome).increment(1);
    tracing::info!(
        webhook.id = %webhook_id,
        webhook.outcome = outcome,
        http.response.status_code = sent.outcome.ok(),
        webhook.next = ?next,
        "sent"
    );
}
