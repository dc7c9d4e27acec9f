//! Captures and refunds as the payment service tells them, which other services keep for themselves.

mod event;
mod source;
mod told;

pub use event::SourceError;
pub use source::{Kind, Source, day_of, start_of};
pub use told::Told;
