//! Every action has its effect, and is refused where it has none.

mod desk;

use std::slice;

use desk::{FIRST, Ours, Recon, SECOND, counts, recon::DAY, said, told};
use serde_json::{Value, json};

fn link(ours: &Ours) -> Value {
    json!({ "action": "link", "reason": "the order says so", "transactionKey": ours.key() })
}

fn pair(status: &str, result: &str) -> (String, String) {
    (status.to_owned(), result.to_owned())
}

#[tokio::test]
async fn accepted_item_is_closed_until_it_is_reopened() {
    let recon = Recon::new().await;
    let ours = Ours::capture(1_000);
    recon.ingest(slice::from_ref(&ours)).await;
    let items = recon
        .items_of(&[ours.row("k").replace(",1000,", ",900,")])
        .await;
    let item = items.line(2);
    assert_eq!(item.stands().await, pair("OPEN", "AMOUNT_MISMATCH"));
    let accepted = item.decided("accept").await;
    assert_eq!(accepted["status"], "CLOSED");
    assert_eq!(
        (&accepted["stake"], &accepted["currency"]),
        (&json!(-100), &json!("KRW"))
    );
    assert_eq!(
        (&accepted["keyId"], &accepted["operator"]),
        (&json!("ops"), &json!("m-ops"))
    );
    assert_eq!(accepted["before"]["status"], "OPEN");
    assert_eq!(accepted["before"]["transactionKey"], ours.key());
    assert_eq!(item.stands().await, pair("CLOSED", "AMOUNT_MISMATCH"));
    for action in ["accept", "write-off", "reprocess", "approve", "reject"] {
        assert_eq!(item.refused(action).await, "item-not-open", "{action}");
    }
    let reopened = item.decided("reopen").await;
    assert_eq!(reopened["concerns"], accepted["caseId"]);
    assert_eq!(item.stands().await, pair("OPEN", "AMOUNT_MISMATCH"));
    assert_eq!(item.refused("reopen").await, "item-not-open");
    let expected = [
        (true, Some(-100), "m-demo".to_owned()),
        (false, Some(-100), "m-demo".to_owned()),
    ];
    assert_eq!(told(&recon, &accepted["caseId"]).await, expected);
    let written_off = item.decided("write-off").await;
    let expected = [(true, Some(-100), "m-demo".to_owned())];
    assert_eq!(told(&recon, &written_off["caseId"]).await, expected);
    let decisions = item.shown().await["decisions"].clone();
    assert_eq!(decisions, json!([accepted, reopened, written_off]));
}

#[tokio::test]
async fn stake_is_what_theirs_is_more_than_ours() {
    let recon = Recon::new().await;
    let [amount, undone, date, absent, paid] = [100, 200, 300, 400, 500].map(Ours::capture);
    let back = paid.refund(50);
    let all = [&amount, &undone, &date, &absent, &paid, &back].map(Clone::clone);
    recon.ingest(&all).await;
    let unknown = Ours::capture(600);
    let rows = [
        amount.row("k").replace(",100,", ",130,"),
        undone.row("k").replace("DONE", "CANCELED"),
        date.row("k").replace(DAY, "2026-03-29"),
        unknown.row("k"),
        paid.row("k"),
        paid.row("k"),
        unknown.refund(70).row("k"),
    ];
    let items = recon.items_of(&rows).await;
    for (item, stake, account_of) in [
        (items.line(2), Some(30), "m-demo"),
        (items.line(3), Some(-200), "m-demo"),
        (items.line(4), None, "m-demo"),
        (items.line(5), Some(600), "house"),
        (items.line(7), Some(500), "m-demo"),
        (items.line(8), Some(-70), "house"),
        (items.missing(&absent), Some(-400), "m-demo"),
        (items.missing(&back), Some(50), "m-demo"),
    ] {
        if stake.is_none() {
            assert_eq!(item.refused("write-off").await, "nothing-to-write-off");
        }
        let accepted = item.decided("accept").await;
        let expected = [(true, stake, account_of.to_owned())];
        assert_eq!(
            told(&recon, &accepted["caseId"]).await,
            expected,
            "{}",
            item.id
        );
        assert_eq!(item.stands().await.0, "CLOSED");
    }
    assert_eq!(items.line(6).refused("accept").await, "item-not-open");
    let ops = recon.bed().caller(FIRST);
    for (status, count) in [("OPEN", 0), ("PENDING", 0), ("CLOSED", 9)] {
        let path = format!("/recon/items?fileId={}&status={status}", items.file_id);
        let listed = ops.get(&path).await.json();
        assert_eq!(listed["data"].as_array().unwrap().len(), count, "{status}");
    }
}

