//! Any mix of commands gives the same rows and replies batched and one by one, on a real `MariaDB`.

mod bounds;
mod locks;

use std::{collections::BTreeMap, env, num::NonZeroU64};

use guard::Call;
use http::{HeaderMap, Method};
use idempotency::{Fingerprint, IdempotencyKey, Reply};
use money::Money;
use payment::{Authorization, Details, Payment, PaymentId, Portion, Timestamp};
use proptest::{
    collection::vec,
    option,
    prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest},
};
use serde_json::Value;
use signature::KeyRing;
use sqlx::{MySqlPool, Row};
use telemetry::TraceContext;
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::*;

/// Payments that exist before the batch.
const PAYMENTS: usize = 3;
const AUTHORIZED: u64 = 100;
/// Members of events and replies that differ from one world to the next.
const OF_THE_MOMENT: [&str; 6] = [
    "id",
    "time",
    "traceId",
    "createdAt",
    "updatedAt",
    "expiresAt",
];

#[derive(Clone, Debug)]
enum Asked {
    /// Orders are numbered; two commands may name the same.
    Authorize {
        order: usize,
    },
    Capture {
        payment: usize,
        amount: Option<u64>,
    },
    Refund {
        payment: usize,
        amount: Option<u64>,
    },
    Void {
        payment: usize,
    },
}

impl Asked {
    fn payment(&self) -> Option<usize> {
        match self {
            Self::Authorize { .. } => None,
            Self::Capture { payment, .. }
            | Self::Refund { payment, .. }
            | Self::Void { payment } => Some(*payment),
        }
    }
}

fn change() -> impl Strategy<Value = Asked> {
    (0..PAYMENTS, option::of(1..=120_u64), 0..4).prop_map(|(payment, amount, kind)| match kind {
        0 => Asked::Capture { payment, amount },
        1 => Asked::Void { payment },
        _ => Asked::Refund { payment, amount },
    })
}

/// Commands that do not conflict: every key and every order is another one.
fn peaceful() -> impl Strategy<Value = Vec<Asked>> {
    let authorize = any::<bool>().prop_map(|_| Asked::Authorize { order: 0 });
    vec(prop_oneof![authorize, change()], 1..40).prop_map(|mut asked| {
        for (number, asked) in asked.iter_mut().enumerate() {
            if let Asked::Authorize { order } = asked {
                *order = number;
            }
        }
        asked
    })
}

/// Commands of which some share a key and some an order, and the number of the command whose key
/// each uses. Who wins is open, so no two that differ are about the same payment.
fn rivals() -> impl Strategy<Value = Vec<(Asked, usize)>> {
    let authorize = (0..4_usize).prop_map(|order| Asked::Authorize { order });
    vec((prop_oneof![authorize, change()], 1..4_usize), 1..12).prop_map(|asked| {
        let mut taken = [false; PAYMENTS];
        let mut all = Vec::new();
        for (number, (asked, times)) in asked.into_iter().enumerate() {
            let free = asked
                .payment()
                .is_none_or(|payment| !std::mem::replace(&mut taken[payment], true));
            if free {
                all.extend(std::iter::repeat_n((asked, number), times));
            }
        }
        all
    })
}

/// A merchant of its own with some captured payments.
struct World {
    merchant_id: String,
    database: Database,
    payments: Vec<PaymentId>,
}

impl World {
    fn empty(database: &Database) -> Self {
        Self {
            merchant_id: format!("m-{}", Uuid::new_v4().simple()),
            database: database.clone(),
            payments: Vec::new(),
        }
    }

    async fn new(database: &Database) -> Self {
        let mut world = Self::empty(database);
        for payment in 0..PAYMENTS {
            let opened = world.command(
                &Asked::Authorize {
                    order: 1000 + payment,
                },
                "open",
            );
            let answer = world.run(vec![opened]).await.remove(0);
            let reply: Value = serde_json::from_slice(&answer.unwrap().reply().body).unwrap();
            let id: PaymentId = reply["paymentId"].as_str().unwrap().parse().unwrap();
            world.payments.push(id);
        }
        let asked = Asked::Capture {
            payment: 0,
            amount: None,
        };
        let captured = world.command(&asked, "captured");
        world.run(vec![captured]).await.remove(0).unwrap();
        world
    }

