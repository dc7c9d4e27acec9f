use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command},
};

use serde_json::Value;
use tempfile::TempDir;
use toml::Table;

use crate::until;

/// A second runtime beside the stack's, on the same services and free ports; killed when it is
/// dropped.
#[derive(Debug)]
pub struct Runtime {
    process: Child,
    directory: TempDir,
}

impl Runtime {
    /// Starts it with the manifest's functions once `change` had its way with them.
    #[must_use]
    pub fn start(change: impl FnOnce(&mut Table)) -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = fs::read_to_string(workspace.join("functions/functions.toml"));
        let mut manifest: Table = text.expect("the manifest").parse().expect("TOML");
        change(manifest["functions"].as_table_mut().expect("[functions]"));
        let directory = TempDir::new().expect("a directory");
        let file = directory.path().join("functions.toml");
        fs::write(&file, manifest.to_string()).expect("the manifest is written");
        let log = File::create(directory.path().join("log")).expect("a file");
        let process = Command::new(workspace.join("target/release/local-lambda"))
            .current_dir(&workspace)
            .args(["serve", "--manifest"])
            .arg(file)
            .args(["http", "invoke", "admin"].map(|name| format!("--{name}=127.0.0.1:0")))
            .stdout(log)
            .spawn()
            .expect("the runtime starts");
        Self { process, directory }
    }

    /// The URL of one of its addresses, `http`, `invoke` or `admin`, once it serves.
    pub async fn url(&self, name: &str) -> String {
        let mut address = None;
        until("the runtime's addresses", async || {
            let log = fs::read_to_string(self.directory.path().join("log")).expect("the log");
            let mut lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            address = lines.find_map(|line: Value| Some(line[name].as_str()?.to_owned()));
            address.is_some()
        })
        .await;
        format!("http://{}", address.expect("waited for"))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
