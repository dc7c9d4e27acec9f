//! The operations that meet a failpoint: one of each kind.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use client::{Client, Response};
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::until;

/// A request with its key; sending it again is safe.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) function: &'static str,
    path: String,
    body: Option<Value>,
    key: String,
    /// What the payment is in the end, and after how many changes.
    status: &'static str,
    version: usize,
}

/// What one request came to.
pub(crate) struct Answer {
    /// Body of a 2xx; `None` for anything else.
    pub(crate) success: Option<Bytes>,
    pub(crate) took: Duration,
    replayed: bool,
    shown: String,
}

impl Operation {
    fn new(function: &'static str, payment: &str, status: &'static str, version: usize) -> Self {
        Self {
            function,
            path: format!("/payments/{function}/{payment}"),
            body: None,
            key: Uuid::new_v4().to_string(),
            status,
            version,
        }
    }

    fn authorize() -> Self {
        let order = Uuid::new_v4().simple().to_string();
        Self {
            path: "/payments/authorize".to_owned(),
            body: Some(json!({ "orderId": order, "amount": 15000, "currency": "KRW" })),
            ..Self::new("authorize", "", "REQUESTED", 1)
        }
    }

    /// One of each kind, on payments made for them.
    pub(crate) async fn prepare(client: &Client) -> anyhow::Result<[Self; 4]> {
        let mut payments = Vec::new();
        for _ in 0..3 {
            payments.push(Self::authorize().done(client).await?);
        }
        let capture = |payment: &str| Self::new("capture", payment, "COMPLETED", 2);
        capture(&payments[1]).done(client).await?;
        Ok([
            Self::authorize(),
            capture(&payments[0]),
            Self::new("refund", &payments[1], "REFUNDED", 3),
            Self::new("void", &payments[2], "VOIDED", 2),
        ])
    }

    async fn done(&self, client: &Client) -> anyhow::Result<String> {
        let answer = self.send(client).await;
        let body = answer.success.with_context(|| answer.shown)?;
        payment_id(&body)
    }

    pub(crate) async fn send(&self, client: &Client) -> Answer {
        let began = Instant::now();
        let body = self.body.as_ref().map(|body| body.to_string().into());
        let sent = client.send(Method::POST, &self.path, body, Some(&self.key), &[]);
        match sent.await {
            Ok(Response {
                status,
                headers,
                body,
            }) => Answer {
                shown: format!("{status} {}", String::from_utf8_lossy(&body)),
                success: status.is_success().then_some(body),
                took: began.elapsed(),
                replayed: headers.contains_key("idempotent-replayed"),
            },
            Err(error) => Answer {
                shown: error.to_string(),
                success: None,
                took: began.elapsed(),
                replayed: false,
            },
        }
    }

    /// Settles the operation by sending it again, and checks that it took place once.
    pub(crate) async fn settle(&self, client: &Client, first: &Answer) -> anyhow::Result<()> {
        let answer = self.send(client).await;
        let body = answer.success.with_context(|| answer.shown)?;
        if let Some(first) = &first.success {
            ensure!(answer.replayed, "the key was acknowledged and is free");
            ensure!(body == first, "the key has another reply now");
        }
        let again = self.send(client).await;
        ensure!(
            again.replayed && again.success.as_ref() == Some(&body),
            "{}",
            again.shown
        );
        let payment: Value = serde_json::from_slice(&body)?;
        ensure!(payment["status"] == self.status, "{payment}");
        self.all_told(client, &payment_id(&body)?).await
    }

    /// Waits until every change of the payment has its event on a topic.
    async fn all_told(&self, client: &Client, payment: &str) -> anyhow::Result<()> {
        let path = format!("/payments/{payment}/timeline");
        until(&format!("the events of {payment}"), async || {
            let answer = client.send(Method::GET, &path, None, None, &[]).await?;
            let timeline: Value = answer.json()?;
            let steps = timeline["data"].as_array().context("a timeline")?;
            ensure!(steps.len() == self.version, "{timeline}");
            Ok(steps.iter().all(|step| step["event"]["offset"].is_u64()))
        })
        .await
    }
}

fn payment_id(body: &[u8]) -> anyhow::Result<String> {
    let payment: Value = serde_json::from_slice(body)?;
    Ok(payment["paymentId"]
        .as_str()
        .context("paymentId")?
        .to_owned())
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} after {:?}", self.shown, self.took)
    }
}
