//! A lock that somebody else holds.

use std::{collections::BTreeSet, time::Duration};

use sqlx::{Connection, Executor, MySqlConnection};

use super::*;

/// Commands that meet the lock: more than there are connections to wait with.
const MEETING: usize = 40;
/// Commands of the same batch that do not.
const OTHERS: usize = 24;
/// How long the others may take on a slow machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

async fn holder() -> MySqlConnection {
    let mut holder = MySqlConnection::connect(&url()).await.unwrap();
    holder.execute("BEGIN").await.unwrap();
    holder
}

/// Runs a batch in which most commands meet the holder's lock, takes the lock away when the others
/// are answered, and gives the answers of those that met it.
async fn run_against(
    mut holder: MySqlConnection,
    world: &World,
    meeting: impl Fn(usize) -> Command,
) -> Vec<Answer> {
    let other = |order| world.command(&Asked::Authorize { order }, "other");
    let commands = (0..MEETING).map(&meeting).chain((0..OTHERS).map(other));
    let (batch, mut answers) = waiting(commands);
    let writing = tokio::spawn(write(world.database.clone(), batch));
    for answer in answers.split_off(MEETING) {
        let answer = tokio::time::timeout(ANSWERED_WITHIN, answer).await.unwrap();
        assert!(matches!(answer, Ok(Ok(Answer::Stored(_)))), "{answer:?}");
    }
    holder.execute("ROLLBACK").await.unwrap();
    writing.await.unwrap();
    let mut all = Vec::new();
    for (number, answer) in (0..).zip(answers) {
        all.push(match answer.await.unwrap() {
            Ok(answer) => answer,
            Err(problem) => {
                // The lock was held for longer than a command waits: its caller sends it again.
                assert!(problem.code.retryable(), "{problem:?}");
                world.run(vec![meeting(number)]).await.remove(0).unwrap()
            }
        });
    }
    all
}

#[tokio::test]
async fn a_locked_payment_holds_up_only_its_own_commands() {
    let world = World::new(&database()).await;
    let mut holder = holder().await;
    sqlx::query("SELECT version FROM payment WHERE payment_id = ? FOR UPDATE")
        .bind(world.payments[0].uuid())
        .fetch_one(&mut holder)
        .await
        .unwrap();
    let refund = Asked::Refund {
        payment: 0,
        amount: Some(1),
    };
    let meeting = |number| world.command(&refund, &format!("refund-{number}"));
    for answer in run_against(holder, &world, meeting).await {
        assert_eq!(answer.reply().status, 200, "{answer:?}");
    }
    let rows = world.rows().await;
    let refunded = "order-1000 PARTIALLY_REFUNDED 100 KRW 100 40 ";
    let stands = |row: &String| row.starts_with(refunded);
    assert!(rows["payment"].iter().any(stands), "{rows:?}");
    let opened = PAYMENTS + OTHERS;
    let captured = 2;
    assert_eq!(rows["ledger_entry"].len(), opened + captured + MEETING);
    assert_eq!(rows["outbox_event"].len(), opened + 1 + MEETING);
}

#[tokio::test]
async fn a_key_whose_holder_hangs_holds_up_only_its_own_requests() {
    let world = World::new(&database()).await;
    let mut holder = holder().await;
    let twin = Asked::Authorize { order: 999 };
    sqlx::query(
        "INSERT INTO idem_response_cache (merchant_id, idem_key, fingerprint, created_at) \
         VALUES (?, ?, REPEAT('f', 32), UTC_TIMESTAMP(3))",
    )
    .bind(&world.merchant_id)
    .bind(world.command(&twin, "twin").claim.key.as_str())
    .execute(&mut holder)
    .await
    .unwrap();
    let answers = run_against(holder, &world, |_| world.command(&twin, "twin")).await;
    let made = |answer: &&Answer| matches!(answer, Answer::Stored(_));
    assert_eq!(answers.iter().filter(made).count(), 1);
    let bodies: BTreeSet<_> = answers.iter().map(|answer| &answer.reply().body).collect();
    assert_eq!(bodies.len(), 1, "every answer is the same");
    let rows = world.rows().await;
    assert_eq!(rows["payment"].len(), PAYMENTS + OTHERS + 1);
}
