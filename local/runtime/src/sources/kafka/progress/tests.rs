use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_000_000;

fn rules(max_retries: Option<u32>, bisect: bool) -> Rules {
    Rules {
        max_retries,
        max_age: None,
        bisect,
    }
}

fn item(offset: i64, key: Option<&'static str>) -> Item {
    Item {
        offset,
        timestamp_ms: Some(NOW),
        key: key.map(|key| Bytes::from_static(key.as_bytes())),
        too_large: false,
    }
}

/// A batch of `count` records from offset 10.
fn progress(rules: Rules, count: i64) -> Progress {
    let items = (10..10 + count).map(|offset| item(offset, None)).collect();
    Progress::new(rules, items, 10 + count)
}

fn next(progress: &mut Progress) -> Step {
    progress.step(NOW, |_| false)
}

fn loss(index: usize, condition: Condition, attempts: u32) -> Loss {
    Loss {
        index,
        condition,
        attempts,
    }
}

#[test]
fn processed_batch_moves_the_position_past_what_was_left_out() {
    let mut progress = Progress::new(rules(None, false), vec![item(12, None)], 20);
    assert_eq!(progress.position(), 12);
    assert_eq!(next(&mut progress), Step::Invoke(vec![0]));
    assert_eq!(progress.settle(&Verdict::Processed), None);
    assert_eq!(next(&mut progress), Step::Done);
    assert_eq!(progress.position(), 20);

    let mut empty = Progress::new(rules(None, false), Vec::new(), 30);
    assert_eq!(next(&mut empty), Step::Done);
    assert_eq!(empty.position(), 30);
}

#[test]
fn pauses_double_up_to_the_longest_and_begin_anew_after_progress() {
    let mut batch = progress(rules(None, false), 2);
    let pauses = (0..10).map(|_| {
        next(&mut batch);
        batch.settle(&Verdict::Failed).expect("a pause").as_millis()
    });
    assert_eq!(
        pauses.collect::<Vec<_>>(),
        [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]
    );
    next(&mut batch);
    let pause = batch.settle(&Verdict::FailedAt(vec![11]));
    assert_eq!(pause, Some(PAUSE_MIN), "the first record is processed");
}

#[test]
fn retries_are_counted_and_then_all_of_the_batch_is_given_up() {
    let mut batch = progress(rules(Some(2), false), 2);
    for _ in 0..2 {
        assert_eq!(next(&mut batch), Step::Invoke(vec![0, 1]));
        assert!(batch.settle(&Verdict::Failed).is_some());
        assert!(batch.settle(&Verdict::NotRun).is_some(), "does not count");
    }
    next(&mut batch);
    assert_eq!(batch.settle(&Verdict::Failed), None, "nothing to wait for");
    let condition = Condition::RetriesExhausted;
    let losses = vec![loss(0, condition, 3), loss(1, condition, 3)];
    assert_eq!(next(&mut batch), Step::GiveUp(losses.clone()));
    assert_eq!(
        batch.given_up(0),
        Some(PAUSE_MIN * 32),
        "no acknowledgement"
    );
    assert_eq!(batch.position(), 10);
    assert_eq!(next(&mut batch), Step::GiveUp(losses));
    assert_eq!(batch.given_up(2), None);
    assert_eq!(next(&mut batch), Step::Done);
}

#[test]
fn bisecting_finds_the_failing_record_without_counting() {
    let mut batch = progress(rules(Some(0), true), 5);
    let mut sent = Vec::new();
    let mut given_up = Vec::new();
    loop {
        match next(&mut batch) {
            Step::Done => break,
            Step::Invoke(indexes) => {
                let poisoned = indexes.contains(&3);
                sent.push(indexes);
                let verdict = if poisoned {
                    Verdict::Failed
                } else {
                    Verdict::Processed
                };
                assert_eq!(batch.settle(&verdict), None);
            }
            Step::GiveUp(losses) => {
                batch.given_up(losses.len());
                given_up.extend(losses);
            }
        }
    }
    let expected = [
        vec![0, 1, 2, 3, 4],
        vec![0, 1],
        vec![2, 3, 4],
        vec![2],
        vec![3, 4],
        vec![3],
        vec![4],
    ];
    assert_eq!(sent, expected);
    assert_eq!(given_up, [loss(3, Condition::RetriesExhausted, 1)]);
}

#[test]
fn partial_failure_goes_on_from_the_lowest_failed_record() {
    let mut batch = progress(rules(Some(1), true), 4);
    next(&mut batch);
    assert!(batch.settle(&Verdict::FailedAt(vec![13, 11])).is_some());
    assert_eq!(batch.position(), 11);
    assert_eq!(next(&mut batch), Step::Invoke(vec![1, 2, 3]));
    assert_eq!(batch.settle(&Verdict::FailedAt(vec![11])), None);
    let lost = loss(1, Condition::RetriesExhausted, 2);
    assert_eq!(next(&mut batch), Step::GiveUp(vec![lost]));
    batch.given_up(1);
    assert_eq!(next(&mut batch), Step::Invoke(vec![2, 3]));
    batch.settle(&Verdict::Processed);
    assert_eq!(next(&mut batch), Step::Done);
}

