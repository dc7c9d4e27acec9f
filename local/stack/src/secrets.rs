//! Passwords and signing keys: made once at random, kept in files of their own.

use std::{collections::BTreeMap, fs};

use anyhow::Context as _;
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use rustix::rand::{GetRandomFlags, getrandom};
use serde_json::{Value, json};

use crate::{Component, Stack, State, mariadb, sample, state};

/// The file of the signing keys.
pub const KEYS_FILE: &str = "keys.json";
/// Random bytes of a password and of a signing secret.
const SECRET_BYTES: usize = 32;

/// The passwords of the database users.
pub struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads the passwords; makes those that are missing, and the signing keys.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn open(state: &State) -> anyhow::Result<Self> {
        let keys = state.secret(KEYS_FILE);
        if !keys.exists() {
            state::write_private(&keys, &format!("{:#}\n", signing_keys()?))?;
        }
        let users = mariadb::users().into_iter();
        let passwords = users.map(|user| Ok((user.clone(), password(state, &user)?)));
        Ok(Self(passwords.collect::<anyhow::Result<_>>()?))
    }

    /// Each user and its password, which has only letters, digits, `-` and `_` and so needs no
    /// escaping in SQL or a URL.
    pub fn passwords(&self) -> impl Iterator<Item = (&String, &String)> {
        self.0.iter()
    }

    /// Where a user reaches a database.
    ///
    /// # Panics
    /// When the user is none of [`mariadb::users`].
    #[must_use]
    pub fn url(&self, stack: &Stack, user: &str, database: &str) -> String {
        self.url_at(&stack.address(Component::Mariadb), user, database)
    }

    fn url_at(&self, address: &str, user: &str, database: &str) -> String {
        let password = &self.0[user];
        format!("mysql://{user}:{password}@{address}/{database}")
    }

    /// Writes each service's URLs to the files that functions read.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_urls(&self, stack: &Stack) -> anyhow::Result<()> {
        for service in mariadb::SERVICES {
            for (user, suffix) in [("fn", ""), ("migrate", "-migrate")] {
                let address = stack.reached_at(Component::Mariadb);
                let url = self.url_at(&address, &format!("{service}_{user}"), service);
                let path = stack
                    .state
                    .secret(&format!("database-url-{service}{suffix}"));
                state::write_private(&path, &format!("{url}\n"))?;
            }
        }
        Ok(())
    }
}

fn password(state: &State, user: &str) -> anyhow::Result<String> {
    let path = state.secret(&format!("mariadb-{user}"));
    if !path.exists() {
        let made = BASE64_URL_SAFE_NO_PAD.encode(random()?);
        state::write_private(&path, &made)?;
    }
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Two merchants, that of the sample payment, one that meets its rate limit soon, and two operators.
fn signing_keys() -> anyhow::Result<Value> {
    let secret = || anyhow::Ok(BASE64_STANDARD.encode(random()?));
    Ok(json!([
        {"keyId": "demo", "merchantId": "m-demo", "role": "merchant", "secret": secret()?},
        {"keyId": "other", "merchantId": "m-other", "role": "merchant", "secret": secret()?},
        {
            "keyId": sample::KEY, "merchantId": sample::MERCHANT, "role": "merchant",
            "secret": secret()?
        },
        {"keyId": "ops", "merchantId": "m-ops", "role": "operator", "secret": secret()?},
        {"keyId": "ops-2", "merchantId": "m-ops-2", "role": "operator", "secret": secret()?},
        {
            "keyId": "limited", "merchantId": "m-limited", "role": "merchant", "secret": secret()?,
            "rateLimit": {"perSecond": 5, "burst": 5}
        }
    ]))
}

fn random() -> anyhow::Result<[u8; SECRET_BYTES]> {
    let mut bytes = [0; SECRET_BYTES];
    let filled = getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    anyhow::ensure!(
        filled == SECRET_BYTES,
        "the operating system gave too few random bytes"
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_are_all_different() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(directory.path()).unwrap();
        let first = Secrets::open(&state).unwrap();
        let keys = fs::read_to_string(state.secret(KEYS_FILE)).unwrap();
        let second = Secrets::open(&state).unwrap();
        assert_eq!(first.0, second.0);
        assert_eq!(keys, fs::read_to_string(state.secret(KEYS_FILE)).unwrap());

        let keys: Vec<Value> = serde_json::from_str(&keys).unwrap();
        let signing = keys.iter().map(|key| key["secret"].as_str().unwrap());
        let all: Vec<&str> = first
            .0
            .values()
            .map(String::as_str)
            .chain(signing)
            .collect();
        let different: std::collections::BTreeSet<&&str> = all.iter().collect();
        assert_eq!((all.len(), different.len()), (17, 17));
    }

    #[test]
    fn signing_keys_have_the_form_of_the_key_file() {
        let keys = signing_keys().unwrap();
        let ids: Vec<&str> = keys
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["keyId"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["demo", "other", "sample", "ops", "ops-2", "limited"]);
        let secret = BASE64_STANDARD
            .decode(keys[0]["secret"].as_str().unwrap())
            .unwrap();
        assert_eq!(secret.len(), SECRET_BYTES);
        assert_eq!(keys[3]["role"], "operator");
    }
}
