//! The producer of Kafka through which nothing is lost: what it says is written, all replicas have.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rdkafka::ClientConfig;
use rdkafka::message::ToBytes;
use rdkafka::producer::future_producer::{Delivery, OwnedDeliveryResult};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _};

use crate::function::locked;

/// How long a message may take to be acknowledged.
pub(crate) const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// Largest message in bytes; the broker's own bound is what matters.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes messages to one cluster.
pub(crate) struct Producer {
    config: ClientConfig,
    producer: Mutex<FutureProducer>,
}

impl Producer {
    /// A producer for the cluster at `bootstrap_servers`, which knows it as `client`.
    ///
    /// # Errors
    /// If there can be none.
    pub(crate) fn new(bootstrap_servers: &str, client: &str) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap_servers)
            .set("client.id", client)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set(
                "message.timeout.ms",
                ACKNOWLEDGED_WITHIN.as_millis().to_string(),
            )
            .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
            // The topic's bound holds for the messages sent together, and all of them are refused.
            .set("batch.num.messages", "1")
            .set("reconnect.backoff.max.ms", "1000")
            .set("topic.metadata.propagation.max.ms", "5000")
            // The same partition that Java's clients choose for a key.
            .set("partitioner", "murmur2_random");
        let producer = config.create().context("no producer")?;
        Ok(Self {
            config,
            producer: Mutex::new(producer),
        })
    }

    /// Sends a message, which is to be [`acknowledged`].
    ///
    /// # Errors
    /// If it cannot even be queued.
    pub(crate) fn send<K: ToBytes + ?Sized, V: ToBytes + ?Sized>(
        &self,
        message: FutureRecord<'_, K, V>,
    ) -> anyhow::Result<DeliveryFuture> {
        let sent = locked(&self.producer).send_result(message);
        sent.map_err(|(error, _)| error.into())
    }

    /// To be called when a message was not acknowledged: a producer that met a fatal error never
    /// recovers.
    pub(crate) fn replace_if_broken(&self) {
        let mut producer = locked(&self.producer);
        let Some((code, reason)) = producer.client().fatal_error() else {
            return;
        };
        tracing::error!(%code, reason, "replacing the producer");
        match self.config.create() {
            Ok(new) => *producer = new,
            Err(error) => tracing::error!("no producer: {error}"),
        }
    }
}

/// Waits until a message sent has all its replicas; where it is.
///
/// # Errors
/// If it is not so within [`ACKNOWLEDGED_WITHIN`]; it may be written nonetheless.
pub(crate) async fn acknowledged(sent: anyhow::Result<DeliveryFuture>) -> anyhow::Result<Delivery> {
    let report: OwnedDeliveryResult = sent?.await.map_err(|_| anyhow!("the producer is gone"))?;
    report.map_err(|(error, _)| error.into())
}
