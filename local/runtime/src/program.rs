//! Keeps the program of a version, whatever is built in its place later.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where programs without a slash are looked up.
pub(crate) const SEARCHED: &str = "/usr/local/bin:/usr/bin:/bin";
/// How a program begins that is not read by another.
const ELF: &[u8; 4] = b"\x7fELF";

/// An open program: the file itself, not what its path will lead to.
#[derive(Debug, Clone)]
pub(crate) struct Program(Arc<File>);

impl Program {
    /// The program at this path, or of this name. `None` if it is a script: its interpreter is given a
    /// path, so that it is the version of the moment.
    ///
    /// # Errors
    /// If there is no such file, or it cannot be read.
    pub(crate) fn open(program: &str) -> io::Result<Option<Self>> {
        let mut file = File::open(path(program))?;
        let mut beginning = [0; ELF.len()];
        let whole = file.read_exact(&mut beginning);
        Ok((whole.is_ok() && beginning == *ELF).then(|| Self(Arc::new(file))))
    }

    /// A path that leads to it for processes of this user, as long as this process has it.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}

fn path(program: &str) -> PathBuf {
    if program.contains('/') {
        return program.into();
    }
    let candidates = SEARCHED
        .split(':')
        .map(|folder| Path::new(folder).join(program));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| program.into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn program_outlives_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        std::fs::copy(super::path("true"), &path).expect("copied");
        let text = path.display().to_string();
        let program = Program::open(&text).expect("opened").expect("no script");
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "something else").expect("written");
        let status = Command::new(program.path()).status().expect("runs");
        assert!(status.success());
    }

    #[test]
    fn script_is_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("script");
        std::fs::write(&path, "#!/bin/sh\n").expect("written");
        let opened = Program::open(&path.display().to_string());
        assert!(opened.expect("opened").is_none());
        assert!(Program::open("/does/not/exist").is_err());
    }
}
