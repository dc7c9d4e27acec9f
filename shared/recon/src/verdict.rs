//! What other services may ask about reconciled payments.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::MatchResult;

/// Whose verdicts are asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asked {
    /// The payment.
    pub payment_id: Uuid,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// By `seq`; none for what no file spoke for yet.
    pub data: Vec<Verdict>,
}

/// What a file said of a capture or refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The event of the payment that it is about.
    pub seq: u32,
    /// What came of it.
    pub result: MatchResult,
    /// The file.
    pub file_id: String,
    /// The row's line; `None` when the file does not have it.
    pub line: Option<u32>,
}
