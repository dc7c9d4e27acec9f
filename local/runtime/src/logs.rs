//! Lines of the instances on the runtime's standard output, one JSON object each.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use serde::de::IgnoredAny;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::function::Function;
use crate::instance::Instance;

/// Longest line; a longer one becomes several.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Lines that wait to be written; more are dropped and counted, so that a reader of the logs
/// that stands still cannot stop the functions.
const LINES_WAITING_MAX: usize = 8192;

/// Longest wait at the end for the last lines to be written.
const LAST_LINES_WAIT: Duration = Duration::from_millis(500);

/// Where lines go. Whoever writes to it never waits.
#[derive(Clone)]
pub(crate) struct LogSink(mpsc::Sender<Bytes>);

impl LogSink {
    /// Hands over a whole line; false if it had to be dropped.
    fn send(&self, line: Bytes) -> bool {
        self.0.try_send(line).is_ok()
    }
}

/// One write is one line, as `tracing_subscriber` writes them.
impl Write for LogSink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _dropped = self.send(Bytes::copy_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that writes to standard output.
pub(crate) struct LogWriter {
    /// What it writes.
    pub(crate) sink: LogSink,
    ended: oneshot::Receiver<()>,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(LINES_WAITING_MAX);
        let (end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                write(receiver);
                drop(end);
            })?;
        Ok(Self {
            sink: LogSink(sender),
            ended,
        })
    }

    /// Writes what is left, unless nobody reads it.
    pub(crate) async fn finish(self) {
        // An empty line is the last.
        self.sink.send(Bytes::new());
        let _given_up = timeout(LAST_LINES_WAIT, self.ended).await;
    }
}

/// Writes until an empty line. Standard output closed early is no reason to stop reading: the
/// instances would block.
fn write(mut lines: mpsc::Receiver<Bytes>) {
    let mut last = false;
    while !last && let Some(first) = lines.blocking_recv() {
        last = first.is_empty();
        let mut output = BufWriter::new(io::stdout().lock());
        let mut written = output.write_all(&first);
        while let Ok(line) = lines.try_recv() {
            last |= line.is_empty();
            written = written.and_then(|()| output.write_all(&line));
        }
        let _closed = written.and_then(|()| output.flush());
    }
}

/// Passes the lines of one of an instance's streams on until it ends.
pub(crate) async fn pump(
    stream: impl AsyncRead + Unpin,
    level: &'static str,
    function: Arc<Function>,
    instance: Arc<Instance>,
    sink: LogSink,
) {
    let mut requests = instance.read_requests();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        let room = LINE_BYTES_MAX.saturating_sub(line.len() as u64);
        let mut rest = (&mut reader).take(room);
        let read = tokio::select! {
            biased;
            read = rest.read_until(b'\n', &mut line) => read,
            // There is nothing to read now, which dropping the request tells.
            _ = requests.recv() => continue,
        };
        if read.is_err() || line.is_empty() {
            return;
        }
        instance.remember(&line);
        pass_on(&line, level, &function, &instance, &sink);
        line.clear();
    }
}

fn pass_on(line: &[u8], level: &str, function: &Function, instance: &Instance, sink: &LogSink) {
    let text = line.trim_ascii();
    if text.is_empty() {
        return;
    }
    let json = attributed(text, &function.config.name, &instance.name)
        .unwrap_or_else(|| wrapped(text, level, &function.config.name, &instance.name));
    record(json.into(), function, sink);
}

/// Passes on a line that an instance of another machine has logged: a JSON object with its function and
/// its name. Anything else is left out.
pub(crate) fn take(line: &str, function: &Function, instance: &Instance, sink: &LogSink) {
    if line.starts_with('{') && line.len() as u64 <= 2 * LINE_BYTES_MAX {
        let line = [line.as_bytes(), b"\n"].concat();
        instance.remember(&line);
        record(line.into(), function, sink);
    }
}

fn record(json: Bytes, function: &Function, sink: &LogSink) {
    function.version.series.journal.add(json.clone());
    if !sink.send(json) {
        function.metrics.log_dropped.increment(1);
    }
}

/// A line that is a JSON object gets the members `function` and `instance`, before its own.
fn attributed(text: &[u8], function: &str, instance: &str) -> Option<Vec<u8>> {
    let members = text.strip_prefix(b"{")?.trim_ascii_start();
    serde_json::from_slice::<IgnoredAny>(text).ok()?;
    let comma = if members == b"}" { "" } else { "," };
    // The names need no escaping: function names are letters, digits, hyphens and underscores.
    let head = format!(r#"{{"function":"{function}","instance":"{instance}"{comma}"#);
    let mut line = head.into_bytes();
    line.extend_from_slice(members);
    line.push(b'\n');
    Some(line)
}

/// Any other line becomes the message of an object.
fn wrapped(text: &[u8], level: &str, function: &str, instance: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        level: &'a str,
        message: &'a str,
        function: &'a str,
        instance: &'a str,
    }
    let message = &String::from_utf8_lossy(text);
    let timestamp = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut line = crate::call::json(&Line {
        timestamp,
        level,
        message,
        function,
        instance,
    })
    .to_vec();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_object_gains_function_and_instance() {
        let line = attributed(br#"{"level":"INFO","message":"hi"}"#, "pay", "pay-1").expect("JSON");
        assert_eq!(
            line,
            b"{\"function\":\"pay\",\"instance\":\"pay-1\",\"level\":\"INFO\",\"message\":\"hi\"}\n"
        );
        let empty = attributed(b"{ }", "pay", "pay-1").expect("JSON");
        assert_eq!(empty, b"{\"function\":\"pay\",\"instance\":\"pay-1\"}\n");
    }

    #[test]
    fn other_lines_become_the_message_of_an_object() {
        for text in ["plain \"text\"", "{broken", "[1]", "\"x\""] {
            assert_eq!(attributed(text.as_bytes(), "pay", "pay-1"), None, "{text}");
            let line = wrapped(text.as_bytes(), "INFO", "pay", "pay-1");
            let value: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            assert_eq!(value["message"], text);
            assert_eq!(value["function"], "pay");
            assert_eq!(value["instance"], "pay-1");
            assert_eq!(value["level"], "INFO");
        }
    }
}
