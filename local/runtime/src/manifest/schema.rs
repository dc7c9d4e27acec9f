//! The manifest's JSON Schema, for editors.

/// What a manifest may say, as far as JSON Schema (draft 2020-12) can tell; [`super::Manifest`] knows
/// better.
pub(crate) const SCHEMA: &str = include_str!("../../functions.schema.json");

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::Manifest;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).expect("JSON")
    }

    fn errors(manifest: &Value) -> Vec<String> {
        let validator = jsonschema::validator_for(&schema()).expect("a schema");
        let errors = validator.iter_errors(manifest);
        errors.map(|error| error.to_string()).collect()
    }

    /// The text of a manifest as an editor sees it.
    fn read(text: &str) -> Value {
        let manifest: toml::Table = toml::from_str(text).expect("TOML");
        serde_json::to_value(manifest).expect("JSON")
    }

    /// The manifests in a text of Markdown, those of several blocks put together.
    fn examples(markdown: &str) -> String {
        let blocks = markdown.split("```toml\n").skip(1);
        let blocks = blocks.filter_map(|block| block.split("```").next());
        blocks.collect()
    }

    #[test]
    fn manifests_that_people_see_are_valid() {
        let readme = examples(include_str!("../../README.md"));
        assert!(readme.len() > 1000, "the README has examples");
        for text in [
            include_str!("../../../../functions/functions.toml"),
            &readme,
        ] {
            assert_eq!(errors(&read(text)), [""; 0]);
        }
    }

    #[test]
    fn unknown_members_and_wrong_types_are_not_valid() {
        for manifest in [
            json!({ "functions": { "a": { "command": ["a"], "colour": 1 } } }),
            json!({ "functions": { "a": { "command": "a" } } }),
            json!({ "functions": { "a": {} } }),
            json!({ "functions": { "a b": { "command": ["a"] } } }),
            json!({ "gateway": { "in_flight_max": 0 } }),
            json!({ "functions": { "a": { "command": ["a"], "schedule": [{ "cron": "* * * * *", "every": "1s" }] } } }),
        ] {
            assert_ne!(errors(&manifest), [""; 0], "{manifest}");
        }
    }

    /// Whether the parser knows a member of the table that `header` begins.
    fn is_known(header: &str, member: &str) -> bool {
        // A date is the right type of none.
        let text = format!("{header}\n{member} = 1979-05-27\n");
        let faults = Manifest::parse(&text, &|_| None).expect_err("a fault");
        let mut faults = faults.iter();
        !faults.any(|fault| fault.message.starts_with("unknown member"))
    }

    #[test]
    fn schema_and_parser_know_the_same_members() {
        for (definition, header) in [
            ("gateway", "[gateway]"),
            ("cluster", "[cluster]"),
            ("tls", "[gateway.tls]"),
            ("static", "[[static]]"),
            ("kafka", "[kafka]"),
            ("defaults", "[defaults]"),
            ("function", "[functions.a]"),
            ("schedule", "[[functions.a.schedule]]"),
            ("continuous", "[functions.a.continuous]"),
            ("async", "[functions.a.async]"),
            ("source", "[[functions.a.kafka]]"),
        ] {
            let schema = schema();
            let members = schema["$defs"][definition]["properties"].as_object();
            for member in members.expect("members").keys() {
                assert!(is_known(header, member), "{definition}: {member}");
            }
            assert!(!is_known(header, "surely_unknown"), "{definition}");
        }
    }
}
