//! The end of what an instance logs during one invocation.
//!
//! Source: AWS Lambda API reference, "Invoke", `X-Amz-Log-Type`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use uuid::Uuid;

use crate::function::locked;
use crate::instance::Instance;

/// Bytes that are kept, as on AWS.
const TAIL_BYTES: usize = 4096;

/// Records one invocation, from the moment an instance takes it.
#[derive(Debug)]
pub(crate) struct Tail {
    id: Uuid,
    memory_mb: u32,
    recording: Mutex<Option<Recording>>,
}

#[derive(Debug)]
struct Recording {
    instance: Arc<Instance>,
    since: Instant,
    end: VecDeque<u8>,
}

impl Tail {
    /// Records the invocation `id` of a function with so much memory.
    pub(crate) fn new(id: Uuid, memory_mb: u32) -> Self {
        let recording = Mutex::default();
        Self {
            id,
            memory_mb,
            recording,
        }
    }

    /// `instance` has taken the invocation.
    pub(crate) fn begin(self: &Arc<Self>, instance: &Arc<Instance>) {
        let mut recording = Recording {
            instance: Arc::clone(instance),
            since: Instant::now(),
            end: VecDeque::new(),
        };
        recording.add(&format!("START RequestId: {} Version: $LATEST\n", self.id));
        *locked(&self.recording) = Some(recording);
        instance.record(self);
    }

    /// The instance has logged a line. It belongs to this invocation unless it names another: an
    /// instance may run several at once, and most lines of text name none. False if the recording
    /// has ended.
    pub(crate) fn line(&self, line: &[u8]) -> bool {
        let mut recording = locked(&self.recording);
        let Some(recording) = recording.as_mut() else {
            return false;
        };
        if request_id(line).is_none_or(|named| named == self.id) {
            recording.add(&String::from_utf8_lossy(line));
        }
        true
    }

    /// The invocation has ended: the last 4 KiB of its log in base64; `None` if no instance took it.
    pub(crate) async fn finish(&self) -> Option<HeaderValue> {
        let (instance, lasted) = {
            let recording = locked(&self.recording);
            let recording = recording.as_ref()?;
            (Arc::clone(&recording.instance), recording.since.elapsed())
        };
        instance.lines_read().await;
        let mut recording = locked(&self.recording).take()?;
        recording.add(&report(self.id, lasted, self.memory_mb));
        let text = STANDARD.encode(recording.end.make_contiguous());
        HeaderValue::try_from(text).ok()
    }
}

impl Recording {
    fn add(&mut self, text: &str) {
        self.end.extend(text.as_bytes());
        let surplus = self.end.len().saturating_sub(TAIL_BYTES);
        self.end.drain(..surplus);
    }
}

/// The last two lines of an invocation, without the memory it used, which is not known.
fn report(id: Uuid, lasted: Duration, memory_mb: u32) -> String {
    let micros = lasted.as_micros();
    let (millis, hundredths, billed) = (micros / 1000, micros / 10 % 100, micros.div_ceil(1000));
    format!(
        "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: {millis}.{hundredths:02} ms\t\
         Billed Duration: {billed} ms\tMemory Size: {memory_mb} MB\t\n"
    )
}

/// The invocation that a line names, if it is a JSON object as the clients' loggers write them: in
/// a member of its own (Python, Node, Java, Powertools), or of its spans (Rust).
fn request_id(line: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(rename = "requestId", alias = "request_id", alias = "aws_request_id")]
        #[serde(alias = "AWSRequestId", alias = "function_request_id")]
        request_id: Option<Uuid>,
    }
    #[derive(Deserialize)]
    struct Line {
        #[serde(flatten)]
        own: Named,
        span: Option<Named>,
        #[serde(default)]
        spans: Vec<Named>,
    }
    if !line.starts_with(b"{") {
        return None;
    }
    let line: Line = serde_json::from_slice(line).ok()?;
    let spans = line.span.into_iter().chain(line.spans);
    let mut named = [line.own].into_iter().chain(spans);
    named.find_map(|it| it.request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn lines_name_their_invocation_in_several_ways() {
        for line in [
            format!(r#"{{"requestId":"{ID}","message":"hi"}}"#),
            format!(r#"{{"message":"hi","aws_request_id":"{ID}"}}"#),
            format!(r#"{{"span":{{"requestId":"{ID}","name":"x"}},"spans":[]}}"#),
            format!(r#"{{"spans":[{{"name":"x"}},{{"requestId":"{ID}"}}]}}"#),
        ] {
            assert_eq!(request_id(line.as_bytes()), Some(ID), "{line}");
        }
        for line in ["text", "{}", "{broken", r#"{"requestId":"mine"}"#, "[1]"] {
            assert_eq!(request_id(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn report_has_the_form_of_aws() {
        let text = report(ID, Duration::from_micros(12_345), 128);
        let id = "00000000-0000-0000-0000-000000000007";
        let expected = format!(
            "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: 12.34 ms\t\
             Billed Duration: 13 ms\tMemory Size: 128 MB\t\n"
        );
        assert_eq!(text, expected);
    }
}
