//! The names a function can be invoked by.
//!
//! Source: AWS Lambda API reference, "Invoke", `FunctionName` and Qualifier.

use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::exceptions::Exception;

/// The version that runs; there are no others, and no aliases.
pub(super) const LATEST: &str = "$LATEST";
/// Digits of an account's number.
const ACCOUNT_DIGITS: usize = 12;
/// Longest name in a path, and longest name of a function, in bytes.
const NAME_BYTES_MAX: usize = 256;
const FUNCTION_BYTES_MAX: usize = 64;

/// A function and which version of it is meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invoked {
    pub(super) function: String,
    pub(super) qualifier: Option<String>,
    /// Whether the answer is wanted piece by piece.
    pub(super) streamed: bool,
}

impl Invoked {
    /// What a request for `/2015-03-31/functions/{name}/invocations` means, or one for
    /// `/2021-11-15/functions/{name}/response-streaming-invocations`.
    pub(super) fn of(uri: &Uri) -> Result<Self, Exception> {
        let whole = between(uri.path(), "/2015-03-31/functions/", "/invocations");
        let streamed = || {
            let action = "/response-streaming-invocations";
            between(uri.path(), "/2021-11-15/functions/", action)
        };
        let name = whole
            .or_else(streamed)
            .ok_or_else(Exception::unknown_operation)?;
        let text = percent_decode_str(name).decode_utf8_lossy();
        let invoked = Self {
            streamed: whole.is_none(),
            ..Self::parse(&text).ok_or_else(|| malformed(&text))?
        };
        invoked.agreed(queried(uri.query().unwrap_or_default()))
    }

    /// Reads `name`, `account:function:name` or a whole ARN, each with an optional `:qualifier`.
    /// Partition, region and account may be any.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.split(':').collect::<Vec<_>>().into_iter().peekable();
        let whole = rest.next_if_eq(&"arn").is_some();
        if whole {
            let partition_and_service = [rest.next()?, rest.next()?];
            let [region, account] = [rest.next()?, rest.next()?];
            let valid = matches!(partition_and_service, [partition, "lambda"] if partition.starts_with("aws"))
                && is_word(region)
                && is_account(account);
            if !valid {
                return None;
            }
        }
        let partial = !whole && rest.len() > 2 && rest.next_if(|part| is_account(part)).is_some();
        if whole || partial {
            rest.next_if_eq(&"function")?;
        }
        let (function, qualifier) = (rest.next()?, rest.next());
        let is_name = |name: &str| name.len() <= FUNCTION_BYTES_MAX && is_word(name);
        let is_qualifier = |text: &str| is_word(text.strip_prefix('$').unwrap_or(text));
        let valid = text.len() <= NAME_BYTES_MAX
            && rest.next().is_none()
            && is_name(function)
            && qualifier.is_none_or(is_qualifier);
        valid.then(|| Self {
            function: function.to_owned(),
            qualifier: qualifier.map(str::to_owned),
            streamed: false,
        })
    }

    /// The same with the qualifier of the query, if that does not say otherwise.
    fn agreed(self, queried: Option<String>) -> Result<Self, Exception> {
        match (&self.qualifier, &queried) {
            (Some(named), Some(queried)) if named != queried => {
                let message = "The derived qualifier from the function name does not match the \
                               specified qualifier.";
                Err(Exception::invalid_parameter(message))
            }
            _ => Ok(Self {
                qualifier: self.qualifier.or(queried),
                ..self
            }),
        }
    }

    /// Whether the version is there that is meant.
    pub(super) fn is_latest(&self) -> bool {
        self.qualifier.as_deref().is_none_or(|it| it == LATEST)
    }
}

fn between<'a>(path: &'a str, before: &str, after: &str) -> Option<&'a str> {
    path.strip_prefix(before)?.strip_suffix(after)
}

/// `Qualifier` of the query; an empty one says nothing.
fn queried(query: &str) -> Option<String> {
    let mut members = form_urlencoded::parse(query.as_bytes());
    let (_, qualifier) = members.find(|(name, _)| name == "Qualifier")?;
    Some(qualifier.into_owned()).filter(|it| !it.is_empty())
}

fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn malformed(name: &str) -> Exception {
    let message = format!(
        "1 validation error detected: Value '{name}' at 'functionName' failed to satisfy \
         constraint: Member must be a function name or ARN"
    );
    Exception::new(StatusCode::BAD_REQUEST, "ValidationException", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(uri: &str) -> Result<(String, Option<String>), &'static str> {
        match Invoked::of(&uri.parse().expect("a URI")) {
            Ok(invoked) => Ok((invoked.function, invoked.qualifier)),
            Err(exception) => Err(exception.name),
        }
    }

    #[test]
    fn every_form_of_a_name_leads_to_the_function() {
        let arn = "arn:aws:lambda:eu-west-1:123456789012:function:pay";
        for (name, qualifier) in [
            ("pay", None),
            ("pay:$LATEST", Some("$LATEST")),
            ("pay:7", Some("7")),
            ("123456789012:function:pay", None),
            ("123456789012:function:pay:live", Some("live")),
            (arn, None),
            (&format!("{arn}:$LATEST"), Some("$LATEST")),
            ("pay%3A%24LATEST", Some("$LATEST")),
            (&arn.replace(':', "%3A"), None),
        ] {
            let found = of(&format!("/2015-03-31/functions/{name}/invocations"));
            let expected = ("pay".to_owned(), qualifier.map(str::to_owned));
            assert_eq!(found, Ok(expected), "{name}");
        }
    }

    #[test]
    fn name_that_is_none_is_not_valid() {
        for name in [
            "",
            "a.b",
            "a%2Fb",
            "a:b:c",
            "pay:",
            "12345:function:pay",
            "123456789012:layer:pay",
            "arn:aws:lambda:eu-west-1:123456789012:pay",
            "arn:aws:sqs:eu-west-1:123456789012:function:pay",
            "arn:aws:lambda:eu-west-1:123456789012:function:pay:1:2",
            &"x".repeat(65),
        ] {
            let found = of(&format!("/2015-03-31/functions/{name}/invocations"));
            assert_eq!(found, Err("ValidationException"), "{name}");
        }
        let streaming = "/2021-11-15/functions/pay/response-streaming-invocations";
        assert_eq!(of(streaming), Ok(("pay".to_owned(), None)));
        let longest = format!("/2015-03-31/functions/{}/invocations", "x".repeat(64));
        assert!(of(&longest).is_ok());
    }

    #[test]
    fn qualifier_of_the_query_must_agree_with_that_of_the_name() {
        let path = |rest: &str| of(&format!("/2015-03-31/functions/pay{rest}"));
        let pay = |qualifier: Option<&str>| Ok(("pay".to_owned(), qualifier.map(str::to_owned)));
        assert_eq!(path("/invocations?Qualifier=live"), pay(Some("live")));
        assert_eq!(path("/invocations?Qualifier="), pay(None));
        assert_eq!(path(":live/invocations?Qualifier=live"), pay(Some("live")));
        let disagreeing = path(":live/invocations?Qualifier=%24LATEST");
        assert_eq!(disagreeing, Err("InvalidParameterValueException"));
    }

    #[test]
    fn other_paths_are_no_operation() {
        for path in [
            "/",
            "/2015-03-31/functions/pay",
            "/2014-11-13/functions/pay/invoke-async/",
            "/2015-03-31/functions/pay/response-streaming-invocations",
        ] {
            assert_eq!(of(path), Err("UnknownOperationException"), "{path}");
        }
    }
}
