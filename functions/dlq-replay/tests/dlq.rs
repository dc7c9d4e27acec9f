//! Dead letters are seen, replayed in order with one effect each, or given up for a reason.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scene;

use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use scene::{Scene, captured, ids, payment_id, refunded};
use serde_json::{Value, json};
use testbed::{Testbed, fresh, until};

/// Letters of a replay that takes a while; at most as many as a page.
const MANY: usize = 100;
/// Requests that race.
const RACERS: usize = 4;

/// A refund without what it follows, and the one after it, as letters.
async fn given_up(scene: &Scene, payment: &str) -> Vec<Value> {
    for (count, seq) in [(1, 3), (2, 4)] {
        scene.tell(payment, &refunded(payment, seq)).await;
        scene.pending(count).await;
    }
    let letters = scene.pending(2).await;
    assert_eq!(letters[0]["condition"], "RetriesExhausted");
    assert_eq!(letters[0]["attempts"], 2);
    assert_eq!(letters[1]["condition"], "KeyParked");
    for letter in &letters {
        assert_eq!(letter["function"], "settlement-ingest");
        assert_eq!(letter["key"], payment);
        assert_eq!(letter["parked"], true);
        let headers = json!([{ "name": "ce_id", "value": "made-up" }]);
        assert_eq!(letter["headers"], headers);
        assert_eq!(letter.get("decision"), None);
    }
    letters
}

