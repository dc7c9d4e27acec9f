use chrono::Utc;
use guard::{Answer, Call};
use keyed::{Begun, Keyed};
use problem::Problem;
use recon::{Cause, DecisionView, ItemId, Operator, Standing};
use sqlx::mysql::MySqlConnectOptions;

use crate::{FUNCTION, ResolveRequest, decide::decide, error::ResolveError};

/// Decides about an item. What is worth more than one operator decides alone waits for another one: the
/// item is `PENDING` until that one approves or rejects it.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/recon/items/{itemId}/resolve", tag = "reconciliation",
    params(("itemId" = String, Path)), request_body = ResolveRequest,
    responses(
        (status = 200, description = "The decision, which has taken effect", body = DecisionView),
        (status = 202, description = "The decision, which waits for a second operator", body = DecisionView),
    )
)]
pub async fn resolve(database: MySqlConnectOptions, call: Call) -> Result<Answer, Problem> {
    let (asked, reason) = call.json::<ResolveRequest>()?.parts()?;
    let item_id = item_id(&call).ok_or(ResolveError::NoItem)?;
    let keyed = match Keyed::begin(&database, FUNCTION, &call).await? {
        Begun::Now(keyed) => keyed,
        Begun::Before(answer) => return Ok(answer),
    };
    let cause = Cause {
        by: Operator {
            key_id: call.caller.key_id.clone(),
            holder: call.caller.merchant_id.clone(),
        },
        reason,
        traceparent: call.trace.traceparent(),
        request: Some(keyed.request(&call)),
        now: Utc::now(),
    };
    let decided = keyed.once(move |tx| {
        Box::pin(async move {
            let decision = decide(tx, item_id, asked, &cause).await?;
            let waits = decision.after.status == Some(Standing::Pending);
            let status = if waits { 202 } else { 200 };
            Ok::<_, ResolveError>((status, DecisionView::from(&decision)))
        })
    });
    let answer = decided.await?;
    metrics::counter!("recon_decisions_total", "action" => asked.action().name()).increment(1);
    Ok(answer)
}

fn item_id(call: &Call) -> Option<ItemId> {
    let path = call.path.strip_prefix("/recon/items/")?;
    path.strip_suffix("/resolve")?.parse().ok()
}
