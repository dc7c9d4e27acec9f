/// The curl command that sends the same bytes. `body` is the command line's: text, or `@FILE`.
pub(crate) fn command(request: &reqwest::Request, body: Option<&str>) -> String {
    // Globbing would give brackets and braces in the address a meaning.
    let mut words = vec![
        "curl".to_owned(),
        "--globoff".to_owned(),
        "-i".to_owned(),
        "-X".to_owned(),
    ];
    words.push(quoted(request.method().as_str()));
    words.push(quoted(request.url().as_str()));
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        // Without a value, curl takes a semicolon to mean an empty header.
        let header = if value.is_empty() {
            format!("{name};")
        } else {
            format!("{name}: {value}")
        };
        words.extend(["-H".to_owned(), quoted(&header)]);
    }
    if let Some(body) = body.filter(|_| request.body().is_some()) {
        let option = if body.starts_with('@') {
            "--data-binary"
        } else {
            "--data-raw"
        };
        words.extend([option.to_owned(), quoted(body)]);
    }
    words.join(" ")
}

/// One word for a POSIX shell, whatever it holds.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(quoted("POST"), "POST");
        assert_eq!(quoted("/a?b=[1]&c"), "'/a?b=[1]&c'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("~"), "'~'");
    }
}
