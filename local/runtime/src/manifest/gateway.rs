//! `[gateway]`: what holds for all functions.

use std::sync::Arc;

use rustls::ServerConfig;

use super::members::{Faults, Members};
use super::tls;

/// Most calls in flight that can be asked for.
const IN_FLIGHT_MAX: usize = 100_000;
/// Most connections that can be asked for.
const CONNECTIONS_MAX: usize = 1_000_000;

const DEFAULT_CONNECTIONS: usize = 16_384;

/// The `[gateway]` table.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    /// The form of error bodies.
    pub(crate) errors: ErrorForm,
    /// `type` of a problem; `{code}` stands for its code.
    pub(crate) problem_type: String,
    /// Most invocations that run at once, over all functions.
    pub(crate) in_flight_max: Option<usize>,
    /// Most connections to the HTTP address.
    pub(crate) connections_max: usize,
    /// Most of them from one address.
    pub(crate) connections_per_ip_max: usize,
    /// What the HTTP address speaks TLS with, if it does.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// The form of the errors that the runtime itself answers on its HTTP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ErrorForm {
    /// The bodies of an API Gateway HTTP API.
    HttpApi,
    /// RFC 9457 `application/problem+json`.
    Problem,
}

impl Gateway {
    pub(super) fn read(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Self {
        let mut table = members.take_table("gateway", faults);
        let connections_max = table
            .take_number("connections_max", 1..=CONNECTIONS_MAX, faults)
            .unwrap_or(DEFAULT_CONNECTIONS);
        let gateway = Self {
            errors: table.take("errors", faults).unwrap_or(ErrorForm::HttpApi),
            problem_type: table
                .take("problem_type", faults)
                .unwrap_or_else(|| "about:blank".to_owned()),
            in_flight_max: table.take_number("in_flight_max", 1..=IN_FLIGHT_MAX, faults),
            connections_max,
            connections_per_ip_max: table
                .take_number("connections_per_ip_max", 1..=CONNECTIONS_MAX, faults)
                .unwrap_or(connections_max),
            tls: tls::read(&mut table, faults),
        };
        table.refuse_rest(faults);
        gateway
    }
}
