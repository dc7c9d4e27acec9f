//! SQL of `dlq_decision`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::{broker::SCAN_MAX, letter::LetterId, topic::DeadLetterTopic};

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Replayed,
    Purged,
}

impl Status {
    /// As the database and the API have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Replayed => "REPLAYED",
            Self::Purged => "PURGED",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Replayed, Self::Purged]
            .into_iter()
            .find(|it| it.name() == name)
    }
}

/// Who decided what about a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) status: Status,
    /// The signing key of who decided.
    pub(crate) key_id: String,
    pub(crate) reason: Option<String>,
    pub(crate) time: DateTime<Utc>,
}

type Row = (i32, i64, String, String, Option<String>, DateTime<Utc>);

/// What was decided about the letters of a topic after a place, as many as one scan meets.
pub(crate) async fn of_topic(
    db: &mut MySqlConnection,
    topic: &DeadLetterTopic,
    after: Option<LetterId>,
) -> sqlx::Result<HashMap<LetterId, Decision>> {
    let after = after.unwrap_or(LetterId {
        partition: -1,
        offset: -1,
    });
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT kafka_partition, kafka_offset, status, key_id, reason, decided_at
           FROM dlq_decision
          WHERE topic = ? AND (kafka_partition, kafka_offset) > (?, ?)
          ORDER BY kafka_partition, kafka_offset LIMIT ?",
    )
    .bind(&topic.name)
    .bind(after.partition)
    .bind(after.offset)
    .bind(SCAN_MAX)
    .fetch_all(db)
    .await?;
    let decision = |(partition, offset, status, key_id, reason, time): Row| {
        let status = Status::parse(&status)
            .ok_or_else(|| sqlx::Error::Decode(format!("status {status}").into()))?;
        let decision = Decision {
            status,
            key_id,
            reason,
            time,
        };
        Ok((LetterId { partition, offset }, decision))
    };
    rows.into_iter().map(decision).collect()
}

/// Decides the same about letters that nobody has decided about.
pub(crate) async fn insert(
    db: &mut MySqlConnection,
    topic: &DeadLetterTopic,
    ids: &[LetterId],
    decision: &Decision,
) -> sqlx::Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<MySql>::new(
        "INSERT INTO dlq_decision (topic, kafka_partition, kafka_offset, status, key_id, reason, \
             decided_at) ",
    );
    query.push_values(ids, |mut row, id| {
        row.push_bind(&topic.name)
            .push_bind(id.partition)
            .push_bind(id.offset)
            .push_bind(decision.status.name())
            .push_bind(&decision.key_id)
            .push_bind(&decision.reason)
            .push_bind(decision.time);
    });
    query.build().execute(db).await?;
    Ok(())
}
