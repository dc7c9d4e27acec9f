//! What must hold once everything is healed.

mod consumer;
mod durability;
mod leaks;
pub mod linearizable;
mod liveness;
mod request;
mod store;
mod topics;
mod uniqueness;

use std::fmt;

use anyhow::Context as _;

pub use liveness::Goodput;
pub use request::{Request, requests};
pub use store::Store;
pub use topics::Message;

use crate::{clients::Clients, plan::Plan, site::Site};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// The payment of the plan, when it is about one.
    pub payment: Option<u32>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payment = self.payment.map(|payment| format!(" of payment {payment}"));
        write!(
            formatter,
            "{}{}: {}",
            self.check,
            payment.unwrap_or_default(),
            self.what
        )
    }
}

/// What the checks look at.
pub struct Evidence<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What clients asked for and were told.
    pub requests: &'a [Request<'a>],
    /// What the database holds.
    pub store: &'a Store,
    /// What the topics hold.
    pub messages: &'a [Message],
}

/// Checks everything. Gives what is broken, and the goodput before and after the faults.
///
/// # Errors
/// When database, topics or logs cannot be read.
pub async fn all(
    site: &Site,
    plan: &Plan,
    clients: &Clients,
) -> anyhow::Result<(Vec<Violation>, Goodput)> {
    let attempts = clients.history().attempts().to_vec();
    let requests = requests(&attempts);
    let store = Store::read(site.database()).await.context("database")?;
    let books = site.books();
    let messages = topics::read(&books.brokers).await.context("topics")?;
    let evidence = Evidence {
        plan,
        requests: &requests,
        store: &store,
        messages: &messages,
    };
    let goodput = Goodput::of(plan, &attempts);
    let violations = [
        durability::check(&evidence),
        uniqueness::check(&evidence),
        consumer::check(&evidence),
        linearizable::check(&evidence),
        audit(&books).await.context("audit")?,
        liveness::check(&goodput),
        leaks::check(site, &messages)?,
    ];
    Ok((violations.concat(), goodput))
}

/// Payments, ledger, events, replies and topics against each other.
async fn audit(books: &auditor::Sources) -> anyhow::Result<Vec<Violation>> {
    let report = auditor::audit(books, &auditor::Options::default()).await?;
    let broken = report.checks.iter().filter(|check| check.violations > 0);
    let violation = |check: &auditor::Check| Violation {
        check: "audit",
        payment: None,
        what: format!(
            "{}: {} times: {:?}",
            check.name, check.violations, check.examples
        ),
    };
    Ok(broken.map(violation).collect())
}

#[cfg(test)]
mod tests;
