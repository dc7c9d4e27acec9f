//! Who may use the Invoke API.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

use super::exceptions::Exception;

/// Shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// Programs of this machine, and whoever knows the token, if there is one.
#[derive(Default)]
pub(crate) struct Access {
    token: Option<Vec<u8>>,
}

impl Access {
    /// Access for those who know the token in `file`.
    ///
    /// # Errors
    /// As [`read_token`].
    pub(crate) fn with_token(file: &Path) -> anyhow::Result<Self> {
        let token = read_token(file).context("--invoke-token-file")?;
        Ok(Self { token: Some(token) })
    }

    /// Refuses a request that `peer` may not make.
    pub(super) fn check(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Exception> {
        if peer.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
        match (&self.token, given) {
            (Some(token), Some(given)) if bool::from(token.as_slice().ct_eq(given)) => Ok(()),
            _ => Err(Exception::new(
                StatusCode::FORBIDDEN,
                "AccessDeniedException",
                "Requests from other machines need the token of --invoke-token-file",
            )),
        }
    }
}

/// The token in `file`; white space around it does not count.
///
/// # Errors
/// If the file cannot be read, or the token is too short to be a secret.
pub(crate) fn read_token(file: &Path) -> anyhow::Result<Vec<u8>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let token = text.trim_ascii();
    ensure!(
        token.len() >= TOKEN_BYTES_MIN,
        "a token has at least {TOKEN_BYTES_MIN} bytes"
    );
    Ok(token.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn is_let_in(access: &Access, peer: &str, authorization: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        let value = authorization.map(|value| value.parse().expect("text"));
        headers.extend(value.map(|value| (AUTHORIZATION, value)));
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        access.check(peer, &headers).is_ok()
    }

    #[test]
    fn programs_of_this_machine_need_no_token() {
        for peer in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            assert!(is_let_in(&Access::default(), peer, None), "{peer}");
        }
    }

    #[test]
    fn others_need_the_token_and_there_must_be_one() {
        let access = Access {
            token: Some(TOKEN.into()),
        };
        let right = format!("Bearer {TOKEN}");
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1"] {
            assert!(is_let_in(&access, peer, Some(&right)));
            assert!(!is_let_in(&Access::default(), peer, Some(&right)));
            assert!(!is_let_in(&Access::default(), peer, Some("Bearer ")));
            for wrong in [
                None,
                Some(TOKEN),
                Some("Bearer "),
                Some("Bearer 0123456789abcdeX"),
                Some("Bearer 0123456789abcdefg"),
            ] {
                assert!(!is_let_in(&access, peer, wrong), "{wrong:?}");
            }
        }
    }

    #[test]
    fn token_is_a_file_with_a_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        assert!(Access::with_token(&file).is_err());
        std::fs::write(&file, "short\n").expect("written");
        assert!(Access::with_token(&file).is_err());
        std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
        let access = Access::with_token(&file).expect("valid");
        assert_eq!(access.token.as_deref(), Some(TOKEN.as_bytes()));
    }
}
