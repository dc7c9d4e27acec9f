//! `GET /recon/files/{fileId}`, `/recon/items` and `/recon/items/{itemId}`.

mod file;
mod handler;
mod item;
mod request;

pub use file::FileView;
pub use handler::*;
pub use item::{ItemDetail, ItemView};
pub use request::ItemsRequest;
