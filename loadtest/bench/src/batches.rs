//! How many commands shared a transaction, as the functions count them.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::target;

const METRIC: &str = "operation_batch_commands";

/// Transactions that carried commands, by function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batches(BTreeMap<String, Batch>);

/// Transactions of one function.
#[derive(Clone, Debug, Default, PartialEq)]
struct Batch {
    transactions: f64,
    commands: f64,
    /// Transactions of at most so many commands.
    up_to: BTreeMap<u32, f64>,
}

/// How many commands the transactions of a function had.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Distribution {
    /// On average.
    pub(crate) commands_per_transaction: f64,
    /// Share of the transactions that had at most so many commands.
    pub(crate) up_to: BTreeMap<u32, f64>,
}

impl Batches {
    /// Asks the functions for their metrics; those that run no commands are left out.
    pub(crate) async fn read() -> anyhow::Result<Self> {
        let mut all: BTreeMap<String, Batch> = BTreeMap::new();
        for function in target::functions().await? {
            for instance in function.instances {
                let url = format!("http://{}/metrics", instance.metrics_address);
                // A function need not serve metrics.
                let Ok(answer) = reqwest::get(url).await else {
                    continue;
                };
                let batch = all.entry(function.name.clone()).or_default();
                batch.add(&answer.text().await?);
            }
        }
        Ok(Self(all))
    }

    /// The transactions since `before`, of the functions that had any.
    pub(crate) fn since(&self, before: &Self) -> BTreeMap<String, Distribution> {
        let none = Batch::default();
        let since = self.0.iter().filter_map(|(name, batch)| {
            let before = before.0.get(name).unwrap_or(&none);
            Some((name.clone(), batch.since(before)?))
        });
        since.collect()
    }
}

impl Batch {
    /// Adds those of an instance, from metrics in Prometheus' text format.
    fn add(&mut self, text: &str) {
        for line in text.lines().filter_map(|line| line.strip_prefix(METRIC)) {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let value: f64 = value.parse().unwrap_or_default();
            match name {
                "_count" => self.transactions += value,
                "_sum" => self.commands += value,
                _ => {
                    // The last bound, `+Inf`, is no number: it is the count.
                    let bound = name.strip_prefix("_bucket{le=\"");
                    let bound = bound.and_then(|bound| bound.strip_suffix("\"}")?.parse().ok());
                    if let Some(bound) = bound {
                        *self.up_to.entry(bound).or_default() += value;
                    }
                }
            }
        }
    }

    fn since(&self, before: &Self) -> Option<Distribution> {
        let transactions = self.transactions - before.transactions;
        let up_to = self.up_to.iter().map(|(bound, count)| {
            let before = before.up_to.get(bound).copied().unwrap_or_default();
            (*bound, (count - before) / transactions)
        });
        (transactions > 0.0).then(|| Distribution {
            commands_per_transaction: (self.commands - before.commands) / transactions,
            up_to: up_to.collect(),
        })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.1} commands per transaction; at most",
            self.commands_per_transaction
        )?;
        for (bound, share) in &self.up_to {
            write!(formatter, "  {bound}: {:.0} %", share * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(text: &str) -> Batches {
        let mut batch = Batch::default();
        batch.add(text);
        let idle = ("expire".to_owned(), Batch::default());
        Batches(BTreeMap::from([("authorize".to_owned(), batch), idle]))
    }

    #[test]
    fn batches_are_those_since_before() {
        let before = batches(
            "# TYPE operation_batch_commands histogram\n\
             operation_batch_commands_bucket{le=\"1\"} 8\n\
             operation_batch_commands_bucket{le=\"64\"} 10\n\
             operation_batch_commands_bucket{le=\"+Inf\"} 10\n\
             operation_batch_commands_sum 100\n\
             operation_batch_commands_count 10\n\
             operation_batches_failed_total 3\n",
        );
        let after = batches(
            "operation_batch_commands_bucket{le=\"1\"} 13\n\
             operation_batch_commands_bucket{le=\"64\"} 30\n\
             operation_batch_commands_sum 500\n\
             operation_batch_commands_count 30\n",
        );
        let expected = Distribution {
            commands_per_transaction: 20.0,
            up_to: BTreeMap::from([(1, 0.25), (64, 1.0)]),
        };
        let since = after.since(&before);
        assert_eq!(since, BTreeMap::from([("authorize".to_owned(), expected)]));
    }
}
