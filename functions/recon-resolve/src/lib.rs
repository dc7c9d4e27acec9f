//! `POST /recon/items/{itemId}/resolve`: decides about an item.

mod decide;
mod error;
mod handler;
mod request;

pub use handler::*;
pub use request::ResolveRequest;

/// Names the function to its database sessions.
const FUNCTION: &str = "recon-resolve";
