//! Posting rules: which entries each event of a payment posts.
//!
//! | event | debit | credit |
//! |---|---|---|
//! | authorize | memo:hold | memo:hold-contra |
//! | void, expire | memo:hold-contra | memo:hold |
//! | capture | memo:hold-contra | memo:hold, the whole authorization |
//! | | asset:network-receivable | liability:merchant-payable |
//! | refund | liability:merchant-payable | asset:network-receivable |
//! | settlement | liability:merchant-payable | income:fee |
//! | | liability:merchant-payable | liability:vat-payable |
//! | | income:fee, given back with refunds | liability:merchant-payable |
//! | | liability:vat-payable, given back with refunds | liability:merchant-payable |
//! | | liability:merchant-payable | liability:payout-in-transit |
//! | difference, theirs is more | asset:network-receivable | liability:recon-suspense, or expense:recon-write-off |
//! | difference, theirs is less | liability:recon-suspense, or expense:recon-write-off | asset:network-receivable |

use money::Money;

use crate::{Account, Entry, EntryError, EntryRef};

/// The line of a capture's journal that its refunds reverse.
pub const CAPTURE_LINE: u8 = 1;

/// Holds an authorized amount.
///
/// # Errors
/// `Zero`.
pub fn authorize(amount: Money) -> Result<Vec<Entry>, EntryError> {
    Ok(vec![Entry::new(
        Account::Hold,
        Account::HoldContra,
        amount,
    )?])
}

/// Frees the whole hold: the authorization is voided or has lapsed.
///
/// # Errors
/// `Zero`.
pub fn release(authorized: Money) -> Result<Vec<Entry>, EntryError> {
    Ok(vec![Entry::new(
        Account::HoldContra,
        Account::Hold,
        authorized,
    )?])
}

/// Takes `captured` and frees the whole hold, the uncaptured rest with it.
///
/// # Errors
/// `Zero`.
pub fn capture(authorized: Money, captured: Money) -> Result<Vec<Entry>, EntryError> {
    Ok(vec![
        Entry::new(Account::HoldContra, Account::Hold, authorized)?,
        Entry::new(
            Account::NetworkReceivable,
            Account::MerchantPayable,
            captured,
        )?,
    ])
}

/// Gives `amount` back, reversing that much of the capture posted as journal `captured_seq`.
///
/// # Errors
/// `Zero`.
pub fn refund(amount: Money, captured_seq: u32) -> Result<Vec<Entry>, EntryError> {
    let capture = EntryRef {
        seq: captured_seq,
        line: CAPTURE_LINE,
    };
    let entry = Entry::new(Account::MerchantPayable, Account::NetworkReceivable, amount)?;
    Ok(vec![entry.reversing(capture)])
}

/// What a settlement takes, gives back and pays out.
#[derive(Clone, Copy, Debug)]
pub struct Settled {
    /// Fees without tax.
    pub supply: Money,
    /// Tax of those.
    pub vat: Money,
    /// Fees without tax that are given back.
    pub reversed_supply: Money,
    /// Tax of those.
    pub reversed_vat: Money,
    /// Paid out.
    pub payout: Money,
}

/// Takes fees and their tax from what is owed to the merchant, and sends the rest on its way. What is
/// nothing has no entry.
///
/// # Errors
/// None for amounts that are [`Money`].
pub fn settle(settled: Settled) -> Result<Vec<Entry>, EntryError> {
    let moves = [
        (Account::MerchantPayable, Account::Fee, settled.supply),
        (Account::MerchantPayable, Account::VatPayable, settled.vat),
        (
            Account::Fee,
            Account::MerchantPayable,
            settled.reversed_supply,
        ),
        (
            Account::VatPayable,
            Account::MerchantPayable,
            settled.reversed_vat,
        ),
        (
            Account::MerchantPayable,
            Account::PayoutInTransit,
            settled.payout,
        ),
    ];
    let moves = moves.into_iter().filter(|(_, _, amount)| !amount.is_zero());
    moves
        .map(|(debit, credit, amount)| Entry::new(debit, credit, amount))
        .collect()
}

/// What an acquirer's version comes to, against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They owe us so much more.
    More(Money),
    /// They owe us so much less.
    Less(Money),
}

/// Who bears a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// Nobody yet: their version counts, and waits to be explained.
    Suspense,
    /// We do.
    WriteOff,
}

/// Makes what the network owes us what it says it does.
///
/// # Errors
/// `Zero`.
pub fn difference(difference: Difference, bearer: Bearer) -> Result<Vec<Entry>, EntryError> {
    let bearer = match bearer {
        Bearer::Suspense => Account::ReconSuspense,
        Bearer::WriteOff => Account::ReconWriteOff,
    };
    let entry = match difference {
        Difference::More(amount) => Entry::new(Account::NetworkReceivable, bearer, amount),
        Difference::Less(amount) => Entry::new(bearer, Account::NetworkReceivable, amount),
    };
    Ok(vec![entry?])
}

