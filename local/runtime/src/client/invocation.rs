//! `local-lambda invoke`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reqwest::RequestBuilder;

use crate::token::Token;

/// What `local-lambda invoke` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Invocation {
    /// By name or ARN
    function: String,
    /// The event: JSON, or @FILE
    payload: Option<String>,
    /// Whether to wait for the answer, have the event kept and run later, or only check
    #[arg(long, value_enum, default_value_t)]
    r#type: InvocationType,
    /// Prints the end of the invocation's log to standard error
    #[arg(long)]
    tail: bool,
    /// What the function gets as its client context: a JSON object, or @FILE
    #[arg(long, value_name = "JSON")]
    client_context: Option<String>,
    #[arg(long, default_value = "127.0.0.1:9001")]
    invoke: SocketAddr,
    /// A file with the token that the runtime asks of other machines
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum InvocationType {
    #[default]
    RequestResponse,
    Event,
    DryRun,
}

/// What came of an invocation.
pub(crate) struct Invoked {
    /// The function's answer, with a line's end; nothing if it was not waited for.
    pub(crate) answer: Vec<u8>,
    /// The end of its log, if that was asked for.
    pub(crate) log: Vec<u8>,
}

impl Invocation {
    /// Sends it.
    ///
    /// # Errors
    /// If the invocation is refused, or the function fails: then the message is its error, after its
    /// log.
    pub(crate) async fn send(&self) -> anyhow::Result<Invoked> {
        let response = self.request()?.send().await;
        let response =
            response.with_context(|| format!("no runtime answers at {}", self.invoke))?;
        let (status, headers) = (response.status(), response.headers());
        let failed = !status.is_success() || headers.contains_key("x-amz-function-error");
        let log = headers
            .get("x-amz-log-result")
            .map(|it| STANDARD.decode(it));
        let log = log.transpose()?.unwrap_or_default();
        let mut answer = response.bytes().await?.to_vec();
        if failed {
            let text = String::from_utf8_lossy(&answer);
            bail!("{}{status}: {text}", String::from_utf8_lossy(&log));
        }
        if !answer.is_empty() {
            answer.push(b'\n');
        }
        Ok(Invoked { answer, log })
    }

    fn request(&self) -> anyhow::Result<RequestBuilder> {
        let function = percent_encode(self.function.as_bytes(), NON_ALPHANUMERIC);
        let address = self.invoke;
        let url = format!("http://{address}/2015-03-31/functions/{function}/invocations");
        let payload = self.payload.as_deref().map(text_or_file).transpose()?;
        let kind = match self.r#type {
            InvocationType::RequestResponse => "RequestResponse",
            InvocationType::Event => "Event",
            InvocationType::DryRun => "DryRun",
        };
        let mut request = reqwest::Client::new()
            .post(url)
            .header("x-amz-invocation-type", kind)
            .body(payload.unwrap_or_default());
        if self.tail {
            request = request.header("x-amz-log-type", "Tail");
        }
        if let Some(context) = &self.client_context {
            let encoded = STANDARD.encode(text_or_file(context)?);
            request = request.header("x-amz-client-context", encoded);
        }
        if let Some(file) = &self.token_file {
            let authorization = Token::read(file).and_then(|token| token.authorization());
            request = request.header(AUTHORIZATION, authorization.context("--token-file")?);
        }
        Ok(request)
    }
}

/// An argument, or the content of the file that `@FILE` names.
fn text_or_file(argument: &str) -> anyhow::Result<Vec<u8>> {
    match argument.strip_prefix('@') {
        Some(file) => std::fs::read(file).with_context(|| format!("cannot read {file}")),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        invocation: Invocation,
    }

    fn request(arguments: &[&str]) -> anyhow::Result<reqwest::Request> {
        let line = Line::parse_from([&["invoke", "pay"], arguments].concat());
        Ok(line.invocation.request()?.build()?)
    }

    #[test]
    fn token_of_a_file_goes_with_the_request() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").expect("written");
        let name = file.to_str().expect("text");
        let sent = request(&["--token-file", name]).expect("a request");
        assert_eq!(sent.headers()[AUTHORIZATION], "Bearer 0123456789abcdef");
        assert!(sent.headers()[AUTHORIZATION].is_sensitive());
        let without = request(&[]).expect("a request");
        assert!(!without.headers().contains_key(AUTHORIZATION));
        std::fs::write(&file, "short").expect("written");
        let error = request(&["--token-file", name]).expect_err("no secret");
        assert!(
            format!("{error:#}").starts_with("--token-file: "),
            "{error:#}"
        );
    }
}
