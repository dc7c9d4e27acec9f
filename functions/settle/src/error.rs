use invoke::InvokeError;
use money::MoneyError;
use problem::{Code, Problem};
use settlement::{NoContract, UnknownYear, control::Difference};

/// Differences that a problem tells; the rest is counted.
const DIFFERENCES_TOLD_MAX: usize = 3;

/// Why a period was not closed.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// Its last day has not begun.
    #[error("{0} has not begun")]
    NotBegun(chrono::NaiveDate),
    /// Events are still on the way.
    #[error("{}", told(.0))]
    Differs(Vec<Difference>),
    /// Its payout is in a year whose holidays are not known.
    #[error(transparent)]
    Calendar(#[from] UnknownYear),
    /// Nothing says what its captures cost.
    #[error(transparent)]
    Contract(#[from] NoContract),
    /// Another request settles.
    #[error("another settlement is running")]
    Busy,
    /// A sum is out of range.
    #[error(transparent)]
    Amount(#[from] MoneyError),
    /// The payment service's totals were not told.
    #[error(transparent)]
    Totals(#[from] InvokeError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

fn told(differences: &[Difference]) -> String {
    let mut told: Vec<String> = differences
        .iter()
        .take(DIFFERENCES_TOLD_MAX)
        .map(ToString::to_string)
        .collect();
    if differences.len() > DIFFERENCES_TOLD_MAX {
        told.push(format!(
            "and {} more",
            differences.len() - DIFFERENCES_TOLD_MAX
        ));
    }
    format!("events are still on the way: {}", told.join("; "))
}

impl From<SettleError> for Problem {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::NotBegun(_)
            | SettleError::Differs(_)
            | SettleError::Calendar(_)
            | SettleError::Contract(_)
            | SettleError::Busy => Problem::new(Code::PeriodNotClosable, error.to_string()),
            SettleError::Amount(_) | SettleError::Totals(_) | SettleError::Database(_) => {
                tracing::error!(error = %error, "the settlement stopped");
                Problem::unavailable()
            }
        }
    }
}
