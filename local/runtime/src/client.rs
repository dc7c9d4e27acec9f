//! The commands that talk to a running runtime.

use std::fmt::Write;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::admin::FunctionView;

/// `local-lambda ps`: the functions and instances, as a table.
///
/// # Errors
/// If no runtime answers at `admin`.
pub(crate) async fn ps(admin: SocketAddr) -> anyhow::Result<String> {
    let response = reqwest::get(format!("http://{admin}/functions"))
        .await
        .with_context(|| format!("no runtime answers at {admin}"))?;
    let functions: Vec<FunctionView> = response.error_for_status()?.json().await?;
    let mut table = row(
        "FUNCTION",
        "INSTANCE",
        "PID",
        "STATE",
        "IN FLIGHT",
        "QUEUED",
        "ADDRESS",
    );
    for function in &functions {
        let queued = function.queued.to_string();
        if function.instances.is_empty() {
            table += &row(&function.name, "-", "-", "-", "-", &queued, "-");
        }
        for instance in &function.instances {
            table += &row(
                &function.name,
                &instance.name,
                &instance.pid.to_string(),
                &instance.state,
                &instance.in_flight.to_string(),
                &queued,
                &instance.address,
            );
        }
    }
    Ok(table)
}

fn row(
    function: &str,
    instance: &str,
    pid: &str,
    state: &str,
    in_flight: &str,
    queued: &str,
    address: &str,
) -> String {
    let mut row = String::new();
    let _infallible = writeln!(
        row,
        "{function:<24} {instance:<28} {pid:>8} {state:<9} {in_flight:>9} {queued:>6} {address}"
    );
    row
}

/// `local-lambda scale`: what the function's bounds are now.
///
/// # Errors
/// If no runtime answers at `admin`, there is no such function, or the bounds are refused.
pub(crate) async fn scale(
    admin: SocketAddr,
    function: &str,
    min: Option<u32>,
    max: Option<u32>,
) -> anyhow::Result<String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, bound) in [("min", min), ("max", max)] {
        query.extend_pairs(bound.map(|bound| (name, bound.to_string())));
    }
    let url = format!(
        "http://{admin}/functions/{function}/scale?{}",
        query.finish()
    );
    let response = reqwest::Client::new()
        .post(url)
        .send()
        .await
        .with_context(|| format!("no runtime answers at {admin}"))?;
    let status = response.status();
    if !status.is_success() {
        bail!("{status}: {}", response.text().await?);
    }
    let view: FunctionView = response.json().await?;
    let (min, max) = (view.min_instances, view.max_instances);
    Ok(format!("{function}: {min} to {max} instances\n"))
}

/// `local-lambda invoke`: the function's answer.
///
/// # Errors
/// If the invocation is refused, or the function fails: then the message is its error.
pub(crate) async fn invoke(
    invoke: SocketAddr,
    function: &str,
    payload: Option<&str>,
) -> anyhow::Result<Bytes> {
    let payload = match payload.map(|text| (text, text.strip_prefix('@'))) {
        None => Vec::new(),
        Some((_, Some(file))) => {
            std::fs::read(file).with_context(|| format!("cannot read {file}"))?
        }
        Some((text, None)) => text.as_bytes().to_vec(),
    };
    let url = format!("http://{invoke}/2015-03-31/functions/{function}/invocations");
    let response = reqwest::Client::new()
        .post(url)
        .body(payload)
        .send()
        .await
        .with_context(|| format!("no runtime answers at {invoke}"))?;
    let status = response.status();
    let failed = !status.is_success() || response.headers().contains_key("x-amz-function-error");
    let body = response.bytes().await?;
    if failed {
        bail!("{status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(body)
}
