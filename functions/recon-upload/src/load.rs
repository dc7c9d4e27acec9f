use chrono::Utc;
use outbox::{Event, Request, event_table};
use problem::Problem;
use recon::{
    Days, EVENT_SOURCE, StatementFile,
    csv::{Csv, CsvError},
    file_table,
    row_table::{self, NumberedRow},
};
use serde_json::json;
use source::day_of;
use sqlx::{Connection, MySqlConnection};
use uuid::Uuid;

/// Rows written in one transaction; below what a prepared statement's 65,535 parameters allow.
const CHUNK_ROWS: usize = 4_000;
const EVENT_TYPE: &str = "recon.file-uploaded";

/// Why a file was not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Another file is being loaded.
    #[error("another file is being loaded")]
    Busy,
    /// It was read once, and cannot be read again.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A file on its way into the database.
pub(crate) struct Loading<'a> {
    pub(crate) csv: &'a Csv,
    /// W3C trace context.
    pub(crate) traceparent: String,
    pub(crate) request: Request,
}

impl Loading<'_> {
    /// Writes the rows that are not there yet, chunk by chunk, and then tells that the file is whole.
    pub(crate) async fn load(
        self,
        db: &mut MySqlConnection,
        file: &StatementFile,
    ) -> Result<(), LoadError> {
        let mut rows = self.csv.rows()?.skip(file.loaded_rows as usize);
        loop {
            let chunk: Vec<NumberedRow> =
                rows.by_ref().take(CHUNK_ROWS).collect::<Result<_, _>>()?;
            if chunk.is_empty() {
                break;
            }
            let invalid = chunk.iter().filter(|(_, row)| row.is_err()).count();
            let mut tx = db.begin().await?;
            row_table::insert(&mut tx, file.no, &chunk).await?;
            file_table::add_loaded(&mut tx, file.no, chunk.len(), invalid).await?;
            tx.commit().await?;
        }
        self.finish(db, file).await
    }

    async fn finish(self, db: &mut MySqlConnection, file: &StatementFile) -> Result<(), LoadError> {
        let today = day_of(Utc::now());
        let commonest = row_table::commonest_day(db, file.no).await?;
        let days = Days::named(&file.filename).or(commonest).unwrap_or(Days {
            from: today,
            to: today,
        });
        let mut tx = db.begin().await?;
        file_table::finish_load(&mut tx, file.no, days).await?;
        let seq = file_table::next_seq(&mut tx, file.no).await?;
        let event = Event {
            event_id: Uuid::now_v7(),
            aggregate_type: "file",
            aggregate_id: file.id.to_string(),
            seq,
            event_type: EVENT_TYPE,
            source: EVENT_SOURCE,
            data: json!({
                "fileId": file.id, "filename": file.filename, "profile": file.profile.name,
                "rowCount": file.row_count, "days": days, "seq": seq,
            }),
            traceparent: self.traceparent,
            request: Some(self.request),
            time: Utc::now(),
        };
        event_table::append(&mut tx, &[event]).await?;
        tx.commit().await?;
        metrics::counter!("recon_files_total", "profile" => file.profile.name).increment(1);
        metrics::counter!("recon_rows_total").increment(file.row_count.into());
        Ok(())
    }
}

impl From<LoadError> for Problem {
    fn from(error: LoadError) -> Self {
        tracing::error!(error = %error, "the file was not loaded");
        Self::unavailable()
    }
}
