//! Makes a planned fault happen, undoes it, and heals everything at the end.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use rustix::process::Signal;
use serde_json::json;
use stack::{Component, daemon::End, wait};
use tokio::time::{sleep, sleep_until};

use crate::{
    disk::Disk,
    plan::{Fault, Kind, Link},
    site::Site,
};

/// How long a function may take to have an instance that a fault can meet.
const INSTANCE_WITHIN: Duration = Duration::from_secs(5);
/// Time for a signal to reach a process before its disk goes on.
const KILL_BEFORE_THAW: Duration = Duration::from_millis(100);

/// What became of each fault, as JSON lines.
pub struct Journal {
    file: Mutex<File>,
    began: Instant,
}

impl Journal {
    /// An empty one at `path`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path, began: Instant) -> anyhow::Result<Self> {
        Ok(Self {
            file: Mutex::new(File::create(path)?),
            began,
        })
    }

    fn write(&self, fault: &Fault, begun: Duration, what: &str) -> anyhow::Result<()> {
        let ended = self.began.elapsed();
        let line = json!({
            "fault": fault.fault,
            "kind": fault.kind,
            "begunMs": u64::try_from(begun.as_millis())?,
            "endedMs": u64::try_from(ended.as_millis())?,
            "what": what,
        });
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(file, "{line}")?)
    }
}

/// Waits for a fault's time, lets it happen and undoes it. Gives whether it was possible here.
///
/// # Errors
/// When a part that was ended does not start again.
pub async fn inject(site: &Site, fault: &Fault, journal: &Journal) -> anyhow::Result<bool> {
    sleep_until((journal.began + Duration::from_millis(fault.at_ms)).into()).await;
    let begun = journal.began.elapsed();
    let what = match happen(site, fault).await {
        Ok(what) => what,
        Err(Impossible::Here(cause)) => {
            journal.write(fault, begun, &format!("not possible: {cause}"))?;
            return Ok(false);
        }
        Err(Impossible::Broken(error)) => {
            return Err(error.context(format!("fault {}: {:?}", fault.fault, fault.kind)));
        }
    };
    journal.write(fault, begun, &what)?;
    Ok(true)
}

