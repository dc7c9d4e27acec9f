//! Merchants are told each event, signed, until they take it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod shop;

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use shop::{Shop, authorized, event, verify};
use testbed::{Answer, Receiver, until};
use tokio::net::TcpListener;

/// Five seconds of the schedule are 50 ms then.
const FAST: u32 = 100;

fn ids(receiver: &Receiver) -> Vec<String> {
    let came = receiver.received();
    came.iter()
        .map(|it| it.header("webhook-id").to_owned())
        .collect()
}

#[tokio::test]
async fn event_is_sent_again_under_its_id_until_it_is_taken_and_the_official_library_verifies_it() {
    let receiver = Receiver::start(|before| [500, 302, 204][before.min(2)].into()).await;
    let shop = Shop::open(10_000, &[("demo", &receiver.url)]).await;
    let told = authorized("m-demo");
    shop.tell(&[&told]).await;
    shop.reaches(&told, "DELIVERED", 3).await;
    let came = receiver.received();
    assert_eq!(ids(&receiver), vec![told["id"].as_str().unwrap(); 3]);
    for sent in &came {
        assert_eq!(sent.body, told.to_string(), "byte for byte");
        assert_eq!(sent.header("content-type"), "application/cloudevents+json");
    }
    verify("demo", &came).await;
}

#[tokio::test]
async fn event_that_comes_again_is_sent_once() {
    let receiver = Receiver::that_takes().await;
    let shop = Shop::open(FAST, &[("demo", &receiver.url)]).await;
    let [told, last] = [authorized("m-demo"), authorized("m-demo")];
    shop.tell(&[&told, &told]).await;
    shop.reaches(&told, "DELIVERED", 1).await;
    shop.tell(&[&told, &last]).await;
    shop.reaches(&last, "DELIVERED", 1).await;
    assert_eq!(
        ids(&receiver),
        [&told, &last].map(|it| it["id"].as_str().unwrap())
    );
}

#[tokio::test]
async fn events_of_a_payment_are_first_sent_in_their_order() {
    let receiver = Receiver::start(|before| if before == 0 { 503 } else { 200 }.into()).await;
    let shop = Shop::open(FAST, &[("demo", &receiver.url)]).await;
    let first = authorized("m-demo");
    let payment = first["subject"].as_str().unwrap();
    let captured = event("m-demo", payment, 2, "payment.captured");
    let refunded = event("m-demo", payment, 3, "payment.refunded");
    let other = authorized("m-demo");
    shop.tell(&[&refunded, &captured, &other]).await;
    shop.reaches(&other, "DELIVERED", 2).await;
    assert!(shop.row(&captured).await.unwrap().is("PENDING", 0));
    shop.tell(&[&first]).await;
    shop.reaches(&refunded, "DELIVERED", 2).await;
    let mut met = ids(&receiver);
    met.dedup();
    let place = |event: &Value| met.iter().position(|id| *id == event["id"]);
    assert!(place(&first) < place(&captured), "{met:?}");
    assert!(place(&captured) < place(&refunded), "{met:?}");
}

#[tokio::test]
async fn slow_endpoint_of_a_merchant_holds_up_no_other() {
    let slow = Receiver::start(|_| Answer {
        status: 200,
        after: Duration::from_secs(14),
        ..Answer::default()
    })
    .await;
    let quick = Receiver::that_takes().await;
    let shop = Shop::open(FAST, &[("demo", &slow.url), ("other", &quick.url)]).await;
    let began = Instant::now();
    let held: Vec<Value> = (0..40).map(|_| authorized("m-demo")).collect();
    shop.tell(&held.iter().collect::<Vec<_>>()).await;
    until("a slow endpoint that is called", async || {
        !slow.received().is_empty()
    })
    .await;
    // Longer than an invocation lasts.
    for _ in 0..7 {
        let told = authorized("m-other");
        let asked = Instant::now();
        shop.tell(&[&told]).await;
        shop.reaches(&told, "DELIVERED", 1).await;
        assert!(
            asked.elapsed() < Duration::from_secs(3),
            "{:?}",
            asked.elapsed()
        );
        tokio::time::sleep(Duration::from_millis(800)).await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(14),
        "the slow one still holds its own"
    );
    assert_eq!(slow.received().len(), 8, "as many as a merchant has places");
    shop.reaches(&held[0], "DELIVERED", 1).await;
}

