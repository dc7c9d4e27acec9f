//! Instances that other machines run, as their agents report.

use std::fmt::Display;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt};
use nix::sys::signal::Signal;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use super::Exit;
use crate::answer::Writer;
use crate::attach::{Order, Report, line};
use crate::function::Function;
use crate::instance::Instance;
use crate::logs::{self, LogSink};

/// What an agent tells, up to what cannot be read.
pub(crate) type Reports = BoxStream<'static, anyhow::Result<Report>>;

/// The connection that an instance has attached by.
pub(crate) struct Link {
    /// What its agent tells.
    pub(crate) reports: Reports,
    /// Takes what its agent is told.
    pub(crate) orders: Writer,
    /// Ends it.
    pub(crate) close: CancellationToken,
}

/// An instance of another machine; its connection ends with this.
pub(super) struct Attached {
    orders: Writer,
    reading: AbortOnDropHandle<Exit>,
    close: DropGuard,
}

impl Attached {
    /// Follows the reports on `link`; `draining` is told when the agent wants no further calls.
    pub(super) fn new(
        link: Link,
        function: &Arc<Function>,
        instance: &Arc<Instance>,
        sink: LogSink,
        draining: CancellationToken,
    ) -> Self {
        let (function, instance) = (Arc::clone(function), Arc::clone(instance));
        let reading = read(link.reports, function, instance, sink, draining);
        Self {
            orders: link.orders,
            reading: AbortOnDropHandle::new(tokio::spawn(reading)),
            close: link.close.drop_guard(),
        }
    }

    /// Waits for the end that the agent reports, or that of the connection.
    pub(super) async fn ended(&mut self) -> Exit {
        let read = (&mut self.reading).await;
        read.unwrap_or_else(out_of_reach)
    }

    /// SIGTERM is the agent's to send; whatever is harder ends the connection.
    pub(super) fn signal(&self, signal: Signal) {
        if signal == Signal::SIGTERM {
            let _full_or_gone = self.orders.pieces.try_send(line(&Order::Stop));
        } else {
            self.close.token().cancel();
        }
    }
}

/// Takes the reports up to that of the end.
async fn read(
    mut reports: Reports,
    function: Arc<Function>,
    instance: Arc<Instance>,
    sink: LogSink,
    draining: CancellationToken,
) -> Exit {
    while let Some(report) = reports.next().await {
        match report {
            Ok(Report::Line(line)) => logs::take(line.get(), &function, &instance, &sink),
            Ok(Report::Drain) => draining.cancel(),
            Ok(Report::Ended {
                reason,
                out_of_memory,
            }) => {
                return Exit {
                    reason,
                    out_of_memory,
                };
            }
            Err(error) => return out_of_reach(error),
        }
    }
    out_of_reach("its agent has gone")
}

fn out_of_reach(reason: impl Display) -> Exit {
    Exit {
        reason: format!("Runtime is out of reach: {reason}"),
        out_of_memory: false,
    }
}
