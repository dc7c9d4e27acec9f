//! Reconciliation: what we captured and refunded, held against what an acquirer's file says. Rules know
//! no SQL, which stands in a module for each table.

pub mod case;
pub mod case_table;
pub mod csv;
mod decision;
pub mod file;
pub mod file_table;
mod id;
pub mod item_table;
pub mod match_table;
mod profile;
mod resolved;
mod result;
mod row;
pub mod row_table;
mod transaction;
pub mod transaction_table;
pub mod verdict;

pub use case::{Action, Case, HOUSE, Operator, Stake, State};
pub use decision::DecisionView;
pub use file::{Days, StatementFile};
pub use id::{CaseId, FileId, InvalidId, ItemId};
pub use profile::{PROFILES, Profile, Tolerance};
pub use resolved::{Cause, take_back, tell};
pub use result::{MatchResult, Standing};
pub use row::{Fault, TheirRow};
pub use transaction::{TransactionKey, approval_number};

/// CloudEvents `source` of what reconciliation tells.
pub const EVENT_SOURCE: &str = "/payfn/recon";
