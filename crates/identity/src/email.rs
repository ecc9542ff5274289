//! E-mail addresses: checked, folded to one spelling, never a proof of who somebody is.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

/// An address in lower case. ASCII only, so that no two addresses look alike.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EmailAddress(String);

/// The text is not an address we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an e-mail address such as `ana@example.com`")]
pub struct NotAnAddress(String);

impl EmailAddress {
    /// Accepts `local@domain` of RFC 5321's unquoted form, at most 254 characters, and folds it to lower case.
    pub fn new(text: &str) -> Result<Self, NotAnAddress> {
        let accepted = text.len() <= 254
            && text.split_once('@').is_some_and(|(local, domain)| is_local(local) && is_domain(domain));
        if accepted { Ok(Self(text.to_ascii_lowercase())) } else { Err(NotAnAddress(shown(text))) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands behind the `@`.
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// What stands before the `@`.
    pub fn local(&self) -> &str {
        self.0.rsplit_once('@').map_or(&self.0, |(local, _)| local)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

impl FromStr for EmailAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for EmailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What an error repeats of a wrong address: one line, nothing hidden, not endless.
fn shown(text: &str) -> String {
    countersign_core::visible::one_line(&text.chars().take(80).collect::<String>())
}

fn is_local(local: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    (1..=64).contains(&local.len()) && local.split('.').all(is_atom)
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_folded_and_the_rest_is_refused() {
        assert_eq!(EmailAddress::new("Ana.Roe+x@Example.COM").unwrap().as_str(), "ana.roe+x@example.com");
        for bad in [
            "",
            "ana",
            "@x",
            "ana@",
            "a@b@c",
            "ana@-x.com",
            ".a@x",
            "a..b@x",
            "a b@x.com",
            "аna@x.com",
            "ana@x..com",
            "ana@x.com\n",
            "\"a\"@x.com",
            "ana@[127.0.0.1]",
            &format!("{}@x.com", "a".repeat(65)),
        ] {
            assert!(EmailAddress::new(bad).is_err(), "{bad}");
        }
    }
}
