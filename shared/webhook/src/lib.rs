//! How merchants are told of events: signature, schedule, and the addresses that may be called. Rules
//! know no SQL, which stands in a module for each table.
//!
//! Source: Standard Webhooks 1.0 (headers, signature, retry schedule, 410).

mod address;
pub mod attempt_table;
mod delivery;
pub mod delivery_table;
pub mod gone_table;
mod schedule;
mod sign;
mod text;
mod view;

pub use address::{Addresses, Refused};
pub use delivery::{Attempt, Delivery, New, NoAnswer, Sent, Status};
pub use schedule::{ATTEMPTS_MAX, Next, Schedule};
pub use sign::signature;
pub use view::{AttemptView, WebhookDetail, WebhookView};
