//! What the runtime counts, in Prometheus' text format.
//!
//! The handles of a function are made once, so that a call looks nothing up.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusRecorder};

use crate::answer::End;
use crate::call::{Failure, Finished};
use crate::cluster::ClusterView;
use crate::manifest::Destination;

/// Upper bounds of the duration histograms, in seconds.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];

/// Where all metrics come together.
pub(crate) struct Registry {
    recorder: PrometheusRecorder,
}

impl Registry {
    /// An empty registry.
    ///
    /// # Errors
    /// If the histogram's bounds are refused.
    pub(crate) fn new() -> Result<Self, BuildError> {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(seconds, SECONDS)?
            .build_recorder();
        Ok(Self { recorder })
    }

    /// The text that Prometheus scrapes.
    pub(crate) fn render(&self) -> String {
        self.recorder.handle().render()
    }

    /// Sorts what the histograms have collected; without it they grow until the next scrape.
    pub(crate) fn tidy(&self) {
        self.recorder.handle().run_upkeep();
    }

    /// The metrics of the Kafka sources of one function, all of them there from the start.
    pub(crate) fn source(&self, function: &str) -> SourceMetrics {
        metrics::with_local_recorder(&self.recorder, || SourceMetrics::new(function))
    }

    /// How many records of a partition a function has not finished.
    pub(crate) fn lag(&self, function: &str, topic: &str, partition: i32) -> Gauge {
        let labels = [
            ("function", function.to_owned()),
            ("topic", topic.to_owned()),
            ("partition", partition.to_string()),
        ];
        metrics::with_local_recorder(&self.recorder, || gauge!("lambda_source_lag", &labels))
    }

    /// How many calls of a function may wait or run on this host.
    pub(crate) fn reserved(&self, function: &str) -> Gauge {
        let function = function.to_owned();
        let gauge = || gauge!("lambda_reserved_concurrency", "function" => function);
        metrics::with_local_recorder(&self.recorder, gauge)
    }

    /// Sets how many hosts of the cluster there are, and which leases this one has.
    pub(crate) fn cluster(&self, hosts: u32, view: &ClusterView) {
        metrics::with_local_recorder(&self.recorder, || {
            gauge!("lambda_cluster_hosts").set(f64::from(hosts));
            gauge!("lambda_cluster_connected").set(f64::from(u8::from(view.connected)));
            for lease in &view.leases {
                let held = gauge!("lambda_lease_held", "function" => lease.function.clone());
                held.set(f64::from(u8::from(lease.held)));
                let epoch = gauge!("lambda_lease_epoch", "function" => lease.function.clone());
                #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
                epoch.set(lease.epoch as f64);
            }
        });
    }

    /// How busy the host's processors are, in percent.
    pub(crate) fn host_cpu(&self) -> Gauge {
        metrics::with_local_recorder(&self.recorder, || gauge!("lambda_host_cpu_percent"))
    }

    /// How many records of events wait to be written to a topic.
    pub(crate) fn records(&self, topic: &Destination) -> Gauge {
        let labels = [("destination", topic.to_string())];
        let records = || gauge!("lambda_destination_records_queued", &labels);
        metrics::with_local_recorder(&self.recorder, records)
    }

    /// The metrics of one function, all of them there from the start.
    pub(crate) fn function(&self, name: &str) -> FunctionMetrics {
        metrics::with_local_recorder(&self.recorder, || FunctionMetrics::new(name))
    }
}

/// The metrics of one function.
pub(crate) struct FunctionMetrics {
    invocations: Counter,
    duration: Histogram,
    queue_wait: Histogram,
    function_errors: Counter,
    timeouts: Counter,
    crashes: Counter,
    oversize: Counter,
    bad_responses: Counter,
    reserved: Counter,
    queue_full: Counter,
    queue_waits: Counter,
    no_instance: Counter,
    draining: Counter,
    lease_lost: Counter,
    start: Histogram,
    stream: Histogram,
    /// Instances started.
    pub(crate) cold_starts: Counter,
    /// Times that no instance was started because the host was busy.
    pub(crate) starts_held_back: Counter,
    /// Instances that failed or got stuck, and were replaced.
    pub(crate) restarts: Counter,
    /// Instances that the kernel ended for want of memory.
    pub(crate) out_of_memory: Counter,
    /// Scheduled invocations skipped because the one before was still running.
    pub(crate) schedule_skipped: Counter,
    /// Log lines dropped because the runtime's standard output was too slow.
    pub(crate) log_dropped: Counter,
    /// Events of asynchronous invocations given up.
    pub(crate) events_dropped: Counter,
    /// Age of events when they run.
    pub(crate) event_age: Histogram,
    /// Records that could not be handed to a destination, and are tried again.
    pub(crate) destination_failures: Counter,
    /// Events that are not over; set when scraped.
    pub(crate) events: Gauge,
    /// Calls that are running; set when scraped.
    pub(crate) in_flight: Gauge,
    /// Calls that are waiting; set when scraped.
    pub(crate) queued: Gauge,
    /// Instances that have polled; set when scraped.
    pub(crate) instances_ready: Gauge,
}

