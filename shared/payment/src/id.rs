use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

const PAYMENT_ID_PREFIX: &str = "pay_";
/// Most characters in an order id.
const ORDER_ID_CHARS_MAX: usize = 64;

/// Names one payment: `pay_` and 32 hexadecimal digits of a UUIDv7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaymentId(Uuid);

/// Not the id of any payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a payment id")]
pub struct InvalidPaymentId;

impl PaymentId {
    /// A fresh id; later ids sort after earlier ones, to the millisecond.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// For the database.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for PaymentId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl FromStr for PaymentId {
    type Err = InvalidPaymentId;

    /// Accepts only what [`PaymentId`] displays: one payment has one id.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix(PAYMENT_ID_PREFIX)
            .ok_or(InvalidPaymentId)?;
        let id = Self(Uuid::try_parse(digits).map_err(|_| InvalidPaymentId)?);
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(InvalidPaymentId)
        }
    }
}

impl fmt::Display for PaymentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PAYMENT_ID_PREFIX}{}", self.0.simple())
    }
}

impl Serialize for PaymentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Names a merchant, as the key file does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct MerchantId(String);

impl MerchantId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for MerchantId {
    fn from(name: String) -> Self {
        Self(name)
    }
}

impl fmt::Display for MerchantId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A text outside its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {0}")]
pub struct Refused(pub &'static str);

/// The merchant's own reference of a payment: 1–64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct OrderId(String);

impl OrderId {
    /// The reference.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OrderId {
    type Error = Refused;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = (1..=ORDER_ID_CHARS_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text));
        }
        Err(Refused("1 to 64 visible ASCII characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_id_reads_back_and_has_one_spelling() {
        let id = PaymentId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in [
            id.to_string().to_uppercase(),
            id.uuid().to_string(),
            format!("pay_{}", id.uuid()),
            "pay_".to_owned(),
            String::new(),
        ] {
            assert_eq!(text.parse::<PaymentId>(), Err(InvalidPaymentId), "{text}");
        }
    }

    #[test]
    fn an_order_id_is_short_and_visible() {
        let order = |text: &str| OrderId::try_from(text.to_owned()).is_ok();
        assert!(order("order-1") && order(&"o".repeat(64)));
        assert!(!order("") && !order(&"o".repeat(65)) && !order("a b") && !order("주문"));
    }
}
