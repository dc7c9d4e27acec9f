//! What is decided comes to its journals in the payment ledger by the events that tell it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod desk;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use desk::{Ours, Recon, events};
use serde_json::{Value, json};
use testbed::Apart;

/// `seq`, merchant, debit, credit, amount, the journal it reverses.
type Entry = (u32, String, String, String, u64, Option<u32>);

async fn tell(payment: &Apart, events: &[Value]) {
    let records = events.iter().enumerate().map(|(offset, event)| {
        json!({
            "topic": "recon.resolved", "partition": 0, "offset": offset, "timestamp": 0,
            "timestampType": "CREATE_TIME", "key": null,
            "value": BASE64_STANDARD.encode(event.to_string()), "headers": [],
        })
    });
    let records: Vec<Value> = records.collect();
    let event = json!({
        "eventSource": "aws:SelfManagedKafka", "records": { "recon.resolved-0": records },
    });
    let answer = payment.bed.invoke("post-recon", &event).await;
    assert_eq!(answer, json!({ "batchItemFailures": [] }));
}

async fn entries(payment: &Apart, case_id: &Value) -> Vec<Entry> {
    sqlx::query_as(
        "SELECT seq, merchant_id, debit_account, credit_account, amount, reverses_seq
           FROM ledger_entry WHERE CONCAT('cas_', LOWER(HEX(subject_id))) = ? ORDER BY seq",
    )
    .bind(case_id.as_str().unwrap())
    .fetch_all(payment.bed.database())
    .await
    .unwrap()
}

#[tokio::test]
async fn decision_is_posted_and_what_takes_it_back_reverses_that() {
    let recon = Recon::new().await;
    let payment = Apart::start("payment", &["post-recon"]).await;
    let absent = Ours::capture(300);
    recon.ingest(std::slice::from_ref(&absent)).await;
    let items = recon.items_of(&[Ours::capture(700).row("k")]).await;
    let accepted = items.line(2).decided("accept").await["caseId"].clone();
    let written_off = items.missing(&absent).decided("write-off").await["caseId"].clone();
    items.missing(&absent).decided("reopen").await;
    for case_id in [&accepted, &written_off, &accepted] {
        tell(&payment, &events(&recon, case_id).await).await;
    }
    let entry = |seq, of: &str, debit: &str, credit: &str, amount| -> Entry {
        let reverses = (seq > 1).then_some(1);
        (
            seq,
            of.to_owned(),
            debit.to_owned(),
            credit.to_owned(),
            amount,
            reverses,
        )
    };
    let (network, expense) = ("asset:network-receivable", "expense:recon-write-off");
    let suspense = "liability:recon-suspense";
    let expected = [entry(1, "house", network, suspense, 700)];
    assert_eq!(entries(&payment, &accepted).await, expected);
    let expected = [
        entry(1, "m-demo", expense, network, 300),
        entry(2, "m-demo", network, expense, 300),
    ];
    assert_eq!(entries(&payment, &written_off).await, expected);
}
