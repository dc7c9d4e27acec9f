use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use signature::{Key, KeyRing, Target, sign};

use crate::{WAIT_MAX, fresh};

/// Pause before a request is sent again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// Sends signed requests as the holder of one key.
#[derive(Clone, Debug)]
pub struct Caller {
    http: reqwest::Client,
    base_url: String,
    key: Arc<Key>,
}

/// A request on its way to be signed.
pub struct RequestBuilder {
    caller: Caller,
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Bytes,
    sent_body: Option<Bytes>,
    created_s: i64,
    tamper: Box<dyn FnOnce(&mut HeaderMap) + Send>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

impl Caller {
    pub(crate) fn new(
        http: reqwest::Client,
        base_url: &str,
        keys_file: &str,
        key_id: &str,
    ) -> Self {
        let json = std::fs::read(keys_file).expect("KEYS_FILE can be read");
        let keys = KeyRing::from_json(&json).expect("KEYS_FILE holds keys");
        let key = Arc::clone(keys.get(key_id).expect("the key file has the key"));
        Self {
            http,
            base_url: base_url.trim_end_matches('/').to_owned(),
            key,
        }
    }

    /// The same caller at another address.
    #[must_use]
    pub fn at(self, base_url: &str) -> Self {
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            ..self
        }
    }

    /// GET.
    pub async fn get(&self, path_and_query: &str) -> Reply {
        self.request("GET", path_and_query).send().await
    }

    /// POST of JSON with a fresh idempotency key.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.request("POST", path)
            .body(body.to_string())
            .send()
            .await
    }

    /// POST without a body, with a fresh idempotency key.
    pub async fn post_empty(&self, path: &str) -> Reply {
        self.request("POST", path).send().await
    }

    /// POST of JSON with a given idempotency key.
    pub async fn post_keyed(&self, path: &str, body: &Value, key: &str) -> Reply {
        self.request("POST", path)
            .body(body.to_string())
            .idempotency_key(key)
            .send()
            .await
    }

    /// POST of JSON with one key, again and again while that is what the answer asks for: none, a
    /// 503, or one that tells that the key is in flight. At most [`WAIT_MAX`].
    pub async fn post_until_settled(&self, path: &str, body: &Value, key: &str) -> Reply {
        let began = Instant::now();
        loop {
            let request = self.request("POST", path).body(body.to_string());
            let reply = request.idempotency_key(key).try_send().await;
            match reply {
                Ok(reply) if !reply.asks_again() => return reply,
                again => assert!(began.elapsed() < WAIT_MAX, "{path} with {key}: {again:?}"),
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    /// A request to shape; a POST has a fresh idempotency key.
    #[must_use]
    pub fn request(&self, method: &str, path_and_query: &str) -> RequestBuilder {
        let mut headers = HeaderMap::new();
        if method == "POST" {
            headers.insert("idempotency-key", value(&fresh("key")));
        }
        RequestBuilder {
            caller: self.clone(),
            method: method.parse().expect("a method"),
            path_and_query: path_and_query.to_owned(),
            headers,
            body: Bytes::new(),
            sent_body: None,
            created_s: now_s(),
            tamper: Box::new(|_| {}),
        }
    }
}

impl RequestBuilder {
    /// A JSON body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    /// Replaces a header before the request is signed.
    #[must_use]
    pub fn header(mut self, name: &str, text: &str) -> Self {
        self.headers.insert(header(name), value(text));
        self
    }

    /// Replaces the body's media type.
    #[must_use]
    pub fn content_type(self, media_type: &str) -> Self {
        self.header("content-type", media_type)
    }

    /// Replaces the idempotency key.
    #[must_use]
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Sends no idempotency key.
    #[must_use]
    pub fn without_idempotency_key(mut self) -> Self {
        self.headers.remove("idempotency-key");
        self
    }

    /// Signs as if at this time, in seconds since the epoch.
    #[must_use]
    pub fn created(self, created_s: i64) -> Self {
        Self { created_s, ..self }
    }

    /// Changes the headers after they are signed.
    #[must_use]
    pub fn tamper(self, tamper: impl FnOnce(&mut HeaderMap) + Send + 'static) -> Self {
        Self {
            tamper: Box::new(tamper),
            ..self
        }
    }

    /// Sends another body than the signed one.
    #[must_use]
    pub fn sent_body(self, body: impl Into<Bytes>) -> Self {
        Self {
            sent_body: Some(body.into()),
            ..self
        }
    }

    /// Signs and sends.
    pub async fn send(self) -> Reply {
        self.try_send().await.expect("the runtime answers")
    }

    /// Signs and sends; an error when no answer came.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn try_send(self) -> reqwest::Result<Reply> {
        let (path, query) = match self.path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path_and_query.as_str(), None),
        };
        let target = Target {
            method: self.method.as_str(),
            scheme: "http",
            path,
            query,
        };
        let mut headers = self.headers;
        sign(
            &target,
            &mut headers,
            &self.body,
            &self.caller.key,
            self.created_s,
        )
        .expect("the request can be signed");
        (self.tamper)(&mut headers);
        let url = format!("{}{}", self.caller.base_url, self.path_and_query);
        let answer = self
            .caller
            .http
            .request(self.method, url)
            .headers(headers)
            .body(self.sent_body.unwrap_or(self.body))
            .send()
            .await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Reply {
            status,
            headers,
            body: answer.bytes().await?,
        })
    }
}

impl Reply {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    /// The code of a problem, after checking that it is one.
    #[must_use]
    pub fn code(&self) -> String {
        assert_eq!(
            self.headers.get("content-type").map(HeaderValue::as_bytes),
            Some(b"application/problem+json".as_slice()),
            "{} {:?}",
            self.status,
            self.body
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["code"]
            .as_str()
            .expect("a problem has a code")
            .to_owned()
    }

    /// Whether the same request with the same key is to be sent again.
    fn asks_again(&self) -> bool {
        self.status == 503 || self.status == 409 && self.code() == "idempotency-key-in-flight"
    }

    /// Whether the answer was stored by an earlier request.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.headers
            .get("idempotent-replayed")
            .is_some_and(|value| value == "true")
    }
}

fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

fn header(name: &str) -> HeaderName {
    name.parse().expect("a header name")
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("a header value")
}
