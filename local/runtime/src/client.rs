//! The commands that talk to a running runtime.

mod invocation;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use reqwest::RequestBuilder;
use serde::de::DeserializeOwned;
use serde_json::json;

pub(crate) use self::invocation::Invocation;
use crate::admin::FunctionView;
use crate::cluster::ClusterView;
use crate::deployment::VersionView;
use crate::fleet::Change;
use crate::platform::Deployed;
use crate::sources::SourceView;

/// `local-lambda ps`: the functions and instances, as a table.
///
/// # Errors
/// If no runtime answers at `admin`.
pub(crate) async fn ps(admin: SocketAddr) -> anyhow::Result<String> {
    let functions = functions(admin).await?;
    let mut table = row([
        "FUNCTION",
        "INSTANCE",
        "VERSION",
        "PID",
        "STATE",
        "IN FLIGHT",
        "QUEUED",
        "ADDRESS",
        "HOST",
    ]);
    for function in &functions {
        let queued = function.queued.to_string();
        if function.instances.is_empty() {
            table += &row([&function.name, "-", "-", "-", "-", "-", &queued, "-", "-"]);
        }
        for instance in &function.instances {
            table += &row([
                &function.name,
                &instance.name,
                &instance.version.to_string(),
                &instance.pid.to_string(),
                &instance.state,
                &instance.in_flight.to_string(),
                &queued,
                &instance.address,
                instance.host.as_deref().unwrap_or("-"),
            ]);
        }
    }
    Ok(table)
}

fn row(cells: [&str; 9]) -> String {
    let [
        function,
        instance,
        version,
        pid,
        state,
        in_flight,
        queued,
        address,
        host,
    ] = cells;
    format!(
        "{function:<24} {instance:<28} {version:>7} {pid:>8} {state:<9} {in_flight:>9} \
         {queued:>6} {address:<21} {host}\n"
    )
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
    let query = query([("min", min), ("max", max)]);
    let url = format!("http://{admin}/functions/{function}/scale?{query}");
    let view: FunctionView = order(admin, url).await?;
    let (min, max) = (view.min_instances, view.max_instances);
    Ok(format!("{function}: {min} to {max} instances\n"))
}

/// `local-lambda sources`: what the event sources are doing, as a table.
///
/// # Errors
/// If no runtime answers at `admin`.
pub(crate) async fn sources(admin: SocketAddr) -> anyhow::Result<String> {
    let url = format!("http://{admin}/sources");
    let sources: Vec<SourceView> = answer(admin, reqwest::Client::new().get(url)).await?;
    let mut table = source_row([
        "FUNCTION",
        "KIND",
        "FROM",
        "STATE",
        "EPOCH",
        "POSITION",
        "LAG",
        "LAST ERROR",
    ]);
    for source in &sources {
        let state = source.state.to_string();
        let error = line(source.last_error.as_deref());
        table += &source_row([
            &source.function,
            &source.kind,
            &source.from,
            &state,
            &number(source.epoch),
            "-",
            "-",
            &error,
        ]);
        for partition in &source.partitions {
            let from = format!("{}-{}", partition.topic, partition.partition);
            let [position, lag] = [partition.position, partition.lag].map(number);
            let state = partition.state.to_string();
            let error = line(partition.last_error.as_deref());
            table += &source_row([
                &source.function,
                "",
                &from,
                &state,
                "-",
                &position,
                &lag,
                &error,
            ]);
        }
    }
    Ok(table)
}

fn source_row([function, kind, from, state, epoch, position, lag, error]: [&str; 8]) -> String {
    format!(
        "{function:<24} {kind:<10} {from:<32} {state:<11} {epoch:>6} {position:>10} {lag:>10} {error}\n"
    )
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |it| it.to_string())
}

/// `local-lambda cluster`: the hosts that run the same manifest, and their leases.
///
/// # Errors
/// If no runtime answers at `admin`, or it is the only host.
pub(crate) async fn cluster(admin: SocketAddr) -> anyhow::Result<String> {
    let url = format!("http://{admin}/cluster");
    let view: ClusterView = answer(admin, reqwest::Client::new().get(url)).await?;
    Ok(view.table())
}

/// An error as the end of a row.
fn line(error: Option<&str>) -> String {
    error.unwrap_or("-").replace('\n', " ")
}

/// `local-lambda sources unpark`.
///
/// # Errors
/// If no runtime answers at `admin`, or the function parks no keys of the topic.
pub(crate) async fn unpark(
    admin: SocketAddr,
    function: &str,
    topic: &str,
    key: &str,
    is_base64: bool,
) -> anyhow::Result<String> {
    let name = if is_base64 { "key_base64" } else { "key" };
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("topic", topic), (name, key)])
        .finish();
    let url = format!("http://{admin}/sources/{function}/unpark?{query}");
    let _empty: serde_json::Value = order(admin, url).await?;
    Ok(format!(
        "{function}: {key} of {topic} is parked no longer\n"
    ))
}

