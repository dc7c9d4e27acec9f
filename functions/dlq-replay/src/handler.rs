use std::{collections::HashMap, ops::ControlFlow};

use chrono::{TimeDelta, Utc};
use guard::{Answer, Call};
use http::Method;
use idempotency::{REPLY_KEPT_DAYS, table as idem_table};
use invoke::Functions;
use keyed::{Begun, Keyed};
use problem::{Code, Problem};
use serde::Serialize;
use sqlx::{MySqlPool, mysql::MySqlConnectOptions};
use utoipa::ToSchema;

use crate::{
    Broker, FUNCTION, LetterView, ListRequest, PurgeRequest, ReplayRequest,
    decision_table::{self, Decision},
    error::DlqError,
    letter::{Entry, Letter, LetterId},
    replay::Case,
    request::Page,
    topic::DeadLetterTopic,
};

/// Bytes of letters on a page, the last one aside.
const PAGE_BYTES_MAX: usize = 512 * 1024;
/// Replies purged in one run; more is left to the next one.
const PURGE_ROWS_MAX: u32 = 10_000;

/// Where letters, decisions and functions are; cheap to clone.
#[derive(Clone)]
pub struct Desk {
    /// The database, for a session of its own.
    pub database: MySqlConnectOptions,
    /// The same database.
    pub pool: MySqlPool,
    /// Kafka.
    pub broker: Broker,
    /// Whom letters are given again.
    pub functions: Functions,
}

/// A page of dead letters, by partition and offset.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LetterList {
    data: Vec<LetterView>,
    /// Whether there are more: ask again with `after` set to the last `letterId`.
    has_more: bool,
}

/// What came of a replay.
#[derive(Serialize, ToSchema)]
pub struct ReplayReport {
    /// Letters that the function has taken now.
    replayed: usize,
    /// Letters that it could not use.
    failed: Vec<FailedLetter>,
    /// Letters that are pending.
    remaining: usize,
}

/// A letter that its function could not use again; nothing of its key went on.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailedLetter {
    letter_id: String,
    /// What went wrong.
    detail: String,
}

/// What came of a purge.
#[derive(Serialize, ToSchema)]
pub struct PurgeReport {
    /// Letters that were pending until now.
    purged: usize,
    /// Letters that are pending.
    remaining: usize,
}

/// Answers whichever of the three routes was asked.
///
/// # Errors
/// The problems of the route.
pub async fn answer(desk: Desk, call: Call) -> Result<Answer, Problem> {
    let path = call.path.clone();
    let parts: Vec<_> = path.split('/').collect();
    match (&call.method, &parts[..]) {
        (&Method::GET, ["", "dlq", topic]) => list(desk, call, topic).await,
        (&Method::POST, ["", "dlq", topic, "replay"]) => replay(desk, call, topic).await,
        (&Method::POST, ["", "dlq", topic, "purge"]) => purge(desk, call, topic).await,
        _ => Err(Problem::new(Code::RouteNotFound, "There is no such route.")),
    }
}

/// The letters of a dead-letter topic.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/dlq/{topic}", tag = "dead letters",
    params(("topic" = String, Path, example = "payment.captured.settlement-ingest.dlq"), ListRequest),
    responses((status = 200, description = "A page of dead letters", body = LetterList))
)]
pub async fn list(desk: Desk, call: Call, topic: &str) -> Result<Answer, Problem> {
    let page = ListRequest::page(call.query.as_deref())?;
    let topic = named(topic)?;
    let asked = topic.clone();
    let decisions = db::session(&desk.pool, move |db| {
        Box::pin(async move { decision_table::of_topic(db, &asked, page.after).await })
    });
    let decisions = decisions.await.map_err(DlqError::from)?;
    let shelf = Shelf::new(page, decisions);
    let shelf = desk.broker.scan(&topic, page.after, shelf, Shelf::take);
    let Shelf {
        found, has_more, ..
    } = shelf.await?;
    let data = found
        .into_iter()
        .map(|(letter, decision)| LetterView::new(&topic, letter, decision))
        .collect();
    Answer::json(&LetterList { data, has_more })
}

