//! `[functions.NAME]` and `[defaults]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::asynchronous::Asynchronous;
use super::kafka::KafkaSource;
use super::members::{Faults, Members};
use super::source::{Continuous, Schedule};
use super::{Declaration, FunctionConfig, Priority, Route, Sources, User};

/// Variables of the Lambda environment that a manifest may not set.
const RESERVED: &[&str] = &[
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "LOCAL_LAMBDA_METRICS_ADDR",
];
/// Beginnings of such variables.
const RESERVED_PREFIXES: &[&str] = &["_", "AWS_LAMBDA_"];
/// Longest function name, as on AWS.
const NAME_LENGTH_MAX: usize = 64;
/// Members that say something of instances the runtime starts.
const OF_STARTED: &[&str] = &[
    "command",
    "image",
    "min_instances",
    "idle_s",
    "secrets",
    "user",
];
/// Most invocations one instance can take at once, as on AWS.
const CONCURRENCY_MAX: u32 = 1600;
/// Most invocations a function may be given.
const RESERVED_CONCURRENCY_MAX: usize = 1_000_000;
/// Most instances of one function.
pub(crate) const INSTANCES_MAX: u32 = 1000;
/// Longest timeout, as on AWS.
const TIMEOUT_S_MAX: u64 = 900;
/// Most calls that may wait, and how long.
const QUEUE_MAX_MAX: usize = 1_000_000;
const QUEUE_WAIT_MS_MAX: u64 = 900_000;
/// Most memory of one instance, as on AWS.
const MEMORY_MB_MAX: u32 = 10_240;

/// Longest time an idle instance is kept.
const IDLE_S_MAX: u64 = 86_400;

const DEFAULT_TIMEOUT_S: u64 = 3;
const DEFAULT_MEMORY_MB: u32 = 128;
const DEFAULT_IDLE_S: u64 = 300;
const DEFAULT_QUEUE_MAX: usize = 1024;
const DEFAULT_QUEUE_WAIT_MS: u64 = 5000;

/// What both `[defaults]` and a function may set.
pub(super) struct Settings {
    concurrency: Option<u32>,
    min_instances: Option<u32>,
    max_instances: Option<u32>,
    reserved_concurrency: Option<usize>,
    idle_s: Option<u64>,
    timeout_s: Option<u64>,
    memory_mb: Option<u32>,
    user: Option<User>,
    queue_max: Option<usize>,
    queue_wait_ms: Option<u64>,
    queue_target_ms: Option<u64>,
    priority: Option<Priority>,
    environment: BTreeMap<String, String>,
    secrets: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// Takes the settings out of `table`; anything else left in it is a fault.
    pub(super) fn read(table: &mut Members<'_>, faults: &mut Faults<'_>) -> Self {
        let settings = Self {
            concurrency: table.take_number("concurrency", 1..=CONCURRENCY_MAX, faults),
            min_instances: table.take_number("min_instances", 0..=INSTANCES_MAX, faults),
            max_instances: table.take_number("max_instances", 1..=INSTANCES_MAX, faults),
            reserved_concurrency: table.take_number(
                "reserved_concurrency",
                1..=RESERVED_CONCURRENCY_MAX,
                faults,
            ),
            idle_s: table.take_number("idle_s", 1..=IDLE_S_MAX, faults),
            timeout_s: table.take_number("timeout_s", 1..=TIMEOUT_S_MAX, faults),
            memory_mb: table.take_number("memory_mb", 1..=MEMORY_MB_MAX, faults),
            user: table.take("user", faults),
            queue_max: table.take_number("queue_max", 0..=QUEUE_MAX_MAX, faults),
            queue_wait_ms: table.take_number("queue_wait_ms", 0..=QUEUE_WAIT_MS_MAX, faults),
            queue_target_ms: table.take_number("queue_target_ms", 0..=QUEUE_WAIT_MS_MAX, faults),
            priority: table.take("priority", faults),
            environment: read_environment(table, faults),
            secrets: read_secrets(table, faults),
        };
        table.refuse_rest(faults);
        settings
    }

