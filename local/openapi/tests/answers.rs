//! Real answers are the ones that `openapi.json` describes.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testbed::{Caller, Reply, Testbed, fresh, make_topic, send, seoul_day, until};

/// A real answer, with the route it came from.
struct Answer {
    method: &'static str,
    path: &'static str,
    reply: Reply,
}

const AUTHORIZE: &str = "/payments/authorize";
const CAPTURE: &str = "/payments/capture/{paymentId}";
const REFUND: &str = "/payments/refund/{paymentId}";
const VOID: &str = "/payments/void/{paymentId}";
const LIST: &str = "/payments";
const GET: &str = "/payments/{paymentId}";
const SETTLEMENTS: &str = "/settlements";
const SETTLEMENT: &str = "/settlements/{settlementId}";
const ITEMS: &str = "/settlements/{settlementId}/items";
const LETTERS: &str = "/dlq/{topic}";
const REPLAY: &str = "/dlq/{topic}/replay";
const PURGE: &str = "/dlq/{topic}/purge";
const UPLOAD: &str = "/payments/upload";
const FILE: &str = "/recon/files/{fileId}";
const RECON: &str = "/recon/items";
const ITEM: &str = "/recon/items/{itemId}";
const RESOLVE: &str = "/recon/items/{itemId}/resolve";
const WEBHOOKS: &str = "/webhooks";
const WEBHOOK: &str = "/webhooks/{webhookId}";
const RESEND: &str = "/webhooks/{webhookId}/resend";
const HEALTH: &str = "/healthz";
const OPENAPI: &str = "/openapi.json";
const TIMELINE: &str = "/payments/{paymentId}/timeline";

fn order() -> Value {
    json!({
        "orderId": fresh("order"), "amount": 15_000, "currency": "KRW", "description": "운동화",
        "customer": { "name": "Kim", "email": "kim@example.com", "phone": "010" },
        "metadata": { "cart": "c-1" },
    })
}

fn post(path: &'static str, reply: Reply) -> Answer {
    Answer {
        method: "post",
        path,
        reply,
    }
}

fn get(path: &'static str, reply: Reply) -> Answer {
    Answer {
        method: "get",
        path,
        reply,
    }
}

/// Authorizations, the first one accepted.
async fn authorizations(bed: &Testbed) -> Vec<Answer> {
    let (demo, asked) = (bed.caller("demo"), order());
    let request = |body: &str| demo.request("POST", AUTHORIZE).body(body.to_owned());
    let key = fresh("key");
    let replies = [
        demo.post_keyed(AUTHORIZE, &asked, &key).await,
        demo.post_keyed(AUTHORIZE, &asked, &key).await,
        demo.post(AUTHORIZE, &asked).await,
        demo.post(AUTHORIZE, &json!({ "amount": 0 })).await,
        request("{}").without_idempotency_key().send().await,
        bed.caller("ops").post(AUTHORIZE, &order()).await,
        request("{").send().await,
        request("{}").created(0).send().await,
        request(&" ".repeat(300_000)).send().await,
        request("{}").content_type("text/plain").send().await,
    ];
    replies
        .into_iter()
        .map(|reply| post(AUTHORIZE, reply))
        .collect()
}

/// Commands about a payment of 15,000 won in `REQUESTED`, and about one to be voided.
async fn commands(demo: &Caller, payment_id: &str, voidable: &str) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (path, payment_id, body) in [
        (REFUND, payment_id, json!({})),
        (CAPTURE, payment_id, json!({ "amount": 15_001 })),
        (CAPTURE, payment_id, json!({ "amount": 9_000 })),
        (CAPTURE, payment_id, json!({})),
        (REFUND, payment_id, json!({ "currency": "USD" })),
        (REFUND, payment_id, json!({ "amount": 9_001 })),
        (REFUND, payment_id, json!({ "amount": 1, "reason": "반품" })),
        (VOID, payment_id, json!({})),
        (VOID, "none", json!({})),
        (VOID, voidable, json!({})),
    ] {
        answers.push(post(
            path,
            demo.post(&path.replace("{paymentId}", payment_id), &body)
                .await,
        ));
    }
    answers
}

