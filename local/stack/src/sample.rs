//! One payment through its life, as a merchant and an operator would do it with `local/request`.
//!
//! Its merchant is nobody else's, so that the day of those that are tried by hand stays open.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use chrono::DateTime;
use serde_json::{Value, json};
use tokio::process::Command;
use uuid::Uuid;

use crate::output::say;
use crate::{Component, Stack, secrets::KEYS_FILE, wait};

/// The key that signs for [`MERCHANT`].
pub const KEY: &str = "sample";
/// The merchant of the sample.
pub const MERCHANT: &str = "m-sample";
/// The key that settles.
const OPERATOR_KEY: &str = "ops";
/// How long the events of the payment may take to arrive.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Korea keeps one offset all year.
const SEOUL_OFFSET_S: i64 = 9 * 3600;

/// Authorizes, captures, refunds a part and settles the payment; prints each step.
///
/// # Errors
/// Names the step that failed and shows its answer.
pub async fn run(stack: &Stack) -> anyhow::Result<()> {
    let order = format!("sample-{}", Uuid::now_v7());
    let authorize = json!({"orderId": order, "amount": 15_000, "currency": "KRW"});
    let payment = step(stack, KEY, "POST", "/payments/authorize", Some(authorize)).await?;
    let id = payment["paymentId"]
        .as_str()
        .context("the answer has no paymentId")?;
    let capture = format!("/payments/capture/{id}");
    step(stack, KEY, "POST", &capture, None).await?;
    let refund = json!({"amount": 5_000, "reason": "one item returned"});
    let path = format!("/payments/refund/{id}");
    step(stack, KEY, "POST", &path, Some(refund)).await?;
    let today = today()?;
    let settle = json!({"from": today, "to": today, "merchantId": MERCHANT});
    // Refused while the events of the payment are on the way.
    wait::until(SETTLED_WITHIN, async || {
        step(
            stack,
            OPERATOR_KEY,
            "POST",
            "/settlements",
            Some(settle.clone()),
        )
        .await
    })
    .await?;
    Ok(())
}

/// The day in Korea.
fn today() -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seoul = i64::try_from(now)? + SEOUL_OFFSET_S;
    let day = DateTime::from_timestamp(seoul, 0).context("the clock is beyond the calendar")?;
    Ok(day.date_naive().to_string())
}

async fn step(
    stack: &Stack,
    key: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let output = Command::new(stack.program("client")?)
        .args([method, path])
        .args(body.as_ref().map(Value::to_string))
        .args(["--as", key])
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
    let answered: Value = serde_json::from_str(&answer).with_context(failure)?;
    let shown = summary(&answered).with_context(failure)?;
    let sent = body.map(|body| format!(" {body}")).unwrap_or_default();
    say(format_args!(
        "  {method} {path}{sent}\n    {} · {}",
        head.lines().next().unwrap_or_default(),
        shown
    ));
    Ok(answered)
}

/// The members that a step changes: of a payment, or of the settlement that holds it.
fn summary(answer: &Value) -> Option<String> {
    const PAYMENT: [&str; 5] = [
        "status",
        "amount",
        "capturedAmount",
        "refundedAmount",
        "currency",
    ];
    const SETTLEMENT: [&str; 5] = [
        "itemCount",
        "capturedAmount",
        "refundedAmount",
        "payOutAmount",
        "paidOutDate",
    ];
    let (shown, members) = match answer["data"].get(0) {
        Some(settlement) => (settlement, SETTLEMENT),
        None => (answer, PAYMENT),
    };
    let member = |name| {
        let value = shown.get(name)?.to_string();
        Some(format!("{name} {}", value.trim_matches('"')))
    };
    let shown: Option<Vec<String>> = members.into_iter().map(member).collect();
    Some(shown?.join(", "))
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
        let shown = summary(&payment).unwrap();
        assert_eq!(
            shown,
            "status PARTIALLY_REFUNDED, amount 15000, capturedAmount 15000, refundedAmount 5000, \
             currency KRW"
        );
        let settlement = json!({"data": [{
            "itemCount": 2, "capturedAmount": 15000, "refundedAmount": 5000, "payOutAmount": 9769,
            "paidOutDate": "2026-12-03"
        }]});
        let shown = summary(&settlement).unwrap();
        assert_eq!(
            shown,
            "itemCount 2, capturedAmount 15000, refundedAmount 5000, payOutAmount 9769, \
             paidOutDate 2026-12-03"
        );
        assert_eq!(summary(&json!({"data": []})), None);
    }
}
