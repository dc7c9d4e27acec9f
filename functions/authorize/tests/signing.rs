//! Who is believed, and who may do what.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc;

use chrono::Utc;
use futures_util::future::join_all;
use http::HeaderMap;
use serde_json::{Value, json};
use testbed::{Caller, Reply, RequestBuilder, Testbed, fresh, until};

const AUTHORIZE: &str = "/payments/authorize";
/// Requests at once that are more than the `limited` key's 5 per second.
const MORE_THAN_ALLOWED: usize = 20;

fn order() -> Value {
    json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" })
}

/// A request that is right.
fn valid(caller: &Caller) -> RequestBuilder {
    caller.request("POST", AUTHORIZE).body(order().to_string())
}

/// The headers of a signed request that is never sent whole: its signature is taken away.
async fn signed(request: RequestBuilder) -> HeaderMap {
    let (sender, receiver) = mpsc::channel();
    let request = request.tamper(move |headers| {
        sender.send(headers.clone()).unwrap();
        headers.remove("signature");
    });
    assert_ne!(request.send().await.status, 200);
    receiver.recv().unwrap()
}

/// Sends a request with the headers of another.
async fn send_with(request: RequestBuilder, headers: HeaderMap) -> Reply {
    request.tamper(move |own| *own = headers).send().await
}

/// Rewrites the parameters of a signature.
fn rewrite(headers: &mut HeaderMap, from: &str, to: &str) {
    let input = headers["signature-input"].to_str().unwrap();
    assert!(input.contains(from), "{input}");
    let input = input.replace(from, to).parse().unwrap();
    headers.insert("signature-input", input);
}

fn assert_refused(reply: &Reply, status: u16, code: &str) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (status, code),
        "{:?}",
        reply.body
    );
}

#[tokio::test]
async fn a_request_without_a_whole_signature_is_refused() {
    let bed = Testbed::new().await;
    for missing in [
        &["signature", "signature-input"][..],
        &["signature"],
        &["signature-input"],
    ] {
        let request = valid(&bed.caller("demo")).tamper(move |headers| {
            for name in missing {
                headers.remove(*name);
            }
        });
        assert_refused(&request.send().await, 401, "signature-missing");
    }
}

#[tokio::test]
async fn a_key_id_that_nobody_holds_is_refused() {
    let bed = Testbed::new().await;
    let request = valid(&bed.caller("demo"));
    let request = request.tamper(|headers| rewrite(headers, "\"demo\"", "\"nobody\""));
    assert_refused(&request.send().await, 401, "key-unknown");
}

#[tokio::test]
async fn a_signature_that_is_altered_or_unreadable_is_refused() {
    let bed = Testbed::new().await;
    let rewrites = [
        ("\"demo\"", "\"other\""),
        ("hmac-sha256", "ed25519"),
        (";alg=\"hmac-sha256\"", ""),
        (";created=", ";made="),
        (";created=", ";expires=now;created="),
        (";keyid=", ";key="),
        ("\"@method\" ", ""),
        ("\"@path\" ", ""),
        (" \"content-digest\"", ""),
        (" \"idempotency-key\"", ""),
        ("\"@method\"", "\"@method\" \"@method\""),
        ("\"@method\"", "\"@status\""),
        ("sig1=(", "sig1=(("),
        ("sig1=(", "sig1="),
    ];
    for (from, to) in rewrites {
        let request = valid(&bed.caller("demo")).tamper(move |headers| rewrite(headers, from, to));
        let reply = request.send().await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "signature-invalid"),
            "{to:?}"
        );
    }
    for signature in [
        "sig1=:AAAA:",
        "sig1=\"text\"",
        "sig1=(:AAAA:)",
        "sig1",
        "=",
        "::",
    ] {
        let request = valid(&bed.caller("demo")).tamper(move |headers| {
            headers.insert("signature", signature.parse().unwrap());
        });
        let reply = request.send().await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "signature-invalid"),
            "{signature}"
        );
    }
}

#[tokio::test]
async fn a_signature_is_believed_for_300_seconds_around_its_creation() {
    let bed = Testbed::new().await;
    let at = |offset_s| {
        valid(&bed.caller("demo"))
            .created(Utc::now().timestamp() + offset_s)
            .send()
    };
    for offset_s in [-240, 240] {
        assert_eq!(at(offset_s).await.status, 200, "{offset_s}");
    }
    for offset_s in [-360, 360, -1_000_000_000] {
        assert_refused(&at(offset_s).await, 401, "signature-expired");
    }
}