enum Impossible {
    Here(String),
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Impossible {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

async fn happen(site: &Site, fault: &Fault) -> Result<String, Impossible> {
    let lasts = fault.lasts();
    match fault.kind {
        Kind::KillFunction(function) => signal(site, function, Signal::KILL, None).await,
        Kind::PauseFunction(function) => signal(site, function, Signal::STOP, Some(lasts)).await,
        Kind::Kill(component) => Ok(kill(site, component, fault).await?),
        Kind::Pause(component) => Ok(pause(site, component, lasts).await?),
        Kind::FlushRedis => Ok(flush(site).await?),
        Kind::Cut(link) => Ok(weather(site, link, lasts, |site| site.link(link).cut()).await),
        Kind::Stall(link) => Ok(weather(site, link, lasts, |site| site.link(link).stall()).await),
        Kind::Slow(link, delay_ms) => {
            let delay = Duration::from_millis(delay_ms);
            Ok(weather(site, link, lasts, |site| site.link(link).slow(delay)).await)
        }
        Kind::Commit(how, count) => {
            let trap = |site: &Site| site.link(Link::Database).trap(how, count, lasts);
            Ok(weather(site, Link::Database, lasts, trap).await)
        }
        Kind::FillDisk => Ok(fill(site, disk(site)?, fault).await?),
        Kind::StallDisk => {
            let disk = disk(site)?;
            disk.freeze().await?;
            sleep(lasts).await;
            disk.thaw().await?;
            Ok("frozen, and thawed again".to_owned())
        }
        Kind::StallDiskAndKill => Ok(stall_and_kill(site, disk(site)?, fault).await?),
    }
}

fn disk(site: &Site) -> Result<&Disk, Impossible> {
    site.disk
        .as_ref()
        .map_err(|cause| Impossible::Here(cause.clone()))
}

async fn signal(
    site: &Site,
    function: &str,
    signal: Signal,
    lasts: Option<Duration>,
) -> Result<String, Impossible> {
    let instance = wait::until(INSTANCE_WITHIN, || site.process(function)).await;
    let (pid, process) = instance.map_err(|error| Impossible::Here(format!("{error:#}")))?;
    process.signal(signal)?;
    if let Some(lasts) = lasts {
        sleep(lasts).await;
        process.signal(Signal::CONT)?;
    }
    Ok(format!("{signal:?} to process {pid}"))
}

async fn kill(site: &Site, component: Component, fault: &Fault) -> anyhow::Result<String> {
    site.stack.end(component, End::Kill).await?;
    site.keep_log(component, &format!("fault-{}", fault.fault))?;
    sleep(fault.lasts()).await;
    site.stack.start(component).await?;
    Ok("killed, and started again".to_owned())
}

/// A server whose rollback finds no space ends itself, and is then started again.
async fn fill(site: &Site, disk: &Disk, fault: &Fault) -> anyhow::Result<String> {
    disk.fill().await?;
    sleep(fault.lasts()).await;
    disk.empty()?;
    if site.stack.daemon(Component::Mariadb)?.is_some() {
        return Ok("filled, and emptied again".to_owned());
    }
    site.keep_log(Component::Mariadb, &format!("fault-{}", fault.fault))?;
    site.stack.start(Component::Mariadb).await?;
    Ok("filled, and emptied again; the server had ended itself and was started".to_owned())
}

/// A process that waits for the disk dies only once the disk goes on.
async fn stall_and_kill(site: &Site, disk: &Disk, fault: &Fault) -> anyhow::Result<String> {
    disk.freeze().await?;
    sleep(fault.lasts()).await;
    let daemon = site.stack.daemon(Component::Mariadb)?;
    let thawed = async {
        sleep(KILL_BEFORE_THAW).await;
        disk.thaw().await
    };
    let ended = async {
        match daemon {
            Some(daemon) => daemon.end(End::Kill).await,
            None => Ok(()),
        }
    };
    let (ended, thawed) = tokio::join!(ended, thawed);
    ended.and(thawed)?;
    site.keep_log(Component::Mariadb, &format!("fault-{}", fault.fault))?;
    site.stack.start(Component::Mariadb).await?;
    Ok("frozen, killed, thawed and started again".to_owned())
}

async fn pause(site: &Site, component: Component, lasts: Duration) -> anyhow::Result<String> {
    let daemon = site.stack.daemon(component)?;
    let daemon = daemon.with_context(|| format!("{component} does not run"))?;
    daemon.pause()?;
    sleep(lasts).await;
    daemon.resume()?;
    Ok(format!("paused process {}", daemon.pid()))
}

async fn flush(site: &Site) -> anyhow::Result<String> {
    let client = redis::Client::open(format!("redis://{}", site.stack.address(Component::Redis)))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("FLUSHALL").exec_async(&mut connection).await?;
    Ok("flushed".to_owned())
}

async fn weather(site: &Site, link: Link, lasts: Duration, begin: impl Fn(&Site)) -> String {
    begin(site);
    sleep(lasts).await;
    match site.link(link).clear() {
        0 => "cleared again".to_owned(),
        commits => format!("met {commits} commits, and cleared again"),
    }
}

/// Undoes what is left of every fault and waits until everything works: components run, functions
/// are ready, authorizations whose time is over are expired and every event is sent.
///
/// # Errors
/// Names what does not work again.
pub async fn heal(site: &Site, within: Duration) -> anyhow::Result<()> {
    for link in Link::ALL {
        site.link(link).clear();
    }
    if let Ok(disk) = &site.disk {
        // It fails when the disk is not frozen.
        let _ = disk.thaw().await;
        disk.empty()?;
    }
    for component in Component::ALL {
        match site.stack.daemon(component)? {
            Some(daemon) => daemon.resume()?,
            None => site.stack.start(component).await?,
        }
    }
    site.ready().await?;
    wait::until(within, || site.expire())
        .await
        .context("expire")?;
    wait::until(within, async || match site.pending().await? {
        0 => Ok(()),
        pending => Err(anyhow!("{pending} events are not sent or not noted")),
    })
    .await
    .context("events stay on the way")
}
