//! A mock acquirer: what its file says of a day's captures and refunds, with faults on purpose, and how
//! many of those reconciliation found.

mod captured;
mod faults;
mod score;
mod statement;

pub use captured::{Captured, captured_on};
pub use faults::{Fault, Faults};
pub use score::{Score, score};
pub use statement::{AnswerKey, Layout, Statement};
