//! One payment, and pages of payments.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use futures_util::future::join_all;
use serde_json::{Value, json};
use testbed::{Caller, Testbed, fresh};

/// Payments on a page when the query names no limit.
const LIMIT_DEFAULT: usize = 20;

/// A minute, at the end of a year before 2020, that no other test uses.
fn own_minute() -> String {
    let digits: String = fresh("")
        .bytes()
        .skip(1)
        .map(|byte| char::from(b'0' + byte % 10))
        .collect();
    let number = |range: std::ops::Range<usize>| digits[range].parse::<u32>().unwrap();
    let (year, month, day) = (
        1900 + number(0..2),
        1 + number(2..4) % 12,
        1 + number(4..6) % 28,
    );
    format!(
        "{year}-{month:02}-{day:02}T{:02}:{:02}",
        number(6..8) % 24,
        number(8..10) % 60
    )
}

/// Puts the authorization of payments at a moment, a time in UTC.
async fn authorized_at(bed: &Testbed, payment_ids: &[String], moment: &str) {
    for payment_id in payment_ids {
        sqlx::query("UPDATE payment SET created_at = ? WHERE payment_id = UNHEX(?)")
            .bind(moment)
            .bind(payment_id.trim_start_matches("pay_"))
            .execute(bed.database())
            .await
            .unwrap();
    }
}

async fn ids(caller: &Caller, query: &str) -> (Vec<String>, bool) {
    let reply = caller.get(&format!("/payments?{query}")).await;
    assert_eq!(reply.status, 200, "{query}: {:?}", reply.body);
    let page = reply.json();
    let id = |payment: &Value| payment["paymentId"].as_str().unwrap().to_owned();
    let ids = page["data"].as_array().unwrap().iter().map(id).collect();
    (ids, page["hasMore"].as_bool().unwrap())
}

#[tokio::test]
async fn a_payment_is_shown_as_its_last_change_left_it() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let payment_id = bed.captured(15_000).await;
    let refund = format!("/payments/refund/{payment_id}");
    let changed = demo.post(&refund, &json!({ "amount": 5_000 })).await;
    let shown = demo.get(&format!("/payments/{payment_id}")).await;
    assert_eq!((shown.status, shown.body), (200, changed.body));
    assert_eq!(shown.headers["content-type"], "application/json");
}

