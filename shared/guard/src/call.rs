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

/// Most bytes of a request body.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// What a route demands.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Who may call it.
    pub roles: &'static [Role],
    /// Whether it changes something: then an idempotency key is required, a body is JSON, and there
    /// is no query, which a key's fingerprint would have to hold.
    pub mutating: bool,
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
    /// The idempotency key and what it is used for; always there when the policy is mutating.
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
        keys: &KeyFile,
        trace: TraceContext,
    ) -> Result<Self, Problem> {
        let body = bounded(body)?;
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
        if policy.mutating {
            self.no_query()?;
            if !self.body.is_empty() && !is_json(&self.headers) {
                let detail = "The body must be application/json, in UTF-8.";
                return Err(Problem::new(Code::MediaType, detail));
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

fn bounded(body: Body) -> Result<Bytes, Problem> {
    let bytes = match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => Bytes::new(),
    };
    if bytes.len() > BODY_BYTES_MAX {
        let detail = format!("The body has more than {BODY_BYTES_MAX} bytes.");
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
