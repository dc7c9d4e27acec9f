//! What docs/requirements.md names as a proof exists.

use std::{
    fs,
    path::{Path, PathBuf},
};

const DOCUMENT: &str = include_str!("../../../docs/requirements.md");

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The texts between backticks of a line that are paths.
fn proofs(line: &str) -> impl Iterator<Item = &str> {
    let texts = line.split('`').skip(1).step_by(2);
    texts.filter(|text| text.contains('/'))
}

#[test]
fn every_requirement_names_proofs_that_exist_or_says_that_it_is_not_built() {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<&str> = rows.skip(1).collect();
    assert!(rows.len() > 10, "the table is there");
    for row in rows {
        let proven = row.rsplit(" | ").next().unwrap();
        let built = !proven.contains("not built yet");
        assert_eq!(proofs(proven).count() > 0, built, "{row}");
        for proof in proofs(proven) {
            let (file, test) = proof.split_once("::").unwrap_or((proof, ""));
            let source = fs::read_to_string(workspace().join(file));
            let source = source.unwrap_or_else(|error| panic!("{file}: {error}"));
            let found = test.is_empty() || source.contains(&format!("fn {test}("));
            assert!(found, "{file} has no test {test}");
        }
    }
}