#[tokio::test]
async fn a_signature_for_another_method_or_path_is_refused() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let (signed_for, victim) = (bed.authorized(15_000).await, bed.authorized(15_000).await);
    let before = bed.footprint(&victim).await;
    let path = |payment_id: &str| format!("/payments/void/{payment_id}");
    for (method, signed_path) in [("GET", path(&victim)), ("POST", path(&signed_for))] {
        let headers = signed(demo.request(method, &signed_path).idempotency_key("k")).await;
        let reply = send_with(demo.request("POST", &path(&victim)), headers).await;
        assert_refused(&reply, 401, "signature-invalid");
    }
    assert_eq!(bed.footprint(&victim).await, before);
}

#[tokio::test]
async fn a_signature_for_another_query_is_refused() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    for (signed_for, sent) in [
        ("/payments?limit=1", "/payments?limit=2"),
        ("/payments", "/payments?limit=2"),
        ("/payments?limit=1", "/payments"),
        (
            "/payments?limit=1&status=VOIDED",
            "/payments?status=VOIDED&limit=1",
        ),
        ("/payments?status=VOIDED", "/payments?status=%56OIDED"),
    ] {
        let headers = signed(demo.request("GET", signed_for)).await;
        let reply = send_with(demo.request("GET", sent), headers).await;
        assert_refused(&reply, 401, "signature-invalid");
    }
}

#[tokio::test]
async fn another_body_than_the_signed_one_is_refused() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let swapped = valid(&demo).sent_body(order().to_string()).send().await;
    assert_refused(&swapped, 401, "digest-mismatch");

    let other_digest = signed(valid(&demo)).await["content-digest"].clone();
    let digest =
        valid(&demo).tamper(|headers| drop(headers.insert("content-digest", other_digest)));
    assert_refused(&digest.send().await, 401, "signature-invalid");

    let undigested = valid(&demo).tamper(|headers| drop(headers.remove("content-digest")));
    assert_refused(&undigested.send().await, 401, "signature-invalid");

    let added = demo
        .request("POST", AUTHORIZE)
        .body("")
        .sent_body(order().to_string());
    assert_refused(&added.send().await, 401, "signature-invalid");
}

#[tokio::test]
async fn another_idempotency_key_than_the_signed_one_is_refused() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let changed = valid(&demo).tamper(|headers| {
        headers.insert("idempotency-key", fresh("key").parse().unwrap());
    });
    assert_refused(&changed.send().await, 401, "signature-invalid");
    let removed = valid(&demo).tamper(|headers| drop(headers.remove("idempotency-key")));
    assert_refused(&removed.send().await, 401, "signature-invalid");
    let added = valid(&demo).without_idempotency_key().tamper(|headers| {
        headers.insert("idempotency-key", fresh("key").parse().unwrap());
    });
    assert_refused(&added.send().await, 401, "signature-invalid");
}

#[tokio::test]
async fn a_header_that_counts_must_not_be_sent_twice() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let other = signed(valid(&demo)).await;
    let [signature, input] = ["signature", "signature-input"].map(|name| {
        let value = other.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or("sig1=:AAAA:").to_owned()
    });
    for (name, second, status, code) in [
        ("signature", None, 401, "signature-invalid"),
        ("signature", Some(signature), 401, "signature-invalid"),
        ("signature-input", None, 401, "signature-invalid"),
        ("signature-input", Some(input), 401, "signature-invalid"),
        ("content-digest", None, 401, "signature-invalid"),
        ("content-type", None, 415, "media-type"),
        (
            "content-type",
            Some("text/plain".to_owned()),
            415,
            "media-type",
        ),
    ] {
        for first in [false, true] {
            let (asked, second) = (order(), second.clone());
            let request = demo.request("POST", AUTHORIZE).body(asked.to_string());
            let request = request.tamper(move |headers| {
                let own = headers[name].clone();
                let second = second.map_or_else(|| own.clone(), |text| text.parse().unwrap());
                headers.append(name, second.clone());
                if first {
                    headers.insert(name, second);
                    headers.append(name, own);
                }
            });
            let reply = request.send().await;
            assert_refused(&reply, status, code);
            let path = format!("/payments?orderId={}", asked["orderId"].as_str().unwrap());
            assert_eq!(demo.get(&path).await.json()["data"], json!([]), "{name}");
        }
    }
}

#[tokio::test]
async fn a_captured_request_sent_again_gets_the_stored_answer_and_no_second_payment() {
    let bed = Testbed::new().await;
    let (demo, body) = (bed.caller("demo"), order().to_string());
    let request = || demo.request("POST", AUTHORIZE).body(body.clone());
    let (sender, receiver) = mpsc::channel();
    let first = request().tamper(move |headers| sender.send(headers.clone()).unwrap());
    let first = first.send().await;
    assert_eq!(
        (first.status, first.replayed()),
        (200, false),
        "{:?}",
        first.body
    );
    let again = send_with(request(), receiver.recv().unwrap()).await;
    assert_eq!(
        (again.status, again.replayed()),
        (200, true),
        "{:?}",
        again.body
    );
    assert_eq!(again.body, first.body);
}

