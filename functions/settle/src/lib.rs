//! `POST /settlements` and a schedule: close the periods of merchants.

mod close;
mod control;
mod error;
mod handler;
mod request;
mod schedule;
mod session;

pub use control::ControlTotals;
pub use handler::*;
pub use request::SettleRequest;
pub use schedule::{Report, run_schedule};
