//! Every step of a payment, as its merchant follows it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use testbed::{Apart, Event, Runtime, Testbed, fresh, seoul_day, until};

const REASON: &str = "사이즈가 작아요";

/// The step that a command became: the command's answer, its key, its entries and its event.
fn step(payment: &Value, path: &str, key: &str, entries: &[Value], event: &Event) -> Value {
    json!({
        "seq": payment["version"], "at": payment["updatedAt"], "status": payment["status"],
        "request": { "method": "POST", "path": path, "keyId": "demo", "idempotencyKey": key },
        "ledger": entries,
        "event": {
            "id": event.value["id"], "topic": event.topic, "partition": event.partition,
            "offset": event.offset,
        },
    })
}

/// An entry that the change to `payment` posted.
fn entry(payment: &Value, debit: &str, credit: &str, amount: u64) -> Value {
    let at = &payment["updatedAt"];
    json!({ "debit": debit, "credit": credit, "amount": amount, "currency": "KRW", "postedAt": at })
}

/// Takes the times of delivery out, which nothing else tells.
fn without_delivery_times(mut timeline: Value) -> Value {
    for step in timeline["data"].as_array_mut().unwrap() {
        let at = step["event"]
            .as_object_mut()
            .unwrap()
            .remove("deliveredAt")
            .unwrap();
        let at = at.as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z'), "{at}");
    }
    timeline
}

#[tokio::test]
async fn a_timeline_shows_request_status_entries_and_event_of_every_step_in_order() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let keys = ["first", "second", "third"].map(fresh);
    let asked = json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" });
    let authorized = demo
        .post_keyed("/payments/authorize", &asked, &keys[0])
        .await
        .json();
    let payment_id = authorized["paymentId"].as_str().unwrap();
    let [capturing, refunding] =
        ["capture", "refund"].map(|command| format!("/payments/{command}/{payment_id}"));
    let captured = demo
        .post_keyed(&capturing, &json!({ "amount": 9_000 }), &keys[1])
        .await
        .json();
    let asked = json!({ "amount": 4_000, "reason": REASON });
    let refunded = demo.post_keyed(&refunding, &asked, &keys[2]).await.json();
    assert_eq!(refunded["status"], "PARTIALLY_REFUNDED");

    let events = bed.events(payment_id, 3).await;
    let (hold, contra) = ("memo:hold", "memo:hold-contra");
    let (receivable, payable) = ("asset:network-receivable", "liability:merchant-payable");
    let first = [entry(&authorized, hold, contra, 15_000)];
    let second = [
        entry(&captured, contra, hold, 15_000),
        entry(&captured, receivable, payable, 9_000),
    ];
    let mut reversal = entry(&refunded, payable, receivable, 4_000);
    reversal["reversesSeq"] = json!(2);
    let mut third = step(&refunded, &refunding, &keys[2], &[reversal], &events[2]);
    third["request"]["reason"] = json!(REASON);
    let expected = json!({ "paymentId": payment_id, "data": [
        step(&authorized, "/payments/authorize", &keys[0], &first, &events[0]),
        step(&captured, &capturing, &keys[1], &second, &events[1]),
        third,
    ] });
    let timeline = demo.get(&format!("/payments/{payment_id}/timeline")).await;
    assert_eq!(without_delivery_times(timeline.json()), expected);
}

#[tokio::test]
async fn refused_commands_are_no_steps() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let payment_id = bed.authorized(15_000).await;
    let refused = demo
        .post_empty(&format!("/payments/refund/{payment_id}"))
        .await;
    assert_eq!(refused.status, 409);
    let timeline = demo
        .get(&format!("/payments/{payment_id}/timeline"))
        .await
        .json();
    let statuses: Vec<_> = timeline["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["status"])
        .collect();
    assert_eq!(statuses, ["REQUESTED"]);
}

/// A file of today, matched by a reconciliation of the test's own, which knows the payment: it has the
/// capture and nothing else. The file's id.
async fn reconciled(apart: &Apart, payment_id: &str) -> String {
    let day = seoul_day(0);
    let copy = "INSERT IGNORE INTO recon_transaction SELECT * FROM recon.recon_transaction
                 WHERE CONCAT('pay_', LOWER(HEX(payment_id))) = ?";
    let mut known = 0;
    until("the capture and the refund are known", async || {
        let copy = sqlx::query(copy).bind(payment_id);
        let copied = copy.execute(apart.bed.database()).await.unwrap();
        known += copied.rows_affected();
        known == 2
    })
    .await;
    let file = format!("transaction_key,type,amount,date\n{payment_id}-2,CAPTURE,15000,{day}\n");
    let ops = apart.bed.caller("ops");
    let upload = ops.request("POST", "/payments/upload").body(file);
    let upload = upload.content_type("text/csv");
    let reply = upload.header("x-filename", &format!("{day}.csv")).send();
    let reply = reply.await;
    assert_eq!(reply.status, 202, "{:?}", reply.body);
    apart.bed.invoke("recon-match", &json!({})).await;
    reply.json()["fileId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn steps_show_what_a_file_said_of_them_whatever_other_service_is_away() {
    let services = ["recon-upload", "recon-match", "recon-verdicts"];
    let apart = Apart::start("recon", &services).await;
    let payment_id = Testbed::new().await.refunded(15_000, 4_000).await;
    let asks_apart = Runtime::start(|all| {
        all.retain(|name, _| name == "payment-query");
        all["payment-query"]["environment"]["INVOKE_URL"] = apart.bed.invoke_url().into();
    });
    let demo = apart.bed.caller("demo").at(&asks_apart.url("http").await);
    let path = format!("/payments/{payment_id}/timeline");
    let verdicts = async || {
        let timeline = demo.get(&path).await;
        assert_eq!(timeline.status, 200, "{:?}", timeline.body);
        let timeline = timeline.json();
        let steps = timeline["data"].as_array().unwrap().iter();
        let said = steps.map(|step| step.get("reconciliation").cloned());
        said.collect::<Vec<_>>()
    };
    assert_eq!(verdicts().await, [None, None, None], "no file spoke yet");
    let file_id = reconciled(&apart, &payment_id).await;
    let expected = [
        None,
        Some(json!({ "result": "MATCHED", "fileId": file_id, "line": 2 })),
        Some(json!({ "result": "MISSING_EXTERNAL", "fileId": file_id })),
    ];
    assert_eq!(verdicts().await, expected);
}
