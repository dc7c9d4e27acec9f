//! Routes as API Gateway writes them: `METHOD /path/{name}/{proxy+}`.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::members::Faults;

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
    pub(super) span: Range<usize>,
}

impl Route {
    /// `GET /healthz`, which the runtime answers itself.
    pub(crate) fn health() -> Self {
        Self {
            key: "GET /healthz".to_owned(),
            method: "GET".to_owned(),
            path: "/healthz".to_owned(),
            parameters: Vec::new(),
            span: 0..0,
        }
    }

    /// Reads `text`, making faults of what is wrong with it.
    pub(super) fn read(text: &Spanned<String>, faults: &mut Faults<'_>) -> Option<Self> {
        match parse(text.as_ref()) {
            Ok((method, path, parameters)) => Some(Self {
                key: text.as_ref().clone(),
                method: method.to_owned(),
                path: path.to_owned(),
                parameters,
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
