//! No secret and no customer is found in a log or on a topic.

use std::{fs, path::Path};

use anyhow::Context as _;

use super::{Message, Violation};
use crate::{
    plan::PERSONAL_DATA,
    site::{self, Site},
};

pub(super) fn check(site: &Site, messages: &[Message]) -> anyhow::Result<Vec<Violation>> {
    let mut hidden = site::secrets(&site.stack)?;
    hidden.extend(PERSONAL_DATA.map(str::to_owned));
    let mut violations = Vec::new();
    let logs = site.stack.state.directory().join("logs");
    for log in fs::read_dir(&logs)? {
        let path = log?.path();
        let text = read(&path)?;
        violations.extend(found(&hidden, &text, &path.display().to_string()));
    }
    for message in messages {
        violations.extend(found(&hidden, &message.value, &message.topic));
    }
    Ok(violations)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Which of what is hidden stands in a text; the violation does not repeat it.
fn found(hidden: &[String], text: &str, place: &str) -> Option<Violation> {
    let number = hidden
        .iter()
        .position(|hidden| text.contains(hidden.as_str()))?;
    let personal = hidden.len() - PERSONAL_DATA.len();
    let what = if number < personal {
        "a secret"
    } else {
        "a customer"
    };
    Some(Violation {
        check: "leaks",
        payment: None,
        what: format!("{place} shows {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_customers_are_told_apart_and_not_repeated() {
        let mut hidden = vec!["s3cret".to_owned()];
        hidden.extend(PERSONAL_DATA.map(str::to_owned));
        let what = |text| found(&hidden, text, "a.log").map(|violation| violation.what);
        assert_eq!(
            what("password=s3cret").as_deref(),
            Some("a.log shows a secret")
        );
        assert_eq!(
            what("to 7@shopper.example").as_deref(),
            Some("a.log shows a customer")
        );
        assert_eq!(what("nothing"), None);
    }
}
