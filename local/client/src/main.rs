//! `local/request`: one signed request from the command line.

mod curl;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use client::endpoints::Endpoints;
use client::{Client, Response, key_from_file};
use http::Method;

/// Exit code of an answer that is no success, as of `curl --fail`.
const REFUSED: u8 = 22;

/// Signs a request, sends it, and prints status and headers on stderr and the body on stdout.
#[derive(Debug, Parser)]
#[command(
    name = "local/request",
    after_help = "The service and the key file are those of PAYFN_URL and KEYS_FILE, else of \
                  endpoints.env in PAYFN_STATE (local/.state).\n\n\
                  Exit code: 0 for a 2xx answer, 22 for any other, 1 without an answer, \
                  2 for wrong arguments."
)]
struct Arguments {
    /// GET, POST, …
    method: String,
    /// Path with query, such as '/payments?limit=5'
    path: String,
    /// The body, or @FILE
    body: Option<String>,
    /// A further header
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// Key to sign with
    #[arg(long = "as", value_name = "KEYID", default_value = "demo")]
    key_id: String,
    /// Idempotency key; POST, PUT, PATCH and DELETE get a fresh one otherwise
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Print the curl command instead of sending; its signature is good for 300 seconds
    #[arg(long)]
    curl: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("local/request: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(arguments.path.starts_with('/'), "PATH must begin with /");
    let method = Method::from_bytes(arguments.method.to_ascii_uppercase().as_bytes())?;
    let Endpoints { url, keys_file } = Endpoints::find()?;
    let client = Client::new(&url, key_from_file(&keys_file, &arguments.key_id)?)?;
    let body = arguments.body.as_deref().map(read_body).transpose()?;
    let fresh = || uuid::Uuid::new_v4().to_string();
    let key = arguments
        .idempotency_key
        .clone()
        .or_else(|| changes(&method).then(fresh));
    let headers: Vec<_> = arguments
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    let request = client.signed(method, &arguments.path, body, key.as_deref(), &headers)?;
    if arguments.curl {
        println!("{}", curl::command(&request, arguments.body.as_deref()));
        return Ok(ExitCode::SUCCESS);
    }
    let response = client
        .execute(request)
        .await
        .with_context(|| format!("no answer from {url}"))?;
    print(&response)?;
    Ok(if response.status.is_success() {
        ExitCode::SUCCESS
    } else {
        REFUSED.into()
    })
}

fn changes(method: &Method) -> bool {
    matches!(
        *method,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    )
}

fn read_body(argument: &str) -> anyhow::Result<Bytes> {
    match argument.strip_prefix('@') {
        Some(file) => Ok(fs::read(file)
            .with_context(|| format!("cannot read {file}"))?
            .into()),
        None => Ok(argument.to_owned().into()),
    }
}

fn parse_header(argument: &str) -> Result<(String, String), String> {
    let (name, value) = argument.split_once(':').ok_or("must be 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn print(response: &Response) -> io::Result<()> {
    eprintln!("HTTP/1.1 {}", response.status);
    for (name, value) in &response.headers {
        eprintln!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(&response.body)?;
    if stdout.is_terminal() {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}
