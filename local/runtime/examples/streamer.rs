//! A function for the runtime's tests: answers with a stream that the test at `$CONTROL` makes.
//!
//! One connection per invocation. It sends one line, `{"event","pid"}`; each line of the test is a
//! piece of the stream, up to `end`, or `fail`, or `exit`.

use futures_util::stream::{BoxStream, StreamExt, unfold};
use lambda_runtime::{Error, LambdaEvent, MetadataPrelude, Runtime, StreamResponse, service_fn};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;

type Pieces = BoxStream<'static, Result<String, Error>>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    Runtime::new(service_fn(begin)).run_concurrent().await
}

async fn begin(event: LambdaEvent<Value>) -> Result<StreamResponse<Pieces>, Error> {
    let mut control = TcpStream::connect(std::env::var("CONTROL")?).await?;
    let question = json!({ "event": event.payload, "pid": std::process::id() });
    control
        .write_all(format!("{question}\n").as_bytes())
        .await?;
    let metadata_prelude = MetadataPrelude {
        status_code: "201".parse()?,
        headers: [("x-streamed".parse()?, "yes".parse()?)]
            .into_iter()
            .collect(),
        cookies: vec!["a=1".to_owned(), "b=2".to_owned()],
    };
    let lines = BufReader::new(control).lines();
    Ok(StreamResponse {
        metadata_prelude,
        stream: unfold(lines, next_piece).boxed(),
    })
}

type Told = Lines<BufReader<TcpStream>>;

async fn next_piece(mut lines: Told) -> Option<(Result<String, Error>, Told)> {
    let piece = match lines.next_line().await {
        Ok(Some(line)) if line == "exit" => std::process::exit(7),
        Ok(Some(line)) if line == "end" => return None,
        Ok(Some(line)) if line == "fail" => Err("told to fail".into()),
        Ok(Some(line)) => Ok(line),
        Ok(None) => return None,
        Err(error) => Err(error.into()),
    };
    Some((piece, lines))
}
