//! Event patterns, as `EventBridge` and the filters of Lambda's event sources have them.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

/// A pattern: every field it names must match.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pattern(Vec<(String, Node)>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// An object, each of whose fields must match.
    Fields(Vec<(String, Node)>),
    /// A value that one of these must match.
    AnyOf(Vec<Test>),
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Equals(Value),
    Prefix(String),
    Suffix(String),
    AnythingBut(Vec<Test>),
    Exists(bool),
    Numeric(Vec<(Comparison, Number)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Pattern {
    /// Reads a pattern: an object of patterns, and of arrays of values and operators.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::Object(fields) => fields_of(fields).map(Self),
            _ => Err("a pattern is an object".to_owned()),
        }
    }

    /// Whether `document` matches.
    pub(crate) fn matches(&self, document: &Value) -> bool {
        fields_match(&self.0, Some(document))
    }
}

fn fields_of(fields: &Map<String, Value>) -> Result<Vec<(String, Node)>, String> {
    if fields.is_empty() {
        return Err("a pattern names at least one field".to_owned());
    }
    let read = |(name, value): (&String, &Value)| {
        let node = match value {
            Value::Object(fields) => Node::Fields(fields_of(fields)?),
            Value::Array(tests) if !tests.is_empty() => {
                Node::AnyOf(tests.iter().map(Test::parse).collect::<Result<_, _>>()?)
            }
            _ => {
                return Err(format!(
                    "{name} must be an object or an array that is not empty"
                ));
            }
        };
        Ok((name.clone(), node))
    };
    fields.iter().map(read).collect()
}

impl Test {
    fn parse(value: &Value) -> Result<Self, String> {
        let Value::Object(operator) = value else {
            return match value {
                Value::Array(_) => Err("an array within an array".to_owned()),
                plain => Ok(Self::Equals(plain.clone())),
            };
        };
        let mut members = operator.iter();
        let (Some((name, operand)), None) = (members.next(), members.next()) else {
            return Err("an operator is an object with one member".to_owned());
        };
        match (name.as_str(), operand) {
            ("prefix", Value::String(text)) => Ok(Self::Prefix(text.clone())),
            ("suffix", Value::String(text)) => Ok(Self::Suffix(text.clone())),
            ("exists", Value::Bool(exists)) => Ok(Self::Exists(*exists)),
            ("numeric", Value::Array(parts)) => comparisons(parts).map(Self::Numeric),
            ("anything-but", Value::Array(tests)) => {
                let tests = tests.iter().map(Self::parse).collect::<Result<_, _>>()?;
                Ok(Self::AnythingBut(tests))
            }
            ("anything-but", other) => Ok(Self::AnythingBut(vec![Self::parse(other)?])),
            ("prefix" | "suffix" | "exists" | "numeric", _) => {
                Err(format!("{name} with {operand}"))
            }
            _ => Err(format!(
                "the operator {name} is none of prefix, suffix, anything-but, exists, numeric"
            )),
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Exists(false));
        };
        match self {
            Self::Exists(exists) => *exists,
            _ => match value {
                Value::Array(elements) => elements.iter().any(|it| self.matches_scalar(it)),
                scalar => self.matches_scalar(scalar),
            },
        }
    }

    fn matches_scalar(&self, value: &Value) -> bool {
        match self {
            Self::Equals(expected) => equal(expected, value),
            Self::Prefix(prefix) => value.as_str().is_some_and(|it| it.starts_with(prefix)),
            Self::Suffix(suffix) => value.as_str().is_some_and(|it| it.ends_with(suffix)),
            Self::AnythingBut(tests) => !tests.iter().any(|test| test.matches_scalar(value)),
            Self::Exists(exists) => *exists,
            Self::Numeric(comparisons) => match value {
                Value::Number(number) => comparisons.iter().all(|it| holds(it, number)),
                _ => false,
            },
        }
    }
}

fn comparisons(parts: &[Value]) -> Result<Vec<(Comparison, Number)>, String> {
    let read = |pair: &[Value]| {
        let [Value::String(sign), Value::Number(bound)] = pair else {
            return None;
        };
        let comparison = match sign.as_str() {
            "=" => Comparison::Equal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return None,
        };
        Some((comparison, bound.clone()))
    };
    let read: Option<Vec<_>> = parts.chunks(2).map(read).collect();
    read.filter(|it| !it.is_empty())
        .ok_or_else(|| "numeric takes pairs of =, <, <=, > or >= and a number".to_owned())
}

fn holds((comparison, bound): &(Comparison, Number), number: &Number) -> bool {
    let ordering = order(number, bound);
    match comparison {
        Comparison::Equal => ordering == Ordering::Equal,
        Comparison::Less => ordering == Ordering::Less,
        Comparison::LessOrEqual => ordering != Ordering::Greater,
        Comparison::Greater => ordering == Ordering::Greater,
        Comparison::GreaterOrEqual => ordering != Ordering::Less,
    }
}

/// Numbers are equal by value: 1 and 1.0 are.
fn equal(expected: &Value, value: &Value) -> bool {
    match (expected, value) {
        (Value::Number(expected), Value::Number(value)) => order(expected, value).is_eq(),
        _ => expected == value,
    }
}

