use problem::{Code, Problem};
use recon::{Action, TransactionKey};
use serde::Deserialize;
use utoipa::ToSchema;

/// Longest reason.
const REASON_CHARS_MAX: usize = 500;

/// Body of `POST /recon/items/{itemId}/resolve`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveRequest {
    action: Action,
    /// Why; 1–500 characters.
    #[schema(min_length = 1, max_length = 500)]
    reason: String,
    /// Which transaction of ours the row is, as `pay_…-2`; for `link` alone.
    transaction_key: Option<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Reprocess,
    Link(TransactionKey),
    Accept,
    WriteOff,
    Reopen,
    Approve,
    Reject,
}

impl ResolveRequest {
    /// What is asked for, and why.
    ///
    /// # Errors
    /// `invalid-request`, naming the member.
    pub(crate) fn parts(self) -> Result<(Asked, String), Problem> {
        let chars = self.reason.chars().count();
        let said = !self.reason.trim().is_empty() && !self.reason.contains(char::is_control);
        if !said || chars > REASON_CHARS_MAX {
            let rule = "must be 1 to 500 characters, not only spaces, without control characters";
            return Err(invalid("/reason", rule));
        }
        let key = self.transaction_key;
        if key.is_some() && self.action != Action::Link {
            return Err(invalid("/transactionKey", "is for the action link alone"));
        }
        let asked = match self.action {
            Action::Reprocess => Asked::Reprocess,
            Action::Link => Asked::Link(transaction(key)?),
            Action::Accept => Asked::Accept,
            Action::WriteOff => Asked::WriteOff,
            Action::Reopen => Asked::Reopen,
            Action::Approve => Asked::Approve,
            Action::Reject => Asked::Reject,
        };
        Ok((asked, self.reason))
    }
}

fn transaction(key: Option<String>) -> Result<TransactionKey, Problem> {
    let key = key.ok_or_else(|| invalid("/transactionKey", "is needed to link"))?;
    let key = key.parse();
    key.map_err(|_| invalid("/transactionKey", "must be a transaction key, as pay_…-2"))
}

fn invalid(pointer: &str, rule: &str) -> Problem {
    Problem::new(Code::InvalidRequest, "a member is outside its limits").at(pointer, rule)
}

impl Asked {
    /// Its name.
    pub(crate) fn action(self) -> Action {
        match self {
            Self::Reprocess => Action::Reprocess,
            Self::Link(_) => Action::Link,
            Self::Accept => Action::Accept,
            Self::WriteOff => Action::WriteOff,
            Self::Reopen => Action::Reopen,
            Self::Approve => Action::Approve,
            Self::Reject => Action::Reject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "pay_01a21ec94ac57622b7f30917b2dc0c48-2";

    fn request(action: Action, reason: &str, key: Option<&str>) -> ResolveRequest {
        ResolveRequest {
            action,
            reason: reason.to_owned(),
            transaction_key: key.map(str::to_owned),
        }
    }

    #[test]
    fn wrong_bodies_are_refused_with_their_place() {
        for (body, pointer) in [
            (request(Action::Accept, "", None), "/reason"),
            (request(Action::Accept, "  ", None), "/reason"),
            (request(Action::Accept, "a\nb", None), "/reason"),
            (request(Action::Accept, &"가".repeat(501), None), "/reason"),
            (request(Action::Accept, "r", Some(KEY)), "/transactionKey"),
            (request(Action::Link, "r", None), "/transactionKey"),
            (
                request(Action::Link, "r", Some("pay_1-2")),
                "/transactionKey",
            ),
        ] {
            let problem = body.parts().unwrap_err();
            assert_eq!(problem.errors[0].pointer, pointer);
        }
    }

    #[test]
    fn action_is_asked_for_with_its_reason() {
        let reason = "가".repeat(500);
        for action in Action::ALL {
            let key = (action == Action::Link).then_some(KEY);
            let (asked, why) = request(action, &reason, key).parts().unwrap();
            assert_eq!(asked.action(), action);
            assert_eq!(why, reason);
        }
        let (asked, _) = request(Action::Link, "r", Some(KEY)).parts().unwrap();
        assert_eq!(asked, Asked::Link(KEY.parse().unwrap()));
    }
}
