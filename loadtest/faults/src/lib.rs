//! Whole payments under faults: one seed makes a schedule of operations and faults, which is run
//! on a stack of its own; then everything is healed and every promise is checked.

pub mod check;
pub mod clients;
pub mod disk;
pub mod history;
pub mod inject;
pub mod model;
pub mod plan;
pub mod proxy;
pub mod run;
pub mod site;
