//! A file is taken once, whole, or not at all.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fmt::Write as _, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use futures_util::future::join_all;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testbed::{Apart, Caller, Reply, fresh, until};

const FUNCTION: &str = "recon-upload";
const PATH: &str = "/payments/upload";
const FILE: &str = "transaction_key,type,amount,date\nk1,CAPTURE,1000,2026-03-31\n";
/// Requests that race.
const RACERS: usize = 20;
/// Rows: many chunks.
const MANY: usize = 60_000;
/// How often a load is killed.
const KILLS: usize = 3;

async fn send(ops: &Caller, name: &str, body: impl Into<bytes::Bytes>) -> Reply {
    let request = ops.request("POST", PATH).body(body);
    let request = request.content_type("text/csv").header("x-filename", name);
    request.send().await
}

async fn apart() -> Apart {
    Apart::start("recon", &[FUNCTION]).await
}

#[tokio::test]
async fn file_that_comes_many_times_at_once_is_taken_once() {
    let apart = apart().await;
    let ops = apart.bed.caller("ops");
    let replies = join_all((0..RACERS).map(|_| send(&ops, "march.csv", FILE))).await;
    let bodies: BTreeSet<String> = replies
        .iter()
        .map(|reply| {
            assert_eq!(reply.status, 202, "{:?}", reply.body);
            reply.json().to_string()
        })
        .collect();
    assert_eq!(bodies.len(), 1);
    let renamed = send(&ops, "april.csv", FILE).await;
    assert_eq!(renamed.json(), replies[0].json(), "its bytes name it");
    let (files, rows, events): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM recon_file), (SELECT COUNT(*) FROM recon_row),
                (SELECT COUNT(*) FROM outbox_event)",
    )
    .fetch_one(apart.bed.database())
    .await
    .unwrap();
    assert_eq!((files, rows, events), (1, 1, 1));
}

#[tokio::test]
async fn answer_says_what_was_read_and_repeats_with_its_key() {
    let apart = apart().await;
    let ops = apart.bed.caller("ops");
    let body = format!("{FILE}k2,CAPTURE,1e9,2026-04-01\n");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let key = fresh("key");
    let request = |gzip: &[u8]| {
        let request = ops.request("POST", PATH).body(gzip.to_vec());
        let request = request.content_type("application/gzip");
        let request = request.header("x-filename", "%EA%B1%B0%EB%9E%98_20260331-20260401.csv");
        request.idempotency_key(&key)
    };
    let first = request(&gzip).send().await;
    assert_eq!(first.status, 202, "{:?}", first.body);
    let file = first.json();
    assert_eq!(file["filename"], "거래_20260331-20260401.csv");
    assert_eq!(
        (&file["rowCount"], &file["invalidRowCount"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        file["days"],
        serde_json::json!({"from": "2026-03-31", "to": "2026-04-01"})
    );
    let again = request(&gzip).send().await;
    assert_eq!((again.replayed(), again.body), (true, first.body));
    let other = request(FILE.as_bytes()).send().await;
    assert_eq!(other.code(), "idempotency-key-reused");
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_changes_nothing() {
    let apart = apart().await;
    let ops = apart.bed.caller("ops");
    let open = format!("{FILE}\"{}", "x".repeat(100_000));
    for body in ["\n", "a,b\n1,2\n", "PK\u{3}\u{4}", &open] {
        let refused = send(&ops, "f.csv", body.to_owned()).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (422, "csv-invalid"),
            "{body:.20}"
        );
    }
    for name in ["", "%00", "%ff", &"x".repeat(300)] {
        let refused = send(&ops, name, FILE).await;
        assert_eq!(refused.code(), "invalid-request", "{name}");
    }
    let unnamed = ops
        .request("POST", PATH)
        .body(FILE)
        .content_type("text/csv");
    assert_eq!(unnamed.send().await.code(), "invalid-request");
    let json = ops
        .request("POST", PATH)
        .body(FILE)
        .header("x-filename", "f.csv");
    assert_eq!(json.send().await.code(), "media-type");
    let demo = apart.bed.caller("demo");
    assert_eq!(send(&demo, "f.csv", FILE).await.code(), "role-forbidden");
    let files: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM recon_file")
        .fetch_one(apart.bed.database())
        .await
        .unwrap();
    assert_eq!(files, 0);
}

#[tokio::test]
async fn load_that_was_killed_goes_on_where_it_stopped() {
    let apart = apart().await;
    let ops = apart.bed.caller("ops");
    let mut file = FILE.to_owned();
    for row in 1..MANY {
        writeln!(file, "k{row},CAPTURE,1000,2026-03-31").unwrap();
    }
    let asking = until("it is taken", async || {
        send(&ops, "many.csv", file.clone()).await.status == 202
    });
    let ((), killed) = tokio::join!(asking, kill_at_every_chunk(&apart));
    assert!(killed > 0, "it was never killed");
    let (rows, lines, events): (i64, i64, i64) = sqlx::query_as(
        "SELECT COUNT(*), COUNT(DISTINCT line), (SELECT COUNT(*) FROM outbox_event) FROM recon_row",
    )
    .fetch_one(apart.bed.database())
    .await
    .unwrap();
    let many = i64::try_from(MANY).unwrap();
    assert_eq!((rows, lines, events), (many, many, 1));
}

/// Kills the function when it has written more, until it was killed often enough or is done.
async fn kill_at_every_chunk(apart: &Apart) -> usize {
    let mut written = 0;
    for killed in 0..KILLS {
        let mut met = (0_u32, false);
        until("more is written", async || {
            let row = sqlx::query_as("SELECT loaded_rows, first_day IS NOT NULL FROM recon_file");
            let row = row.fetch_optional(apart.bed.database()).await.unwrap();
            met = row.unwrap_or_default();
            met.0 > written || met.1
        })
        .await;
        let instance = apart.bed.instance(FUNCTION).await;
        if met.1 {
            return killed;
        }
        written = met.0;
        if let Some(instance) = instance {
            // It may have ended by itself since.
            let _ = kill(Pid::from_raw(instance.pid), Signal::SIGKILL);
        }
    }
    KILLS
}
