//! Commits whose outcome is unknown, against a real server: each command takes effect once and is
//! answered as if nothing had happened.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, time::Duration};

use faults::{
    plan::Commit,
    proxy::{Protocol, Proxy},
};
use guard::{Answer, Call};
use http::{HeaderMap, Method};
use idempotency::{Fingerprint, IdempotencyKey, Reply};
use operation::{Command, Operations};
use payment::{Authorization, Details};
use signature::KeyRing;
use sqlx::{Connection, MySqlConnection, mysql::MySqlConnectOptions};
use telemetry::TraceContext;
use uuid::Uuid;

/// Unknown commits that are settled.
const UNKNOWN: usize = 200;
/// Times the connections are lost before a key is used again.
const LOST: usize = 10;
/// What is done to a commit, in turn.
const HOW: [Commit; 3] = [Commit::CutAfter, Commit::LoseAnswer, Commit::CutBefore];

/// Operations on the database behind a proxy, and the way around it.
async fn proxied() -> (Operations, Proxy, MySqlConnection) {
    let url = env::var("DATABASE_URL_PAYMENT").unwrap();
    let direct: MySqlConnectOptions = url.parse().unwrap();
    let (_, server) = url.rsplit_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let proxy = Proxy::start(server.parse().unwrap(), Protocol::Mysql)
        .await
        .unwrap();
    let operations = Operations::new(direct.clone().port(proxy.address().port()));
    let db = MySqlConnection::connect_with(&direct).await.unwrap();
    (operations, proxy, db)
}

/// Rows of the payment that a reply shows: payments, journal entries, events.
async fn effects(db: &mut MySqlConnection, reply: &Reply) -> (i64, i64, i64) {
    let payment: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let id = payment["paymentId"].as_str().unwrap();
    let hex = id.trim_start_matches("pay_");
    sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM payment WHERE payment_id = UNHEX(?)), \
                (SELECT COUNT(*) FROM ledger_entry WHERE subject_id = UNHEX(?)), \
                (SELECT COUNT(*) FROM outbox_event WHERE aggregateid = ?)",
    )
    .bind(hex)
    .bind(hex)
    .bind(id)
    .fetch_one(db)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_unknown_commit_is_settled_by_running_the_same_command_again() {
    let (operations, proxy, mut db) = proxied().await;
    let merchant = format!("m-{}", Uuid::new_v4().simple());

    for number in 0..UNKNOWN {
        let call = call(&merchant, number);
        let how = HOW[number % HOW.len()];
        proxy.trap(how, 1, Duration::ZERO);
        let first = operations.run(authorize(&call, number)).await.unwrap();
        assert_eq!(proxy.clear(), 1, "{how:?} met the commit");
        assert!(
            matches!(first, Answer::Stored(_)),
            "it is answered as the first"
        );
        assert_eq!(effects(&mut db, first.reply()).await, (1, 1, 1), "{how:?}");
        let again = operations.run(authorize(&call, number)).await.unwrap();
        let Answer::Replayed(again) = again else {
            panic!("the key is free: {again:?}")
        };
        assert_eq!(first.reply(), &again);
    }

    for table in ["payment", "idem_response_cache", "ledger_entry"] {
        let query = format!("SELECT COUNT(*) FROM {table} WHERE merchant_id = ?");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(&merchant);
        let count: i64 = count.fetch_one(&mut db).await.unwrap();
        assert_eq!(count, i64::try_from(UNKNOWN).unwrap(), "{table}");
    }
}

#[tokio::test]
async fn a_reply_repeated_after_a_lost_connection_is_told_to_be_one() {
    let (operations, proxy, mut db) = proxied().await;
    let call = call(&format!("m-{}", Uuid::new_v4().simple()), 0);
    let first = operations.run(authorize(&call, 0)).await.unwrap();
    for _ in 0..LOST {
        proxy.cut();
        proxy.clear();
        let again = operations.run(authorize(&call, 0)).await.unwrap();
        assert_eq!(again, Answer::Replayed(first.reply().clone()));
    }
    assert_eq!(effects(&mut db, first.reply()).await, (1, 1, 1));
}

fn call(merchant: &str, number: usize) -> Call {
    let secret = "c2VjcmV0IG9mIGF0IGxlYXN0IHRoaXJ0eS10d28gYnl0ZXM=";
    let keys = format!(
        r#"[{{"keyId":"k","merchantId":"{merchant}","role":"merchant","secret":"{secret}"}}]"#
    );
    let keys = KeyRing::from_json(keys.as_bytes()).unwrap();
    let path = "/payments/authorize".to_owned();
    let fingerprint = Fingerprint::of("POST", &path, b"");
    let key = IdempotencyKey::parse(&format!("key-{number}")).unwrap();
    Call {
        caller: keys.get("k").unwrap().clone(),
        method: Method::POST,
        path,
        query: None,
        headers: HeaderMap::new(),
        body: "".into(),
        idempotency: Some((key, fingerprint)),
        trace: TraceContext::root(),
    }
}

fn authorize(call: &Call, number: usize) -> Command {
    let authorization = Authorization {
        merchant_id: call.caller.merchant_id.clone().into(),
        order_id: format!("order-{number}").try_into().unwrap(),
        amount: money::Money::new(15_000, "KRW".parse().unwrap()).unwrap(),
        details: Details::default(),
    };
    Command::authorize(call, authorization).unwrap()
}
