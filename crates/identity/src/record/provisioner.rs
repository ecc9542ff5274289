//! The token of a provisioning client (SCIM): who may say which people there are. It is no person and no agent.

use super::{Held, Stored, unique};
use crate::memory::Memory;
use countersign_core::{CredentialId, Digest, Timestamp};
use countersign_engine::port::store::{Key, Kind};
use serde::{Deserialize, Serialize};

/// A token as recorded; its secret is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provisioner {
    pub id: CredentialId,
    pub label: String,
    pub(crate) secret: Digest,
    pub created_at: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Provisioner {
    /// Whether it opens anything at this moment.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires.is_none_or(|expires| now < expires)
    }
}

impl Stored for Provisioner {
    const KIND: Kind = Kind::Provisioner;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        vec![unique("secret", self.secret.hex())]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        memory.provisioners.insert(held.doc.secret, held);
    }

    fn displace(&self, memory: &mut Memory) {
        memory.provisioners.remove(&self.secret);
    }
}
