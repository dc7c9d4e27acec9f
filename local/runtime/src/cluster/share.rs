//! How the hosts of a cluster split what the manifest reserves for a function.
//!
//! Each host works out its share from the hosts it counts and tells the others whom it counts. A
//! smaller share holds at once, a larger one only when every other host counts the same hosts, and
//! so has made room. Hosts that know of each other never have more together than there is.

use std::fmt::Write as _;

/// Most splits kept that are not agreed on yet; only hosts that come and go without end need more.
const SPLITS_MAX: usize = 32;

/// A host that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) weight: u32,
}

/// The hosts that are counted, the heaviest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Members(Vec<Member>);

/// A host's place among those that split something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Split {
    hosts: usize,
    index: usize,
    /// Weights of all hosts, and of those up to this one without and with it.
    total: usize,
    before: usize,
    through: usize,
}

/// This host's share of anything that hosts split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// The split agreed on, and those to come; the smallest share of them holds.
    splits: Vec<Split>,
    is_agreed: bool,
}

impl Members {
    /// `own` and the others, of whom several may have one name.
    pub(super) fn new(own: Member, others: impl Iterator<Item = Member>) -> Self {
        let mut all = vec![own];
        for other in others {
            if all.iter().all(|it| it.name != other.name) {
                all.push(other);
            }
        }
        all.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
        Self(all)
    }

    /// How many they are.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// `NAME=WEIGHT`, separated by spaces.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Member { name, weight } in &self.0 {
            let space = if text.is_empty() { "" } else { " " };
            let _infallible = write!(text, "{space}{name}={weight}");
        }
        text
    }

    fn split(&self, host: &str) -> Option<Split> {
        let index = self.0.iter().position(|it| it.name == host)?;
        let weights =
            |members: &[Member]| -> usize { members.iter().map(|it| it.weight as usize).sum() };
        Some(Split {
            hosts: self.0.len(),
            index,
            total: weights(&self.0),
            before: weights(&self.0[..index]),
            through: weights(&self.0[..=index]),
        })
    }
}

impl Split {
    /// One for each host first, the heaviest first if that is too many, the rest by weight. Those of
    /// all hosts together are exactly `all`.
    fn of(&self, all: usize) -> usize {
        let Some(rest) = all.checked_sub(self.hosts) else {
            return usize::from(self.index < all);
        };
        let up_to = |weight| rest * weight / self.total;
        1 + up_to(self.through) - up_to(self.before)
    }
}

impl Shares {
    /// `host` counts `members`, and every other host of them does if `is_agreed`.
    pub(super) fn count(&mut self, host: &str, members: &Members, is_agreed: bool) {
        let Some(split) = members.split(host) else {
            return;
        };
        if is_agreed {
            self.splits.clear();
            self.is_agreed = true;
        }
        if !self.splits.contains(&split) {
            self.splits.truncate(SPLITS_MAX - 1);
            self.splits.push(split);
        }
    }

    /// Whether the hosts have ever agreed on what this one has.
    pub(super) fn is_agreed(&self) -> bool {
        self.is_agreed
    }

    /// This host's share of `all`. One, if it has agreed on none yet.
    pub(crate) fn of(&self, all: usize) -> usize {
        let shares = self.splits.iter().map(|split| split.of(all));
        let smallest = shares.min().unwrap_or(1);
        if self.is_agreed { smallest } else { all.min(1) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn members(weights: &[(usize, u32)]) -> Members {
        let member = |(name, weight): &(usize, u32)| Member {
            name: format!("h{name}"),
            weight: *weight,
        };
        let mut all = weights.iter().map(member);
        Members::new(all.next().expect("a host"), all)
    }

    fn split(members: &Members) -> Vec<Split> {
        let split = |it: &Member| members.split(&it.name).expect("it is one of them");
        members.0.iter().map(split).collect()
    }

    #[test]
    fn shares_follow_the_weights() {
        let members = members(&[(1, 1), (2, 3)]);
        assert_eq!(members.text(), "h2=3 h1=1");
        let of = |all| {
            split(&members)
                .iter()
                .map(|it| it.of(all))
                .collect::<Vec<_>>()
        };
        for (all, shares) in [
            (0, [0, 0]),
            (1, [1, 0]),
            (2, [1, 1]),
            (8, [5, 3]),
            (100, [74, 26]),
        ] {
            assert_eq!(of(all), shares, "{all}");
        }
    }

    proptest! {
        #[test]
        fn shares_are_all_there_is_and_nobody_goes_without(
            weights in prop::collection::vec(1_u32..1000, 1..20),
            all in 0_usize..2000,
        ) {
            let weights: Vec<_> = weights.into_iter().enumerate().collect();
            let members = members(&weights);
            let shares: Vec<usize> = split(&members).iter().map(|it| it.of(all)).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), all);
            prop_assert!(all < weights.len() || shares.iter().all(|share| *share > 0));
        }

        /// Hosts come, go and look at what the others have told, in any order.
        #[test]
        fn hosts_that_have_agreed_never_have_more_together_than_there_is(
            steps in prop::collection::vec((0_usize..4, 0_u8..4), 1..200),
            all in 4_usize..50,
        ) {
            let mut told: BTreeMap<usize, String> = BTreeMap::new();
            let mut hosts: BTreeMap<usize, Shares> = BTreeMap::new();
            for (host, step) in steps {
                if step == 0 {
                    told.remove(&host);
                    hosts.remove(&host);
                    continue;
                }
                let others = told.keys().filter(|it| **it != host).map(|it| (*it, 1));
                let counted: Vec<_> = std::iter::once((host, 1)).chain(others).collect();
                let members = members(&counted);
                let text = members.text();
                let mut others = told.iter().filter(|(it, _)| **it != host);
                let is_agreed = others.all(|(_, it)| *it == text);
                let shares = hosts.entry(host).or_default();
                shares.count(&format!("h{host}"), &members, is_agreed);
                told.insert(host, text);
                let agreed = hosts.values().filter(|shares| shares.is_agreed());
                let sum: usize = agreed.map(|shares| shares.of(all)).sum();
                prop_assert!(sum <= all, "{sum} of {all}: {told:?}");
            }
        }
    }
}
