use chrono::NaiveDate;
use ledger::table::Row;
use outbox::event_table::Told;
use payment::{PaymentId, Status, Timestamp};
use recon::{MatchResult, verdict::Verdict};
use serde::{Deserialize, Serialize};
use settlement::settled::SettledLine;
use utoipa::ToSchema;

/// Every step of a payment, in order.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    /// The payment.
    #[schema(value_type = String)]
    payment_id: PaymentId,
    /// From the authorization on.
    data: Vec<TimelineStep>,
}

/// One change of a payment and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineStep {
    /// From 1, without a gap.
    seq: u32,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What asked for it; absent for a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TimelineRequest>)]
    request: Option<outbox::Request>,
    /// The payment's status after it.
    status: Status,
    /// What it posted.
    ledger: Vec<TimelineEntry>,
    /// What it told.
    event: TimelineEvent,
    /// How it was settled; absent until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    settlement: Option<TimelineSettlement>,
    /// What reconciliation said of it; absent while no file spoke for its day.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconciliation: Option<TimelineReconciliation>,
}

/// What a file of the acquirer said.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineReconciliation {
    result: MatchResult,
    file_id: String,
    /// The row's line; absent when the file does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// The line of a settlement. A refund's amounts are negative.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineSettlement {
    settlement_id: String,
    /// With its tax, in the currency's minor unit.
    fee: i64,
    /// What it adds to the payout.
    pay_out_amount: i64,
    /// When the merchant has the money.
    paid_out_date: NaiveDate,
}

/// The request that asked for a change.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(
    dead_code,
    reason = "describes outbox::Request, which knows nothing of OpenAPI"
)]
pub struct TimelineRequest {
    method: String,
    path: String,
    key_id: String,
    idempotency_key: String,
    /// The reason a refund was given.
    reason: Option<String>,
}

/// One ledger entry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    debit: String,
    credit: String,
    /// In the currency's minor unit.
    amount: u64,
    currency: String,
    /// The step whose entry this one reverses.
    #[serde(skip_serializing_if = "Option::is_none")]
    reverses_seq: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    posted_at: Timestamp,
}

/// One event and where the broker put it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEvent {
    id: String,
    topic: String,
    /// Absent while the event waits in the outbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    delivered_at: Option<Timestamp>,
}

/// The part of an event's payload that the timeline shows.
#[derive(Deserialize)]
struct Payload {
    data: PayloadData,
}

#[derive(Deserialize)]
struct PayloadData {
    status: Status,
}

impl Timeline {
    /// Joins a payment's events with its ledger entries, lines of settlements and what
    /// reconciliation said.
    ///
    /// # Errors
    /// When a stored event cannot be read.
    pub fn new(
        payment_id: PaymentId,
        events: Vec<Told>,
        entries: &[Row],
        lines: &[SettledLine],
        verdicts: &[Verdict],
    ) -> serde_json::Result<Self> {
        let data = events
            .into_iter()
            .map(|told| {
                let seq = told.seq;
                let posted = entries.iter().filter(|entry| entry.seq == seq);
                let ledger = posted.map(TimelineEntry::from).collect();
                let mut step = TimelineStep::new(told, ledger)?;
                let line = lines.iter().find(|line| line.seq == seq);
                step.settlement = line.map(TimelineSettlement::from);
                let verdict = verdicts.iter().find(|verdict| verdict.seq == seq);
                step.reconciliation = verdict.map(TimelineReconciliation::from);
                Ok(step)
            })
            .collect::<serde_json::Result<_>>()?;
        Ok(Self { payment_id, data })
    }
}

impl TimelineStep {
    fn new(told: Told, ledger: Vec<TimelineEntry>) -> serde_json::Result<Self> {
        let payload: Payload = serde_json::from_str(&told.payload)?;
        Ok(Self {
            seq: told.seq,
            at: told.created.into(),
            request: told
                .request
                .as_deref()
                .map(serde_json::from_str)
                .transpose()?,
            status: payload.data.status,
            ledger,
            event: TimelineEvent {
                id: told.event_id.to_string(),
                topic: told.event_type,
                partition: told.kafka_partition,
                offset: told.kafka_offset,
                delivered_at: told.delivered_at.map(Timestamp::from),
            },
            settlement: None,
            reconciliation: None,
        })
    }
}

impl From<&SettledLine> for TimelineSettlement {
    fn from(line: &SettledLine) -> Self {
        Self {
            settlement_id: line.settlement_id.clone(),
            fee: line.fee,
            pay_out_amount: line.pay_out_amount,
            paid_out_date: line.paid_out_date,
        }
    }
}

impl From<&Verdict> for TimelineReconciliation {
    fn from(verdict: &Verdict) -> Self {
        Self {
            result: verdict.result,
            file_id: verdict.file_id.clone(),
            line: verdict.line,
        }
    }
}

impl From<&Row> for TimelineEntry {
    fn from(row: &Row) -> Self {
        Self {
            debit: row.debit_account.clone(),
            credit: row.credit_account.clone(),
            amount: row.amount,
            currency: row.currency.clone(),
            reverses_seq: row.reverses_seq,
            posted_at: row.posted_at.into(),
        }
    }
}
