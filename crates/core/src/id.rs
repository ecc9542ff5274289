//! Names and identifiers, each its own type so that one is never taken for another.
//!
//! Identifiers are ULIDs behind a short prefix (`apr_01J…`): they sort by time, are made by the gateway and are
//! never authority. Names are chosen by people and checked where they enter.

use crate::canonical::PlainText;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr, sync::Arc};
use ulid::Ulid;

/// Why a text is not an identifier or a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("`{text}` is not {what}: it must be `{prefix}` and 26 characters of Crockford base32")]
    NotAnId { what: &'static str, prefix: &'static str, text: String },
    #[error(
        "`{text}` is not {what}: use 1 to 128 characters of letters, digits, `.`, `_`, `-`, `@`, `:` or `/`, starting with a letter or digit"
    )]
    NotAName { what: &'static str, text: String },
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Ulid);

        impl $name {
            /// What stands before the ULID in text.
            pub const PREFIX: &'static str = $prefix;

            /// From a time in Unix milliseconds and 80 random bits; the caller owns clock and randomness.
            pub const fn from_parts(unix_ms: u64, random: u128) -> Self {
                Self(Ulid::from_parts(unix_ms, random))
            }

            /// The moment the identifier was made, in Unix milliseconds.
            pub const fn unix_ms(self) -> u64 {
                self.0.timestamp_ms()
            }

            /// As 16 bytes that sort as the text does.
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.to_bytes()
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Ulid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                // In one piece, so that a String of it is allocated once.
                let mut text = [0; $prefix.len() + ulid::ULID_LEN];
                let (prefix, ulid) = text.split_at_mut($prefix.len());
                prefix.copy_from_slice($prefix.as_bytes());
                ulid.copy_from_slice(self.0.array_to_str(&mut [0; ulid::ULID_LEN]).as_bytes());
                out.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl PlainText for $name {
            fn append(&self, out: &mut Vec<u8>) {
                out.extend_from_slice($prefix.as_bytes());
                out.extend_from_slice(self.0.array_to_str(&mut [0; ulid::ULID_LEN]).as_bytes());
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .and_then(|ulid| Ulid::from_string(ulid).ok())
                    .map(Self)
                    .filter(|id| id.to_string() == text)
                    .ok_or_else(|| IdError::NotAnId { what: $what, prefix: $prefix, text: text.into() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

ids! {
    /// One thing somebody asked to do.
    ActionId, "act_", "an action id";
    /// One approval, from held to closed.
    ApprovalId, "apr_", "an approval id";
    /// One entry of the ledger.
    EntryId, "ent_", "an entry id";
    /// A person, random and stable: names and addresses never reach the ledger.
    PersonId, "per_", "a person id";
    /// An agent or a service: whatever acts without being a person.
    AgentId, "agt_", "an agent id";
    /// One credential an agent may present, or one passkey of a person.
    CredentialId, "crd_", "a credential id";
    /// One gateway process' identity, kept across its restarts.
    GatewayId, "gw_", "a gateway id";
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                if is_name(&text) { Ok(Self(text.into())) } else { Err(IdError::NotAName { what: $what, text }) }
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// A place actions go to, as configured.
    TargetName, "a target name";
    /// `prod`, `staging`…: what a target belongs to.
    EnvironmentName, "an environment name";
    /// A group of people or agents.
    GroupName, "a group name";
    /// The gate a policy file names with `@gate`.
    GateName, "a gate name";
    /// The `@id` of a policy.
    PolicyId, "a policy id";
    /// A way on which people are told, as configured.
    ChannelName, "a channel name";
}

fn is_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@:/".contains(&byte))
}

/// SHA-256 over the canonical form of a policy bundle.
pub type BundleDigest = crate::Digest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_refuse_everything_else() {
        let id = ApprovalId::from_parts(1_700_000_000_000, 7);
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(id.unix_ms(), 1_700_000_000_000);
        assert_eq!(ApprovalId::from_bytes(id.to_bytes()), id);
        for bad in [
            "",
            "apr_",
            text.trim_start_matches("apr_"),
            &text.to_lowercase(),
            &text.replace("apr_", "act_"),
            "apr_!",
        ] {
            assert!(bad.parse::<ApprovalId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_keep_to_their_alphabet() {
        for good in ["sre", "team:pay/eu", "a.b_c-d@e"] {
            assert!(GroupName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a b", "a\"b", "a\u{202e}b", &"x".repeat(129)] {
            assert!(GroupName::new(bad).is_err(), "{bad}");
        }
    }
}
