use std::time::Duration;

use guard::{Answer, Call};
use invoke::Functions;
use ledger::table as ledger_table;
use operation::Sees;
use outbox::event_table;
use payment::{Payment, PaymentId, PaymentView, table as payment_table};
use problem::{Code, Problem};
use recon::verdict;
use serde::{Serialize, de::DeserializeOwned};
use settlement::settled;
use sqlx::{MySqlConnection, MySqlPool};
use utoipa::ToSchema;

use crate::{ListRequest, Timeline};

/// The function of the settlement service that is asked.
const SETTLEMENT_LINES: &str = "settlement-lines";
/// The function of the reconciliation service that is asked.
const RECON_VERDICTS: &str = "recon-verdicts";
/// How long they may take; a timeline is shown without them then.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// A page of payments, the newest first.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentList<'a> {
    data: Vec<PaymentView<'a>>,
    /// Whether there are older ones: ask again with `after` set to the last `paymentId`.
    has_more: bool,
}

/// Answers whichever of the three routes was asked.
///
/// # Errors
/// The problems of the route.
pub async fn query(pool: MySqlPool, functions: Functions, call: Call) -> Result<Answer, Problem> {
    match call.path.split('/').collect::<Vec<_>>()[..] {
        ["", "payments"] => list(pool, call).await,
        ["", "payments", payment_id] => get(pool, &call, payment_id).await,
        ["", "payments", payment_id, "timeline"] => {
            timeline(pool, &functions, &call, payment_id).await
        }
        _ => Err(Problem::new(Code::RouteNotFound, "There is no such route.")),
    }
}

/// The caller's payments, newest first; an operator sees every merchant's.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/payments", tag = "payments", params(ListRequest),
    responses((status = 200, description = "A page of payments", body = PaymentList))
)]
pub async fn list(pool: MySqlPool, call: Call) -> Result<Answer, Problem> {
    let asked = ListRequest::parse(call.query.as_deref().unwrap_or_default())?;
    let limit = asked.limit()?;
    let filter = asked.filter(Sees::of(&call).merchant_id())?;
    let mut payments = read(&pool, move |db| {
        Box::pin(async move { payment_table::list(db, &filter, limit + 1).await })
    })
    .await?;
    let has_more = payments.len() > limit as usize;
    payments.truncate(limit as usize);
    let data = payments.iter().map(PaymentView::from).collect();
    Answer::json(&PaymentList { data, has_more })
}

/// One payment as it stands.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/payments/{paymentId}", tag = "payments", params(("paymentId" = String, Path)),
    responses((status = 200, description = "The payment", body = PaymentView))
)]
pub async fn get(pool: MySqlPool, call: &Call, payment_id: &str) -> Result<Answer, Problem> {
    let payment = find(&pool, call, payment_id).await?;
    Answer::json(&PaymentView::from(&payment))
}

/// Every step of a payment: request, status, ledger entries, event and where the broker put it, the
/// settlement that holds it, and what reconciliation said of it.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    get, path = "/payments/{paymentId}/timeline", tag = "payments",
    params(("paymentId" = String, Path)),
    responses((status = 200, description = "The payment's steps, in order", body = Timeline))
)]
pub async fn timeline(
    pool: MySqlPool,
    functions: &Functions,
    call: &Call,
    payment_id: &str,
) -> Result<Answer, Problem> {
    let payment_id = find(&pool, call, payment_id).await?.id;
    let (events, entries) = read(&pool, move |db| {
        Box::pin(async move {
            let events = event_table::of_aggregate(db, &payment_id.to_string()).await?;
            let entries = ledger_table::of_subject(db, payment_id.uuid()).await?;
            Ok((events, entries))
        })
    })
    .await?;
    let (lines, verdicts) = told(functions, payment_id).await;
    let timeline =
        Timeline::new(payment_id, events, &entries, &lines, &verdicts).map_err(|error| {
            tracing::error!(error = %error, payment.id = %payment_id, "a stored event is not readable");
            Problem::unavailable()
        })?;
    Answer::json(&timeline)
}

/// How the payment was settled and what reconciliation said of it, which other services know; nothing
/// of one that does not say.
async fn told(
    functions: &Functions,
    payment_id: PaymentId,
) -> (Vec<settled::SettledLine>, Vec<verdict::Verdict>) {
    let payment_id = payment_id.uuid();
    let (lines, verdicts) = tokio::join!(
        ask::<settled::Told>(functions, SETTLEMENT_LINES, settled::Asked { payment_id }),
        ask::<verdict::Told>(functions, RECON_VERDICTS, verdict::Asked { payment_id }),
    );
    let lines = lines.map(|told| told.data).unwrap_or_default();
    let verdicts = verdicts.map(|told| told.data).unwrap_or_default();
    (lines, verdicts)
}

async fn ask<T: DeserializeOwned>(
    functions: &Functions,
    function: &str,
    asked: impl Serialize,
) -> Option<T> {
    let told = functions.invoke(function, &asked, TOLD_WITHIN).await;
    told.inspect_err(|error| {
        tracing::warn!(error = %error, function, "a timeline is shown without what it knows");
    })
    .ok()
}

async fn find(pool: &MySqlPool, call: &Call, payment_id: &str) -> Result<Payment, Problem> {
    call.no_query()?;
    let not_found = || {
        Problem::new(
            Code::PaymentNotFound,
            "The path names no payment of this merchant.",
        )
    };
    let payment_id: PaymentId = payment_id.parse().map_err(|_| not_found())?;
    let found = read(pool, move |db| {
        Box::pin(payment_table::find(db, payment_id))
    })
    .await?;
    found
        .filter(|payment| Sees::of(call).allows(payment))
        .ok_or_else(not_found)
}

async fn read<T, F>(pool: &MySqlPool, work: F) -> Result<T, Problem>
where
    F: for<'c> FnOnce(&'c mut MySqlConnection) -> db::Work<'c, T, sqlx::Error>,
{
    db::session(pool, work).await.map_err(|error| {
        tracing::error!(error = %error, "the payment database did not answer");
        Problem::unavailable()
    })
}
