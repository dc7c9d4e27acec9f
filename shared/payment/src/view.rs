use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{Customer, Payment, Status};

/// A payment as its merchant sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Payment)]
pub struct PaymentView<'a> {
    /// Opaque.
    #[schema(value_type = String)]
    payment_id: crate::PaymentId,
    #[schema(value_type = String)]
    merchant_id: &'a crate::MerchantId,
    /// The merchant's reference.
    #[schema(value_type = String)]
    order_id: &'a crate::OrderId,
    status: Status,
    /// Authorized, in the currency's minor unit.
    amount: u64,
    /// ISO 4217 code.
    #[schema(value_type = String)]
    currency: money::Currency,
    captured_amount: u64,
    refunded_amount: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<&'a Customer>,
    /// RFC 3339, UTC, milliseconds.
    #[schema(value_type = String, format = DateTime)]
    created_at: crate::Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: crate::Timestamp,
    /// When an authorization lapses.
    #[schema(value_type = String, format = DateTime)]
    expires_at: crate::Timestamp,
    /// Changes so far, from 1; the `seq` of the latest event.
    version: u32,
}

impl<'a> From<&'a Payment> for PaymentView<'a> {
    fn from(payment: &'a Payment) -> Self {
        Self {
            payment_id: payment.id,
            merchant_id: &payment.merchant_id,
            order_id: &payment.order_id,
            status: payment.status,
            amount: payment.amount.minor(),
            currency: payment.amount.currency(),
            captured_amount: payment.captured.minor(),
            refunded_amount: payment.refunded.minor(),
            description: payment.details.description.as_deref(),
            metadata: payment.details.metadata.as_ref(),
            customer: payment.details.customer.as_ref(),
            created_at: payment.created_at,
            updated_at: payment.updated_at,
            expires_at: payment.expires_at,
            version: payment.version,
        }
    }
}
