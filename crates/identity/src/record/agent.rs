//! Agents, and the tokens they present.

use super::{Held, Stored, lookup, unique};
use crate::memory::{Memory, TokenState};
use countersign_core::{AgentId, CredentialId, Digest, GroupName, PersonId, PrincipalKind, Timestamp};
use countersign_engine::port::store::{Key, Kind};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::AtomicI64,
};

/// Something that acts without being a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    pub id: AgentId,
    pub name: String,
    /// [`PrincipalKind::Agent`] or [`PrincipalKind::Service`].
    pub kind: PrincipalKind,
    /// The people who answer for it; never empty.
    pub owners: BTreeSet<PersonId>,
    /// Who owned it once, and until when: they may know the tokens there were by then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub former_owners: BTreeMap<PersonId, Timestamp>,
    pub groups: BTreeSet<GroupName>,
    pub clearances: BTreeSet<String>,
    /// Who changed any of that, and when last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) changed_by: BTreeMap<PersonId, Timestamp>,
    /// The rule of the configuration that describes it; `None`: it is kept by people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub described_by: Option<Digest>,
    /// `None`: the local operator, or the configuration.
    pub created_by: Option<PersonId>,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

impl Agent {
    pub fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    /// The same agent with these owners; whoever was one before is remembered.
    pub(crate) fn owned_by(mut self, owners: BTreeSet<PersonId>, now: Timestamp) -> Self {
        self.former_owners.extend(self.owners.difference(&owners).map(|gone| (*gone, now)));
        Self { owners, ..self }
    }
}

impl Stored for Agent {
    const KIND: Kind = Kind::Agent;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        vec![unique("name", folded(&self.name))]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        memory.agent_names.insert(folded(&held.doc.name), held.doc.id);
        memory.agents.insert(held.doc.id, held);
    }

    fn displace(&self, memory: &mut Memory) {
        memory.agent_names.remove(&folded(&self.name));
        memory.agents.remove(&self.id);
    }
}

/// Names that differ in case only would be taken for one another.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// What is known of a token that somebody else has signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The issuer's name in the configuration.
    pub issuer: String,
    /// The rule it fitted. Once that is not in the configuration any more, the token is not good any more.
    pub(crate) rule: Digest,
    /// What the token says in `sub`.
    pub subject: String,
    /// The agents it came through, the nearest first.
    pub through: Vec<AgentId>,
}

/// A token as listed: everything but the secret. Either this gateway has made it, or it stands for every token that an
/// issuer signs alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    pub id: CredentialId,
    pub agent: AgentId,
    pub label: String,
    /// The secret's first characters, for telling tokens apart.
    pub hint: String,
    /// SHA-256 of the secret, or of what the issuer's tokens have in common.
    pub(crate) secret: Digest,
    /// `None`: this gateway has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Workload>,
    /// Whom the agent acts for with this token.
    pub on_behalf_of: Option<PersonId>,
    /// `None`: the local operator. Whoever made a token may have kept it.
    pub created_by: Option<PersonId>,
    pub created_at: Timestamp,
    pub expires: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// When it was last presented, since this gateway started.
    #[serde(skip)]
    pub used_at: Option<Timestamp>,
}

impl Stored for Token {
    const KIND: Kind = Kind::Token;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        vec![unique("secret", self.secret.hex()), lookup("agent", &self.agent)]
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        let used = memory.tokens.get(&held.doc.secret).map_or(0, TokenState::used);
        memory.token_ids.insert(held.doc.id, held.doc.secret);
        memory.tokens.insert(held.doc.secret, TokenState { held, used: AtomicI64::new(used) });
    }

    fn displace(&self, memory: &mut Memory) {
        memory.token_ids.remove(&self.id);
        memory.tokens.remove(&self.secret);
    }
}
