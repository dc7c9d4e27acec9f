//! One keep-alive connection that sends signed requests, as cheaply as can be: the load generator
//! shares the machine with what it measures.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use signature::{Key, Target};
use tokio::{net::TcpStream, time::timeout};

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where requests go and who signs them.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// `host:port`.
    pub(crate) address: String,
    /// Signs; `None` sends requests unsigned.
    pub(crate) key: Option<Arc<Key>>,
}

/// A connection; opened anew after an error.
pub(crate) struct Connection {
    service: Service,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether it says when to ask again.
    pub(crate) retry_after: bool,
    pub(crate) body: Bytes,
}

impl Connection {
    pub(crate) fn new(service: Service) -> Self {
        Self {
            service,
            sender: None,
        }
    }

    /// Sends a POST with a fresh idempotency key and reads its answer.
    pub(crate) async fn post(&mut self, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let request = self.request(path, body)?;
        let answer = timeout(ANSWER_TIMEOUT, self.send(request)).await;
        let answer = answer.context("no answer in time").flatten();
        if answer.is_err() {
            self.sender = None;
        }
        answer
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        let sender = self.sender.insert(sender);
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key(header::RETRY_AFTER);
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            retry_after,
            body,
        })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.service.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(&self, path: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(&self.service.address)?);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert("idempotency-key", HeaderValue::from_str(&fresh_id())?);
        if let Some(key) = &self.service.key {
            let target = Target {
                method: "POST",
                scheme: "http",
                path,
                query: None,
            };
            signature::sign(&target, &mut headers, &body, key, client::now_s())?;
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse::<Uri>()?;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

/// 32 hexadecimal digits that nothing else has.
pub(crate) fn fresh_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}
