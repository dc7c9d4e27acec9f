//! One container: its start, its output and its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::ContainerState;
use bollard::query_parameters::KillContainerOptions;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use nix::sys::signal::Signal;
use tokio::io::{AsyncWriteExt, duplex};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Engine;
use crate::driver::Exit;
use crate::function::Function;
use crate::instance::Instance;
use crate::logs::{self, LogSink};

/// Time for the last lines of an ended container.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);
/// Bytes of output that wait to be read as lines.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// One container.
pub(in crate::driver) struct Container {
    engine: Arc<Engine>,
    id: String,
    output: Option<AttachContainerResults>,
    end: BoxFuture<'static, Exit>,
    lines: JoinSet<()>,
}

impl Container {
    /// A container that waits to be started, and what it will write.
    pub(super) fn new(engine: Arc<Engine>, id: String, output: AttachContainerResults) -> Self {
        Self {
            end: end(engine.client.clone(), id.clone()).boxed(),
            output: Some(output),
            engine,
            id,
            lines: JoinSet::new(),
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the engine cannot: there may be no such program in the image.
    pub(in crate::driver) async fn start(
        &mut self,
        function: &Arc<Function>,
        instance: &Arc<Instance>,
        sink: &LogSink,
    ) -> anyhow::Result<()> {
        let client = &self.engine.client;
        if let Some(output) = self.output.take() {
            pump(output, function, instance, sink, &mut self.lines);
        }
        let started = client.start_container(&self.id, None).await;
        started.context("the Docker engine cannot start the container")?;
        let container = client.inspect_container(&self.id, None).await?;
        if let Some(image) = container.image {
            let _known = function.version.image.set(image);
        }
        let state = container.state;
        let pid = state.and_then(|state| u32::try_from(state.pid?).ok());
        instance.set_pid(pid.unwrap_or_default());
        Ok(())
    }

    pub(in crate::driver) async fn ended(&mut self) -> Exit {
        (&mut self.end).await
    }

    pub(in crate::driver) async fn signal(&mut self, signal: Signal) {
        let options = KillContainerOptions {
            signal: signal.as_str().to_owned(),
        };
        let client = &self.engine.client;
        if let Err(error) = client.kill_container(&self.id, Some(options)).await {
            tracing::debug!("cannot send {signal} to the container {}: {error}", self.id);
        }
    }

    pub(in crate::driver) async fn finish(mut self) {
        let _cut_short = timeout(LAST_LINES_WAIT, async {
            while self.lines.join_next().await.is_some() {}
        })
        .await;
        self.engine.remove(self.id).await;
    }
}

/// Passes the container's output on, over a connection of its own.
fn pump(
    mut output: AttachContainerResults,
    function: &Arc<Function>,
    instance: &Arc<Instance>,
    sink: &LogSink,
    tasks: &mut JoinSet<()>,
) {
    let mut stream = |level| {
        let (to, from) = duplex(OUTPUT_BYTES_MAX);
        let (function, instance) = (Arc::clone(function), Arc::clone(instance));
        tasks.spawn(logs::pump(from, level, function, instance, sink.clone()));
        to
    };
    let (mut stdout, mut stderr) = (stream("INFO"), stream("WARN"));
    tasks.spawn(async move {
        while let Some(Ok(chunk)) = output.output.next().await {
            let stream = match chunk {
                LogOutput::StdErr { .. } => &mut stderr,
                _ => &mut stdout,
            };
            if stream.write_all(&chunk.into_bytes()).await.is_err() {
                return;
            }
        }
    });
}

/// Waits for the end of a container that has been started.
async fn end(client: Docker, id: String) -> Exit {
    // An error is what ends here with another status than 0, or the engine's end: what has become of
    // the container says the next answer, if there is one.
    let _ended = client.wait_container(&id, None).next().await;
    let container = client.inspect_container(&id, None).await;
    let Ok(Some(state)) = container.map(|container| container.state) else {
        return Exit {
            reason: "Runtime exited, status unknown: the Docker engine does not tell".to_owned(),
            out_of_memory: false,
        };
    };
    Exit {
        reason: describe(&state),
        out_of_memory: state.oom_killed == Some(true),
    }
}

fn describe(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or_default();
    let signal = i32::try_from(code - 128).ok();
    match signal.and_then(|number| Signal::try_from(number).ok()) {
        Some(signal) => format!("Runtime exited with error: signal: {signal}"),
        None => format!("Runtime exited with error: exit status {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_above_128_is_a_signal() {
        let described = |code| {
            describe(&ContainerState {
                exit_code: Some(code),
                ..ContainerState::default()
            })
        };
        assert_eq!(described(137), "Runtime exited with error: signal: SIGKILL");
        assert_eq!(described(7), "Runtime exited with error: exit status 7");
        assert_eq!(described(128), "Runtime exited with error: exit status 128");
    }
}