/// Undoes the whole journal `seq` of a subject.
///
/// # Errors
/// None for entries that are [`Entry`].
pub fn undo(entries: &[Entry], seq: u32) -> Result<Vec<Entry>, EntryError> {
    let undone = |(line, entry): (u8, &Entry)| {
        let opposite = Entry::new(entry.credit(), entry.debit(), entry.amount())?;
        Ok(opposite.reversing(EntryRef { seq, line }))
    };
    (0..).zip(entries).map(undone).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    fn won(minor: u64) -> Money {
        Money::new(minor, "KRW".parse().unwrap()).unwrap()
    }

    /// Debits minus credits per account.
    fn balances(entries: &[Entry]) -> BTreeMap<Account, i128> {
        let mut balances = BTreeMap::new();
        for entry in entries {
            let amount = i128::from(entry.amount().minor());
            *balances.entry(entry.debit()).or_default() += amount;
            *balances.entry(entry.credit()).or_default() -= amount;
        }
        balances
    }

    #[test]
    fn the_line_that_refunds_reverse_is_the_capture() {
        let entries = capture(won(64_601), won(60_000)).unwrap();
        assert_eq!(
            entries[usize::from(CAPTURE_LINE)].debit(),
            Account::NetworkReceivable
        );
        assert_eq!(
            refund(won(1), 2).unwrap()[0].reverses(),
            Some(EntryRef {
                seq: 2,
                line: CAPTURE_LINE
            })
        );
    }

    #[test]
    fn nothing_posts_nothing() {
        assert_eq!(authorize(won(0)), Err(EntryError::Zero));
        assert_eq!(capture(won(1), won(0)), Err(EntryError::Zero));
        assert_eq!(refund(won(0), 2), Err(EntryError::Zero));
    }

    #[test]
    fn settlement_of_a_statement_leaves_nothing_payable() {
        let mut entries = capture(won(64_601), won(64_601)).unwrap();
        let settled = Settled {
            supply: won(1_356),
            vat: won(136),
            reversed_supply: won(0),
            reversed_vat: won(0),
            payout: won(63_109),
        };
        entries.extend(settle(settled).unwrap());
        let balances = balances(&entries);
        assert_eq!(balances[&Account::MerchantPayable], 0);
        assert_eq!(balances[&Account::Fee], -1_356);
        assert_eq!(balances[&Account::VatPayable], -136);
        assert_eq!(balances[&Account::PayoutInTransit], -63_109);
    }

    #[test]
    fn difference_is_owed_by_the_network_or_no_more() {
        for (apart, bearer, account, owed) in [
            (
                Difference::More(won(7)),
                Bearer::Suspense,
                Account::ReconSuspense,
                7,
            ),
            (
                Difference::Less(won(7)),
                Bearer::Suspense,
                Account::ReconSuspense,
                -7,
            ),
            (
                Difference::More(won(7)),
                Bearer::WriteOff,
                Account::ReconWriteOff,
                7,
            ),
            (
                Difference::Less(won(7)),
                Bearer::WriteOff,
                Account::ReconWriteOff,
                -7,
            ),
        ] {
            let mut entries = difference(apart, bearer).unwrap();
            let after = balances(&entries);
            assert_eq!(after[&Account::NetworkReceivable], owed);
            assert_eq!(after[&account], -owed);
            let undone = undo(&entries, 1).unwrap();
            assert_eq!(undone[0].reverses(), Some(EntryRef { seq: 1, line: 0 }));
            entries.extend(undone);
            assert!(balances(&entries).values().all(|balance| *balance == 0));
        }
    }

    proptest! {
        #[test]
        fn a_whole_life_sums_to_zero_and_leaves_what_was_not_refunded(
            authorized in 1..=1_000_000_u64,
            captured_share in 1..=100_u64,
            refunds in prop::collection::vec(1..=1000_u64, 0..20),
        ) {
            let captured = (authorized * captured_share / 100).max(1);
            let mut entries = authorize(won(authorized)).unwrap();
            entries.extend(capture(won(authorized), won(captured)).unwrap());
            let mut left = captured;
            for amount in refunds {
                let amount = amount.min(left);
                if amount > 0 {
                    entries.extend(refund(won(amount), 2).unwrap());
                    left -= amount;
                }
            }
            let balances = balances(&entries);
            prop_assert_eq!(balances.values().sum::<i128>(), 0);
            prop_assert_eq!(balances[&Account::Hold], 0);
            prop_assert_eq!(balances[&Account::HoldContra], 0);
            prop_assert_eq!(balances[&Account::NetworkReceivable], i128::from(left));
            prop_assert_eq!(balances[&Account::MerchantPayable], -i128::from(left));
        }

        #[test]
        fn a_release_undoes_the_hold(amount in 1..=money::MINOR_MAX) {
            let mut entries = authorize(won(amount)).unwrap();
            entries.extend(release(won(amount)).unwrap());
            prop_assert!(balances(&entries).values().all(|balance| *balance == 0));
        }
    }
}
