//! Payments: what one is, which changes its state allows, and what each change posts and tells.
//!
//! The rules are pure; `table` holds the SQL of `payment`.

mod change;
mod details;
mod id;
mod rules;
mod status;
pub mod table;
mod timestamp;
mod view;

pub use change::{Change, EVENT_SOURCE, Step};
pub use details::{Customer, Details};
pub use id::{InvalidPaymentId, MerchantId, OrderId, PaymentId, Refused};
pub use rules::{AUTHORIZATION_DAYS, Authorization, Payment, Portion, Refusal};
pub use status::{Status, UnknownStatus};
pub use timestamp::Timestamp;
pub use view::PaymentView;