    fn call(&self, path: String, key: &str) -> Call {
        let secret = "c2VjcmV0IG9mIGF0IGxlYXN0IHRoaXJ0eS10d28gYnl0ZXM=";
        let keys = format!(
            r#"[{{"keyId":"k","merchantId":"{}","role":"merchant","secret":"{secret}"}}]"#,
            self.merchant_id
        );
        let keys = KeyRing::from_json(keys.as_bytes()).unwrap();
        let key = IdempotencyKey::parse(key).unwrap();
        let fingerprint = Fingerprint::of("POST", &path, b"");
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

    fn command(&self, asked: &Asked, key: &str) -> Command {
        let key = format!("{key}-{}", asked.payment().map_or(9, |payment| payment));
        match asked.clone() {
            Asked::Authorize { order } => {
                let call = self.call("/payments/authorize".to_owned(), &format!("{key}-{order}"));
                let authorization = Authorization {
                    merchant_id: self.merchant_id.clone().into(),
                    order_id: format!("order-{order}").try_into().unwrap(),
                    amount: Money::new(AUTHORIZED, "KRW".parse().unwrap()).unwrap(),
                    details: Details::default(),
                };
                Command::authorize(&call, authorization).unwrap()
            }
            Asked::Capture { payment, amount } => {
                self.change("capture", payment, &key, move |payment, now| {
                    payment.capture(portion(amount), now)
                })
            }
            Asked::Refund { payment, amount } => {
                self.change("refund", payment, &key, move |payment, now| {
                    payment.refund(portion(amount), now)
                })
            }
            Asked::Void { payment } => self.change("void", payment, &key, Payment::void),
        }
    }

    fn change(
        &self,
        step: &str,
        payment: usize,
        key: &str,
        decide: impl Fn(&Payment, Timestamp) -> Result<payment::Change, payment::Refusal>
        + Send
        + Sync
        + 'static,
    ) -> Command {
        let id = self.payments[payment];
        let call = self.call(format!("/payments/{step}/{id}"), key);
        Command::change(&call, decide).unwrap()
    }

    /// Runs commands as one batch and gives their answers.
    async fn run(&self, commands: Vec<Command>) -> Vec<Result<Answer, Problem>> {
        let (batch, answers) = waiting(commands);
        write(self.database.clone(), batch).await;
        let mut all = Vec::new();
        for answer in answers {
            all.push(answer.await.unwrap());
        }
        all
    }

    /// Runs commands in one transaction, which must not fail, and gives their answers.
    async fn share(&self, commands: Vec<Command>) -> Vec<Result<Answer, Problem>> {
        let commands = commands.into_iter().map(Arc::new).collect();
        let replies = attempt(&self.database.hasty, commands).await.unwrap();
        let stored = |reply| Ok(Answer::Stored(reply));
        replies.into_iter().map(stored).collect()
    }

    /// The merchant and its payments, with names that are the same in every world.
    async fn names(&self) -> Vec<(String, String)> {
        let mut names = vec![(self.merchant_id.clone(), "M".to_owned())];
        let ids = self.select("SELECT CONCAT('pay_', LOWER(HEX(payment_id)), ' ', order_id) FROM payment WHERE merchant_id = ?").await;
        for id in ids {
            let (id, order) = id.split_once(' ').unwrap();
            names.push((id.to_owned(), format!("P-{order}")));
        }
        names
    }

    /// What callers were told, without what differs from one world to the next. Whose reply is
    /// repeated is open where rivals meet.
    async fn told(&self, answers: &[Result<Answer, Problem>]) -> Vec<String> {
        let names = self.names().await;
        let told = |answer: &Result<Answer, Problem>| match answer {
            Ok(Answer::Replayed(_)) => "replayed".to_owned(),
            Ok(answer) => {
                let Reply { status, body } = answer.reply();
                let body = std::str::from_utf8(body).unwrap();
                timeless(&named(&format!("{status} {body}"), &names))
            }
            Err(problem) => problem.code.slug().to_owned(),
        };
        answers.iter().map(told).collect()
    }

    /// What stands in the database, without what differs from one world to the next.
    async fn rows(&self) -> BTreeMap<&'static str, Vec<String>> {
        let names = self.names().await;
        let mut rows = BTreeMap::new();
        for (table, query) in [
            (
                "payment",
                "SELECT CONCAT_WS(' ', order_id, status, amount, currency, captured_amount, refunded_amount, captured_seq, version) FROM payment WHERE merchant_id = ?",
            ),
            (
                "ledger_entry",
                "SELECT CONCAT_WS(' ', 'pay_', LOWER(HEX(subject_id)), seq, line, debit_account, credit_account, amount, currency, reverses_seq, reverses_line) FROM ledger_entry WHERE merchant_id = ?",
            ),
            (
                "outbox_event",
                "SELECT CONCAT_WS(' ', aggregateid, agg_seq, type, payload) FROM outbox_event JOIN payment ON aggregateid = CONCAT('pay_', LOWER(HEX(payment_id))) WHERE merchant_id = ?",
            ),
            (
                "idem_response_cache",
                "SELECT CONCAT_WS(' ', idem_key, status, CONVERT(body USING utf8mb4)) FROM idem_response_cache WHERE merchant_id = ?",
            ),
        ] {
            let mut all: Vec<String> = self
                .select(query)
                .await
                .into_iter()
                .map(|row| timeless(&named(&row.replace("pay_ ", "pay_"), &names)))
                .collect();
            all.sort();
            rows.insert(table, all);
        }
        rows
    }

