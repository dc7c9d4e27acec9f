//! The money path: everything one command changes stands in one transaction.
//!
//! The idempotency row with its stored reply, the payment, its journal, its event and the event's
//! pointer are committed together, and only then is anything answered. Running a command again with
//! its key is always safe: either nothing was committed and it takes place now, or its key is taken
//! and the stored reply is repeated.

mod command;
mod record;
mod reply;
mod run;
mod transaction;

pub use command::{Command, Decide, Sees, payment_id};
pub use record::{Told, record};
pub use run::{Operations, REPLY_TIMEOUT};
