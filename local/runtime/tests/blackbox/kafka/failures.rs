//! What becomes of records that fail.

use rdkafka::Message;
use rdkafka::message::{Header, OwnedHeaders};
use serde_json::{Value, json};

use super::topic::Topic;
use super::{await_counted, counted, failed, offsets, records, source, start};
use crate::harness::{Puppeteer, eventually};

#[tokio::test]
async fn partial_failure_is_retried_from_the_lowest_failed_record() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send_many(0, 5).await;
    let runtime = start(&puppeteer, &topic, "partial_failures = true").await;
    let first = puppeteer.next().await;
    assert_eq!(offsets(&first), [0, 1, 2, 3, 4]);
    first.answer(&failed(&topic, &[4, 2])).await;
    let second = puppeteer.next().await;
    assert_eq!(offsets(&second), [2, 3, 4]);
    topic.await_committed(0, 2).await;
    second.answer(&failed(&topic, &[99])).await;
    let third = puppeteer.next().await;
    assert_eq!(offsets(&third), [2, 3, 4], "an unknown record fails all");
    third.answer(&failed(&topic, &[])).await;
    topic.await_committed(0, 5).await;
    assert_eq!(counted(&runtime, "ok").await, 5);
    let batches = "lambda_source_batches_total{function=\"puppet\",result=\"partial\"}";
    assert_eq!(runtime.metric(batches).await.unwrap(), "2");
    assert_eq!(
        runtime.metric("lambda_source_retries_total").await.unwrap(),
        "2"
    );
}

#[tokio::test]
async fn bisecting_leads_to_the_poisoned_record_and_only_that_is_given_up() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send_many(0, 5).await;
    topic.send(0, Some(b"key\xff"), b"poison\x00").await;
    topic.send_many(0, 4).await;
    let members = format!("bisect = true\nmax_retries = 1\n{}", Topic::on_failure());
    let runtime = start(&puppeteer, &topic, &members).await;
    let mut alone = 0;
    let serve = async {
        loop {
            let invocation = puppeteer.next().await;
            let offsets = offsets(&invocation);
            alone += u32::from(offsets == [5]);
            let answer = if offsets.contains(&5) { "fail" } else { "null" };
            invocation.answer(answer).await;
        }
    };
    tokio::select! {
        () = serve => unreachable!(),
        () = await_counted(&runtime, "ok", 9) => {}
    }
    assert_eq!(alone, 2, "one retry");
    let [letter] = topic.letters(1).await.try_into().unwrap();
    assert_eq!(letter.message.key(), Some(&b"key\xff"[..]));
    assert_eq!(letter.value(), b"poison\x00");
    assert_eq!(letter.header("attempts"), "2");
    topic.await_committed(0, 10).await;
}

#[tokio::test]
async fn record_whose_retries_are_used_up_becomes_a_dead_letter_with_its_origin() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(2).await);
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "ce_id",
            value: Some("e-1"),
        })
        .insert(Header {
            key: "kafka_dlt-attempts",
            value: Some("77"),
        });
    topic.send_many(1, 1).await;
    topic.send_with(1, Some(b"k"), Some(b"v"), headers).await;
    let members = format!(
        "partial_failures = true\nmax_retries = 2\n{}",
        Topic::on_failure()
    );
    let runtime = start(&puppeteer, &topic, &members).await;
    let partition = format!("{}-1", topic.name);
    let answer = json!({"batchItemFailures": [
        {"itemIdentifier": {"partition": partition, "offset": 1}}
    ]});
    let first = puppeteer.next().await;
    let timestamp = records(&first)[1]["timestamp"].to_string();
    first.answer(&answer.to_string()).await;
    for ending in ["exit", "fail"] {
        let invocation = puppeteer.next().await;
        assert_eq!(offsets(&invocation), [1]);
        invocation.answer(ending).await;
    }
    let [letter] = topic.letters(1).await.try_into().unwrap();
    topic.await_committed(1, 2).await;
    assert_eq!(letter.headers["ce_id"], "e-1");
    for (name, value) in [
        ("original-topic", topic.name.as_str()),
        ("original-partition", "1"),
        ("original-offset", "1"),
        ("original-timestamp", &timestamp),
        ("consumer-group", &topic.name),
        ("attempts", "3"),
        ("condition", "RetriesExhausted"),
        ("parked", ""),
    ] {
        assert_eq!(letter.header(name), value, "{name}");
    }
    let error = letter.header("exception-message");
    assert!(error.contains("told to fail"), "{error}");
    let own = letter
        .headers
        .keys()
        .filter(|it| *it == "kafka_dlt-attempts");
    assert_eq!(own.count(), 1);
    await_counted(&runtime, "dead-lettered", 1).await;
    assert_eq!(counted(&runtime, "ok").await, 1);
}

