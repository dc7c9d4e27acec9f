//! A function for the runtime's tests: answers with the request's body, or describes the request.

use lambda_http::{Body, Error, Request, RequestExt, Response, run_concurrent, service_fn};
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// How much of a request's body is described.
const BODY_BEGIN: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Error> {
    if std::env::var_os("LEAVE_ORPHAN").is_some() {
        again()
            .env_remove("LEAVE_ORPHAN")
            .env("FAIL_AT_START", "1")
            .spawn()?;
        return Ok(());
    }
    if std::env::var_os("FAIL_AT_START").is_some() {
        return Err("told to fail at start".into());
    }
    if std::env::var_os("NEVER_READY").is_some() {
        std::future::pending::<()>().await;
    }
    if let Ok(address) = std::env::var("START_AFTER") {
        // Until the test ends the connection.
        let mut gate = TcpStream::connect(address).await?;
        gate.read_to_end(&mut Vec::new()).await?;
    }
    println!("{{\"level\":\"INFO\",\"message\":\"started\"}}");
    run_concurrent(service_fn(echo)).await
}

async fn echo(request: Request) -> Result<Response<Body>, Error> {
    let mut response = Response::builder().header("set-cookie", "a=1; Path=/");
    response = response.header("set-cookie", "b=2");
    if request.headers().contains_key("x-orphan") {
        leave_orphan()?;
    }
    if request.headers().contains_key("x-describe") {
        let body = describe(&request).to_string();
        return Ok(response
            .header("content-type", "application/json")
            .body(body.into())?);
    }
    let content_type = request.headers().get("content-type").cloned();
    if let Some(content_type) = content_type {
        response = response.header("content-type", content_type);
    }
    Ok(response.body(request.into_body())?)
}

fn describe(request: &Request) -> Value {
    let text = |value: &[u8]| Value::from(String::from_utf8_lossy(value).into_owned());
    let headers = request.headers().iter();
    let headers: Map<_, _> = headers
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect();
    let kind = match request.body() {
        Body::Text(_) => "text",
        Body::Binary(_) => "binary",
        _ => "empty",
    };
    json!({
        "method": request.method().as_str(),
        "version": format!("{:?}", request.version()),
        "path": request.raw_http_path(),
        "query": request.uri().query(),
        "id": request.path_parameters().first("id"),
        "queryParameters": request.query_string_parameters(),
        "pathParameters": request.path_parameters(),
        "context": request.request_context(),
        "headers": headers,
        "bodyKind": kind,
        "bodyBegin": request.body().get(..BODY_BEGIN.min(request.body().len())),
        "bodyBytes": request.body().len(),
        "requestId": request.lambda_context().request_id,
        "deadlineMs": request.lambda_context().deadline,
        "secret": std::env::var("KEYS_FILE").ok().and_then(|path| std::fs::read_to_string(path).ok()),
        "environment": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
    })
}

/// Starts a process that starts another and ends before it.
fn leave_orphan() -> Result<(), Error> {
    again().env("LEAVE_ORPHAN", "1").spawn()?.wait()?;
    Ok(())
}

fn again() -> std::process::Command {
    std::process::Command::new("/proc/self/exe")
}
