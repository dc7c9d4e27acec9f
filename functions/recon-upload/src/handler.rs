use chrono::Utc;
use guard::{Answer, Call};
use keyed::{Begun, Keyed};
use lambda_http::http::HeaderMap;
use problem::{Code, Problem};
use recon::{
    StatementFile,
    csv::{Csv, CsvError},
    file_table::{self, NewFile},
};
use sha2::{Digest, Sha256};
use sqlx::mysql::MySqlConnectOptions;
use tokio::task::spawn_blocking;

use crate::{
    UploadedFile,
    load::{LoadError, Loading},
};

const FUNCTION: &str = "recon-upload";
/// What a file may say it is.
pub const MEDIA_TYPES: [&str; 3] = ["text/csv", "application/gzip", "application/x-gzip"];
/// Most bytes of a file as it is sent, which an event of 6 MiB holds in base64.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most characters of a file's name.
const FILENAME_CHARS_MAX: usize = 255;

/// Takes an acquirer's file, as text/csv or gzip of it, in UTF-8 or CP949, named by the header
/// `X-Filename`. A row that cannot be read is kept as such and does not stop the others. The days that
/// the file speaks for are those in its name, or else the one that most of its rows have.
///
/// # Errors
/// The problems of the route.
#[utoipa::path(
    post, path = "/payments/upload", tag = "reconciliation",
    params(("X-Filename" = String, Header, description = "What the file is called; percent-encoded beyond ASCII")),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 202, description = "The file is taken and will be matched", body = UploadedFile))
)]
pub async fn upload(database: MySqlConnectOptions, call: Call) -> Result<Answer, Problem> {
    let filename = filename(&call.headers)?;
    let mut keyed = match Keyed::begin(&database, FUNCTION, &call).await? {
        Begun::Now(keyed) => keyed,
        Begun::Before(answer) => return Ok(answer),
    };
    let body = call.body.clone();
    let read = spawn_blocking(move || Ok((Sha256::digest(&body).into(), Csv::of(body)?)));
    let (sha256, csv) = read
        .await
        .map_err(unavailable)?
        .map_err(|error: CsvError| Problem::new(Code::CsvInvalid, error.to_string()))?;
    let new = NewFile {
        sha256,
        profile: csv.profile,
        filename: &filename,
        row_count: csv.rows,
        uploaded_by: &call.caller.key_id,
        now: Utc::now(),
    };
    let file = take(&mut keyed, &new, &csv, &call).await?;
    keyed.finish(202, &UploadedFile::from(&file)).await
}

/// The file with these bytes, once all of it is in the database.
async fn take(
    keyed: &mut Keyed,
    new: &NewFile<'_>,
    csv: &Csv,
    call: &Call,
) -> Result<StatementFile, LoadError> {
    if !keyed.session.take_turn().await? {
        return Err(LoadError::Busy);
    }
    let loading = Loading {
        csv,
        traceparent: call.trace.traceparent(),
        request: keyed.request(call),
    };
    let db = keyed.session.db();
    if file_table::of_content(db, new.sha256).await?.is_none() {
        file_table::insert(db, new).await?;
    }
    let file = file_table::of_content(db, new.sha256).await?;
    let file = file.ok_or(sqlx::Error::RowNotFound)?;
    if file.days.is_some() {
        return Ok(file);
    }
    loading.load(db, &file).await?;
    let loaded = file_table::find(db, file.id).await?;
    Ok(loaded.ok_or(sqlx::Error::RowNotFound)?)
}

fn filename(headers: &HeaderMap) -> Result<String, Problem> {
    let wrong = |detail: &str| Problem::new(Code::InvalidRequest, detail);
    let mut values = headers.get_all("x-filename").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(wrong("This route needs one header X-Filename."));
    };
    let text = value.to_str().ok();
    let name = text
        .and_then(|text| {
            percent_encoding::percent_decode_str(text)
                .decode_utf8()
                .ok()
        })
        .filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
        .filter(|name| name.chars().count() <= FILENAME_CHARS_MAX);
    let name = name.ok_or_else(|| {
        wrong("X-Filename must be 1 to 255 characters, percent-encoded beyond ASCII.")
    })?;
    Ok(name.into_owned())
}

fn unavailable(error: impl std::fmt::Display) -> Problem {
    tracing::error!(error = %error, "the file was not taken");
    Problem::unavailable()
}
