use std::path::Path;

use tokio::process::Command;

/// Runs a command of the stack that is under test: `stop redis`, `start kafka`, ….
pub async fn stack(arguments: &[&str]) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(workspace.join("target/release/stack"))
        .args(arguments)
        .current_dir(&workspace)
        .output()
        .await
        .expect("the stack's command runs");
    assert!(
        output.status.success(),
        "stack {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
