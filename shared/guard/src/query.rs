//! Queries of lists.

use problem::{Code, Problem};
use serde::de::DeserializeOwned;

/// Entries on a page when the query names no limit.
const LIMIT_DEFAULT: u32 = 20;
/// Most entries on a page.
const LIMIT_MAX: u32 = 100;

/// Reads a raw query.
///
/// # Errors
/// `invalid-request` for an unknown or repeated parameter, or one of the wrong type.
pub fn parse<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Problem> {
    serde_html_form::from_str(query.unwrap_or_default()).map_err(|error| {
        let detail = format!("the query is not valid: {error}");
        Problem::new(Code::InvalidRequest, detail)
    })
}

/// How many entries to show, of the parameter `limit`.
///
/// # Errors
/// `invalid-request` outside 1–100.
pub fn limit(text: Option<&str>) -> Result<u32, Problem> {
    match text.map_or(Ok(LIMIT_DEFAULT), str::parse) {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(wrong("limit", "from 1 to 100")),
    }
}

/// Refuses a parameter.
#[must_use]
pub fn wrong(parameter: &str, rule: &str) -> Problem {
    let detail = format!("the parameter {parameter:?} must be {rule}");
    Problem::new(Code::InvalidRequest, detail)
}
