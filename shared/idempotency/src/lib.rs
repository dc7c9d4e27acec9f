//! One effect per (merchant, idempotency key): the key, the fingerprint of the request it first
//! came with, and the reply stored with the effect.
//!
//! Source: draft-ietf-httpapi-idempotency-key-header-07.

mod fingerprint;
mod key;
mod reply;
pub mod table;

pub use fingerprint::Fingerprint;
pub use key::{IdempotencyKey, KEY_CHARS_MAX, KeyError};
pub use reply::Reply;
pub use table::{Claim, Stored};

/// How long a stored reply answers its key, in days.
pub const REPLY_KEPT_DAYS: u32 = 15;
