//! What a function's answer means for the records it was sent.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::progress::Verdict;
use crate::call::Failure;

/// An answer that tells which records failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    batch_item_failures: Option<Vec<ItemFailure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: Identifier,
}

#[derive(Deserialize)]
struct Identifier {
    partition: String,
    offset: i64,
}

/// What the outcome of the call `id` means for records of `partition`, which is `TOPIC-NUMBER`; and
/// the error, if there is one. `partial` says whether the function tells which records failed.
pub(super) fn verdict(
    outcome: &Result<Bytes, Failure>,
    id: Uuid,
    partial: bool,
    partition: &str,
) -> (Verdict, Option<String>) {
    match outcome {
        Err(failure) => {
            let not_run = failure.is_throttle() || *failure == Failure::NoInstance;
            let verdict = if not_run {
                Verdict::NotRun
            } else {
                Verdict::Failed
            };
            (verdict, Some(error_text(&failure.body(id))))
        }
        Ok(_) if !partial => (Verdict::Processed, None),
        Ok(body) => match failed_offsets(body, partition) {
            Ok(offsets) if offsets.is_empty() => (Verdict::Processed, None),
            Ok(offsets) => {
                let error = "the function named it in batchItemFailures".to_owned();
                (Verdict::FailedAt(offsets), Some(error))
            }
            Err(error) => (Verdict::Failed, Some(error)),
        },
    }
}

/// Offsets of the records that failed, out of `{"batchItemFailures":[{"itemIdentifier":{"partition":
/// "topic-0","offset":123}}]}`. An answer of null, or without the member, names none.
fn failed_offsets(body: &[u8], partition: &str) -> Result<Vec<i64>, String> {
    let answer: Option<Answer> = serde_json::from_slice(body)
        .map_err(|error| format!("the answer has no valid batchItemFailures: {error}"))?;
    let failures = answer
        .and_then(|it| it.batch_item_failures)
        .unwrap_or_default();
    let offset = |failure: ItemFailure| {
        let Identifier {
            partition: named,
            offset,
        } = failure.item_identifier;
        (named == partition)
            .then_some(offset)
            .ok_or_else(|| format!("the answer names a record of {named}, which was not sent"))
    };
    failures.into_iter().map(offset).collect()
}

/// `TYPE: MESSAGE` of an error's JSON, or all of it.
fn error_text(body: &[u8]) -> String {
    let error: Option<Value> = serde_json::from_slice(body).ok();
    let member = |name: &str| error.as_ref()?.get(name)?.as_str().map(str::to_owned);
    match (member("errorType"), member("errorMessage")) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        _ => String::from_utf8_lossy(body).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(body: &'static str) -> Verdict {
        let outcome = Ok(Bytes::from_static(body.as_bytes()));
        verdict(&outcome, Uuid::nil(), true, "t-0").0
    }

    #[test]
    fn answer_without_failures_is_success() {
        for body in [
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
        ] {
            assert_eq!(of(body), Verdict::Processed, "{body}");
        }
    }

    #[test]
    fn named_records_failed() {
        let body = r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"t-0","offset":7}},
                       {"itemIdentifier":{"partition":"t-0","offset":5}}]}"#;
        assert_eq!(of(body), Verdict::FailedAt(vec![7, 5]));
    }

    #[test]
    fn answer_that_names_no_record_of_the_batch_fails_all() {
        for body in [
            "\"ok\"",
            "17",
            r#"{"batchItemFailures":[{"itemIdentifier":"t-0-5"}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"t-1","offset":5}}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"t-0"}}]}"#,
            r#"{"batchItemFailures":[{}]}"#,
        ] {
            assert_eq!(of(body), Verdict::Failed, "{body}");
        }
    }

    #[test]
    fn any_answer_is_success_unless_partial_failures_are_asked_for() {
        let outcome = Ok(Bytes::from_static(b"\"ok\""));
        let (verdict, error) = verdict(&outcome, Uuid::nil(), false, "t-0");
        assert_eq!((verdict, error), (Verdict::Processed, None));
    }

    #[test]
    fn calls_that_no_instance_saw_do_not_count() {
        let of = |failure| verdict(&Err(failure), Uuid::nil(), true, "t-0").0;
        for failure in [
            Failure::Reserved,
            Failure::QueueFull,
            Failure::QueueWait,
            Failure::NoInstance,
            Failure::Draining,
            Failure::LeaseLost,
        ] {
            assert_eq!(of(failure), Verdict::NotRun);
        }
        for failure in [
            Failure::Function(Bytes::from_static(b"{}")),
            Failure::TimedOut(Duration::from_secs(1)),
            Failure::Exited(String::new()),
            Failure::ResponseTooLarge,
        ] {
            assert_eq!(of(failure), Verdict::Failed);
        }
    }

    #[test]
    fn error_is_told_by_type_and_message() {
        let body = Bytes::from_static(br#"{"errorType":"Oops","errorMessage":"no"}"#);
        let (_, error) = verdict(&Err(Failure::Function(body)), Uuid::nil(), true, "t-0");
        assert_eq!(error.as_deref(), Some("Oops: no"));
    }
}
