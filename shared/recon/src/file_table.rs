//! SQL of `recon_file`.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, FromRow, MySqlConnection};
use uuid::Uuid;

use crate::{Days, FileId, Profile, StatementFile};

const SELECT: &str = "SELECT file_no, file_id, profile, filename, row_count, invalid_rows, \
     loaded_rows, first_day, last_day, asked, matched, superseded_by IS NOT NULL AS superseded, \
     uploaded_at, matched_at FROM recon_file";

#[derive(FromRow)]
struct Columns {
    file_no: u32,
    file_id: Uuid,
    profile: String,
    filename: String,
    row_count: u32,
    invalid_rows: u32,
    loaded_rows: u32,
    first_day: Option<NaiveDate>,
    last_day: Option<NaiveDate>,
    asked: u32,
    matched: u32,
    superseded: bool,
    uploaded_at: DateTime<Utc>,
    matched_at: Option<DateTime<Utc>>,
}

impl Columns {
    fn read(self) -> sqlx::Result<StatementFile> {
        let unknown =
            || sqlx::Error::Decode(format!("no profile is named {}", self.profile).into());
        Ok(StatementFile {
            no: self.file_no,
            id: self.file_id.into(),
            profile: Profile::named(&self.profile).ok_or_else(unknown)?,
            filename: self.filename,
            row_count: self.row_count,
            invalid_rows: self.invalid_rows,
            loaded_rows: self.loaded_rows,
            days: self
                .first_day
                .zip(self.last_day)
                .map(|(from, to)| Days { from, to }),
            asked: self.asked,
            matched: self.matched,
            superseded: self.superseded,
            uploaded_at: self.uploaded_at,
            matched_at: self.matched_at,
        })
    }
}

/// A file that comes for the first time.
#[derive(Clone, Debug)]
pub struct NewFile<'a> {
    /// Of its bytes as they came.
    pub sha256: [u8; 32],
    /// How it is written.
    pub profile: &'static Profile,
    /// As it is called.
    pub filename: &'a str,
    /// How many rows it has.
    pub row_count: u32,
    /// The key that signed the request.
    pub uploaded_by: &'a str,
    /// When it came.
    pub now: DateTime<Utc>,
}

/// Notes a file of which nothing is loaded yet.
///
/// # Errors
/// Those of the database; one that is there already is a duplicate key.
pub async fn insert(db: &mut MySqlConnection, file: &NewFile<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO recon_file
             (file_id, sha256, profile, filename, row_count, uploaded_by, uploaded_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(FileId::generate().uuid())
    .bind(file.sha256.as_slice())
    .bind(file.profile.name)
    .bind(file.filename)
    .bind(file.row_count)
    .bind(file.uploaded_by)
    .bind(file.now)
    .execute(db)
    .await?;
    Ok(())
}

/// The file with these bytes.
///
/// # Errors
/// Those of the database.
pub async fn of_content(
    db: &mut MySqlConnection,
    sha256: [u8; 32],
) -> sqlx::Result<Option<StatementFile>> {
    let query = format!("{SELECT} WHERE sha256 = ?");
    let query = sqlx::query_as::<_, Columns>(AssertSqlSafe(query)).bind(sha256.as_slice());
    query
        .fetch_optional(db)
        .await?
        .map(Columns::read)
        .transpose()
}

/// The file of an id.
///
/// # Errors
/// Those of the database.
pub async fn find(db: &mut MySqlConnection, id: FileId) -> sqlx::Result<Option<StatementFile>> {
    let query = format!("{SELECT} WHERE file_id = ?");
    let query = sqlx::query_as::<_, Columns>(AssertSqlSafe(query)).bind(id.uuid());
    query
        .fetch_optional(db)
        .await?
        .map(Columns::read)
        .transpose()
}

/// A loaded file that is worth to be matched.
///
/// # Errors
/// Those of the database.
pub async fn due(db: &mut MySqlConnection) -> sqlx::Result<Option<StatementFile>> {
    let query = format!(
        "{SELECT} WHERE asked > matched AND first_day IS NOT NULL AND superseded_by IS NULL ORDER BY file_no LIMIT 1"
    );
    let query = sqlx::query_as::<_, Columns>(AssertSqlSafe(query));
    query
        .fetch_optional(db)
        .await?
        .map(Columns::read)
        .transpose()
}

/// More of its rows are in the database.
///
/// # Errors
/// Those of the database.
pub async fn add_loaded(
    tx: &mut MySqlConnection,
    file_no: u32,
    rows: usize,
    invalid: usize,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_file SET loaded_rows = loaded_rows + ?, invalid_rows = invalid_rows + ?
          WHERE file_no = ?",
    )
    .bind(u32::try_from(rows).unwrap_or(u32::MAX))
    .bind(u32::try_from(invalid).unwrap_or(u32::MAX))
    .bind(file_no)
    .execute(tx)
    .await?;
    Ok(())
}

