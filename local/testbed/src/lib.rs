//! The private stack of `local/test`, as black-box tests see it: signed HTTP from outside, and the
//! database and topics to look into.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking"
)]

mod apart;
mod authorization;
mod books;
mod caller;
mod events;
mod footprint;
mod instance;
mod receiver;
mod runtime;
mod stack;
mod topic;

use std::time::{Duration, Instant};

pub use apart::Apart;
pub use authorization::Authorization;
pub use caller::{Caller, Reply, RequestBuilder};
use chrono::TimeDelta;
pub use events::{Event, first_met};
pub use footprint::{Footprint, Totals};
pub use instance::Instance;
pub use receiver::{Answer, Received, Receiver};
pub use runtime::Runtime;
use serde_json::{Value, json};
use sqlx::MySqlPool;
pub use stack::{Paused, stack};
pub use topic::{make_topic, send};

/// How long anything is waited for before a test fails.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The stack under test.
#[derive(Clone, Debug)]
pub struct Testbed {
    database: MySqlPool,
    http: reqwest::Client,
    urls: Urls,
}

/// Where a runtime is reached.
#[derive(Clone, Debug)]
struct Urls {
    http: String,
    invoke: String,
    admin: String,
}

impl Testbed {
    /// Finds the stack through the environment.
    #[expect(
        clippy::unused_async,
        reason = "a pool belongs to the async runtime it is made in"
    )]
    pub async fn new() -> Self {
        let database = MySqlPool::connect_lazy(&variable("DATABASE_URL_ADMIN"))
            .expect("DATABASE_URL_ADMIN is a MySQL URL");
        Self {
            database,
            http: reqwest::Client::new(),
            urls: Urls {
                http: variable("PAYFN_URL"),
                invoke: variable("INVOKE_URL"),
                admin: variable("ADMIN_URL"),
            },
        }
    }

    /// Whoever holds a key of the key file: `demo`, `other`, `ops`, `ops-2` or `limited`.
    #[must_use]
    pub fn caller(&self, key_id: &str) -> Caller {
        Caller::new(
            self.http.clone(),
            &self.urls.http,
            &variable("KEYS_FILE"),
            key_id,
        )
    }

    /// The payment database, or the one of functions that are [`Apart`], with all rights.
    #[must_use]
    pub fn database(&self) -> &MySqlPool {
        &self.database
    }

    /// Where functions are invoked.
    #[must_use]
    pub fn invoke_url(&self) -> &str {
        &self.urls.invoke
    }

    /// A payment of `amount` won in `REQUESTED`, by `demo`.
    pub async fn authorized(&self, amount: u64) -> String {
        let asked = json!({ "orderId": fresh("order"), "amount": amount, "currency": "KRW" });
        let reply = self
            .caller("demo")
            .post("/payments/authorize", &asked)
            .await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()["paymentId"]
            .as_str()
            .expect("a payment has an id")
            .to_owned()
    }

    /// A payment of `amount` won in `COMPLETED`, by `demo`.
    pub async fn captured(&self, amount: u64) -> String {
        let payment_id = self.authorized(amount).await;
        let path = format!("/payments/capture/{payment_id}");
        let reply = self.caller("demo").post_empty(&path).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        payment_id
    }

    /// A payment of `amount` won of which `refund` was given back, by `demo`: three events.
    pub async fn refunded(&self, amount: u64, refund: u64) -> String {
        let payment_id = self.captured(amount).await;
        let path = format!("/payments/refund/{payment_id}");
        let asked = json!({ "amount": refund });
        let reply = self.caller("demo").post(&path, &asked).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        payment_id
    }
}

impl Testbed {
    /// A metric of the outbox relay, read where the runtime says that Prometheus finds it.
    pub async fn relay_metric(&self, name: &str) -> Option<f64> {
        let targets = self.admin("targets").await;
        let relay = targets
            .as_array()?
            .iter()
            .find(|target| target["labels"]["function"] == "outbox-relay")?;
        let address = relay["targets"][0].as_str()?;
        let text = self
            .http
            .get(format!("http://{address}/metrics"))
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    /// Invokes a function with an event; its answer.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        let url = format!(
            "{}/2015-03-31/functions/{function}/invocations",
            self.urls.invoke
        );
        let reply = self.http.post(url).json(event).send().await;
        let reply = reply.expect("the runtime answers");
        let failed = reply.headers().contains_key("x-amz-function-error");
        let status = reply.status();
        let answer = reply.json().await.expect("JSON");
        assert!(status == 200 && !failed, "{status}: {answer}");
        answer
    }

    /// What the runtime's admin address lists at `path`.
    pub(crate) async fn admin(&self, path: &str) -> Value {
        let url = format!("{}/{path}", self.urls.admin);
        let listed = self.http.get(url).send().await;
        let listed = listed.expect("the runtime lists what it has");
        listed.json().await.expect("JSON")
    }
}

/// The day in Seoul, so many days from now, as `2026-03-31`.
#[must_use]
pub fn seoul_day(days_from_now: i64) -> String {
    let now = chrono::Utc::now() + TimeDelta::hours(9) + TimeDelta::days(days_from_now);
    now.date_naive().to_string()
}

/// A text that no other test uses.
#[must_use]
pub fn fresh(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// Waits for a condition, at most [`WAIT_MAX`].
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let began = Instant::now();
    while !condition().await {
        assert!(
            began.elapsed() < WAIT_MAX,
            "waited {WAIT_MAX:?} for: {what}"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A variable of the environment that `local/test` sets.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests by local/test"))
}