    /// These settings where they say something, else the defaults.
    fn over(self, defaults: &Self) -> Self {
        Self {
            concurrency: self.concurrency.or(defaults.concurrency),
            min_instances: self.min_instances.or(defaults.min_instances),
            max_instances: self.max_instances.or(defaults.max_instances),
            reserved_concurrency: self.reserved_concurrency.or(defaults.reserved_concurrency),
            idle_s: self.idle_s.or(defaults.idle_s),
            timeout_s: self.timeout_s.or(defaults.timeout_s),
            memory_mb: self.memory_mb.or(defaults.memory_mb),
            user: self.user.or_else(|| defaults.user.clone()),
            queue_max: self.queue_max.or(defaults.queue_max),
            queue_wait_ms: self.queue_wait_ms.or(defaults.queue_wait_ms),
            queue_target_ms: self.queue_target_ms.or(defaults.queue_target_ms),
            priority: self.priority.or(defaults.priority),
            environment: merged(&defaults.environment, self.environment),
            secrets: merged(&defaults.secrets, self.secrets),
        }
    }

    /// What they are for a function whose instances attach: those are kept by others, who have the files.
    fn of_attached(self) -> Self {
        Self {
            min_instances: Some(0),
            max_instances: self.max_instances.or(Some(INSTANCES_MAX)),
            user: None,
            secrets: BTreeMap::new(),
            ..self
        }
    }

    /// The bounds of the instances, with a fault where they contradict each other.
    fn instances(&self, name: &Spanned<String>, faults: &mut Faults<'_>) -> (u32, u32) {
        let min = self.min_instances.unwrap_or(1);
        let max = self.max_instances.unwrap_or_else(|| min.max(1));
        if min > max {
            let message = format!("min_instances is {min}, above max_instances, {max}");
            faults.add(name.span(), message);
        }
        (min, max)
    }
}

/// Reads one function, whose topics are in the Kafka cluster `brokers`; `None` if a fault keeps it from
/// being described.
pub(super) fn read(
    name: &Spanned<String>,
    mut table: Members<'_>,
    defaults: &Settings,
    brokers: Option<&str>,
    faults: &mut Faults<'_>,
) -> Option<Declaration> {
    check_name(name, faults);
    let attached = read_attached(&mut table, faults);
    let image = read_image(&mut table, faults);
    let command = read_command(&mut table, attached || image.is_some(), faults);
    let routes = Route::read_all(&mut table, faults);
    let sources = Sources {
        schedules: Schedule::read_all(&mut table, faults),
        kafka: KafkaSource::read_all(name.as_ref(), brokers, &mut table, faults),
        continuous: Continuous::read(&mut table, faults),
        asynchronous: Asynchronous::read(brokers, &mut table, faults),
    };
    let mut settings = Settings::read(&mut table, faults).over(defaults);
    if attached {
        settings = settings.of_attached();
    }
    let instances = settings.instances(name, faults);
    Some(Declaration {
        config: FunctionConfig {
            image,
            attached,
            ..configuration(name, command?, instances, settings)
        },
        routes,
        sources,
    })
}

fn configuration(
    name: &Spanned<String>,
    command: Vec<String>,
    (min_instances, max_instances): (u32, u32),
    settings: Settings,
) -> FunctionConfig {
    let queue_wait_ms = settings.queue_wait_ms.unwrap_or(DEFAULT_QUEUE_WAIT_MS);
    let queue_target_ms = settings.queue_target_ms.unwrap_or(queue_wait_ms);
    FunctionConfig {
        name: name.as_ref().clone(),
        command,
        image: None,
        attached: false,
        concurrency: settings.concurrency,
        min_instances,
        max_instances,
        idle: Duration::from_secs(settings.idle_s.unwrap_or(DEFAULT_IDLE_S)),
        reserved_concurrency: settings.reserved_concurrency,
        timeout: Duration::from_secs(settings.timeout_s.unwrap_or(DEFAULT_TIMEOUT_S)),
        memory_mb: settings.memory_mb.unwrap_or(DEFAULT_MEMORY_MB),
        user: settings.user,
        environment: settings.environment,
        secrets: settings.secrets,
        queue_max: settings.queue_max.unwrap_or(DEFAULT_QUEUE_MAX),
        queue_wait: Duration::from_millis(queue_wait_ms),
        queue_target: Duration::from_millis(queue_target_ms),
        priority: settings.priority.unwrap_or_default(),
    }
}

