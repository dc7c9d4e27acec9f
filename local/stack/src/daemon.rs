//! Processes that outlive the command that started them.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::Command,
    time,
};

/// How long a process may take to end after SIGTERM; then it is killed.
const TERMINATE_WITHIN: Duration = Duration::from_secs(30);
/// How long a process may take to end after SIGKILL.
const KILL_WITHIN: Duration = Duration::from_secs(10);

/// How a process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM: it finishes what it is doing.
    Terminate,
    /// SIGKILL: it crashes.
    Kill,
}

/// A running process known by its pid file.
///
/// The file holds the pid and the process's start time, so a pid that now belongs to another
/// process is not taken for ours; signals go through a pidfd, which cannot change its process.
#[derive(Debug)]
pub struct Daemon {
    pid: u32,
    pidfd: OwnedFd,
    pid_file: PathBuf,
}

impl Daemon {
    /// Starts `command` in a session of its own, with no input and `log` as its output.
    ///
    /// # Errors
    /// When the program cannot be started or the pid file cannot be written.
    pub fn spawn(
        command: &[String],
        log: File,
        pid_file: &Path,
        setup: Setup<'_>,
    ) -> anyhow::Result<Self> {
        // setsid(1) replaces itself by the command: the pid stays.
        let child = Command::new("setsid")
            .args(command)
            .current_dir(setup.directory)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run setsid")?;
        let pid = child.id().context("it ended at once")?;
        let started = started_at(pid).context("it ended at once")?;
        fs::write(pid_file, format!("{pid} {started}\n"))
            .with_context(|| format!("cannot write {}", pid_file.display()))?;
        Self::find(pid_file)?.context("it ended at once")
    }

    /// The process of a pid file; none when it has ended.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn find(pid_file: &Path) -> anyhow::Result<Option<Self>> {
        let text = match fs::read_to_string(pid_file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", pid_file.display()))?,
        };
        let Some((pid, started)) = parse(&text) else {
            return Ok(None);
        };
        let Some(pidfd) = open(pid) else {
            return Ok(None);
        };
        // Looked at after the pidfd is open: from then on the pid cannot change hands.
        if started_at(pid) != Some(started) {
            return Ok(None);
        }
        Ok(Some(Self {
            pid,
            pidfd,
            pid_file: pid_file.to_owned(),
        }))
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops the process where it stands, until [`Daemon::resume`].
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Waits until the process has ended.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub async fn ended(&self) -> io::Result<()> {
        readable(&self.pidfd).await
    }

    /// Ends the process and deletes its pid file.
    ///
    /// # Errors
    /// When the process does not end.
    pub async fn end(self, how: End) -> anyhow::Result<()> {
        if how == End::Terminate {
            self.signal(Signal::TERM)?;
            if self.ended_within(TERMINATE_WITHIN).await? {
                return Ok(fs::remove_file(&self.pid_file)?);
            }
        }
        self.signal(Signal::KILL)?;
        ensure!(
            self.ended_within(KILL_WITHIN).await?,
            "process {} does not end",
            self.pid
        );
        Ok(fs::remove_file(&self.pid_file)?)
    }

    async fn ended_within(&self, within: Duration) -> io::Result<bool> {
        time::timeout(within, self.ended())
            .await
            .map_or(Ok(false), |ended| ended.map(|()| true))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot signal process {}", self.pid)),
        }
    }
}

/// Where and with what a daemon runs.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// Its working directory.
    pub directory: &'a Path,
    /// Variables added to this process's own.
    pub environment: &'a [(&'static str, String)],
}

fn parse(text: &str) -> Option<(u32, u64)> {
    let (pid, started) = text.trim().split_once(' ')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

/// A pidfd is readable once its process has ended, reaped or not.
#[expect(
    deprecated,
    reason = "the descriptor is borrowed meanwhile; the successor is unsafe"
)]
async fn readable(pidfd: &OwnedFd) -> io::Result<()> {
    let pidfd = AsyncFd::with_interest(pidfd.as_fd(), Interest::READABLE)?;
    pidfd.readable().await.map(|_| ())
}

