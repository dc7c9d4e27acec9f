use std::fmt;

/// Most characters in a key.
pub const KEY_CHARS_MAX: usize = 255;

/// The client's retry token: 1–255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// Why a header value is not an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing between the quotes, or an empty header.
    #[error("the idempotency key is empty")]
    Empty,
    /// More than [`KEY_CHARS_MAX`] characters.
    #[error("the idempotency key is longer than {KEY_CHARS_MAX} characters")]
    TooLong,
    /// A space, a control or non-ASCII character, an unbalanced quote, or a list of keys.
    #[error("the idempotency key must be one quoted string or bare token of visible characters")]
    Malformed,
}

impl IdempotencyKey {
    /// Parses a header value: an RFC 8941 string (`"abc"`) or the bare token (`abc`); both name
    /// the same key.
    ///
    /// # Errors
    /// [`KeyError`] when the value is neither.
    pub fn parse(header: &str) -> Result<Self, KeyError> {
        let header = header.trim_matches([' ', '\t']);
        let key = match header.strip_prefix('"') {
            Some(rest) => unquote(rest)?,
            None if header.contains(['"', ',', ';', '\\']) => return Err(KeyError::Malformed),
            None => header.to_owned(),
        };
        match key.len() {
            0 => Err(KeyError::Empty),
            _ if !key.bytes().all(|byte| byte.is_ascii_graphic()) => Err(KeyError::Malformed),
            1..=KEY_CHARS_MAX => Ok(Self(key)),
            _ => Err(KeyError::TooLong),
        }
    }

    /// The key without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Reads an RFC 8941 string after its opening quote; `\"` and `\\` are its only escapes.
fn unquote(rest: &str) -> Result<String, KeyError> {
    let mut key = String::with_capacity(rest.len());
    let mut chars = rest.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' if chars.as_str().is_empty() => return Ok(key),
            '"' => return Err(KeyError::Malformed),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(KeyError::Malformed),
            },
            plain => key.push(plain),
        }
    }
    Err(KeyError::Malformed)
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quoted_string_and_bare_token_name_the_same_key() {
        let bare = IdempotencyKey::parse("8e03978e-40d5").unwrap();
        assert_eq!(IdempotencyKey::parse("\"8e03978e-40d5\"").unwrap(), bare);
        assert_eq!(bare.as_str(), "8e03978e-40d5");
    }

    #[test]
    fn escapes_are_read_as_rfc_8941_says() {
        assert_eq!(
            IdempotencyKey::parse(r#""a\"b\\c""#).unwrap().as_str(),
            r#"a"b\c"#
        );
    }

    #[test]
    fn anything_but_one_key_is_refused() {
        for (header, error) in [
            ("", KeyError::Empty),
            ("\"\"", KeyError::Empty),
            ("a b", KeyError::Malformed),
            ("a, b", KeyError::Malformed),
            ("\"a\", \"b\"", KeyError::Malformed),
            ("\"a", KeyError::Malformed),
            ("a\"", KeyError::Malformed),
            ("\"a\\n\"", KeyError::Malformed),
            ("키", KeyError::Malformed),
        ] {
            assert_eq!(IdempotencyKey::parse(header), Err(error), "{header}");
        }
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        assert_eq!(
            IdempotencyKey::parse(&"k".repeat(256)),
            Err(KeyError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn parsing_never_panics(header in ".{0,300}") {
            let _ = IdempotencyKey::parse(&header);
        }
    }
}
