//! `POST /payments/capture/{paymentId}`: takes held funds and releases the rest.

mod handler;
mod request;

pub use handler::*;
pub use request::CaptureRequest;
