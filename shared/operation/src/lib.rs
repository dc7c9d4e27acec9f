//! The money path: everything one command changes stands in one transaction.
//!
//! The idempotency row with its stored reply, the payment, its journal, its event and the event's
//! pointer are committed together, and only then is anything answered. Running a command again with
//! its key is always safe: either nothing was committed and it takes place now, or its key is taken
//! and the stored reply is repeated.
//!
//! Commands that wait while a commit runs share the next transaction. When that fails, it is rolled
//! back and each of them runs alone, so that the outcome is the same as if none had shared. Only one
//! that meets a lock then waits for it.

mod batch;
mod command;
mod operations;
mod record;
mod reply;
mod run;
mod transaction;

pub use command::{Command, Decide, Sees};
pub use operations::Operations;
pub use record::{Told, record};