#[tokio::test]
async fn letters_of_a_key_are_replayed_in_order_once_their_cause_is_gone() {
    let scene = Scene::new().await;
    let payment = payment_id();
    let letters = given_up(&scene, &payment).await;
    let stuck = scene.done("replay", &json!({})).await;
    let detail = "the function named it in batchItemFailures";
    let failed = json!([{ "letterId": letters[0]["letterId"], "detail": detail }]);
    let expected = json!({ "replayed": 0, "failed": failed, "remaining": 2 });
    assert_eq!(stuck, expected);
    assert_eq!(scene.pending(2).await, letters);
    assert_eq!(scene.noted(&payment).await, [0; 0]);

    // The last one was taken already, as by a request that then crashed.
    for event in [captured(&payment), refunded(&payment, 3)] {
        scene.give(&event).await;
    }
    let done = scene.done("replay", &json!({})).await;
    let expected = json!({ "replayed": 2, "failed": [], "remaining": 0 });
    assert_eq!(done, expected);
    assert_eq!(scene.noted(&payment).await, [2, 3, 4]);
    let replayed = scene.letters("REPLAYED").await;
    assert_eq!(ids(&replayed), ids(&letters));
    assert_eq!(replayed[0]["decision"]["actor"], "ops");
    assert_eq!(replayed[0]["decision"]["status"], "REPLAYED");

    scene.tell(&payment, &refunded(&payment, 5)).await;
    scene.notes(&payment, &[2, 3, 4, 5]).await;
    let nothing = json!({ "replayed": 0, "failed": [], "remaining": 0 });
    assert_eq!(scene.done("replay", &json!({})).await, nothing);
    assert_eq!(scene.noted(&payment).await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn replay_that_was_killed_goes_on_where_it_stopped() {
    let scene = Scene::new().await;
    let payments: Vec<String> = (0..MANY).map(|_| payment_id()).collect();
    for payment in &payments {
        scene.tell(payment, &refunded(payment, 3)).await;
    }
    scene.pending(MANY).await;
    for payment in &payments {
        scene.give(&captured(payment)).await;
    }
    let (path, key) = (format!("{}/replay", scene.path), fresh("key"));
    let ops = scene.desk.bed.caller("ops");
    let everything = json!({});
    let asking = ops.post_until_settled(&path, &everything, &key);
    let (done, ()) = tokio::join!(asking, kill_half_way(&scene));
    assert_eq!(done.status, 200, "{:?}", done.body);
    assert_eq!(done.json()["remaining"], 0);
    assert_eq!(done.json()["failed"], json!([]));
    for payment in &payments {
        assert_eq!(scene.noted(payment).await, [2, 3]);
    }
    let first = &payments[0];
    scene.tell(first, &refunded(first, 4)).await;
    scene.notes(first, &[2, 3, 4]).await;
}

/// Kills the function when it has decided about some letters, and not about all.
async fn kill_half_way(scene: &Scene) {
    let mut decided = 0;
    until("some decisions", async || {
        decided = scene.decided().await;
        decided > 0
    })
    .await;
    let pid = Pid::from_raw(scene.desk.bed.instance_pid("dlq-replay").await);
    kill(pid, Signal::SIGKILL).unwrap();
    decided = scene.decided().await;
    assert!(decided < MANY, "{decided} were decided about");
}

#[tokio::test]
async fn letter_that_will_never_be_of_use_is_given_up_for_a_reason() {
    let scene = Scene::new().await;
    let [payment, other] = [payment_id(), payment_id()];
    scene.tell(&payment, "{").await;
    scene.pending(1).await;
    scene.tell(&payment, &captured(&payment)).await;
    scene.tell(&other, &captured(&other)).await;
    scene.notes(&other, &[2]).await;
    let letters = scene.pending(2).await;
    let [poison, follower] = ids(&letters)[..] else {
        unreachable!("two letters")
    };
    let past = scene.done("replay", &json!({ "ids": [follower] })).await;
    let nothing = json!({ "replayed": 0, "failed": [], "remaining": 2 });
    assert_eq!(past, nothing, "never past a pending one");

    let body = json!({ "ids": [poison], "reason": "no event: 잘린 메시지" });
    let purged = scene.done("purge", &body).await;
    assert_eq!(purged, json!({ "purged": 1, "remaining": 1 }));
    let again = scene.done("purge", &body).await;
    assert_eq!(again, json!({ "purged": 0, "remaining": 1 }));
    let gone = scene.letters("PURGED").await;
    assert_eq!(ids(&gone), [poison]);
    assert_eq!(gone[0]["decision"]["reason"], "no event: 잘린 메시지");
    assert_eq!(gone[0]["decision"]["actor"], "ops");
    scene.tell(&payment, &refunded(&payment, 3)).await;
    scene.pending(2).await;
    assert_eq!(
        scene.noted(&payment).await,
        [0; 0],
        "the key is still parked"
    );

    let done = scene.done("replay", &json!({})).await;
    assert_eq!(done["replayed"], 2);
    scene.tell(&payment, &refunded(&payment, 4)).await;
    scene.notes(&payment, &[2, 3, 4]).await;
}

#[tokio::test]
async fn requests_that_race_or_come_again_replay_each_letter_once() {
    let scene = Scene::new().await;
    let payment = payment_id();
    for event in [refunded(&payment, 3), refunded(&payment, 4)] {
        scene.tell(&payment, &event).await;
    }
    scene.pending(2).await;
    scene.give(&captured(&payment)).await;
    let everything = json!({});
    let racers = (0..RACERS).map(|_| scene.done("replay", &everything));
    let done = join_all(racers).await;
    let replayed: u64 = done.iter().map(|it| it["replayed"].as_u64().unwrap()).sum();
    assert_eq!(replayed, 2);
    assert_eq!(scene.noted(&payment).await, [2, 3, 4]);

    let ops = scene.desk.bed.caller("ops");
    let (path, key) = (format!("{}/replay", scene.path), fresh("key"));
    let first = ops.post_keyed(&path, &everything, &key).await;
    assert_eq!((first.status, first.replayed()), (200, false));
    let again = ops.post_keyed(&path, &everything, &key).await;
    assert_eq!((again.status, again.replayed()), (200, true));
    assert_eq!(again.body, first.body);
    let other = json!({ "ids": ["0-0"] });
    let reused = ops.post_keyed(&path, &other, &key).await;
    assert_eq!(reused.code(), "idempotency-key-reused");
}

#[tokio::test]
async fn key_goes_on_though_the_request_that_decided_ended_before_it_said_so() {
    let scene = Scene::new().await;
    let payment = payment_id();
    scene.tell(&payment, &refunded(&payment, 3)).await;
    let letter = &scene.pending(1).await[0];
    for event in [captured(&payment), refunded(&payment, 3)] {
        scene.give(&event).await;
    }
    let topic = scene.path.trim_start_matches("/dlq/");
    let (_, offset) = letter["letterId"]
        .as_str()
        .unwrap()
        .split_once('-')
        .unwrap();
    sqlx::query("INSERT INTO dlq_decision VALUES (?, 0, ?, 'REPLAYED', 'ops', NULL, NOW(3))")
        .bind(topic)
        .bind(offset)
        .execute(scene.desk.bed.database())
        .await
        .unwrap();
    let done = scene.done("replay", &json!({})).await;
    let nothing = json!({ "replayed": 0, "failed": [], "remaining": 0 });
    assert_eq!(done, nothing);
    scene.tell(&payment, &refunded(&payment, 4)).await;
    scene.notes(&payment, &[2, 3, 4]).await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_changes_nothing() {
    let scene = Scene::new().await;
    scene.tell_bytes(b"{").await;
    let letters = scene.pending(1).await;
    let purge = |ids: &[&str], reason: &str| json!({ "ids": ids, "reason": reason });
    let known = ids(&letters)[0];
    for (command, body) in [
        ("replay", json!({ "ids": [] })),
        ("replay", json!({ "ids": [known, "9-9"] })),
        ("replay", json!({ "ids": ["first"] })),
        ("replay", json!({ "all": true })),
        ("purge", json!({ "ids": [known] })),
        ("purge", purge(&[known, "0-999"], "gone")),
        ("purge", purge(&[known], " ")),
        ("purge", json!({})),
    ] {
        let refused = scene.post(command, &body).await;
        assert_eq!(refused.status, 400, "{command} {body}");
        assert_eq!(refused.code(), "invalid-request", "{command} {body}");
    }
    for query in ["limit=0", "status=DONE", "after=x", "page=2"] {
        assert_eq!(scene.get(query).await.code(), "invalid-request", "{query}");
    }
    assert_eq!(scene.pending(1).await, letters);
    let demo = scene.desk.bed.caller("demo");
    assert_eq!(demo.get(&scene.path).await.code(), "role-forbidden");
    let path = format!("{}/replay", scene.path);
    assert_eq!(demo.post(&path, &json!({})).await.code(), "role-forbidden");
}

#[tokio::test]
async fn letters_are_shown_page_by_page_and_as_base64_where_they_are_no_text() {
    let scene = Scene::new().await;
    for value in [&b"\xff\x00"[..], b"text", b""] {
        scene.tell_bytes(value).await;
    }
    let letters = scene.pending(3).await;
    assert_eq!(letters[0]["value"], "/wA=");
    assert_eq!(letters[0]["valueBase64"], true);
    assert_eq!(letters[1]["value"], "text");
    assert_eq!(
        (&letters[1]["key"], &letters[1]["parked"]),
        (&Value::Null, &json!(false))
    );
    let first = scene.get("limit=2").await.json();
    assert_eq!(first["hasMore"], true);
    assert_eq!(ids(first["data"].as_array().unwrap()), ids(&letters[..2]));
    let after = first["data"][1]["letterId"].as_str().unwrap();
    let rest = scene.get(&format!("limit=2&after={after}")).await.json();
    assert_eq!(rest["hasMore"], false);
    assert_eq!(ids(rest["data"].as_array().unwrap()), ids(&letters[2..]));
}

#[tokio::test]
async fn topic_that_is_not_there_or_has_no_letters_is_not_found() {
    let bed = Testbed::new().await;
    let ops = bed.caller("ops");
    let missing = format!("/dlq/{}.settle.dlq", fresh("t"));
    for path in [missing.as_str(), "/dlq/payment.captured", "/dlq/x.dlq"] {
        let listed = ops.get(path).await;
        assert_eq!(
            (listed.status, listed.code().as_str()),
            (404, "topic-not-found")
        );
        let replay = ops.post(&format!("{path}/replay"), &json!({})).await;
        assert_eq!(replay.code(), "topic-not-found");
        let body = json!({ "ids": ["0-0"], "reason": "r" });
        let purge = ops.post(&format!("{path}/purge"), &body).await;
        assert_eq!(purge.code(), "topic-not-found");
    }
    let none = ops.get("/dlq/settlement.closed.post-settlement.dlq").await;
    assert_eq!(none.json(), json!({ "data": [], "hasMore": false }));
    bed.assert_books_hold().await;
}
