//! Periods are closed once, with the fees, carries and payout days that were agreed.

mod merchant;

use std::collections::BTreeSet;

use merchant::{Merchant, ROWS, events, figures};
use serde_json::json;
use testbed::{Apart, Testbed, fresh, seoul_day};

const FUNCTION: &str = "settle";
/// Requests that race.
const RACERS: usize = 8;

#[tokio::test]
async fn week_is_settled_as_a_statement_of_toss_payments_has_it() {
    let merchant = Merchant::new(231, "WEEKLY", 4).await;
    merchant.captured("2025-02-05", 64_601).await;
    let settled = merchant.settle("2025-02-03", "2025-02-09").await;
    assert_eq!(settled.len(), 1);
    let week = &settled[0];
    assert_eq!(figures(week), [64_601, 0, 1_356, 136, 0, 0, 63_109, 0]);
    assert_eq!(week["from"], "2025-02-03");
    assert_eq!(week["to"], "2025-02-09");
    assert_eq!(week["paidOutDate"], "2025-02-13");
    assert_eq!(week["cycle"], "WEEKLY");
    assert_eq!(merchant.settle("2025-02-09", "2025-02-09").await, settled);
    let not_due = merchant.settle("2025-02-10", "2025-02-15").await;
    assert!(not_due.is_empty(), "{not_due:?}");
}

#[tokio::test]
async fn days_are_paid_out_as_an_acquirer_announced_for_2022() {
    let merchant = Merchant::new(0, "DAILY", 6).await;
    for day in ["2022-04-26", "2022-04-27", "2022-04-28"] {
        merchant.captured(day, 1_000).await;
    }
    let settled = merchant.settle("2022-04-26", "2022-04-28").await;
    let days: Vec<_> = settled
        .iter()
        .map(|it| (&it["to"], &it["paidOutDate"]))
        .collect();
    let days = json!(days);
    assert_eq!(
        days,
        json!([
            ["2022-04-26", "2022-05-04"],
            ["2022-04-27", "2022-05-06"],
            ["2022-04-28", "2022-05-09"],
        ])
    );
}

#[tokio::test]
async fn refund_gives_its_fee_back_at_the_rate_of_its_capture_and_is_carried() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    let payment = merchant.captured("2026-03-02", 64_601).await;
    merchant.contract(2, "2026-03-03", 1_000, "DAILY", 2).await;
    let first = merchant.settle("2026-03-02", "2026-03-02").await;
    assert_eq!(figures(&first[0]), [64_601, 0, 1_356, 136, 0, 0, 63_109, 0]);

    let refund = (64_601, 64_601);
    merchant
        .source(payment, 3, "REFUND", "2026-03-03", 64_601, refund)
        .await;
    let again = merchant.settle("2026-03-02", "2026-03-02").await;
    assert_eq!(again, first, "a closed period stays as it is");
    let second = merchant.settle("2026-03-03", "2026-03-03").await;
    assert_eq!(
        figures(&second[0]),
        [0, 64_601, 0, 0, 1_356, 136, 0, 63_109]
    );

    merchant.captured("2026-03-04", 100_000).await;
    let third = merchant.settle("2026-03-04", "2026-03-04").await;
    assert_eq!(third[0]["carriedIn"], 63_109);
    assert_eq!(
        figures(&third[0]),
        [100_000, 0, 9_091, 909, 0, 0, 90_000 - 63_109, 0]
    );
}

#[tokio::test]
async fn what_was_not_settled_in_its_own_period_is_settled_in_the_next() {
    let merchant = Merchant::new(0, "DAILY", 2).await;
    merchant.captured("2026-03-02", 1_000).await;
    merchant.captured("2026-03-05", 10).await;
    let settled = merchant.settle("2026-03-05", "2026-03-06").await;
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0]["capturedAmount"], 1_010);
    merchant.captured("2026-03-05", 100).await;
    merchant.captured("2026-03-06", 20).await;
    let settled = merchant.settle("2026-03-06", "2026-03-06").await;
    assert_eq!(settled[0]["capturedAmount"], 120);
}

#[tokio::test]
async fn one_key_has_one_answer() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    merchant.captured("2026-03-02", 5_000).await;
    let ops = merchant.bed().caller("ops");
    let body = merchant.body("2026-03-02", "2026-03-02");
    let key = fresh("key");
    let first = ops.post_keyed("/settlements", &body, &key).await;
    assert_eq!((first.status, first.replayed()), (200, false));
    let again = ops.post_keyed("/settlements", &body, &key).await;
    assert_eq!((again.status, again.replayed()), (200, true));
    assert_eq!(again.body, first.body);
    let other = merchant.body("2026-03-01", "2026-03-02");
    let reused = ops.post_keyed("/settlements", &other, &key).await;
    assert_eq!(
        (reused.status, reused.code().as_str()),
        (409, "idempotency-key-reused")
    );
}

