use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::{Duration, Instant},
};

use chrono::Utc;
use sqlx::MySqlConnection;

use crate::{
    Desk,
    decision_table::{self, Decision, Status},
    error::DlqError,
    event::{Batch, Outcome},
    letter::{Letter, LetterId},
    survey::{Survey, Wanted},
    topic::DeadLetterTopic,
};

/// How long letters are replayed; no other one is begun after.
const REPLAY_WITHIN: Duration = Duration::from_secs(15);
/// How long a function may take for a letter. With the wait for the turn below the function's timeout.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Failures after which no further letter is tried.
const FAILED_MAX: usize = 100;
/// Most characters of a failure that are told.
const DETAIL_CHARS_MAX: usize = 500;

/// Whose letters are decided about, and by whom.
pub(crate) struct Case<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) topic: &'a DeadLetterTopic,
    /// The signing key of who decides.
    pub(crate) key_id: &'a str,
}

/// What came of a replay.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) replayed: usize,
    pub(crate) failed: BTreeMap<LetterId, String>,
    pub(crate) remaining: usize,
}

impl Case<'_> {
    /// Gives the function its letters again, in their order, until none is left that may be given.
    /// What comes meanwhile is given, too, unless `ids` says which ones.
    pub(crate) async fn replay(
        &self,
        db: &mut MySqlConnection,
        ids: Option<BTreeSet<LetterId>>,
    ) -> Result<Done, DlqError> {
        let until = Instant::now() + REPLAY_WITHIN;
        let mut replayed = 0;
        let mut wanted = Wanted {
            ids,
            ..Wanted::default()
        };
        loop {
            let survey = self.survey(db, &wanted).await?;
            if survey.chosen.is_empty() || over(until, &wanted) {
                self.unpark(&survey).await?;
                return Ok(Done {
                    replayed,
                    failed: wanted.failed,
                    remaining: survey.pending,
                });
            }
            replayed += self.send_all(db, survey.chosen, &mut wanted, until).await?;
        }
    }

    /// Sends letters in their order, none past one of its key that failed; how many were taken.
    async fn send_all(
        &self,
        db: &mut MySqlConnection,
        letters: Vec<Letter>,
        wanted: &mut Wanted,
        until: Instant,
    ) -> Result<usize, DlqError> {
        let mut replayed = 0;
        let mut stuck = HashSet::new();
        for letter in letters {
            let chain = letter.chain();
            if chain.as_ref().is_some_and(|it| stuck.contains(it)) {
                continue;
            }
            if over(until, wanted) {
                break;
            }
            match self.send(&letter).await {
                Ok(()) => {
                    self.decide(db, &[letter.id], Status::Replayed, None)
                        .await?;
                    replayed += 1;
                }
                Err(detail) => {
                    stuck.extend(chain);
                    wanted.failed.insert(letter.id, detail);
                }
            }
        }
        Ok(replayed)
    }

    /// Decides that nothing more becomes of these letters; how many of them were pending, and how
    /// many are.
    pub(crate) async fn purge(
        &self,
        db: &mut MySqlConnection,
        ids: BTreeSet<LetterId>,
        reason: String,
    ) -> Result<(usize, usize), DlqError> {
        let wanted = Wanted {
            ids: Some(ids),
            ..Wanted::default()
        };
        let purged = self.survey(db, &wanted).await?.wanted_pending;
        self.decide(db, &purged, Status::Purged, Some(reason))
            .await?;
        let survey = self.survey(db, &wanted).await?;
        self.unpark(&survey).await?;
        Ok((purged.len(), survey.pending))
    }

    async fn survey(&self, db: &mut MySqlConnection, wanted: &Wanted) -> Result<Survey, DlqError> {
        let survey = Survey::of(&self.desk.broker, db, self.topic, wanted).await?;
        if survey.unknown.is_empty() {
            Ok(survey)
        } else {
            Err(DlqError::Unknown(survey.unknown))
        }
    }

    /// The same letter may be sent again, by whoever goes on after a crash: its function ignores what
    /// it knows.
    async fn send(&self, letter: &Letter) -> Result<(), String> {
        let Desk {
            broker, functions, ..
        } = self.desk;
        let event = Batch::of(letter, broker.servers());
        let function = &self.topic.function;
        let answer: Result<Option<Outcome>, _> =
            functions.invoke(function, &event, ANSWER_WITHIN).await;
        match answer {
            Ok(Some(outcome)) if outcome.failed() => {
                Err("the function named it in batchItemFailures".to_owned())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string().chars().take(DETAIL_CHARS_MAX).collect()),
        }
    }

    async fn decide(
        &self,
        db: &mut MySqlConnection,
        ids: &[LetterId],
        status: Status,
        reason: Option<String>,
    ) -> Result<(), DlqError> {
        let decision = Decision {
            status,
            key_id: self.key_id.to_owned(),
            reason,
            time: Utc::now(),
        };
        decision_table::insert(db, self.topic, ids, &decision).await?;
        let count = ids.len() as u64;
        metrics::counter!("dead_letters_decided_total", "status" => status.name()).increment(count);
        Ok(())
    }

    /// Lets every key go on that has no pending letter, also one whose last letter was decided about
    /// by a request that ended before this.
    async fn unpark(&self, survey: &Survey) -> Result<(), DlqError> {
        for (chain, last) in &survey.finished {
            self.desk.broker.unpark(self.topic, chain, *last).await?;
        }
        Ok(())
    }
}

/// Whether no further letter is begun.
fn over(until: Instant, wanted: &Wanted) -> bool {
    Instant::now() > until || wanted.failed.len() >= FAILED_MAX
}