#[tokio::test]
async fn record_that_is_too_old_is_not_sent() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send(0, None, b"old").await;
    let members = format!("max_age_s = 1\nmax_retries = -1\n{}", Topic::on_failure());
    let runtime = start(&puppeteer, &topic, &members).await;
    let age_out = async {
        loop {
            let invocation = puppeteer.next().await;
            invocation.answer("fail").await;
        }
    };
    let letters = tokio::select! {
        letters = topic.letters(1) => letters,
        () = age_out => unreachable!(),
    };
    assert_eq!(letters[0].header("condition"), "RecordAgeExceeded");
    await_counted(&runtime, "dead-lettered", 1).await;
    topic.await_committed(0, 1).await;
}

#[tokio::test]
async fn without_a_dead_letter_topic_a_record_is_dropped_and_logged() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.send_many(0, 1).await;
    let mut runtime = start(&puppeteer, &topic, "max_retries = 0").await;
    puppeteer.next().await.answer("fail").await;
    let line = runtime
        .await_line(|line| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("the record is dropped")
        })
        .await;
    assert_eq!(
        (&line["level"], &line["offset"]),
        (&json!("ERROR"), &json!(0))
    );
    await_counted(&runtime, "dropped", 1).await;
    topic.await_committed(0, 1).await;
}

#[tokio::test]
async fn nothing_is_committed_before_the_dead_letter_is_acknowledged() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.make_letters("1").await;
    topic.send_many(0, 2).await;
    let members = format!("batch_size = 1\nmax_retries = 0\n{}", Topic::on_failure());
    let runtime = start(&puppeteer, &topic, &members).await;
    puppeteer.next().await.answer("fail").await;
    eventually(async || {
        let partition = source(&runtime).await["partitions"][0].take();
        let error = partition["lastError"].as_str()?;
        let refused = error.starts_with("no dead letter is written");
        (refused && partition["state"] == "backing-off").then_some(())
    })
    .await;
    assert!(matches!(topic.committed(0).await, None | Some(0)));
    assert_eq!(counted(&runtime, "dead-lettered").await, 0);
    topic.set_letter_bytes("1000000").await;
    let next = puppeteer.next().await;
    assert_eq!(offsets(&next), [1], "the record was not sent again");
    assert_eq!(topic.letters(1).await[0].header("original-offset"), "0");
    next.answer("null").await;
    topic.await_committed(0, 2).await;
}

#[tokio::test]
async fn letters_that_together_are_above_the_topics_bound_are_written() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.make_letters("4000").await;
    for _ in 0..2 {
        topic.send(0, None, &[b'v'; 2000]).await;
    }
    let members = format!("batch_size = 2\nmax_retries = 0\n{}", Topic::on_failure());
    let runtime = start(&puppeteer, &topic, &members).await;
    let both = puppeteer.next().await;
    assert_eq!(offsets(&both), [0, 1]);
    both.answer("fail").await;
    topic.await_committed(0, 2).await;
    assert_eq!(counted(&runtime, "dead-lettered").await, 2);
}

#[tokio::test]
async fn letters_after_a_refused_one_are_not_written_with_every_try() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(1).await);
    topic.make_letters("4000").await;
    for bytes in [1, 5000, 1, 1] {
        topic.send(0, None, &vec![b'v'; bytes]).await;
    }
    let members = format!("batch_size = 4\nmax_retries = 0\n{}", Topic::on_failure());
    let mut runtime = start(&puppeteer, &topic, &members).await;
    let all = puppeteer.next().await;
    assert_eq!(offsets(&all), [0, 1, 2, 3]);
    all.answer("fail").await;
    for _ in 0..3 {
        let refused = |line: &Value| {
            let message = line["message"].as_str().unwrap_or_default();
            message.starts_with("no dead letter is written")
        };
        runtime.await_line(refused).await;
    }
    assert_eq!(counted(&runtime, "dead-lettered").await, 1);
    topic.set_letter_bytes("1000000").await;
    let letters = topic.letters(6).await;
    let written: Vec<_> = letters
        .iter()
        .map(|it| it.header("original-offset"))
        .collect();
    assert_eq!(written, ["0", "2", "3", "1", "2", "3"]);
    topic.await_committed(0, 4).await;
    assert_eq!(counted(&runtime, "dead-lettered").await, 4);
}

#[tokio::test]
async fn poisoned_partition_holds_up_no_other() {
    let (puppeteer, topic) = (Puppeteer::new().await, Topic::new(4).await);
    for partition in 0..4 {
        topic.send_many(partition, 20).await;
    }
    let runtime = start(
        &puppeteer,
        &topic,
        "batch_size = 1\nwindow_ms = 0\nconcurrency = 1",
    )
    .await;
    let serve = async {
        loop {
            let invocation = puppeteer.next().await;
            let poisoned = records(&invocation)[0]["partition"] == 2;
            if poisoned {
                assert_eq!(offsets(&invocation), [0]);
            }
            let answer = if poisoned { "fail" } else { "null" };
            invocation.answer(answer).await;
        }
    };
    tokio::select! {
        () = serve => unreachable!(),
        () = await_counted(&runtime, "ok", 60) => {}
    }
    for partition in [0, 1, 3] {
        topic.await_committed(partition, 20).await;
    }
    assert!(matches!(topic.committed(2).await, None | Some(0)));
}
