//! Tells what was decided.

use chrono::{DateTime, Utc};
use outbox::{Event, Request, event_table};
use serde_json::json;
use sqlx::MySqlConnection;
use uuid::Uuid;

use crate::{
    Action, Case, CaseId, EVENT_SOURCE, FileId, ItemId, MatchResult, Operator, Stake, Standing,
    State, case, case_table,
    item_table::{self, Item},
    match_table::Lines,
    row_table,
};

const EVENT_TYPE: &str = "recon.resolved";

/// Why something is decided now.
#[derive(Clone, Debug)]
pub struct Cause {
    /// Who decides.
    pub by: Operator,
    /// Why, in the operator's words.
    pub reason: String,
    /// W3C trace context.
    pub traceparent: String,
    /// The request; `None` for a schedule.
    pub request: Option<Request>,
    /// When.
    pub now: DateTime<Utc>,
}

/// Tells that a decision takes effect, with `seq` 1, or does so no longer, with 2.
///
/// # Errors
/// Those of the database.
pub async fn tell(
    tx: &mut MySqlConnection,
    decision: &Case,
    file_id: FileId,
    in_effect: bool,
    cause: &Cause,
) -> sqlx::Result<()> {
    let seq = if in_effect { 1 } else { 2 };
    let event = Event {
        event_id: Uuid::now_v7(),
        aggregate_type: "case",
        aggregate_id: decision.id.to_string(),
        seq,
        event_type: EVENT_TYPE,
        source: EVENT_SOURCE,
        data: json!({
            "caseId": decision.id, "itemId": decision.item_id, "fileId": file_id,
            "action": decision.action, "inEffect": in_effect, "result": decision.before.result,
            "transactionKey": decision.after.transaction_key,
            "stake": decision.stake.map(Stake::minor),
            "currency": decision.stake.map(Stake::currency),
            "accountOf": decision.account_of, "seq": seq,
        }),
        traceparent: cause.traceparent.clone(),
        request: cause.request.clone(),
        time: cause.now,
    };
    event_table::append(tx, &[event]).await
}

/// Takes an item out of its file, which a later one takes the place of: what was decided about it is
/// taken back, and what waits for a second operator is rejected.
///
/// # Errors
/// Those of the database.
pub async fn take_back(
    tx: &mut MySqlConnection,
    item_id: ItemId,
    cause: &Cause,
) -> sqlx::Result<()> {
    if !case_table::lock(tx, item_id).await? {
        return Ok(());
    }
    let Some(item) = item_table::find(tx, item_id).await? else {
        return Ok(());
    };
    let cases = case_table::of_item(tx, item_id).await?;
    let waiting = cases.last().filter(|it| it.waits);
    let rejected = waiting.map(|it| (Action::Reject, it));
    let holding = case::in_effect(&cases).into_iter().rev();
    let reopened = holding.map(|it| (Action::Reopen, it));
    leave(tx, item_id).await?;
    for (action, concerned) in rejected.into_iter().chain(reopened) {
        case_table::insert(tx, &undone(&item, concerned, action, cause)).await?;
        if action == Action::Reopen {
            tell(tx, concerned, item.file_id.into(), false, cause).await?;
        }
    }
    Ok(())
}

/// The item is in its file no more.
async fn leave(tx: &mut MySqlConnection, item_id: ItemId) -> sqlx::Result<()> {
    case_table::set_standing(tx, item_id, None).await?;
    match item_id {
        ItemId::Row { file_no, line } => {
            let lines = Lines {
                from: line,
                to: line,
            };
            row_table::supersede(tx, file_no, lines).await
        }
        ItemId::Transaction(key) => case_table::found(tx, key).await,
    }
}

fn undone(item: &Item, concerned: &Case, action: Action, cause: &Cause) -> Case {
    Case {
        id: CaseId::generate(),
        action,
        reason: cause.reason.clone(),
        waits: false,
        concerns: Some(concerned.id),
        by: cause.by.clone(),
        before: State::of(item),
        after: State {
            result: Some(MatchResult::Superseded),
            status: Some(Standing::Closed),
            transaction_key: None,
        },
        decided_at: cause.now,
        ..concerned.clone()
    }
}
