use chrono::Utc;
use guard::{Answer, Call};
use keyed::{Begun, Keyed};
use problem::Problem;
use serde::Serialize;
use settlement::{Batch, SettlementView, batch_table, day_of};
use sqlx::mysql::MySqlConnectOptions;
use utoipa::ToSchema;

use crate::{
    ControlTotals, FUNCTION, SettleRequest, close::Closing, error::SettleError, request::Asked,
};

/// Most settlements in an answer.
const SETTLEMENTS_MAX: u32 = 10_000;

/// The settlements of the periods.
#[derive(Serialize, ToSchema)]
pub struct Settlements {
    /// In the order in which they were made.
    data: Vec<SettlementView>,
}

/// Closes every period whose last day is among the days that are named, once, and gives its
/// settlements. A period that has been closed stays as it is.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/settlements", tag = "settlements", request_body = SettleRequest,
    responses((status = 200, description = "The settlements of the periods", body = Settlements))
)]
pub async fn settle(
    database: MySqlConnectOptions,
    totals: ControlTotals,
    call: Call,
) -> Result<Answer, Problem> {
    let asked = call.json::<SettleRequest>()?.asked()?;
    let mut keyed = match Keyed::begin(&database, FUNCTION, &call).await? {
        Begun::Now(keyed) => keyed,
        Begun::Before(answer) => return Ok(answer),
    };
    let batches = close(&mut keyed, &totals, &call, &asked).await?;
    let data = batches.iter().map(SettlementView::from).collect();
    keyed.finish(200, &Settlements { data }).await
}

async fn close(
    keyed: &mut Keyed,
    totals: &ControlTotals,
    call: &Call,
    asked: &Asked,
) -> Result<Vec<Batch>, SettleError> {
    if !keyed.session.take_turn().await? {
        return Err(SettleError::Busy);
    }
    let request = keyed.request(call);
    let db = keyed.session.db();
    let traceparent = call.trace.traceparent();
    let closing = Closing {
        from: asked.from,
        to: asked.to,
        now: Utc::now(),
        traceparent: &traceparent,
        request: Some(&request),
    };
    if asked.to > day_of(closing.now) {
        return Err(SettleError::NotBegun(asked.to));
    }
    let mut differences = totals.differences(db, asked.to, closing.before()).await?;
    differences.retain(|difference| asked.concerns(&difference.merchant_id));
    if !differences.is_empty() {
        return Err(SettleError::Differs(differences));
    }
    closing
        .close(db, |book| asked.concerns(&book.merchant_id))
        .await?;
    let filter = batch_table::Filter {
        merchant_id: asked.merchant_id.clone(),
        from: Some(asked.from),
        to: Some(asked.to),
        after: None,
    };
    let mut batches = batch_table::list(db, &filter, SETTLEMENTS_MAX).await?;
    batches.reverse();
    Ok(batches)
}