/// Integers are compared exactly: above 2^53 different ones are the same floating-point number.
fn order(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return a.cmp(&b);
    }
    // JSON has no number that is none.
    let ordering = a.as_f64().partial_cmp(&b.as_f64());
    ordering.unwrap_or(Ordering::Equal)
}

fn fields_match(fields: &[(String, Node)], value: Option<&Value>) -> bool {
    if let Some(Value::Array(elements)) = value {
        return elements
            .iter()
            .any(|element| fields_match(fields, Some(element)));
    }
    fields.iter().all(|(name, node)| {
        let value = value.and_then(|value| value.get(name));
        match node {
            Node::Fields(fields) => fields_match(fields, value),
            Node::AnyOf(tests) => tests.iter().any(|test| test.matches(value)),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn assert_matches(pattern: &Value, document: &Value, expected: bool) {
        let parsed = Pattern::parse(pattern).expect("a pattern");
        assert_eq!(parsed.matches(document), expected, "{pattern} {document}");
    }

    #[test]
    fn all_fields_and_one_of_their_values_must_match() {
        let document =
            json!({"key": "k1", "value": {"a": {"b": 5}, "tags": ["x", "y"], "n": null}});
        for (pattern, expected) in [
            (json!({"key": ["k1"]}), true),
            (json!({"key": ["k2", "k1"]}), true),
            (json!({"key": ["k2"]}), false),
            (json!({"key": ["k1"], "value": {"a": {"b": [5.0]}}}), true),
            (json!({"key": ["k1"], "value": {"a": {"b": [6]}}}), false),
            (json!({"value": {"a": {"b": ["5"]}}}), false),
            (json!({"value": {"tags": ["y"]}}), true),
            (json!({"value": {"tags": ["z"]}}), false),
            (json!({"value": {"n": [null]}}), true),
            (json!({"value": {"key": {"b": [1]}}}), false),
        ] {
            assert_matches(&pattern, &document, expected);
        }
    }

    #[test]
    fn operators_match_as_in_event_bridge() {
        let document = json!({"s": "payment.captured", "n": 10, "list": [1, 2]});
        for (test, field, expected) in [
            (json!({"prefix": "payment."}), "s", true),
            (json!({"prefix": "captured"}), "s", false),
            (json!({"suffix": ".captured"}), "s", true),
            (json!({"suffix": "payment"}), "s", false),
            (json!({"prefix": "1"}), "n", false),
            (json!({"anything-but": "x"}), "s", true),
            (json!({"anything-but": ["payment.captured"]}), "s", false),
            (json!({"anything-but": {"prefix": "pay"}}), "s", false),
            (json!({"anything-but": "x"}), "absent", false),
            (json!({"exists": true}), "s", true),
            (json!({"exists": false}), "s", false),
            (json!({"exists": false}), "absent", true),
            (json!({"exists": true}), "absent", false),
            (json!({"numeric": [">", 5, "<=", 10]}), "n", true),
            (json!({"numeric": ["<", 10]}), "n", false),
            (json!({"numeric": ["=", 10]}), "n", true),
            (json!({"numeric": [">=", 2]}), "list", true),
            (json!({"numeric": [">", 5]}), "s", false),
        ] {
            assert_matches(&json!({ field: [test] }), &document, expected);
        }
    }

    #[test]
    fn numbers_are_compared_exactly_and_by_value() {
        let document = json!({"n": 9_007_199_254_740_993_u64, "max": u64::MAX, "zero": -0.0});
        for (test, field, expected) in [
            (json!(9_007_199_254_740_993_u64), "n", true),
            (json!(9_007_199_254_740_992_u64), "n", false),
            (
                json!({"numeric": [">", 9_007_199_254_740_992_u64]}),
                "n",
                true,
            ),
            (
                json!({"numeric": ["=", 9_007_199_254_740_992_u64]}),
                "n",
                false,
            ),
            (json!({"numeric": [">", i64::MAX]}), "max", true),
            (json!({"numeric": ["<", u64::MAX]}), "max", false),
            (json!({"numeric": [">", 0.5]}), "n", true),
            (json!({"numeric": ["=", 0]}), "zero", true),
            (json!(0), "zero", true),
        ] {
            assert_matches(&json!({ field: [test] }), &document, expected);
        }
    }

    #[test]
    fn patterns_that_cannot_be_meant_are_refused() {
        for pattern in [
            json!([]),
            json!({}),
            json!({"a": 1}),
            json!({"a": []}),
            json!({"a": {}}),
            json!({"a": [[1]]}),
            json!({"a": [{"prefix": 1}]}),
            json!({"a": [{"wildcard": "*"}]}),
            json!({"a": [{"prefix": "x", "suffix": "y"}]}),
            json!({"a": [{"numeric": ["=", "1"]}]}),
            json!({"a": [{"numeric": [">"]}]}),
            json!({"a": [{"numeric": []}]}),
        ] {
            assert!(Pattern::parse(&pattern).is_err(), "{pattern}");
        }
    }
}
