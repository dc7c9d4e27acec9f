use std::collections::BTreeSet;

use guard::query::{limit, parse, wrong};
use problem::{Code, Problem};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{decision_table::Status, letter::LetterId};

/// Most letters that one request names.
const IDS_MAX: usize = 100;
/// Longest reason.
const REASON_CHARS_MAX: usize = 500;
/// What the query calls letters that nobody has decided about.
const PENDING: &str = "PENDING";

/// Query of `GET /dlq/{topic}`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListRequest {
    /// Which letters: `PENDING`, `REPLAYED` or `PURGED`; `PENDING` when left out.
    status: Option<String>,
    /// Most letters to show, 1–100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The last letter of the page before.
    after: Option<String>,
}

/// Body of `POST /dlq/{topic}/replay`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// These letters, 1–100; every pending one when left out.
    #[schema(min_items = 1, max_items = 100)]
    ids: Option<Vec<String>>,
}

/// Body of `POST /dlq/{topic}/purge`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// The letters, 1–100.
    #[schema(min_items = 1, max_items = 100)]
    ids: Vec<String>,
    /// Why they are given up; 1–500 characters.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
}

/// Which letters to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// `None` for those that are pending.
    pub(crate) status: Option<Status>,
    pub(crate) limit: usize,
    pub(crate) after: Option<LetterId>,
}

impl ListRequest {
    /// Reads a raw query.
    ///
    /// # Errors
    /// `invalid-request`, naming the parameter.
    pub(crate) fn page(query: Option<&str>) -> Result<Page, Problem> {
        let asked: Self = parse(query)?;
        let status = match asked.status.as_deref() {
            None | Some(PENDING) => None,
            Some(name) => Some(
                Status::parse(name)
                    .ok_or_else(|| wrong("status", "PENDING, REPLAYED or PURGED"))?,
            ),
        };
        let after = asked.after.as_deref().map(str::parse).transpose();
        Ok(Page {
            status,
            limit: limit(asked.limit.as_deref())? as usize,
            after: after.map_err(|_| wrong("after", "a letter id"))?,
        })
    }
}

impl ReplayRequest {
    /// The letters it names.
    ///
    /// # Errors
    /// `invalid-request`, naming the place.
    pub(crate) fn ids(self) -> Result<Option<BTreeSet<LetterId>>, Problem> {
        self.ids.as_deref().map(letters).transpose()
    }
}

impl PurgeRequest {
    /// The letters it names, and why they are given up.
    ///
    /// # Errors
    /// `invalid-request`, naming the place.
    pub(crate) fn parts(self) -> Result<(BTreeSet<LetterId>, String), Problem> {
        let ids = letters(&self.ids)?;
        let chars = self.reason.chars().count();
        let said = !self.reason.trim().is_empty() && !self.reason.contains(char::is_control);
        if !said || chars > REASON_CHARS_MAX {
            let rule = "must be 1 to 500 characters, not only spaces, without control characters";
            return Err(invalid("/reason", rule));
        }
        Ok((ids, self.reason))
    }
}

fn letters(ids: &[String]) -> Result<BTreeSet<LetterId>, Problem> {
    if ids.is_empty() || ids.len() > IDS_MAX {
        return Err(invalid("/ids", "must be 1 to 100 letters"));
    }
    let read = |(index, id): (usize, &String)| {
        id.parse::<LetterId>()
            .map_err(|error| invalid(&format!("/ids/{index}"), &error.to_string()))
    };
    ids.iter().enumerate().map(read).collect()
}

fn invalid(pointer: &str, rule: &str) -> Problem {
    Problem::new(Code::InvalidRequest, "a member is outside its limits").at(pointer, rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_parameters_are_refused() {
        for query in [
            "limit=0",
            "limit=101",
            "status=DONE",
            "after=1",
            "colour=red",
            "limit=1&limit=2",
        ] {
            let refused = ListRequest::page(Some(query)).unwrap_err();
            assert_eq!(refused.code, Code::InvalidRequest, "{query}");
        }
        let page = ListRequest::page(Some("status=PURGED&after=1-2&limit=7")).unwrap();
        let after = Some(LetterId {
            partition: 1,
            offset: 2,
        });
        let status = Some(Status::Purged);
        assert_eq!(
            page,
            Page {
                status,
                limit: 7,
                after
            }
        );
    }

    #[test]
    fn wrong_bodies_are_refused_with_their_place() {
        let purge = |ids: &[&str], reason: &str| PurgeRequest {
            ids: ids.iter().map(ToString::to_string).collect(),
            reason: reason.to_owned(),
        };
        let many = vec!["0-1"; IDS_MAX + 1];
        for (body, pointer) in [
            (purge(&[], "r"), "/ids"),
            (purge(&many, "r"), "/ids"),
            (purge(&["0-1", "x"], "r"), "/ids/1"),
            (purge(&["0-1"], ""), "/reason"),
            (purge(&["0-1"], "  "), "/reason"),
            (purge(&["0-1"], "a\nb"), "/reason"),
            (purge(&["0-1"], &"가".repeat(501)), "/reason"),
        ] {
            let problem = body.parts().unwrap_err();
            assert_eq!(problem.errors[0].pointer, pointer);
        }
        let (ids, _) = purge(&["0-1", "0-1"], &"가".repeat(500)).parts().unwrap();
        assert_eq!(ids.len(), 1);
    }
}