#[tokio::test]
async fn a_payment_that_is_not_there_is_not_found() {
    let bed = Testbed::new().await;
    let real = bed.authorized(1).await;
    let unknown = format!("pay_{}", "0".repeat(32));
    for payment_id in [
        &unknown,
        &real.to_uppercase(),
        "pay_",
        "1",
        &real[4..],
        "%00",
        "payments",
    ] {
        for path in [
            format!("/payments/{payment_id}"),
            format!("/payments/{payment_id}/timeline"),
        ] {
            let reply = bed.caller("demo").get(&path).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (404, "payment-not-found"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_parameter_that_nobody_reads_is_refused() {
    let bed = Testbed::new().await;
    let payment_id = bed.authorized(1).await;
    for (method, path) in [
        ("GET", format!("/payments/{payment_id}?expand=ledger")),
        ("GET", format!("/payments/{payment_id}/timeline?limit=1")),
        ("POST", format!("/payments/void/{payment_id}?dryRun=true")),
        ("POST", "/payments/authorize?capture=true".to_owned()),
    ] {
        let reply = bed.caller("demo").request(method, &path).send().await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{path}"
        );
    }
    let path = format!("/payments/{payment_id}");
    let payment = bed.caller("demo").get(&format!("{path}?")).await.json();
    assert_eq!(payment["status"], "REQUESTED", "no query is none");
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_without_a_gap() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let mut all = join_all((0..=LIMIT_DEFAULT).map(|_| bed.authorized(1))).await;
    let minute = own_minute();
    authorized_at(&bed, &all, &format!("{minute}:30")).await;
    all.sort_by(|left, right| right.cmp(left));
    let window = format!("from={minute}:00Z&to={minute}:59Z");

    assert_eq!(
        ids(&demo, &window).await,
        (all[..LIMIT_DEFAULT].to_vec(), true)
    );
    assert_eq!(
        ids(&demo, &format!("{window}&limit=21")).await,
        (all.clone(), false)
    );
    let mut seen = Vec::new();
    let mut query = format!("{window}&limit=8");
    for (count, more) in [(8, true), (8, true), (5, false)] {
        let (page, has_more) = ids(&demo, &query).await;
        assert_eq!((page.len(), has_more), (count, more));
        seen.extend(page);
        query = format!("{window}&limit=8&after={}", seen.last().unwrap());
    }
    assert_eq!(seen, all);
    assert_eq!(ids(&demo, &query).await, (Vec::new(), false));
}

#[tokio::test]
async fn a_list_shows_whole_payments_of_the_status_and_order_asked_for() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let (requested, completed) = (bed.authorized(1).await, bed.captured(1).await);
    let minute = own_minute();
    authorized_at(
        &bed,
        &[requested.clone(), completed.clone()],
        &format!("{minute}:00"),
    )
    .await;
    let window = format!("from={minute}:00Z&to={minute}:01Z");
    for (status, shown) in [
        ("REQUESTED", vec![requested]),
        ("COMPLETED", vec![completed.clone()]),
        ("VOIDED", vec![]),
    ] {
        assert_eq!(
            ids(&demo, &format!("{window}&status={status}")).await,
            (shown, false),
            "{status}"
        );
    }
    let payment = demo.get(&format!("/payments/{completed}")).await.json();
    let order_id = payment["orderId"].as_str().unwrap();
    let list = demo.get(&format!("/payments?orderId={order_id}")).await;
    assert_eq!(list.json(), json!({ "data": [payment], "hasMore": false }));
    assert_eq!(
        ids(&demo, &format!("orderId={}", fresh("order"))).await,
        (Vec::new(), false)
    );
}

#[tokio::test]
async fn a_day_is_one_of_seoul_from_its_first_to_its_last_millisecond() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let mut orders = Vec::new();
    for moment in [
        "2019-03-01 14:59:59.999",
        "2019-03-01 15:00:00.000",
        "2019-03-02 14:59:59.999",
        "2019-03-02 15:00:00.000",
    ] {
        let asked = json!({ "orderId": fresh("order"), "amount": 1, "currency": "KRW" });
        let payment = demo.post("/payments/authorize", &asked).await.json();
        let payment_id = payment["paymentId"].as_str().unwrap().to_owned();
        authorized_at(&bed, &[payment_id], moment).await;
        orders.push(payment["orderId"].as_str().unwrap().to_owned());
    }
    for (window, shown) in [
        ("from=2019-03-02&to=2019-03-02", [false, true, true, false]),
        ("from=2019-03-02", [false, true, true, true]),
        ("to=2019-03-02", [true, true, true, false]),
        ("from=2019-03-01&to=2019-03-03", [true, true, true, true]),
        (
            "from=2019-03-03&to=2019-03-02",
            [false, false, false, false],
        ),
        (
            "from=2019-03-01T15:00:00Z&to=2019-03-02T14:59:59.999Z",
            [false, true, false, false],
        ),
        (
            "from=2019-03-02T00:00:00%2B09:00",
            [false, true, true, true],
        ),
    ] {
        for (order_id, shown) in orders.iter().zip(shown) {
            let (found, _) = ids(&demo, &format!("{window}&orderId={order_id}")).await;
            assert_eq!(!found.is_empty(), shown, "{window} {order_id}");
        }
    }
}

#[tokio::test]
async fn a_wrong_parameter_is_refused() {
    let bed = Testbed::new().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1&limit=2",
        "status=PAID",
        "status=requested",
        "from=yesterday",
        "from=2026-02-30",
        "to=2026-13-01",
        "to=20260101",
        "after=1",
        "after=",
        "colour=red",
        "merchantId=m-other",
    ] {
        let reply = bed.caller("demo").get(&format!("/payments?{query}")).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{query}"
        );
    }
}
