//! `local/statement`: the mock acquirer's command line.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use acquirer::{AnswerKey, Faults, Layout, Statement, captured_on, score};
use anyhow::{Context as _, ensure};
use chrono::NaiveDate;
use clap::Parser;
use client::{Client, key_from_file};
use sqlx::{Connection, MySqlConnection};

/// Who uploads.
const KEY_ID: &str = "ops";

/// Writes what an acquirer says of a day, with faults on purpose and the answer key beside it
/// (FILE.key.json); or uploads such a file and tells how many of its faults were found.
#[derive(Parser)]
#[command(
    name = "local/statement",
    after_help = "Exit code of --score: 0 only when every fault was \
    found and nothing else."
)]
struct Arguments {
    /// The day in Seoul, as YYYY-MM-DD
    #[arg(long, required_unless_present = "score")]
    date: Option<NaiveDate>,
    /// What the file is of
    #[arg(long, value_parser = ["transactions"], default_value = "transactions")]
    kind: String,
    /// How it is written: generic (UTF-8) or toss (Korean, CP949)
    #[arg(long, default_value = "generic")]
    profile: Layout,
    /// What is wrong on purpose, such as `seed=7,missing_external=3,amount=2`; also
    /// `missing_internal`, `duplicate`, `status`, `date` and `invalid`
    #[arg(long, default_value = "")]
    faults: Faults,
    /// Where to write it
    #[arg(long, value_name = "FILE", required_unless_present = "score")]
    out: Option<PathBuf>,
    /// Upload this file, wait until it is matched, and score it by its answer key
    #[arg(long, value_name = "FILE", conflicts_with_all = ["date", "out", "faults"])]
    score: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("local/statement: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    if let Some(file) = &arguments.score {
        return scored(file).await;
    }
    let day = arguments.date.context("--date is missing")?;
    let out = arguments.out.context("--out is missing")?;
    let mut db = MySqlConnection::connect(&variable("DATABASE_URL_PAYMENT")?).await?;
    let captured = captured_on(&mut db, day).await?;
    db.close().await?;
    ensure!(!captured.is_empty(), "nothing was captured on {day}");
    let statement = Statement::write(day, &captured, &arguments.faults, arguments.profile)?;
    fs::write(&out, &statement.bytes).with_context(|| out.display().to_string())?;
    let key = serde_json::to_string_pretty(&statement.key)?;
    fs::write(key_of(&out), key)?;
    println!(
        "{}: {} rows of {} captures and refunds, {} faults",
        out.display(),
        statement.key.rows,
        captured.len(),
        statement.key.expected.len()
    );
    Ok(true)
}

async fn scored(file: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let answers = key_of(file);
    let text = fs::read(&answers).with_context(|| answers.display().to_string())?;
    let answers: AnswerKey = serde_json::from_slice(&text)?;
    let key = key_from_file(Path::new(&variable("KEYS_FILE")?), KEY_ID)?;
    let client = Client::new(&variable("PAYFN_URL")?, key)?;
    let score = score(&client, bytes, &answers).await?;
    print!("{score}");
    Ok(score.is_perfect())
}

fn key_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".key.json");
    name.into()
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("{name} is not set: run local/statement"))
}
