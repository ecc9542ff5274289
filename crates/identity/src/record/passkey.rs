//! A passkey's public half.

use super::{Held, Stored, lookup, unique};
use crate::memory::Memory;
use countersign_core::{CredentialId, PersonId, Timestamp};
use countersign_engine::port::store::{Key, Kind};
use serde::{Deserialize, Serialize};

/// A passkey a person registered and has not removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Passkey {
    pub id: CredentialId,
    pub person: PersonId,
    /// What its owner calls it.
    pub name: String,
    /// The authenticator's own id of it, base64url.
    pub credential_id: String,
    /// COSE key (RFC 9052 section 7), base64url.
    pub public_key: String,
    /// The last signature counter seen; stays 0 with authenticators that do not count.
    pub counter: u32,
    /// How the browser says it can be reached; only handed back to browsers.
    pub transports: Vec<String>,
    pub created_at: Timestamp,
    pub used_at: Option<Timestamp>,
}

impl Stored for Passkey {
    const KIND: Kind = Kind::Passkey;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        vec![unique("credential", &self.credential_id), lookup("person", &self.person)]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        memory.credentials.insert(held.doc.credential_id.clone(), held.doc.id);
        memory.passkeys.insert(held.doc.id, held);
    }

    fn displace(&self, memory: &mut Memory) {
        memory.credentials.remove(&self.credential_id);
        memory.passkeys.remove(&self.id);
    }
}
