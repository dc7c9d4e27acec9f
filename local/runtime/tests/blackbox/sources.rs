use serde_json::Value;

use crate::harness::{Invocation, Puppeteer, eventually, program, soon};

#[tokio::test]
async fn continuous_function_runs_again_after_work_and_after_a_wake() {
    let puppeteer = Puppeteer::new().await;
    let continuous = "[functions.relay]\ncommand = [PUPPET]\n\
                      [functions.relay.continuous]\nwake_on = ['puppet']\nidle_ms = 3600000\n";
    let runtime = puppeteer.start("", continuous).await;
    let first = puppeteer.next().await;
    assert_eq!(
        first.event,
        serde_json::json!({"source": "local-lambda.continuous"})
    );
    first.answer(r#"{"idle":false}"#).await;
    let second = puppeteer.next().await;
    assert_eq!(second.event["source"], "local-lambda.continuous");

    // A wake while it runs: another run follows, though this one ends idle.
    let response = runtime.post("/puppet");
    puppeteer.next().await.answer("{}").await;
    assert_eq!(response.await.unwrap().status(), 200);
    second.answer(r#"{"idle":true}"#).await;
    let third = puppeteer.next().await;
    assert_eq!(third.event["source"], "local-lambda.continuous");
    third.answer("fail").await;
    let after_failure = puppeteer.next().await;
    assert_eq!(after_failure.event["source"], "local-lambda.continuous");
}

#[tokio::test]
async fn scheduled_run_wakes_a_continuous_function_as_a_request_does() {
    let puppeteer = Puppeteer::new().await;
    let sources = "[[functions.puppet.schedule]]\nevery = '100ms'\n\
                   [functions.relay]\ncommand = [PUPPET]\n\
                   [functions.relay.continuous]\nwake_on = ['puppet']\nidle_ms = 3600000\n";
    let _runtime = puppeteer.start("", sources).await;
    let is_relay = |invocation: &Invocation| invocation.event["source"].is_string();
    // Without a wake each pause is twice as long as the one before.
    soon(async {
        let mut idle_runs = 0;
        while idle_runs < 15 {
            let invocation = puppeteer.next().await;
            idle_runs += u32::from(is_relay(&invocation));
            invocation.answer(r#"{"idle":true}"#).await;
        }
    })
    .await;
}

#[tokio::test]
async fn scheduled_run_that_is_still_going_is_not_started_again() {
    let puppeteer = Puppeteer::new().await;
    let schedule = "[[functions.puppet.schedule]]\nevery = '100ms'\ninput = { task = 'close' }\n";
    let runtime = puppeteer.start("concurrency = 4", schedule).await;
    let run = puppeteer.next().await;
    assert_eq!(run.event, serde_json::json!({"task": "close"}));
    eventually(async || {
        let skipped = runtime
            .metric("lambda_schedule_skipped_total")
            .await
            .unwrap();
        (skipped.parse::<u32>().unwrap() >= 2).then_some(())
    })
    .await;
    assert_eq!(
        runtime.metric("lambda_invocations_total").await.unwrap(),
        "0"
    );
    run.answer("null").await;
    let again = puppeteer.next().await;
    assert_eq!(again.event, serde_json::json!({"task": "close"}));
}

#[tokio::test]
async fn operator_sees_what_the_sources_are_doing() {
    let puppeteer = Puppeteer::new().await;
    let sources = "[[functions.puppet.schedule]]\nevery = '100ms'\n\
                   [functions.relay]\ncommand = [PUPPET]\n\
                   [functions.relay.continuous]\nidle_ms = 3600000\n";
    let runtime = puppeteer.start("", sources).await;
    let source = async |function: &str, is: fn(&Value) -> bool| {
        eventually(async || {
            let seen: Vec<Value> = serde_json::from_str(&runtime.admin("/sources").await).unwrap();
            let source = seen.into_iter().find(|it| it["function"] == function)?;
            is(&source).then_some(source)
        })
        .await
    };
    let [one, other] = [puppeteer.next().await, puppeteer.next().await];
    let relay = source("relay", |it| it["state"] == "running").await;
    assert_eq!(relay["kind"], "continuous");
    one.answer("fail").await;
    other.answer("fail").await;
    let scheduled = source("puppet", |it| it["lastError"].is_string()).await;
    assert_eq!(scheduled["from"], "every 100ms");
    let error = scheduled["lastError"].as_str().unwrap();
    assert!(error.contains("told to fail"), "{error}");

    let admin = runtime.admin.to_string();
    let mut command = tokio::process::Command::new(program());
    let output = command.args(["sources", "--admin", &admin]).output();
    let table = String::from_utf8(soon(output).await.unwrap().stdout).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");
}