/// The file is whole and speaks for these days; it is to be matched.
///
/// # Errors
/// Those of the database.
pub async fn finish_load(tx: &mut MySqlConnection, file_no: u32, days: Days) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_file SET first_day = ?, last_day = ?, asked = asked + 1 WHERE file_no = ?",
    )
    .bind(days.from)
    .bind(days.to)
    .bind(file_no)
    .execute(tx)
    .await?;
    Ok(())
}

/// A match that began when `asked` was so much has been finished.
///
/// # Errors
/// Those of the database.
pub async fn finish_match(
    db: &mut MySqlConnection,
    file: &StatementFile,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE recon_file SET matched = ?, matched_at = ? WHERE file_no = ?")
        .bind(file.asked)
        .bind(now)
        .bind(file.no)
        .execute(db)
        .await?;
    Ok(())
}

/// An earlier file that speaks for the same days, unless it is superseded already.
///
/// # Errors
/// Those of the database.
pub async fn superseded(
    db: &mut MySqlConnection,
    file: &StatementFile,
) -> sqlx::Result<Option<StatementFile>> {
    let Some(days) = file.days else {
        return Ok(None);
    };
    let query = format!(
        "{SELECT} WHERE first_day = ? AND last_day = ? AND file_no < ? \
             AND superseded_by IS NULL ORDER BY file_no LIMIT 1"
    );
    let query = sqlx::query_as::<_, Columns>(AssertSqlSafe(query))
        .bind(days.from)
        .bind(days.to)
        .bind(file.no);
    query
        .fetch_optional(db)
        .await?
        .map(Columns::read)
        .transpose()
}

/// A later file has taken the place of another one, none of whose rows is a transaction any more,
/// unless somebody decided about one of its items meanwhile.
///
/// # Errors
/// Those of the database.
pub async fn supersede(
    tx: &mut MySqlConnection,
    old: &StatementFile,
    new: &StatementFile,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_transaction SET missing_in = NULL WHERE missing_in = ? AND standing IS NULL",
    )
    .bind(old.no)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "UPDATE recon_file f SET f.superseded_by = ? WHERE f.file_no = ?
            AND NOT EXISTS (SELECT 1 FROM recon_transaction t WHERE t.missing_in = f.file_no)
            AND NOT EXISTS (SELECT 1 FROM recon_row r
                             WHERE r.standing IN ('PENDING', 'CLOSED') AND r.file_no = f.file_no)",
    )
    .bind(new.no)
    .bind(old.no)
    .execute(tx)
    .await?;
    Ok(())
}

/// Numbers the next event of a file, and holds the file until the transaction ends.
///
/// # Errors
/// Those of the database.
pub async fn next_seq(tx: &mut MySqlConnection, file_no: u32) -> sqlx::Result<u32> {
    sqlx::query("UPDATE recon_file SET told = told + 1 WHERE file_no = ?")
        .bind(file_no)
        .execute(&mut *tx)
        .await?;
    sqlx::query_scalar("SELECT told FROM recon_file WHERE file_no = ?")
        .bind(file_no)
        .fetch_one(tx)
        .await
}

/// Asks for another match of a file.
///
/// # Errors
/// Those of the database.
pub async fn ask(tx: &mut MySqlConnection, file_no: u32) -> sqlx::Result<()> {
    sqlx::query("UPDATE recon_file SET asked = asked + 1 WHERE file_no = ?")
        .bind(file_no)
        .execute(tx)
        .await?;
    Ok(())
}

/// Asks for another match of the files that late transactions of these days, the `earliest` of them
/// from then, may concern: of those that came since, the ones that speak for one of the days, and the
/// ones with a row that is none of our transactions.
///
/// # Errors
/// Those of the database.
pub async fn ask_again(
    tx: &mut MySqlConnection,
    days: Days,
    earliest: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE recon_file f SET f.asked = f.asked + 1
          WHERE f.last_day IS NOT NULL AND f.superseded_by IS NULL AND f.uploaded_at > ?
            AND (f.first_day <= ? AND f.last_day >= ?
                 OR EXISTS (SELECT 1 FROM recon_row r
                             WHERE r.file_no = f.file_no AND r.result = 'MISSING_INTERNAL'))",
    )
    .bind(earliest)
    .bind(days.to)
    .bind(days.from)
    .execute(tx)
    .await?;
    Ok(())
}
