use problem::{Code, Problem};
use recon::TransactionKey;

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    /// There is no such item.
    #[error("There is no such item.")]
    NoItem,
    /// The item does not stand so that this could be decided about it.
    #[error("{0}")]
    NotOpen(&'static str),
    /// The row cannot be this transaction.
    #[error("{0} {1}")]
    NotLinkable(TransactionKey, &'static str),
    /// A write-off of nothing.
    #[error("The difference is worth nothing.")]
    Nothing,
    /// Whoever decided first decides again.
    #[error("What an operator decided is approved or rejected by another one.")]
    SameOperator,
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<ResolveError> for Problem {
    fn from(error: ResolveError) -> Self {
        let code = match &error {
            ResolveError::NoItem => Code::ItemNotFound,
            ResolveError::NotOpen(_) => Code::ItemNotOpen,
            ResolveError::NotLinkable(..) => Code::TransactionNotLinkable,
            ResolveError::Nothing => Code::NothingToWriteOff,
            ResolveError::SameOperator => Code::SecondOperatorRequired,
            ResolveError::Database(cause) => {
                tracing::error!(error = %cause, "nothing was decided");
                return Self::unavailable();
            }
        };
        Self::new(code, error.to_string())
    }
}
