//! How many commands shared a transaction, as the functions count them.

use std::collections::BTreeMap;

use crate::target;

/// Transactions that carried commands, and the commands, by function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batches(BTreeMap<String, (f64, f64)>);

impl Batches {
    /// Asks the functions for their metrics; those that run no commands are left out.
    pub(crate) async fn read() -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        for function in target::functions().await? {
            for instance in function.instances {
                let url = format!("http://{}/metrics", instance.metrics_address);
                // A function need not serve metrics.
                let Ok(answer) = reqwest::get(url).await else {
                    continue;
                };
                let (transactions, commands): &mut (f64, f64) =
                    all.entry(function.name.clone()).or_default();
                let text = answer.text().await?;
                *transactions += value(&text, "operation_batch_commands_count");
                *commands += value(&text, "operation_batch_commands_sum");
            }
        }
        Ok(Self(all))
    }

    /// Commands per transaction since `before`, of the functions that ran any.
    pub(crate) fn commands_per_transaction_since(&self, before: &Self) -> BTreeMap<String, f64> {
        let since = self.0.iter().map(|(name, (transactions, commands))| {
            let (transactions_before, commands_before) =
                before.0.get(name).copied().unwrap_or_default();
            let transactions = transactions - transactions_before;
            let commands = commands - commands_before;
            (name.clone(), commands / transactions)
        });
        since.filter(|(_, ratio)| ratio.is_finite()).collect()
    }
}

/// A metric without labels in Prometheus' text format; 0 when it is not there.
fn value(text: &str, name: &str) -> f64 {
    let of_line = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of_line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_those_since_before() {
        let batches = |transactions, commands| {
            Batches(BTreeMap::from([
                ("authorize".to_owned(), (transactions, commands)),
                ("expire".to_owned(), (0.0, 0.0)),
            ]))
        };
        let ratios = batches(30.0, 500.0).commands_per_transaction_since(&batches(10.0, 100.0));
        assert_eq!(ratios, BTreeMap::from([("authorize".to_owned(), 20.0)]));
    }

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# TYPE a histogram\na_bucket{le=\"1\"} 813\na_sum 30309\na_summer 1\n";
        assert!((value(text, "a_sum") - 30309.0).abs() < 1e-9);
        assert!(value(text, "a_bucket").abs() < 1e-9);
    }
}
