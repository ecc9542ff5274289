//! A one-time link: kept as a hash, gone when used.

use super::{Held, Stored, lookup};
use crate::memory::Memory;
use countersign_core::{Digest, PersonId, Timestamp};
use countersign_engine::port::store::{Key, Kind};
use serde::{Deserialize, Serialize};

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// The first way in, for somebody just invited.
    Enrol,
    /// Another way in, for somebody without a passkey at hand.
    SignIn,
}

/// An issued link that nobody has opened yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkRecord {
    /// SHA-256 of the link's secret, which is not kept.
    pub(crate) secret: Digest,
    pub(crate) person: PersonId,
    pub(crate) kind: LinkKind,
    pub(crate) expires: Timestamp,
}

impl Stored for LinkRecord {
    const KIND: Kind = Kind::Link;

    fn key(&self) -> String {
        self.secret.hex()
    }

    fn keys(&self) -> Vec<Key> {
        vec![lookup("person", &self.person)]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        memory.links.insert(held.doc.secret, held);
    }

    fn displace(&self, memory: &mut Memory) {
        memory.links.remove(&self.secret);
    }
}
