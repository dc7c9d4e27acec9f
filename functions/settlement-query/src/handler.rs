use guard::{Answer, Call, Role, query::parse};
use problem::{Code, Problem};
use serde::Serialize;
use settlement::{Batch, SettlementId, SettlementView, batch_table, item_table};
use sqlx::{MySqlConnection, MySqlPool};
use utoipa::ToSchema;

use crate::{ItemView, ItemsRequest, ListRequest};

/// A page of settlements, the newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettlementList {
    data: Vec<SettlementView>,
    /// Whether there are older ones: ask again with `after` set to the last `settlementId`.
    has_more: bool,
}

/// A page of a settlement's items, by payment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemList {
    data: Vec<ItemView>,
    /// Whether there are more: ask again with `after` set to the last `itemId`.
    has_more: bool,
}

/// Answers whichever of the three routes was asked.
///
/// # Errors
/// The problems of the route.
pub async fn query(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    match call.path.split('/').collect::<Vec<_>>()[..] {
        ["", "settlements"] => list(pool, call).await,
        ["", "settlements", settlement_id] => get(pool, &call, settlement_id).await,
        ["", "settlements", settlement_id, "items"] => items(pool, &call, settlement_id).await,
        _ => Err(Problem::new(Code::RouteNotFound, "There is no such route.")),
    }
}

/// The caller's settlements, newest first; an operator sees every merchant's.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/settlements", tag = "settlements", params(ListRequest),
    responses((status = 200, description = "A page of settlements", body = SettlementList))
)]
pub async fn list(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    let asked: ListRequest = parse(call.query.as_deref())?;
    let limit = asked.limit()?;
    let filter = asked.filter(own(&call).map(str::to_owned))?;
    let mut batches = read(&pool, move |db| {
        Box::pin(async move { batch_table::list(db, &filter, limit + 1).await })
    })
    .await?;
    let has_more = batches.len() > limit as usize;
    batches.truncate(limit as usize);
    let data = batches.iter().map(SettlementView::from).collect();
    Answer::json(&SettlementList { data, has_more })
}

/// One settlement.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/settlements/{settlementId}", tag = "settlements",
    params(("settlementId" = String, Path)),
    responses((status = 200, description = "The settlement", body = SettlementView))
)]
pub async fn get(pool: MySqlPool, call: &Call, settlement_id: &str) -> Result<Answer, Problem> {
    call.no_query()?;
    let batch = find(&pool, call, settlement_id).await?;
    Answer::json(&SettlementView::from(&batch))
}

/// The captures and refunds that a settlement holds, with what is kept of each.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/settlements/{settlementId}/items", tag = "settlements",
    params(("settlementId" = String, Path), ItemsRequest),
    responses((status = 200, description = "A page of items", body = ItemList))
)]
pub async fn items(pool: MySqlPool, call: &Call, settlement_id: &str) -> Result<Answer, Problem> {
    let asked: ItemsRequest = parse(call.query.as_deref())?;
    let (limit, after) = (asked.limit()?, asked.after()?);
    let id = find(&pool, call, settlement_id).await?.id;
    let mut rows = read(&pool, move |db| {
        Box::pin(item_table::of_batch(db, id, after, limit + 1))
    })
    .await?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let data = rows.into_iter().map(ItemView::from).collect();
    Answer::json(&ItemList { data, has_more })
}

/// The one merchant whose settlements the caller sees; `None` for all.
fn own(call: &Call) -> Option<&str> {
    match call.caller.role {
        Role::Operator => None,
        Role::Merchant => Some(&call.caller.merchant_id),
    }
}

async fn find(pool: &MySqlPool, call: &Call, settlement_id: &str) -> Result<Batch, Problem> {
    let not_found = || {
        let detail = "The path names no settlement of this merchant.";
        Problem::new(Code::SettlementNotFound, detail)
    };
    let id: SettlementId = settlement_id.parse().map_err(|_| not_found())?;
    let found = read(pool, move |db| Box::pin(batch_table::find(db, id))).await?;
    found
        .filter(|batch| batch.closed)
        .filter(|batch| own(call).is_none_or(|own| own == batch.book.merchant_id))
        .ok_or_else(not_found)
}

async fn read<T, F>(pool: &MySqlPool, work: F) -> Result<T, Problem>
where
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> db::Work<'c, T, sqlx::Error>,
{
    db::session(pool, work).await.map_err(|error| {
        tracing::error!(error = %error, "the settlement database did not answer");
        Problem::unavailable()
    })
}
