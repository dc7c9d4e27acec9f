use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use client::Client;
use http::Method;
use recon::MatchResult;
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::AnswerKey;

/// How long matching may take.
const MATCHED_WITHIN: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Items asked for at once.
const PAGE: usize = 100;
/// Most items that are wrong in a file that is scored.
const ITEMS_MAX: usize = 100_000;

/// How many faults of each kind were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score(BTreeMap<String, Found>);

/// Of one result: how often it was right, was said, and should have been said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    right: usize,
    said: usize,
    expected: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Uploaded {
    file_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Items {
    data: Vec<Item>,
    has_more: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    #[serde(rename = "itemId")]
    id: String,
    line: Option<u32>,
    result: String,
    ours: Option<Ours>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ours {
    payment_id: String,
    seq: u32,
}

/// A fault that was said or should have been: its result and where.
type Place = (String, String);

/// Uploads a file, waits until it is matched and compares what was found with what should be.
///
/// # Errors
/// When the file is refused, or not matched in time.
pub async fn score(client: &Client, bytes: Vec<u8>, key: &AnswerKey) -> anyhow::Result<Score> {
    let name = format!("transactions-{}.csv", key.date);
    let headers = [("content-type", "text/csv"), ("x-filename", name.as_str())];
    let idempotency_key = uuid::Uuid::new_v4().to_string();
    let answer = client
        .send(
            Method::POST,
            "/payments/upload",
            Some(bytes.into()),
            Some(&idempotency_key),
            &headers,
        )
        .await?;
    ensure!(
        answer.status == 202,
        "the file was not taken: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    let Uploaded { file_id } = serde_json::from_slice(&answer.body)?;
    matched(client, &file_id).await?;
    let said = said(client, &file_id).await?;
    let expected = key.expected.iter().map(|it| {
        let place = it.line.map(|line| format!("line {line}"));
        let place = place.or_else(|| it.transaction_key.clone());
        (it.result.clone(), place.unwrap_or_default())
    });
    Ok(Score::of(&said, &expected.collect()))
}

async fn get<T: for<'a> Deserialize<'a>>(client: &Client, path: &str) -> anyhow::Result<T> {
    let answer = client.send(Method::GET, path, None, None, &[]).await?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "{path}: {} {body}", answer.status);
    serde_json::from_slice(&answer.body).with_context(|| path.to_owned())
}

async fn matched(client: &Client, file_id: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let file: serde_json::Value = get(client, &format!("/recon/files/{file_id}")).await?;
        match file["status"].as_str() {
            Some("MATCHED") => return Ok(()),
            Some("SUPERSEDED") => anyhow::bail!("a later file of the day was uploaded already"),
            _ => {}
        }
        ensure!(
            began.elapsed() < MATCHED_WITHIN,
            "not matched within {MATCHED_WITHIN:?}"
        );
        sleep(LOOK_EVERY).await;
    }
}

/// What does not match.
async fn said(client: &Client, file_id: &str) -> anyhow::Result<BTreeSet<Place>> {
    let mut said = BTreeSet::new();
    let mut after = String::new();
    while said.len() < ITEMS_MAX {
        let query = format!("fileId={file_id}&status=OPEN&limit={PAGE}{after}");
        let page: Items = get(client, &format!("/recon/items?{query}")).await?;
        for item in &page.data {
            let ours = item.ours.as_ref();
            let ours = ours.map(|ours| format!("{}-{}", ours.payment_id, ours.seq));
            let line = item.line.map(|line| format!("line {line}"));
            let place = line.or(ours).context("an item without a place")?;
            said.insert((item.result.clone(), place));
        }
        match page.data.last() {
            Some(last) if page.has_more => after = format!("&after={}", last.id),
            _ => return Ok(said),
        }
    }
    anyhow::bail!("more than {ITEMS_MAX} items do not match")
}

impl Score {
    fn of(said: &BTreeSet<Place>, expected: &BTreeSet<Place>) -> Self {
        let mut score = BTreeMap::<String, Found>::new();
        for (result, _) in said {
            score.entry(result.clone()).or_default().said += 1;
        }
        for (result, _) in expected {
            score.entry(result.clone()).or_default().expected += 1;
        }
        for (result, _) in said.intersection(expected) {
            score.entry(result.clone()).or_default().right += 1;
        }
        Self(score)
    }

    /// Whether everything was found, and nothing else.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.0
            .values()
            .all(|found| found.right == found.said && found.right == found.expected)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<20} precision  recall  faults", "result")?;
        let none = Found::default();
        for result in MatchResult::ALL {
            let found = self.0.get(result.name()).unwrap_or(&none);
            if *found != none {
                let [precision, recall] =
                    [found.said, found.expected].map(|all| share(found.right, all));
                writeln!(
                    formatter,
                    "{:<20} {precision:>9}  {recall:>6}  {:>6}",
                    result.name(),
                    found.expected
                )?;
            }
        }
        Ok(())
    }
}

/// A share as text; of nothing it is whole.
fn share(part: usize, all: usize) -> String {
    let thousandths = (part * 1_000).checked_div(all).unwrap_or(1_000);
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(places: &[(&str, &str)]) -> BTreeSet<Place> {
        let owned = |(result, place): &(&str, &str)| ((*result).to_owned(), (*place).to_owned());
        places.iter().map(owned).collect()
    }

    #[test]
    fn only_what_is_said_at_the_right_place_is_right() {
        let expected = places(&[("AMOUNT_MISMATCH", "line 2"), ("ROW_INVALID", "line 9")]);
        assert!(Score::of(&expected, &expected).is_perfect());
        assert!(Score::of(&places(&[]), &places(&[])).is_perfect());
        for said in [
            places(&[("AMOUNT_MISMATCH", "line 2")]),
            places(&[("AMOUNT_MISMATCH", "line 3"), ("ROW_INVALID", "line 9")]),
            places(&[
                ("AMOUNT_MISMATCH", "line 2"),
                ("ROW_INVALID", "line 9"),
                ("AMBIGUOUS", "line 4"),
            ]),
        ] {
            assert!(!Score::of(&said, &expected).is_perfect(), "{said:?}");
        }
        let half = Score::of(
            &places(&[("ROW_INVALID", "line 9"), ("ROW_INVALID", "line 8")]),
            &expected,
        );
        let told = half.to_string();
        assert!(
            told.contains("ROW_INVALID              0.500   1.000       1"),
            "{told}"
        );
    }
}
