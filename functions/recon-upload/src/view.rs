use chrono::{DateTime, Utc};
use recon::{Days, FileId, StatementFile};
use serde::Serialize;
use utoipa::ToSchema;

/// A file that was taken. The same bytes have the same answer, whatever they are called later.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadedFile {
    /// Names it.
    #[schema(value_type = String)]
    file_id: FileId,
    /// As it was first uploaded.
    filename: String,
    /// How it is written.
    profile: &'static str,
    /// How many rows it has.
    row_count: u32,
    /// How many of them cannot be read.
    invalid_row_count: u32,
    /// The days that it speaks for, in Asia/Seoul.
    days: Option<Days>,
    /// When it first came.
    uploaded_at: DateTime<Utc>,
}

impl From<&StatementFile> for UploadedFile {
    fn from(file: &StatementFile) -> Self {
        Self {
            file_id: file.id,
            filename: file.filename.clone(),
            profile: file.profile.name,
            row_count: file.row_count,
            invalid_row_count: file.invalid_rows,
            days: file.days,
            uploaded_at: file.uploaded_at,
        }
    }
}
