//! What is decided stays decided, whatever comes later, until a later file takes its place.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod desk;

use std::slice;

use desk::{FIRST, Ours, Recon, SECOND, recon::HEADER, said, told};
use serde_json::json;

#[tokio::test]
async fn late_event_does_not_change_what_is_decided() {
    let recon = Recon::new().await;
    let [late, pending, open] = [100, 100_001, 300].map(Ours::capture);
    let rows = [late.row("k"), pending.row("k"), open.row("k")];
    let items = recon.items_of(&rows).await;
    items.line(2).decided("accept").await;
    assert_eq!(
        items.line(3).decide(FIRST, &said("accept")).await.status,
        202
    );
    recon.ingest(&[late.clone(), pending, open.clone()]).await;
    recon.matched().await;
    let shown = items.line(2).shown().await;
    assert_eq!(
        (&shown["result"], &shown["status"]),
        (&json!("MISSING_INTERNAL"), &json!("CLOSED"))
    );
    assert_eq!(shown["ours"], json!(null));
    let shown = items.line(3).shown().await;
    assert_eq!(
        (&shown["result"], &shown["status"]),
        (&json!("MISSING_INTERNAL"), &json!("PENDING"))
    );
    assert_eq!(items.line(4).shown().await["result"], "MATCHED");
    assert_eq!(items.missing(&late).shown().await["status"], "OPEN");

    items.line(2).decided("reopen").await;
    items.line(2).decided("reprocess").await;
    recon.matched().await;
    assert_eq!(items.line(2).shown().await["result"], "MATCHED");
}

#[tokio::test]
async fn row_of_a_transaction_that_is_decided_about_as_missing_is_there_twice() {
    let recon = Recon::new().await;
    let ours = Ours::capture(100);
    recon.ingest(slice::from_ref(&ours)).await;
    let items = recon.items_of(&[Ours::capture(1).row("k")]).await;
    let missing = items.missing(&ours);
    missing.decided("accept").await;
    let body = format!("{}\n{}\n", HEADER, ours.row("k"));
    let taken = recon.send("2026-04-01.csv", body).await;
    assert_eq!(taken.status, 202);
    recon.matched().await;
    let file = taken.json()["fileId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let found = recon.items(&file).await;
    assert_eq!(found, [(Some(2), "DUPLICATE_EXTERNAL".to_owned(), None)]);
    assert_eq!(missing.shown().await["status"], "CLOSED");
}

/// A match finds at this moment that a row is a transaction, and has not said what comes of it.
async fn pair(recon: &Recon, line: u32, ours: &Ours) {
    let paired = sqlx::query("UPDATE recon_row SET payment_id = ?, seq = ? WHERE line = ?")
        .bind(ours.payment)
        .bind(ours.seq)
        .bind(line)
        .execute(recon.database())
        .await
        .unwrap();
    assert_eq!(paired.rows_affected(), 1);
}

#[tokio::test]
async fn item_that_is_being_matched_is_not_decided_about() {
    let recon = Recon::new().await;
    let ours = Ours::capture(100);
    recon.ingest(slice::from_ref(&ours)).await;
    let items = recon.items_of(&[Ours::capture(100).row("k")]).await;
    pair(&recon, 2, &ours).await;
    for item in [items.line(2), items.missing(&ours)] {
        for action in ["accept", "write-off", "reprocess"] {
            assert_eq!(item.refused(action).await, "item-not-open");
        }
    }
}

#[tokio::test]
async fn match_that_meets_a_decision_gives_way() {
    let recon = Recon::new().await;
    let ours = Ours::capture(100);
    recon.ingest(slice::from_ref(&ours)).await;
    let items = recon.items_of(&[Ours::capture(100).row("k")]).await;
    items.missing(&ours).decided("accept").await;
    pair(&recon, 2, &ours).await;
    recon.ingest(&[Ours::capture(1)]).await;
    recon.matched().await;
    let row = items.line(2).shown().await;
    assert_eq!(
        (&row["ours"], &row["result"]),
        (&json!(null), &json!("MISSING_INTERNAL"))
    );
    assert_eq!(items.missing(&ours).shown().await["status"], "CLOSED");
}

#[tokio::test]
async fn later_file_takes_the_decisions_of_the_earlier_one_back() {
    let recon = Recon::new().await;
    let [absent, other] = [100, 200].map(Ours::capture);
    recon.ingest(&[absent.clone(), other.clone()]).await;
    let unknown = [300, 400_000, 500].map(Ours::capture);
    let rows = unknown.clone().map(|it| it.row("k"));
    let items = recon.items_of(&rows).await;
    let accepted = items.line(2).decided("accept").await;
    let waiting = items.line(3).decide(SECOND, &said("accept")).await;
    assert_eq!(waiting.status, 202);
    let link = json!({ "action": "link", "reason": "r", "transactionKey": other.key() });
    let linked = items.line(4).decide(FIRST, &link).await;
    assert_eq!(linked.status, 200, "{:?}", linked.body);
    let written_off = items.missing(&absent).decided("write-off").await;

    let later = recon.items_of(&[absent.row("k"), other.row("k")]).await;
    let expected = [
        (Some(2), "MATCHED".to_owned(), Some(absent.key())),
        (Some(3), "MATCHED".to_owned(), Some(other.key())),
    ];
    assert_eq!(recon.items(&later.file_id).await, expected);
    for (line, action) in [(2, "reopen"), (3, "reject"), (4, "reopen")] {
        let shown = items.line(line).shown().await;
        assert_eq!(
            (&shown["status"], &shown["result"]),
            (&json!("CLOSED"), &json!("SUPERSEDED"))
        );
        let decisions = shown["decisions"].as_array().cloned().unwrap_or_default();
        assert_eq!(decisions.len(), 2);
        assert_eq!(decisions[1]["action"], action);
        assert_eq!(decisions[1]["operator"], "recon-match");
        assert_eq!(decisions[1]["concerns"], decisions[0]["caseId"]);
        assert_eq!(items.line(line).refused("reopen").await, "item-not-open");
        assert_eq!(items.line(line).refused("accept").await, "item-not-open");
    }
    let both = |stake, of: &str| [true, false].map(|in_effect| (in_effect, stake, of.to_owned()));
    let told_of = async |case: &serde_json::Value| told(&recon, &case["caseId"]).await;
    assert_eq!(told_of(&accepted).await, both(Some(300), "house"));
    assert_eq!(told_of(&written_off).await, both(Some(-100), "m-demo"));
    assert_eq!(told_of(&linked.json()).await, both(None, "house"));
    assert!(told_of(&waiting.json()).await.is_empty());
}

#[tokio::test]
async fn decisions_are_neither_changed_nor_deleted() {
    let recon = Recon::new().await;
    let url = sqlx::query_scalar::<_, String>("SELECT DATABASE()").fetch_one(recon.database());
    let database = url.await.unwrap_or_default();
    assert!(!database.is_empty());
    let rights: Vec<(String,)> = sqlx::query_as(
        "SELECT PRIVILEGE_TYPE FROM information_schema.TABLE_PRIVILEGES
          WHERE TABLE_SCHEMA = ? AND TABLE_NAME = 'recon_case' AND GRANTEE LIKE '%recon_fn%'
          ORDER BY 1",
    )
    .bind(database)
    .fetch_all(recon.database())
    .await
    .unwrap_or_default();
    let rights: Vec<&str> = rights.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(rights, ["INSERT", "SELECT"]);
}
