use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::AbortHandle, time::sleep};

/// An endpoint of a merchant on this machine, which keeps what it receives; gone when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    /// Where it is.
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    server: AbortHandle,
}

/// A webhook as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What a receiver answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Where it says to go instead.
    pub location: Option<String>,
    /// How long it takes.
    pub after: Duration,
}

impl Receiver {
    /// Starts one. `answer` is given how often the same webhook came before.
    pub async fn start(answer: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("an address");
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&received), Arc::new(answer));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                    async move {
                        let answer = answer(receive(request, &kept).await);
                        Ok::<_, Infallible>(reply(answer).await)
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        Self {
            url: format!("http://{address}/hooks?shop=1"),
            received,
            server: server.abort_handle(),
        }
    }

    /// One that takes everything.
    pub async fn that_takes() -> Self {
        Self::start(|_| Answer::from(204)).await
    }

    /// What came until now, in its order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Received {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).expect("the header is there");
        value.to_str().expect("ASCII")
    }
}

impl From<u16> for Answer {
    fn from(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }
}

/// Keeps a request; how often the same webhook came before.
async fn receive(request: Request<Incoming>, kept: &Mutex<Vec<Received>>) -> usize {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let headers = parts.headers;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    let id = headers.get("webhook-id");
    let before = kept.iter().filter(|it| it.headers.get("webhook-id") == id);
    let before = before.count();
    kept.push(Received { headers, body });
    before
}

async fn reply(answer: Answer) -> Response<Empty<Bytes>> {
    sleep(answer.after).await;
    let mut reply = Response::builder().status(answer.status);
    if let Some(location) = answer.location {
        reply = reply.header("location", location);
    }
    reply.body(Empty::new()).expect("an answer")
}
