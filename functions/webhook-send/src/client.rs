use std::{
    error::Error as StdError,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
    vec,
};

use anyhow::Context as _;
use bytes::Bytes;
use chrono::Utc;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client as HyperClient,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use lambda_runtime::Service;
use signature::Endpoint;
use tokio::time::timeout;
use webhook::{Addresses, Delivery, NoAnswer, Refused, Sent, signature};

/// How long an endpoint may take, from the name's resolution to the end of its answer.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How much is read of an answer, which nobody looks at: then its connection can be used again.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection to an endpoint is kept for the next webhook, and how many are.
const IDLE_WITHIN: Duration = Duration::from_secs(10);
const IDLE_PER_HOST_MAX: usize = 4;
const USER_AGENT: &str = concat!("payfn/", env!("CARGO_PKG_VERSION"));

/// Sends webhooks to addresses that may be called, and follows no redirect.
#[derive(Clone)]
pub(crate) struct Client {
    addresses: Addresses,
    http: HyperClient<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

/// Gives a connection the addresses of a name, and those alone that were found to be allowed.
#[derive(Clone, Copy)]
struct Resolver(Addresses);

impl Client {
    /// Believes the public authorities that the system does.
    pub(crate) fn new(addresses: Addresses) -> anyhow::Result<Self> {
        let mut connector = HttpConnector::new_with_resolver(Resolver(addresses));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("no certificates of authorities")?
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_WITHIN)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .build(connector);
        Ok(Self { addresses, http })
    }

    /// Sends a webhook once.
    pub(crate) async fn send(&self, endpoint: &Endpoint, delivery: &Delivery) -> Sent {
        let (started_at, began) = (Utc::now(), Instant::now());
        let answer = timeout(
            ANSWER_WITHIN,
            self.post(endpoint, delivery, started_at.timestamp()),
        );
        let outcome = answer.await.unwrap_or(Err(NoAnswer::TimedOut));
        Sent {
            started_at,
            duration_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            outcome,
        }
    }

    async fn post(
        &self,
        endpoint: &Endpoint,
        delivery: &Delivery,
        timestamp_s: i64,
    ) -> Result<u16, NoAnswer> {
        let refused = |_| NoAnswer::AddressRefused;
        self.addresses.allow_url(&endpoint.url).map_err(refused)?;
        let id = delivery.webhook_id.to_string();
        let request = Request::post(endpoint.url.as_str())
            .header(header::CONTENT_TYPE, "application/cloudevents+json")
            .header(header::USER_AGENT, USER_AGENT)
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp_s)
            .header(
                "webhook-signature",
                signature(&endpoint.secrets, &id, timestamp_s, &delivery.payload),
            )
            .body(Full::from(delivery.payload.clone()))
            .map_err(|_| NoAnswer::AddressRefused)?;
        let answer = self.http.request(request).await;
        let answer = answer.map_err(|error| no_answer(&error))?;
        let status = answer.status().as_u16();
        drain(answer.into_body()).await;
        Ok(status)
    }
}

/// What is too long or breaks off leaves the status as it was.
async fn drain(body: Incoming) {
    let read = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    if let Err(error) = read {
        tracing::debug!(error, "an answer was not read to its end");
    }
}

fn no_answer(error: &(dyn StdError + 'static)) -> NoAnswer {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Refused>() {
            return NoAnswer::AddressRefused;
        }
        cause = error.source();
    }
    NoAnswer::Unreachable
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self(addresses) = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let ips: Vec<_> = found.iter().map(SocketAddr::ip).collect();
            addresses.allow(&ips)?;
            Ok(found.into_iter())
        })
    }
}
