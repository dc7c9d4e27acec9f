//! Secret files as functions of another user see them: copies that they may read, kept current.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::getuid;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::owner::Owner;
use crate::function::locked;
use crate::manifest::FunctionConfig;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The copies of all functions: one folder each, with a file for each variable.
///
/// A file itself could not be shown to them: it has another owner, and in a container a new file of
/// the same name, which is how secrets are changed, would not be seen.
pub(super) struct Secrets {
    folder: PathBuf,
    copies: Arc<Mutex<BTreeMap<PathBuf, Copied>>>,
    /// Ended when dropped.
    _refreshing: JoinSet<()>,
}

/// What a copy is of.
struct Copied {
    source: PathBuf,
    /// User and group.
    reader: (u32, u32),
    stamp: Stamp,
}

/// Tells a file from the one that was there before: inode, size, and time of the last change.
type Stamp = (u64, u64, i64, i64);

impl Secrets {
    /// A place for the copies of the runtime `owner`; those of runtimes that are gone are removed.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn new(owner: Owner) -> anyhow::Result<Self> {
        let base = base();
        let folder = base.join(owner.to_string());
        make(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for entry in fs::read_dir(base)?.flatten() {
            let owner = entry.file_name().to_str().and_then(Owner::parse);
            if owner.is_some_and(Owner::is_gone) {
                let _removed_by_another = fs::remove_dir_all(entry.path());
            }
        }
        let copies = Arc::default();
        let mut refreshing = JoinSet::new();
        refreshing.spawn(keep_current(Arc::clone(&copies)));
        Ok(Self {
            folder,
            copies,
            _refreshing: refreshing,
        })
    }

    /// Copies the secrets of a function for user and group `reader`: the folder that has a file for
    /// each variable.
    ///
    /// # Errors
    /// If one cannot be read, or its copy not written.
    pub(super) fn provide(
        &self,
        config: &FunctionConfig,
        reader: (u32, u32),
    ) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(&config.name);
        make(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, source) in &config.secrets {
            let copied = copy(source, &folder.join(name), reader)
                .with_context(|| format!("cannot copy the secret {name}"))?;
            locked(&self.copies).insert(folder.join(name), copied);
        }
        Ok(folder)
    }

    /// Removes all copies.
    pub(super) fn remove(self) {
        let _never_there = fs::remove_dir_all(self.folder);
    }
}

/// Copies files again that have changed.
async fn keep_current(copies: Arc<Mutex<BTreeMap<PathBuf, Copied>>>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for (path, copied) in &mut *locked(&copies) {
            // A file that is away for a moment keeps its copy.
            let now = fs::metadata(&copied.source).map(|it| stamp(&it));
            if now.is_ok_and(|now| now != copied.stamp) {
                match copy(&copied.source, path, copied.reader) {
                    Ok(new) => *copied = new,
                    Err(error) => tracing::warn!("cannot renew {}: {error}", path.display()),
                }
            }
        }
    }
}

/// Removes the copies of the runtime `owner`.
pub(super) fn remove(owner: &str) {
    let _never_there = fs::remove_dir_all(base().join(owner));
}

/// In memory, where the machine has such a place for this user.
fn base() -> PathBuf {
    let place = if getuid().is_root() {
        Some(PathBuf::from("/run"))
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    };
    match place.filter(|place| place.is_dir()) {
        Some(place) => place.join("local-lambda"),
        None => std::env::temp_dir().join(format!("local-lambda-{}", getuid())),
    }
}

/// Others may go through, but not look around.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(folder)?;
    let owner = fs::symlink_metadata(folder)?.uid();
    if owner != getuid().as_raw() {
        let message = format!("{} belongs to the user {owner}", folder.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    // Whatever the umask is.
    fs::set_permissions(folder, Permissions::from_mode(0o711))
}

fn copy(source: &Path, target: &Path, reader: (u32, u32)) -> io::Result<Copied> {
    let stamp = stamp(&fs::metadata(source)?);
    let content = fs::read(source)?;
    let new = target.with_extension("new");
    let _none_left = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&new)?;
    file.write_all(&content)?;
    chown(&new, Some(reader.0), Some(reader.1))?;
    fs::rename(&new, target)?;
    Ok(Copied {
        source: source.to_owned(),
        reader,
        stamp,
    })
}

fn stamp(file: &fs::Metadata) -> Stamp {
    (file.ino(), file.size(), file.mtime(), file.mtime_nsec())
}
