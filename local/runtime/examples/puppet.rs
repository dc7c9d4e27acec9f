//! A function for the runtime's tests: asks the test at `$CONTROL` what to answer.
//!
//! One connection per invocation. It sends one line,
//! `{"event","pid","requestId","clientContext","tenantId"}`; the test answers with one line: a JSON
//! text, which becomes the answer, or `fail`, or `exit`, or `swell` to use memory without end.
//! Before that may come lines `log TEXT`, which are logged.

use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Result<(), Error> {
    Runtime::new(service_fn(ask)).run_concurrent().await
}

async fn ask(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let mut control = TcpStream::connect(std::env::var("CONTROL")?).await?;
    let question = json!({
        "event": event.payload,
        "pid": std::process::id(),
        "requestId": event.context.request_id,
        "clientContext": event.context.client_context,
        "tenantId": event.context.tenant_id,
    });
    control
        .write_all(format!("{question}\n").as_bytes())
        .await?;
    let mut answers = BufReader::new(control).lines();
    let mut answer = answers.next_line().await?.unwrap_or_default();
    while let Some(text) = answer.strip_prefix("log ") {
        println!("{text}");
        answer = answers.next_line().await?.unwrap_or_default();
    }
    match answer.as_str() {
        "fail" => Err("told to fail".into()),
        "exit" => std::process::exit(7),
        "swell" => swell(),
        json => Ok(serde_json::from_str(json)?),
    }
}

fn swell() -> ! {
    let mut memory = Vec::new();
    loop {
        memory.push(vec![1_u8; 1024 * 1024]);
    }
}
