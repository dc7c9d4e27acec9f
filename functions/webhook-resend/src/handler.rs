use chrono::Utc;
use guard::{Answer, Call, Role};
use keyed::{Begun, Keyed};
use problem::{Code, Problem};
use sqlx::{MySqlConnection, mysql::MySqlConnectOptions};
use uuid::Uuid;
use webhook::{WebhookView, delivery_table};

use crate::{FUNCTION, ResendRequest};

/// Has a webhook sent now, whatever became of it, under the same id; the schedule begins again.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/webhooks/{webhookId}/resend", tag = "webhooks",
    params(("webhookId" = String, Path)), request_body = Option<ResendRequest>,
    responses((status = 200, description = "The webhook, in PENDING", body = WebhookView))
)]
pub async fn resend(database: MySqlConnectOptions, call: Call) -> Result<Answer, Problem> {
    let ResendRequest {} = call.json_or_default()?;
    let mut keyed = match Keyed::begin(&database, FUNCTION, &call).await? {
        Begun::Now(keyed) => keyed,
        Begun::Before(answer) => return Ok(answer),
    };
    let webhook = begin_anew(keyed.session.db(), &call).await?;
    keyed.finish(200, &webhook).await
}

async fn begin_anew(db: &mut MySqlConnection, call: &Call) -> Result<WebhookView, Problem> {
    let not_found = || {
        let detail = "The path names no webhook of this merchant.";
        Problem::new(Code::WebhookNotFound, detail)
    };
    let id = webhook_id(call).ok_or_else(not_found)?;
    let allowed = |merchant_id: &str| match call.caller.role {
        Role::Operator => true,
        Role::Merchant => call.caller.merchant_id == merchant_id,
    };
    let found = delivery_table::find(db, id).await.map_err(unavailable)?;
    found
        .filter(|row| allowed(&row.merchant_id))
        .ok_or_else(not_found)?;
    let begun = delivery_table::resend(db, id, Utc::now()).await;
    begun.map_err(unavailable)?;
    let row = delivery_table::find(db, id).await.map_err(unavailable)?;
    row.map(WebhookView::from).ok_or_else(not_found)
}

fn webhook_id(call: &Call) -> Option<Uuid> {
    let path = call.path.strip_prefix("/webhooks/")?;
    path.strip_suffix("/resend")?.parse().ok()
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unavailable(error: sqlx::Error) -> Problem {
    tracing::error!(error = %error, "the notify database cannot be used");
    Problem::unavailable()
}
