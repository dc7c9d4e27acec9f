//! Real answers are the ones that `openapi.json` describes.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testbed::{Reply, Testbed, fresh};

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
const TIMELINE: &str = "/payments/{paymentId}/timeline";

fn order() -> Value {
    json!({
        "orderId": fresh("order"), "amount": 15_000, "currency": "KRW", "description": "운동화",
        "customer": { "name": "Kim", "email": "kim@example.com", "phone": "010" },
        "metadata": { "cart": "c-1" },
    })
}

/// Answers of every route, accepted and refused.
async fn answers(bed: &Testbed) -> Vec<Answer> {
    let (demo, ops, asked) = (bed.caller("demo"), bed.caller("ops"), order());
    let held = demo.post(AUTHORIZE, &asked).await;
    let payment = held.json();
    let at = |path: &str| path.replace("{paymentId}", payment["paymentId"].as_str().unwrap());
    let post = |path: &'static str, reply: Reply| Answer {
        method: "post",
        path,
        reply,
    };
    let get = |path: &'static str, reply: Reply| Answer {
        method: "get",
        path,
        reply,
    };
    let voided = bed.authorized(1).await;
    let voided = VOID.replace("{paymentId}", &voided);
    let keyless = demo.request("POST", AUTHORIZE).without_idempotency_key();
    vec![
        post(AUTHORIZE, held),
        post(AUTHORIZE, demo.post(AUTHORIZE, &asked).await),
        post(
            AUTHORIZE,
            demo.post(AUTHORIZE, &json!({ "amount": 0 })).await,
        ),
        post(AUTHORIZE, keyless.send().await),
        post(AUTHORIZE, ops.post(AUTHORIZE, &order()).await),
        post(
            AUTHORIZE,
            demo.request("POST", AUTHORIZE).body("{").send().await,
        ),
        post(
            AUTHORIZE,
            demo.request("POST", AUTHORIZE)
                .body("{}")
                .created(0)
                .send()
                .await,
        ),
        post(
            AUTHORIZE,
            demo.request("POST", AUTHORIZE)
                .body(" ".repeat(300_000))
                .send()
                .await,
        ),
        post(
            AUTHORIZE,
            demo.request("POST", AUTHORIZE)
                .body("{}")
                .content_type("x/y")
                .send()
                .await,
        ),
        post(REFUND, demo.post_empty(&at(REFUND)).await),
        post(
            CAPTURE,
            demo.post(&at(CAPTURE), &json!({ "amount": 15_001 })).await,
        ),
        post(
            CAPTURE,
            demo.post(&at(CAPTURE), &json!({ "amount": 9_000 })).await,
        ),
        post(CAPTURE, demo.post_empty(&at(CAPTURE)).await),
        post(
            REFUND,
            demo.post(&at(REFUND), &json!({ "currency": "USD" })).await,
        ),
        post(
            REFUND,
            demo.post(&at(REFUND), &json!({ "amount": 9_001 })).await,
        ),
        post(
            REFUND,
            demo.post(&at(REFUND), &json!({ "amount": 1, "reason": "반품" }))
                .await,
        ),
        post(VOID, demo.post_empty(&at(VOID)).await),
        post(
            VOID,
            demo.post_empty(&VOID.replace("{paymentId}", "none")).await,
        ),
        post(VOID, demo.post_empty(&voided).await),
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
        if reply.status == 200 {
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
    let every_route: BTreeSet<_> = openapi["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|method| (path.clone(), method.clone()))
        })
        .collect();
    assert_eq!(
        accepted, every_route,
        "every route has an accepted answer here"
    );
}
