//! The functions' clock is set back while they run.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use testbed::{Caller, Reply, Runtime, Testbed, fresh, until};
use toml::Table;

const HOUR_S: i64 = 3600;
/// `$LIB` is the dynamic linker's: the directory of this machine's libraries.
const LIBFAKETIME: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

#[tokio::test]
async fn a_clock_set_back_an_hour_repeats_inverts_and_expires_nothing() {
    let bed = Testbed::new().await;
    let clock = Clock::new();
    let runtime = Runtime::start(|functions| clock.tell(functions));
    let demo = bed.caller("demo").at(&runtime.url("http").await);

    let before = Payment::authorize(&demo, 0).await;
    clock.set(-HOUR_S);
    until("a function whose clock is back", async || {
        let reply = demo.get("/payments").await;
        reply.status == 401 && reply.code() == "signature-expired"
    })
    .await;
    expire(&bed.caller("ops").at(&runtime.url("invoke").await)).await;
    let between = Payment::authorize(&demo, -HOUR_S).await;
    for payment in [&before, &between] {
        payment.step(&demo, "capture", -HOUR_S).await;
    }
    before.step(&demo, "refund", -HOUR_S).await;
    before.repeat_authorize(&demo, -HOUR_S).await;
    clock.set(0);
    until("a function whose clock is right again", async || {
        demo.get("/payments").await.status == 200
    })
    .await;
    between.step(&demo, "refund", 0).await;
    between.repeat_authorize(&demo, 0).await;

    for payment in [before, between] {
        payment.assert_whole(&bed).await;
    }
    bed.assert_books_hold().await;
}

/// Runs the schedule of expired authorizations by the functions' clock.
async fn expire(invoke: &Caller) {
    let path = "/2015-03-31/functions/expire/invocations";
    let reply = invoke.post(path, &json!({})).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
}

/// The clock of functions that were told of it: how far it is off, in a file they read again
/// whenever they look.
struct Clock {
    directory: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self {
            directory: TempDir::new().unwrap(),
        };
        clock.set(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    /// Sets it so many seconds off, at once.
    fn set(&self, offset_s: i64) {
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{offset_s:+}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// Leaves the functions that a payment needs, and gives them this clock. Timers stay right.
    fn tell(&self, functions: &mut Table) {
        let needed = ["authorize", "capture", "refund", "payment-query", "expire"];
        functions.retain(|name, _| needed.contains(&name));
        let file = self.file().display().to_string();
        for (_, function) in functions.iter_mut() {
            let function = function.as_table_mut().unwrap();
            let environment = function
                .entry("environment")
                .or_insert_with(|| Table::new().into());
            let environment = environment.as_table_mut().unwrap();
            for (name, text) in [
                ("LD_PRELOAD", LIBFAKETIME),
                ("FAKETIME_TIMESTAMP_FILE", &file),
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("FAKETIME_DONT_RESET", "1"),
            ] {
                environment.insert(name.to_owned(), text.into());
            }
        }
    }
}

/// A payment of 15,000 won and the request that made it.
struct Payment {
    key: String,
    asked: Value,
    body: Bytes,
}

impl Payment {
    async fn authorize(demo: &Caller, offset_s: i64) -> Self {
        let asked = json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" });
        let key = fresh("key");
        let reply = send(demo, "/payments/authorize", &asked, &key, offset_s).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        Self {
            key,
            asked,
            body: reply.body,
        }
    }

    fn id(&self) -> String {
        let payment: Value = serde_json::from_slice(&self.body).unwrap();
        payment["paymentId"].as_str().expect("an id").to_owned()
    }

    async fn repeat_authorize(&self, demo: &Caller, offset_s: i64) {
        let path = "/payments/authorize";
        let again = send(demo, path, &self.asked, &self.key, offset_s).await;
        assert_eq!((again.status, &again.body), (200, &self.body));
        assert!(again.replayed());
    }

    /// Captures all or refunds 5,000, twice with the same key.
    async fn step(&self, demo: &Caller, name: &str, offset_s: i64) {
        let path = format!("/payments/{name}/{}", self.id());
        let amount = if name == "refund" { 5_000 } else { 15_000 };
        let (asked, key) = (json!({ "amount": amount }), fresh("key"));
        let first = send(demo, &path, &asked, &key, offset_s).await;
        let again = send(demo, &path, &asked, &key, offset_s).await;
        assert_eq!(first.status, 200, "{:?}", first.body);
        assert_eq!((again.status, &again.body), (200, &first.body));
        assert!(!first.replayed() && again.replayed());
    }

    /// Three changes, numbered and told in the order in which they took place.
    async fn assert_whole(&self, bed: &Testbed) {
        let footprint = bed.footprint(&self.id()).await;
        let [payment] = footprint.payment.as_slice() else {
            panic!("{footprint:?}");
        };
        assert!(
            payment.starts_with("PARTIALLY_REFUNDED|15000|15000|5000|3|"),
            "{payment}"
        );
        assert_eq!(footprint.outbox.len(), 3, "{footprint:?}");
        let events = bed.events(&self.id(), 3).await;
        let told: Vec<_> = events
            .iter()
            .map(|event| (event.topic.as_str(), &event.value["data"]["seq"]))
            .collect();
        assert_eq!(
            told,
            [
                ("payment.authorized", &json!(1)),
                ("payment.captured", &json!(2)),
                ("payment.refunded", &json!(3))
            ]
        );
        let written: Vec<_> = events.iter().map(|event| event.timestamp_ms).collect();
        assert!(written.is_sorted(), "{written:?}");
    }
}

/// POST that is signed `offset_s` seconds off the right time.
async fn send(demo: &Caller, path: &str, asked: &Value, key: &str, offset_s: i64) -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let created_s = i64::try_from(now.as_secs()).unwrap() + offset_s;
    demo.request("POST", path)
        .body(asked.to_string())
        .idempotency_key(key)
        .created(created_s)
        .send()
        .await
}
