//! The events on disk: one file of the embedded store `redb`.
//!
//! Everything here blocks; only the writer's thread calls it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;
use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::retry::Progress;
use crate::manifest::Destination;

/// Key → [`Event`] as JSON.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Key → payload, which never changes.
const PAYLOADS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("payloads");
/// Most bytes of the file that are kept in memory.
const CACHE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An event but for its payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Event {
    /// Who gets it: a function, or a topic that gets it as a record.
    #[serde(rename = "function")]
    pub(super) recipient: Destination,
    /// The function whose event a topic's record tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origin: Option<String>,
    /// The request id, the same in every attempt; a topic's record has that of its event.
    pub(super) id: Uuid,
    /// `Lambda-Runtime-Trace-Id`.
    pub(super) trace: String,
    /// `Lambda-Runtime-Aws-Tenant-Id`.
    pub(super) tenant: Option<String>,
    /// Bytes of the payload.
    pub(super) bytes: usize,
    pub(super) progress: Progress,
}

/// A change of what is kept.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Add(u64, Event, Bytes),
    Update(u64, Event),
    Remove(u64),
}

/// The open file.
pub(super) struct Store(Database);

impl Store {
    /// Where the events of a runtime with this state folder are.
    pub(super) fn file(folder: &Path) -> PathBuf {
        folder.join("events.redb")
    }

    /// Opens the file, if it is there.
    pub(super) fn open(folder: &Path) -> anyhow::Result<Option<Self>> {
        let file = Self::file(folder);
        if !file.exists() {
            return Ok(None);
        }
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES_MAX)
            .open(&file);
        let database = match database {
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                bail!(
                    "{} belongs to another runtime; --state takes another folder",
                    file.display()
                )
            }
            other => other.with_context(|| format!("cannot open {}", file.display()))?,
        };
        Ok(Some(Self(database)))
    }

    /// Creates the file, and the folder if need be, for this user only. Events that another runtime
    /// has left there meanwhile are not touched.
    pub(super) fn create(folder: &Path) -> anyhow::Result<Self> {
        let file = Self::file(folder);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        // It gets its name when it is a database: one half made would keep the next start from going on.
        let new = file.with_extension(format!("{}.new", std::process::id()));
        let created = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .with_context(|| format!("cannot create {}", new.display()))?;
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES_MAX)
            .create_with_backend(FileBackend::new(created)?);
        let named = std::fs::hard_link(&new, &file);
        std::fs::remove_file(&new)?;
        let database = database.with_context(|| format!("cannot write {}", new.display()))?;
        named.with_context(|| format!("cannot create {}", file.display()))?;
        // The file's name must be on disk, too.
        File::open(folder)?.sync_all()?;
        Ok(Self(database))
    }

    /// All events, in the order they came.
    pub(super) fn events(&self) -> anyhow::Result<Vec<(u64, Event)>> {
        let reading = self.0.begin_read()?;
        let events = match reading.open_table(EVENTS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in events.iter()? {
            let (key, event) = entry?;
            let event = serde_json::from_slice(event.value())
                .with_context(|| format!("event {} cannot be read", key.value()))?;
            found.push((key.value(), event));
        }
        Ok(found)
    }

    /// The payload of an event.
    pub(super) fn payload(&self, key: u64) -> anyhow::Result<Bytes> {
        let payloads = self.0.begin_read()?.open_table(PAYLOADS)?;
        let payload = payloads.get(key)?.context("the payload is gone")?;
        Ok(Bytes::copy_from_slice(payload.value()))
    }

    /// Makes changes, all or none; they are on disk when this returns.
    pub(super) fn commit<'a>(
        &self,
        changes: impl Iterator<Item = &'a Change>,
    ) -> anyhow::Result<()> {
        let writing = self.0.begin_write()?;
        {
            let mut events = writing.open_table(EVENTS)?;
            let mut payloads = writing.open_table(PAYLOADS)?;
            for change in changes {
                match change {
                    Change::Add(key, event, payload) => {
                        events.insert(key, &*serde_json::to_vec(event)?)?;
                        payloads.insert(key, &**payload)?;
                    }
                    Change::Update(key, event) => {
                        events.insert(key, &*serde_json::to_vec(event)?)?;
                    }
                    Change::Remove(key) => {
                        events.remove(key)?;
                        payloads.remove(key)?;
                    }
                }
            }
        }
        writing.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::*;

    fn event(recipient: Destination) -> Event {
        Event {
            recipient,
            origin: None,
            id: Uuid::from_u128(1),
            trace: "Root=1".to_owned(),
            tenant: None,
            bytes: 2,
            progress: Progress::new(SystemTime::UNIX_EPOCH),
        }
    }

    #[test]
    fn events_are_there_again_after_opening_and_gone_after_removal() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(Store::open(folder.path()).expect("no fault").is_none());
        let store = Store::create(folder.path()).expect("created");
        assert!(store.events().expect("read").is_empty());
        let add = |key, name: &str| {
            let recipient = Destination::Function(name.to_owned());
            Change::Add(key, event(recipient), Bytes::from(name.to_owned()))
        };
        let changes = [add(1, "a"), add(2, "b"), Change::Remove(1)];
        store.commit(changes.iter()).expect("committed");
        drop(store);

        let store = Store::open(folder.path())
            .expect("no fault")
            .expect("there");
        let events = store.events().expect("read");
        let keys: Vec<_> = events.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [2]);
        assert_eq!(events[0].1.recipient, Destination::Function("b".to_owned()));
        assert_eq!(store.payload(2).expect("there"), "b");
        assert!(store.payload(1).is_err());
    }

    #[test]
    fn a_topic_is_told_from_a_function_and_looks_like_none_that_there_can_be() {
        for (recipient, text) in [
            (Destination::Function("a".to_owned()), "a"),
            (Destination::Topic("a".to_owned()), "kafka://a"),
        ] {
            let kept = serde_json::to_value(event(recipient.clone())).expect("JSON");
            assert_eq!(kept["function"], text);
            let read: Event = serde_json::from_value(kept).expect("an event");
            assert_eq!(read.recipient, recipient);
        }
    }

    #[test]
    fn only_this_user_can_read_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let _open = Store::create(folder.path()).expect("created");
        let file = std::fs::metadata(Store::file(folder.path())).expect("there");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn file_belongs_to_one_runtime() {
        let folder = tempfile::tempdir().expect("a folder");
        let _open = Store::create(folder.path()).expect("created");
        let error = Store::open(folder.path()).err().expect("refused");
        assert!(error.to_string().contains("--state"), "{error}");
        assert!(Store::create(folder.path()).is_err());
    }
}
