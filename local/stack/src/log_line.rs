//! The runtime's JSON log lines, made short for people.

use std::iter;

use serde_json::{Map, Value};

/// Members that have their place in front, or that say nothing to a person.
const PLACED: [&str; 6] = [
    "timestamp",
    "level",
    "function",
    "message",
    "target",
    "instance",
];
/// Where the time of day stands in an RFC 3339 timestamp, with milliseconds.
const TIME_OF_DAY: std::ops::Range<usize> = 11..23;

/// One line: time of day, level, function, message, and the members that the message does not
/// already tell. What is no JSON object stays as it is.
#[must_use]
pub fn render(line: &str) -> String {
    let Ok(Value::Object(members)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    let text = |name| {
        members
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let time = text("timestamp").get(TIME_OF_DAY).unwrap_or_default();
    let function = members
        .get("function")
        .and_then(Value::as_str)
        .unwrap_or("runtime");
    let message = text("message");
    let head = format!("{time:12} {:5} {function:14} {message}", text("level"));
    iter::once(head)
        .chain(others(&members, message))
        .collect::<Vec<_>>()
        .join(" ")
}

fn others(members: &Map<String, Value>, message: &str) -> impl Iterator<Item = String> {
    members
        .iter()
        .filter(|(name, _)| !PLACED.contains(&name.as_str()))
        .filter_map(move |(name, value)| {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let told = message.split(' ').any(|word| word == text);
            (!told).then(|| format!("{name}={text}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_becomes_time_level_function_message_and_fields() {
        let line = concat!(
            r#"{"function":"authorize","instance":"authorize-1","#,
            r#""timestamp":"2026-11-23T09:15:41.546123Z","level":"INFO","message":"GET / 200","#,
            r#""target":"guard","http.status":200,"http.duration_us":20,"payment.id":"pay_1"}"#
        );
        assert_eq!(
            render(line),
            "09:15:41.546 INFO  authorize      GET / 200 http.duration_us=20 payment.id=pay_1"
        );
    }

    #[test]
    fn a_line_of_the_runtime_itself_is_named_so() {
        let line = r#"{"timestamp":"2026-11-23T09:15:41.5Z","level":"WARN","message":"slow"}"#;
        assert_eq!(render(line), "             WARN  runtime        slow");
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for line in ["", "thread 'main' panicked", "[1]", "{\"broken\"", "7"] {
            assert_eq!(render(line), line);
        }
    }
}
