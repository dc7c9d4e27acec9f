//! `local/audit`: proves the books and says what does not hold.

use std::{process::ExitCode, time::Duration};

use auditor::{Options, PENDING_WITHIN, Report, Sources, audit};
use clap::Parser;

/// Exit code when a check does not hold.
const VIOLATED: u8 = 1;
/// Exit code when the books could not be read.
const FAILED: u8 = 2;

/// Proves the books: payments = ledger = outbox = topics = stored replies = settlement =
/// reconciliation, and nothing waits among the dead letters.
#[derive(Parser)]
#[command(
    name = "local/audit",
    after_help = "Exit code: 0 when every check holds, 1 when one does not, 2 when the books \
                  cannot be read."
)]
struct Arguments {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Seconds an event may wait for its topic
    #[arg(long, value_name = "SECONDS", default_value_t = PENDING_WITHIN.as_secs())]
    pending_within: u64,
    /// Dead letters may wait that nobody has decided about
    #[arg(long)]
    letters_may_wait: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(report) => {
            print(&report, arguments.json);
            if report.holds() {
                ExitCode::SUCCESS
            } else {
                VIOLATED.into()
            }
        }
        Err(error) => {
            eprintln!("local/audit: {error:#}");
            FAILED.into()
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<Report> {
    let options = Options {
        pending_within: Duration::from_secs(arguments.pending_within),
        letters_may_wait: arguments.letters_may_wait,
        ..Options::default()
    };
    audit(&Sources::from_env()?, &options).await
}

fn print(report: &Report, json: bool) {
    if json {
        println!("{}", serde_json::json!(report));
    } else {
        print!("{report}");
    }
}
