//! What clients sent and what they were told.

use std::{
    fmt,
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::plan::{Action, Caller};

/// SHA-256 of a body; shown by its first eight bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyHash([u8; 32]);

impl BodyHash {
    /// Of `body`.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }
}

impl fmt::Debug for BodyHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.first_chunk().copied().unwrap_or_default();
        write!(formatter, "{:016x}", u64::from_be_bytes(shown))
    }
}

impl Serialize for BodyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// Why a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It was due.
    Run,
    /// The first answers told nothing.
    Retry,
    /// Its outcome was not known when everything was healed.
    Settle,
    /// The answer has to be the same as before.
    Repeat,
}

/// What a client knows afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It took place.
    Ok,
    /// It did not and never will.
    Refused,
    /// This request did not, and the same key may be sent again (409 in flight, 429).
    Later,
    /// No answer, or one that tells nothing (5xx).
    Unknown,
}

/// A payment as an answer shows it; amounts in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Its status on the wire.
    pub status: String,
    /// Authorized.
    pub amount: u64,
    /// Captured.
    pub captured: u64,
    /// Refunded.
    pub refunded: u64,
    /// Changes so far.
    pub version: u64,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// 200 with a payment.
    Payment(Shown),
    /// A problem.
    Problem {
        /// HTTP status.
        status: u16,
        /// Its code.
        code: String,
    },
    /// The payment's clock was turned.
    Lapsed,
}

/// One request and what came of it; times are microseconds since the run began.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// When it was sent.
    pub sent_us: u64,
    /// When the answer, or its absence, was known.
    pub answered_us: u64,
    /// Number of the operation in the plan.
    pub operation: u32,
    /// Which payment of the plan.
    pub payment: u32,
    /// The payment's id, as far as known.
    pub payment_id: Option<String>,
    /// Who sent it.
    pub caller: Caller,
    /// Its idempotency key.
    pub key: Option<String>,
    /// What it asked for.
    pub action: Action,
    /// Hash of what was sent.
    pub request: BodyHash,
    /// Why it was sent.
    pub phase: Phase,
    /// What the client knows.
    pub outcome: Outcome,
    /// HTTP status and body.
    pub answer: Option<Answer>,
    /// Why there is no answer.
    pub cause: Option<String>,
}

/// An answer as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Hash of the body.
    pub body: BodyHash,
    /// What it says; `None` when it is neither payment nor problem.
    pub told: Option<Told>,
    /// The payment it names.
    pub payment_id: Option<String>,
    /// Whether it says to be a repetition.
    pub replayed: bool,
}

impl Answer {
    /// Reads an answer.
    #[must_use]
    pub fn read(status: u16, body: &[u8], replayed: bool) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let told = if status == 200 {
            shown(&json).map(Told::Payment)
        } else {
            let code = json["code"].as_str();
            code.map(|code| Told::Problem {
                status,
                code: code.to_owned(),
            })
        };
        Self {
            status,
            body: BodyHash::of(body),
            told,
            payment_id: json["paymentId"].as_str().map(str::to_owned),
            replayed,
        }
    }

    /// What it means to a client.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.status, &self.told) {
            (200, _) => Outcome::Ok,
            (429, _) => Outcome::Later,
            (_, Some(Told::Problem { code, .. })) if code == "idempotency-key-in-flight" => {
                Outcome::Later
            }
            (500.., _) => Outcome::Unknown,
            _ => Outcome::Refused,
        }
    }
}

fn shown(json: &Value) -> Option<Shown> {
    Some(Shown {
        status: json["status"].as_str()?.to_owned(),
        amount: json["amount"].as_u64()?,
        captured: json["capturedAmount"].as_u64()?,
        refunded: json["refundedAmount"].as_u64()?,
        version: json["version"].as_u64()?,
    })
}

impl Attempt {
    /// What the answer says, when it settles the operation.
    #[must_use]
    pub fn settled(&self) -> Option<&Answer> {
        let settles = matches!(self.outcome, Outcome::Ok | Outcome::Refused);
        self.answer.as_ref().filter(|_| settles)
    }
}

/// All attempts, in memory and as JSON lines in a file.
pub struct History {
    attempts: Vec<Attempt>,
    file: BufWriter<File>,
}

impl History {
    /// An empty one, written to `path`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        Ok(Self {
            attempts: Vec::new(),
            file,
        })
    }

    /// Adds an attempt.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, attempt: Attempt) -> io::Result<()> {
        writeln!(self.file, "{}", json!(attempt))?;
        self.attempts.push(attempt);
        Ok(())
    }

    /// The attempts so far, by the time of their ends.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
