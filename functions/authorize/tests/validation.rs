//! Which authorization bodies are refused, and where the refusal points.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use serde_json::{Value, json};
use testbed::{Caller, Reply, Testbed, fresh};

const AUTHORIZE: &str = "/payments/authorize";
/// Most bytes of a body.
const BODY_BYTES_MAX: usize = 262_144;
/// More than the gateway itself lets through.
const BODY_BYTES_FAR_TOO_MANY: usize = 7 * 1024 * 1024;
/// Levels of nesting that would overflow a stack that follows them.
const LEVELS: usize = 10_000;

async fn send(caller: &Caller, body: impl Into<Bytes>) -> Reply {
    caller.request("POST", AUTHORIZE).body(body).send().await
}

/// A body that is right, with `member` replaced by `value`, or left out when it is null.
fn with(member: &str, value: Value) -> Value {
    let mut asked = json!({ "orderId": fresh("order"), "amount": 15_000, "currency": "KRW" });
    asked[member] = value;
    asked
        .as_object_mut()
        .unwrap()
        .retain(|_, value| !value.is_null());
    asked
}

fn pointers(reply: &Reply) -> Vec<String> {
    let errors = reply.json()["errors"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for error in &errors {
        assert!(!error["detail"].as_str().unwrap().is_empty(), "{error}");
    }
    errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_amount_that_is_no_whole_number_from_1_to_2_pow_53_minus_1_is_refused() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let order_id = fresh("order");
    for amount in [
        "0",
        "-0",
        "-1",
        "1.5",
        "\"15000\"",
        "null",
        "true",
        "[15000]",
        "{}",
        "9007199254740992",
        "9223372036854775808",
        "18446744073709551616",
        "1e400",
    ] {
        let body = format!(r#"{{"orderId":"{order_id}","amount":{amount},"currency":"KRW"}}"#);
        let reply = send(&demo, body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{amount}"
        );
        assert_eq!(pointers(&reply), ["/amount"], "{amount}");
    }
    let list = demo.get(&format!("/payments?orderId={order_id}")).await;
    assert_eq!(list.json(), json!({ "data": [], "hasMore": false }));
}

/// Sends each body; each must be refused for the one place beside it.
async fn assert_pointed_at(rows: impl IntoIterator<Item = (Value, &str)>) {
    let demo = Testbed::new().await.caller("demo");
    for (asked, pointer) in rows {
        let reply = send(&demo, asked.to_string()).await;
        let refused = (reply.status, reply.code());
        assert_eq!(refused, (400, "invalid-request".to_owned()), "{asked}");
        assert_eq!(pointers(&reply), [pointer], "{asked}");
    }
}

#[tokio::test]
async fn a_wrong_order_currency_or_unknown_member_is_pointed_at() {
    assert_pointed_at([
        (with("orderId", Value::Null), "/orderId"),
        (with("orderId", json!("")), "/orderId"),
        (with("orderId", json!("o".repeat(65))), "/orderId"),
        (with("orderId", json!("two words")), "/orderId"),
        (with("orderId", json!("주문")), "/orderId"),
        (with("orderId", json!("nul\0")), "/orderId"),
        (with("orderId", json!(1)), "/orderId"),
        (with("amount", Value::Null), "/amount"),
        (with("currency", Value::Null), "/currency"),
        (with("currency", json!("krw")), "/currency"),
        (with("currency", json!("QQQ")), "/currency"),
        (with("currency", json!("")), "/currency"),
        (with("currency", json!(410)), "/currency"),
        (with("merchantId", json!("m-other")), "/merchantId"),
        (with("status", json!("COMPLETED")), "/status"),
        (with("a~b/c", json!(1)), "/a~0b~1c"),
    ])
    .await;
}

#[tokio::test]
async fn a_wrong_description_customer_or_metadata_is_pointed_at() {
    let customer = |member: &str, value: Value| {
        let mut customer = json!({ "name": "Kim", "email": "kim@example.com", "phone": "010" });
        customer[member] = value;
        with("customer", customer)
    };
    assert_pointed_at([
        (with("description", json!("d".repeat(256))), "/description"),
        (with("description", json!("line\nbreak")), "/description"),
        (with("description", json!(["text"])), "/description"),
        (with("customer", json!("Kim")), "/customer"),
        (
            with("customer", json!({ "name": "Kim", "phone": "010" })),
            "/customer/email",
        ),
        (
            customer("birthday", json!("2000-01-01")),
            "/customer/birthday",
        ),
        (customer("name", json!("n".repeat(101))), "/customer/name"),
        (customer("email", json!("kim")), "/customer/email"),
        (customer("phone", json!("0".repeat(33))), "/customer/phone"),
        (customer("phone", json!(10)), "/customer/phone"),
        (with("metadata", json!([])), "/metadata"),
        (with("metadata", json!({ "a": 1 })), "/metadata/a"),
        (
            with("metadata", json!({ "a": { "b": "c" } })),
            "/metadata/a",
        ),
        (with("metadata", json!({ "n".repeat(41): "" })), "/metadata"),
        (with("metadata", json!({ "a": "nul\0" })), "/metadata"),
        (
            with("metadata", json!({ "a": "v".repeat(501) })),
            "/metadata",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_member_given_twice_is_refused() {
    let bed = Testbed::new().await;
    for (twice, pointer) in [
        (r#""amount":2"#, "/amount"),
        (r#""metadata":{"a":"1","a":"2"}"#, "/metadata"),
    ] {
        let order_id = fresh("order");
        let body = format!(r#"{{"orderId":"{order_id}","amount":1,"currency":"KRW",{twice}}}"#);
        let reply = send(&bed.caller("demo"), body).await;
        let refused = (reply.status, reply.code());
        assert_eq!(refused, (400, "invalid-request".to_owned()), "{twice}");
        assert_eq!(pointers(&reply), [pointer], "{twice}");
    }
}

#[tokio::test]
async fn every_member_outside_its_limits_is_named_at_once() {
    let bed = Testbed::new().await;
    let metadata: Value = (0..21).map(|n| (n.to_string(), json!(""))).collect();
    let mut asked = with("description", json!("d".repeat(256)));
    asked["customer"] = json!({ "name": "Kim", "email": "kim", "phone": "0".repeat(33) });
    asked["metadata"] = metadata;
    let reply = send(&bed.caller("demo"), asked.to_string()).await;
    assert_eq!(reply.status, 400);
    let mut named = pointers(&reply);
    named.sort();
    assert_eq!(
        named,
        [
            "/customer/email",
            "/customer/phone",
            "/description",
            "/metadata"
        ]
    );
}

#[tokio::test]
async fn a_refusal_repeats_no_value_of_the_body() {
    let bed = Testbed::new().await;
    let secret = "01048151623";
    for customer in [
        json!({ "name": "Kim", "email": "k@example.com", "phone": 1_048_151_623_u64 }),
        json!({ "name": "Kim", "email": secret, "phone": "010" }),
        json!({ "name": "Kim", "email": "k@example.com", "phone": secret.repeat(4) }),
        json!(secret),
    ] {
        let reply = send(&bed.caller("demo"), with("customer", customer).to_string()).await;
        assert_eq!(reply.status, 400);
        let body = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(!body.contains("1048151623"), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let bed = Testbed::new().await;
    let whole = with("description", json!("text")).to_string();
    let truncated = &whole[..whole.len() - 1];
    let mut latin1 = whole.clone().into_bytes();
    let at = whole.find("text").unwrap();
    latin1[at] = 0xe9;
    let bodies: [Vec<u8>; 10] = [
        Vec::new(),
        b" ".to_vec(),
        b"{".to_vec(),
        truncated.into(),
        latin1,
        format!("{whole}{whole}").into(),
        format!("\u{feff}{whole}").into(),
        whole.replace("15000", "015000").into(),
        whole.replace("15000", "NaN").into(),
        whole.replace("text", "\\ud800").into(),
    ];
    for body in bodies {
        let text = String::from_utf8_lossy(&body).into_owned();
        let reply = send(&bed.caller("demo"), body).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-json"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused() {
    let bed = Testbed::new().await;
    let array = json!([fresh("order"), 15_000, "KRW", null, null, null]).to_string();
    for body in ["null", "1", "\"text\"", "[]", array.as_str()] {
        let reply = send(&bed.caller("demo"), body.to_owned()).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "invalid-request"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_deeply_nested_body_is_refused() {
    let bed = Testbed::new().await;
    let arrays = format!("{}{}", "[".repeat(LEVELS), "]".repeat(LEVELS));
    let objects = format!("{}1{}", "{\"a\":".repeat(LEVELS), "}".repeat(LEVELS));
    for nested in [&arrays, &objects] {
        let body = with("metadata", json!("here"))
            .to_string()
            .replace("\"here\"", nested);
        for body in [nested, &body] {
            let reply = send(&bed.caller("demo"), body.clone()).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (400, "invalid-request")
            );
        }
    }
}

#[tokio::test]
async fn a_body_has_at_most_262_144_bytes() {
    let bed = Testbed::new().await;
    let demo = bed.caller("demo");
    let padded = |bytes: usize| {
        let asked = with("metadata", json!({})).to_string();
        format!("{asked}{}", " ".repeat(bytes - asked.len()))
    };
    assert_eq!(send(&demo, padded(BODY_BYTES_MAX)).await.status, 200);
    for bytes in [BODY_BYTES_MAX + 1, 1024 * 1024, BODY_BYTES_FAR_TOO_MANY] {
        let reply = send(&demo, padded(bytes)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (413, "body-too-large"),
            "{bytes}"
        );
    }
}

#[tokio::test]
async fn a_body_that_is_not_announced_as_json_in_utf_8_is_refused() {
    let bed = Testbed::new().await;
    let request = |media_type| {
        let body = with("metadata", json!({})).to_string();
        bed.caller("demo")
            .request("POST", AUTHORIZE)
            .body(body)
            .content_type(media_type)
            .send()
    };
    assert_eq!(request("application/json; charset=utf-8").await.status, 200);
    for media_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "",
    ] {
        let reply = request(media_type).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (415, "media-type"),
            "{media_type}"
        );
    }
    let unannounced = bed.caller("demo").request("POST", AUTHORIZE);
    let unannounced = unannounced.body(with("metadata", json!({})).to_string());
    let reply = unannounced
        .tamper(|headers| drop(headers.remove("content-type")))
        .send()
        .await;
    assert_eq!((reply.status, reply.code().as_str()), (415, "media-type"));
}
