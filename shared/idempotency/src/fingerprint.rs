use sha2::{Digest, Sha256};

/// What a key was first used for: SHA-256 over method, path and raw body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Fingerprints a request. `path` is the raw path as sent; the parts are separated by a byte
    /// that neither method nor path can hold, so no two requests share an input.
    #[must_use]
    pub fn of(method: &str, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_bytes(), b"\0", path.as_bytes(), b"\0", body] {
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// The 32 bytes as stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_path_and_body_all_count() {
        let first = Fingerprint::of("POST", "/payments/authorize", b"{}");
        assert_eq!(first, Fingerprint::of("POST", "/payments/authorize", b"{}"));
        assert_ne!(first, Fingerprint::of("PUT", "/payments/authorize", b"{}"));
        assert_ne!(first, Fingerprint::of("POST", "/payments/authoriz", b"e{}"));
        assert_ne!(
            first,
            Fingerprint::of("POST", "/payments/authorize", b"{ }")
        );
    }
}
