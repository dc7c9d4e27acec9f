use std::{fmt, str::FromStr};

/// An account of the chart (`ledger_account` holds the same list).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Account {
    /// Funds held by open authorizations; a memorandum without effect on the books.
    Hold,
    /// The other side of [`Account::Hold`].
    HoldContra,
    /// What the card network owes us for captures.
    NetworkReceivable,
    /// What we owe merchants for captures.
    MerchantPayable,
    /// Fees without tax that merchants pay.
    Fee,
    /// Value-added tax of the fees.
    VatPayable,
    /// Settled, and on its way to merchants.
    PayoutInTransit,
    /// Differences to what the acquirer says, until they are explained.
    ReconSuspense,
    /// Differences to what the acquirer says that we bear.
    ReconWriteOff,
}

/// Not an account of the chart.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an account of the chart")]
pub struct UnknownAccount(String);

impl Account {
    /// Every account.
    pub const ALL: [Self; 9] = [
        Self::Hold,
        Self::HoldContra,
        Self::NetworkReceivable,
        Self::MerchantPayable,
        Self::Fee,
        Self::VatPayable,
        Self::PayoutInTransit,
        Self::ReconSuspense,
        Self::ReconWriteOff,
    ];

    /// The name in SQL and JSON: `kind:name`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hold => "memo:hold",
            Self::HoldContra => "memo:hold-contra",
            Self::NetworkReceivable => "asset:network-receivable",
            Self::MerchantPayable => "liability:merchant-payable",
            Self::Fee => "income:fee",
            Self::VatPayable => "liability:vat-payable",
            Self::PayoutInTransit => "liability:payout-in-transit",
            Self::ReconSuspense => "liability:recon-suspense",
            Self::ReconWriteOff => "expense:recon-write-off",
        }
    }
}

impl FromStr for Account {
    type Err = UnknownAccount;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|account| account.name() == name)
            .ok_or_else(|| UnknownAccount(name.to_owned()))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_is_found_by_its_name() {
        for account in Account::ALL {
            assert_eq!(account.name().parse(), Ok(account));
        }
        assert!("asset:cash".parse::<Account>().is_err());
    }
}
