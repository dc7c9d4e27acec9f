//! The operations that meet a failpoint: one of each kind.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use client::Response;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::{Site, until};

/// An invocation that failed is answered 200 with this header.
const FUNCTION_ERROR: &str = "x-amz-function-error";

/// A request with its key; sending it again is safe.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) function: &'static str,
    path: String,
    body: Option<Value>,
    /// `None` for an invocation, which may find nothing left to do when it is repeated.
    pub(crate) key: Option<String>,
    /// `None` when it makes one.
    pub(crate) payment: Option<String>,
    /// What the payment is in the end, and after how many changes.
    status: &'static str,
    version: usize,
}

/// What one request came to.
pub(crate) struct Answer {
    /// Body of a 2xx; `None` for anything else.
    pub(crate) success: Option<Bytes>,
    pub(crate) took: Duration,
    pub(crate) replayed: bool,
    shown: String,
}

impl Operation {
    fn new(function: &'static str, payment: &str, status: &'static str, version: usize) -> Self {
        Self {
            function,
            path: format!("/payments/{function}/{payment}"),
            body: None,
            key: Some(Uuid::new_v4().to_string()),
            payment: Some(payment.to_owned()),
            status,
            version,
        }
    }

    pub(crate) fn authorize() -> Self {
        let order = Uuid::new_v4().simple().to_string();
        Self {
            path: "/payments/authorize".to_owned(),
            body: Some(json!({ "orderId": order, "amount": 15000, "currency": "KRW" })),
            payment: None,
            ..Self::new("authorize", "", "REQUESTED", 1)
        }
    }

    fn capture(payment: &str) -> Self {
        Self::new("capture", payment, "COMPLETED", 2)
    }

    fn expire(payment: &str) -> Self {
        Self {
            path: "/2015-03-31/functions/expire/invocations".to_owned(),
            body: Some(json!({})),
            key: None,
            ..Self::new("expire", payment, "EXPIRED", 2)
        }
    }

    /// One of each kind, on payments made for them.
    pub(crate) async fn prepare(site: &Site) -> anyhow::Result<Vec<Self>> {
        Ok(vec![
            Self::authorize(),
            Self::capture(&Self::authorize().done(site).await?),
            Self::refund(site).await?,
            Self::new("void", &Self::authorize().done(site).await?, "VOIDED", 2),
            Self::expire(&Self::authorize().done(site).await?),
        ])
    }

    /// A refund of a payment made for it: the payment's third change.
    pub(crate) async fn refund(site: &Site) -> anyhow::Result<Self> {
        let payment = Self::authorize().done(site).await?;
        Self::capture(&payment).done(site).await?;
        Ok(Self::new("refund", &payment, "REFUNDED", 3))
    }

    async fn done(&self, site: &Site) -> anyhow::Result<String> {
        let answer = self.send(site).await;
        let body = answer.success.with_context(|| answer.shown)?;
        payment_id(&body)
    }

    pub(crate) async fn send(&self, site: &Site) -> Answer {
        let client = match self.function {
            "expire" => &site.invoker,
            _ => &site.client,
        };
        let began = Instant::now();
        let body = self.body.as_ref().map(|body| body.to_string().into());
        let sent = client.send(Method::POST, &self.path, body, self.key.as_deref(), &[]);
        match sent.await {
            Ok(Response {
                status,
                headers,
                body,
            }) => Answer {
                shown: format!("{status} {}", String::from_utf8_lossy(&body)),
                success: (status.is_success() && !headers.contains_key(FUNCTION_ERROR))
                    .then_some(body),
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
    pub(crate) async fn settle(&self, site: &Site, first: &Answer) -> anyhow::Result<()> {
        let answer = self.send(site).await;
        let body = answer.success.with_context(|| answer.shown)?;
        if self.key.is_some() {
            if let Some(first) = &first.success {
                ensure!(answer.replayed, "the key was acknowledged and is free");
                ensure!(body == first, "the key has another reply now");
            }
            let again = self.send(site).await;
            ensure!(
                again.replayed && again.success.as_ref() == Some(&body),
                "{}",
                again.shown
            );
        }
        let payment_id = match &self.payment {
            Some(payment_id) => payment_id.clone(),
            None => payment_id(&body)?,
        };
        let path = format!("/payments/{payment_id}");
        let payment = site.client.send(Method::GET, &path, None, None, &[]);
        let payment: Value = payment.await?.json()?;
        ensure!(payment["status"] == self.status, "{payment}");
        self.all_told(site, &payment_id).await
    }

    /// Waits until every change of the payment has its event on a topic.
    async fn all_told(&self, site: &Site, payment: &str) -> anyhow::Result<()> {
        let path = format!("/payments/{payment}/timeline");
        until(&format!("the events of {payment}"), async || {
            let answer = site.client.send(Method::GET, &path, None, None, &[]);
            let timeline: Value = answer.await?.json()?;
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
