//! One payment through its life, as a merchant would do it with `local/request`.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::output::say;
use crate::{Component, Stack, secrets::KEYS_FILE};

/// Authorizes, captures, refunds a part and shows the payment; prints each step.
///
/// # Errors
/// Names the step that failed and shows its answer.
pub async fn run(stack: &Stack) -> anyhow::Result<()> {
    let order = format!("sample-{}", Uuid::now_v7());
    let authorize = json!({"orderId": order, "amount": 15_000, "currency": "KRW"});
    let payment = step(stack, "POST", "/payments/authorize", Some(authorize)).await?;
    let id = payment["paymentId"]
        .as_str()
        .context("the answer has no paymentId")?;
    step(stack, "POST", &format!("/payments/capture/{id}"), None).await?;
    let refund = json!({"amount": 5_000, "reason": "one item returned"});
    step(
        stack,
        "POST",
        &format!("/payments/refund/{id}"),
        Some(refund),
    )
    .await?;
    step(stack, "GET", &format!("/payments/{id}"), None).await?;
    Ok(())
}

async fn step(
    stack: &Stack,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let output = Command::new(stack.program("client")?)
        .args([method, path])
        .args(body.as_ref().map(Value::to_string))
        .env(
            "PAYFN_URL",
            format!("http://{}", stack.address(Component::Runtime)),
        )
        .env("KEYS_FILE", stack.state.secret(KEYS_FILE))
        .env("PAYFN_STATE", stack.state.directory())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run the client")?;
    let [answer, head] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    let failure = || format!("{method} {path}: {head}{answer}");
    ensure!(output.status.success(), failure());
    let payment: Value = serde_json::from_str(&answer).with_context(failure)?;
    ensure!(payment["status"].is_string(), failure());
    let sent = body.map(|body| format!(" {body}")).unwrap_or_default();
    say(format_args!(
        "  {method} {path}{sent}\n    {} · {}",
        head.lines().next().unwrap_or_default(),
        summary(&payment)
    ));
    Ok(payment)
}

/// The members that a step changes.
fn summary(payment: &Value) -> String {
    let members = [
        "status",
        "amount",
        "capturedAmount",
        "refundedAmount",
        "currency",
    ];
    let shown =
        members.map(|name| format!("{name} {}", payment[name].to_string().trim_matches('"')));
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_shows_status_and_amounts() {
        let payment = json!({
            "paymentId": "pay_1", "status": "PARTIALLY_REFUNDED", "amount": 15000,
            "capturedAmount": 15000, "refundedAmount": 5000, "currency": "KRW"
        });
        assert_eq!(
            summary(&payment),
            "status PARTIALLY_REFUNDED, amount 15000, capturedAmount 15000, refundedAmount 5000, \
             currency KRW"
        );
    }
}