#[tokio::test]
async fn an_operator_may_not_authorize() {
    let bed = Testbed::new().await;
    assert_refused(
        &valid(&bed.caller("ops")).send().await,
        403,
        "role-forbidden",
    );
}

#[tokio::test]
async fn another_merchants_payment_does_not_exist() {
    let bed = Testbed::new().await;
    let other = bed.caller("other");
    let payment_id = bed.captured(15_000).await;
    let before = bed.footprint(&payment_id).await;
    for path in [
        format!("/payments/{payment_id}"),
        format!("/payments/{payment_id}/timeline"),
    ] {
        assert_refused(&other.get(&path).await, 404, "payment-not-found");
    }
    for command in ["capture", "refund", "void"] {
        let reply = other
            .post_empty(&format!("/payments/{command}/{payment_id}"))
            .await;
        assert_refused(&reply, 404, "payment-not-found");
    }
    assert_eq!(bed.footprint(&payment_id).await, before);
    let order_id = bed
        .caller("demo")
        .get(&format!("/payments/{payment_id}"))
        .await
        .json();
    let order_id = order_id["orderId"].as_str().unwrap();
    let list = other.get(&format!("/payments?orderId={order_id}")).await;
    assert_eq!(list.json()["data"], json!([]));
}

#[tokio::test]
async fn an_operator_sees_every_merchants_payments_and_may_change_them() {
    let bed = Testbed::new().await;
    let ops = bed.caller("ops");
    for key_id in ["demo", "other"] {
        let payment = valid(&bed.caller(key_id)).send().await.json();
        let (payment_id, order_id) = (&payment["paymentId"], &payment["orderId"]);
        let path = format!("/payments/{}", payment_id.as_str().unwrap());
        assert_eq!(ops.get(&path).await.json(), payment);
        assert_eq!(
            ops.get(&format!("{path}/timeline")).await.json()["paymentId"],
            *payment_id
        );
        let list = ops
            .get(&format!("/payments?orderId={}", order_id.as_str().unwrap()))
            .await;
        assert_eq!(list.json()["data"], json!([payment]));
        let voided = ops
            .post_empty(&path.replace("/payments", "/payments/void"))
            .await;
        assert_eq!(voided.json()["status"], "VOIDED", "{:?}", voided.body);
    }
}

#[tokio::test]
async fn a_merchant_above_its_rate_waits_and_the_others_do_not() {
    let bed = Testbed::new().await;
    let (limited, spent, key) = (bed.caller("limited"), order(), fresh("key"));
    let mut refused = None;
    until("a request above the rate", async || {
        let requests = (0..MORE_THAN_ALLOWED).map(|_| limited.post_keyed(AUTHORIZE, &spent, &key));
        refused = join_all(requests)
            .await
            .into_iter()
            .find(|reply| reply.status == 429);
        refused.is_some()
    })
    .await;
    let refused = refused.unwrap();
    assert_refused(&refused, 429, "rate-limited");
    let retry_after_s: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=10).contains(&retry_after_s), "{retry_after_s}");
    assert_eq!(refused.json()["retryable"], true);
    assert_eq!(valid(&bed.caller("demo")).send().await.status, 200);

    let (body, key) = (order(), fresh("key"));
    let mut admitted = None;
    until("the rate to allow one more", async || {
        admitted = Some(limited.post_keyed(AUTHORIZE, &body, &key).await);
        admitted.as_ref().is_some_and(|reply| reply.status != 429)
    })
    .await;
    let admitted = admitted.unwrap();
    assert_eq!(
        (admitted.status, admitted.replayed()),
        (200, false),
        "a refused key is free"
    );
}

#[tokio::test]
async fn what_is_no_route_is_told_so() {
    let bed = Testbed::new().await;
    for (method, path) in [
        ("GET", "/nowhere"),
        ("GET", "/payments/"),
        ("POST", "/payments"),
        ("POST", "/payments/capture"),
        ("DELETE", "/payments/authorize"),
        ("PUT", "/payments/authorize"),
        ("POST", "//payments/authorize"),
        ("POST", "/Payments/Authorize"),
    ] {
        let reply = bed.caller("demo").request(method, path).send().await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (404, "route-not-found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_description_of_the_routes_needs_no_signature() {
    let bed = Testbed::new().await;
    for path in ["/openapi.json", "/docs/problems.md"] {
        let reply = bed
            .caller("demo")
            .request("GET", path)
            .tamper(HeaderMap::clear)
            .send()
            .await;
        assert_eq!(reply.status, 200, "{path}");
    }
}
