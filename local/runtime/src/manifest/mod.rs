//! `functions.toml`: the only configuration of the runtime.
//!
//! A manifest is read and checked as a whole: [`Manifest::read`] either returns one that can be
//! run, or every fault it has, each with its line.

mod asynchronous;
mod cluster;
mod function;
mod gateway;
mod kafka;
mod members;
mod pattern;
mod route;
mod schema;
mod source;
mod standalone;
mod table;
mod tls;
mod user;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub(crate) use self::asynchronous::{Asynchronous, Destination};
pub(crate) use self::cluster::Cluster;
pub(crate) use self::function::INSTANCES_MAX;
pub(crate) use self::gateway::{ErrorForm, Gateway};
pub(crate) use self::kafka::{KafkaSource, LetterTopic, Start};
use self::members::{Faults, Members};
pub(crate) use self::pattern::Pattern;
pub(crate) use self::route::{BODY_BYTES_MAX, Route, RouteBounds};
pub(crate) use self::schema::SCHEMA;
pub(crate) use self::source::{Continuous, Schedule, Timing};
pub(crate) use self::standalone::is_the_functions;
pub(crate) use self::table::RouteTable;
pub(crate) use self::user::User;

/// The environment `${VAR}` is taken from: a lookup by name.
pub(crate) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A valid `functions.toml`.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// What clients see when no function answers.
    pub(crate) gateway: Gateway,
    /// This host among others, if there are any.
    pub(crate) cluster: Option<Cluster>,
    /// Files served as they are.
    pub(crate) statics: Vec<StaticFile>,
    /// The Kafka cluster of all topics: `host:port`, joined by commas.
    pub(crate) bootstrap_servers: Option<String>,
    /// The functions, by name.
    pub(crate) functions: BTreeMap<String, Declaration>,
    /// Whether it is of one function that has every path and method, and whose failure to start is
    /// the end.
    pub(crate) standalone: bool,
}

/// One `[[static]]` entry.
#[derive(Debug, Clone)]
pub(crate) struct StaticFile {
    /// Where it is served.
    pub(crate) route: Route,
    /// The file, read once at start.
    pub(crate) file: PathBuf,
    /// Its `Content-Type`.
    pub(crate) content_type: String,
}

/// One `[functions.NAME]` table.
#[derive(Debug, Clone)]
pub(crate) struct Declaration {
    /// What its instances are and get; one that differs makes another version of the function.
    pub(crate) config: FunctionConfig,
    /// HTTP routes it serves.
    pub(crate) routes: Vec<Route>,
    /// What calls it besides.
    pub(crate) sources: Sources,
}

/// What calls a function by itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sources {
    /// Timed invocations.
    pub(crate) schedules: Vec<Schedule>,
    /// Topics whose records it gets.
    pub(crate) kafka: Vec<KafkaSource>,
    /// The continuous source, if any.
    pub(crate) continuous: Option<Continuous>,
    /// How the events of asynchronous invocations are run.
    pub(crate) asynchronous: Asynchronous,
}

/// What the instances of a function are and get, defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FunctionConfig {
    /// The table's name.
    pub(crate) name: String,
    /// Program and arguments; empty if it only has an image, or its instances attach.
    pub(crate) command: Vec<String>,
    /// The container image that runs it.
    pub(crate) image: Option<String>,
    /// Whether its instances are started on other machines, and attach.
    pub(crate) attached: bool,
    /// Invocations one instance takes at once; absent means one, in sequential mode.
    pub(crate) concurrency: Option<u32>,
    /// Instances kept running.
    pub(crate) min_instances: u32,
    /// Upper bound of instances, those that attach included.
    pub(crate) max_instances: u32,
    /// How long an instance above `min_instances` is kept with nothing to do.
    pub(crate) idle: Duration,
    /// Most invocations that wait or run, in all versions together.
    pub(crate) reserved_concurrency: Option<usize>,
    /// How long one invocation may take.
    pub(crate) timeout: Duration,
    /// Memory promised to one instance, in MiB.
    pub(crate) memory_mb: u32,
    /// Whose rights its processes have; absent means the runtime's own.
    pub(crate) user: Option<User>,
    /// Variables of the manifest, expanded.
    pub(crate) environment: BTreeMap<String, String>,
    /// Variable → absolute path of a secret file.
    pub(crate) secrets: BTreeMap<String, PathBuf>,
    /// Most invocations that wait for an instance.
    pub(crate) queue_max: usize,
    /// How long an invocation may wait for an instance.
    pub(crate) queue_wait: Duration,
    /// How long one may wait while the queue stands.
    pub(crate) queue_target: Duration,
    /// Who goes first when the host is full.
    pub(crate) priority: Priority,
}

/// How urgent the invocations of a function are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Priority {
    /// They may use the whole host.
    High,
    /// They leave a share to those above.
    #[default]
    Normal,
    /// They leave a larger share.
    Low,
}

impl Priority {
    /// All of them; a priority as a number is its position.
    pub(crate) const MOST_URGENT_FIRST: [Self; 3] = [Self::High, Self::Normal, Self::Low];
}

/// One thing wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Line in the file, from 1.
    pub(crate) line: usize,
    /// What is wrong, and with what.
    pub(crate) message: String,
}

