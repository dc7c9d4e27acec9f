//! The trace a call belongs to: W3C Trace Context on the outside, X-Ray's form inside.

use http::{HeaderMap, HeaderValue};

/// A trace, continued from a request or begun here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    id: u128,
    parent: u64,
    sampled: bool,
}

impl Trace {
    /// A new trace.
    pub(crate) fn new() -> Self {
        Self {
            id: fastrand::u128(1..),
            parent: fastrand::u64(1..),
            sampled: true,
        }
    }

    /// The trace that a `traceparent` header names; a new one without a valid header.
    ///
    /// Source: W3C Trace Context, section 3.2.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let header = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        header.and_then(Self::parse).unwrap_or_else(Self::new)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(4, '-');
        let version = hex(fields.next()?, 2)?;
        let id = hex(fields.next()?, 32)?;
        let parent = hex(fields.next()?, 16)?;
        let flags = hex(fields.next()?.get(..2)?, 2)?;
        let valid = version != 0xff && id != 0 && parent != 0;
        let parent = u64::try_from(parent).ok()?;
        valid.then_some(Self {
            id,
            parent,
            sampled: flags & 1 == 1,
        })
    }

    /// `Root=1-…;Parent=…;Sampled=…`, as `Lambda-Runtime-Trace-Id` has it.
    pub(crate) fn xray(&self) -> HeaderValue {
        let Self {
            id,
            parent,
            sampled,
        } = self;
        let (time, rest) = (id >> 96, id & (u128::MAX >> 32));
        let sampled = u8::from(*sampled);
        let text = format!("Root=1-{time:08x}-{rest:024x};Parent={parent:016x};Sampled={sampled}");
        #[expect(clippy::expect_used, reason = "letters, digits and punctuation only")]
        HeaderValue::try_from(text).expect("a trace is plain text")
    }

    /// The id, 32 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", self.id)
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

/// Lower-case hexadecimal digits, exactly `length` of them.
fn hex(text: &str, length: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = text.len() == length && text.bytes().all(lower);
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(traceparent: &'static str) -> Trace {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(traceparent));
        Trace::of(&headers)
    }

    #[test]
    fn trace_of_the_request_is_continued() {
        let trace = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            trace.xray(),
            "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1"
        );
    }

    #[test]
    fn invalid_traceparent_begins_a_new_trace() {
        for invalid in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        ] {
            assert_ne!(
                of(invalid).id(),
                "0af7651916cd43dd8448eb211c80319c",
                "{invalid}"
            );
            assert_eq!(of(invalid).id().len(), 32);
        }
    }
}