    async fn select(&self, query: &'static str) -> Vec<String> {
        let pool: &MySqlPool = &self.database.patient;
        let rows = sqlx::query(query)
            .bind(&self.merchant_id)
            .fetch_all(pool)
            .await;
        rows.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

fn portion(amount: Option<u64>) -> Portion {
    Portion {
        amount: amount.and_then(NonZeroU64::new),
        currency: None,
    }
}

fn named(row: &str, names: &[(String, String)]) -> String {
    names
        .iter()
        .fold(row.to_owned(), |row, (name, stands_for)| {
            row.replace(name, stands_for)
        })
}

/// A row whose last word may be JSON, without the members of the moment.
fn timeless(row: &str) -> String {
    let Some((before, json)) = row.split_once('{') else {
        return row.to_owned();
    };
    let mut value: Value = serde_json::from_str(&format!("{{{json}")).unwrap();
    for place in ["", "/data"] {
        if let Some(Value::Object(members)) = value.pointer_mut(place) {
            members.retain(|name, _| !OF_THE_MOMENT.contains(&name.as_str()));
        }
    }
    format!("{before}{value}")
}

/// Commands on their way, and where their answers come.
fn waiting(
    commands: impl IntoIterator<Item = Command>,
) -> (
    Vec<Waiting>,
    Vec<oneshot::Receiver<Result<Answer, Problem>>>,
) {
    let send = |command| {
        let (reply, answer) = oneshot::channel();
        let command = Arc::new(command);
        (Waiting { command, reply }, answer)
    };
    commands.into_iter().map(send).unzip()
}

fn url() -> String {
    env::var("DATABASE_URL_PAYMENT").expect("run the tests by local/test")
}

fn database() -> Database {
    Database::new(url().parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn commands_without_conflict_give_the_same_batched_and_one_by_one(asked in peaceful()) {
        Runtime::new().unwrap().block_on(async {
            let database = database();
            let (batched, single) = (World::new(&database).await, World::new(&database).await);
            let commands = |world: &World| -> Vec<Command> {
                (0..).zip(&asked).map(|(n, asked)| world.command(asked, &format!("key-{n}"))).collect()
            };
            let together = batched.share(commands(&batched)).await;
            let mut alone = Vec::new();
            for command in commands(&single) {
                alone.extend(single.run(vec![command]).await);
            }
            assert_eq!(batched.told(&together).await, single.told(&alone).await);
            assert_eq!(batched.rows().await, single.rows().await);
        });
    }

    #[test]
    fn commands_that_share_keys_and_orders_give_the_same_batched_and_one_by_one(asked in rivals()) {
        Runtime::new().unwrap().block_on(async {
            let database = database();
            let (batched, single) = (World::new(&database).await, World::new(&database).await);
            let command = |world: &World, (asked, key): &(Asked, usize)| {
                world.command(asked, &format!("key-{key}"))
            };
            let together = batched.run(asked.iter().map(|asked| command(&batched, asked)).collect()).await;
            let mut alone = Vec::new();
            for asked in &asked {
                alone.extend(single.run(vec![command(&single, asked)]).await);
            }
            let (mut together, mut alone) =
                (batched.told(&together).await, single.told(&alone).await);
            together.sort();
            alone.sort();
            assert_eq!(together, alone);
            let (batched, single) = (batched.rows().await, single.rows().await);
            for table in ["payment", "ledger_entry", "outbox_event"] {
                assert_eq!(batched[table], single[table]);
            }
        });
    }
}