/// Everything wrong with a manifest; displayed as `file:line: message`, one fault a line.
#[derive(Debug)]
pub(crate) struct Invalid {
    file: PathBuf,
    /// The faults, by line.
    pub(crate) faults: Vec<Fault>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        for (index, fault) in self.faults.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(
                formatter,
                "{newline}{file}:{}: {}",
                fault.line, fault.message
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}

impl Manifest {
    /// Reads and checks the manifest at `file`; `${VAR}` comes from this process's environment.
    ///
    /// # Errors
    /// Every fault found, or the one that kept the file from being read.
    pub(crate) fn read(file: &Path) -> Result<Self, Invalid> {
        let invalid = |faults| Invalid {
            file: file.to_owned(),
            faults,
        };
        let text = std::fs::read_to_string(file).map_err(|error| {
            invalid(vec![Fault {
                line: 1,
                message: format!("cannot be read: {error}"),
            }])
        })?;
        Self::parse(&text, &|name| std::env::var(name).ok()).map_err(invalid)
    }

    /// Checks the manifest in `text`.
    ///
    /// # Errors
    /// Every fault found, by line.
    pub(crate) fn parse(text: &str, environment: &Lookup<'_>) -> Result<Self, Vec<Fault>> {
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut faults = Faults::new(text, environment);
        for error in &syntax {
            faults.add(error.span().unwrap_or_default(), error.message());
        }
        if !syntax.is_empty() {
            return Err(faults.into_sorted());
        }
        let mut members = Members::of_document(document.into_inner());
        let manifest = read_manifest(&mut members, &mut faults);
        members.refuse_rest(&mut faults);
        check_routes(&manifest, &mut faults);
        check_wakes(&manifest, &mut faults);
        check_destinations(&manifest, &mut faults);
        kafka::check_groups(&manifest.functions, &mut faults);
        if faults.is_empty() {
            Ok(manifest)
        } else {
            Err(faults.into_sorted())
        }
    }
}

fn read_manifest(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Manifest {
    let gateway = Gateway::read(members, faults);
    let cluster = Cluster::read(members, faults);
    let brokers = kafka::read_cluster(members, faults);
    let statics = read_statics(members, faults);
    let mut defaults = members.take_table("defaults", faults);
    let defaults = function::Settings::read(&mut defaults, faults);
    let mut functions = BTreeMap::new();
    for (name, table) in members.take_table("functions", faults).into_tables(faults) {
        if let Some(function) = function::read(&name, table, &defaults, brokers.as_deref(), faults)
        {
            functions.insert(name.into_inner(), function);
        }
    }
    Manifest {
        gateway,
        cluster,
        statics,
        bootstrap_servers: brokers,
        functions,
        standalone: false,
    }
}

fn read_statics(members: &mut Members<'_>, faults: &mut Faults<'_>) -> Vec<StaticFile> {
    let mut statics = Vec::new();
    for mut table in members.take_tables("static", faults) {
        let route = table
            .require("route", faults)
            .and_then(|text| Route::read(&text, faults));
        let file = table.require::<toml::Spanned<PathBuf>>("file", faults);
        let content_type = table.require("content_type", faults);
        table.refuse_rest(faults);
        let (Some(route), Some(file), Some(content_type)) = (route, file, content_type) else {
            continue;
        };
        if !file.as_ref().is_file() {
            faults.add(
                file.span(),
                format!("file {} does not exist", file.as_ref().display()),
            );
        }
        statics.push(StaticFile {
            route,
            file: file.into_inner(),
            content_type,
        });
    }
    statics
}

fn check_routes(manifest: &Manifest, faults: &mut Faults<'_>) {
    let of_functions = manifest
        .functions
        .values()
        .flat_map(|function| &function.routes);
    let health = Route::health();
    let mut routes: Vec<&Route> = manifest.statics.iter().map(|entry| &entry.route).collect();
    routes.extend(of_functions);
    routes.push(&health);
    routes.sort_by_key(|route| route.span.start);
    let table = RouteTable::build(routes.iter().map(|route| ((*route).clone(), ())));
    let Ok((_, clashes)) = table else { return };
    for clash in clashes {
        let route = routes[clash.route];
        let reason = match clash.with.map(|with| routes[with].span.clone()) {
            Some(other) if other.is_empty() => "is answered by the runtime itself".to_owned(),
            Some(other) => format!("conflicts with line {}", faults.line(other.start)),
            None => "conflicts with another route".to_owned(),
        };
        let message = format!("route \"{}\": {reason}", route.key);
        faults.add(route.span.clone(), message);
    }
}

fn check_wakes(manifest: &Manifest, faults: &mut Faults<'_>) {
    for continuous in manifest
        .functions
        .values()
        .filter_map(|it| it.sources.continuous.as_ref())
    {
        for name in &continuous.wake_on {
            if !manifest.functions.contains_key(name.as_ref()) {
                let message = format!("wake_on names \"{}\", which is no function", name.as_ref());
                faults.add(name.span(), message);
            }
        }
    }
}

/// Whether records of `from` may get to `to`; each would hold the one before it.
fn leads_to<'a>(
    manifest: &'a Manifest,
    from: &'a str,
    to: &str,
    seen: &mut BTreeSet<&'a str>,
) -> bool {
    let Some(declaration) = manifest.functions.get(from) else {
        return false;
    };
    let mut destinations = declaration.sources.asynchronous.functions();
    seen.insert(from)
        && destinations.any(|it| {
            let name = it.into_inner();
            name == to || leads_to(manifest, name, to, seen)
        })
}

fn check_destinations(manifest: &Manifest, faults: &mut Faults<'_>) {
    for (function, declaration) in &manifest.functions {
        for destination in declaration.sources.asynchronous.functions() {
            let name = *destination.as_ref();
            if name == function {
                let message = format!("\"function://{name}\" is the function itself");
                faults.add(destination.span(), message);
            } else if !manifest.functions.contains_key(name) {
                let message = format!("\"function://{name}\" is no function");
                faults.add(destination.span(), message);
            } else if leads_to(manifest, name, function, &mut BTreeSet::new()) {
                let message = format!("\"function://{name}\" leads back to {function}");
                faults.add(destination.span(), message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
