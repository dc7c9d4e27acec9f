use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::ControlFlow,
};

use sqlx::MySqlConnection;

use crate::{
    broker::Broker,
    decision_table,
    error::DlqError,
    letter::{Chain, Entry, Letter, LetterId},
    topic::DeadLetterTopic,
};

/// Letters that are chosen at once, and bytes of them, the last one aside.
const CHOSEN_MAX: usize = 500;
const CHOSEN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Which letters are to be chosen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// These; every one when there are none.
    pub(crate) ids: Option<BTreeSet<LetterId>>,
    /// But not these, nor what follows them.
    pub(crate) failed: BTreeMap<LetterId, String>,
}

/// What a look at a whole topic came to.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Pending letters.
    pub(crate) pending: usize,
    /// Those of them that are wanted, in their order; nothing that follows one that is not.
    pub(crate) chosen: Vec<Letter>,
    /// Wanted letters that are pending, in whatever order they stand.
    pub(crate) wanted_pending: Vec<LetterId>,
    /// Wanted letters that are not on the topic.
    pub(crate) unknown: Vec<LetterId>,
    /// Parked keys without a pending letter, with the last letter of each.
    pub(crate) finished: Vec<(Chain, LetterId)>,
}

/// The state of a scan.
struct Fold {
    wanted: Wanted,
    decided: HashSet<LetterId>,
    survey: Survey,
    chosen_bytes: usize,
    /// Wanted and met.
    met: HashSet<LetterId>,
    /// Chains with a pending letter that is not chosen.
    blocked: HashSet<Chain>,
    /// Chains with a pending letter.
    waiting: HashSet<Chain>,
    /// The last letter of each chain that is parked.
    parked: HashMap<Chain, LetterId>,
}

impl Survey {
    /// Reads the topic from its beginning.
    pub(crate) async fn of(
        broker: &Broker,
        db: &mut MySqlConnection,
        topic: &DeadLetterTopic,
        wanted: &Wanted,
    ) -> Result<Self, DlqError> {
        let decisions = decision_table::of_topic(db, topic, None).await?;
        let fold = Fold::new(wanted.clone(), decisions.into_keys().collect());
        let fold = broker.scan(topic, None, fold, |fold, id, entry| {
            fold.take(id, entry);
            ControlFlow::Continue(())
        });
        Ok(fold.await?.finish())
    }
}

impl Fold {
    fn new(wanted: Wanted, decided: HashSet<LetterId>) -> Self {
        Self {
            wanted,
            decided,
            survey: Survey::default(),
            chosen_bytes: 0,
            met: HashSet::new(),
            blocked: HashSet::new(),
            waiting: HashSet::new(),
            parked: HashMap::new(),
        }
    }

    fn take(&mut self, id: LetterId, entry: Entry) {
        match entry {
            Entry::Letter(letter) => self.take_letter(id, letter),
            Entry::Unparked(chain, last) => {
                let over = self.parked.get(&chain);
                if over.is_some_and(|letter| letter.offset <= last) {
                    self.parked.remove(&chain);
                }
            }
        }
    }

    fn take_letter(&mut self, id: LetterId, letter: Letter) {
        let chain = letter.chain();
        if let Some(chain) = chain.as_ref().filter(|_| letter.parked) {
            self.parked.insert(chain.clone(), id);
        }
        let ids = self.wanted.ids.as_ref();
        let wanted = ids.is_none_or(|ids| ids.contains(&id));
        if wanted && ids.is_some() {
            self.met.insert(id);
        }
        if self.decided.contains(&id) {
            return;
        }
        self.survey.pending += 1;
        if wanted && ids.is_some() {
            self.survey.wanted_pending.push(id);
        }
        self.waiting.extend(chain.clone());
        let free = chain.as_ref().is_none_or(|it| !self.blocked.contains(it));
        let failed = self.wanted.failed.contains_key(&id);
        if wanted && free && !failed && self.has_room() {
            self.chosen_bytes += letter.bytes();
            self.survey.chosen.push(letter);
        } else {
            self.blocked.extend(chain);
        }
    }

    fn has_room(&self) -> bool {
        self.survey.chosen.len() < CHOSEN_MAX && self.chosen_bytes < CHOSEN_BYTES_MAX
    }

