use guard::{Answer, Call};
use operation::{Command, Operations};
use payment::Payment;
use problem::Problem;

use crate::VoidRequest;

/// Releases the whole hold of an authorization.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/payments/void/{paymentId}", tag = "payments",
    params(("paymentId" = String, Path)), request_body = Option<VoidRequest>,
    responses((status = 200, description = "The payment, in VOIDED", body = payment::PaymentView))
)]
pub async fn void(operations: Operations, call: Call) -> Result<Answer, Problem> {
    let VoidRequest {} = call.json_or_default()?;
    operations.run(Command::change(&call, Payment::void)?).await
}
