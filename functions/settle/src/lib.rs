//! `POST /settlements` and a schedule: close the periods of merchants.

mod adjust;
mod close;
mod control;
mod error;
mod handler;
mod request;
mod schedule;

pub use control::ControlTotals;
pub use handler::*;
pub use request::SettleRequest;
pub use schedule::{Report, run_schedule};

/// Names the function where only one of it may be at work.
const FUNCTION: &str = "settle";
