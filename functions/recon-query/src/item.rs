use chrono::{DateTime, NaiveDate, Utc};
use payment::PaymentId;
use recon::{
    Case, DecisionView, FileId, ItemId, MatchResult, Standing, TransactionKey, item_table::Item,
};
use serde::Serialize;
use utoipa::ToSchema;

/// A row of a file with the transaction that it is, or a transaction that a file should have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReconItemView)]
pub struct ItemView {
    /// Names it; `after` of the next page.
    #[schema(value_type = String)]
    item_id: ItemId,
    /// The file.
    #[schema(value_type = String)]
    file_id: FileId,
    /// The record of the file, from 2, the header being the first.
    line: Option<u32>,
    /// What came of it; none before it is matched.
    result: Option<MatchResult>,
    status: Option<Standing>,
    /// Why, in words.
    reason: Option<String>,
    /// Their amount less ours, in the currency's minor unit, when both are known and they differ.
    difference: Option<i64>,
    theirs: Option<Theirs>,
    ours: Option<Ours>,
}

/// An item, and what was decided about it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReconItemDetail)]
pub struct ItemDetail {
    #[serde(flatten)]
    item: ItemView,
    /// In their order.
    decisions: Vec<DecisionView>,
}

/// As the file has it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Theirs {
    /// Names the capture or refund.
    transaction_key: Option<String>,
    /// The payment they name, when it is one of ours.
    #[schema(value_type = Option<String>)]
    payment_id: Option<PaymentId>,
    approval_number: Option<String>,
    /// `CAPTURE` or `REFUND`.
    kind: Option<String>,
    /// Whether it took place for them.
    done: Option<bool>,
    amount: Option<u64>,
    currency: Option<String>,
    /// In Asia/Seoul.
    date: Option<NaiveDate>,
}

/// As the payment service told it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Ours {
    #[schema(value_type = String)]
    payment_id: PaymentId,
    /// The event of the payment.
    seq: u32,
    merchant_id: Option<String>,
    /// `CAPTURE` or `REFUND`.
    kind: Option<String>,
    amount: Option<u64>,
    currency: Option<String>,
    /// In Asia/Seoul.
    date: Option<NaiveDate>,
    occurred_at: Option<DateTime<Utc>>,
}

impl ItemView {
    /// What is shown of an item; `None` when it is neither a row nor a transaction.
    pub(crate) fn new(item: &Item) -> Option<Self> {
        let ours = ours(item);
        let theirs = theirs(item);
        let result = item.result();
        let difference = item.amount.zip(item.our_amount);
        let difference = difference
            .map(|(theirs, ours)| theirs.wrapping_sub(ours).cast_signed())
            .filter(|difference| *difference != 0);
        Some(Self {
            item_id: item.id()?,
            file_id: item.file_id.into(),
            line: item.line,
            result,
            status: item.standing(),
            reason: result.map(|result| reason(result, item, difference)),
            difference,
            theirs,
            ours,
        })
    }
}

impl ItemDetail {
    pub(crate) fn new(item: &Item, cases: &[Case]) -> Option<Self> {
        let decisions = cases.iter().map(DecisionView::from).collect();
        Some(Self {
            item: ItemView::new(item)?,
            decisions,
        })
    }
}

fn ours(item: &Item) -> Option<Ours> {
    Some(Ours {
        payment_id: item.payment_id?.into(),
        seq: item.seq?,
        merchant_id: item.merchant_id.clone(),
        kind: item.our_kind.clone(),
        amount: item.our_amount,
        currency: item.our_currency.clone(),
        date: item.sold_on,
        occurred_at: item.occurred_at,
    })
}

fn theirs(item: &Item) -> Option<Theirs> {
    item.line.filter(|_| item.fault.is_none())?;
    let key = item.key_payment.zip(item.key_seq);
    let key = key.map(|(payment, seq)| {
        let payment_id = PaymentId::from(payment);
        TransactionKey { payment_id, seq }.to_string()
    });
    Some(Theirs {
        transaction_key: key.or_else(|| item.reference.clone()),
        payment_id: item.named_payment.map(PaymentId::from),
        approval_number: item.approval_number.clone(),
        kind: item.kind.clone(),
        done: item.done,
        amount: item.amount,
        currency: item.currency.clone(),
        date: item.traded_on,
    })
}

fn reason(result: MatchResult, item: &Item, difference: Option<i64>) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let day = |day: Option<NaiveDate>| day.map(|day| day.to_string()).unwrap_or_default();
    match result {
        MatchResult::Matched => "both sides say the same".to_owned(),
        MatchResult::MatchedTolerance | MatchResult::AmountMismatch => {
            format!(
                "theirs is {:+} against ours",
                difference.unwrap_or_default()
            )
        }
        MatchResult::MissingExternal => {
            format!(
                "the file speaks for {} and does not have it",
                day(item.sold_on)
            )
        }
        MatchResult::MissingInternal => "none of our transactions is it".to_owned(),
        MatchResult::DuplicateExternal => "another row is the same transaction".to_owned(),
        MatchResult::StatusMismatch if item.done == Some(false) => {
            "it did not take place for them".to_owned()
        }
        MatchResult::StatusMismatch => {
            format!(
                "{} for them, {} for us",
                text(&item.kind),
                text(&item.our_kind)
            )
        }
        MatchResult::DateMismatch => {
            format!(
                "{} for them, {} for us",
                day(item.traded_on),
                day(item.sold_on)
            )
        }
        MatchResult::CurrencyMismatch => {
            format!(
                "{} for them, {} for us",
                text(&item.currency),
                text(&item.our_currency)
            )
        }
        MatchResult::Ambiguous => "several of our transactions could be it".to_owned(),
        MatchResult::RowInvalid => text(&item.fault),
        MatchResult::Superseded => "a later file speaks for the same days".to_owned(),
    }
}
