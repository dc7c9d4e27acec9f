//! From a topic to a function that does nothing.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{anyhow, ensure};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde::Serialize;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{runtime::Runtime, server::program};
use crate::{
    connection::fresh_id,
    processes::{CpuOfEach, Processes},
    target::variable,
};

const PARTITIONS: i32 = 8;
const RECORD_BYTES: usize = 1_000;
/// Records of a batch; what an event may have of these is less.
const BATCH: u32 = 10_000;
/// How long Kafka may take to do what it is asked, and to take all records.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const WRITTEN_WITHIN: Duration = Duration::from_mins(5);
/// How long the source may take for the first record, and for the last.
const READ_WITHIN: Duration = Duration::from_mins(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Serialize)]
pub(super) struct Kafka {
    records: u64,
    record_bytes: usize,
    partitions: i32,
    /// From the first look that saw records done until all are, without those of that look.
    seconds: f64,
    records_per_second: f64,
    cpu_ms_per_record: CpuOfEach,
}

pub(super) async fn measure(records: u64) -> anyhow::Result<Kafka> {
    let topic = format!("bench-{}", fresh_id());
    let admin: AdminClient<DefaultClientContext> = config()?.create()?;
    let new = NewTopic::new(&topic, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(ANSWERS_WITHIN));
    for made in admin.create_topics([&new], &options).await? {
        made.map_err(|(topic, error)| anyhow!("{topic}: {error}"))?;
    }
    let measured = through(&topic, records).await;
    admin.delete_topics(&[&topic], &options).await?;
    measured
}

/// Writes the records, then has them read.
async fn through(topic: &str, records: u64) -> anyhow::Result<Kafka> {
    let (producer, to) = (config()?, topic.to_owned());
    spawn_blocking(move || write(&producer, &to, records)).await??;
    let runtime = Runtime::start(&manifest(topic)?).await?;
    let first = timeout(READ_WITHIN, done_from(&runtime, 1)).await??;
    let (began, processes) = (
        Instant::now(),
        Processes::of_parent("runtime", runtime.server.pid()?, "function")?,
    );
    let before = processes.cpu();
    ensure!(first < records, "{records} records are too few to measure");
    let last = timeout(READ_WITHIN, done_from(&runtime, records)).await??;
    let took = began.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    let records_per_second = (last - first) as f64 / took.as_secs_f64();
    Ok(Kafka {
        records,
        record_bytes: RECORD_BYTES,
        partitions: PARTITIONS,
        seconds: took.as_secs_f64(),
        records_per_second,
        cpu_ms_per_record: processes.cpu().of_each(&before, last - first),
    })
}

fn config() -> anyhow::Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", variable("KAFKA_BROKERS")?);
    Ok(config)
}

fn write(config: &ClientConfig, topic: &str, records: u64) -> anyhow::Result<()> {
    let producer: BaseProducer = config.create()?;
    let began = Instant::now();
    let value: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(RECORD_BYTES)
        .collect();
    for number in 0..records {
        let partition = i32::try_from(number % u64::try_from(PARTITIONS)?)?;
        let mut record = BaseRecord::<(), str>::to(topic)
            .partition(partition)
            .payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            ensure!(error == full, error);
            ensure!(
                began.elapsed() < WRITTEN_WITHIN,
                "Kafka does not take the records"
            );
            producer.poll(LOOK_EVERY);
            record = refused;
        }
    }
    Ok(producer.flush(WRITTEN_WITHIN)?)
}

fn manifest(topic: &str) -> anyhow::Result<String> {
    let program = program("noop-function")?;
    let brokers = variable("KAFKA_BROKERS")?;
    Ok(format!(
        "[kafka]\nbootstrap_servers = {brokers:?}\n[functions.noop]\ncommand = [{program:?}]\nconcurrency = {PARTITIONS}\n[[functions.noop.kafka]]\ntopics = [{topic:?}]\ngroup = {topic:?}\nbatch_size = {BATCH}\n"
    ))
}

/// How many records are done, once it is at least `count`.
async fn done_from(runtime: &Runtime, count: u64) -> anyhow::Result<u64> {
    let url = format!("http://{}/metrics", runtime.admin);
    loop {
        let text = reqwest::get(&url).await?.text().await?;
        let done = done(&text).unwrap_or_default();
        if done >= count {
            return Ok(done);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn done(metrics: &str) -> Option<u64> {
    let mut lines = metrics.lines();
    let line = lines.find(|line| {
        line.starts_with("lambda_source_records_total{") && line.contains("result=\"ok\"")
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

impl fmt::Display for Kafka {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            record_bytes,
            seconds,
            records_per_second,
            cpu_ms_per_record,
            ..
        } = self;
        writeln!(
            formatter,
            "kafka      {records_per_second:.0} records/s, {records} of {record_bytes} bytes in {seconds:.2} s"
        )?;
        writeln!(formatter, "CPU        {cpu_ms_per_record} per record")
    }
}
