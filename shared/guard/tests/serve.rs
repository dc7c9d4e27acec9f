//! The guard as a function's `main` uses it, with a real Redis.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are nobody's interface"
)]

mod support;

use std::time::Duration;

use guard::{Answer, BODY_BYTES_MAX, Call};
use http::Method;
use idempotency::Reply;
use lambda_http::{Body, Request};
use problem::{Code, Problem};
use support::{
    CHANGE, IMPATIENT, PATIENT, READ, Redis, Setup, is_replay, now_s, problem, redis_url, refuse,
    text,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

const PLENTY: u32 = 20_000;
/// Most requests sent while waiting for something to happen in the background.
const TRIES_MAX: u32 = 600;
const TRY_EVERY: Duration = Duration::from_millis(50);

async fn setup() -> (Setup, Redis, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(&folder);
    (
        Setup::new(redis_url(&folder), PATIENT, PLENTY).await,
        redis,
        folder,
    )
}

/// Sends the request until it is answered from Redis.
async fn replayed(setup: &Setup, request: impl Fn() -> Request) -> http::Response<Body> {
    for _ in 0..TRIES_MAX {
        let response = setup.serve(CHANGE, request()).await;
        if is_replay(&response) {
            return response;
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    panic!("the reply was never kept");
}

#[tokio::test]
async fn a_good_request_reaches_the_handler_whole() {
    let (setup, _redis, _folder) = setup().await;
    let request = setup.post(r#"{"amount":1}"#, "\"k-1\"");
    let handler = |call: Call| async move {
        assert_eq!(
            (
                call.caller.key_id.as_str(),
                call.caller.merchant_id.as_str()
            ),
            ("demo", "m-demo")
        );
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            ("POST", "/payments/authorize")
        );
        assert_eq!(call.query, None);
        assert_eq!(call.idempotency.as_ref().unwrap().0.as_str(), "k-1");
        Answer::json(&call.json::<serde_json::Value>()?)
    };
    let response = guard::serve(&setup.guard, CHANGE, request, handler)
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), text(&response)),
        (200, r#"{"amount":1}"#)
    );
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["x-trace-id"].len(), 32);
    assert!(!is_replay(&response));
}

#[tokio::test]
async fn path_and_query_are_verified_as_sent() {
    let (setup, _redis, _folder) = setup().await;
    let sent = "/payments/a%2Fb%C3%A9?orderId=%ED%95%9C+x&&b=";
    let signed = setup.request("demo", Method::GET, sent, &[("host", "127.0.0.1:9000")], "");
    let (path, query) = sent.split_once('?').unwrap();
    let headers: serde_json::Map<String, serde_json::Value> = signed
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    let event = serde_json::json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
        "headers": headers, "isBase64Encoded": false,
        "requestContext": {
            "stage": "$default", "timeEpoch": 0,
            "http": { "method": "GET", "path": path, "protocol": "HTTP/1.1" },
        },
    });
    let request = lambda_http::request::from_str(&event.to_string()).unwrap();
    let handler =
        |call: Call| async move { Answer::json(&(call.path.clone(), call.query.clone())) };
    let response = guard::serve(&setup.guard, READ, request, handler)
        .await
        .unwrap();
    assert_eq!(
        text(&response),
        serde_json::json!([path, query]).to_string()
    );
}

#[tokio::test]
async fn only_believable_requests_pass() {
    let (setup, _redis, _folder) = setup().await;
    let good = || setup.post("{}", "k-1");
    let edited = |edit: fn(&mut Request)| {
        let mut request = good();
        edit(&mut request);
        request
    };
    let with_input = |from: &str, to: &str| {
        let mut request = good();
        let input = request.headers()["signature-input"]
            .to_str()
            .unwrap()
            .replace(from, to);
        request
            .headers_mut()
            .insert("signature-input", input.parse().unwrap());
        request
    };
    let created = format!("created={}", with_created(&good()));
    for (request, expected) in [
        (
            edited(|r| drop(r.headers_mut().remove("signature"))),
            (401, "signature-missing"),
        ),
        (
            edited(|r| *r.method_mut() = Method::PUT),
            (401, "signature-invalid"),
        ),
        (
            edited(|r| *r.uri_mut() = "/payments".parse().unwrap()),
            (401, "signature-invalid"),
        ),
        (with_input("\"@path\" ", ""), (401, "signature-invalid")),
        (
            with_input(&created, "created=1"),
            (401, "signature-expired"),
        ),
        (with_input("\"demo\"", "\"nobody\""), (401, "key-unknown")),
        (
            edited(|r| *r.body_mut() = "[]".into()),
            (401, "digest-mismatch"),
        ),
        (
            edited(|r| *r.body_mut() = Body::Empty),
            (401, "digest-mismatch"),
        ),
    ] {
        let (status, code) = setup.refused(CHANGE, request).await;
        assert_eq!((status, code.as_str()), expected);
    }
}