    fn finish(mut self) -> Survey {
        let ids = self.wanted.ids.into_iter().flatten();
        self.survey.unknown = ids.filter(|id| !self.met.contains(id)).collect();
        self.parked.retain(|chain, _| !self.waiting.contains(chain));
        self.survey.finished = self.parked.into_iter().collect();
        self.survey
    }
}

#[cfg(test)]
mod tests {
    use crate::letter::Original;

    use super::*;

    fn id(offset: i64) -> LetterId {
        LetterId {
            partition: 0,
            offset,
        }
    }

    fn chain(key: &str) -> Chain {
        Chain {
            group: "g".to_owned(),
            topic: "t".to_owned(),
            key: key.into(),
        }
    }

    fn letter(offset: i64, key: Option<&str>) -> Entry {
        Entry::Letter(Letter {
            id: id(offset),
            time_ms: None,
            group: "g".to_owned(),
            original: Original {
                topic: "t".to_owned(),
                partition: 0,
                offset,
                timestamp_ms: 0,
            },
            key: key.map(Into::into),
            value: None,
            headers: Vec::new(),
            condition: String::new(),
            reason: String::new(),
            attempts: 1,
            parked: key.is_some(),
        })
    }

    /// The letters of offsets 0, 1, … with these keys; of the decided ones nothing is left to do.
    fn survey(keys: &[Option<&str>], decided: &[i64], wanted: Wanted, unparked: &[i64]) -> Survey {
        let mut fold = Fold::new(wanted, decided.iter().copied().map(id).collect());
        for (offset, key) in (0..).zip(keys) {
            fold.take(id(offset), letter(offset, *key));
        }
        for (offset, last) in (100..).zip(unparked) {
            fold.take(id(offset), Entry::Unparked(chain("a"), *last));
        }
        fold.finish()
    }

    fn ids(ids: &[i64]) -> Wanted {
        Wanted {
            ids: Some(ids.iter().copied().map(id).collect()),
            ..Wanted::default()
        }
    }

    fn chosen(survey: &Survey) -> Vec<i64> {
        survey.chosen.iter().map(|it| it.id.offset).collect()
    }

    const KEYS: [Option<&str>; 5] = [Some("a"), Some("b"), None, Some("a"), Some("b")];

    #[test]
    fn every_pending_letter_is_chosen_in_order() {
        let survey = survey(&KEYS, &[1], Wanted::default(), &[]);
        assert_eq!(chosen(&survey), [0, 2, 3, 4]);
        assert_eq!((survey.pending, survey.finished.len()), (4, 0));
    }

    #[test]
    fn nothing_is_chosen_past_a_letter_of_its_key_that_is_not() {
        let asked = survey(&KEYS, &[], ids(&[2, 3, 4, 1]), &[]);
        assert_eq!(
            chosen(&asked),
            [1, 2, 4],
            "0 is pending and was not asked for"
        );
        let mut wanted = Wanted::default();
        wanted.failed.insert(id(1), String::new());
        let survey = survey(&KEYS, &[], wanted, &[]);
        assert_eq!(chosen(&survey), [0, 2, 3], "1 failed");
    }

    #[test]
    fn letters_that_are_not_there_are_told() {
        let survey = survey(&KEYS, &[0], ids(&[0, 3, 9]), &[]);
        assert_eq!(survey.unknown, [id(9)]);
        assert_eq!(survey.wanted_pending, [id(3)]);
    }

    #[test]
    fn key_is_finished_when_its_letters_are_decided_and_it_is_still_parked() {
        let finished = |decided: &[i64], unparked: &[i64]| {
            let survey = survey(&KEYS, decided, Wanted::default(), unparked);
            survey.finished
        };
        assert_eq!(finished(&[0], &[]), []);
        assert_eq!(finished(&[0, 3], &[]), [(chain("a"), id(3))]);
        assert_eq!(finished(&[0, 3], &[0]), [(chain("a"), id(3))]);
        assert_eq!(finished(&[0, 3], &[3]), []);
    }

    #[test]
    fn what_has_no_room_waits_with_all_that_follows_it() {
        let keys = vec![None; CHOSEN_MAX];
        let keys = [keys, vec![Some("a"), Some("a")]].concat();
        let survey = survey(&keys, &[], Wanted::default(), &[]);
        assert_eq!(survey.chosen.len(), CHOSEN_MAX);
        assert_eq!(survey.pending, CHOSEN_MAX + 2);
    }
}
