//! A merchant reads its own settlements, an operator everyone's, page by page.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use sqlx::AssertSqlSafe;
use testbed::{Apart, Testbed, fresh};
use uuid::Uuid;

/// A closed settlement of a merchant with so many items.
async fn settlement(bed: &Testbed, merchant_id: &str, day: &str, items: u32) -> String {
    let id = Uuid::now_v7().simple().to_string();
    let sql = format!(
        "INSERT INTO settlement_batch
             (settlement_id, merchant_id, currency, cycle, period_from, period_to, paid_out_on,
              status, item_count, captured, payout, updated_at)
         VALUES (UNHEX('{id}'), '{merchant_id}', 'KRW', 'DAILY', '{day}', '{day}', '{day}',
                 'CLOSED', {items}, {items} * 1000, {items} * 1000, '{day}');
         INSERT INTO settlement_item
         SELECT UNHEX(MD5(CONCAT('{id}', seq))), 2, 0, UNHEX('{id}'),
                IF(seq = 1, 'REFUND', 'CAPTURE'), 1000, 231, 21, 2, '{day}'
           FROM seq_1_to_{items}"
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(bed.database())
        .await
        .unwrap();
    format!("stl_{id}")
}

#[tokio::test]
async fn merchant_sees_its_own_and_operator_sees_all() {
    let apart = Apart::start("settlement", &["settlement-query"]).await;
    let bed = &apart.bed;
    let id = settlement(bed, "m-other", "1999-01-04", 1).await;
    let path = format!("/settlements/{id}");
    for caller in ["other", "ops"] {
        let shown = bed.caller(caller).get(&path).await;
        assert_eq!(shown.status, 200, "{:?}", shown.body);
        assert_eq!(shown.json()["merchantId"], "m-other");
    }
    for path in [
        path.clone(),
        format!("{path}/items"),
        "/settlements/stl_1".to_owned(),
    ] {
        let hidden = bed.caller("demo").get(&path).await;
        assert_eq!(
            (hidden.status, hidden.code().as_str()),
            (404, "settlement-not-found")
        );
    }
    let listed = bed
        .caller("other")
        .get("/settlements?from=1999-01-04&to=1999-01-04")
        .await;
    assert_eq!(listed.json()["data"][0]["settlementId"], id);
    let demo = bed.caller("demo");
    let none = demo
        .get("/settlements?from=1999-01-04&to=1999-01-04&merchantId=m-other")
        .await;
    assert_eq!(none.json()["data"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn items_add_up_over_the_pages() {
    let apart = Apart::start("settlement", &["settlement-query"]).await;
    let bed = &apart.bed;
    let merchant = fresh("m");
    let id = settlement(bed, &merchant, "1999-01-05", 45).await;
    let ops = bed.caller("ops");
    let mut seen: Vec<Value> = Vec::new();
    loop {
        let last = seen
            .last()
            .map(|item| item["itemId"].as_str().unwrap().to_owned());
        let after = last.map(|id| format!("&after={id}")).unwrap_or_default();
        let page = ops
            .get(&format!("/settlements/{id}/items?limit=20{after}"))
            .await;
        let page = page.json();
        seen.extend(page["data"].as_array().unwrap().iter().cloned());
        if page["hasMore"] == false {
            break;
        }
    }
    let sum = |name: &str| {
        seen.iter()
            .map(|item| item[name].as_i64().unwrap())
            .sum::<i64>()
    };
    assert_eq!(seen.len(), 45);
    assert_eq!(
        (sum("amount"), sum("fee"), sum("payOutAmount")),
        (43_000, 43 * 23, 43 * 977)
    );
}
