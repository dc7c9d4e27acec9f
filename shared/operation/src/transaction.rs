use std::{collections::HashMap, sync::Arc};

use db::Failure;
use idempotency::{Claim, Reply, table as idem_table};
use payment::{Change, Payment, PaymentId, Timestamp, table as payment_table};
use sqlx::{MySqlConnection, MySqlPool};

use crate::{
    Told,
    command::{Command, Target},
    record, reply,
};

/// Why a transaction gave no replies; it is rolled back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// A key among the commands was used before.
    #[error("an idempotency key was used before")]
    KeyTaken,
    /// Another transaction holds a key among the commands.
    #[error("an idempotency key is in flight")]
    KeyInFlight,
    /// The key was used for another request.
    #[error("the idempotency key was first used for another request")]
    KeyReused,
    /// The key was used, and meanwhile its reply has become too old to be kept.
    #[error("the stored reply was purged meanwhile")]
    Purged,
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A reply could not be written as JSON.
    #[error(transparent)]
    Reply(#[from] serde_json::Error),
}

impl Failed {
    /// The name in metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::KeyTaken => "key-taken",
            Self::KeyInFlight => "key-in-flight",
            Self::KeyReused => "key-reused",
            Self::Purged => "purged",
            Self::Database(error) => Failure::of(error).name(),
            Self::Reply(_) => "reply",
        }
    }

    /// Whether another transaction's lock was in the way.
    pub(crate) fn met_lock(&self) -> bool {
        match self {
            Self::KeyInFlight => true,
            Self::Database(error) => Failure::of(error) == Failure::LockWait,
            _ => false,
        }
    }
}

/// What a command comes to.
struct Outcome<'a> {
    command: &'a Command,
    reply: Reply,
    change: Option<Change>,
}

/// Carries commands out in a transaction of their own and gives their replies in the same order.
pub(crate) async fn attempt(
    pool: &MySqlPool,
    commands: Vec<Arc<Command>>,
) -> Result<Vec<Reply>, Failed> {
    db::transaction(pool, |tx| {
        Box::pin(async move { execute(tx, &commands, Timestamp::now()).await })
    })
    .await
}

/// Carries commands out in the caller's transaction and gives their replies in the same order.
/// Several commands on one payment see each other's effects, as if each had run alone.
async fn execute(
    tx: &mut MySqlConnection,
    commands: &[Arc<Command>],
    now: Timestamp,
) -> Result<Vec<Reply>, Failed> {
    claim(tx, commands, now).await?;
    failpoint::at!("operation.claimed", sqlx::Error::from);
    let locked = payment_table::lock(tx, &existing(commands)).await?;
    failpoint::at!("operation.locked", sqlx::Error::from);
    let mut outcomes = decide(commands, locked, now)?;
    write(tx, &mut outcomes).await?;
    failpoint::at!("operation.written", sqlx::Error::from);
    let unstored: Vec<(&Claim, &Reply)> = outcomes
        .iter()
        .filter(|outcome| outcome.command.known_reply() != Some(&outcome.reply))
        .map(|outcome| (&outcome.command.claim, &outcome.reply))
        .collect();
    idem_table::finish(tx, &unstored, now.utc()).await?;
    Ok(outcomes.into_iter().map(|outcome| outcome.reply).collect())
}

/// Claims every key; a reply known already is stored with its claim.
async fn claim(
    tx: &mut MySqlConnection,
    commands: &[Arc<Command>],
    now: Timestamp,
) -> Result<(), Failed> {
    let claims: Vec<(&Claim, Option<&Reply>)> = commands
        .iter()
        .map(|command| (&command.claim, command.known_reply()))
        .collect();
    idem_table::claim(tx, &claims, now.utc())
        .await
        .map_err(|error| match Failure::of(&error) {
            Failure::Duplicate => Failed::KeyTaken,
            Failure::LockWait => Failed::KeyInFlight,
            _ => Failed::Database(error),
        })
}

/// The payments to lock, each once.
fn existing(commands: &[Arc<Command>]) -> Vec<PaymentId> {
    let mut ids: Vec<PaymentId> = commands
        .iter()
        .filter_map(|command| command.payment_id())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn decide(
    commands: &[Arc<Command>],
    locked: Vec<Payment>,
    now: Timestamp,
) -> Result<Vec<Outcome<'_>>, serde_json::Error> {
    let mut payments: HashMap<PaymentId, Payment> = locked
        .into_iter()
        .map(|payment| (payment.id, payment))
        .collect();
    commands
        .iter()
        .map(|command| {
            let (reply, change) = match &command.target {
                Target::New { change, reply } => (reply.clone(), Some(Change::clone(change))),
                Target::Existing {
                    payment_id,
                    sees,
                    decide,
                } => {
                    let payment = payment_id
                        .and_then(|payment_id| payments.get(&payment_id))
                        .filter(|payment| sees.allows(payment));
                    match payment.map(|payment| decide(payment, now)) {
                        None => (reply::not_found(command), None),
                        Some(Err(refusal)) => (reply::refused(command, &refusal), None),
                        Some(Ok(change)) => {
                            payments.insert(change.payment.id, change.payment.clone());
                            (reply::payment(&change.payment)?, Some(change))
                        }
                    }
                }
            };
            Ok(Outcome {
                command,
                reply,
                change,
            })
        })
        .collect()
}

/// Writes what changed. A second payment of an order is refused here, where the unique key decides;
/// among several commands it fails the transaction, and each is then run alone.
async fn write(tx: &mut MySqlConnection, outcomes: &mut [Outcome<'_>]) -> Result<(), Failed> {
    let told: Vec<Told<'_>> = outcomes
        .iter()
        .filter_map(|outcome| {
            let change = outcome.change.as_ref()?;
            let command = outcome.command;
            Some(Told {
                change,
                request: Some(&command.request),
                traceparent: &command.traceparent,
            })
        })
        .collect();
    match (record(tx, &told).await, outcomes) {
        (Ok(()), _) => Ok(()),
        (
            Err(error),
            [
                Outcome {
                    command,
                    reply,
                    change: Some(change),
                },
            ],
        ) if change.payment.version == 1 && Failure::of(&error) == Failure::Duplicate => {
            *reply = duplicate_order(tx, command, &change.payment).await?;
            Ok(())
        }
        (Err(error), _) => Err(error.into()),
    }
}

async fn duplicate_order(
    tx: &mut MySqlConnection,
    command: &Command,
    payment: &Payment,
) -> sqlx::Result<Reply> {
    let (merchant_id, order_id) = (payment.merchant_id.as_str(), payment.order_id.as_str());
    let first = payment_table::id_of_order(tx, merchant_id, order_id).await?;
    Ok(reply::duplicate_order(
        command,
        first.ok_or(sqlx::Error::RowNotFound)?,
    ))
}