#[tokio::test]
async fn endpoint_that_is_gone_is_called_no_more_until_the_key_file_names_another() {
    let gone = Receiver::start(|_| 410.into()).await;
    let next = Receiver::that_takes().await;
    let shop = Shop::open(FAST, &[("demo", &gone.url)]).await;
    let [first, second, third] = [(); 3].map(|()| authorized("m-demo"));
    shop.tell(&[&first]).await;
    shop.reaches(&first, "FAILED", 1).await;
    shop.tell(&[&second]).await;
    shop.reaches(&second, "NO_ENDPOINT", 0).await;
    assert_eq!(gone.received().len(), 1);

    shop.name(&[("demo", &next.url)]);
    let looked = Duration::from_millis(1_100);
    tokio::time::sleep(looked).await;
    shop.tell(&[&third]).await;
    shop.reaches(&third, "DELIVERED", 1).await;
    assert_eq!((gone.received().len(), next.received().len()), (1, 1));
}

#[tokio::test]
async fn merchant_without_an_endpoint_is_noted_and_told_nothing() {
    let receiver = Receiver::that_takes().await;
    let shop = Shop::open(FAST, &[("demo", &receiver.url)]).await;
    let [without, with] = [authorized("m-other"), authorized("m-demo")];
    shop.tell(&[&without, &with]).await;
    shop.reaches(&with, "DELIVERED", 1).await;
    shop.reaches(&without, "NO_ENDPOINT", 0).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn redirect_is_never_followed_and_ten_attempts_have_failed() {
    let target = Receiver::that_takes().await;
    let location = target.url.clone();
    let receiver = Receiver::start(move |_| Answer {
        status: 307,
        location: Some(location.clone()),
        ..Answer::default()
    })
    .await;
    let shop = Shop::open(100_000, &[("demo", &receiver.url)]).await;
    let told = authorized("m-demo");
    shop.tell(&[&told]).await;
    shop.reaches(&told, "FAILED", 10).await;
    assert_eq!(shop.row(&told).await.unwrap().last_status, Some(307));
    assert_eq!(
        (receiver.received().len(), target.received().len()),
        (10, 0)
    );
}

#[tokio::test]
async fn address_that_is_not_public_is_not_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let named = format!("https://localhost:{port}/");
    let number = format!("https://2130706433:{port}/");
    let endpoints = [("demo", named.as_str()), ("other", number.as_str())];
    let shop = Shop::open_with(100_000, &endpoints, false).await;
    let told = ["m-demo", "m-other"].map(authorized);
    shop.tell(&told.each_ref()).await;
    for told in &told {
        shop.reaches(told, "FAILED", 10).await;
        let error = shop.row(told).await.unwrap().last_error;
        assert_eq!(error.as_deref(), Some("ADDRESS_REFUSED"));
    }
    let nobody = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await;
    assert!(nobody.is_err(), "nobody connected");
}

#[tokio::test]
async fn event_that_was_being_sent_by_a_killed_process_is_sent_again() {
    let receiver = Receiver::start(|before| Answer {
        status: 200,
        after: Duration::from_secs(if before == 0 { 10 } else { 0 }),
        ..Answer::default()
    })
    .await;
    let shop = Shop::open(FAST, &[("demo", &receiver.url)]).await;
    let told = authorized("m-demo");
    shop.tell(&[&told]).await;
    until("a webhook on its way", async || {
        receiver.received().len() == 1
    })
    .await;
    let pid = shop.bed().instance_pid("webhook-send").await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    shop.reaches(&told, "DELIVERED", 1).await;
    let id = told["id"].as_str().unwrap();
    assert_eq!(ids(&receiver), [id, id]);
}

#[tokio::test]
async fn webhook_is_sent_again_when_asked_by_its_merchant_or_an_operator() {
    let receiver = Receiver::start(|before| if before == 0 { 410 } else { 200 }.into()).await;
    let shop = Shop::open(FAST, &[("demo", &receiver.url)]).await;
    let told = authorized("m-demo");
    let id = told["id"].as_str().unwrap();
    shop.tell(&[&told]).await;
    shop.reaches(&told, "FAILED", 1).await;
    let resend = format!("/webhooks/{id}/resend");
    let hidden = shop.bed().caller("other").post_empty(&resend).await;
    assert_eq!(
        (hidden.status, hidden.code().as_str()),
        (404, "webhook-not-found")
    );

    let again = format!("{}&next", receiver.url);
    shop.name(&[("demo", &again)]);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let demo = shop.bed().caller("demo");
    let begun = demo.post_keyed(&resend, &Value::Null, "again").await;
    assert_eq!(
        begun.status, 400,
        "a body that is no object: {:?}",
        begun.body
    );
    let keyed = demo.request("POST", &resend).idempotency_key("again");
    let begun = keyed.send().await;
    assert_eq!(
        (begun.status, begun.replayed()),
        (200, false),
        "{:?}",
        begun.body
    );
    assert_eq!(begun.json()["status"], "PENDING");
    shop.reaches(&told, "DELIVERED", 2).await;
    let keyed = demo.request("POST", &resend).idempotency_key("again");
    let repeated = keyed.send().await;
    assert!(
        repeated.replayed() && repeated.body == begun.body,
        "{:?}",
        repeated.body
    );

    let begun = shop.bed().caller("ops").post_empty(&resend).await;
    assert_eq!(begun.status, 200, "{:?}", begun.body);
    shop.reaches(&told, "DELIVERED", 3).await;
    assert_eq!(ids(&receiver), [id; 3]);
}

