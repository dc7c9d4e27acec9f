use guard::{Answer, Call};
use operation::{Command, Operations};
use payment::Payment;
use problem::Problem;

use crate::RefundRequest;

/// Gives captured funds back, all that is left or a part of it.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/payments/refund/{paymentId}", tag = "payments",
    params(("paymentId" = String, Path)), request_body = Option<RefundRequest>,
    responses((
        status = 200, description = "The payment, in REFUNDED or PARTIALLY_REFUNDED",
        body = payment::PaymentView
    ))
)]
pub async fn refund(operations: Operations, call: Call) -> Result<Answer, Problem> {
    let asked: RefundRequest = call.json_or_default()?;
    let (portion, reason) = asked.portion_and_reason()?;
    let decide = move |payment: &Payment, now| payment.refund(portion, now);
    operations
        .run(Command::change(&call, decide)?.with_reason(reason))
        .await
}
