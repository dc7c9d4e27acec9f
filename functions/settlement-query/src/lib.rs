//! `GET /settlements`, `/settlements/{settlementId}` and its `/items`.

mod handler;
mod item;
mod request;

pub use handler::*;
pub use item::ItemView;
pub use request::{ItemsRequest, ListRequest};
