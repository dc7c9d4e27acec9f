use guard::{Answer, Call};
use operation::{Command, Operations};
use problem::Problem;

use crate::AuthorizeRequest;

/// Opens a payment in `REQUESTED` for the merchant that signed.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/payments/authorize", tag = "payments", request_body = AuthorizeRequest,
    responses((status = 200, description = "The payment, in REQUESTED", body = payment::PaymentView))
)]
pub async fn authorize(operations: Operations, call: Call) -> Result<Answer, Problem> {
    let asked: AuthorizeRequest = call.json()?;
    let authorization = asked.authorization(call.caller.merchant_id.clone().into())?;
    operations
        .run(Command::authorize(&call, authorization)?)
        .await
}