async fn queries(bed: &Testbed, payment_id: &str) -> Vec<Answer> {
    let demo = bed.caller("demo");
    let at = |path: &str| path.replace("{paymentId}", payment_id);
    vec![
        get(HEALTH, demo.get(HEALTH).await),
        get(OPENAPI, demo.get(OPENAPI).await),
        get(LIST, demo.get("/payments?limit=2").await),
        get(LIST, demo.get("/payments?limit=0").await),
        get(GET, demo.get(&at(GET)).await),
        get(GET, bed.caller("other").get(&at(GET)).await),
        get(TIMELINE, demo.get(&at(TIMELINE)).await),
        get(
            TIMELINE,
            demo.request("GET", &at(TIMELINE)).created(0).send().await,
        ),
    ]
}

/// Settlements of the day, of whose captures there is one at least.
async fn settlements(bed: &Testbed) -> Vec<Answer> {
    let (demo, ops) = (bed.caller("demo"), bed.caller("ops"));
    let today = seoul_day(0);
    let asked = json!({ "from": today, "to": today, "merchantId": "m-demo" });
    let closed = ops.post(SETTLEMENTS, &asked).await;
    let settlement_id = closed.json()["data"][0]["settlementId"].clone();
    let at = |path: &str| path.replace("{settlementId}", settlement_id.as_str().unwrap());
    let early = json!({ "from": today, "to": seoul_day(1) });
    vec![
        post(SETTLEMENTS, closed),
        post(SETTLEMENTS, ops.post(SETTLEMENTS, &early).await),
        post(SETTLEMENTS, demo.post(SETTLEMENTS, &asked).await),
        get(SETTLEMENTS, demo.get("/settlements?limit=2").await),
        get(SETTLEMENTS, demo.get("/settlements?limit=0").await),
        get(SETTLEMENT, demo.get(&at(SETTLEMENT)).await),
        get(SETTLEMENT, bed.caller("other").get(&at(SETTLEMENT)).await),
        get(ITEMS, demo.get(&at(ITEMS)).await),
        get(ITEMS, demo.get("/settlements/none/items").await),
    ]
}

/// A file of one row, which is none of our transactions.
async fn reconciliation(bed: &Testbed) -> Vec<Answer> {
    let (demo, ops) = (bed.caller("demo"), bed.caller("ops"));
    let row = format!("{},CAPTURE,1000,1999-01-04", fresh("key"));
    let upload = async |caller: &Caller, body: String, media_type: &str| {
        let request = caller.request("POST", UPLOAD).body(body);
        let request = request.header("x-filename", "1999-01-04.csv");
        post(UPLOAD, request.content_type(media_type).send().await)
    };
    let file = format!("transaction_key,type,amount,date\n{row}\n");
    let taken = upload(&ops, file.clone(), "text/csv").await;
    let file_id = taken.reply.json()["fileId"].as_str().unwrap().to_owned();
    let at = FILE.replace("{fileId}", &file_id);
    vec![
        taken,
        upload(&ops, row, "text/csv").await,
        upload(&ops, file.clone(), "text/plain").await,
        upload(&demo, file, "text/csv").await,
        get(FILE, ops.get(&at).await),
        get(FILE, ops.get("/recon/files/none").await),
        get(RECON, ops.get(&format!("{RECON}?fileId={file_id}")).await),
        get(RECON, ops.get(&format!("{RECON}?limit=0")).await),
        get(RECON, demo.get(RECON).await),
    ]
}

