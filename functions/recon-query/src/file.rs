use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use recon::{Days, FileId, MatchResult, StatementFile};
use serde::Serialize;
use utoipa::ToSchema;

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = FileStatus)]
enum Status {
    /// Its rows are not all there yet. It goes on when the file is uploaded again.
    Loading,
    /// It is to be matched, for the first time or again.
    Matching,
    /// Every item has a result.
    Matched,
    /// A later file speaks for the same days.
    Superseded,
}

/// A file and what came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FileView {
    /// Names it.
    #[schema(value_type = String)]
    file_id: FileId,
    /// As it was first uploaded.
    filename: String,
    /// How it is written.
    profile: &'static str,
    status: Status,
    /// How many rows it has.
    row_count: u32,
    /// How many of them are in the database.
    loaded_row_count: u32,
    /// The days that it speaks for, in Asia/Seoul; there once it is loaded.
    days: Option<Days>,
    /// How many items have which result.
    #[schema(value_type = BTreeMap<String, u64>)]
    results: BTreeMap<MatchResult, u64>,
    /// When it first came.
    uploaded_at: DateTime<Utc>,
    /// When it was last matched.
    matched_at: Option<DateTime<Utc>>,
}

impl FileView {
    pub(crate) fn new(file: StatementFile, counts: Vec<(MatchResult, u64)>) -> Self {
        let status = match file.days {
            None => Status::Loading,
            Some(_) if file.superseded => Status::Superseded,
            Some(_) if file.asked > file.matched => Status::Matching,
            Some(_) => Status::Matched,
        };
        Self {
            file_id: file.id,
            filename: file.filename,
            profile: file.profile.name,
            status,
            row_count: file.row_count,
            loaded_row_count: file.loaded_rows,
            days: file.days,
            results: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
            uploaded_at: file.uploaded_at,
            matched_at: file.matched_at,
        }
    }
}
