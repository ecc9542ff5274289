//! A browser that is signed in: kept as the hash of its cookie.

use super::{Held, Stored, lookup};
use crate::memory::{Memory, SessionState};
use countersign_core::{Assurance, Digest, PersonId, SignIn, Timestamp};
use countersign_engine::port::store::{Key, Kind};
use serde::{Deserialize, Serialize};
use std::{fmt, sync::atomic::AtomicI64};

/// Names a session without letting anyone use it: the SHA-256 of its first token.
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
    /// The token in the browser's cookie, where it was renewed since the session began; until then it is what `id` is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renewed: Option<Renewed>,
    /// What the tokens in its forms are made from; `None` of those that only read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) form_seed: Option<String>,
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

/// A session's token after its first. Fingerprints, as of every secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Renewed {
    pub(crate) token: Digest,
    /// The last one the browser had for certain: good until it has the new one, and a moment longer.
    pub(crate) before: Digest,
    /// Every other it had or was sent: whoever comes with one has a copy.
    pub(crate) spent: Vec<Digest>,
    pub(crate) at: Timestamp,
}

/// What a cookie is to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Current,
    Before,
    Spent,
}

impl Session {
    /// What the token with this fingerprint is to it; `None`: nothing.
    pub(crate) fn standing(&self, token: Digest) -> Option<Standing> {
        match &self.renewed {
            None => (self.id.0 == token).then_some(Standing::Current),
            Some(renewed) if renewed.token == token => Some(Standing::Current),
            Some(renewed) if renewed.before == token => Some(Standing::Before),
            Some(renewed) => renewed.spent.contains(&token).then_some(Standing::Spent),
        }
    }

    /// The same session with another token. `presented`: the browser has shown that it has the present one.
    pub(crate) fn renewed(&self, token: Digest, presented: bool, now: Timestamp) -> Self {
        let renewed = match &self.renewed {
            None => Renewed { token, before: self.id.0, spent: Vec::new(), at: now },
            Some(known) => {
                let (before, spent) =
                    if presented { (known.token, known.before) } else { (known.before, known.token) };
                let spent = known.spent.iter().copied().chain([spent]).collect();
                Renewed { token, before, spent, at: now }
            }
        };
        Self { renewed: Some(renewed), seen_at: now, ..self.clone() }
    }

    /// Since when its token is what it is.
    pub(crate) fn token_since(&self) -> Timestamp {
        self.renewed.as_ref().map_or(self.opened_at, |renewed| renewed.at)
    }

    /// The fingerprints by which it is found: of every token it ever had.
    fn fingerprints(&self) -> Vec<Digest> {
        match &self.renewed {
            None => vec![self.id.0],
            Some(renewed) => renewed.spent.iter().copied().chain([renewed.before, renewed.token]).collect(),
        }
    }
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
        let (id, fingerprints) = (held.doc.id, held.doc.fingerprints());
        // Whether the browser has that token shows when it comes with it.
        let presented = AtomicI64::new(0);
        if let Some(was) = memory.sessions.insert(id, SessionState { held, seen, presented }) {
            for token in was.held.doc.fingerprints() {
                memory.session_tokens.remove(&token);
            }
        }
        memory.session_tokens.extend(fingerprints.into_iter().map(|token| (token, id)));
    }

    fn displace(&self, memory: &mut Memory) {
        if let Some(was) = memory.sessions.remove(&self.id) {
            for token in was.held.doc.fingerprints() {
                memory.session_tokens.remove(&token);
            }
        }
    }
}
