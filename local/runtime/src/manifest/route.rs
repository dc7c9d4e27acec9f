//! Routes as API Gateway writes them: `METHOD /path/{name}/{proxy+}`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::members::{Faults, Item, Members};

/// Longest wait for an answer that a route can ask for.
const TIMEOUT_MS_MAX: u64 = 900_000;
/// Largest request body in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

/// One route of a function or a static file.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    /// The route as written: `GET /payments/{id}`.
    pub(crate) key: String,
    /// The method in capitals, or `ANY`.
    pub(crate) method: String,
    /// The path template.
    pub(crate) path: String,
    /// The names of the path parameters, in order.
    pub(crate) parameters: Vec<String>,
    /// What is asked of its requests and answers.
    pub(crate) bounds: RouteBounds,
    pub(super) span: Range<usize>,
}

/// The bounds of one route.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RouteBounds {
    /// Longest wait of a client for the beginning of its answer, from its whole request.
    pub(crate) timeout: Option<Duration>,
    /// Largest body of a request in bytes.
    pub(crate) body_bytes_max: Option<usize>,
}

impl Route {
    /// `GET /healthz`, which the runtime answers itself.
    pub(crate) fn health() -> Self {
        Self {
            key: "GET /healthz".to_owned(),
            method: "GET".to_owned(),
            path: "/healthz".to_owned(),
            parameters: Vec::new(),
            bounds: RouteBounds::default(),
            span: 0..0,
        }
    }

    /// The routes of a function: each a text, or a table of one with bounds.
    pub(super) fn read_all(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Vec<Self> {
        let items = members.take_items("routes", faults);
        let read = |item| match item {
            Item::Text(text) => Self::read(&text, faults),
            Item::Table(table) => Self::read_bounded(table, faults),
        };
        items.into_iter().filter_map(read).collect()
    }

    fn read_bounded(mut table: Members<'_>, faults: &mut Faults<'_>) -> Option<Self> {
        let route = table
            .require("route", faults)
            .and_then(|text| Self::read(&text, faults));
        let timeout = table.take_number("timeout_ms", 1..=TIMEOUT_MS_MAX, faults);
        let body = table.take_number("body_bytes_max", 0..=BODY_BYTES_MAX, faults);
        table.refuse_rest(faults);
        Some(Self {
            bounds: RouteBounds {
                timeout: timeout.map(Duration::from_millis),
                body_bytes_max: body,
            },
            ..route?
        })
    }

    /// Reads `text`, making faults of what is wrong with it.
    pub(super) fn read(text: &Spanned<String>, faults: &mut Faults<'_>) -> Option<Self> {
        match parse(text.as_ref()) {
            Ok((method, path, parameters)) => Some(Self {
                key: text.as_ref().clone(),
                method: method.to_owned(),
                path: path.to_owned(),
                parameters,
                bounds: RouteBounds::default(),
                span: text.span(),
            }),
            Err(reason) => {
                faults.add(
                    text.span(),
                    format!("route \"{}\": {reason}", text.as_ref()),
                );
                None
            }
        }
    }

    /// Whether the last parameter takes all that is left of a path.
    pub(crate) fn is_greedy(&self) -> bool {
        self.path.ends_with("+}")
    }

    /// The path in matchit's syntax, its parameters named by position: two templates that match
    /// the same requests have the same shape.
    pub(crate) fn shape(&self) -> String {
        let mut position = 0_usize..;
        let segments = self
            .path
            .split('/')
            .map(|segment| match parameter(segment) {
                Some(name) => {
                    let greedy = if name.ends_with('+') { "*" } else { "" };
                    format!("{{{greedy}{}}}", position.next().unwrap_or_default())
                }
                None => segment.to_owned(),
            });
        segments.collect::<Vec<_>>().join("/")
    }
}

fn parameter(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn parse(text: &str) -> Result<(&str, &str, Vec<String>), String> {
    let (method, path) = text.split_once(' ').ok_or("must be \"METHOD /path\"")?;
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("\"{method}\" is no method in capitals"));
    }
    if !path.starts_with('/') {
        return Err("the path must begin with \"/\"".to_owned());
    }
    let mut parameters = Vec::new();
    let mut names = BTreeSet::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let Some(name) = parameter(segment) else {
            check_literal(segment)?;
            continue;
        };
        let plain = name.strip_suffix('+').unwrap_or(name);
        if plain != name && segments.peek().is_some() {
            return Err(format!("{{{name}}} must be the last segment"));
        }
        if !is_name(plain) {
            return Err(format!("{{{name}}} is no parameter name"));
        }
        if !names.insert(plain) {
            return Err(format!("{{{plain}}} stands twice"));
        }
        parameters.push(plain.to_owned());
    }
    Ok((method, path, parameters))
}

fn check_literal(segment: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"{}*?#\"\\".contains(&byte);
    if segment.bytes().all(plain) {
        Ok(())
    } else {
        Err(format!(
            "\"{segment}\" is neither a literal segment nor one {{name}}"
        ))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
