//! Periods are closed once, with the fees, carries and payout days that were agreed.

mod merchant;

use std::collections::BTreeSet;

use merchant::{Merchant, ROWS, events, figures};
use serde_json::json;
use testbed::{fresh, until};

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
    let ops = merchant.bed.caller("ops");
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
    assert_eq!(events(&merchant.bed, settlement).await, 1);
}

#[tokio::test]
async fn period_is_not_closed_while_events_are_on_the_way() {
    let merchant = Merchant::new(0, "DAILY", 2).await;
    let bed = &merchant.bed;
    let payment = bed.captured(7_777).await;
    let known = "payment_id = UNHEX(?) AND seq = 2";
    let digits = payment.trim_start_matches("pay_");
    let hide = format!("UPDATE settlement.settlement_source SET merchant_id = ? WHERE {known}");
    let hidden = fresh("m");
    until("the capture has arrived", async || {
        let hide = sqlx::query(sqlx::AssertSqlSafe(hide.as_str()));
        let done = hide
            .bind(&hidden)
            .bind(digits)
            .execute(bed.database())
            .await;
        done.unwrap().rows_affected() == 1
    })
    .await;
    let today: String =
        sqlx::query_scalar("SELECT CAST(DATE(UTC_TIMESTAMP() + INTERVAL 9 HOUR) AS CHAR)")
            .fetch_one(bed.database())
            .await
            .unwrap();
    let body = json!({ "from": today, "to": today, "merchantId": hidden });
    let refused = bed.caller("ops").post("/settlements", &body).await;
    let code = refused.code();
    assert_eq!(
        (refused.status, code.as_str()),
        (409, "period-not-closable"),
        "{:?}",
        refused.body
    );
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(&hidden), "{detail}");
    let show = sqlx::query(sqlx::AssertSqlSafe(hide.as_str()));
    show.bind("m-demo")
        .bind(digits)
        .execute(bed.database())
        .await
        .unwrap();
    let closed = bed.caller("ops").post("/settlements", &body).await;
    assert_eq!(
        (closed.status, closed.json()["data"].clone()),
        (200, json!([]))
    );
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
    let tomorrow = chrono::Utc::now().date_naive() + chrono::TimeDelta::days(2);
    let tomorrow = tomorrow.to_string();
    let early = merchant.ask(&tomorrow, &tomorrow).await;
    assert_eq!(early.code(), "period-not-closable");
    let turned = merchant.ask("2026-03-02", "2026-03-01").await;
    assert_eq!(turned.code(), "invalid-request");
    let ops = merchant.bed.caller("ops");
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
        .bed
        .caller("demo")
        .post("/settlements", &body)
        .await;
    assert_eq!(other_role.code(), "role-forbidden");
    let batches: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM settlement.settlement_batch WHERE merchant_id = ?",
    )
    .bind(&merchant.id)
    .fetch_one(merchant.bed.database())
    .await
    .unwrap();
    assert_eq!(batches, 0);
}

#[tokio::test]
async fn schedule_closes_what_is_due_until_yesterday() {
    let merchant = Merchant::new(0, "DAILY", 2).await;
    let yesterday = chrono::Utc::now() + chrono::TimeDelta::hours(9) - chrono::TimeDelta::days(1);
    let yesterday = yesterday.date_naive().to_string();
    merchant.captured(&yesterday, 1_000).await;
    let report = merchant.bed.invoke(FUNCTION, &json!({})).await;
    assert!(report["closed"].as_u64().unwrap() >= 1, "{report}");
    let settled = merchant.settle(&yesterday, &yesterday).await;
    assert_eq!(settled.len(), 1);
    assert_eq!(events(&merchant.bed, &settled[0]).await, 1);
}

#[tokio::test]
async fn timeline_of_a_payment_shows_how_it_was_settled() {
    let merchant = Merchant::new(231, "DAILY", 2).await;
    let bed = &merchant.bed;
    let payment = bed.captured(64_601).await;
    let lines = "settlement.settlement_source WHERE payment_id = UNHEX(?)";
    let digits = payment.trim_start_matches("pay_");
    until("the capture has arrived", async || {
        let count = format!("SELECT COUNT(*) FROM {lines}");
        let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(count));
        count.bind(digits).fetch_one(bed.database()).await.unwrap() == 1
    })
    .await;
    // Another merchant's for a moment, so that nobody else's day is closed.
    sqlx::query(
        "UPDATE settlement.settlement_source
            SET merchant_id = ?, sold_on = '2026-03-02', occurred_at = '2026-03-02 03:00:00'
          WHERE payment_id = UNHEX(?)",
    )
    .bind(&merchant.id)
    .bind(digits)
    .execute(bed.database())
    .await
    .unwrap();
    let settled = merchant.settle("2026-03-02", "2026-03-02").await;
    let timeline = bed
        .caller("demo")
        .get(&format!("/payments/{payment}/timeline"))
        .await;
    let steps = timeline.json()["data"].clone();
    assert_eq!(steps[0].get("settlement"), None);
    let expected = json!({
        "settlementId": settled[0]["settlementId"], "fee": 1_492, "payOutAmount": 63_109,
        "paidOutDate": settled[0]["paidOutDate"],
    });
    assert_eq!(steps[1]["settlement"], expected);
    let back = "UPDATE settlement.settlement_source s JOIN payment.payment p USING (payment_id)
                   SET s.merchant_id = p.merchant_id, s.occurred_at = p.updated_at,
                       s.sold_on = DATE(p.updated_at + INTERVAL 9 HOUR)
                 WHERE payment_id = UNHEX(?)";
    sqlx::query(back)
        .bind(digits)
        .execute(bed.database())
        .await
        .unwrap();
}