fn with_created(request: &Request) -> i64 {
    let input = request.headers()["signature-input"].to_str().unwrap();
    let created = input
        .split("created=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let created = created.parse().unwrap();
    assert!((now_s() - 60..=now_s()).contains(&created));
    created
}

#[tokio::test]
async fn the_body_is_counted_before_anything_else() {
    let (setup, _redis, _folder) = setup().await;
    let most = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX - 2));
    assert_eq!(
        setup.serve(CHANGE, setup.post(&most, "k-1")).await.status(),
        200
    );

    let mut unsigned = Request::new(Body::Binary(vec![b' '; BODY_BYTES_MAX + 1]));
    *unsigned.method_mut() = Method::POST;
    assert_eq!(
        setup.refused(CHANGE, unsigned).await,
        (413, "body-too-large".to_owned())
    );
}

#[tokio::test]
async fn a_role_may_do_only_its_part() {
    let (setup, _redis, _folder) = setup().await;
    let by_operator = |method| setup.request("ops", method, "/payments", &[], "");
    let refused = setup.refused(CHANGE, by_operator(Method::POST)).await;
    assert_eq!(refused, (403, "role-forbidden".to_owned()));
    assert_eq!(
        setup.serve(READ, by_operator(Method::GET)).await.status(),
        200
    );
}

