//! Signed requests, for tests, load tools and the command line.

pub mod endpoints;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use reqwest::Url;
use serde::de::DeserializeOwned;
use signature::{Key, KeyFile, KeyFileError, SignError, Target};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a request may take altogether.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The key file cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The key file has no such key.
    #[error("the key file has no key {0:?}")]
    NoKey(String),
    /// Base address and path make no URL.
    #[error("{0:?} is not a URL")]
    Url(String),
    /// A header's name or value is not allowed in HTTP.
    #[error("the header {0:?} is not valid")]
    Header(String),
    /// The request cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nothing answered, or not in time.
    #[error(transparent)]
    Transport(#[from] reqwest::Error),
}

/// Reads one key from a key file.
///
/// # Errors
/// [`ClientError::Keys`], [`ClientError::NoKey`].
pub fn key_from_file(keys_file: &Path, key_id: &str) -> Result<Arc<Key>, ClientError> {
    let ring = KeyFile::open(keys_file)?.ring();
    ring.get(key_id)
        .cloned()
        .ok_or_else(|| ClientError::NoKey(key_id.to_owned()))
}

/// Sends requests signed with one key; cheap to clone, connections are kept.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    key: Arc<Key>,
}

/// A response read to its end.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as received.
    pub body: Bytes,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is no JSON, or no `T`.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

impl Client {
    /// A client of the service at `base_url`, such as `http://127.0.0.1:9000`.
    ///
    /// # Errors
    /// [`ClientError::Transport`] when the HTTP client cannot start.
    pub fn new(base_url: &str, key: Arc<Key>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            base_url: base_url.trim_end_matches('/').to_owned(),
            key,
        })
    }

    /// Signs and sends a request; see [`Client::signed`].
    ///
    /// # Errors
    /// [`ClientError`]; a refusal of the service is a response.
    pub async fn send(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Bytes>,
        idempotency_key: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Response, ClientError> {
        let request = self.signed(method, path_and_query, body, idempotency_key, headers)?;
        self.execute(request).await
    }

    /// A signed request, ready to send or to tamper with. A body is `application/json` unless
    /// `headers` say otherwise. Path and query are signed as they will be sent, that is with what
    /// a URL cannot hold percent-encoded.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Header`], [`ClientError::Sign`].
    pub fn signed(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Bytes>,
        idempotency_key: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<reqwest::Request, ClientError> {
        let url = format!("{}{path_and_query}", self.base_url);
        let url: Url = url.parse().map_err(|_| ClientError::Url(url))?;
        let body = body.unwrap_or_default();
        let mut map = header_map(headers)?;
        if !body.is_empty() && !map.contains_key(header::CONTENT_TYPE) {
            map.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        if let Some(key) = idempotency_key {
            append(&mut map, "idempotency-key", key)?;
        }
        let target = Target {
            method: method.as_str(),
            scheme: url.scheme(),
            path: url.path(),
            query: url.query(),
        };
        signature::sign(&target, &mut map, &body, &self.key, now_s())?;
        let mut request = reqwest::Request::new(method, url);
        *request.headers_mut() = map;
        if !body.is_empty() {
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// [`ClientError::Transport`].
    pub async fn execute(&self, request: reqwest::Request) -> Result<Response, ClientError> {
        let response = self.http.execute(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Response {
            status,
            headers,
            body: response.bytes().await?,
        })
    }
}

fn header_map(headers: &[(&str, &str)]) -> Result<HeaderMap, ClientError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        append(&mut map, name, value)?;
    }
    Ok(map)
}

fn append(map: &mut HeaderMap, name: &str, value: &str) -> Result<(), ClientError> {
    let invalid = || ClientError::Header(name.to_owned());
    let header = HeaderName::try_from(name).map_err(|_| invalid())?;
    map.append(header, HeaderValue::from_str(value).map_err(|_| invalid())?);
    Ok(())
}

/// Seconds since the epoch, for `created`.
#[must_use]
pub fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
