//! `[kafka]` and `[[functions.NAME.kafka]]`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::Declaration;
use super::members::{Faults, Members};
use super::pattern::Pattern;

/// Most records of a batch, as on AWS.
const BATCH_SIZE_MAX: usize = 10_000;
/// Longest window of a batch, as on AWS.
const WINDOW_MS_MAX: u64 = 300_000;
/// Most retries and greatest age that can be asked for, as on AWS.
const RETRIES_MAX: u32 = 10_000;
const AGE_S_MAX: u64 = 604_800;
/// Most invocations of one source that can be asked for.
const CONCURRENCY_MAX: usize = 100_000;
/// Longest name of a topic, in Kafka.
const TOPIC_LENGTH_MAX: usize = 249;
/// Longest name of a group that is accepted.
const GROUP_LENGTH_MAX: usize = 255;

const DEFAULT_BATCH_SIZE: usize = 100;
const DEFAULT_WINDOW: Duration = Duration::from_millis(500);
/// Retries of a source with `on_failure`, as on AWS.
const DEFAULT_RETRIES: u32 = 10;

/// What stands for the topic of the record in `on_failure`.
const TOPIC_PLACEHOLDER: &str = "{topic}";

/// One `[[functions.NAME.kafka]]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KafkaSource {
    /// The cluster: `host:port`, joined by commas.
    pub(crate) bootstrap_servers: String,
    /// The topics read.
    pub(crate) topics: Vec<Spanned<String>>,
    /// The consumer group.
    pub(crate) group: String,
    /// Most records of a batch.
    pub(crate) batch_size: usize,
    /// How long a batch waits for more records.
    pub(crate) window: Duration,
    /// Where to begin without a committed offset.
    pub(crate) start: Start,
    /// Most retries of a record; `None` without end.
    pub(crate) max_retries: Option<u32>,
    /// How old a record may be; `None` without bound.
    pub(crate) max_age: Option<Duration>,
    /// Whether a failed batch is halved.
    pub(crate) bisect: bool,
    /// Whether the function tells which records failed.
    pub(crate) partial_failures: bool,
    /// Where records go that failed for good.
    pub(crate) on_failure: Option<LetterTopic>,
    /// Whether later records of a dead letter's key follow it.
    pub(crate) park_key: bool,
    /// Most invocations at once.
    pub(crate) concurrency: Option<usize>,
    /// A record is taken if one of them matches; all are if there is none.
    pub(crate) filter: Vec<Pattern>,
}

/// Where a source begins that has no committed offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Start {
    /// With the oldest record there is.
    #[default]
    Earliest,
    /// With the next record that comes.
    Latest,
}

/// The name of a dead-letter topic, in which `{topic}` stands for the record's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LetterTopic(String);

impl LetterTopic {
    /// The dead-letter topic of `topic`.
    pub(crate) fn of(&self, topic: &str) -> String {
        self.0.replace(TOPIC_PLACEHOLDER, topic)
    }
}

