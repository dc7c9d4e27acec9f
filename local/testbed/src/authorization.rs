use serde_json::{Value, json};

use crate::{Caller, Reply, Testbed, fresh};

/// A request for a new payment by `demo`, with an order and an idempotency key of its own.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Its idempotency key.
    pub key: String,
    /// Its body.
    pub asked: Value,
}

impl Authorization {
    /// One that nobody sent yet.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            key: fresh("key"),
            asked: json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" }),
        }
    }

    /// Sends it until it is settled, and gives the answer.
    pub async fn settle(&self, caller: &Caller) -> Reply {
        caller
            .post_until_settled("/payments/authorize", &self.asked, &self.key)
            .await
    }
}

impl Testbed {
    /// Sees that an authorization took place once: `reply` is stored under its key, and its order
    /// is one payment with one journal and one event.
    pub async fn assert_took_place_once(&self, authorization: &Authorization, reply: &Reply) {
        assert_eq!(reply.status, 200, "{authorization:?}: {:?}", reply.body);
        let stored: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT body FROM idem_response_cache WHERE merchant_id = 'm-demo' AND idem_key = ?",
        )
        .bind(&authorization.key)
        .fetch_all(self.database())
        .await
        .expect("the replies can be read");
        assert_eq!(stored, [reply.body.to_vec()], "{authorization:?}");
        let payments: Vec<String> = sqlx::query_scalar(
            "SELECT CONCAT('pay_', LOWER(HEX(payment_id))) FROM payment WHERE order_id = ?",
        )
        .bind(authorization.asked["orderId"].as_str())
        .fetch_all(self.database())
        .await
        .expect("the payments can be read");
        let payment_id = &reply.json()["paymentId"];
        assert_eq!(json!(payments), json!([payment_id]), "{authorization:?}");
        let footprint = self.footprint(&payments[0]).await;
        let journal = ["1|0|memo:hold|memo:hold-contra|15000|KRW|-|-"];
        assert_eq!(footprint.ledger, journal, "{authorization:?}");
        let [event] = footprint.outbox.as_slice() else {
            panic!("{authorization:?}: {footprint:?}");
        };
        assert!(event.starts_with("1|payment.authorized|"), "{event}");
    }
}