#[tokio::test]
async fn media_type_and_idempotency_key_are_demanded_of_changes_only() {
    let (setup, _redis, _folder) = setup().await;
    let post = |headers: &[(&'static str, &str)], body| {
        setup.request("demo", Method::POST, "/payments/void/1", headers, body)
    };
    let json = ("content-type", "application/json");
    let too_long = "k".repeat(256);
    for (headers, body, expected) in [
        (vec![("idempotency-key", "k")], "{}", (415, "media-type")),
        (
            vec![("idempotency-key", "k"), ("content-type", "text/csv")],
            "{}",
            (415, "media-type"),
        ),
        (vec![json], "{}", (400, "idempotency-key-missing")),
        (vec![], "", (400, "idempotency-key-missing")),
        (
            vec![("idempotency-key", "a, b")],
            "",
            (400, "invalid-request"),
        ),
        (
            vec![("idempotency-key", "a"), ("idempotency-key", "a")],
            "",
            (400, "invalid-request"),
        ),
        (vec![("idempotency-key", "")], "", (400, "invalid-request")),
        (
            vec![("idempotency-key", &too_long)],
            "",
            (400, "invalid-request"),
        ),
    ] {
        let (status, code) = setup.refused(CHANGE, post(&headers, body)).await;
        assert_eq!((status, code.as_str()), expected, "{headers:?}");
    }
    let without_body = post(&[("idempotency-key", "k")], "");
    assert_eq!(setup.serve(CHANGE, without_body).await.status(), 200);
    assert_eq!(setup.serve(READ, post(&[], "x")).await.status(), 200);
}

#[tokio::test]
async fn a_handlers_refusal_is_a_problem() {
    let (setup, _redis, _folder) = setup().await;
    let mut request = setup.post("{}", "k-1");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request
        .headers_mut()
        .insert("traceparent", trace.parse().unwrap());
    let handler = refuse(Problem::unavailable().retry_after_s(3));
    let response = guard::serve(&setup.guard, CHANGE, request, handler)
        .await
        .unwrap();
    let problem = problem(&response);
    assert_eq!(
        (&problem["code"], &problem["retryable"]),
        (&"unavailable".into(), &true.into())
    );
    assert_eq!(problem["instance"], "/payments/authorize");
    assert_eq!(problem["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(response.headers()["retry-after"], "3");
}

#[tokio::test]
async fn a_stored_reply_is_repeated_byte_for_byte_from_redis() {
    let (setup, _redis, _folder) = setup().await;
    let first = setup.serve(CHANGE, setup.post(r#"{ "a":1}"#, "k-1")).await;
    assert!(!is_replay(&first));
    let again = replayed(&setup, || setup.post(r#"{ "a":1}"#, "\"k-1\"")).await;
    assert_eq!(
        (again.status(), text(&again)),
        (first.status(), text(&first))
    );

    let other_body = setup.refused(CHANGE, setup.post(r#"{"a":2}"#, "k-1")).await;
    assert_eq!(other_body, (409, "idempotency-key-reused".to_owned()));
    let headers = [
        ("content-type", "application/json"),
        ("idempotency-key", "k-1"),
    ];
    let other_merchant = setup.request(
        "other",
        Method::POST,
        "/payments/authorize",
        &headers,
        r#"{ "a":1}"#,
    );
    assert!(!is_replay(&setup.serve(CHANGE, other_merchant).await));
}

#[tokio::test]
async fn a_stored_refusal_is_repeated_as_a_problem() {
    let (setup, _redis, _folder) = setup().await;
    let body = Problem::new(Code::PaymentNotCapturable, "It was voided.").to_json("/p", "t-1");
    for _ in 0..TRIES_MAX {
        let reply = Reply {
            status: 409,
            body: body.clone().into(),
        };
        let handler = |_| async { Ok(Answer::Stored(reply)) };
        let request = setup.post("{}", "k-1");
        let response = guard::serve(&setup.guard, CHANGE, request, handler)
            .await
            .unwrap();
        assert_eq!(
            (response.status().as_u16(), text(&response).as_bytes()),
            (409, &body[..])
        );
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        if is_replay(&response) {
            return;
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
    panic!("the reply was never kept");
}

#[tokio::test]
async fn what_is_not_stored_is_not_repeated() {
    let (setup, _redis, _folder) = setup().await;
    for answer in ["fresh", "refused"] {
        for _ in 0..2 {
            let handler = |_| async move {
                match answer {
                    "fresh" => Answer::json(&1),
                    _ => Err(Problem::unavailable()),
                }
            };
            let request = setup.post("{}", answer);
            let response = guard::serve(&setup.guard, CHANGE, request, handler)
                .await
                .unwrap();
            assert!(!is_replay(&response));
        }
    }
    // A reply stored afterwards is kept, so the ones before would have been seen.
    replayed(&setup, || setup.post("{}", "stored")).await;
    for answer in ["fresh", "refused"] {
        assert!(!is_replay(
            &setup.serve(CHANGE, setup.post("{}", answer)).await
        ));
    }
}

#[tokio::test]
async fn the_rate_is_common_to_all_instances_and_each_merchants_own() {
    const BURST: u32 = 100;
    let folder = tempfile::tempdir().unwrap();
    let _redis = Redis::start(&folder);
    let instances = [
        Setup::new(redis_url(&folder), PATIENT, BURST).await,
        Setup::new(redis_url(&folder), PATIENT, BURST).await,
    ];
    let get = |key_id| instances[0].request(key_id, Method::GET, "/payments", &[], "");
    let mut admitted = 0;
    let limited = loop {
        let instance = &instances[usize::from(admitted % 2 == 1)];
        let response = instance.serve(READ, get("demo")).await;
        if response.status() == 429 {
            break response;
        }
        admitted += 1;
        assert!(
            admitted < BURST + BURST / 2,
            "each instance admits a burst of its own"
        );
    };
    assert!(admitted >= BURST);
    assert_eq!(problem(&limited)["code"], "rate-limited");
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(instances[0].serve(READ, get("other")).await.status(), 200);
}

#[tokio::test]
async fn replays_count_and_a_key_may_carry_a_rate_of_its_own() {
    let (setup, _redis, _folder) = setup().await;
    let headers = [("idempotency-key", "k-1")];
    let post = || setup.request("slow", Method::POST, "/payments/void/1", &headers, "");
    replayed(&setup, post).await;
    for _ in 0..TRIES_MAX {
        let response = setup.serve(CHANGE, post()).await;
        if response.status() == 429 {
            assert_eq!(problem(&response)["retryable"], true);
            return;
        }
        assert!(is_replay(&response));
    }
    panic!("the rate was never used up");
}

#[tokio::test]
async fn requests_are_served_while_redis_is_away_and_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(redis_url(&folder), IMPATIENT, PLENTY).await;
    let post = || setup.post("{}", "k-1");
    assert_eq!(
        setup.serve(CHANGE, post()).await.status(),
        200,
        "before Redis is there"
    );
    let redis = Redis::start(&folder);
    replayed(&setup, post).await;
    drop(redis);
    for _ in 0..20 {
        let response = setup.serve(CHANGE, post()).await;
        assert!(response.status() == 200 && !is_replay(&response));
    }
    let _redis = Redis::start(&folder);
    replayed(&setup, post).await;
}

#[tokio::test]
async fn the_rate_is_limited_while_redis_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(redis_url(&folder), IMPATIENT, 2).await;
    let get = || setup.request("demo", Method::GET, "/payments", &[], "");
    for tries in 0..TRIES_MAX {
        match setup.serve(READ, get()).await.status().as_u16() {
            200 => {}
            429 => return assert!(tries >= 2, "the burst is admitted"),
            status => panic!("{status}"),
        }
    }
    panic!("the rate was never used up");
}

#[tokio::test]
async fn a_redis_that_never_answers_holds_nobody_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let setup = Setup::new(url, IMPATIENT, PLENTY).await;
    let requests = async {
        for _ in 0..10 {
            let response = setup.serve(CHANGE, setup.post("{}", "k-1")).await;
            assert_eq!(response.status(), 200);
        }
    };
    tokio::time::timeout(PATIENT, requests).await.unwrap();
}

#[tokio::test]
async fn the_script_is_loaded_again_after_redis_forgets_it() {
    let (setup, _redis, folder) = setup().await;
    let post = || setup.post("{}", "k-1");
    replayed(&setup, post).await;
    let client = redis::Client::open(redis_url(&folder)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SCRIPT")
        .arg("FLUSH")
        .exec_async(&mut connection)
        .await
        .unwrap();
    assert!(is_replay(&setup.serve(CHANGE, post()).await));
}