fn open(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// When a process was started, in clock ticks since the machine was; none when it has ended.
fn started_at(pid: u32) -> Option<u64> {
    // The second field is the program's name in parentheses, and may hold anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let ended = ["Z", "X"].contains(&state);
    fields.nth(18)?.parse().ok().filter(|_| !ended)
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    struct Fixture {
        directory: tempfile::TempDir,
        pid_file: PathBuf,
    }

    fn fixture() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("daemon.pid");
        Fixture {
            directory,
            pid_file,
        }
    }

    fn spawn(fixture: &Fixture, script: &str) -> Daemon {
        let command = ["sh", "-c", script].map(str::to_owned);
        let log = File::create(fixture.directory.path().join("log")).unwrap();
        let setup = Setup {
            directory: fixture.directory.path(),
            environment: &[],
        };
        Daemon::spawn(&command, log, &fixture.pid_file, setup).unwrap()
    }

    #[tokio::test]
    async fn a_daemon_is_found_by_its_pid_file_until_it_is_ended() {
        let fixture = fixture();
        let pid = spawn(&fixture, "exec sleep 600").pid();
        let found = Daemon::find(&fixture.pid_file).unwrap().unwrap();
        assert_eq!(found.pid(), pid);
        found.end(End::Terminate).await.unwrap();
        assert!(Daemon::find(&fixture.pid_file).unwrap().is_none());
        assert!(!fixture.pid_file.exists());
    }

    #[tokio::test]
    async fn a_daemon_leads_a_session_of_its_own() {
        let fixture = fixture();
        let daemon = spawn(&fixture, "exec sleep 600");
        let stat = format!("/proc/{}/stat", daemon.pid());
        let session = wait_for_session(&stat, daemon.pid()).await;
        daemon.end(End::Kill).await.unwrap();
        assert!(session);
    }

    async fn wait_for_session(stat: &str, pid: u32) -> bool {
        let look = async || {
            let stat = fs::read_to_string(stat)?;
            let session = stat
                .rsplit_once(") ")
                .and_then(|(_, fields)| fields.split(' ').nth(3));
            anyhow::ensure!(session == Some(pid.to_string().as_str()), "{stat}");
            Ok(())
        };
        crate::wait::until(Duration::from_secs(10), look)
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_process_that_has_ended_is_not_running_even_before_it_is_reaped() {
        let fixture = fixture();
        let mut child = process::Command::new("true").spawn().unwrap();
        let started = started_at(child.id());
        readable(&open(child.id()).unwrap()).await.unwrap();
        assert_eq!(started_at(child.id()), None);
        fs::write(
            &fixture.pid_file,
            format!("{} {}", child.id(), started.unwrap_or(1)),
        )
        .unwrap();
        assert!(Daemon::find(&fixture.pid_file).unwrap().is_none());
        child.wait().unwrap();
    }

    #[test]
    fn a_pid_of_another_process_is_not_ours() {
        let fixture = fixture();
        let (pid, started) = (process::id(), started_at(process::id()).unwrap());
        fs::write(&fixture.pid_file, format!("{pid} {}", started - 1)).unwrap();
        assert!(Daemon::find(&fixture.pid_file).unwrap().is_none());
        fs::write(&fixture.pid_file, format!("{pid} {started}")).unwrap();
        assert_eq!(Daemon::find(&fixture.pid_file).unwrap().unwrap().pid(), pid);
    }

    #[test]
    fn a_broken_pid_file_means_nothing_runs() {
        let fixture = fixture();
        for text in ["", "12", "x y", "-1 5", "0 1", "99999999999 1"] {
            fs::write(&fixture.pid_file, text).unwrap();
            assert!(Daemon::find(&fixture.pid_file).unwrap().is_none(), "{text}");
        }
    }
}
