use chrono::{DateTime, Utc};
use money::Money;
use uuid::Uuid;

use crate::Account;

/// One line of a journal: `amount` moves from the credited to the debited account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    debit: Account,
    credit: Account,
    amount: Money,
    reverses: Option<EntryRef>,
}

/// An earlier entry of the same subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef {
    /// Its journal.
    pub seq: u32,
    /// Its line within the journal, from 0.
    pub line: u8,
}

/// Why two accounts and an amount make no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The amount is zero.
    #[error("an entry moves more than nothing")]
    Zero,
    /// Debit and credit are the same account.
    #[error("an entry has two different accounts")]
    SameAccount,
}

/// Everything one change of a subject posts, together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The payment.
    pub subject_id: Uuid,
    /// The version of the change that posts; unique within the subject.
    pub seq: u32,
    /// Whose money it is.
    pub merchant_id: String,
    /// In line order.
    pub entries: Vec<Entry>,
    /// Time of the change.
    pub posted_at: DateTime<Utc>,
}

impl Entry {
    /// Debits one account and credits another with the same amount.
    ///
    /// # Errors
    /// `Zero`, or `SameAccount`.
    pub fn new(debit: Account, credit: Account, amount: Money) -> Result<Self, EntryError> {
        if amount.is_zero() {
            return Err(EntryError::Zero);
        }
        if debit == credit {
            return Err(EntryError::SameAccount);
        }
        Ok(Self {
            debit,
            credit,
            amount,
            reverses: None,
        })
    }

    /// Marks the entry as undoing `entry`, wholly or in part.
    #[must_use]
    pub fn reversing(self, entry: EntryRef) -> Self {
        Self {
            reverses: Some(entry),
            ..self
        }
    }

    /// The account debited.
    #[must_use]
    pub fn debit(&self) -> Account {
        self.debit
    }

    /// The account credited.
    #[must_use]
    pub fn credit(&self) -> Account {
        self.credit
    }

    /// The amount moved, above zero.
    #[must_use]
    pub fn amount(&self) -> Money {
        self.amount
    }

    /// The entry this one undoes.
    #[must_use]
    pub fn reverses(&self) -> Option<EntryRef> {
        self.reverses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_moves_something_between_two_accounts() {
        let won = |minor| Money::new(minor, "KRW".parse().unwrap()).unwrap();
        let entry = |debit, credit, amount| Entry::new(debit, credit, amount).map(drop);
        assert_eq!(entry(Account::Hold, Account::HoldContra, won(1)), Ok(()));
        assert_eq!(
            entry(Account::Hold, Account::HoldContra, won(0)),
            Err(EntryError::Zero)
        );
        assert_eq!(
            entry(Account::Hold, Account::Hold, won(1)),
            Err(EntryError::SameAccount)
        );
    }
}
