//! A secret by which other machines are told from strangers.

use std::path::Path;

use anyhow::{Context, ensure};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

/// Shortest token, in bytes.
const BYTES_MIN: usize = 16;

/// What follows `Authorization: Bearer`.
pub(crate) struct Token(Vec<u8>);

impl Token {
    /// The token in `file`; white space around it does not count.
    ///
    /// # Errors
    /// If the file cannot be read, or the token is too short to be a secret.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let token = text.trim_ascii().to_vec();
        ensure!(
            token.len() >= BYTES_MIN,
            "a token has at least {BYTES_MIN} bytes"
        );
        Ok(Self(token))
    }

    /// Whether a request has it. How long that takes to find out does not depend on the token.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
        given.is_some_and(|given| bool::from(self.0.as_slice().ct_eq(given)))
    }

    /// The value of `Authorization` for it.
    ///
    /// # Errors
    /// If it has bytes that no header may have.
    pub(crate) fn authorization(&self) -> anyhow::Result<HeaderValue> {
        let value = [b"Bearer ", self.0.as_slice()].concat();
        let mut value = HeaderValue::from_bytes(&value).context("no text for a header")?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef";

    fn read(text: &str) -> anyhow::Result<Token> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        Token::read(file.path())
    }

    fn headers(authorization: HeaderValue) -> HeaderMap {
        [(AUTHORIZATION, authorization)].into_iter().collect()
    }

    #[test]
    fn token_is_a_file_with_a_secret() {
        assert!(Token::read(Path::new("/does/not/exist")).is_err());
        assert!(read("short\n").is_err());
        assert_eq!(
            read(&format!("{TEXT}\n")).expect("valid").0,
            TEXT.as_bytes()
        );
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = read(TEXT).expect("valid");
        let right = token.authorization().expect("text");
        assert!(token.is_in(&headers(right)));
        assert!(!token.is_in(&HeaderMap::new()));
        for wrong in [
            TEXT,
            "Bearer ",
            "bearer 0123456789abcdef",
            "Bearer 0123456789abcdeX",
            "Bearer 0123456789abcdefg",
            "Bearer 0123456789abcde",
        ] {
            let wrong = HeaderValue::from_static(wrong);
            assert!(!token.is_in(&headers(wrong.clone())), "{wrong:?}");
        }
    }
}