#[test]
fn unknown_offset_fails_the_whole_batch() {
    let mut batch = progress(rules(Some(0), false), 2);
    next(&mut batch);
    batch.settle(&Verdict::FailedAt(vec![11, 99]));
    let Step::GiveUp(losses) = next(&mut batch) else {
        panic!("both have failed");
    };
    assert_eq!(losses.len(), 2);
}

#[test]
fn record_without_a_time_is_never_too_old() {
    let rules = Rules {
        max_age: Some(Duration::ZERO),
        ..rules(None, false)
    };
    let mut timeless = item(0, None);
    timeless.timestamp_ms = None;
    let mut batch = Progress::new(rules, vec![timeless], 1);
    assert_eq!(next(&mut batch), Step::Invoke(vec![0]));
}

#[test]
fn old_and_large_records_are_never_sent() {
    let rules = Rules {
        max_age: Some(Duration::from_secs(1)),
        ..rules(None, false)
    };
    let mut items: Vec<_> = (0..4).map(|offset| item(offset, None)).collect();
    items[0].timestamp_ms = Some(NOW - 1001);
    items[1].timestamp_ms = Some(NOW - 1000);
    items[2].too_large = true;
    let mut batch = Progress::new(rules, items, 4);
    let old = loss(0, Condition::RecordAgeExceeded, 0);
    assert_eq!(next(&mut batch), Step::GiveUp(vec![old]));
    batch.given_up(1);
    assert_eq!(next(&mut batch), Step::Invoke(vec![1]));
    batch.settle(&Verdict::Processed);
    let large = loss(2, Condition::RecordTooLarge, 0);
    assert_eq!(next(&mut batch), Step::GiveUp(vec![large]));
    batch.given_up(1);
    assert_eq!(next(&mut batch), Step::Invoke(vec![3]));
}

#[test]
fn records_of_a_parked_key_follow_and_the_others_go_on() {
    let items = vec![item(0, Some("a")), item(1, Some("b")), item(2, Some("a"))];
    let mut batch = Progress::new(rules(Some(0), false), items, 3);
    let parked = |key: &Bytes| key == "a";
    let condition = Condition::KeyParked;
    let losses = vec![loss(0, condition, 0), loss(2, condition, 0)];
    assert_eq!(batch.step(NOW, parked), Step::GiveUp(losses));
    batch.given_up(2);
    assert_eq!(batch.position(), 1);
    assert_eq!(batch.step(NOW, parked), Step::Invoke(vec![1]));
    batch.settle(&Verdict::Processed);
    assert_eq!(batch.position(), 3);
}

/// What the world answers to a step.
#[derive(Debug, Clone)]
enum Answer {
    Processed,
    Failed,
    NotRun,
    /// Those at these positions among what was sent.
    FailedAt(Vec<prop::sample::Index>),
    Unknown,
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        3 => Just(Answer::Processed),
        3 => Just(Answer::Failed),
        1 => Just(Answer::NotRun),
        3 => prop::collection::vec(any::<prop::sample::Index>(), 1..4).prop_map(Answer::FailedAt),
        1 => Just(Answer::Unknown),
    ];
    prop::collection::vec(answer, 0..200)
}

fn batches() -> impl Strategy<Value = (Rules, Vec<Item>)> {
    let keys = prop::sample::select(vec![None, Some("a"), Some("b"), Some("c")]);
    let record = (1..3_i64, 0..3000_i64, keys, prop::bool::weighted(0.05));
    let records = prop::collection::vec(record, 1..20);
    let rules = (
        prop::option::of(0..4_u32),
        prop::option::of(1..3_u64),
        any::<bool>(),
    );
    (rules, records).prop_map(|((max_retries, max_age_s, bisect), records)| {
        let rules = Rules {
            max_retries,
            max_age: max_age_s.map(Duration::from_secs),
            bisect,
        };
        let mut offset = 0;
        let items = records.into_iter().map(|(gap, age_ms, key, too_large)| {
            offset += gap;
            Item {
                timestamp_ms: Some(NOW - age_ms),
                too_large,
                ..item(offset, key)
            }
        });
        (rules, items.collect())
    })
}

/// Plays the part of everything around a batch, and checks what must hold at each step.
struct World {
    rules: Rules,
    items: Vec<Item>,
    progress: Progress,
    park: bool,
    parked: BTreeSet<Bytes>,
    processed: BTreeSet<usize>,
    lost: Vec<Loss>,
    failed: Vec<u32>,
}

impl World {
    fn new(rules: Rules, items: Vec<Item>, park: bool) -> Self {
        let end = items.last().expect("a record").offset + 1;
        Self {
            progress: Progress::new(rules, items.clone(), end),
            failed: vec![0; items.len()],
            rules,
            items,
            park,
            parked: BTreeSet::new(),
            processed: BTreeSet::new(),
            lost: Vec::new(),
        }
    }

