use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::{HeaderValue, Response};
use idempotency::Reply;
use lambda_http::{Body, Error, Request};
use problem::Problem;
use serde::Deserialize;
use telemetry::TraceContext;

use crate::answer::{Answer, refusal};
use crate::call::{self, Call, Policy};
use crate::{Guard, Parts};

/// Answers one request: believes it, holds it against the policy and the merchant's rate, repeats
/// the reply its key has already, else asks the handler. Every request is logged once.
///
/// # Errors
/// None; the type is what `lambda_http` asks for.
pub async fn serve<H, F>(
    guard: &Guard,
    policy: Policy,
    request: Request,
    handler: H,
) -> Result<Response<Body>, Error>
where
    H: FnOnce(Call) -> F,
    F: Future<Output = Result<Answer, Problem>>,
{
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let trace = TraceContext::from_headers(&parts.headers);
    let (method, path) = (parts.method.clone(), call::path(&parts).to_owned());
    let mut merchant_id = None;
    let result = match Call::verified(parts, body, policy, &guard.0.keys, trace.clone()) {
        Ok(call) => {
            merchant_id = Some(call.caller.merchant_id.clone());
            answer(&guard.0, policy, call, handler).await
        }
        Err(problem) => Err(problem),
    };
    let code = code(&result);
    let mut response = match result {
        Ok(answer) => answer.into_response(),
        Err(problem) => refusal(&problem, &path, trace.trace_id()),
    };
    if let Ok(value) = HeaderValue::from_str(trace.trace_id()) {
        response.headers_mut().insert("x-trace-id", value);
    }
    let (elapsed, status) = (started.elapsed(), response.status().as_u16());
    tracing::info!(
        http.method = %method,
        http.path = path,
        http.status = status,
        http.duration_us = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        problem.code = code.as_deref(),
        merchant.id = merchant_id,
        trace.id = trace.trace_id(),
        "{method} {path} {status}"
    );
    count(status, code, elapsed);
    Ok(response)
}

fn count(status: u16, code: Option<Cow<'static, str>>, elapsed: Duration) {
    let code = code.map_or_else(|| "none".to_owned(), Cow::into_owned);
    metrics::counter!("http_requests_total", "status" => status.to_string(), "code" => code)
        .increment(1);
    metrics::histogram!("http_request_duration_seconds").record(elapsed);
}

/// The request's way after it is believed.
async fn answer<H, F>(
    guard: &Parts,
    policy: Policy,
    mut call: Call,
    handler: H,
) -> Result<Answer, Problem>
where
    H: FnOnce(Call) -> F,
    F: Future<Output = Result<Answer, Problem>>,
{
    call.conform(policy)?;
    if let Some(reply) = guard.admissions.admit(&call).await? {
        return Ok(Answer::Replayed(reply));
    }
    failpoint::at!("guard.admitted", |_| Problem::unavailable());
    let (caller, idempotency) = (call.caller.clone(), call.idempotency.clone());
    let answer = handler(call).await?;
    failpoint::at!("guard.answered", |_| Problem::unavailable());
    if let (Answer::Stored(reply) | Answer::Replayed(reply), Some((key, fingerprint))) =
        (&answer, idempotency)
    {
        guard
            .admissions
            .remember(&caller.merchant_id, &key, fingerprint, reply);
    }
    Ok(answer)
}

/// The code of a refusal, which a stored reply has in its body.
fn code(result: &Result<Answer, Problem>) -> Option<Cow<'static, str>> {
    #[derive(Deserialize)]
    struct WithCode {
        code: String,
    }
    match result {
        Err(problem) => Some(problem.code.slug().into()),
        Ok(answer) => match answer.reply() {
            Reply { status: ..400, .. } => None,
            Reply { body, .. } => Some(serde_json::from_slice::<WithCode>(body).ok()?.code.into()),
        },
    }
}
