use guard::{Answer, Call};
use problem::{Code, Problem};
use recon::{
    FileId, ItemId, StatementFile, case_table, file_table,
    item_table::{self, Filter},
};
use serde::Serialize;
use sqlx::{MySqlConnection, MySqlPool};
use utoipa::ToSchema;

use crate::{FileView, ItemDetail, ItemView, ItemsRequest};

/// A page of items: rows by file and line, then what is missing in files.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReconItemList {
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
        ["", "recon", "files", file_id] => file(pool, &call, file_id).await,
        ["", "recon", "items"] => items(pool, call).await,
        ["", "recon", "items", item_id] => item(pool, &call, item_id).await,
        _ => Err(Problem::new(Code::RouteNotFound, "There is no such route.")),
    }
}

/// How far a file is, and how many of its items have which result.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/recon/files/{fileId}", tag = "reconciliation",
    params(("fileId" = String, Path)),
    responses((status = 200, description = "The file", body = FileView))
)]
pub async fn file(pool: MySqlPool, call: &Call, file_id: &str) -> Result<Answer, Problem> {
    call.no_query()?;
    let id = file_id.parse().map_err(|_| not_found())?;
    let file = find(&pool, id).await?;
    let no = file.no;
    let counts = read(&pool, move |db| Box::pin(item_table::counts(db, no))).await?;
    Answer::json(&FileView::new(file, counts))
}

/// What was reconciled, both sides of it, with the result and its reason.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/recon/items", tag = "reconciliation", params(ItemsRequest),
    responses((status = 200, description = "A page of items", body = ReconItemList))
)]
pub async fn items(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    let asked = ItemsRequest::parse(call.query.as_deref())?;
    let limit = asked.limit()?;
    let mut filter = Filter {
        file_no: None,
        result: asked.result()?,
        standing: asked.standing()?,
        after: asked.after()?,
    };
    if let Some(id) = asked.file_id()? {
        filter.file_no = Some(find(&pool, id).await?.no);
    }
    let mut items = read(&pool, move |db| {
        Box::pin(async move { item_table::list(db, &filter, limit + 1).await })
    })
    .await?;
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let data = items.iter().filter_map(ItemView::new).collect();
    Answer::json(&ReconItemList { data, has_more })
}

/// One item, with what was decided about it.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/recon/items/{itemId}", tag = "reconciliation",
    params(("itemId" = String, Path)),
    responses((status = 200, description = "The item", body = ItemDetail))
)]
pub async fn item(pool: MySqlPool, call: &Call, item_id: &str) -> Result<Answer, Problem> {
    call.no_query()?;
    let not_found = || Problem::new(Code::ItemNotFound, "There is no such item.");
    let id: ItemId = item_id.parse().map_err(|_| not_found())?;
    let found = read(&pool, move |db| {
        Box::pin(async move {
            let Some(item) = item_table::find(db, id).await? else {
                return Ok(None);
            };
            let cases = case_table::of_item(db, id).await?;
            Ok(ItemDetail::new(&item, &cases))
        })
    });
    Answer::json(&found.await?.ok_or_else(not_found)?)
}

async fn find(pool: &MySqlPool, id: FileId) -> Result<StatementFile, Problem> {
    let found = read(pool, move |db| Box::pin(file_table::find(db, id))).await?;
    found.ok_or_else(not_found)
}

fn not_found() -> Problem {
    Problem::new(Code::FileNotFound, "There is no such file.")
}

async fn read<T, F>(pool: &MySqlPool, work: F) -> Result<T, Problem>
where
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> db::Work<'c, T, sqlx::Error>,
{
    db::session(pool, work).await.map_err(|error| {
        tracing::error!(error = %error, "the reconciliation database did not answer");
        Problem::unavailable()
    })
}
