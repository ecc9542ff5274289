//! Tickets that a requester names with an action, as approved there beforehand: what names one, what its text has to say to
//! cover an action, and why one does not count. Pure: who looks a ticket up is elsewhere.

mod scope;

pub use scope::{Effect, NotCovered, Scope, ScopeError};

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};

/// The longest key that is looked up, in bytes.
const LONGEST: usize = 40;

/// What people call a ticket: `OPS-12`, `CHG0030001`. Nothing in it means anything in a path or in a query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TicketKey(String);

/// Why a text names no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a ticket is named by capital letters and a number, such as `OPS-12` or `CHG0030001`")]
pub struct NotAKey;

impl TicketKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TicketKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let head = text.trim_end_matches(|last: char| last.is_ascii_digit());
        let digits = text.len() - head.len();
        let prefix = head.strip_suffix('-').unwrap_or(head);
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let sound = (1..=16).contains(&digits)
            && (2..=20).contains(&prefix.len())
            && text.len() <= LONGEST
            && prefix.starts_with(|first: char| first.is_ascii_uppercase())
            && prefix.bytes().all(plain);
        if sound { Ok(Self(text.to_owned())) } else { Err(NotAKey) }
    }
}

impl fmt::Display for TicketKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TicketKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is checked of a ticket before its approver's word counts. Each is a stable word in the API and the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TicketCheck {
    /// That the text names a ticket at all.
    Name,
    /// That policy lets a ticket stand at a gate that is shut, and where it is kept.
    Policy,
    /// That the system answered, in time and whole.
    Reached,
    /// That there is such a ticket, for our account to see.
    Found,
    /// That it is of the project and type that are configured, and not one that we wrote.
    Kind,
    /// That it stands where an approval holds.
    State,
    /// That the system's own history says who put it there, and accounts for where it stands.
    History,
    /// That nothing it says was changed since it was approved.
    Unchanged,
    /// That a person whom we know approved it, who may decide here and is not on the requester's side.
    Approver,
    /// That it covers this very action.
    Scope,
    /// That it holds now.
    Time,
    /// That it was not used as often as it may be.
    Uses,
    /// That the gate accepts a word in a ticket.
    Strength,
}

impl TicketCheck {
    pub const ALL: [Self; 13] = [
        Self::Name,
        Self::Policy,
        Self::Reached,
        Self::Found,
        Self::Kind,
        Self::State,
        Self::History,
        Self::Unchanged,
        Self::Approver,
        Self::Scope,
        Self::Time,
        Self::Uses,
        Self::Strength,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Policy => "policy",
            Self::Reached => "reached",
            Self::Found => "found",
            Self::Kind => "kind",
            Self::State => "state",
            Self::History => "history",
            Self::Unchanged => "unchanged",
            Self::Approver => "approver",
            Self::Scope => "scope",
            Self::Time => "time",
            Self::Uses => "uses",
            Self::Strength => "strength",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_letters_and_a_number_and_nothing_else() {
        for text in ["OPS-12", "CHG0030001", "A1_B-9", "OPS-1234567890123456"] {
            assert_eq!(text.parse::<TicketKey>().map(|key| key.to_string()), Ok(text.to_owned()));
        }
        for text in [
            "",
            "OPS",
            "12",
            "OPS-",
            "-12",
            "ops-12",
            "O-1",
            "OPS-12 ",
            " OPS-12",
            "OPS--12",
            "OPS-12/../../myself",
            "../../OPS-12",
            "OPS-12?fields=*",
            "OPS-12#x",
            "OPS-12%2f",
            "OPS-1\u{662}",
            "OP\u{421}-12",
            "OPS\u{2011}12",
            "OPS-12\n",
            "OPS-12^ORnumber=CHG1",
            "OPS-12345678901234567",
            "1OPS-12",
            "OPS-12,OPS-13",
        ] {
            assert_eq!(text.parse::<TicketKey>(), Err(NotAKey), "{text}");
        }
        let said = serde_json::from_str::<TicketKey>("\"../x-1\"");
        assert!(said.is_err());
    }

    #[test]
    fn each_check_is_one_word() {
        for check in TicketCheck::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.as_str());
        }
    }
}