fn merged<V: Clone>(under: &BTreeMap<String, V>, over: BTreeMap<String, V>) -> BTreeMap<String, V> {
    let mut merged = under.clone();
    merged.extend(over);
    merged
}

/// Reads the driver, of which there is a choice only between the runtime's and none.
fn read_attached(table: &mut Members<'_>, faults: &mut Faults<'_>) -> bool {
    let Some(driver) = table.take::<Spanned<String>>("driver", faults) else {
        return false;
    };
    if driver.as_ref() != "attach" {
        faults.add(driver.span(), "driver can only be \"attach\"");
        return false;
    }
    for key in OF_STARTED {
        let reason = "not for driver = \"attach\", whose instances others start";
        table.refuse(key, reason, faults);
    }
    true
}

fn read_image(table: &mut Members<'_>, faults: &mut Faults<'_>) -> Option<String> {
    let image = table.take::<Spanned<String>>("image", faults)?;
    let name = faults.expand(&image)?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        faults.add(image.span(), format!("\"{name}\" is no name of an image"));
    }
    Some(name)
}

/// Reads the command, which a function may lack that has an image, or instances that attach.
fn read_command(
    table: &mut Members<'_>,
    may_lack: bool,
    faults: &mut Faults<'_>,
) -> Option<Vec<String>> {
    if may_lack && !table.has("command") {
        return Some(Vec::new());
    }
    let parts: Spanned<Vec<Spanned<String>>> = table.require("command", faults)?;
    let expanded: Vec<_> = parts
        .as_ref()
        .iter()
        .map(|part| faults.expand(part))
        .collect();
    let command: Vec<String> = expanded.into_iter().collect::<Option<_>>()?;
    if command.first().is_none_or(String::is_empty) {
        faults.add(parts.span(), "command must name a program");
        return None;
    }
    Some(command)
}

fn read_environment(table: &mut Members<'_>, faults: &mut Faults<'_>) -> BTreeMap<String, String> {
    let texts = table.take_table("environment", faults).into_texts(faults);
    let mut environment = BTreeMap::new();
    for (name, value) in texts {
        check_variable(&name, faults);
        if let Some(value) = faults.expand(&value) {
            environment.insert(name.into_inner(), value);
        }
    }
    environment
}

fn read_secrets(table: &mut Members<'_>, faults: &mut Faults<'_>) -> BTreeMap<String, PathBuf> {
    let texts = table.take_table("secrets", faults).into_texts(faults);
    let mut secrets = BTreeMap::new();
    for (name, file) in texts {
        check_variable(&name, faults);
        let Some(path) = faults.expand(&file) else {
            continue;
        };
        match std::path::absolute(Path::new(&path)) {
            Ok(path) if path.is_file() => {
                secrets.insert(name.into_inner(), path);
            }
            _ => {
                let message = format!("secret {}: file {path} does not exist", name.as_ref());
                faults.add(file.span(), message);
            }
        }
    }
    secrets
}

fn check_name(name: &Spanned<String>, faults: &mut Faults<'_>) {
    let text = name.as_ref();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if text.is_empty() || text.len() > NAME_LENGTH_MAX || !text.bytes().all(plain) {
        let message = format!(
            "function name \"{text}\" must be 1 to {NAME_LENGTH_MAX} letters, digits, \"-\" or \"_\""
        );
        faults.add(name.span(), message);
    }
}

fn check_variable(name: &Spanned<String>, faults: &mut Faults<'_>) {
    let text = name.as_ref();
    let reserved = RESERVED.contains(&text.as_str())
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| text.starts_with(prefix));
    if reserved {
        faults.add(name.span(), format!("the variable {text} is reserved"));
    } else if !is_variable(text) {
        faults.add(name.span(), format!("\"{text}\" is no variable name"));
    }
}

fn is_variable(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
