//! The key file, and its changes while the process runs.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::key::{KeyRing, KeyRingError};

/// How long a ring is used before the file is looked at again.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of a key file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("the key file cannot be read")]
    Read(#[from] io::Error),
    /// More than the bytes of any sensible key file.
    #[error("the key file has more than {FILE_BYTES_MAX} bytes")]
    TooLong,
    /// Its content is refused.
    #[error("the key file is not valid: {0}")]
    Content(#[from] KeyRingError),
}

/// A key file whose changes are picked up within a second of use, without a restart. A change that
/// cannot be used is logged once and leaves the keys as they were.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ring: Arc<KeyRing>,
    version: Option<Version>,
    checked_at: Instant,
}

/// What changes whenever the file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl KeyFile {
    /// Opens a key file; see [`KeyRing::from_json`] for its form.
    ///
    /// # Errors
    /// [`KeyFileError`] when it cannot be read or is not valid.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let path = path.into();
        let version = Version::of(&fs::metadata(&path)?);
        let ring = Arc::new(read(&path)?);
        let state = State {
            ring,
            version: Some(version),
            checked_at: Instant::now(),
        };
        Ok(Self {
            path,
            state: Mutex::new(state),
        })
    }

    /// The keys in force now.
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing> {
        self.ring_at(Instant::now())
    }

    fn ring_at(&self, now: Instant) -> Arc<KeyRing> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.checked_at) >= CHECK_EVERY {
            state.checked_at = now;
            self.refresh(&mut state);
        }
        Arc::clone(&state.ring)
    }

    /// Reads the file again when it has changed. The version is taken before the content, so a
    /// write between the two is seen at the next check.
    fn refresh(&self, state: &mut State) {
        let version = fs::metadata(&self.path).ok().as_ref().map(Version::of);
        if version == state.version {
            return;
        }
        state.version = version;
        match read(&self.path) {
            Ok(ring) => {
                tracing::info!(keys.count = ring.len(), "the key file has changed");
                state.ring = Arc::new(ring);
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the changed key file cannot be used, the keys stay as they were"
            ),
        }
    }
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

fn read(path: &Path) -> Result<KeyRing, KeyFileError> {
    if fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(KeyFileError::TooLong);
    }
    let json = Zeroizing::new(fs::read(path)?);
    Ok(KeyRing::from_json(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(key_id: &str) -> String {
        format!(
            r#"[{{"keyId":"{key_id}","merchantId":"m-1","role":"merchant","secret":"{}="}}]"#,
            "A".repeat(43)
        )
    }

    fn has(ring: &KeyRing, key_id: &str) -> bool {
        ring.get(key_id).is_some()
    }

    #[test]
    fn a_changed_file_is_picked_up_after_a_second_of_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        fs::write(&path, json("first")).unwrap();
        let keys = KeyFile::open(&path).unwrap();
        let opened = Instant::now();
        assert!(has(&keys.ring_at(opened), "first"));

        fs::write(&path, json("second-key")).unwrap();
        assert!(
            has(&keys.ring_at(opened), "first"),
            "the file is not looked at so soon"
        );
        assert!(has(&keys.ring_at(opened + CHECK_EVERY), "second-key"));
    }

    #[test]
    fn a_replaced_file_of_the_same_length_is_picked_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        fs::write(&path, json("a")).unwrap();
        let keys = KeyFile::open(&path).unwrap();
        fs::write(folder.path().join("next"), json("b")).unwrap();
        fs::rename(folder.path().join("next"), &path).unwrap();
        assert!(has(&keys.ring_at(Instant::now() + CHECK_EVERY), "b"));
    }

    #[test]
    fn a_broken_or_absent_file_keeps_the_old_keys_until_it_is_good_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        fs::write(&path, json("first")).unwrap();
        let keys = KeyFile::open(&path).unwrap();
        let later = |seconds| Instant::now() + CHECK_EVERY * seconds;

        fs::write(&path, "[").unwrap();
        assert!(has(&keys.ring_at(later(1)), "first"));
        fs::remove_file(&path).unwrap();
        assert!(has(&keys.ring_at(later(3)), "first"));
        fs::write(&path, json("third")).unwrap();
        assert!(has(&keys.ring_at(later(5)), "third"));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        assert!(matches!(KeyFile::open(&path), Err(KeyFileError::Read(_))));
        fs::write(&path, "{}").unwrap();
        assert!(matches!(
            KeyFile::open(&path),
            Err(KeyFileError::Content(_))
        ));
        fs::File::create(&path)
            .unwrap()
            .set_len(FILE_BYTES_MAX + 1)
            .unwrap();
        assert!(matches!(KeyFile::open(&path), Err(KeyFileError::TooLong)));
    }
}
