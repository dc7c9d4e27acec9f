//! `GET /webhooks` and `/webhooks/{webhookId}`: what merchants were told, and how that went.

mod handler;
mod request;

pub use handler::*;
pub use request::ListRequest;
