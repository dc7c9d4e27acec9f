//! One attached instance, on the machine that runs it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::agent::Agent;
use super::relay::{Relay, Upstream};
use super::{Description, Order, Report, line};
use crate::answer::Writer;
use crate::driver::{Exit, Relayed};
use crate::function::Function;

/// Longest wait at the end for the runtime to have taken the last reports.
const LAST_REPORTS_WAIT: Duration = Duration::from_secs(1);

/// An instance that has attached, and is to be run.
pub(super) struct Session {
    pub(super) upstream: Upstream,
    /// Ends the connection when dropped.
    pub(super) connection: AbortOnDropHandle<()>,
    pub(super) orders: BoxStream<'static, anyhow::Result<Order>>,
    pub(super) reports: Writer,
    pub(super) description: Description,
}

impl Session {
    /// Runs the instance to its end, and reports; `replace` is told when another one has to attach.
    pub(super) async fn run(mut self, agent: Arc<Agent>, replace: Arc<Notify>) {
        let function = Arc::new(agent.function(&self.description));
        let (_, logged) = function.version.series.journal.read(0);
        let (end, ended) = oneshot::channel();
        let reporting = report(logged, self.reports, agent.drain.clone(), ended);
        let reporting = AbortOnDropHandle::new(tokio::spawn(reporting));
        let running = run(
            &agent,
            &function,
            self.description.id,
            // Both are kept beyond: without a sender or a reader the reports would break off.
            self.upstream.clone(),
            &mut self.orders,
            &replace,
        );
        let exit = running.await.unwrap_or_else(|error| Exit {
            reason: format!("{error:#}"),
            out_of_memory: false,
        });
        let name = &function.config.name;
        tracing::info!(function = name, "the instance ended: {}", exit.reason);
        let _runtime_is_gone = end.send(exit);
        let last = async {
            let _reported = reporting.await;
            let _closed = self.connection.await;
        };
        let _given_up = timeout(LAST_REPORTS_WAIT, last).await;
    }
}

async fn run(
    agent: &Agent,
    function: &Arc<Function>,
    id: u64,
    upstream: Upstream,
    orders: &mut BoxStream<'static, anyhow::Result<Order>>,
    replace: &Notify,
) -> anyhow::Result<Exit> {
    let relayed = Relayed::bind(function, id).await?;
    let instance = Arc::clone(&relayed.instance);
    let relay = Relay {
        upstream,
        instance: Arc::clone(&instance),
    };
    let stop = CancellationToken::new();
    let running = relayed.run(function, relay, &agent.driver, &agent.sink, &stop);
    let mut running = pin!(running);
    let mut lost = false;
    loop {
        tokio::select! {
            exit = &mut running => return exit,
            order = orders.next(), if !lost => match order {
                Some(Ok(Order::Replace)) => replace.notify_one(),
                Some(Ok(Order::Stop)) => stop.cancel(),
                // Nobody waits for what it does any more.
                Some(Ok(Order::Run(_)) | Err(_)) | None => {
                    lost = true;
                    instance.kill.notify_one();
                }
            },
        }
    }
}

/// Reports what is logged, that the instance is to get no further call, and last how it has ended.
async fn report(
    mut logged: Receiver<Bytes>,
    reports: Writer,
    drain: CancellationToken,
    mut ended: oneshot::Receiver<Exit>,
) {
    let mut told = false;
    let exit = loop {
        tokio::select! {
            biased;
            () = drain.cancelled(), if !told => {
                told = true;
                send(&reports.pieces, line(&Report::Drain)).await;
            }
            received = logged.recv() => match received {
                Ok(text) => send(&reports.pieces, logged_line(&text)).await,
                // Lines are left out rather than functions blocked.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => break (&mut ended).await,
            },
            exit = &mut ended => break exit,
        }
    };
    if let Ok(Exit {
        reason,
        out_of_memory,
    }) = exit
    {
        let report = Report::Ended {
            reason,
            out_of_memory,
        };
        send(&reports.pieces, line(&report)).await;
        let _runtime_is_gone = reports.end.send(Ok(()));
    }
}

/// If the runtime has gone, nobody wants to know.
async fn send(reports: &mpsc::Sender<Bytes>, report: Bytes) {
    let _runtime_is_gone = reports.send(report).await;
}

/// [`Report::Line`] of a line of JSON.
fn logged_line(text: &[u8]) -> Bytes {
    [b"{\"line\":", text.trim_ascii_end(), b"}\n"]
        .concat()
        .into()
}
