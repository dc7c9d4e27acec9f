//! A Redis of its own for each test, and signed requests.

use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use guard::{Answer, Call, Config, Guard, Policy, RateLimit, Role, Takes};
use http::{HeaderMap, Method, Response};
use idempotency::Reply;
use lambda_http::{Body, Request};
use problem::Problem;
use serde_json::Value;
use signature::{KeyRing, Target};
use tempfile::TempDir;

pub const CHANGE: Policy = Policy {
    roles: &[Role::Merchant],
    takes: Takes::Json,
};
pub const READ: Policy = Policy {
    roles: &[Role::Merchant, Role::Operator],
    takes: Takes::Nothing,
};

/// A running `redis-server`, stopped when dropped.
pub struct Redis(Child);

/// The address of the Redis of a folder.
pub fn redis_url(folder: &TempDir) -> String {
    format!("unix://{}", folder.path().join("redis.sock").display())
}

impl Redis {
    /// Starts it on the socket `redis.sock` in the folder and waits until it is ready.
    pub fn start(folder: &TempDir) -> Self {
        let mut child = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--unixsocket",
            ])
            .arg(folder.path().join("redis.sock"))
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let ready = output
            .lines()
            .map(Result::unwrap)
            .any(|l| l.contains("ready to accept"));
        assert!(ready, "redis-server did not start");
        Self(child)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// How long a request waits for a Redis that is there, on a machine however busy.
pub const PATIENT: Duration = Duration::from_secs(30);
/// How long it waits for one that may be away.
pub const IMPATIENT: Duration = Duration::from_millis(30);

/// A guard, and the keys it believes.
pub struct Setup {
    pub guard: Guard,
    keys: KeyRing,
    _folder: TempDir,
}

impl Setup {
    /// A guard with a rate of one request per second after a burst.
    pub async fn new(redis_url: String, redis_timeout: Duration, burst: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let json = key_file();
        let keys_file = folder.path().join("keys.json");
        std::fs::write(&keys_file, &json).unwrap();
        let rate_limit = RateLimit {
            per_second: NonZeroU32::MIN,
            burst: burst.try_into().unwrap(),
        };
        let config = Config {
            keys_file,
            redis_url,
            redis_timeout,
            rate_limit,
        };
        let guard = Guard::new(&config).await.unwrap();
        Self {
            guard,
            keys: KeyRing::from_json(json.as_bytes()).unwrap(),
            _folder: folder,
        }
    }

    /// A `POST /payments/authorize` with a JSON body and an idempotency key, signed by `demo`.
    pub fn post(&self, body: &str, key: &str) -> Request {
        let headers = [
            ("content-type", "application/json"),
            ("idempotency-key", key),
        ];
        self.request("demo", Method::POST, "/payments/authorize", &headers, body)
    }

    pub fn request(
        &self,
        key_id: &str,
        method: Method,
        path_and_query: &str,
        headers: &[(&'static str, &str)],
        body: &str,
    ) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let target = Target {
            method: method.as_str(),
            scheme: "http",
            path,
            query,
        };
        let key = self.keys.get(key_id).unwrap();
        signature::sign(&target, &mut map, body.as_bytes(), key, now_s()).unwrap();
        let mut request = Request::new(if body.is_empty() {
            Body::Empty
        } else {
            body.into()
        });
        *request.method_mut() = method;
        *request.uri_mut() = path_and_query.parse().unwrap();
        *request.headers_mut() = map;
        request
    }

    /// Serves a request with a handler that stores what it answers: 200 and the body it got.
    pub async fn serve(&self, policy: Policy, request: Request) -> Response<Body> {
        let echo = |call: Call| async move {
            Ok(Answer::Stored(Reply {
                status: 200,
                body: call.body,
            }))
        };
        guard::serve(&self.guard, policy, request, echo)
            .await
            .unwrap()
    }

    /// Serves a request that must not reach the handler.
    pub async fn refused(&self, policy: Policy, request: Request) -> (u16, String) {
        let handler = |_| async { panic!("the handler was reached") };
        let response = guard::serve(&self.guard, policy, request, handler)
            .await
            .unwrap();
        (
            response.status().as_u16(),
            problem(&response)["code"].as_str().unwrap().to_owned(),
        )
    }
}

fn key_file() -> String {
    let entry = |key_id, role, byte: u8, more: &str| {
        let secret = BASE64_STANDARD.encode([byte; 32]);
        format!(
            r#"{{"keyId":"{key_id}","merchantId":"m-{key_id}","role":"{role}","secret":"{secret}"{more}}}"#
        )
    };
    let slow = r#","rateLimit":{"perSecond":1,"burst":100}"#;
    let keys = [
        entry("demo", "merchant", 1, ""),
        entry("other", "merchant", 2, ""),
        entry("slow", "merchant", 3, slow),
        entry("ops", "operator", 4, ""),
    ];
    format!("[{}]", keys.join(","))
}

pub fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs().try_into().unwrap()
}

pub fn text(response: &Response<Body>) -> &str {
    match response.body() {
        Body::Text(text) => text,
        other => panic!("no text: {other:?}"),
    }
}

/// The problem in a response, whose form is checked.
pub fn problem(response: &Response<Body>) -> Value {
    let problem: Value = serde_json::from_str(text(response)).unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(problem["status"], response.status().as_u16());
    assert_eq!(
        problem["traceId"],
        response.headers()["x-trace-id"].to_str().unwrap()
    );
    problem
}

pub fn is_replay(response: &Response<Body>) -> bool {
    response
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true")
}

/// A handler's refusal.
pub fn refuse(
    problem: Problem,
) -> impl FnOnce(Call) -> std::future::Ready<Result<Answer, Problem>> {
    move |_| std::future::ready(Err(problem))
}
