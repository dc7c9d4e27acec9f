//! A small file system of its own for the database, so that it can be full or stand still.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use stack::program;
use tokio::process::Command;

/// Room for the redo log, the tables of a run and some more; the file behind it is sparse.
const BYTES: u64 = 1_280 << 20;

/// A mounted ext4 file system in a file.
#[derive(Debug)]
pub struct Disk {
    mount: PathBuf,
}

impl Disk {
    /// Makes `image` and mounts it at `mount`.
    ///
    /// # Errors
    /// When this machine or user cannot.
    pub async fn mount(image: &Path, mount: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(mount)?;
        File::create(image)?.set_len(BYTES)?;
        // No blocks are kept for root, who runs the server.
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], image).await?;
        let mut command = Command::new("mount");
        program::run(command.args(["-o", "loop"]).arg(image).arg(mount)).await?;
        Ok(Self {
            mount: mount.to_owned(),
        })
    }

    /// Leaves no block free.
    ///
    /// # Errors
    /// When nothing can be written there at all.
    pub async fn fill(&self) -> anyhow::Result<()> {
        // It takes what there is and then fails, which is what is wanted.
        let taken = run("fallocate", &["-l", &BYTES.to_string()], &self.filler()).await;
        let filled = fs::metadata(self.filler()).map_or(0, |filler| filler.len());
        if filled == 0 { taken } else { Ok(()) }
    }

    /// Takes the filler away.
    ///
    /// # Errors
    /// When it cannot be deleted.
    pub fn empty(&self) -> anyhow::Result<()> {
        stack::state::remove(&self.filler()).context("cannot delete the filler")
    }

    /// Lets every write wait until [`Disk::thaw`].
    ///
    /// # Errors
    /// When the file system cannot be frozen.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        run("fsfreeze", &["-f"], &self.mount).await
    }

    /// Lets writes go on.
    ///
    /// # Errors
    /// When it was not frozen.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        run("fsfreeze", &["-u"], &self.mount).await
    }

    fn filler(&self) -> PathBuf {
        self.mount.join("filler")
    }
}

/// Lets writes at `mount` go on, which processes need in order to end.
///
/// # Errors
/// When mounts cannot be read.
pub async fn release(mount: &Path) -> anyhow::Result<()> {
    if let Some(mount) = mounted(mount)? {
        // It fails when the file system is not frozen.
        let _ = run("fsfreeze", &["-u"], &mount).await;
    }
    Ok(())
}

/// Unmounts what is mounted at `mount`.
///
/// # Errors
/// When something still uses it.
pub async fn unmount(mount: &Path) -> anyhow::Result<()> {
    match mounted(mount)? {
        Some(mount) => run("umount", &[], &mount).await,
        None => Ok(()),
    }
}

/// The directory as the system names it, when a file system is mounted there.
fn mounted(mount: &Path) -> io::Result<Option<PathBuf>> {
    let Ok(mount) = mount.canonicalize() else {
        return Ok(None);
    };
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let place = mount.display().to_string();
    let there = mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(&place));
    Ok(there.then_some(mount))
}

async fn run(program: &str, arguments: &[&str], path: &Path) -> anyhow::Result<()> {
    program::run(Command::new(program).args(arguments).arg(path)).await
}