/// Gives the function of a dead-letter topic its letters again, in their order.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/dlq/{topic}/replay", tag = "dead letters", request_body = Option<ReplayRequest>,
    params(("topic" = String, Path, example = "payment.captured.settlement-ingest.dlq")),
    responses((status = 200, description = "What came of it", body = ReplayReport))
)]
pub async fn replay(desk: Desk, call: Call, topic: &str) -> Result<Answer, Problem> {
    let ids = call.json_or_default::<ReplayRequest>()?.ids()?;
    let topic = named(topic)?;
    let mut keyed = match Keyed::begin(&desk.database, FUNCTION, &call).await? {
        Begun::Now(keyed) => keyed,
        Begun::Before(answer) => return Ok(answer),
    };
    take_turn(&mut keyed).await?;
    let case = Case {
        desk: &desk,
        topic: &topic,
        key_id: &call.caller.key_id,
    };
    let done = case.replay(keyed.session.db(), ids).await?;
    tracing::info!(
        dlq.topic = topic.name,
        dlq.replayed = done.replayed,
        dlq.failed = done.failed.len(),
        dlq.remaining = done.remaining,
        "replayed"
    );
    let failed = done.failed.into_iter().map(|(id, detail)| FailedLetter {
        letter_id: id.to_string(),
        detail,
    });
    let replayed = ReplayReport {
        replayed: done.replayed,
        failed: failed.collect(),
        remaining: done.remaining,
    };
    keyed.finish(200, &replayed).await
}

/// Gives letters up for good, and says why.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/dlq/{topic}/purge", tag = "dead letters", request_body = PurgeRequest,
    params(("topic" = String, Path, example = "payment.captured.settlement-ingest.dlq")),
    responses((status = 200, description = "What came of it", body = PurgeReport))
)]
pub async fn purge(desk: Desk, call: Call, topic: &str) -> Result<Answer, Problem> {
    let (ids, reason) = call.json::<PurgeRequest>()?.parts()?;
    let topic = named(topic)?;
    let mut keyed = match Keyed::begin(&desk.database, FUNCTION, &call).await? {
        Begun::Now(keyed) => keyed,
        Begun::Before(answer) => return Ok(answer),
    };
    take_turn(&mut keyed).await?;
    let case = Case {
        desk: &desk,
        topic: &topic,
        key_id: &call.caller.key_id,
    };
    let (purged, remaining) = case.purge(keyed.session.db(), ids, reason).await?;
    tracing::info!(
        dlq.topic = topic.name,
        dlq.purged = purged,
        dlq.remaining = remaining,
        "purged"
    );
    keyed.finish(200, &PurgeReport { purged, remaining }).await
}

/// One request at a time decides; it also clears away replies that are too old.
async fn take_turn(keyed: &mut Keyed) -> Result<(), DlqError> {
    if !keyed.session.take_turn().await? {
        return Err(DlqError::Busy);
    }
    let old = Utc::now() - TimeDelta::days(REPLY_KEPT_DAYS.into());
    idem_table::purge(keyed.session.db(), old, PURGE_ROWS_MAX).await?;
    Ok(())
}

fn named(topic: &str) -> Result<DeadLetterTopic, DlqError> {
    DeadLetterTopic::parse(topic).ok_or(DlqError::NoTopic)
}

/// Where a page is gathered.
struct Shelf {
    page: Page,
    decisions: HashMap<LetterId, Decision>,
    found: Vec<(Letter, Option<Decision>)>,
    bytes: usize,
    has_more: bool,
}

impl Shelf {
    fn new(page: Page, decisions: HashMap<LetterId, Decision>) -> Self {
        Self {
            page,
            decisions,
            found: Vec::new(),
            bytes: 0,
            has_more: false,
        }
    }

    fn take(&mut self, id: LetterId, entry: Entry) -> ControlFlow<()> {
        let Entry::Letter(letter) = entry else {
            return ControlFlow::Continue(());
        };
        let decision = self.decisions.remove(&id);
        if decision.as_ref().map(|it| it.status) != self.page.status {
            return ControlFlow::Continue(());
        }
        if self.found.len() == self.page.limit || self.bytes >= PAGE_BYTES_MAX {
            self.has_more = true;
            return ControlFlow::Break(());
        }
        self.bytes += letter.bytes();
        self.found.push((letter, decision));
        ControlFlow::Continue(())
    }
}
