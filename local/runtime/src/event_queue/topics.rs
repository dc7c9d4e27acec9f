//! Writes the records of events to topics.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rdkafka::producer::FutureRecord;
use tokio::time::sleep;

use super::attempt::{Again, DISK_AGAIN};
use super::store::{Change, Event};
use super::writer::Unkept;
use super::{Entry, EventQueue};
use crate::function::locked;
use crate::producer::{Producer, acknowledged};

/// Most records of a topic that are on their way to it, and most bytes of them; one is in any case.
const AT_ONCE_MAX: usize = 64;
const BYTES_AT_ONCE_MAX: usize = 16 * 1024 * 1024;
/// Longest pause before a record that was not written is tried again.
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// The name under which the cluster knows this.
const CLIENT: &str = "local-lambda";

/// Whether a record of so many bytes may be on its way to a topic beside `running` others of `bytes`.
pub(super) fn has_room(record: usize, running: usize, bytes: usize) -> bool {
    running == 0 || (running < AT_ONCE_MAX && bytes + record <= BYTES_AT_ONCE_MAX)
}

impl EventQueue {
    /// Writes a record to its topic; it is over when all replicas have it.
    pub(super) async fn deliver(&self, topic: &str, mut entry: Entry) -> Again {
        let Ok(payload) = self.payload(&mut entry).await else {
            return Some((SystemTime::now() + DISK_AGAIN, entry));
        };
        let Event { id, origin, .. } = &entry.event;
        if let Err(error) = self.write(topic, &id.to_string(), &payload).await {
            let function = origin.as_deref().unwrap_or_default();
            tracing::warn!(function, topic, %id, "the record is not written yet: {error:#}");
            if let Some(deployment) = self.fleet.get(function) {
                let metrics = &deployment.current().metrics;
                metrics.destination_failures.increment(1);
            }
            let pause = entry.event.progress.put_off(AGAIN_MAX);
            return Some((SystemTime::now() + pause, entry));
        }
        // Ends with the runtime at the latest; then the record is written again.
        while let Err(Unkept) = self
            .writer()
            .await
            .commit(vec![Change::Remove(entry.key)])
            .await
        {
            sleep(DISK_AGAIN).await;
        }
        None
    }

    async fn write(&self, topic: &str, key: &str, record: &[u8]) -> anyhow::Result<()> {
        let producer = self.producer()?;
        let message = FutureRecord::to(topic).key(key).payload(record);
        let written = acknowledged(producer.send(message)).await;
        if written.is_err() {
            producer.replace_if_broken();
        }
        written.map(drop)
    }

    /// The producer for the cluster that the manifest has now.
    fn producer(&self) -> anyhow::Result<Arc<Producer>> {
        let servers = self.fleet.bootstrap_servers();
        let servers = servers.context("the manifest has no table [kafka]")?;
        let mut kept = locked(&self.producer);
        if let Some((of, producer)) = &*kept
            && *of == servers
        {
            return Ok(Arc::clone(producer));
        }
        let producer = Arc::new(Producer::new(&servers, CLIENT)?);
        *kept = Some((servers, Arc::clone(&producer)));
        Ok(producer)
    }
}
