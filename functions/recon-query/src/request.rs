use guard::query::{limit, parse, wrong};
use problem::{Code, Problem};
use recon::{FileId, ItemId, MatchResult, Standing};
use serde::Deserialize;
use utoipa::IntoParams;

/// Query of `GET /recon/items`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ItemsRequest {
    /// Only of this file.
    file_id: Option<String>,
    /// Only with this result.
    #[param(value_type = Option<MatchResult>)]
    result: Option<String>,
    /// Only what is to be looked at (`OPEN`), what a second operator is to decide (`PENDING`), or what is
    /// done (`CLOSED`).
    #[param(value_type = Option<Standing>)]
    status: Option<String>,
    /// Most items to show, 1–100; 20 when left out.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// The last item of the page before.
    after: Option<String>,
}

impl ItemsRequest {
    /// Reads a raw query.
    ///
    /// # Errors
    /// `invalid-request` for an unknown or repeated parameter.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        parse(query)
    }

    /// The file, if one is named.
    ///
    /// # Errors
    /// `file-not-found` for what is no id.
    pub(crate) fn file_id(&self) -> Result<Option<FileId>, Problem> {
        let id = self.file_id.as_deref().map(str::parse).transpose();
        id.map_err(|_| Problem::new(Code::FileNotFound, "The query names no file."))
    }

    /// The result, if one is named.
    ///
    /// # Errors
    /// `invalid-request`.
    pub(crate) fn result(&self) -> Result<Option<MatchResult>, Problem> {
        let result = self.result.as_deref().map(str::parse).transpose();
        result.map_err(|_| wrong("result", "one of the results"))
    }

    /// What is to be shown, if it is said.
    ///
    /// # Errors
    /// `invalid-request`.
    pub(crate) fn standing(&self) -> Result<Option<Standing>, Problem> {
        let standing = self.status.as_deref().map(str::parse).transpose();
        standing.map_err(|_| wrong("status", "OPEN, PENDING or CLOSED"))
    }

    /// Where the page begins.
    ///
    /// # Errors
    /// `invalid-request`.
    pub(crate) fn after(&self) -> Result<Option<ItemId>, Problem> {
        let after = self.after.as_deref().map(str::parse).transpose();
        after.map_err(|_| wrong("after", "an item id"))
    }

    /// How many to show.
    ///
    /// # Errors
    /// `invalid-request` outside 1–100.
    pub(crate) fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_parameters_are_refused() {
        for query in [
            "limit=0",
            "limit=101",
            "result=matched",
            "status=DONE",
            "after=1",
            "fileId=fil_1",
            "colour=red",
            "limit=1&limit=2",
        ] {
            let refused = ItemsRequest::parse(Some(query)).and_then(|asked| {
                asked.limit()?;
                asked.result()?;
                asked.standing()?;
                asked.after()?;
                asked.file_id()
            });
            assert!(refused.is_err(), "{query}");
        }
    }
}
