use chrono::Utc;
use guard::{Answer, Call};
use idempotency::{Claim, Reply};
use outbox::Request;
use problem::{Code, Problem};
use serde::Serialize;
use settlement::{Batch, SettlementView, batch_table, day_of};
use sqlx::mysql::MySqlConnectOptions;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ControlTotals, SettleRequest, close::Closing, error::SettleError, request::Asked,
    session::Session,
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
    let claim = claim(&call)?;
    let mut session = Session::open(&database).await.map_err(unavailable)?;
    if !session.take_key(&claim).await.map_err(unavailable)? {
        let detail = "A request with this idempotency key is still running.";
        return Err(Problem::new(Code::IdempotencyKeyInFlight, detail));
    }
    if let Some(stored) = session.stored(&claim).await.map_err(unavailable)? {
        if stored.fingerprint != claim.fingerprint {
            let detail = "The idempotency key was first used for another request.";
            return Err(Problem::new(Code::IdempotencyKeyReused, detail));
        }
        return Ok(Answer::Replayed(stored.reply));
    }
    let batches = close(&mut session, &totals, &call, &claim, &asked).await?;
    let reply = reply(&batches)?;
    let stored = session.store(&claim, &reply, Utc::now()).await;
    stored.map_err(unavailable)?;
    session.end().await;
    Ok(Answer::Stored(reply))
}

async fn close(
    session: &mut Session,
    totals: &ControlTotals,
    call: &Call,
    claim: &Claim,
    asked: &Asked,
) -> Result<Vec<Batch>, SettleError> {
    session.take_turn().await?;
    let db = session.db();
    let request = request(call, claim);
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

fn claim(call: &Call) -> Result<Claim, Problem> {
    let (key, fingerprint) = call.idempotency.clone().ok_or_else(|| {
        let detail = "This route needs an Idempotency-Key.";
        Problem::new(Code::IdempotencyKeyMissing, detail)
    })?;
    Ok(Claim {
        id: Uuid::new_v4(),
        merchant_id: call.caller.merchant_id.clone(),
        key,
        fingerprint,
    })
}

fn request(call: &Call, claim: &Claim) -> Request {
    Request {
        method: call.method.to_string(),
        path: call.path.clone(),
        key_id: call.caller.key_id.clone(),
        idempotency_key: claim.key.to_string(),
        reason: None,
    }
}

fn reply(batches: &[Batch]) -> Result<Reply, Problem> {
    let data = batches.iter().map(SettlementView::from).collect();
    let body = serde_json::to_vec(&Settlements { data }).map_err(|_| Problem::unavailable())?;
    Ok(Reply {
        status: 200,
        body: body.into(),
    })
}

fn unavailable(error: sqlx::Error) -> Problem {
    SettleError::from(error).into()
}
