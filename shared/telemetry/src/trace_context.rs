use std::fmt::Write;

use http::HeaderMap;

/// Names a request in every process it passes through.
///
/// Source: W3C Trace Context, `traceparent` version 00.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: String,
    span_id: u64,
    flags: u8,
}

/// Flags of a trace that starts here: sampled.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// Continues the trace of `traceparent`, else of `x-amzn-trace-id`, else starts a new one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let (trace_id, flags) = only(headers, "traceparent")
            .and_then(parse_traceparent)
            .or_else(|| Some((parse_amazon(only(headers, "x-amzn-trace-id")?)?, SAMPLED)))
            .unwrap_or_else(|| (format!("{:032x}", fastrand::u128(1..)), SAMPLED));
        Self {
            trace_id,
            span_id: fastrand::u64(1..),
            flags,
        }
    }

    /// Starts a trace for work that no request asked for.
    #[must_use]
    pub fn root() -> Self {
        Self::from_headers(&HeaderMap::new())
    }

    /// The trace: 32 lowercase hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The header for whatever this request causes.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!(
            "00-{}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Trace id and flags. A later version may append more; what version 00 defines keeps its place.
fn parse_traceparent(value: &str) -> Option<(String, u8)> {
    let mut parts = value.split('-');
    let (version, trace_id, span_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known_form = version != "00" || parts.next().is_none();
    let valid = known_form
        && is_hex(version, 2)
        && version != "ff"
        && is_id(trace_id, 32)
        && is_id(span_id, 16)
        && is_hex(flags, 2);
    valid.then(|| {
        (
            trace_id.to_owned(),
            u8::from_str_radix(flags, 16).unwrap_or(0) & SAMPLED,
        )
    })
}

/// The trace id in `Root=1-<8 digits>-<24 digits>`.
fn parse_amazon(value: &str) -> Option<String> {
    let root = value
        .split(';')
        .find_map(|part| part.trim().strip_prefix("Root=1-"))?;
    let (seconds, rest) = root.split_once('-')?;
    let mut trace_id = String::with_capacity(32);
    write!(trace_id, "{seconds}{rest}").ok()?;
    (seconds.len() == 8 && is_id(&trace_id, 32)).then_some(trace_id)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_id(text: &str, digits: usize) -> bool {
    is_hex(text, digits) && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(headers: &[(&'static str, &str)]) -> TraceContext {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        TraceContext::from_headers(&map)
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_its_own() {
        let sent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let context = of(&[("traceparent", &sent)]);
        assert_eq!(context.trace_id(), TRACE);
        let passed_on = context.traceparent();
        assert!(passed_on.starts_with(&format!("00-{TRACE}-")) && passed_on.ends_with("-01"));
        assert_ne!(passed_on, sent);
        assert_eq!(of(&[("traceparent", &passed_on)]).trace_id(), TRACE);
    }

    #[test]
    fn an_unsampled_trace_stays_unsampled_and_a_later_version_is_read() {
        let unsampled = of(&[("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-00"))]);
        assert!(unsampled.traceparent().ends_with("-00"));
        let later = of(&[(
            "traceparent",
            &format!("01-{TRACE}-00f067aa0ba902b7-03-more"),
        )]);
        assert_eq!(later.trace_id(), TRACE);
    }

    #[test]
    fn a_malformed_traceparent_starts_a_new_trace() {
        let zeros = "0".repeat(32);
        for sent in [
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
        ] {
            let context = of(&[("traceparent", &sent)]);
            assert!(
                context.trace_id() != TRACE && is_id(context.trace_id(), 32),
                "{sent}"
            );
        }
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_ne!(
            of(&[("traceparent", &good), ("traceparent", &good)]).trace_id(),
            TRACE
        );
    }

    #[test]
    fn the_amazon_header_counts_when_it_is_alone() {
        let amazon = "Self=1-0-0;Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
        assert_eq!(
            of(&[("x-amzn-trace-id", amazon)]).trace_id(),
            "5759e988bd862e3fe1be46a994272793"
        );
        let sent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(
            of(&[("x-amzn-trace-id", amazon), ("traceparent", &sent)]).trace_id(),
            TRACE
        );
    }

    #[test]
    fn new_traces_differ() {
        assert_ne!(of(&[]).trace_id(), of(&[]).trace_id());
    }

    proptest! {
        #[test]
        fn any_header_gives_a_valid_context(traceparent in "[ -~]{0,60}", amazon in "[ -~]{0,60}") {
            let context = of(&[("traceparent", &traceparent), ("x-amzn-trace-id", &amazon)]);
            prop_assert!(parse_traceparent(&context.traceparent()).is_some());
        }
    }
}
