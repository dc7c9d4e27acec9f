use guard::{Answer, Call, Role, query::parse};
use problem::{Code, Problem};
use serde::Serialize;
use sqlx::{MySqlConnection, MySqlPool};
use utoipa::ToSchema;
use uuid::Uuid;
use webhook::{WebhookDetail, WebhookView, attempt_table, delivery_table};

use crate::ListRequest;

/// Most attempts shown of a webhook.
const ATTEMPTS_MAX: u32 = 100;

/// A page of webhooks, those of the newest events first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookList {
    data: Vec<WebhookView>,
    /// Whether there are older ones: ask again with `after` set to the last `webhookId`.
    has_more: bool,
}

/// Answers whichever of the two routes was asked.
///
/// # Errors
/// The problems of the route.
pub async fn query(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    match call.path.split('/').collect::<Vec<_>>()[..] {
        ["", "webhooks"] => list(pool, call).await,
        ["", "webhooks", webhook_id] => get(pool, &call, webhook_id).await,
        _ => Err(Problem::new(Code::RouteNotFound, "There is no such route.")),
    }
}

/// The caller's webhooks, those of the newest events first; an operator sees every merchant's.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", params(ListRequest),
    responses((status = 200, description = "A page of webhooks", body = WebhookList))
)]
pub async fn list(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    let asked: ListRequest = parse(call.query.as_deref())?;
    let limit = asked.limit()?;
    let filter = asked.filter(own(&call).map(str::to_owned))?;
    let mut rows = read(&pool, move |db| {
        Box::pin(async move { delivery_table::list(db, &filter, limit + 1).await })
    })
    .await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let data = rows.into_iter().map(WebhookView::from).collect();
    Answer::json(&WebhookList { data, has_more })
}

/// One webhook with its attempts.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/webhooks/{webhookId}", tag = "webhooks", params(("webhookId" = String, Path)),
    responses((status = 200, description = "The webhook", body = WebhookDetail))
)]
pub async fn get(pool: MySqlPool, call: &Call, webhook_id: &str) -> Result<Answer, Problem> {
    call.no_query()?;
    let not_found = || {
        let detail = "The path names no webhook of this merchant.";
        Problem::new(Code::WebhookNotFound, detail)
    };
    let id: Uuid = webhook_id.parse().map_err(|_| not_found())?;
    let (found, attempts) = read(&pool, move |db| {
        Box::pin(async move {
            let found = delivery_table::find(db, id).await?;
            Ok((found, attempt_table::of(db, id, ATTEMPTS_MAX).await?))
        })
    })
    .await?;
    let row = found
        .filter(|row| own(call).is_none_or(|own| own == row.merchant_id))
        .ok_or_else(not_found)?;
    Answer::json(&WebhookDetail::new(row, attempts))
}

/// The one merchant whose webhooks the caller sees; `None` for all.
fn own(call: &Call) -> Option<&str> {
    match call.caller.role {
        Role::Operator => None,
        Role::Merchant => Some(&call.caller.merchant_id),
    }
}

async fn read<T, F>(pool: &MySqlPool, work: F) -> Result<T, Problem>
where
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> db::Work<'c, T, sqlx::Error>,
{
    db::session(pool, work).await.map_err(|error| {
        tracing::error!(error = %error, "the notify database did not answer");
        Problem::unavailable()
    })
}
