use problem::{Code, Problem};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

/// Most characters of a JSON Pointer in an answer.
const POINTER_CHARS_MAX: usize = 256;

/// Parses a whole body, an object. Values never appear in the problem: they may be personal.
///
/// Nesting is bounded by the parser's own limit of 128 levels.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| refuse(error.path(), error.inner()))?;
    json.end().map_err(|error| not_json(&error))?;
    // The derived code also reads an array, member by member in the order of the source.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(wrong_at(String::new(), "must be an object"));
    }
    Ok(value)
}

fn refuse(path: &Path, error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let message = message
        .rsplit_once(" at line ")
        .map_or(message.as_str(), |(text, _)| text);
    // The parser counts a number beyond f64 as bad syntax; for the client it is just too large.
    let out_of_range = message == "number out of range";
    if error.classify() != Category::Data && !out_of_range {
        return not_json(error);
    }
    let (member, detail) = explain(message);
    wrong_at(pointer(path, member), detail)
}

fn wrong_at(pointer: String, detail: impl Into<String>) -> Problem {
    let place = if pointer.is_empty() {
        "The body"
    } else {
        pointer.as_str()
    };
    let detail = detail.into();
    Problem::new(Code::InvalidRequest, format!("{place} {detail}.")).at(pointer, detail)
}

fn not_json(error: &serde_json::Error) -> Problem {
    let detail = format!(
        "The body cannot be read as JSON at line {}, column {}.",
        error.line(),
        error.column()
    );
    Problem::new(Code::InvalidJson, detail)
}

/// The member a message names, if any, and what is wrong with it, without the value sent.
fn explain(message: &str) -> (Option<&str>, String) {
    let named = |prefix: &str| message.strip_prefix(prefix)?.split('`').next();
    if let Some(member) = named("missing field `") {
        return (Some(member), "is missing".to_owned());
    }
    if let Some(member) = named("duplicate field `") {
        return (Some(member), "is there more than once".to_owned());
    }
    if let Some(member) = named("unknown field `") {
        return (Some(member), "is not a known member".to_owned());
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if expected.starts_with("struct ") => {
            (None, "must be an object".to_owned())
        }
        Some((_, expected)) => (None, format!("must be {expected}")),
        None if message == "number out of range" => (None, "is out of range".to_owned()),
        None => (None, message.to_owned()),
    }
}

/// A JSON Pointer (RFC 6901) to `member` at `path`; the path may end with the member already.
fn pointer(path: &Path, member: Option<&str>) -> String {
    let mut steps: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    if let Some(member) = member
        && steps.last().is_none_or(|last| last != member)
    {
        steps.push(member.to_owned());
    }
    let pointer: String = steps
        .iter()
        .flat_map(|step| ["/".to_owned(), step.replace('~', "~0").replace('/', "~1")])
        .collect();
    pointer.chars().take(POINTER_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU64;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is tested")]
    struct Order {
        amount: NonZeroU64,
        customer: Option<Customer>,
        tags: Option<Vec<u8>>,
        metadata: Option<BTreeMap<String, String>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape is tested")]
    struct Customer {
        name: String,
    }

    #[test]
    fn what_is_no_json_is_told_apart_from_wrong_json() {
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        for body in [
            "",
            "{",
            "{\"amount\":1}x",
            "{\"amount\":01}",
            "\u{feff}{}",
            "{\"metadata\":{\"a\":\"\\ud800\"}}",
            "nul",
        ] {
            let problem = parse::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidJson, "{body}");
        }
        assert_eq!(
            parse::<serde_json::Value>(deep.as_bytes())
                .unwrap_err()
                .code,
            Code::InvalidJson
        );
        assert_eq!(
            parse::<Order>(b"{\"amount\":1,\"\xff\":1}")
                .unwrap_err()
                .code,
            Code::InvalidJson
        );
    }

    #[test]
    fn every_wrong_member_is_pointed_at_without_its_value() {
        for (body, pointer, detail) in [
            ("{}", "/amount", "is missing"),
            (
                r#"{"amount":1,"amount":2}"#,
                "/amount",
                "is there more than once",
            ),
            (
                r#"{"amount":1,"status":"PAID"}"#,
                "/status",
                "is not a known member",
            ),
            (
                r#"{"amount":1,"customer":{"name":"Kim","age":3}}"#,
                "/customer/age",
                "is not a known member",
            ),
            (
                r#"{"amount":1,"customer":{}}"#,
                "/customer/name",
                "is missing",
            ),
            (
                r#"{"amount":1,"a/b~c":2}"#,
                "/a~1b~0c",
                "is not a known member",
            ),
            (r#"{"amount":"Kim"}"#, "/amount", "must be a nonzero u64"),
            (r#"{"amount":0}"#, "/amount", "must be a nonzero u64"),
            (r#"{"amount":-1}"#, "/amount", "must be a nonzero u64"),
            (r#"{"amount":1.5}"#, "/amount", "must be a nonzero u64"),
            (
                r#"{"amount":18446744073709551616}"#,
                "/amount",
                "must be a nonzero u64",
            ),
            (r#"{"amount":1e400}"#, "/amount", "is out of range"),
            (r#"{"amount":1,"tags":[1,256]}"#, "/tags/1", "must be u8"),
            (
                r#"{"amount":1,"metadata":{"k":["Kim, expected x"]}}"#,
                "/metadata/k",
                "must be a string",
            ),
            (
                r#"{"amount":1,"customer":7}"#,
                "/customer",
                "must be an object",
            ),
            ("[]", "", "must be an object"),
            ("[1,null,null,null]", "", "must be an object"),
            ("7", "", "must be an object"),
        ] {
            let problem = parse::<Order>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest, "{body}");
            let error = &problem.errors[0];
            assert_eq!(
                (error.pointer.as_str(), error.detail.as_str()),
                (pointer, detail),
                "{body}"
            );
            assert!(!format!("{problem:?}").contains("Kim"), "{problem:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bodies_never_panic(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            shaped in r#"\{"(amount|a/b|customer)":(-?[0-9]{1,30}|"[ -~]{0,9}"|\{"name":[0-9]\}|null)\}"#,
        ) {
            let _ = parse::<Order>(&body);
            let _ = parse::<Order>(shaped.as_bytes());
        }
    }
}
