use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Puppeteer, Runtime, eventually, example, soon};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

fn versioned(round: u32) -> String {
    format!(
        "[functions.one]\ncommand = [ECHO]\nconcurrency = 4\nroutes = ['POST /one']\n\
         environment = {{ ROUND = '{round}' }}\n"
    )
}

/// The round of the version that answers the next request.
async fn round(runtime: &Runtime) -> u32 {
    let request = runtime.client.post(runtime.url("/one"));
    let request = request.header("x-describe", "yes").body("{}");
    let response = soon(request.send()).await.unwrap();
    assert_eq!(response.status(), 200);
    let description: Value = response.json().await.unwrap();
    let round = description["environment"]["ROUND"].as_str();
    round.unwrap().parse().unwrap()
}

async fn order(runtime: &Runtime, arguments: &[&str]) -> String {
    let (done, printed) = runtime.order(arguments).await;
    assert!(done, "{printed}");
    printed
}

/// Versions and their states, as `history` prints them.
async fn history(runtime: &Runtime) -> String {
    let table = order(runtime, &["history", "one"]).await;
    let words = table.lines().skip(1).map(|line| {
        let mut words = line.split_whitespace();
        format!("{} {}", words.next().unwrap(), words.next().unwrap())
    });
    words.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn canary_takes_its_share_until_it_is_promoted() {
    let runtime = Runtime::start(&versioned(1)).await;
    runtime.write(&versioned(2));
    let printed = order(&runtime, &["rollout", "one", "--canary", "25"]).await;
    assert_eq!(printed, "one: version 2 takes 25 % of the calls\n");
    assert_eq!(history(&runtime).await, "1 current, 2 canary");
    let mut rounds = [0; 3];
    for _ in 0..40 {
        rounds[round(&runtime).await as usize] += 1;
    }
    assert_eq!(rounds, [0, 30, 10]);
    let printed = order(&runtime, &["rollout", "one", "--promote"]).await;
    assert_eq!(printed, "one: version 2 takes all calls\n");
    assert_eq!(history(&runtime).await, "1 replaced, 2 current");
    for _ in 0..4 {
        assert_eq!(round(&runtime).await, 2);
    }
    let (done, printed) = runtime.order(&["rollout", "one", "--promote"]).await;
    assert_eq!((done, &*printed), (false, "there is no canary\n"));
}

#[tokio::test]
async fn rollback_returns_to_the_version_before() {
    let runtime = Runtime::start(&versioned(1)).await;
    runtime.write(&versioned(2));
    let printed = order(&runtime, &["rollout", "one"]).await;
    assert_eq!(printed, "one: version 2 takes all calls\n");
    assert_eq!(round(&runtime).await, 2);
    let printed = order(&runtime, &["rollback", "one"]).await;
    assert_eq!(printed, "one: version 1 takes all calls\n");
    assert_eq!(round(&runtime).await, 1);
    assert_eq!(history(&runtime).await, "1 current, 2 rolled-back");
    let (done, printed) = runtime.order(&["rollback", "one"]).await;
    assert_eq!(
        (done, &*printed),
        (false, "there is no version to return to\n")
    );

    // What was rolled back does not come again until somebody asks for it.
    let (_, printed) = runtime.reload(&versioned(2)).await;
    assert_eq!(printed, "no function changed\n");
    assert_eq!(round(&runtime).await, 1);
    order(&runtime, &["rollout", "one", "--canary", "50"]).await;
    order(&runtime, &["rollback", "one"]).await;
    assert_eq!(
        history(&runtime).await,
        "1 current, 2 rolled-back, 3 rolled-back"
    );
}

#[tokio::test]
async fn reserved_concurrency_holds_for_both_versions_together() {
    let puppeteer = Puppeteer::new().await;
    let members = "concurrency = 4\nreserved_concurrency = 2";
    let runtime = puppeteer.start(members, "").await;
    order(&runtime, &["rollout", "puppet", "--canary", "50"]).await;
    let calls = [runtime.post("/puppet"), runtime.post("/puppet")];
    let (first, second) = (puppeteer.next().await, puppeteer.next().await);
    assert_ne!(first.pid, second.pid, "one in each version");
    // Whichever version would take it.
    for _ in 0..2 {
        assert_eq!(runtime.post("/puppet").await.unwrap().status(), 503);
    }
    first.answer(OK).await;
    second.answer(OK).await;
    for call in calls {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    let throttles = "lambda_throttles_total{function=\"puppet\",reason=\"reserved-concurrency\"}";
    assert_eq!(runtime.metric(throttles).await.unwrap(), "2");
}

#[tokio::test]
async fn canary_whose_calls_fail_is_rolled_back() {
    let puppeteer = Puppeteer::new().await;
    let mut runtime = puppeteer.start("concurrency = 2", "").await;
    order(
        &runtime,
        &["rollout", "puppet", "--canary", "50", "--errors-max", "10"],
    )
    .await;
    let pids = runtime.pids("puppet").await;
    let first = pids[0];
    for _ in 0..40 {
        let response = runtime.post("/puppet");
        let invocation = puppeteer.next().await;
        let answer = if invocation.pid == first {
            OK
        } else {
            "{\"statusCode\":500}"
        };
        invocation.answer(answer).await;
        response.await.unwrap();
    }
    let line = runtime
        .await_line(|line| line["message"].as_str().unwrap().starts_with("the canary"))
        .await;
    assert_eq!(
        line["message"],
        "the canary is rolled back: 20 of 20 calls failed, more than 10 %"
    );
    assert_eq!(line["version"], 2);
    for _ in 0..4 {
        let response = runtime.post("/puppet");
        let invocation = puppeteer.next().await;
        assert_eq!(invocation.pid, first);
        invocation.answer(OK).await;
        response.await.unwrap();
    }
}

#[tokio::test]
async fn version_keeps_its_program_whatever_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("function");
    let replace = |name: &str| {
        let _first = fs::remove_file(&path);
        fs::copy(example(name), &path).unwrap();
    };
    replace("echo");
    let manifest = format!("[functions.one]\ncommand = [{path:?}]\nroutes = ['POST /one']\n");
    let runtime = Runtime::start(&manifest).await;
    let pids = runtime.pids("one").await;
    fs::remove_file(&path).unwrap();
    fs::write(&path, "no program").unwrap();
    kill(Pid::from_raw(pids[0]), Signal::SIGKILL).unwrap();
    let next = eventually(async || {
        let now = runtime.pids("one").await;
        (!now.is_empty() && now != pids).then_some(now)
    })
    .await;
    assert_eq!(runtime.post("/one").await.unwrap().status(), 200);
    let (done, printed) = runtime.order(&["rollout", "one"]).await;
    assert_eq!(
        (done, &*printed),
        (false, "one: an instance of the new version has ended\n")
    );
    assert_eq!(runtime.pids("one").await, next);
    replace("echo");
    order(&runtime, &["rollout", "one"]).await;
    assert_eq!(runtime.post("/one").await.unwrap().status(), 200);
    replace("puppet");
    order(&runtime, &["rollback", "one"]).await;
    assert_eq!(runtime.post("/one").await.unwrap().status(), 200);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused() {
    let runtime = Runtime::start(&versioned(1)).await;
    for (path, status, message) in [
        (
            "/functions/one/rollout?canary=0",
            400,
            "canary must be 1 to 99",
        ),
        (
            "/functions/one/rollout?canary=x",
            400,
            "canary must be 1 to 99",
        ),
        (
            "/functions/one/rollout?errors_max=5",
            400,
            "errors_max belongs to a canary",
        ),
        (
            "/functions/one/rollout?share=5",
            400,
            "unknown parameter share",
        ),
        ("/functions/two/rollout", 404, "there is no function two"),
        ("/functions/one/rollover", 404, "Not Found"),
    ] {
        let url = format!("http://{}{path}", runtime.admin);
        let response = soon(runtime.client.post(url).send()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["message"], message, "{path}");
    }
    assert_eq!(history(&runtime).await, "1 current");
}
