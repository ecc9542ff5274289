//! A device on which a person is told: what their browser handed over, and how it fared since.

use super::{Held, Stored, lookup, unique};
use crate::memory::Memory;
use countersign_core::{CredentialId, Digest, PersonId, Timestamp};
use countersign_engine::port::{
    push,
    store::{Key, Kind},
};
use serde::{Deserialize, Serialize};

/// A device as recorded.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    pub id: CredentialId,
    pub person: PersonId,
    /// What its owner calls it.
    pub name: String,
    pub(crate) endpoint: String,
    pub(crate) p256dh: String,
    pub(crate) auth: String,
    pub(crate) made_for: String,
    pub created_at: Timestamp,
    /// When its push service last took something for it, to the minute.
    pub told_at: Option<Timestamp>,
    /// Why it was not told the last time, where it was not.
    pub trouble: Option<Trouble>,
}

/// Why a device was not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    pub at: Timestamp,
    /// In our own words.
    pub why: String,
}

impl std::fmt::Debug for Subscription {
    /// Neither where it is nor its keys.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, person, .. } = self;
        out.debug_struct("Subscription").field("id", id).field("person", person).finish_non_exhaustive()
    }
}

impl Subscription {
    /// What is needed to tell it something.
    pub(crate) fn way(&self) -> push::Subscription {
        push::Subscription {
            id: self.id,
            endpoint: self.endpoint.clone(),
            p256dh: self.p256dh.clone(),
            auth: self.auth.clone(),
            made_for: self.made_for.clone(),
        }
    }

    /// The push service that takes messages for it, as scheme and host.
    pub fn service(&self) -> &str {
        service_of(&self.endpoint)
    }

    /// What it is found by: whoever knows the address itself can send there.
    pub(crate) fn found_by(endpoint: &str) -> String {
        Digest::of_parts("countersign/subscription/v1", &[endpoint.as_bytes()]).hex()
    }
}

fn service_of(endpoint: &str) -> &str {
    let host = endpoint.find("://").map_or(0, |at| at + 3);
    let end = endpoint.get(host..).and_then(|rest| rest.find('/')).map_or(endpoint.len(), |at| host + at);
    endpoint.get(..end).unwrap_or_default()
}

impl Stored for Subscription {
    const KIND: Kind = Kind::Subscription;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        vec![unique("endpoint", Self::found_by(&self.endpoint)), lookup("person", &self.person)]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        memory.subscriptions.insert(held.doc.id, held);
    }

    fn displace(&self, memory: &mut Memory) {
        memory.subscriptions.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_shown_without_the_address_of_the_device() {
        for (endpoint, service) in [
            ("https://fcm.googleapis.com/fcm/send/x:y/z", "https://fcm.googleapis.com"),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080"),
            ("https://web.push.apple.com", "https://web.push.apple.com"),
        ] {
            assert_eq!(service_of(endpoint), service);
        }
    }
}
