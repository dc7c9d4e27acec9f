//! The Kafka event source: calls a function with the records of topics, in order, at least once.
//!
//! A source is one member of its consumer group, on a thread of its own. Of each partition it reads
//! one [`collect`]s a batch and works it off ([`worker`]) as [`progress`] decides, while the others
//! go on. What is finished is committed ([`member`]); what is given up is a dead letter ([`letters`])
//! before that.

mod answer;
mod collect;
mod commit;
mod consumer;
mod event;
mod headers;
mod lag;
mod letters;
mod member;
mod parked;
mod prepare;
mod progress;
mod settled;
mod start;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(crate) use self::letters::DeadLetters;
use self::member::{Member, Outcome};
use super::call;
use super::status::{State, Status};
use crate::deployment::Deployment;
use crate::manifest::KafkaSource;
use crate::metrics::{Registry, SourceMetrics};

/// Pause before a source tries again to reach its cluster.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long calls of librdkafka may still go on when a source has ended.
const CALLS_END_WITHIN: Duration = Duration::from_secs(1);

/// One `[[functions.NAME.kafka]]` that runs.
pub(super) struct Source {
    pub(super) deployment: Arc<Deployment>,
    pub(super) config: KafkaSource,
    pub(super) status: Arc<Status>,
    /// What is counted.
    pub(super) metrics: Arc<SourceMetrics>,
    pub(super) registry: Arc<Registry>,
    pub(super) stop: CancellationToken,
}

/// Runs a source until its `stop`; then no batch is in flight any more, and the group is left.
pub(super) async fn run(source: Source) {
    let function = source.deployment.name.clone();
    let status = Arc::clone(&source.status);
    let (ended, end) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name(format!("kafka-{function}"));
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(source.run());
                runtime.shutdown_timeout(CALLS_END_WITHIN);
            }
            Err(error) => tracing::error!("no thread for a Kafka source: {error}"),
        }
        drop(ended);
    });
    if let Err(error) = spawned {
        let reason = format!("no thread for the Kafka source: {error}");
        tracing::error!(function, "{reason}");
        status.fail(State::Unreachable, reason);
        return;
    }
    let _ended = end.await;
}

impl Source {
    /// The name under which the cluster knows it.
    fn client(&self) -> String {
        format!("local-lambda.{}", self.deployment.name)
    }

    async fn run(self) {
        let source = Arc::new(self);
        let stop = source.stop.clone();
        while !stop.is_cancelled() {
            source.status.set(State::Starting);
            let member = stop.run_until_cancelled(Member::join(&source)).await;
            let ended = match member {
                None => return,
                Some(Ok(member)) => member.run().await,
                Some(Err(error)) => Outcome::Broken(error),
            };
            if let Outcome::Broken(error) = ended {
                let function = &source.deployment.name;
                tracing::error!(function, "the Kafka source tries again: {error:#}");
                source.status.fail(State::Unreachable, format!("{error:#}"));
                let _stopped = stop.run_until_cancelled(sleep(AGAIN_AFTER)).await;
            }
        }
    }
}
