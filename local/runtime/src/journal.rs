//! The last lines that the instances of a function have logged, and those that come.

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::broadcast::{self, Receiver};

use crate::function::locked;

/// Most bytes of lines kept of one function.
const KEPT_BYTES_MAX: usize = 256 * 1024;
/// Lines that a slow reader may be behind; it misses those before.
const BEHIND_MAX: usize = 1024;

/// The lines of one function, of all its versions.
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    coming: broadcast::Sender<Bytes>,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Bytes>,
    bytes: usize,
}

impl Journal {
    /// Adds a line, with its line feed.
    pub(crate) fn add(&self, line: Bytes) {
        let mut kept = locked(&self.kept);
        kept.bytes += line.len();
        kept.lines.push_back(line.clone());
        while kept.bytes > KEPT_BYTES_MAX
            && let Some(oldest) = kept.lines.pop_front()
        {
            kept.bytes -= oldest.len();
        }
        // Under the lock, so that no reader gets a line twice or not at all.
        let _nobody_follows = self.coming.send(line);
    }

    /// The last `lines` lines, and whatever comes after them.
    pub(crate) fn read(&self, lines: usize) -> (Vec<Bytes>, Receiver<Bytes>) {
        let kept = locked(&self.kept);
        let before = kept.lines.len().saturating_sub(lines);
        let last = kept.lines.range(before..).cloned().collect();
        (last, self.coming.subscribe())
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            coming: broadcast::Sender::new(BEHIND_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[Bytes]) -> String {
        String::from_utf8(lines.concat()).expect("text")
    }

    #[test]
    fn reader_gets_the_last_lines_and_those_that_come() {
        let journal = Journal::default();
        for line in ["a\n", "b\n", "c\n"] {
            journal.add(line.into());
        }
        let (last, mut coming) = journal.read(2);
        assert_eq!(text(&last), "b\nc\n");
        assert!(coming.try_recv().is_err());
        journal.add("d\n".into());
        assert_eq!(coming.try_recv().expect("a line"), "d\n");
        assert_eq!(text(&journal.read(9).0), "a\nb\nc\nd\n");
    }

    #[test]
    fn lines_kept_are_bounded() {
        let journal = Journal::default();
        let line = Bytes::from(vec![b'x'; KEPT_BYTES_MAX / 4]);
        (0..9).for_each(|_| journal.add(line.clone()));
        assert_eq!(journal.read(9).0.len(), 4);
        journal.add(vec![b'x'; KEPT_BYTES_MAX + 1].into());
        assert!(journal.read(9).0.is_empty());
    }
}
