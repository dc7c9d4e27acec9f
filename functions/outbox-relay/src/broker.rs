use std::{env, fmt::Display, time::Duration};

use anyhow::Context;
use outbox::{Delivery, Pending};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
};
use serde::Deserialize;

/// How long librdkafka tries to deliver an event, in milliseconds; the event stays pending after.
const MESSAGE_TIMEOUT_MS: u32 = 8_000;
/// How long a topic may be unknown to the broker, in milliseconds, until its events are refused.
const TOPIC_UNKNOWN_MS: u32 = 1_000;
/// The longest pause between two tries to connect, in milliseconds.
const RECONNECT_MAX_MS: u32 = 1_000;
/// How long events wait to share a request, in milliseconds.
const LINGER_MS: u32 = 2;
/// How long an event waits for room in librdkafka's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(1);

/// The Kafka producer. It gives no delivery guarantee by itself: an event stays pending until its
/// delivery report is here.
pub(crate) struct Broker {
    config: ClientConfig,
    producer: FutureProducer,
}

#[derive(Deserialize)]
struct Headers {
    traceparent: String,
}

impl Broker {
    /// Connects in the background to the brokers of `KAFKA_BROKERS`.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        let brokers = env::var("KAFKA_BROKERS").context("KAFKA_BROKERS must list host:port")?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("client.id", "outbox-relay")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("max.in.flight.requests.per.connection", "5")
            .set("linger.ms", LINGER_MS.to_string())
            .set("compression.type", "lz4")
            .set("message.timeout.ms", MESSAGE_TIMEOUT_MS.to_string())
            .set(
                "topic.metadata.propagation.max.ms",
                TOPIC_UNKNOWN_MS.to_string(),
            )
            .set("reconnect.backoff.max.ms", RECONNECT_MAX_MS.to_string())
            // The same partition that Java's clients choose for a key.
            .set("partitioner", "murmur2_random");
        let producer = config.create().context("KAFKA_BROKERS")?;
        Ok(Self { config, producer })
    }

    /// Sends one event and waits for its delivery report; `None` when it was not acknowledged.
    pub(crate) async fn send(&self, event: &Pending) -> Option<Delivery> {
        self.delivery(event)
            .await
            .inspect_err(|error| not_sent(error, event))
            .ok()
    }

    async fn delivery(&self, event: &Pending) -> anyhow::Result<Delivery> {
        let event_id = event.event_id.to_string();
        let Headers { traceparent } =
            serde_json::from_str(&event.headers).context("its headers cannot be read")?;
        let headers = OwnedHeaders::new_with_capacity(2)
            .insert(Header {
                key: "ce_id",
                value: Some(&event_id),
            })
            .insert(Header {
                key: "traceparent",
                value: Some(&traceparent),
            });
        let record = FutureRecord::to(&event.event_type)
            .key(&event.aggregate_id)
            .payload(&event.payload)
            .headers(headers);
        let sent = self.producer.send(record, QUEUE_TIMEOUT).await;
        let report = sent.map_err(|(error, _)| error)?;
        Ok(Delivery {
            shard: event.shard,
            id: event.id,
            partition: report.partition,
            offset: report.offset,
        })
    }

    /// A producer that met a fatal error never recovers: replaces it. What it had not delivered is
    /// still pending and is read again.
    pub(crate) fn replace_if_broken(&mut self) -> anyhow::Result<()> {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            metrics::counter!("outbox_producer_fatal_errors_total").increment(1);
            tracing::error!(kafka.error = %code, kafka.reason = reason, "replacing the producer");
            self.producer = self.config.create().context("KAFKA_BROKERS")?;
        }
        Ok(())
    }
}

fn not_sent(error: &impl Display, event: &Pending) {
    metrics::counter!("outbox_send_failures_total").increment(1);
    tracing::warn!(
        error = format!("{error:#}"),
        event.id = %event.event_id,
        event.r#type = event.event_type,
        "event not acknowledged, it stays pending"
    );
}