#[tokio::test]
async fn linked_row_is_judged_and_its_transaction_is_missing_no_more() {
    let recon = Recon::new().await;
    let [same, other, taken] = [100, 200, 300].map(Ours::capture);
    recon
        .ingest(&[same.clone(), other.clone(), taken.clone()])
        .await;
    let row = |ours: &Ours, key: &str| ours.row("k").replace(&ours.key(), key);
    let rows = [
        row(&same, "T-1"),
        row(&same, "T-2"),
        taken.row("k"),
        "x,,,?,1,KRW,x,".to_owned(),
    ];
    let items = recon.items_of(&rows).await;
    let before = counts(&recon).await;
    for (item, ours, why) in [
        (items.line(2), &Ours::capture(1), "does not exist"),
        (items.line(2), &taken, "is another row"),
        (items.line(5), &same, "cannot be read"),
        (items.missing(&same), &same, "no row of a file"),
    ] {
        let reply = item.decide(FIRST, &link(ours)).await;
        assert_eq!(reply.code(), "transaction-not-linkable");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why), "{detail}");
    }
    assert_eq!(counts(&recon).await, before, "a refusal changes nothing");

    let linked = items.line(2).decide(FIRST, &link(&same)).await.json();
    assert_eq!(
        linked["after"],
        json!({
            "result": "MATCHED", "status": "CLOSED", "transactionKey": same.key(),
        })
    );
    let ops = recon.bed().caller(FIRST);
    let gone = ops.get(&format!("/recon/items/itm_{}", same.key())).await;
    assert_eq!(gone.code(), "item-not-found");
    let linked = items.line(3).decide(FIRST, &link(&other)).await.json();
    assert_eq!(linked["after"]["result"], "AMOUNT_MISMATCH");
    assert_eq!(linked["after"]["status"], "OPEN");
    recon.matched().await;
    assert_eq!(
        items.line(3).stands().await,
        pair("OPEN", "AMOUNT_MISMATCH")
    );
    assert_eq!(items.line(3).decided("accept").await["stake"], -100);

    items.line(3).decided("reopen").await;
    let reopened = items.line(3).decided("reopen").await;
    assert_eq!(reopened["concerns"], linked["caseId"]);
    assert_eq!(
        items.line(3).stands().await,
        pair("OPEN", "MISSING_INTERNAL")
    );
    recon.matched().await;
    assert_eq!(
        items.line(3).stands().await,
        pair("OPEN", "MISSING_INTERNAL")
    );
    assert_eq!(
        items.missing(&other).stands().await,
        pair("OPEN", "MISSING_EXTERNAL")
    );
}

#[tokio::test]
async fn row_that_is_linked_anew_or_matched_again_is_linked_no_longer() {
    let recon = Recon::new().await;
    let [first, second] = [200, 300].map(Ours::capture);
    recon.ingest(&[first.clone(), second.clone()]).await;
    let unknown = Ours::capture(100);
    let items = recon.items_of(&[unknown.row("k")]).await;
    let item = items.line(2);
    let mut links = Vec::new();
    for ours in [&first, &second] {
        let linked = item.decide(FIRST, &link(ours)).await.json();
        assert_eq!(linked["after"]["transactionKey"], ours.key());
        links.push(linked["caseId"].clone());
    }
    recon.matched().await;
    let missing = items.missing(&first).stands().await;
    assert_eq!(missing, pair("OPEN", "MISSING_EXTERNAL"));
    item.decided("reprocess").await;
    for link in &links {
        let in_effect = told(&recon, link).await.into_iter().map(|it| it.0);
        assert_eq!(in_effect.collect::<Vec<_>>(), [true, false]);
    }
    recon.matched().await;
    assert_eq!(item.stands().await, pair("OPEN", "MISSING_INTERNAL"));
    assert_eq!(item.refused("reopen").await, "item-not-open");
}

#[tokio::test]
async fn transaction_that_is_decided_about_as_missing_is_linked_once_that_is_reopened() {
    let recon = Recon::new().await;
    let ours = Ours::capture(100);
    recon.ingest(slice::from_ref(&ours)).await;
    let items = recon
        .items_of(&[ours.row("k").replace(&ours.key(), "T-1")])
        .await;
    items.missing(&ours).decided("accept").await;
    let refused = items.line(2).decide(FIRST, &link(&ours)).await;
    assert_eq!(refused.code(), "transaction-not-linkable");
    items.missing(&ours).decided("reopen").await;
    let linked = items.line(2).decide(FIRST, &link(&ours)).await;
    assert_eq!(linked.status, 200, "{:?}", linked.body);
}