    fn is_finished(&self, index: usize) -> bool {
        self.processed.contains(&index) || self.lost.iter().any(|loss| loss.index == index)
    }

    fn settle(&mut self, sent: &[usize], answer: &Answer) {
        assert!(!sent.is_empty() && sent.is_sorted());
        for index in sent {
            assert!(!self.is_finished(*index), "sent though it is finished");
            let key = self.items[*index].key.as_ref();
            assert!(!key.is_some_and(|key| self.parked.contains(key)), "parked");
            let before = (0..*index).filter(|it| self.items[*it].key.as_ref() == key);
            let mut before = before.filter(|it| !sent.contains(it));
            assert!(key.is_none() || before.all(|it| self.is_finished(it)));
        }
        let verdict = match answer {
            Answer::Processed => Verdict::Processed,
            Answer::Failed => Verdict::Failed,
            Answer::NotRun => Verdict::NotRun,
            Answer::Unknown => Verdict::FailedAt(vec![i64::MAX]),
            Answer::FailedAt(picks) => {
                let offset = |it: &prop::sample::Index| self.items[*it.get(sent)].offset;
                Verdict::FailedAt(picks.iter().map(offset).collect())
            }
        };
        self.note(sent, &verdict, matches!(answer, Answer::FailedAt(_)));
        self.progress.settle(&verdict);
    }

    /// What the verdict means by the rules.
    fn note(&mut self, sent: &[usize], verdict: &Verdict, partial: bool) {
        match verdict {
            Verdict::Processed => self.processed.extend(sent),
            Verdict::NotRun => {}
            Verdict::FailedAt(offsets) if partial => {
                let lowest = offsets.iter().min().expect("one failed");
                for index in sent {
                    let offset = self.items[*index].offset;
                    if offset < *lowest {
                        self.processed.insert(*index);
                    }
                    self.failed[*index] += u32::from(offsets.contains(&offset));
                }
            }
            _ if self.rules.bisect && sent.len() > 1 => {}
            _ => sent.iter().for_each(|index| self.failed[*index] += 1),
        }
    }

    fn give_up(&mut self, losses: &[Loss], acknowledged: usize) {
        for loss in losses {
            let Loss {
                index, attempts, ..
            } = *loss;
            assert!(!self.is_finished(index), "given up though it is finished");
            assert_eq!(attempts, self.failed[index]);
            let item = &self.items[index];
            let age_ms = NOW - item.timestamp_ms.expect("a time");
            let age = Duration::from_millis(u64::try_from(age_ms).expect("past"));
            let holds = match loss.condition {
                Condition::RetriesExhausted => {
                    self.rules.max_retries.is_some_and(|max| attempts > max)
                }
                Condition::RecordAgeExceeded => self.rules.max_age.is_some_and(|max| age > max),
                Condition::KeyParked => {
                    let key = item.key.as_ref().expect("a key");
                    self.parked.contains(key)
                }
                Condition::RecordTooLarge => item.too_large,
            };
            assert!(holds, "{loss:?}");
        }
        self.lost.extend_from_slice(&losses[..acknowledged]);
        if self.park {
            let keys = losses[..acknowledged].iter();
            self.parked
                .extend(keys.filter_map(|loss| self.items[loss.index].key.clone()));
        }
        self.progress.given_up(acknowledged);
    }

    fn check_position(&self, before: i64) {
        let position = self.progress.position();
        assert!(position >= before, "the position went back");
        for (index, item) in self.items.iter().enumerate() {
            assert_eq!(
                item.offset < position,
                (0..=index).all(|it| self.is_finished(it))
            );
        }
    }
}

proptest! {
    #[test]
    fn every_record_ends_as_the_rules_say_and_is_never_passed_by(
        (rules, items) in batches(),
        answers in answers(),
        acknowledgements in prop::collection::vec(any::<prop::sample::Index>(), 200),
        park: bool,
    ) {
        let count = items.len();
        let mut world = World::new(rules, items, park);
        let mut answers = answers.into_iter();
        let mut acknowledgements = acknowledgements.into_iter();
        let mut steps = 0;
        loop {
            steps += 1;
            prop_assert!(steps < 2000, "it does not end");
            let before = world.progress.position();
            let parked = world.parked.clone();
            match world.progress.step(NOW, |key| parked.contains(key)) {
                Step::Done => break,
                Step::Invoke(sent) => {
                    // In the end all goes well.
                    let answer = answers.next().unwrap_or(Answer::Processed);
                    world.settle(&sent, &answer);
                }
                Step::GiveUp(losses) => {
                    let some = acknowledgements.next().map(|it| it.index(losses.len() + 1));
                    world.give_up(&losses, some.unwrap_or(losses.len()));
                }
            }
            world.check_position(before);
        }
        for index in 0..count {
            let lost = world.lost.iter().filter(|loss| loss.index == index).count();
            let processed = usize::from(world.processed.contains(&index));
            prop_assert_eq!(lost + processed, 1, "record {}", index);
        }
    }
}
