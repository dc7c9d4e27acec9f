//! The directory that holds everything of one stack.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};

use crate::{Component, wait};

/// What [`State::wipe`] deletes. Jars and tools beside it stay: they are no data.
const WIPED: [&str; 5] = ["data", "logs", "run", "secrets", "endpoints.env"];
/// Longest wait for another command on the same stack.
const LOCK_WITHIN: Duration = Duration::from_mins(2);
/// How much of a log's end is read for an error message.
const TAIL_BYTES_MAX: u64 = 256 * 1024;
/// How many lines of a log an error message shows.
const TAIL_LINES_MAX: usize = 15;

/// The state directory of one stack.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// Creates what is missing of the directory.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn open(directory: &Path) -> io::Result<Self> {
        for name in ["data", "logs", "run"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let directory = directory.canonicalize()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory.join("secrets"))?;
        Ok(Self { directory })
    }

    /// The directory itself, absolute.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a component keeps its data.
    #[must_use]
    pub fn data(&self, component: Component) -> PathBuf {
        self.directory.join("data").join(component.name())
    }

    /// What a component wrote to its standard output and error since it was started.
    #[must_use]
    pub fn log(&self, component: Component) -> PathBuf {
        self.directory
            .join("logs")
            .join(format!("{}.log", component.name()))
    }

    /// Which process a component is.
    #[must_use]
    pub fn pid_file(&self, component: Component) -> PathBuf {
        self.directory
            .join("run")
            .join(format!("{}.pid", component.name()))
    }

    /// A file of configuration made for one run.
    #[must_use]
    pub fn run_file(&self, name: &str) -> PathBuf {
        self.directory.join("run").join(name)
    }

    /// A secret's file.
    #[must_use]
    pub fn secret(&self, name: &str) -> PathBuf {
        self.directory.join("secrets").join(name)
    }

    /// The addresses in use, there while the stack is up.
    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.directory.join("endpoints.env")
    }

    /// Starts an empty log and keeps the one before as `.log.1`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn new_log(&self, component: Component) -> io::Result<File> {
        let path = self.log(component);
        match fs::rename(&path, path.with_extension("log.1")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => OpenOptions::new().create(true).append(true).open(path),
        }
    }

    /// The last lines of a component's log.
    #[must_use]
    pub fn log_tail(&self, component: Component) -> String {
        self.log_tail_of(component, |_| true)
    }

    /// The last lines of a component's log that are `wanted`.
    #[must_use]
    pub fn log_tail_of(&self, component: Component, wanted: impl Fn(&str) -> bool) -> String {
        let path = self.log(component);
        let lines = tail(&path, wanted).unwrap_or_else(|error| error.to_string());
        format!("last lines of {}:\n{lines}", path.display())
    }

    /// Keeps other commands from changing the same stack until the file is dropped.
    ///
    /// # Errors
    /// When another one does not finish in time.
    pub async fn lock(&self) -> anyhow::Result<File> {
        let path = self.directory.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let locked = wait::until(LOCK_WITHIN, async || match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!("another command holds {}", path.display()),
            other => Ok(other),
        });
        locked.await?.with_context(|| path.display().to_string())?;
        Ok(file)
    }

    /// Deletes data, logs and secrets.
    ///
    /// # Errors
    /// When something cannot be deleted.
    pub fn wipe(&self) -> anyhow::Result<()> {
        for name in WIPED {
            let path = self.directory.join(name);
            let deleted = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                remove(&path)
            };
            deleted.with_context(|| format!("cannot delete {}", path.display()))?;
        }
        Ok(())
    }
}

/// Writes a file that only its owner may read, replacing it as a whole.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, content: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let written = || {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

/// Deletes a file; one that is not there is fine.
///
/// # Errors
/// When it cannot be deleted.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn tail(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| wanted(line)).collect();
    Ok(lines[lines.len().saturating_sub(TAIL_LINES_MAX)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn private_files_are_readable_by_their_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(&directory.path().join("state")).unwrap();
        let secret = state.secret("password");
        fs::write(&secret, "old and open").unwrap();
        write_private(&secret, "new").unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "new");
        assert_eq!(
            (mode(&secret), mode(secret.parent().unwrap())),
            (0o600, 0o700)
        );
    }

    #[test]
    fn a_new_log_is_empty_and_keeps_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        writeln!(state.new_log(Component::Redis).unwrap(), "first run").unwrap();
        writeln!(state.new_log(Component::Redis).unwrap(), "second run").unwrap();
        let log = state.log(Component::Redis);
        assert_eq!(fs::read_to_string(&log).unwrap(), "second run\n");
        assert_eq!(
            fs::read_to_string(log.with_extension("log.1")).unwrap(),
            "first run\n"
        );
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let mut log = state.new_log(Component::Kafka).unwrap();
        for line in 1..=10_000 {
            writeln!(log, "line {line}").unwrap();
        }
        let tail = state.log_tail(Component::Kafka);
        assert!(tail.ends_with("line 9999\nline 10000"), "{tail}");
        assert_eq!(tail.lines().count(), 1 + TAIL_LINES_MAX);
    }

    #[test]
    fn wipe_deletes_the_stack_and_leaves_what_lies_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let jars = directory.path().join("kafka-libs");
        fs::create_dir(&jars).unwrap();
        write_private(&state.endpoints(), "A=b\n").unwrap();
        state.wipe().unwrap();
        assert!(jars.exists());
        assert!(
            WIPED
                .iter()
                .all(|name| !directory.path().join(name).exists())
        );
        state.wipe().unwrap();
    }
}
