use guard::{Answer, Call};
use operation::{Command, Operations};
use payment::Payment;
use problem::Problem;

use crate::CaptureRequest;

/// Takes the authorized amount, or a part of it; the rest is released.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/payments/capture/{paymentId}", tag = "payments",
    params(("paymentId" = String, Path)), request_body = Option<CaptureRequest>,
    responses((status = 200, description = "The payment, in COMPLETED", body = payment::PaymentView))
)]
pub async fn capture(operations: Operations, call: Call) -> Result<Answer, Problem> {
    let portion = call.json_or_default::<CaptureRequest>()?.portion();
    let decide = move |payment: &Payment, now| payment.capture(portion, now);
    operations.run(Command::change(&call, decide)?).await
}
