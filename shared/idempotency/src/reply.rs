use bytes::Bytes;

/// A finished answer, repeated byte for byte to whoever sends the same key again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// JSON: the payment for 2xx, problem details (RFC 9457) for a refusal.
    pub body: Bytes,
}
