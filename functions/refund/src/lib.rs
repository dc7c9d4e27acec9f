//! `POST /payments/refund/{paymentId}`: gives captured funds back.

mod handler;
mod request;

pub use handler::*;
pub use request::RefundRequest;