#[tokio::test]
async fn merchant_sees_its_own_webhooks_with_their_attempts_and_an_operator_sees_all() {
    let receiver = Receiver::start(|before| if before == 0 { 503 } else { 204 }.into()).await;
    let shop = Shop::open(FAST, &[("demo", &receiver.url)]).await;
    let [demo, other] = ["m-demo", "m-other"].map(authorized);
    let payment = demo["subject"].as_str().unwrap();
    let captured = event("m-demo", payment, 2, "payment.captured");
    shop.tell(&[&demo, &captured, &other]).await;
    shop.reaches(&captured, "DELIVERED", 2).await;
    shop.reaches(&demo, "DELIVERED", 2).await;
    let listed = async |key: &str, query: &str| {
        let reply = shop
            .bed()
            .caller(key)
            .get(&format!("/webhooks{query}"))
            .await;
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        let list = reply.json();
        let ids = list["data"].as_array().unwrap().iter();
        let ids: Vec<String> = ids
            .map(|it| it["webhookId"].as_str().unwrap().to_owned())
            .collect();
        (ids, list["hasMore"].as_bool().unwrap())
    };
    let id = |event: &Value| event["id"].as_str().unwrap().to_owned();
    let (newest, oldest) = (id(&captured), id(&demo));
    let own = vec![newest.clone(), oldest.clone()];
    assert_eq!(listed("demo", "").await, (own.clone(), false));
    assert_eq!(
        listed("demo", "?limit=1").await,
        (vec![newest.clone()], true)
    );
    let after = format!("?limit=1&after={newest}");
    assert_eq!(listed("demo", &after).await, (vec![oldest], false));
    assert_eq!(listed("other", "").await, (vec![id(&other)], false));
    assert_eq!(
        listed("ops", "?status=NO_ENDPOINT").await,
        (vec![id(&other)], false)
    );
    assert_eq!(
        listed("ops", &format!("?paymentId={payment}")).await,
        (own, false)
    );
    assert_eq!(listed("ops", "").await.0.len(), 3);

    let path = format!("/webhooks/{newest}");
    let shown = shop.bed().caller("demo").get(&path).await.json();
    assert_eq!(
        (&shown["subject"], &shown["eventType"]),
        (&payment.into(), &"payment.captured".into())
    );
    let statuses = shown["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["status"]);
    assert_eq!(statuses.collect::<Vec<_>>(), [503, 204]);
    for path in [path.as_str(), "/webhooks/none"] {
        let hidden = shop.bed().caller("other").get(path).await;
        assert_eq!(
            (hidden.status, hidden.code().as_str()),
            (404, "webhook-not-found")
        );
    }
}

#[tokio::test]
async fn webhooks_that_are_over_are_deleted_after_ninety_days_with_their_attempts() {
    let receiver = Receiver::start(|_| 500.into()).await;
    let taker = Receiver::that_takes().await;
    let shop = Shop::open(1, &[("demo", &taker.url), ("other", &receiver.url)]).await;
    let [old, young, waiting] = [
        authorized("m-demo"),
        authorized("m-demo"),
        authorized("m-other"),
    ];
    shop.tell(&[&old, &young, &waiting]).await;
    shop.reaches(&old, "DELIVERED", 1).await;
    shop.reaches(&young, "DELIVERED", 1).await;
    shop.reaches(&waiting, "PENDING", 1).await;
    for (event, days) in [(&waiting, 91), (&young, 89), (&old, 91)] {
        shop.came(event, days).await;
    }
    until("the old one is deleted", async || {
        shop.row(&old).await.is_none()
    })
    .await;
    let attempts = "SELECT COUNT(DISTINCT webhook_id) FROM webhook_attempt";
    let attempts = sqlx::query_scalar(attempts);
    let left: i64 = attempts.fetch_one(shop.bed().database()).await.unwrap();
    assert_eq!(left, 2);
    for kept in [&young, &waiting] {
        assert!(shop.row(kept).await.is_some(), "{kept}");
    }
}
