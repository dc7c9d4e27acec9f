//! The replies that are stored under an idempotency key.

use idempotency::Reply;
use payment::{Payment, PaymentId, PaymentView, Refusal};
use problem::{Code, Problem};

use crate::command::Command;

/// 200 with the payment.
pub(crate) fn payment(payment: &Payment) -> Result<Reply, serde_json::Error> {
    let body = serde_json::to_vec(&PaymentView::from(payment))?;
    Ok(Reply {
        status: 200,
        body: body.into(),
    })
}

/// What the payment's state does not allow.
pub(crate) fn refused(command: &Command, refusal: &Refusal) -> Reply {
    let code = match refusal {
        Refusal::NotCapturable(_) | Refusal::Lapsed => Code::PaymentNotCapturable,
        Refusal::NotVoidable(_) => Code::PaymentNotVoidable,
        Refusal::NotRefundable(_) => Code::PaymentNotRefundable,
        Refusal::AboveAuthorized { .. } => Code::AmountAboveAuthorized,
        Refusal::AboveCaptured { .. } => Code::AmountAboveCaptured,
        Refusal::CurrencyMismatch(_) => Code::CurrencyMismatch,
    };
    problem(command, &Problem::new(code, refusal.to_string()))
}

/// No such payment, or not the caller's.
pub(crate) fn not_found(command: &Command) -> Reply {
    let detail = "The path names no payment of this merchant.";
    problem(command, &Problem::new(Code::PaymentNotFound, detail))
}

/// The order has its payment already.
pub(crate) fn duplicate_order(command: &Command, first: PaymentId) -> Reply {
    let detail = "The merchant's order has a payment already.";
    problem(
        command,
        &Problem::new(Code::DuplicateOrder, detail).payment_id(first.to_string()),
    )
}

fn problem(command: &Command, problem: &Problem) -> Reply {
    let body = problem.to_json(&command.request.path, &command.trace_id);
    Reply {
        status: problem.code.status(),
        body: body.into(),
    }
}
