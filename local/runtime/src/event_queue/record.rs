//! What a destination is told about an event.
//!
//! Source: AWS Lambda developer guide, "Capturing records of Lambda asynchronous invocations".

use std::time::SystemTime;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::retry::Condition;
use super::store::Event;
use crate::call::{Failure, json};
use crate::function::arn;

const LATEST: &str = "$LATEST";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'a str,
    timestamp: String,
    request_context: RequestContext,
    request_payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    request_id: Uuid,
    function_arn: String,
    condition: Condition,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    status_code: u16,
    executed_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'static str>,
}

/// What came of an event's last run, as its record has it.
pub(super) struct Response {
    body: Bytes,
    failed: bool,
}

impl Response {
    /// What the caller of an invocation would get.
    pub(super) fn of(outcome: &Result<Bytes, Failure>, id: Uuid) -> Self {
        match outcome {
            Ok(answer) => Self {
                body: answer.clone(),
                failed: false,
            },
            Err(failure) => Self {
                body: failure.body(id),
                failed: true,
            },
        }
    }
}

/// The record of an event of `function` that is over at `now`, a JSON text. There is no response if it was given
/// up without another run. An answer that is no JSON is left out.
pub(super) fn record(
    function: &str,
    event: &Event,
    payload: &[u8],
    condition: Condition,
    response: Option<&Response>,
    now: SystemTime,
) -> Bytes {
    let request_context = RequestContext {
        request_id: event.id,
        function_arn: arn(function, Some(LATEST)),
        condition,
        approximate_invoke_count: event.progress.runs,
    };
    let response_context = response.map(|response| ResponseContext {
        status_code: 200,
        executed_version: LATEST,
        function_error: response.failed.then_some("Unhandled"),
    });
    json(&Record {
        version: "1.0",
        timestamp: DateTime::<Utc>::from(now).to_rfc3339_opts(SecondsFormat::Millis, true),
        request_context,
        request_payload: serde_json::from_slice(payload).unwrap_or(RawValue::NULL),
        response_context,
        response_payload: response.and_then(|it| serde_json::from_slice(&it.body).ok()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event_queue::retry::Progress;
    use crate::manifest::Destination;

    fn recorded(condition: Condition, outcome: Option<&Result<Bytes, Failure>>) -> Value {
        let mut event = Event {
            recipient: Destination::Function("pay".to_owned()),
            origin: None,
            id: Uuid::from_u128(7),
            trace: String::new(),
            tenant: None,
            bytes: 0,
            progress: Progress::new(SystemTime::UNIX_EPOCH),
        };
        event.progress.runs = 3;
        let response = outcome.map(|outcome| Response::of(outcome, event.id));
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1500);
        let text = record(
            "pay",
            &event,
            b"{\"n\": 1.10}",
            condition,
            response.as_ref(),
            at,
        );
        assert!(text.windows(4).any(|part| part == b"1.10"), "word for word");
        serde_json::from_slice(&text).expect("JSON")
    }

    #[test]
    fn records_have_the_shape_of_aws() {
        let error = json!({"errorType": "E", "errorMessage": "no"});
        let failure = Failure::Function(error.to_string().into());
        let mut expected = json!({
            "version": "1.0",
            "timestamp": "1970-01-01T00:00:01.500Z",
            "requestContext": {
                "requestId": "00000000-0000-0000-0000-000000000007",
                "functionArn": "arn:aws:lambda:ap-northeast-2:000000000000:function:pay:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 3,
            },
            "requestPayload": {"n": 1.1},
            "responseContext": {
                "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
            },
            "responsePayload": error,
        });
        let found = recorded(Condition::RetriesExhausted, Some(&Err(failure)));
        assert_eq!(found, expected);

        expected["requestContext"]["condition"] = "Success".into();
        expected["responseContext"] = json!({"statusCode": 200, "executedVersion": "$LATEST"});
        expected["responsePayload"] = json!("done");
        let found = recorded(Condition::Success, Some(&Ok("\"done\"".into())));
        assert_eq!(found, expected);

        let members = expected.as_object_mut().expect("an object");
        members.retain(|name, _| !name.starts_with("response"));
        expected["requestContext"]["condition"] = "EventAgeExceeded".into();
        assert_eq!(recorded(Condition::EventAgeExceeded, None), expected);
    }
}