/// The metrics of the Kafka sources of one function.
pub(crate) struct SourceMetrics {
    /// Records processed.
    pub(crate) ok: Counter,
    /// Records given up and written to a dead-letter topic.
    pub(crate) dead_lettered: Counter,
    /// Records given up without one.
    pub(crate) dropped: Counter,
    /// Records that no pattern of the filter matches.
    pub(crate) filtered: Counter,
    /// Records that followed an earlier one of their key to the dead letters.
    pub(crate) parked: Counter,
    /// Batches processed.
    pub(crate) batches_ok: Counter,
    /// Batches that failed.
    pub(crate) batches_failed: Counter,
    /// Batches of which some records failed.
    pub(crate) batches_partial: Counter,
    /// Batches that no instance took.
    pub(crate) batches_throttled: Counter,
    /// Batches sent with records of one that failed before.
    pub(crate) retries: Counter,
}

impl SourceMetrics {
    fn new(function: &str) -> Self {
        let function = function.to_owned();
        let records = |result: &'static str| counter!("lambda_source_records_total", "function" => function.clone(), "result" => result);
        let batches = |result: &'static str| counter!("lambda_source_batches_total", "function" => function.clone(), "result" => result);
        Self {
            ok: records("ok"),
            dead_lettered: records("dead-lettered"),
            dropped: records("dropped"),
            filtered: records("filtered"),
            parked: records("parked"),
            batches_ok: batches("ok"),
            batches_failed: batches("failed"),
            batches_partial: batches("partial"),
            batches_throttled: batches("throttled"),
            retries: counter!("lambda_source_retries_total", "function" => function.clone()),
        }
    }
}

impl FunctionMetrics {
    fn new(name: &str) -> Self {
        let name = name.to_owned();
        let plain = |metric: &'static str| counter!(metric, "function" => name.clone());
        let errors = |kind: &'static str| counter!("lambda_errors_total", "function" => name.clone(), "type" => kind);
        let throttles = |reason: &'static str| counter!("lambda_throttles_total", "function" => name.clone(), "reason" => reason);
        let seconds = |metric: &'static str| histogram!(metric, "function" => name.clone());
        let level = |metric: &'static str| gauge!(metric, "function" => name.clone());
        Self {
            invocations: plain("lambda_invocations_total"),
            duration: seconds("lambda_duration_seconds"),
            queue_wait: seconds("lambda_queue_wait_seconds"),
            function_errors: errors("function"),
            timeouts: errors("timeout"),
            crashes: errors("crash"),
            oversize: errors("response-too-large"),
            bad_responses: errors("bad-response"),
            reserved: throttles("reserved-concurrency"),
            queue_full: throttles("queue-full"),
            queue_waits: throttles("queue-wait"),
            no_instance: throttles("no-instance"),
            draining: throttles("draining"),
            lease_lost: throttles("lease-lost"),
            start: seconds("lambda_start_seconds"),
            stream: seconds("lambda_stream_seconds"),
            cold_starts: plain("lambda_cold_starts_total"),
            starts_held_back: plain("lambda_starts_held_back_total"),
            restarts: plain("lambda_restarts_total"),
            out_of_memory: plain("lambda_out_of_memory_total"),
            schedule_skipped: plain("lambda_schedule_skipped_total"),
            log_dropped: plain("lambda_log_lines_dropped_total"),
            events_dropped: plain("lambda_async_events_dropped_total"),
            event_age: seconds("lambda_async_event_age_seconds"),
            destination_failures: plain("lambda_destination_delivery_failures_total"),
            events: level("lambda_async_events_queued"),
            in_flight: level("lambda_in_flight"),
            queued: level("lambda_queued"),
            instances_ready: level("lambda_instances_ready"),
        }
    }

    /// Counts a finished call; `waited` is the time since it was submitted.
    pub(crate) fn finished(&self, finished: &Finished, submitted: std::time::Instant) {
        if let Some(dispatched) = finished.dispatched {
            self.invocations.increment(1);
            self.queue_wait.record(dispatched.duration_since(submitted));
            self.duration.record(dispatched.elapsed());
        }
        if let Err(failure) = &finished.outcome {
            self.failed(failure);
        }
    }

    /// Counts a streamed answer that ended, for so long after its first byte.
    pub(crate) fn streamed(&self, after: Duration, end: &End) {
        self.stream.record(after);
        if let Err(failure) = end {
            self.failed(failure);
        }
    }

    /// Counts an answer that is no HTTP response.
    pub(crate) fn bad_response(&self) {
        self.bad_responses.increment(1);
    }

    /// Records how long an instance took from its start to its first poll.
    pub(crate) fn started(&self, after: Duration) {
        self.start.record(after);
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, failure: &Failure) {
        let counter = match failure {
            Failure::Function(_) => &self.function_errors,
            Failure::TimedOut(_) => &self.timeouts,
            Failure::Exited(_) | Failure::CutOff => &self.crashes,
            Failure::ResponseTooLarge | Failure::StreamTooLarge => &self.oversize,
            Failure::Reserved => &self.reserved,
            Failure::QueueFull => &self.queue_full,
            Failure::QueueWait => &self.queue_waits,
            Failure::NoInstance => &self.no_instance,
            Failure::Draining => &self.draining,
            Failure::LeaseLost => &self.lease_lost,
        };
        counter.increment(1);
    }
}
