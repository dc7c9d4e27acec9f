//! `POST /payments/authorize`: holds funds.

mod handler;
mod request;

pub use handler::*;
pub use request::AuthorizeRequest;
