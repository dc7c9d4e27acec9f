//! A Lambda-compatible runtime for plain machines: it serves functions that speak the AWS Lambda
//! Runtime API over HTTP routes, an Invoke API and event sources, as one manifest tells.

mod admin;
mod answer;
mod attach;
mod call;
mod client;
mod cluster;
mod deployment;
mod dispatch;
mod driver;
mod event_queue;
mod fleet;
mod function;
mod gateway;
mod host_cpu;
mod instance;
mod invoke_api;
mod journal;
mod logs;
mod manifest;
mod metrics;
mod platform;
mod producer;
mod program;
mod reaper;
mod runtime_api;
mod scale;
mod serve;
mod server;
mod sources;
mod tail;
mod takeover;
mod token;
mod top;
mod trace;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::attach::Attachment;
use crate::driver::{Become, Kind, exec_child};
use crate::invoke_api::Access;
use crate::logs::{LogSink, LogWriter};
use crate::manifest::{Manifest, SCHEMA};
use crate::serve::{Addresses, Plan};
use crate::token::Token;

/// Runs AWS Lambda functions on this machine.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the manifest's functions, or one COMMAND, until SIGTERM or SIGINT
    Serve(Serve),
    /// Checks the manifest; prints every fault with file and line
    Check {
        #[arg(long, default_value = "functions/functions.toml")]
        manifest: PathBuf,
    },
    /// Prints the JSON Schema of manifests, for editors
    Schema,
    /// Prints what a function has logged, as JSON lines
    Logs {
        function: String,
        /// Go on with what it logs
        #[arg(short, long)]
        follow: bool,
        /// How many of the last lines
        #[arg(long, default_value_t = 100)]
        lines: u32,
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Shows the functions of a running runtime and how busy they are, again and again
    Top {
        /// Seconds between two looks
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
        interval: u64,
        /// Print one table and end
        #[arg(long)]
        once: bool,
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Lists the functions and instances of a running runtime
    Ps {
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Reads the manifest of a running runtime again
    Reload {
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Changes how many instances a function has, until its next version
    Scale {
        function: String,
        /// Instances kept running
        #[arg(long)]
        min: Option<u32>,
        /// Most instances
        #[arg(long)]
        max: Option<u32>,
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Starts a new version of a function, as its program and the manifest are now
    Rollout {
        function: String,
        /// Give it this share of the calls, in percent, until it is promoted or rolled back
        #[arg(long, value_name = "PERCENT", conflicts_with = "promote")]
        canary: Option<u32>,
        /// Roll it back when more of its calls fail, in percent; 5 unless said
        #[arg(long, value_name = "PERCENT", requires = "canary")]
        errors_max: Option<u32>,
        /// Give the canary there is all calls
        #[arg(long)]
        promote: bool,
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Takes the canary of a function back, or else its newest version
    Rollback {
        function: String,
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Lists the versions that a function has had
    History {
        function: String,
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Lists the event sources of a running runtime
    Sources {
        #[command(subcommand)]
        command: Option<SourcesCommand>,
        #[arg(long, global = true, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Lists the hosts that run the same manifest, and their leases
    Cluster {
        #[arg(long, default_value = "127.0.0.1:9002")]
        admin: SocketAddr,
    },
    /// Runs instances here of a function that a runtime elsewhere calls, until SIGTERM or SIGINT
    Attach(Attachment),
    /// Invokes a function and prints its answer
    Invoke(client::Invocation),
    /// Removes the containers of the runtime OWNER once it has ended
    #[command(hide = true)]
    ReapContainers { owner: String },
    /// Becomes COMMAND, bound to the life of the process PARENT
    #[command(hide = true)]
    ExecChild(Become),
}

#[derive(Args)]
struct Serve {
    #[arg(
        long,
        default_value = "functions/functions.toml",
        conflicts_with = "command"
    )]
    manifest: PathBuf,
    /// What instances are
    #[arg(long, value_enum, default_value_t = Kind::Process, conflicts_with = "command")]
    driver: Kind,
    /// Where the HTTP routes are served [default: 127.0.0.1:9000, with COMMAND 0.0.0.0:$PORT]
    #[arg(long)]
    http: Option<SocketAddr>,
    /// Where the Invoke API is served [default: 127.0.0.1:9001, with COMMAND nowhere]
    #[arg(long)]
    invoke: Option<SocketAddr>,
    /// Where metrics and `ps` are served [default: 127.0.0.1:9002, with COMMAND nowhere]
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// A file with the token that the Invoke API asks of other machines; without one it refuses them
    #[arg(long, value_name = "FILE")]
    invoke_token_file: Option<PathBuf>,
    /// Where instances of other machines attach [default: nowhere]
    #[arg(long, requires = "attach_token_file", conflicts_with = "command")]
    attach: Option<SocketAddr>,
    /// A file with the token that they need
    #[arg(long, value_name = "FILE", requires = "attach")]
    attach_token_file: Option<PathBuf>,
    /// The folder of the events that are not over; made when the first one comes
    #[arg(long, default_value = ".local-lambda")]
    state: PathBuf,
    /// Take the place of the runtime that has the admin address, without a failed request
    #[arg(long, conflicts_with = "command")]
    take_over: bool,
    /// Calls that COMMAND takes at once [default: what the environment says, else one]
    #[arg(long, requires = "command")]
    concurrency: Option<u32>,
    /// The only function, without a manifest: it gets every request
    #[arg(last = true)]
    command: Vec<String>,
}

impl Serve {
    /// What to run, and where.
    fn plan(self) -> anyhow::Result<Plan> {
        let access = match &self.invoke_token_file {
            None => Access::default(),
            Some(file) => Access::with_token(Token::read(file).context("--invoke-token-file")?),
        };
        let attach_token = self.attach_token_file.as_deref().map(Token::read);
        let attach_token = attach_token.transpose().context("--attach-token-file")?;
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        if self.command.is_empty() {
            let addresses = Addresses {
                http: self.http.unwrap_or_else(|| loopback(9000)),
                invoke: self.invoke.or_else(|| Some(loopback(9001))),
                admin: self.admin.or_else(|| Some(loopback(9002))),
                attach: self.attach,
            };
            return Ok(Plan {
                manifest: Manifest::read(&self.manifest)?,
                path: Some(self.manifest),
                addresses,
                take_over: self.take_over,
                driver: self.driver,
                state: self.state,
                access,
                attach_token,
            });
        }
        let texts = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment: BTreeMap<String, String> = std::env::vars_os().filter_map(texts).collect();
        let port = environment
            .get("PORT")
            .map_or(Ok(8080), |port| port.parse());
        let port = port.context("PORT must be a port")?;
        let addresses = Addresses {
            http: self.http.unwrap_or_else(|| ([0, 0, 0, 0], port).into()),
            invoke: self.invoke,
            admin: self.admin,
            attach: None,
        };
        Ok(Plan {
            manifest: Manifest::standalone(&self.command, self.concurrency, &environment)?,
            path: None,
            addresses,
            take_over: false,
            // The limits are those of the container or unit that it is the only function of.
            driver: Kind::Unlimited,
            state: self.state,
            access,
            attach_token: None,
        })
    }
}

#[derive(Subcommand)]
enum SourcesCommand {
    /// Has records of a key processed again that went to the dead letters with an earlier one
    Unpark {
        function: String,
        topic: String,
        key: String,
        /// The key is given in base64
        #[arg(long)]
        base64: bool,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        // Before any thread is started: this process is about to become another program.
        Command::ExecChild(child) => exec_child(&child).map(|never| match never {}),
        other => run(other),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread does all the work but writing logs: it is hardly ever busy for long, and handing a
/// request from thread to thread would cost more than serving it.
#[tokio::main(flavor = "current_thread")]
async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(serve) => {
            let plan = serve.plan()?;
            logging(async |sink| serve::serve(plan, sink).await).await
        }
        Command::Attach(attachment) => {
            logging(async |sink| attach::attach(attachment, sink).await).await
        }
        Command::Check { manifest } => {
            let functions = Manifest::read(&manifest)?.functions.len();
            print(format!("{}: {functions} functions, no fault\n", manifest.display()).as_bytes())
        }
        Command::Schema => print(SCHEMA.as_bytes()),
        Command::Logs {
            function,
            follow,
            lines,
            admin,
        } => client::logs(admin, &function, follow, lines).await,
        Command::Top {
            interval,
            once,
            admin,
        } => top::run(admin, Duration::from_secs(interval), once).await,
        Command::Ps { admin } => print(client::ps(admin).await?.as_bytes()),
        Command::Cluster { admin } => print(client::cluster(admin).await?.as_bytes()),
        Command::Sources { command, admin } => {
            let text = match command {
                None => client::sources(admin).await?,
                Some(SourcesCommand::Unpark {
                    function,
                    topic,
                    key,
                    base64,
                }) => client::unpark(admin, &function, &topic, &key, base64).await?,
            };
            print(text.as_bytes())
        }
        Command::Reload { admin } => print(client::reload(admin).await?.as_bytes()),
        Command::Scale {
            function,
            min,
            max,
            admin,
        } => print(client::scale(admin, &function, min, max).await?.as_bytes()),
        Command::Rollout {
            function,
            promote: true,
            admin,
            ..
        } => print(
            client::deploy(admin, &function, "promote")
                .await?
                .as_bytes(),
        ),
        Command::Rollout {
            function,
            canary,
            errors_max,
            admin,
            ..
        } => {
            let deployed = client::rollout(admin, &function, canary, errors_max).await?;
            print(deployed.as_bytes())
        }
        Command::Rollback { function, admin } => print(
            client::deploy(admin, &function, "rollback")
                .await?
                .as_bytes(),
        ),
        Command::History { function, admin } => {
            print(client::history(admin, &function).await?.as_bytes())
        }
        Command::Invoke(invocation) => {
            let invoked = invocation.send().await?;
            std::io::stderr().write_all(&invoked.log)?;
            print(&invoked.answer)
        }
        Command::ReapContainers { owner } => driver::reap(&owner).await,
        Command::ExecChild(_) => Ok(()),
    }
}

/// `println!` panics when the reader has gone.
fn print(text: &[u8]) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text)?)
}

/// Logs JSON lines, the same shape as the functions', while it does `work`.
async fn logging(work: impl AsyncFnOnce(&LogSink) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let writer = LogWriter::start()?;
    let sink = writer.sink.clone();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(move || sink.clone())
        .init();
    let done = work(&writer.sink).await;
    writer.finish().await;
    done
}
