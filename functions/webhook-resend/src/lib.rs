//! `POST /webhooks/{webhookId}/resend`: sends a webhook anew.

mod handler;
mod request;

pub use handler::*;
pub use request::ResendRequest;

/// Names the function to its database sessions.
const FUNCTION: &str = "webhook-resend";
