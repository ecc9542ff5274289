//! A browser that is signed in: kept as the hash of its cookie.

use super::{Held, Stored, lookup};
use crate::memory::{Memory, SessionState};
use countersign_core::{Assurance, Digest, PersonId, SignIn, Timestamp};
use countersign_engine::port::store::{Key, Kind};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::atomic::AtomicI64};

/// Names a session without letting anyone use it: the SHA-256 of its token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub(crate) Digest);

impl fmt::Display for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.hex())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

/// An open session as recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) person: PersonId,
    /// How the person signed in.
    pub(crate) assurance: Assurance,
    /// The provider they came through; `None`: a link or a passkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<String>,
    /// The provider's own name for its session (`sid`), by which it may end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
    #[serde(default)]
    pub(crate) sign_in: SignIn,
    /// It only reads, for a command line or a program: what its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reading: Option<String>,
    pub(crate) opened_at: Timestamp,
    /// When it was last used, as far as that was written down.
    pub(crate) seen_at: Timestamp,
    /// What the browser called itself. Shown to its owner, never compared.
    pub(crate) user_agent: Option<String>,
}

impl Stored for Session {
    const KIND: Kind = Kind::Session;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        vec![lookup("person", &self.person)]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        let seen = AtomicI64::new(held.doc.seen_at.0);
        memory.sessions.insert(held.doc.id, SessionState { held, seen });
    }

    fn displace(&self, memory: &mut Memory) {
        memory.sessions.remove(&self.id);
    }
}
