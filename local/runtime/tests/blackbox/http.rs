use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Puppeteer, Runtime, soon};

const SIX_MIB: usize = 6 * 1024 * 1024;
const ECHO: &str = "[functions.echo]\ncommand = [ECHO]\nroutes = ['POST /echo', 'GET /d/{id}', 'POST /d/{id}']\nconcurrency = 4\n";

/// Sends `request` as it stands; the answer's head and body.
async fn raw(runtime: &Runtime, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(runtime.http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn binary_body_and_cookies_survive_the_round_trip() {
    let runtime = Runtime::start(ECHO).await;
    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let request = runtime.client.post(runtime.url("/echo")).body(body.clone());
    let response = request
        .header("content-type", "image/png")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "image/png");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    assert_eq!(response.bytes().await.unwrap(), body);
}

#[tokio::test]
async fn function_sees_path_query_and_headers_as_they_were_sent() {
    let runtime = Runtime::start(ECHO).await;
    let (head, body) = raw(
        &runtime,
        "GET /d/a%2Fb%20c?q=%ED%95%9C&x=1&x=2&y=a+b HTTP/1.1\r\nHost: h\r\nX-Describe: 1\r\n\
         X-Many: one\r\nX-Many: two\r\nCookie: k=v; l=w\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let seen: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(seen["path"], "/d/a%2Fb%20c");
    assert_eq!(seen["query"], "q=%ED%95%9C&x=1&x=2&y=a+b");
    assert_eq!(seen["id"], "a/b c");
    assert_eq!(seen["headers"]["x-many"], "one, two");
    assert_eq!(seen["headers"]["cookie"], "k=v; l=w");
    assert_eq!(seen["headers"]["host"], "h");
}

#[tokio::test]
async fn path_is_not_normalized() {
    let runtime = Runtime::start(ECHO).await;
    for path in ["/d/../echo", "//echo", "/echo/", "/ECHO", "/%65cho"] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let (head, _) = raw(&runtime, &request).await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{path}: {head}");
    }
}

#[tokio::test]
async fn body_of_six_mib_passes_and_one_byte_more_is_refused() {
    let runtime = Runtime::start(ECHO).await;
    let send = |bytes: usize, content_type: &'static str| {
        let request = runtime
            .client
            .post(runtime.url("/d/1"))
            .header("x-describe", "1");
        request
            .header("content-type", content_type)
            .body(vec![b'x'; bytes])
            .send()
    };
    for content_type in ["text/plain", "application/octet-stream"] {
        let seen: Value = soon(send(SIX_MIB, content_type))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(seen["bodyBytes"], SIX_MIB);
    }
    let response = soon(send(SIX_MIB + 1, "text/plain")).await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn request_id_and_deadline_are_the_runtime_apis() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let response = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    let context = invocation.event["requestContext"].clone();
    invocation.answer(r#"{"statusCode":204}"#).await;
    assert_eq!(response.await.unwrap().status(), 204);
    assert_eq!(context["stage"], "$default");
    assert_eq!(context["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(context["requestId"].as_str().unwrap().len(), 36);

    let runtime = Runtime::start(ECHO).await;
    let before = std::time::SystemTime::now();
    let request = runtime
        .client
        .get(runtime.url("/d/1"))
        .header("x-describe", "1");
    let seen: Value = soon(request.send()).await.unwrap().json().await.unwrap();
    let after = std::time::SystemTime::now();
    let deadline = u128::from(seen["deadlineMs"].as_u64().unwrap());
    let timeout_ms = 3000;
    let ms = |time: std::time::SystemTime| {
        time.duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_millis()
            + timeout_ms
    };
    assert!((ms(before)..=ms(after)).contains(&deadline));
}

#[tokio::test]
async fn errors_have_the_bodies_of_an_http_api() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let response = soon(runtime.client.get(runtime.url("/puppet")).send())
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.text().await.unwrap(), r#"{"message":"Not Found"}"#);
    for answer in ["fail", r#"{"statusCode":"x"}"#] {
        let response = runtime.post("/puppet");
        puppeteer.next().await.answer(answer).await;
        let response = response.await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(
            response.text().await.unwrap(),
            r#"{"message":"Internal Server Error"}"#
        );
    }
}

#[tokio::test]
async fn errors_are_problems_where_the_manifest_says_so() {
    let puppeteer = Puppeteer::new().await;
    let gateway = "[gateway]\nerrors = 'problem'\nproblem_type = '/docs#{code}'";
    let mut runtime = puppeteer.start("", gateway).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = runtime
        .client
        .delete(runtime.url("/puppet?x=1"))
        .header("traceparent", trace);
    let response = soon(request.send()).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["type"], "/docs#route-not-found");
    assert_eq!(problem["code"], "route-not-found");
    assert_eq!(problem["status"], 404);
    assert_eq!(problem["instance"], "/puppet");
    assert_eq!(problem["traceId"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(problem["retryable"], false);
    let line = runtime
        .await_line(|line| line["trace.id"] == problem["traceId"])
        .await;
    assert_eq!(line["http.status"], 404);

    let response = runtime.post("/puppet");
    puppeteer.next().await.answer("fail").await;
    let response = response.await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "unavailable");
    assert_eq!(problem["retryable"], true);
}

#[tokio::test]
async fn static_files_and_health_need_no_function() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    std::fs::write(&file, "{\"openapi\":\"3.1.0\"}").unwrap();
    let file = file.display();
    let runtime = Runtime::start(&format!(
        "[[static]]\nroute = 'GET /openapi.json'\nfile = '{file}'\ncontent_type = 'application/json'\n"
    ))
    .await;
    let get = |path: &str| runtime.client.get(runtime.url(path)).send();
    let response = soon(get("/openapi.json")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), "{\"openapi\":\"3.1.0\"}");
    let response = soon(get("/healthz")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), r#"{"status":"ok"}"#);
}

#[tokio::test]
async fn malformed_and_oversized_heads_are_refused() {
    let runtime = Runtime::start(ECHO).await;
    let (head, _) = raw(&runtime, "NONSENSE\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let long = "x".repeat(11_000);
    let request =
        format!("POST /echo HTTP/1.1\r\nHost: h\r\nX-Long: {long}\r\nConnection: close\r\n\r\n");
    let (head, _) = raw(&runtime, &request).await;
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

#[tokio::test]
async fn route_has_bounds_of_its_own() {
    let puppeteer = Puppeteer::new().await;
    let manifest = puppeteer.manifest("concurrency = 2", "").replace(
        "\"POST /puppet\"",
        "{ route = \"POST /puppet\", body_bytes_max = 3, timeout_ms = 100 }",
    );
    let runtime = Runtime::start(&manifest).await;
    let post = |body: &'static str| {
        let request = runtime.client.post(runtime.url("/puppet")).body(body);
        soon(request.send())
    };
    let response = post("1234").await.unwrap();
    assert_eq!(response.status(), 413);
    let (response, first) = tokio::join!(post("123"), puppeteer.next());
    assert_eq!(
        response.unwrap().status(),
        503,
        "the client does not wait longer"
    );
    // The function does not know, and goes on.
    assert_eq!(runtime.metric("lambda_in_flight").await.unwrap(), "1");
    first.answer("{}").await;
    let timeouts = "lambda_errors_total{function=\"puppet\",type=\"timeout\"}";
    assert_eq!(runtime.metric(timeouts).await.unwrap(), "0");
}
