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
use idempotency::{Fingerprint, IdempotencyKey};
use operation::{Command, Operations};
use payment::{Authorization, Details};
use signature::KeyRing;
use sqlx::{Connection, MySqlConnection, mysql::MySqlConnectOptions};
use telemetry::TraceContext;
use uuid::Uuid;

/// Unknown commits that are settled.
const UNKNOWN: usize = 200;
/// What is done to a commit, in turn.
const HOW: [Commit; 3] = [Commit::CutAfter, Commit::LoseAnswer, Commit::CutBefore];

#[tokio::test]
async fn an_unknown_commit_is_settled_by_running_the_same_command_again() {
    let url = env::var("DATABASE_URL_PAYMENT").expect("run the tests by local/test");
    let direct: MySqlConnectOptions = url.parse().unwrap();
    let (_, server) = url.rsplit_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let proxy = Proxy::start(server.parse().unwrap(), Protocol::Mysql)
        .await
        .unwrap();
    let proxied = direct.clone().port(proxy.address().port());
    let operations = Operations::new(proxied);
    let merchant = format!("m-{}", Uuid::new_v4().simple());

    for number in 0..UNKNOWN {
        let call = call(&merchant, number);
        proxy.trap(HOW[number % HOW.len()], 1, Duration::ZERO);
        let first = operations.run(authorize(&call, number)).await.unwrap();
        assert!(
            matches!(first, Answer::Stored(_)),
            "it is answered as the first"
        );
        let again = operations.run(authorize(&call, number)).await.unwrap();
        let Answer::Replayed(again) = again else {
            panic!("the key is free: {again:?}")
        };
        assert_eq!(first.reply(), &again);
    }

    let mut db = MySqlConnection::connect_with(&direct).await.unwrap();
    for table in ["payment", "idem_response_cache", "ledger_entry"] {
        let query = format!("SELECT COUNT(*) FROM {table} WHERE merchant_id = ?");
        let count = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).bind(&merchant);
        let count: i64 = count.fetch_one(&mut db).await.unwrap();
        assert_eq!(count, i64::try_from(UNKNOWN).unwrap(), "{table}");
    }
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
