//! `GET /dlq/{topic}`, `POST /dlq/{topic}/replay` and `/purge`: what becomes of dead letters.
//!
//! The letters stay in Kafka, where the runtime wrote them; what was decided about each is in the
//! database. Source of their form: `local/runtime/README.md`, "Dead letters" and "Parked keys".

mod broker;
mod decision_table;
mod error;
mod event;
mod handler;
mod letter;
mod replay;
mod request;
mod survey;
mod topic;
mod view;

pub use broker::Broker;
pub use handler::*;
pub use request::{ListRequest, PurgeRequest, ReplayRequest};
pub use view::{DecisionView, HeaderView, LetterView, OriginalView};

/// Names the function where only one of it may be at work.
const FUNCTION: &str = "dlq-replay";
