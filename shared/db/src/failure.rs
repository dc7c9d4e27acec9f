use sqlx::mysql::MySqlDatabaseError;

const DUPLICATE_KEY: u16 = 1062;
const LOCK_WAIT: u16 = 1205;
const DEADLOCK: u16 = 1213;
const RECORD_CHANGED: u16 = 1020;
const CONNECTION_KILLED: u16 = 1927;
const SHUTDOWN: u16 = 1053;
const STATEMENT_TIMEOUT: u16 = 1969;
const QUERY_INTERRUPTED: u16 = 1317;
/// Classes of MariaDB's errors of the disk and of read-only operation: refused now, fine later.
const OUT_OF_SPACE: [u16; 4] = [1021, 1030, 1114, 1290];

/// What a database error means to whoever ran the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A row with that unique key exists.
    Duplicate,
    /// Another transaction holds the lock (error 1205).
    LockWait,
    /// The transaction was chosen to break a circle of waits, or its snapshot is too old.
    Deadlock,
    /// The connection is gone: whether a commit under way took place is unknown.
    Lost,
    /// The database is there and cannot work now.
    Unavailable,
    /// A guard did not hold, or the statement itself is wrong.
    Defect,
}

impl Failure {
    /// Classifies an error.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(cause) => cause
                .try_downcast_ref::<MySqlDatabaseError>()
                .map_or(Self::Defect, |cause| Self::of_number(cause.number())),
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::WorkerCrashed => Self::Lost,
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Self::Unavailable,
            _ => Self::Defect,
        }
    }

    fn of_number(number: u16) -> Self {
        match number {
            DUPLICATE_KEY => Self::Duplicate,
            LOCK_WAIT => Self::LockWait,
            DEADLOCK | RECORD_CHANGED => Self::Deadlock,
            CONNECTION_KILLED | SHUTDOWN => Self::Lost,
            STATEMENT_TIMEOUT | QUERY_INTERRUPTED => Self::Unavailable,
            number if OUT_OF_SPACE.contains(&number) => Self::Unavailable,
            _ => Self::Defect,
        }
    }

    /// The name in logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::LockWait => "lock-wait",
            Self::Deadlock => "deadlock",
            Self::Lost => "lost",
            Self::Unavailable => "unavailable",
            Self::Defect => "defect",
        }
    }
}
