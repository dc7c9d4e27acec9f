//! The append-only double-entry ledger: accounts, journals and posting rules.
//!
//! An [`Entry`] names the account it debits and the account it credits, with one amount in one
//! currency. So every journal sums to zero per currency by construction, in Rust and in SQL alike.
//! Corrections are new entries that point at what they reverse.

mod account;
mod journal;
pub mod posting;
pub mod table;

pub use account::{Account, UnknownAccount};
pub use journal::{Entry, EntryError, EntryRef, Journal};
