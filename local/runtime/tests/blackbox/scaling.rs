use tokio::process::Command;

use crate::harness::{Puppeteer, Runtime, eventually, program, soon};

const OK: &str = r#"{"statusCode":200,"body":"done"}"#;

#[tokio::test]
async fn calls_that_wait_get_instances_up_to_max_instances() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("max_instances = 3", "").await;
    let responses: Vec<_> = (0..5).map(|_| runtime.post("/puppet")).collect();
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(puppeteer.next().await);
    }
    let mut pids: Vec<i32> = running.iter().map(|it| it.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 3, "one call each");
    runtime.queued("puppet", 2).await;
    assert_eq!(runtime.pids("puppet").await.len(), 3);
    for invocation in running {
        invocation.answer(OK).await;
    }
    for _ in 0..2 {
        puppeteer.next().await.answer(OK).await;
    }
    for response in responses {
        assert_eq!(response.await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_command_scale_starts_and_stops_instances() {
    let puppeteer = Puppeteer::new().await;
    let runtime = puppeteer.start("", "").await;
    let admin = runtime.admin.to_string();
    let scale = async |arguments: &[&str]| {
        let mut command = Command::new(program());
        command
            .arg("scale")
            .args(arguments)
            .args(["--admin", &admin]);
        let output = soon(command.output()).await.unwrap();
        (
            output.status.code(),
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap(),
        )
    };
    let has = async |count| {
        eventually(async || (runtime.pids("puppet").await.len() == count).then_some(())).await;
    };
    let (code, text) = scale(&["puppet", "--min", "3", "--max", "4"]).await;
    assert_eq!(
        (code, text.as_str()),
        (Some(0), "puppet: 3 to 4 instances\n")
    );
    has(3).await;
    let (code, _) = scale(&["puppet", "--min", "0", "--max", "1"]).await;
    assert_eq!(code, Some(0));
    has(1).await;
    for wrong in [
        ["puppet", "--min=2", "--max=1"],
        ["puppet", "--min=0", "--max=0"],
        ["puppet", "--min=0", "--max=1001"],
        ["nobody", "--min=1", "--max=1"],
    ] {
        let (code, text) = scale(&wrong).await;
        assert_eq!(code, Some(1), "{text}");
    }
    assert_eq!(runtime.function("puppet").await["maxInstances"], 1);
}

#[tokio::test]
async fn calls_above_reserved_concurrency_are_refused() {
    let puppeteer = Puppeteer::new().await;
    let gateway = "[gateway]\nerrors = 'problem'";
    let members = "concurrency = 8\nreserved_concurrency = 1";
    let runtime = puppeteer.start(members, gateway).await;
    let response = runtime.post("/puppet");
    let invocation = puppeteer.next().await;
    let refused = runtime.post("/puppet").await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let refused = runtime.invoke("puppet", "{}").await;
    assert_eq!(refused.status(), 429);
    invocation.answer(OK).await;
    assert_eq!(response.await.unwrap().status(), 200);
    let throttles = "lambda_throttles_total{function=\"puppet\",reason=\"reserved-concurrency\"}";
    assert_eq!(runtime.metric(throttles).await.unwrap(), "2");
}

#[tokio::test]
async fn how_busy_the_host_is_can_be_watched() {
    let runtime = Runtime::start("[functions.one]\ncommand = [ECHO]\n").await;
    let percent = eventually(async || runtime.metric("lambda_host_cpu_percent").await).await;
    assert!(percent.parse::<u32>().unwrap() <= 100);
    let held = "lambda_starts_held_back_total{function=\"one\"}";
    assert_eq!(runtime.metric(held).await.unwrap(), "0");
}
