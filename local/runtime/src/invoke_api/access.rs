//! Who may use the Invoke API.

use std::net::SocketAddr;

use http::StatusCode;
use http::header::HeaderMap;

use super::exceptions::Exception;
use crate::token::Token;

/// Programs of this machine, and whoever knows the token, if there is one.
#[derive(Default)]
pub(crate) struct Access {
    token: Option<Token>,
}

impl Access {
    /// Access for those of other machines who know the token.
    pub(crate) fn with_token(token: Token) -> Self {
        Self { token: Some(token) }
    }

    /// Refuses a request that `peer` may not make.
    pub(super) fn check(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Exception> {
        let token = self.token.as_ref();
        if peer.ip().to_canonical().is_loopback() || token.is_some_and(|it| it.is_in(headers)) {
            return Ok(());
        }
        Err(Exception::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            "Requests from other machines need the token of --invoke-token-file",
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    fn with_token(text: &str) -> (Access, HeaderMap) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let token = Token::read(file.path()).expect("valid");
        let authorization = token.authorization().expect("text");
        let headers = [(AUTHORIZATION, authorization)].into_iter().collect();
        (Access::with_token(token), headers)
    }

    fn is_let_in(access: &Access, peer: &str, headers: &HeaderMap) -> bool {
        let peer = SocketAddr::new(peer.parse().expect("an address"), 1);
        access.check(peer, headers).is_ok()
    }

    #[test]
    fn programs_of_this_machine_need_no_token() {
        for peer in ["127.0.0.1", "127.9.8.7", "::1", "::ffff:127.0.0.1"] {
            assert!(
                is_let_in(&Access::default(), peer, &HeaderMap::new()),
                "{peer}"
            );
        }
    }

    #[test]
    fn others_need_the_token_and_there_must_be_one() {
        let (access, right) = with_token("0123456789abcdef");
        let (_, wrong) = with_token("0123456789abcdeX");
        for peer in ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1"] {
            assert!(is_let_in(&access, peer, &right));
            assert!(!is_let_in(&access, peer, &wrong));
            assert!(!is_let_in(&access, peer, &HeaderMap::new()));
            assert!(!is_let_in(&Access::default(), peer, &right));
        }
    }
}
