use http::Request;
use serde_json::{Value, json};

use super::*;

fn event(request: http::request::Builder, body: &'static [u8]) -> Value {
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let mut routes = matchit::Router::new();
    routes.insert("/payments/{0}/{*1}", ()).expect("inserts");
    let matched = Matched {
        route_key: "POST /payments/{id}/{rest+}",
        parameter_names: &["id".to_owned(), "rest".to_owned()],
        parameters: routes.at(parts.uri.path()).expect("matches").params,
    };
    let peer = "192.0.2.7:4000".parse().expect("an address");
    let id = Uuid::from_u128(7);
    let now = DateTime::from_timestamp_millis(1_583_348_638_390).expect("a time");
    let text = build_at(&parts, &matched, &Bytes::from_static(body), peer, id, now);
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn event_is_payload_format_2() {
    let request = Request::post("/payments/p%2F1/a/b%20c?x=1&x=2&y=%ED%95%9C+%2B&z")
        .header("Host", "api.example.com:9000")
        .header("User-Agent", "test/1")
        .header("Content-Type", "application/json; charset=utf-8")
        .header("Cookie", "a=1; b=2")
        .header("X-Many", "one")
        .header("X-Many", "two");
    let expected = json!({
        "version": "2.0",
        "routeKey": "POST /payments/{id}/{rest+}",
        "rawPath": "/payments/p%2F1/a/b%20c",
        "rawQueryString": "x=1&x=2&y=%ED%95%9C+%2B&z",
        "cookies": ["a=1", "b=2"],
        "headers": {
            "host": "api.example.com:9000",
            "user-agent": "test/1",
            "content-type": "application/json; charset=utf-8",
            "x-many": "one, two",
        },
        "queryStringParameters": {"x": "1,2", "y": "한 +", "z": ""},
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": "api.example.com:9000",
            "domainPrefix": "api",
            "http": {
                "method": "POST",
                "path": "/payments/p%2F1/a/b%20c",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.7",
                "userAgent": "test/1",
            },
            "requestId": "00000000-0000-0000-0000-000000000007",
            "routeKey": "POST /payments/{id}/{rest+}",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_i64,
        },
        "pathParameters": {"id": "p/1", "rest": "a/b c"},
        "body": "{\"amount\":15000}",
        "isBase64Encoded": false,
    });
    assert_eq!(event(request, br#"{"amount":15000}"#), expected);
}

#[test]
fn absent_parts_are_left_out() {
    let event = event(Request::get("/payments/1/2"), b"");
    for member in ["cookies", "queryStringParameters", "body"] {
        assert_eq!(event.get(member), None, "{member}");
    }
    assert_eq!(event["rawQueryString"], "");
    assert_eq!(event["isBase64Encoded"], false);
}

#[test]
fn body_is_text_only_for_text_types_and_valid_utf_8() {
    for (content_type, body, base64) in [
        ("application/json", &b"{}"[..], false),
        ("application/problem+json", b"{}", false),
        ("TEXT/csv", b"a,b", false),
        ("image/svg+xml", b"<svg/>", false),
        ("application/x-www-form-urlencoded", b"a=b", false),
        ("text/plain", b"\xff\xfe", true),
        ("application/octet-stream", b"plain", true),
        ("", b"plain", true),
    ] {
        let request = Request::post("/payments/1/2").header("Content-Type", content_type);
        let event = event(request, body);
        assert_eq!(event["isBase64Encoded"], base64, "{content_type}");
        let text = event["body"].as_str().expect("a body");
        if base64 {
            assert_eq!(
                base64::Engine::decode(&STANDARD, text).expect("base64"),
                body
            );
        } else {
            assert_eq!(text.as_bytes(), body);
        }
    }
}

#[test]
fn coded_body_is_base64_whatever_its_type() {
    let request = Request::post("/payments/1/2")
        .header("Content-Type", "text/csv")
        .header("Content-Encoding", "gzip");
    assert_eq!(event(request, b"abc")["isBase64Encoded"], true);
}
