//! A merchant of a test's own, with payments and contracts that the test makes.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part, and fails by panicking"
)]

use serde_json::{Value, json};
use sqlx::{MySql, QueryBuilder};
use testbed::{Apart, Reply, Testbed, fresh, seoul_day};
use uuid::Uuid;

/// Rows of one INSERT.
pub(crate) const ROWS: usize = 4_000;

/// A merchant whose payments are known to a settlement service of its own alone, to which the days
/// before today count as proven.
pub(crate) struct Merchant {
    pub(crate) apart: Apart,
    pub(crate) id: String,
}

impl Merchant {
    pub(crate) async fn new(fee_bp: u16, cycle: &str, payout_days: u8) -> Self {
        let merchant = Self {
            apart: Apart::start("settlement", &["settle"]).await,
            id: fresh("m"),
        };
        sqlx::query("UPDATE settlement_control SET proven_through = ?")
            .bind(seoul_day(-1))
            .execute(merchant.bed().database())
            .await
            .unwrap();
        merchant
            .contract(1, "2021-01-01", fee_bp, cycle, payout_days)
            .await;
        merchant
    }

    pub(crate) fn bed(&self) -> &Testbed {
        &self.apart.bed
    }

    pub(crate) async fn contract(
        &self,
        revision: u16,
        from: &str,
        fee_bp: u16,
        cycle: &str,
        payout_days: u8,
    ) {
        sqlx::query(
            "INSERT INTO merchant_contract
                 (merchant_id, revision, effective_from, fee_bp, cycle, payout_days)
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.id)
        .bind(revision)
        .bind(from)
        .bind(fee_bp)
        .bind(cycle)
        .bind(payout_days)
        .execute(self.bed().database())
        .await
        .unwrap();
    }

    /// A capture of `amount` won at noon of a day in Seoul.
    pub(crate) async fn captured(&self, day: &str, amount: u64) -> Uuid {
        let payment = Uuid::now_v7();
        self.source(payment, 2, "CAPTURE", day, amount, (amount, 0))
            .await;
        payment
    }

    pub(crate) async fn source(
        &self,
        payment: Uuid,
        seq: u32,
        kind: &str,
        day: &str,
        amount: u64,
        (captured, refunded): (u64, u64),
    ) {
        sqlx::query(
            "INSERT INTO settlement_source
                 (payment_id, seq, event_id, merchant_id, kind, amount, currency, captured_amount,
                  refunded_amount, sold_on, occurred_at)
             VALUES (?, ?, ?, ?, ?, ?, 'KRW', ?, ?, ?, CONCAT(?, ' 03:00:00'))",
        )
        .bind(payment)
        .bind(seq)
        .bind(Uuid::new_v4())
        .bind(&self.id)
        .bind(kind)
        .bind(amount)
        .bind(captured)
        .bind(refunded)
        .bind(day)
        .bind(day)
        .execute(self.bed().database())
        .await
        .unwrap();
    }

    /// Captures of 1,000 won each.
    pub(crate) async fn captured_many(&self, day: &str, count: usize) {
        let payments: Vec<Uuid> = (0..count).map(|_| Uuid::now_v7()).collect();
        for payments in payments.chunks(ROWS) {
            let mut query = QueryBuilder::<MySql>::new(
                "INSERT INTO settlement_source (payment_id, seq, event_id, \
                     merchant_id, kind, amount, currency, captured_amount, refunded_amount, \
                     sold_on, occurred_at) ",
            );
            query.push_values(payments, |mut row, payment| {
                row.push_bind(payment)
                    .push("2")
                    .push_bind(payment)
                    .push_bind(&self.id)
                    .push("'CAPTURE', 1000, 'KRW', 1000, 0")
                    .push_bind(day)
                    .push_bind(format!("{day} 03:00:00"));
            });
            query.build().execute(self.bed().database()).await.unwrap();
        }
    }

    pub(crate) fn body(&self, from: &str, to: &str) -> Value {
        json!({ "from": from, "to": to, "merchantId": self.id })
    }

    pub(crate) async fn settle(&self, from: &str, to: &str) -> Vec<Value> {
        let reply = self.ask(from, to).await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        reply.json()["data"].as_array().unwrap().clone()
    }

    pub(crate) async fn ask(&self, from: &str, to: &str) -> Reply {
        let ops = self.bed().caller("ops");
        ops.post("/settlements", &self.body(from, to)).await
    }
}

/// The figures of a settlement.
pub(crate) fn figures(settlement: &Value) -> [u64; 8] {
    [
        "capturedAmount",
        "refundedAmount",
        "supplyAmount",
        "vat",
        "reversedSupplyAmount",
        "reversedVat",
        "payOutAmount",
        "carriedOut",
    ]
    .map(|name| settlement[name].as_u64().unwrap())
}

pub(crate) fn digits(settlement: &Value) -> String {
    let id = settlement["settlementId"].as_str().unwrap();
    id.trim_start_matches("stl_").to_owned()
}

/// How many events tell of a settlement.
pub(crate) async fn events(bed: &Testbed, settlement: &Value) -> i64 {
    sqlx::query_scalar(
        "SELECT COUNT(*) FROM outbox_event
          WHERE aggregateid = ? AND type = 'settlement.closed'",
    )
    .bind(settlement["settlementId"].as_str().unwrap())
    .fetch_one(bed.database())
    .await
    .unwrap()
}