/// Decisions about the items of a file of two rows, one of which is above what one operator decides.
async fn decisions(bed: &Testbed) -> Vec<Answer> {
    let (demo, ops) = (bed.caller("demo"), bed.caller("ops"));
    let rows = [1_000, 200_000].map(|amount| {
        let key = fresh("key");
        format!("{key},CAPTURE,{amount},1999-01-05\n")
    });
    let file = format!("transaction_key,type,amount,date\n{}", rows.concat());
    let upload = ops.request("POST", UPLOAD).body(file);
    let upload = upload.header("x-filename", "1999-01-05.csv");
    let taken = upload.content_type("text/csv").send().await.json();
    let open = format!(
        "{RECON}?status=OPEN&fileId={}",
        taken["fileId"].as_str().unwrap()
    );
    let mut items = json!([]);
    until("both rows are open", async || {
        items = ops.get(&open).await.json()["data"].take();
        items.as_array().unwrap().len() == 2
    })
    .await;
    let at = |path: &str, index: usize| {
        path.replace("{itemId}", items[index]["itemId"].as_str().unwrap())
    };
    let nowhere = |path: &str| path.replace("{itemId}", "itm_0.0");
    let accept = json!({ "action": "accept", "reason": "their receipt says so" });
    let approve = json!({ "action": "approve", "reason": "so it does" });
    let link = json!({
        "action": "link", "reason": "a guess",
        "transactionKey": "pay_00000000000000000000000000000000-2",
    });
    let mut answers = Vec::new();
    for (caller, path, body) in [
        (&ops, at(RESOLVE, 0), &link),
        (&ops, at(RESOLVE, 0), &accept),
        (&ops, at(RESOLVE, 0), &accept),
        (&ops, at(RESOLVE, 1), &accept),
        (&ops, at(RESOLVE, 1), &approve),
        (&bed.caller("ops-2"), at(RESOLVE, 1), &approve),
        (&ops, nowhere(RESOLVE), &accept),
        (&ops, at(RESOLVE, 0), &json!({})),
        (&demo, at(RESOLVE, 0), &accept),
    ] {
        answers.push(post(RESOLVE, caller.post(&path, body).await));
    }
    answers.push(get(ITEM, ops.get(&at(ITEM, 1)).await));
    answers.push(get(ITEM, ops.get(&nowhere(ITEM)).await));
    answers
}

/// Dead letters of a topic that has two, one of which was given up.
async fn dead_letters(bed: &Testbed) -> Vec<Answer> {
    let ops = bed.caller("ops");
    let topic = format!("{}.settlement-ingest.dlq", fresh("made-up"));
    make_topic(&topic).await;
    let at = |path: &str| path.replace("{topic}", &topic);
    for value in [&b"{"[..], b"\xff"] {
        let headers = [
            ("ce_id", "made-up"),
            ("kafka_dlt-original-topic", "made-up"),
            ("kafka_dlt-original-partition", "0"),
            ("kafka_dlt-original-offset", "0"),
            ("kafka_dlt-original-timestamp", "0"),
            ("kafka_dlt-consumer-group", "settlement-ingest"),
        ];
        send(&topic, Some("k"), value, &headers).await;
    }
    let purge = json!({ "ids": ["0-0"], "reason": "no event" });
    let unknown = json!({ "ids": ["7-7"], "reason": "no event" });
    let nowhere = |path: &str| path.replace("{topic}", "nowhere");
    vec![
        post(PURGE, ops.post(&at(PURGE), &purge).await),
        post(PURGE, ops.post(&at(PURGE), &unknown).await),
        post(PURGE, ops.post(&nowhere(PURGE), &purge).await),
        post(REPLAY, ops.post(&at(REPLAY), &json!({})).await),
        post(REPLAY, ops.post(&nowhere(REPLAY), &json!({})).await),
        get(LETTERS, ops.get(&at(LETTERS)).await),
        get(
            LETTERS,
            ops.get(&format!("{}?status=PURGED", at(LETTERS))).await,
        ),
        get(LETTERS, ops.get(&nowhere(LETTERS)).await),
        get(LETTERS, bed.caller("demo").get(&at(LETTERS)).await),
    ]
}

