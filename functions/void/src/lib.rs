//! `POST /payments/void/{paymentId}`: releases held funds.

mod handler;
mod request;

pub use handler::*;
pub use request::VoidRequest;
