use chrono::Utc;
use outbox::{Event, event_table};
use recon::{EVENT_SOURCE, ItemId, StatementFile, file_table};
use serde_json::{Value, json};
use sqlx::MySqlConnection;
use telemetry::TraceContext;
use uuid::Uuid;

/// Items told in one event.
const ITEMS_MAX: usize = 200;
const EVENT_TYPE: &str = "recon.unmatched";

/// Tells of items that do not match, in as many events as it takes.
pub(crate) async fn unmatched(
    tx: &mut MySqlConnection,
    file: &StatementFile,
    items: &[(ItemId, String)],
) -> sqlx::Result<()> {
    for items in items.chunks(ITEMS_MAX) {
        let seq = file_table::next_seq(tx, file.no).await?;
        let items: Vec<Value> = items
            .iter()
            .map(|(item_id, result)| json!({ "itemId": item_id, "result": result }))
            .collect();
        let event = Event {
            event_id: Uuid::now_v7(),
            aggregate_type: "file",
            aggregate_id: file.id.to_string(),
            seq,
            event_type: EVENT_TYPE,
            source: EVENT_SOURCE,
            data: json!({ "fileId": file.id, "items": items, "seq": seq }),
            traceparent: TraceContext::root().traceparent(),
            request: None,
            time: Utc::now(),
        };
        event_table::append(tx, &[event]).await?;
    }
    Ok(())
}
