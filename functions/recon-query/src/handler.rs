use guard::{Answer, Call};
use problem::{Code, Problem};
use recon::{
    FileId, StatementFile, file_table,
    item_table::{self, Filter},
};
use serde::Serialize;
use sqlx::{MySqlConnection, MySqlPool};
use utoipa::ToSchema;

use crate::{FileView, ItemView, ItemsRequest};

/// A page of items: rows by file and line, then what is missing in files.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReconItemList {
    data: Vec<ItemView>,
    /// Whether there are more: ask again with `after` set to the last `itemId`.
    has_more: bool,
}

/// Answers whichever of the two routes was asked.
///
/// # Errors
/// The problems of the route.
pub async fn query(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    match call.path.split('/').collect::<Vec<_>>()[..] {
        ["", "recon", "files", file_id] => file(pool, &call, file_id).await,
        ["", "recon", "items"] => items(pool, call).await,
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