#[tokio::test]
async fn requests_that_race_settle_once() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    merchant.captured_many("2026-03-02", ROWS).await;
    let requests = (0..RACERS).map(|_| merchant.ask("2026-03-02", "2026-03-02"));
    let replies = futures_util::future::join_all(requests).await;
    let bodies: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 200, "{:?}", reply.body);
            reply.json().to_string()
        })
        .collect();
    assert_eq!(bodies.len(), 1);
    let settlement = &replies[0].json()["data"][0];
    assert_eq!(settlement["itemCount"], ROWS);
    assert_eq!(events(merchant.bed(), settlement).await, 1);
}

#[tokio::test]
async fn period_is_not_closed_while_events_are_on_the_way() {
    let payer = Testbed::new().await;
    payer.captured(7_777).await;
    let today = seoul_day(0);
    let body = json!({ "from": today, "to": today, "merchantId": "m-demo" });
    let unreached = Apart::start("settlement", &["settle"]).await;
    let ops = unreached.bed.caller("ops");
    let refused = ops.post("/settlements", &body).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "period-not-closable"),
        "{:?}",
        refused.body
    );
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("m-demo"), "{detail}");
    let closed = payer.caller("ops").post("/settlements", &body).await;
    assert_eq!(closed.status, 200, "{:?}", closed.body);
    assert_eq!(closed.json()["data"][0]["merchantId"], "m-demo");
}

#[tokio::test]
async fn what_cannot_be_closed_is_refused_and_changes_nothing() {
    let merchant = Merchant::new(0, "DAILY", 2).await;
    merchant.captured("2021-06-01", 1_000).await;
    let unknown_year = merchant.ask("2021-06-01", "2021-06-01").await;
    assert_eq!(unknown_year.code(), "period-not-closable");
    assert!(
        unknown_year.json()["detail"]
            .as_str()
            .unwrap()
            .contains("2021")
    );
    let future = merchant.ask("2026-03-02", "2027-12-31").await;
    assert_eq!(
        (future.status, future.code().as_str()),
        (400, "invalid-request")
    );
    let tomorrow = seoul_day(1);
    let early = merchant.ask(&tomorrow, &tomorrow).await;
    assert_eq!(early.code(), "period-not-closable");
    let turned = merchant.ask("2026-03-02", "2026-03-01").await;
    assert_eq!(turned.code(), "invalid-request");
    let ops = merchant.bed().caller("ops");
    for body in [
        json!({}),
        json!({"from": "2026-03-02", "to": 7}),
        json!({"from": "2026-03-02", "to": "2026-03-02", "fee": 0}),
    ] {
        assert_eq!(
            ops.post("/settlements", &body).await.code(),
            "invalid-request",
            "{body}"
        );
    }
    let body = merchant.body("2026-03-02", "2026-03-02");
    let other_role = merchant
        .bed()
        .caller("demo")
        .post("/settlements", &body)
        .await;
    assert_eq!(other_role.code(), "role-forbidden");
    let batches: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM settlement_batch WHERE merchant_id = ?")
            .bind(&merchant.id)
            .fetch_one(merchant.bed().database())
            .await
            .unwrap();
    assert_eq!(batches, 0);
}

#[tokio::test]
async fn schedule_closes_what_is_due_until_yesterday() {
    let merchant = Merchant::new(0, "DAILY", 2).await;
    let yesterday = seoul_day(-1);
    merchant.captured(&yesterday, 1_000).await;
    let report = merchant.bed().invoke(FUNCTION, &json!({})).await;
    assert_eq!(report["closed"], 1, "{report}");
    let settled = merchant.settle(&yesterday, &yesterday).await;
    assert_eq!(settled.len(), 1);
    assert_eq!(events(merchant.bed(), &settled[0]).await, 1);
}

#[tokio::test]
async fn timeline_of_a_payment_shows_how_it_was_settled() {
    let bed = Testbed::new().await;
    let (other, ops) = (bed.caller("other"), bed.caller("ops"));
    let asked = json!({ "orderId": fresh("order"), "amount": 64_601, "currency": "KRW" });
    let authorized = other.post("/payments/authorize", &asked).await.json();
    let payment = authorized["paymentId"].as_str().unwrap();
    let capture = format!("/payments/capture/{payment}");
    assert_eq!(other.post_empty(&capture).await.status, 200);
    let today = seoul_day(0);
    let body = json!({ "from": today, "to": today, "merchantId": "m-other" });
    let settled = ops.post("/settlements", &body).await;
    assert_eq!(settled.status, 200, "{:?}", settled.body);
    let timeline = other.get(&format!("/payments/{payment}/timeline")).await;
    let steps = timeline.json()["data"].clone();
    assert_eq!(steps[0].get("settlement"), None);
    let settlement = &settled.json()["data"][0];
    let expected = json!({
        "settlementId": settlement["settlementId"], "fee": 1_492, "payOutAmount": 63_109,
        "paidOutDate": settlement["paidOutDate"],
    });
    assert_eq!(steps[1]["settlement"], expected);
}