/// The cluster of `[kafka]`, if there is the table; an empty text where it is at fault.
pub(super) fn read_cluster(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<String> {
    if !members.has("kafka") {
        return None;
    }
    let mut table = members.take_table("kafka", faults);
    let servers: Option<Spanned<String>> = table.require("bootstrap_servers", faults);
    table.refuse_rest(faults);
    let expanded = servers.and_then(|servers| {
        let expanded = faults.expand(&servers);
        if expanded.as_ref().is_some_and(String::is_empty) {
            faults.add(servers.span(), "bootstrap_servers is empty");
        }
        expanded
    });
    Some(expanded.unwrap_or_default())
}

impl KafkaSource {
    /// The sources of `function`, which read from `cluster`.
    pub(super) fn read_all(
        function: &str,
        cluster: Option<&str>,
        members: &mut Members<'_>,
        faults: &mut Faults<'_>,
    ) -> Vec<Self> {
        let mut sources = Vec::new();
        for table in members.take_tables("kafka", faults) {
            if cluster.is_none() {
                faults.add(table.span(), "a kafka source needs the table [kafka]");
            }
            sources.extend(Self::read(function, cluster, table, faults));
        }
        sources
    }

    fn read(
        function: &str,
        cluster: Option<&str>,
        mut table: Members<'_>,
        faults: &mut Faults<'_>,
    ) -> Option<Self> {
        let topics = read_topics(&mut table, faults);
        let group = read_group(function, &mut table, faults);
        let on_failure = read_on_failure(&mut table, topics.as_deref(), faults);
        let source = Self {
            bootstrap_servers: cluster.unwrap_or_default().to_owned(),
            topics: topics.unwrap_or_default(),
            group,
            batch_size: table
                .take_number("batch_size", 1..=BATCH_SIZE_MAX, faults)
                .unwrap_or(DEFAULT_BATCH_SIZE),
            window: table
                .take_number("window_ms", 0..=WINDOW_MS_MAX, faults)
                .map_or(DEFAULT_WINDOW, Duration::from_millis),
            start: table.take("start", faults).unwrap_or_default(),
            max_retries: read_retries(&mut table, on_failure.is_some(), faults),
            max_age: take_bound(&mut table, "max_age_s", 1..=AGE_S_MAX, None, faults)
                .map(Duration::from_secs),
            bisect: table.take("bisect", faults).unwrap_or_default(),
            partial_failures: table.take("partial_failures", faults).unwrap_or_default(),
            park_key: read_park_key(&mut table, on_failure.is_some(), faults),
            on_failure,
            concurrency: table.take_number("concurrency", 1..=CONCURRENCY_MAX, faults),
            filter: read_filter(&mut table, faults),
        };
        table.refuse_rest(faults);
        (!source.topics.is_empty()).then_some(source)
    }
}

/// A number of `allowed`, or -1 for none; `default` if it is absent.
fn take_bound<N>(
    table: &mut Members<'_>,
    key: &str,
    allowed: RangeInclusive<N>,
    default: Option<N>,
    faults: &mut Faults<'_>,
) -> Option<N>
where
    N: PartialOrd + std::fmt::Display + TryFrom<i64>,
{
    let Some(value) = table.take::<Spanned<i64>>(key, faults) else {
        return default;
    };
    let number = *value.as_ref();
    let bound = N::try_from(number).ok().filter(|it| allowed.contains(it));
    if bound.is_none() && number != -1 {
        let (least, most) = (allowed.start(), allowed.end());
        let message = format!("{key} is {number}, neither -1 nor {least} to {most}");
        faults.add(value.span(), message);
    }
    bound
}

fn read_retries(
    table: &mut Members<'_>,
    has_letters: bool,
    faults: &mut Faults<'_>,
) -> Option<u32> {
    let default = has_letters.then_some(DEFAULT_RETRIES);
    take_bound(table, "max_retries", 0..=RETRIES_MAX, default, faults)
}

fn read_topics(table: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<Vec<Spanned<String>>> {
    let topics: Spanned<Vec<Spanned<String>>> = table.require("topics", faults)?;
    if topics.as_ref().is_empty() {
        faults.add(topics.span(), "topics is empty");
    }
    let mut read: Vec<Spanned<String>> = Vec::new();
    for topic in topics.into_inner() {
        let name = topic.as_ref();
        if !is_topic(name) {
            faults.add(topic.span(), format!("\"{name}\" is no name of a topic"));
        } else if read.contains(&topic) {
            faults.add(topic.span(), format!("the topic {name} is named twice"));
        } else {
            read.push(topic);
        }
    }
    Some(read)
}

fn read_group(function: &str, table: &mut Members<'_>, faults: &mut Faults<'_>) -> String {
    let Some(group) = table.take::<Spanned<String>>("group", faults) else {
        return function.to_owned();
    };
    if group.as_ref().is_empty() || group.as_ref().len() > GROUP_LENGTH_MAX {
        let message = format!("group must have 1 to {GROUP_LENGTH_MAX} bytes");
        faults.add(group.span(), message);
    }
    group.into_inner()
}

fn read_on_failure(
    table: &mut Members<'_>,
    topics: Option<&[Spanned<String>]>,
    faults: &mut Faults<'_>,
) -> Option<LetterTopic> {
    let text: Spanned<String> = table.take("on_failure", faults)?;
    let Some(template) = text.as_ref().strip_prefix("kafka://") else {
        faults.add(text.span(), "on_failure must be kafka://TOPIC");
        return None;
    };
    let letters = LetterTopic(template.to_owned());
    let topics = topics.unwrap_or_default();
    for topic in topics {
        let name = letters.of(topic.as_ref());
        if !is_topic(&name) {
            let message = format!("on_failure: \"{name}\" is no name of a topic");
            faults.add(text.span(), message);
        } else if topics.iter().any(|topic| topic.as_ref() == &name) {
            let message = format!("on_failure: the source reads {name} itself");
            faults.add(text.span(), message);
        }
    }
    Some(letters)
}

fn read_park_key(table: &mut Members<'_>, has_letters: bool, faults: &mut Faults<'_>) -> bool {
    let park_key = table.take::<Spanned<bool>>("park_key", faults);
    let Some(park_key) = park_key else {
        return false;
    };
    if *park_key.as_ref() && !has_letters {
        faults.add(park_key.span(), "park_key needs on_failure");
    }
    park_key.into_inner()
}

fn read_filter(table: &mut Members<'_>, faults: &mut Faults<'_>) -> Vec<Pattern> {
    let patterns = table
        .take::<Vec<Spanned<Value>>>("filter", faults)
        .unwrap_or_default();
    let mut read = Vec::new();
    for pattern in patterns {
        let parsed = match pattern.as_ref() {
            Value::String(text) => serde_json::from_str(text)
                .map_err(|error| error.to_string())
                .and_then(|value| Pattern::parse(&value)),
            value => Pattern::parse(value),
        };
        match parsed {
            Ok(parsed) => read.push(parsed),
            Err(error) => faults.add(pattern.span(), format!("filter: {error}")),
        }
    }
    read
}

pub(super) fn is_topic(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty()
        && name.len() <= TOPIC_LENGTH_MAX
        && name != "."
        && name != ".."
        && name.bytes().all(plain)
}

/// Two sources of one group would share a topic that each is to read whole.
pub(super) fn check_groups(functions: &BTreeMap<String, Declaration>, faults: &mut Faults<'_>) {
    let mut seen = BTreeSet::new();
    let sources = functions.values().flat_map(|it| &it.sources.kafka);
    for source in sources {
        for topic in &source.topics {
            if !seen.insert((&source.group, topic.as_ref())) {
                let message = format!(
                    "another source of the group {} reads {}; give one of them another group",
                    source.group,
                    topic.as_ref()
                );
                faults.add(topic.span(), message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Fault, Manifest};

    const HEAD: &str = "[kafka]\nbootstrap_servers = '${BROKERS}'\n\
                        [functions.a]\ncommand = ['a']\n[[functions.a.kafka]]\n";

    fn parse(text: &str) -> Result<Manifest, Vec<Fault>> {
        Manifest::parse(text, &|name| {
            (name == "BROKERS").then(|| "k:9092".to_owned())
        })
    }

    #[test]
    fn source_takes_the_defaults_of_aws() {
        let manifest = parse(&format!("{HEAD}topics = ['t', 'u']\n")).expect("valid");
        let source = &manifest.functions["a"].sources.kafka[0];
        assert_eq!(source.bootstrap_servers, "k:9092");
        let topics: Vec<_> = source.topics.iter().map(Spanned::as_ref).collect();
        assert_eq!(topics, ["t", "u"]);
        assert_eq!(source.group, "a");
        assert_eq!(source.batch_size, 100);
        assert_eq!(source.window, Duration::from_millis(500));
        assert_eq!(source.start, Start::Earliest);
        assert_eq!((source.max_retries, source.max_age), (None, None));
        assert!(!source.bisect && !source.partial_failures && !source.park_key);
        assert_eq!((source.concurrency, source.filter.len()), (None, 0));
    }

    #[test]
    fn dead_letter_topic_bounds_the_retries_and_follows_the_topic() {
        let text = format!("{HEAD}topics = ['t']\non_failure = 'kafka://{{topic}}.a.dlq'\n");
        let manifest = parse(&text).expect("valid");
        let source = &manifest.functions["a"].sources.kafka[0];
        assert_eq!(source.max_retries, Some(10));
        let letters = source.on_failure.as_ref().expect("a topic");
        assert_eq!(letters.of("t"), "t.a.dlq");

        let endless = parse(&format!("{text}max_retries = -1\nmax_age_s = 60\n")).expect("valid");
        let source = &endless.functions["a"].sources.kafka[0];
        assert_eq!(source.max_retries, None);
        assert_eq!(source.max_age, Some(Duration::from_mins(1)));
    }

    #[test]
    fn every_fault_of_a_source_is_reported_with_its_line() {
        for (body, line, part) in [
            ("", 5, "topics is missing"),
            ("topics = []", 6, "topics is empty"),
            ("topics = ['a b']", 6, "no name of a topic"),
            ("topics = ['t', 't']", 6, "named twice"),
            ("topics = ['t']\nbatch_size = 0", 7, "outside of 1 to 10000"),
            ("topics = ['t']\nwindow_ms = 300001", 7, "outside of 0"),
            ("topics = ['t']\nmax_retries = -2", 7, "neither -1 nor 0"),
            ("topics = ['t']\nmax_age_s = 0", 7, "neither -1 nor 1"),
            ("topics = ['t']\nstart = 'now'", 7, "unknown variant"),
            ("topics = ['t']\non_failure = 'sqs://q'", 7, "kafka://TOPIC"),
            (
                "topics = ['t']\non_failure = 'kafka://t'",
                7,
                "reads t itself",
            ),
            ("topics = ['t']\npark_key = true", 7, "needs on_failure"),
            ("topics = ['t']\nfilter = ['{']", 7, "filter: "),
            ("topics = ['t']\nfilter = [{ value = 1 }]", 7, "filter: "),
            ("topics = ['t']\ngroup = ''", 7, "group must have"),
            ("topics = ['t']\ncolour = 1", 7, "unknown member"),
        ] {
            let found = parse(&format!("{HEAD}{body}\n")).expect_err("a fault");
            assert_eq!(found.len(), 1, "{body}: {found:?}");
            assert_eq!(found[0].line, line, "{body}: {found:?}");
            assert!(found[0].message.contains(part), "{body}: {found:?}");
        }
    }

    #[test]
    fn sources_need_a_cluster_and_a_group_to_themselves() {
        let head = "[functions.a]\ncommand = ['a']\n[[functions.a.kafka]]\ntopics = ['t']\n";
        let found = parse(head).expect_err("a fault");
        assert_eq!(found[0].line, 3);
        assert!(found[0].message.contains("needs the table [kafka]"));

        let twice = format!("{HEAD}topics = ['t']\n[[functions.a.kafka]]\ntopics = ['u', 't']\n");
        let found = parse(&twice).expect_err("a fault");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.contains("another source of the group a"));
    }
}
