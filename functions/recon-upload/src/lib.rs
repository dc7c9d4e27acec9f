//! `POST /payments/upload`: takes an acquirer's file.

mod handler;
mod load;
mod view;

pub use handler::*;
pub use view::UploadedFile;
