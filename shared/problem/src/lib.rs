//! Refusals as `application/problem+json`.
//!
//! Source: RFC 9457; every code is explained in `docs/problems.md`.

mod code;

use serde::Serialize;
use utoipa::ToSchema;

pub use code::Code;

/// The media type of a rendered problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request is refused. What is in here is shown to the client, so a cause without a meaning
/// for clients is logged where it happens and becomes [`Problem::unavailable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which refusal; decides status, title and whether a retry helps.
    pub code: Code,
    /// What went wrong this time, for a human.
    pub detail: String,
    /// The places in the request body that are wrong.
    pub errors: Vec<FieldError>,
    /// The payment the client should look at.
    pub payment_id: Option<String>,
    /// Seconds for `Retry-After`.
    pub retry_after_s: Option<u32>,
}

/// One wrong place in the request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) into the body; the empty string is the whole body.
    #[schema(example = "/amount")]
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

/// A problem as sent to the client.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// Where the problem is explained.
    #[serde(rename = "type")]
    #[schema(
        format = "uri-reference",
        example = "/docs/problems.md#amount-above-authorized"
    )]
    type_uri: String,
    /// What went wrong in general.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time.
    detail: &'a str,
    /// The path of the request.
    #[schema(format = "uri-reference")]
    instance: &'a str,
    /// The stable name of the problem.
    #[schema(schema_with = code_schema)]
    code: &'a str,
    /// The wrong places in the request body.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// Names the request in logs and traces.
    trace_id: &'a str,
    /// Whether sending the same request again may succeed.
    retryable: bool,
    /// The payment to look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_id: Option<&'a str>,
}

impl Problem {
    /// A problem with the code's own `Retry-After`.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            payment_id: None,
            retry_after_s: code.retry_after_s(),
        }
    }

    /// A failure that is none of the client's business beyond "try again".
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            Code::Unavailable,
            "The request could not be completed; retrying it with the same key is safe.",
        )
    }

    /// Adds a wrong place in the body; `pointer` is a JSON Pointer (RFC 6901).
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }

    /// Names the payment the client should look at.
    #[must_use]
    pub fn payment_id(mut self, payment_id: impl Into<String>) -> Self {
        self.payment_id = Some(payment_id.into());
        self
    }

    /// Replaces the code's `Retry-After`, in seconds.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The problem as JSON. `instance` is the path of the request.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "strings and integers always serialize into memory"
    )]
    pub fn to_json(&self, instance: &str, trace_id: &str) -> Vec<u8> {
        serde_json::to_vec(&self.body(instance, trace_id)).expect("a problem serializes")
    }

    fn body<'a>(&'a self, instance: &'a str, trace_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            type_uri: format!("/docs/problems.md#{}", self.code.slug()),
            title: self.code.title(),
            status: self.code.status(),
            detail: &self.detail,
            instance,
            code: self.code.slug(),
            errors: &self.errors,
            trace_id,
            retryable: self.code.retryable(),
            payment_id: self.payment_id.as_deref(),
        }
    }
}

fn code_schema() -> utoipa::openapi::schema::Object {
    let slugs = Code::ALL.iter().map(|code| code.slug());
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .description(Some("The stable name of the problem."))
        .enum_values(Some(slugs))
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_problem_has_every_member() {
        let problem = Problem::new(Code::AmountAboveAuthorized, "100 is above 50")
            .at("/amount", "must be at most 50")
            .payment_id("pay_1");
        let body: Value = serde_json::from_slice(&problem.to_json("/payments", "t1")).unwrap();
        let expected = json!({
            "type": "/docs/problems.md#amount-above-authorized",
            "title": "The amount is above the authorized amount",
            "status": 422,
            "detail": "100 is above 50",
            "instance": "/payments",
            "code": "amount-above-authorized",
            "errors": [{"pointer": "/amount", "detail": "must be at most 50"}],
            "traceId": "t1",
            "retryable": false,
            "paymentId": "pay_1",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn empty_members_are_left_out() {
        let body: Value =
            serde_json::from_slice(&Problem::unavailable().to_json("/", "t")).unwrap();
        assert_eq!(body.get("errors"), None);
        assert_eq!(body.get("paymentId"), None);
        assert_eq!(body["retryable"], true);
    }

    #[test]
    fn retryable_problems_say_when_to_retry() {
        assert_eq!(
            Problem::new(Code::IdempotencyKeyInFlight, "").retry_after_s,
            Some(1)
        );
        assert_eq!(
            Problem::new(Code::RateLimited, "")
                .retry_after_s(7)
                .retry_after_s,
            Some(7)
        );
        assert_eq!(Problem::new(Code::PaymentNotFound, "").retry_after_s, None);
    }
}