/// `local-lambda reload`: what has changed.
///
/// # Errors
/// If no runtime answers at `admin`, or the manifest is refused: then the message says why.
pub(crate) async fn reload(admin: SocketAddr) -> anyhow::Result<String> {
    let change: Change = order(admin, format!("http://{admin}/reload")).await?;
    let mut text = String::new();
    for (what, functions) in [
        ("added", change.added),
        ("changed", change.changed),
        ("removed", change.removed),
    ] {
        if !functions.is_empty() {
            let _infallible = writeln!(text, "{what}: {}", functions.join(", "));
        }
    }
    Ok(if text.is_empty() {
        "no function changed\n".to_owned()
    } else {
        text
    })
}

/// `local-lambda rollout`: which version takes which calls now.
///
/// # Errors
/// If no runtime answers at `admin`, or the version does not start.
pub(crate) async fn rollout(
    admin: SocketAddr,
    function: &str,
    share: Option<u32>,
    errors_max: Option<u32>,
) -> anyhow::Result<String> {
    let query = query([("canary", share), ("errors_max", errors_max)]);
    deploy(admin, function, &format!("rollout?{query}")).await
}

/// `local-lambda rollout --promote` and `rollback`, as `order` says.
///
/// # Errors
/// If no runtime answers at `admin`, or there is no version for it.
pub(crate) async fn deploy(
    admin: SocketAddr,
    function: &str,
    order: &str,
) -> anyhow::Result<String> {
    let url = format!("http://{admin}/functions/{function}/{order}");
    let Deployed { version, share } = self::order(admin, url).await?;
    Ok(if share == 100 {
        format!("{function}: version {version} takes all calls\n")
    } else {
        format!("{function}: version {version} takes {share} % of the calls\n")
    })
}

/// `local-lambda history`: the versions of a function, as a table.
///
/// # Errors
/// If no runtime answers at `admin`, or there is no such function.
pub(crate) async fn history(admin: SocketAddr, function: &str) -> anyhow::Result<String> {
    let url = format!("http://{admin}/functions/{function}/history");
    let versions: Vec<VersionView> = answer(admin, reqwest::Client::new().get(url)).await?;
    let mut table =
        "VERSION STATE       SINCE                   CALLS   ERRORS REASON\n".to_owned();
    for it in versions {
        let state = json!(it.state);
        let state = state.as_str().unwrap_or_default();
        let _infallible = writeln!(
            table,
            "{:>7} {state:<11} {:<20} {:>8} {:>8} {}",
            it.version, it.since, it.calls, it.errors, it.reason
        );
    }
    Ok(table)
}

/// `local-lambda logs`: prints what the function has logged, and with `follow` what it logs.
///
/// # Errors
/// If no runtime answers at `admin`, there is no such function, or nobody reads what is printed.
pub(crate) async fn logs(
    admin: SocketAddr,
    function: &str,
    follow: bool,
    lines: u32,
) -> anyhow::Result<()> {
    let query = query([("lines", Some(lines)), ("follow", follow.then_some(1))]);
    let url = format!("http://{admin}/functions/{function}/logs?{query}");
    let mut response = accepted(admin, reqwest::Client::new().get(url)).await?;
    let mut output = std::io::stdout();
    while let Some(piece) = response.chunk().await? {
        output.write_all(&piece)?;
        output.flush()?;
    }
    Ok(())
}

/// The functions of a running runtime.
///
/// # Errors
/// If no runtime answers at `admin`.
pub(crate) async fn functions(admin: SocketAddr) -> anyhow::Result<Vec<FunctionView>> {
    let url = format!("http://{admin}/functions");
    answer(admin, reqwest::Client::new().get(url)).await
}

fn query<const N: usize>(numbers: [(&str, Option<u32>); N]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, number) in numbers {
        query.extend_pairs(number.map(|number| (name, number.to_string())));
    }
    query.finish()
}

/// Posts to the admin address; its answer, or its refusal as the error.
async fn order<T: DeserializeOwned>(admin: SocketAddr, url: String) -> anyhow::Result<T> {
    answer(admin, reqwest::Client::new().post(url)).await
}

async fn answer<T: DeserializeOwned>(
    admin: SocketAddr,
    request: RequestBuilder,
) -> anyhow::Result<T> {
    Ok(accepted(admin, request).await?.json().await?)
}

/// The response to a request that is not refused.
async fn accepted(admin: SocketAddr, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let response = request
        .send()
        .await
        .with_context(|| format!("no runtime answers at {admin}"))?;
    if !response.status().is_success() {
        bail!("{}", response.json::<Refusal>().await?.message);
    }
    Ok(response)
}
