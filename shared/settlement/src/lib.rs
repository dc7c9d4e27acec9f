//! What a merchant is paid, and when: fees, periods, business days and carried balances, as Korean
//! acquirers settle. Rules know no SQL, which stands in a module for each table.

mod batch;
mod calendar;
mod cycle;
mod fee;
mod source;
pub mod source_table;

pub use batch::{Closing, Item, Totals, close};
pub use calendar::{UnknownYear, YEARS, business_days_after, is_business_day};
pub use cycle::{Cycle, Period};
pub use fee::{Fee, FeeRate, RateError};
pub use source::{Kind, Source};