#[tokio::test]
async fn reprocessed_row_is_matched_again() {
    let recon = Recon::new().await;
    let [ours, absent] = [100, 200].map(Ours::capture);
    recon.ingest(&[ours.clone(), absent.clone()]).await;
    let rows = [
        ours.row("k").replace(",100,", ",70,"),
        "x,,,?,1,KRW,x,".to_owned(),
    ];
    let items = recon.items_of(&rows).await;
    let again = items.line(2).decided("reprocess").await;
    assert_eq!(
        again["after"],
        json!({ "result": null, "status": null, "transactionKey": null })
    );
    assert_eq!(items.line(2).refused("accept").await, "item-not-open");
    items.missing(&absent).decided("reprocess").await;
    assert_eq!(items.line(3).decided("reprocess").await["status"], "OPEN");
    recon.matched().await;
    assert_eq!(
        items.line(2).stands().await,
        pair("OPEN", "AMOUNT_MISMATCH")
    );
    assert_eq!(
        items.line(2).shown().await["ours"]["paymentId"],
        ours.payment_id()
    );
    assert_eq!(
        items.missing(&absent).stands().await,
        pair("OPEN", "MISSING_EXTERNAL")
    );
    assert_eq!(items.line(2).refused("reopen").await, "item-not-open");
    assert_eq!(counts(&recon).await, (3, 0), "nothing is told of it");
}

#[tokio::test]
async fn second_operator_decides_about_what_is_above_the_bound() {
    let recon = Recon::new().await;
    let unknown = [100_000, 100_001, 100_002].map(Ours::capture);
    let items = recon.items_of(&unknown.map(|it| it.row("k"))).await;
    assert_eq!(items.line(2).decided("accept").await["status"], "CLOSED");

    let item = items.line(3);
    let first = item.decide(FIRST, &said("accept")).await;
    assert_eq!(first.status, 202, "{:?}", first.body);
    let first = first.json();
    assert_eq!(first["status"], "PENDING");
    assert_eq!(item.stands().await, pair("PENDING", "MISSING_INTERNAL"));
    assert!(told(&recon, &first["caseId"]).await.is_empty());
    for action in ["approve", "reject"] {
        assert_eq!(item.refused(action).await, "second-operator-required");
    }
    for action in ["accept", "write-off", "reprocess", "reopen"] {
        assert_eq!(item.refused(action).await, "item-not-open", "{action}");
        let other = item.decide(SECOND, &said(action)).await;
        assert_eq!(other.code(), "item-not-open", "{action}");
    }
    let approved = item.decide(SECOND, &said("approve")).await;
    assert_eq!(approved.status, 200, "{:?}", approved.body);
    assert_eq!(approved.json()["concerns"], first["caseId"]);
    assert_eq!(item.stands().await.0, "CLOSED");
    let in_effect = (true, Some(100_001), "house".to_owned());
    let told_first = told(&recon, &first["caseId"]).await;
    assert_eq!(told_first, slice::from_ref(&in_effect));
    assert_eq!(item.decided("reopen").await["concerns"], first["caseId"]);
    let taken_back = (false, Some(100_001), "house".to_owned());
    let told_first = told(&recon, &first["caseId"]).await;
    assert_eq!(told_first, [in_effect, taken_back]);

    let item = items.line(4);
    let first = item.decide(SECOND, &said("write-off")).await;
    assert_eq!(first.status, 202);
    let rejected = item.decided("reject").await;
    assert_eq!(rejected["concerns"], first.json()["caseId"]);
    assert_eq!(item.stands().await.0, "OPEN");
    assert!(told(&recon, &first.json()["caseId"]).await.is_empty());
    assert_eq!(item.refused("reopen").await, "item-not-open");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let recon = Recon::new().await;
    let items = recon.items_of(&[Ours::capture(100).row("k")]).await;
    let item = items.line(2);
    for body in [
        json!({}),
        json!({ "action": "accept" }),
        json!({ "action": "burn", "reason": "r" }),
        json!({ "action": "accept", "reason": "" }),
        json!({ "action": "accept", "reason": "a\u{7}" }),
        json!({ "action": "accept", "reason": "r", "colour": "red" }),
        json!({ "action": "accept", "reason": "r", "transactionKey": "x" }),
        json!({ "action": "link", "reason": "r" }),
        json!({ "action": "link", "reason": "r", "transactionKey": "x" }),
    ] {
        let reply = item.decide(FIRST, &body).await;
        assert_eq!(reply.code(), "invalid-request", "{body}");
    }
    let forbidden = item.decide("demo", &said("accept")).await;
    assert_eq!(forbidden.code(), "role-forbidden");
    let ops = recon.bed().caller(FIRST);
    for id in [
        "none",
        "itm_9.2",
        "itm_1.99",
        &format!("itm_{}", Ours::capture(1).key()),
    ] {
        let path = format!("/recon/items/{id}/resolve");
        assert_eq!(
            ops.post(&path, &said("accept")).await.code(),
            "item-not-found"
        );
        let shown = ops.get(&format!("/recon/items/{id}")).await;
        assert_eq!(shown.code(), "item-not-found");
    }
    assert_eq!(counts(&recon).await, (0, 0));
}
