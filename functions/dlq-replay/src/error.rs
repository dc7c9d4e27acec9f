use problem::{Code, Problem};
use rdkafka::error::KafkaError;
use tokio::task::JoinError;

use crate::letter::LetterId;

/// Unknown letters that a problem tells.
const UNKNOWN_TOLD_MAX: usize = 10;

/// Why nothing was answered about dead letters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DlqError {
    /// There is no such topic, or it holds no dead letters.
    #[error("There is no such dead-letter topic.")]
    NoTopic,
    /// Letters that are not on the topic.
    #[error("the topic has no letter {}", told(.0))]
    Unknown(Vec<LetterId>),
    /// Another request decides.
    #[error("Another request is at work; retrying with the same key is safe.")]
    Busy,
    /// Kafka does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A letter could not be read.
    #[error("reading stopped: {0}")]
    Stopped(#[from] JoinError),
    /// The database refused.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

fn told(ids: &[LetterId]) -> String {
    let told = ids.iter().take(UNKNOWN_TOLD_MAX).map(ToString::to_string);
    told.collect::<Vec<_>>().join(", ")
}

impl From<DlqError> for Problem {
    fn from(error: DlqError) -> Self {
        match error {
            DlqError::NoTopic => Self::new(Code::TopicNotFound, error.to_string()),
            DlqError::Unknown(_) => {
                let problem = Self::new(Code::InvalidRequest, error.to_string());
                problem.at("/ids", "must be letters of the topic")
            }
            DlqError::Busy => Self::new(Code::Unavailable, error.to_string()),
            DlqError::Kafka(_) | DlqError::Stopped(_) | DlqError::Database(_) => {
                tracing::error!(error = %error, "dead letters cannot be handled");
                Self::unavailable()
            }
        }
    }
}
