//! The Runtime API of an instance whose calls come from another machine.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{
    AUTHORIZATION, CONNECTION, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Either};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

use super::PID;
use crate::answer::Stream;
use crate::instance::Instance;
use crate::runtime_api::truncated;
use crate::server::{Handle, Reply};

/// What concerns one connection only, and is none of the other's.
const OF_CONNECTION: [HeaderName; 6] = [CONNECTION, EXPECT, HOST, TE, TRANSFER_ENCODING, UPGRADE];

/// The body of a request to the runtime: a program's, or the agent's own.
pub(super) type Sent = Either<Incoming, Stream>;

/// The connection of an instance to the runtime.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) sender: SendRequest<Sent>,
    pub(super) authority: Authority,
    pub(super) authorization: HeaderValue,
}

impl Upstream {
    /// Sends a request to `path`; the answer as it begins.
    pub(super) async fn send(
        &self,
        path: PathAndQuery,
        mut request: Request<Sent>,
    ) -> anyhow::Result<Response<Incoming>> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path);
        *request.uri_mut() = uri.build()?;
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        Ok(self.sender.clone().send_request(request).await?)
    }
}

/// Passes the requests of one instance's program on.
pub(super) struct Relay {
    pub(super) upstream: Upstream,
    pub(super) instance: Arc<Instance>,
}

impl Relay {
    async fn pass_on(&self, request: Request<Incoming>) -> anyhow::Result<Reply> {
        let path = request.uri().path_and_query().cloned();
        let mut request = request.map(Either::Left);
        let headers = request.headers_mut();
        for name in OF_CONNECTION {
            headers.remove(name);
        }
        headers.insert(PID, HeaderValue::from(self.instance.pid()));
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let (head, body) = self.upstream.send(path, request).await?.into_parts();
        let mut reply = Response::new(body.collect().await?.to_bytes().into());
        *reply.status_mut() = head.status;
        *reply.headers_mut() = head.headers;
        Ok(reply)
    }
}

impl Handle for Relay {
    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Reply {
        match self.pass_on(request).await {
            Ok(reply) => reply,
            // Without the runtime the instance ends, and this connection with it.
            Err(_) if self.upstream.sender.is_closed() => pending().await,
            Err(error) => {
                tracing::debug!("not passed on: {error:#}");
                truncated()
            }
        }
    }
}
