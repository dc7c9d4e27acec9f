//! What a merchant is paid, and when: fees, periods, business days and carried balances, as Korean
//! acquirers settle. Rules know no SQL, which stands in a module for each table.

mod adjustment;
mod batch;
pub mod batch_table;
mod calendar;
mod contract;
pub mod contract_table;
pub mod control;
pub mod control_table;
mod cycle;
mod fee;
mod id;
pub mod item_table;
mod line;
pub mod settled;
pub mod source_table;
mod view;

pub use adjustment::Adjustable;
pub use batch::{Closing, Item, Totals, close};
pub use batch_table::Batch;
pub use calendar::{UnknownYear, YEARS, business_days_after, is_business_day};
pub use contract::{Contract, Contracts, NoContract, Revisions};
pub use cycle::{Cycle, Period, UnknownCycle};
pub use fee::{Fee, FeeRate, RateError};
pub use id::{InvalidSettlementId, SettlementId};
pub use line::{Line, Unsettled};
pub use source::{Kind, Source, day_of, start_of};
pub use source_table::{Book, Span};
pub use view::SettlementView;
