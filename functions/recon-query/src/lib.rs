//! `GET /recon/files/{fileId}` and `/recon/items`.

mod file;
mod handler;
mod item;
mod request;

pub use file::FileView;
pub use handler::*;
pub use item::ItemView;
pub use request::ItemsRequest;
