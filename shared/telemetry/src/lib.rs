//! Logs, metrics and trace context of a function.
//!
//! Field names are dotted by the thing they describe (`payment.id`, `http.status`) and end with
//! their unit. Never a field: bodies, secrets, tokens, names of people.

mod trace_context;

use std::env;
use std::net::SocketAddr;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub use trace_context::TraceContext;

/// Upper bounds of the buckets of durations, in seconds.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0,
];
/// Upper bounds of the buckets of sizes, in things.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Names the address of the metrics listener; without it there is none.
const METRICS_ADDRESS: &str = "LOCAL_LAMBDA_METRICS_ADDR";

/// Starts logs and metrics, and failpoints in a build that has them. Called once, first thing in `main`, inside the async runtime.
///
/// Logs are JSON lines on standard output, filtered by `RUST_LOG`, else `AWS_LAMBDA_LOG_LEVEL`,
/// else `info`. Metrics are served in the Prometheus text format over HTTP on the address in
/// `LOCAL_LAMBDA_METRICS_ADDR`; histograms named `…_seconds` and `…_commands` have buckets. A wrong setting is logged and does not stop the function.
pub fn init() {
    failpoint::init();
    init_logs();
    if let Ok(address) = env::var(METRICS_ADDRESS)
        && let Err(error) = init_metrics(&address)
    {
        tracing::error!(
            metrics.address = address,
            error = &error as &dyn std::error::Error,
            "there are no metrics"
        );
    }
}

fn init_logs() {
    let setting = env::var("RUST_LOG").or_else(|_| env::var("AWS_LAMBDA_LOG_LEVEL"));
    let (filter, rejected) = filter(setting.as_deref().unwrap_or_default());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::warn!("logs were started before");
    }
    if rejected {
        tracing::error!("the log filter is not valid, info is used");
    }
}

/// The filter of a setting, and whether the setting was rejected for `info`.
fn filter(setting: &str) -> (EnvFilter, bool) {
    let builder = || EnvFilter::builder().with_default_directive(LevelFilter::INFO.into());
    match builder().parse(setting) {
        Ok(filter) => (filter, false),
        Err(_) => (builder().parse_lossy(""), true),
    }
}

#[derive(Debug, thiserror::Error)]
enum MetricsError {
    #[error("the address is not IP:PORT")]
    Address(#[from] std::net::AddrParseError),
    #[error("the listener cannot start")]
    Listener(#[from] metrics_exporter_prometheus::BuildError),
}

fn init_metrics(address: &str) -> Result<(), MetricsError> {
    let address: SocketAddr = address.parse()?;
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), COUNTS)?
        .with_http_listener(address)
        .install()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_directives_are_taken_and_anything_else_means_info() {
        for (setting, shown, rejected) in [
            ("", "info", false),
            ("DEBUG", "debug", false),
            ("guard=trace", "guard=trace", false),
            ("guard=loud", "info", true),
        ] {
            let (filter, was_rejected) = filter(setting);
            assert_eq!(
                (filter.to_string().as_str(), was_rejected),
                (shown, rejected),
                "{setting}"
            );
        }
    }

    #[test]
    fn an_address_that_is_none_or_taken_is_an_error() {
        assert!(matches!(
            init_metrics("localhost"),
            Err(MetricsError::Address(_))
        ));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert!(matches!(
            init_metrics(&address),
            Err(MetricsError::Listener(_))
        ));
    }
}
