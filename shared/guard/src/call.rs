use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use idempotency::{Fingerprint, IdempotencyKey};
use lambda_http::{Body, RequestExt};
use problem::{Code, Problem};
use serde::de::DeserializeOwned;
use signature::{Key, KeyFile, Role, Target, VerifyError};
use telemetry::TraceContext;

use crate::json;

/// Most bytes of a request body that is no file.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// What a route demands.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Who may call it.
    pub roles: &'static [Role],
    /// What it takes.
    pub takes: Takes,
}

/// What a route takes. One that takes something changes something: then an idempotency key is
/// required, and there is no query, which a key's fingerprint would have to hold.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// A query.
    Nothing,
    /// JSON, or no body.
    Json,
    /// A file.
    File {
        /// What it may be, in lower case.
        media_types: &'static [&'static str],
        /// Most bytes of it.
        bytes_max: usize,
    },
}

impl Takes {
    fn bytes_max(self) -> usize {
        match self {
            Self::Nothing | Self::Json => BODY_BYTES_MAX,
            Self::File { bytes_max, .. } => bytes_max,
        }
    }

    /// Whether a body of the media type in these headers is taken.
    fn media_type(self, headers: &HeaderMap) -> Result<(), Problem> {
        let (taken, detail) = match self {
            Self::Nothing => return Ok(()),
            Self::Json => {
                let detail = "The body must be application/json, in UTF-8.".to_owned();
                (is_json(headers), detail)
            }
            Self::File { media_types, .. } => {
                let detail = format!("The body must be {}.", media_types.join(" or "));
                (
                    essence(headers).is_some_and(|it| media_types.contains(&it.as_str())),
                    detail,
                )
            }
        };
        taken
            .then_some(())
            .ok_or_else(|| Problem::new(Code::MediaType, detail))
    }
}

/// A request that is from whom it says, whole and unchanged. It has no `Debug`: its body is personal.
pub struct Call {
    /// The key that signed, with its merchant and role.
    pub caller: Arc<Key>,
    /// The method.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The query as sent, without the question mark.
    pub query: Option<String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty when there is none.
    pub body: Bytes,
    /// The idempotency key and what it is used for; always there when the route takes something.
    pub idempotency: Option<(IdempotencyKey, Fingerprint)>,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl Call {
    /// The body as JSON.
    ///
    /// # Errors
    /// `invalid-json` when it is none, `invalid-request` with the place when it is no `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        json::parse(&self.body)
    }

    /// The body as JSON, or the default when there is no body.
    ///
    /// # Errors
    /// As [`Call::json`].
    pub fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            Ok(T::default())
        } else {
            self.json()
        }
    }

    /// Holds the call against a route without parameters.
    ///
    /// # Errors
    /// `invalid-request` when there is a query: a parameter that nobody reads is a mistake.
    pub fn no_query(&self) -> Result<(), Problem> {
        match self.query {
            None => Ok(()),
            Some(_) => Err(Problem::new(
                Code::InvalidRequest,
                "This route has no query parameters.",
            )),
        }
    }

    /// Believes a request: its size is counted, then its signature is verified.
    pub(crate) fn verified(
        parts: Parts,
        body: Body,
        policy: Policy,
        keys: &KeyFile,
        trace: TraceContext,
    ) -> Result<Self, Problem> {
        let body = bounded(body, policy.takes.bytes_max())?;
        let path = path(&parts).to_owned();
        let query = parts
            .uri
            .query()
            .filter(|query| !query.is_empty())
            .map(str::to_owned);
        let target = Target {
            method: parts.method.as_str(),
            scheme: scheme(&parts.headers),
            path: &path,
            query: query.as_deref(),
        };
        let caller = signature::verify(&target, &parts.headers, &body, &keys.ring(), now_s())
            .map_err(|error| disbelief(&error))?;
        let Parts {
            method, headers, ..
        } = parts;
        Ok(Self {
            caller,
            method,
            path,
            query,
            headers,
            body,
            idempotency: None,
            trace,
        })
    }

    /// Holds the call against what its route demands, and reads the idempotency key.
    pub(crate) fn conform(&mut self, policy: Policy) -> Result<(), Problem> {
        if !policy.roles.contains(&self.caller.role) {
            return Err(Problem::new(
                Code::RoleForbidden,
                "This route is for other roles.",
            ));
        }
        if !matches!(policy.takes, Takes::Nothing) {
            self.no_query()?;
            if !self.body.is_empty() {
                policy.takes.media_type(&self.headers)?;
            }
            let fingerprint = Fingerprint::of(self.method.as_str(), &self.path, &self.body);
            self.idempotency = Some((idempotency_key(&self.headers)?, fingerprint));
        }
        Ok(())
    }
}

/// The path as sent, not decoded.
pub(crate) fn path(parts: &Parts) -> &str {
    Some(parts.raw_http_path())
        .filter(|path| !path.is_empty())
        .unwrap_or(parts.uri.path())
}

fn bounded(body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let bytes = match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => Bytes::new(),
    };
    if bytes.len() > bytes_max {
        let detail = format!("The body has more than {bytes_max} bytes.");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    Ok(bytes)
}

fn scheme(headers: &HeaderMap) -> &str {
    headers
        .get("x-forwarded-proto")
        .and_then(|scheme| scheme.to_str().ok())
        .unwrap_or("http")
}

fn now_s() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn disbelief(error: &VerifyError) -> Problem {
    let code = match error {
        VerifyError::Missing => Code::SignatureMissing,
        VerifyError::Invalid(_) | VerifyError::NotCovered(_) => Code::SignatureInvalid,
        VerifyError::Expired => Code::SignatureExpired,
        VerifyError::KeyUnknown => Code::KeyUnknown,
        VerifyError::DigestMismatch => Code::DigestMismatch,
    };
    Problem::new(code, error.to_string())
}

/// The media type without its parameters, in lower case.
fn essence(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let essence = value.to_str().ok()?.split(';').next()?.trim();
    Some(essence.to_ascii_lowercase())
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Ok(value) = value.to_str() else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| {
            let parameter = parameter.replace('"', "");
            parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8")
        })
}

fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let invalid = |detail: String| Problem::new(Code::InvalidRequest, detail);
    match (values.next(), values.next()) {
        (None, _) => Err(Problem::new(
            Code::IdempotencyKeyMissing,
            "This route needs an Idempotency-Key of 1 to 255 visible characters.",
        )),
        (Some(value), None) => {
            let text = value
                .to_str()
                .map_err(|_| invalid("The key is not ASCII.".to_owned()))?;
            IdempotencyKey::parse(text).map_err(|error| invalid(error.to_string()))
        }
        (Some(_), Some(_)) => Err(invalid(
            "There is more than one Idempotency-Key.".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_in_utf_8_is_the_only_media_type() {
        for (value, accepted) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json;charset=\"utf-8\";", true),
            ("application/json; charset=latin1", false),
            ("application/json, text/plain", false),
            ("application/problem+json", false),
            ("text/json", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), accepted, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
