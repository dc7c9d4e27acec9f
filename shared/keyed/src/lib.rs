//! One answer per idempotency key for work that one database session does alone, in as many
//! transactions as it needs.
//!
//! A session holds what it has taken, and loses it when it dies or is cut off; whoever sends the
//! request again then goes on where it stopped. So the work must be such that doing it again changes
//! nothing, or be one transaction that keeps its reply, too ([`Keyed::once`]). Payments, which share
//! transactions, have `operation` instead.

mod session;

use chrono::Utc;
use guard::{Answer, Call};
use idempotency::{Claim, Reply, table as idem_table};
use outbox::Request;
use problem::{Code, Problem};
use serde::Serialize;
use sqlx::{Connection, MySqlConnection, mysql::MySqlConnectOptions};
use uuid::Uuid;

pub use session::Session;

/// A request with an idempotency key, before its work.
pub enum Begun {
    /// The key is new, or its work was not finished.
    Now(Keyed),
    /// The key has its answer already.
    Before(Answer),
}

/// The right to do the work of an idempotency key.
pub struct Keyed {
    /// Does the work.
    pub session: Session,
    claim: Claim,
}

impl Keyed {
    /// Takes the key of a request to the function `name`.
    ///
    /// # Errors
    /// `idempotency-key-missing`, `-in-flight` or `-reused`; `unavailable` without the database.
    pub async fn begin(
        database: &MySqlConnectOptions,
        name: &'static str,
        call: &Call,
    ) -> Result<Begun, Problem> {
        let claim = claim(call)?;
        let mut session = Session::open(database, name).await.map_err(unavailable)?;
        if !session.take_key(&claim).await.map_err(unavailable)? {
            let detail = "A request with this idempotency key is still running.";
            return Err(Problem::new(Code::IdempotencyKeyInFlight, detail));
        }
        let Some(stored) = session.stored(&claim).await.map_err(unavailable)? else {
            return Ok(Begun::Now(Self { session, claim }));
        };
        session.end().await;
        if stored.fingerprint != claim.fingerprint {
            let detail = "The idempotency key was first used for another request.";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
        Ok(Begun::Before(Answer::Replayed(stored.reply)))
    }

    /// The request, as the events that it causes name it.
    #[must_use]
    pub fn request(&self, call: &Call) -> Request {
        Request {
            method: call.method.to_string(),
            path: call.path.clone(),
            key_id: call.caller.key_id.clone(),
            idempotency_key: self.claim.key.to_string(),
            reason: None,
        }
    }

    /// Keeps a reply of JSON under the key, and answers with it.
    ///
    /// # Errors
    /// `unavailable` without the database.
    pub async fn finish<T: Serialize>(mut self, status: u16, value: &T) -> Result<Answer, Problem> {
        let reply = keep(self.session.db(), &self.claim, status, value).await?;
        self.session.end().await;
        Ok(Answer::Stored(reply))
    }

    /// Does work in one transaction, which also keeps the status and JSON that it answers. Work that
    /// fails changes nothing, and keeps nothing.
    ///
    /// # Errors
    /// Those of the work; `unavailable` without the database.
    pub async fn once<T, E, F>(mut self, work: F) -> Result<Answer, Problem>
    where
        T: Serialize,
        Problem: From<E>,
        F: for<'c> FnOnce(&'c mut MySqlConnection) -> db::Work<'c, (u16, T), E>,
    {
        let mut tx = self.session.db().begin().await.map_err(unavailable)?;
        let kept = match work(&mut tx).await {
            Ok((status, value)) => keep(&mut tx, &self.claim, status, &value).await,
            Err(error) => Err(error.into()),
        };
        let ended = match kept {
            Ok(_) => tx.commit().await,
            Err(_) => tx.rollback().await,
        };
        ended.map_err(unavailable)?;
        self.session.end().await;
        kept.map(Answer::Stored)
    }
}

async fn keep<T: Serialize>(
    db: &mut MySqlConnection,
    claim: &Claim,
    status: u16,
    value: &T,
) -> Result<Reply, Problem> {
    let body = serde_json::to_vec(value).map_err(|_| Problem::unavailable())?;
    let reply = Reply {
        status,
        body: body.into(),
    };
    let kept = idem_table::claim(db, &[(claim, Some(&reply))], Utc::now()).await;
    kept.map_err(unavailable)?;
    Ok(reply)
}

fn claim(call: &Call) -> Result<Claim, Problem> {
    let (key, fingerprint) = call.idempotency.clone().ok_or_else(|| {
        let detail = "This route needs an Idempotency-Key.";
        Problem::new(Code::IdempotencyKeyMissing, detail)
    })?;
    Ok(Claim {
        id: Uuid::new_v4(),
        merchant_id: call.caller.merchant_id.clone(),
        key,
        fingerprint,
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unavailable(error: sqlx::Error) -> Problem {
    tracing::error!(error = %error, "the database cannot be used");
    Problem::unavailable()
}
