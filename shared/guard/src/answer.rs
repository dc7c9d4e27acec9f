use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use idempotency::Reply;
use lambda_http::Body;
use problem::Problem;
use serde::Serialize;

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Made now, and kept nowhere.
    Fresh(Reply),
    /// Made now, and stored under the idempotency key for good.
    Stored(Reply),
    /// Stored by an earlier request with the key, and repeated.
    Replayed(Reply),
}

impl Answer {
    /// 200 with JSON, kept nowhere.
    ///
    /// # Errors
    /// `unavailable` when the value does not serialize; the cause is logged.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, Problem> {
        match serde_json::to_vec(value) {
            Ok(body) => Ok(Self::Fresh(Reply {
                status: 200,
                body: body.into(),
            })),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "an answer does not serialize"
                );
                Err(Problem::unavailable())
            }
        }
    }

    /// Status and body.
    #[must_use]
    pub fn reply(&self) -> &Reply {
        let (Self::Fresh(reply) | Self::Stored(reply) | Self::Replayed(reply)) = self;
        reply
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let replayed = matches!(self, Self::Replayed(_));
        let (Self::Fresh(reply) | Self::Stored(reply) | Self::Replayed(reply)) = self;
        let mut response = response(reply.status, reply.body);
        if replayed {
            let value = HeaderValue::from_static("true");
            response.headers_mut().insert("idempotent-replayed", value);
        }
        response
    }
}

/// A problem as a response. `instance` is the path of the request.
pub(crate) fn refusal(problem: &Problem, instance: &str, trace_id: &str) -> Response<Body> {
    let body = problem.to_json(instance, trace_id);
    let mut response = response(problem.code.status(), body.into());
    if let Some(seconds) = problem.retry_after_s {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn response(status: u16, body: Bytes) -> Response<Body> {
    let body = match String::from_utf8(body.into()) {
        Ok(text) => Body::Text(text),
        Err(error) => Body::Binary(error.into_bytes()),
    };
    let media_type = if status >= 400 {
        problem::MEDIA_TYPE
    } else {
        "application/json"
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
