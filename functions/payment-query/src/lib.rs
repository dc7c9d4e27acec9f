//! `GET /payments`, `GET /payments/{paymentId}` and its timeline: looks, changes nothing.

mod handler;
mod request;
mod timeline;

pub use handler::*;
pub use request::ListRequest;
pub use timeline::*;