/// Webhooks of a payment, which the merchant has no endpoint for.
async fn webhooks(bed: &Testbed, payment_id: &str) -> Vec<Answer> {
    let (demo, other) = (bed.caller("demo"), bed.caller("other"));
    let of_payment = format!("/webhooks?paymentId={payment_id}");
    let mut listed = demo.get(&of_payment).await;
    until("a webhook of the payment", async || {
        listed = demo.get(&of_payment).await;
        listed.json()["data"][0].is_object()
    })
    .await;
    let webhook_id = listed.json()["data"][0]["webhookId"].clone();
    let at = |path: &str| path.replace("{webhookId}", webhook_id.as_str().unwrap());
    vec![
        get(WEBHOOKS, listed),
        get(WEBHOOKS, demo.get("/webhooks?limit=0").await),
        get(WEBHOOK, demo.get(&at(WEBHOOK)).await),
        get(WEBHOOK, other.get(&at(WEBHOOK)).await),
        post(RESEND, demo.post_empty(&at(RESEND)).await),
        post(RESEND, other.post_empty(&at(RESEND)).await),
    ]
}

/// Answers of every route, accepted and refused.
async fn answers(bed: &Testbed) -> Vec<Answer> {
    let mut answers = authorizations(bed).await;
    let payment = answers[0].reply.json();
    let payment_id = payment["paymentId"].as_str().unwrap();
    let voidable = bed.authorized(1).await;
    answers.extend(commands(&bed.caller("demo"), payment_id, &voidable).await);
    answers.extend(queries(bed, payment_id).await);
    answers.extend(settlements(bed).await);
    answers.extend(reconciliation(bed).await);
    answers.extend(decisions(bed).await);
    answers.extend(dead_letters(bed).await);
    answers.extend(webhooks(bed, payment_id).await);
    answers
}

/// What the description says about the status of an answer.
fn described<'a>(openapi: &'a Value, answer: &Answer) -> &'a Value {
    let status = answer.reply.status.to_string();
    let responses = &openapi["paths"][answer.path][answer.method]["responses"];
    responses
        .get(&status)
        .unwrap_or_else(|| panic!("{} {status}", answer.path))
}

/// The schema of a description's body, which refuses members that are not described.
fn validator(openapi: &Value, described: &Value, media_type: &str) -> jsonschema::Validator {
    let mut schema = described["content"][media_type]["schema"].clone();
    assert!(schema.is_object(), "{media_type} in {described}");
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["unevaluatedProperties"] = json!(false);
    schema["components"] = openapi["components"].clone();
    jsonschema::validator_for(&schema).unwrap()
}

/// Path and method of every route.
fn routes(openapi: &Value) -> BTreeSet<(String, String)> {
    let paths = openapi["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().keys();
        methods.map(move |method| (path.clone(), method.clone()))
    });
    methods.collect()
}

#[tokio::test]
async fn answers_of_every_route_are_as_described() {
    let bed = Testbed::new().await;
    let published = bed.caller("demo").get("/openapi.json").await;
    assert_eq!(published.headers["content-type"], "application/json");
    let openapi = published.json();
    let mut accepted = BTreeSet::new();
    for answer in answers(&bed).await {
        let Answer {
            method,
            path,
            reply,
        } = &answer;
        let described = described(&openapi, &answer);
        let media_type = reply.headers["content-type"].to_str().unwrap();
        let body = reply.json();
        if let Err(error) = validator(&openapi, described, media_type).validate(&body) {
            panic!("{method} {path}: {error} in {body}");
        }
        for name in ["retry-after", "idempotent-replayed"] {
            let headers = described["headers"].as_object();
            let mut names = headers.into_iter().flat_map(serde_json::Map::keys);
            let is_described = names.any(|described| described.eq_ignore_ascii_case(name));
            assert!(
                is_described || !reply.headers.contains_key(name),
                "{method} {path} {}: {name}",
                reply.status
            );
        }
        if reply.status < 300 {
            accepted.insert((path.to_string(), method.to_string()));
        } else {
            let codes: Vec<_> = described["description"]
                .as_str()
                .unwrap()
                .split(", ")
                .collect();
            assert!(codes.contains(&reply.code().as_str()), "{body}");
        }
    }
    assert_eq!(
        accepted,
        routes(&openapi),
        "every route has an accepted answer here"
    );
}
