/// Longest name of a topic.
const NAME_CHARS_MAX: usize = 249;

/// The name of a topic of dead letters, `<topic>.<function>.dlq`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetterTopic {
    /// All of it.
    pub(crate) name: String,
    /// The function that could not use the letters.
    pub(crate) function: String,
}

impl DeadLetterTopic {
    /// Takes a name apart; `None` when it is not of that form.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (topic, function) = name.strip_suffix(".dlq")?.rsplit_once('.')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let whole = !topic.is_empty() && !function.is_empty() && name.bytes().all(plain);
        (whole && name.len() <= NAME_CHARS_MAX).then(|| Self {
            name: name.to_owned(),
            function: function.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_tells_whose_letters_they_are() {
        let topic = DeadLetterTopic::parse("payment.captured.settlement-ingest.dlq").unwrap();
        assert_eq!(topic.function, "settlement-ingest");
    }

    #[test]
    fn other_names_are_none() {
        let long = format!("{}.f.dlq", "t".repeat(NAME_CHARS_MAX));
        for name in [
            "payment.captured",
            "ingest.dlq",
            ".ingest.dlq",
            "t..dlq",
            "t.f.dlq.",
            "t/f.f.dlq",
            "t%2E.f.dlq",
            "",
            &long,
        ] {
            assert_eq!(DeadLetterTopic::parse(name), None, "{name}");
        }
    }
}
