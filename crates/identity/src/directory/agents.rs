//! Agents: created by administrators, owned by people.

use super::{Author, Directory, Draft, readable};
use crate::{
    error::IdentityError,
    record::{
        Held,
        agent::{Agent, Token, folded},
    },
    seen::Seen,
};
use countersign_core::{AgentId, GroupName, PersonId, PrincipalKind, Timestamp};
use countersign_engine::journal::Note;
use countersign_ledger::event::{Actor, Event};
use std::collections::{BTreeMap, BTreeSet};

/// An agent to be created.
#[derive(Clone, Debug)]
pub struct NewAgent {
    pub name: String,
    /// [`PrincipalKind::Agent`] or [`PrincipalKind::Service`].
    pub kind: PrincipalKind,
    /// At least one person, so that nothing acts that nobody answers for.
    pub owners: BTreeSet<PersonId>,
    pub groups: BTreeSet<GroupName>,
    pub clearances: BTreeSet<String>,
}

/// What an agent shall be from now on; `None` leaves it as it is.
#[derive(Clone, Debug, Default)]
pub struct AgentChange {
    pub owners: Option<BTreeSet<PersonId>>,
    pub groups: Option<BTreeSet<GroupName>>,
    pub clearances: Option<BTreeSet<String>>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub agent: AgentId,
    pub label: String,
    /// `None`: until it is revoked.
    pub expires: Option<Timestamp>,
    /// Whom the agent acts for with this token: that person will not vote on what it asks.
    pub on_behalf_of: Option<PersonId>,
}

impl Directory {
    pub async fn create_agent(&self, by: Author, new: NewAgent) -> Result<AgentId, IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        if new.kind == PrincipalKind::Person {
            return Err(IdentityError::NotAnAgentKind);
        }
        let agent = Agent {
            id: self.journal.id(AgentId::from_parts),
            name: readable("a name", &new.name)?,
            kind: new.kind,
            owners: new.owners,
            former_owners: BTreeMap::new(),
            changed_by: BTreeMap::new(),
            groups: new.groups,
            clearances: new.clearances,
            described_by: None,
            created_by: by.person(),
            created_at: self.journal.now(),
            disabled_at: None,
        };
        self.check_agent(&agent)?;
        if self.memory.read().agent_names.contains_key(&folded(&agent.name)) {
            return Err(IdentityError::NameTaken(agent.name));
        }
        let id = agent.id;
        let mut draft = Draft::default();
        draft.note(created_note(by.actor(), &agent));
        draft.insert(agent)?;
        self.write(draft).await?;
        Ok(id)
    }

    /// Changes who owns an agent and what it belongs to. Taking an owner away does not make them forget its
    /// tokens: with a token made before they left, or by them, the agent still has them on its side.
    pub async fn change_agent(
        &self,
        by: Author,
        agent: impl Into<Seen<AgentId>>,
        change: AgentChange,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        let seen = agent.into();
        let held = self.standing_agent(seen.id)?;
        seen.is_present(&held)?;
        if held.doc.described_by.is_some() {
            return Err(IdentityError::Described(held.doc.name.clone()));
        }
        let was = held.doc.clone();
        let changed = Agent {
            groups: change.groups.unwrap_or(was.groups),
            clearances: change.clearances.unwrap_or(was.clearances),
            ..held.doc.clone().owned_by(change.owners.unwrap_or(was.owners), self.journal.now())
        };
        self.check_agent(&changed)?;
        if changed == held.doc {
            return Ok(());
        }
        let mut changed = changed;
        changed.changed_by.extend(by.person().map(|person| (person, self.journal.now())));
        let mut draft = Draft::default();
        draft.note(changed_note(by.actor(), &changed));
        draft.replace(&held, changed)?;
        self.write(draft).await
    }

    /// Ends an agent: it leaves its groups, and each of its tokens is revoked.
    pub async fn disable_agent(
        &self,
        by: Author,
        agent: impl Into<Seen<AgentId>>,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        let seen = agent.into();
        let agent = seen.id;
        let Ok(held) = self.standing_agent(agent) else {
            return self.agent(agent).map(drop).ok_or(IdentityError::UnknownAgent(agent));
        };
        seen.is_present(&held)?;
        let now = self.journal.now();
        let ended = Agent { groups: BTreeSet::new(), disabled_at: Some(now), ..held.doc.clone() };
        let mut draft = Draft::default();
        draft.note(changed_note(by.actor(), &ended).private("disabled", "true"));
        draft.replace(&held, ended)?;
        let tokens: Vec<Held<Token>> =
            self.memory.read().tokens_of(agent).map(|state| state.held.clone()).collect();
        for token in tokens.into_iter().filter(|token| token.doc.revoked_at.is_none()) {
            draft.note(Note::new(by.actor(), Event::TokenRevoked { agent, credential: token.doc.id }));
            draft.replace(&token, Token { revoked_at: Some(now), ..token.doc.clone() })?;
        }
        self.write(draft).await
    }

    /// Every agent, the disabled included, in the order they were created.
    pub fn agents(&self) -> Vec<Agent> {
        self.memory.read().agents.values().map(|held| held.doc.clone()).collect()
    }

    /// Every agent, with the versions of their records.
    pub fn agents_at(&self) -> Vec<(Agent, u64)> {
        self.memory.read().agents.values().map(|held| (held.doc.clone(), held.version)).collect()
    }

    pub fn agent(&self, agent: AgentId) -> Option<Agent> {
        self.agent_at(agent).map(|(agent, _)| agent)
    }

    /// An agent, with the version of its record; it grows with every change.
    pub fn agent_at(&self, agent: AgentId) -> Option<(Agent, u64)> {
        self.memory.read().agents.get(&agent).map(|held| (held.doc.clone(), held.version))
    }

    /// By name, whatever its case.
    pub fn agent_by_name(&self, name: &str) -> Option<Agent> {
        self.memory.read().agent_named(name).cloned()
    }

    pub(super) fn standing_agent(&self, agent: AgentId) -> Result<Held<Agent>, IdentityError> {
        let held = self.memory.read().agents.get(&agent).cloned();
        let held = held.ok_or(IdentityError::UnknownAgent(agent))?;
        if held.doc.is_disabled() { Err(IdentityError::AgentDisabled(agent)) } else { Ok(held) }
    }

    pub(super) fn check_agent(&self, agent: &Agent) -> Result<(), IdentityError> {
        if agent.owners.is_empty() {
            return Err(IdentityError::NoOwner);
        }
        agent.owners.iter().try_for_each(|owner| self.standing_person(*owner).map(drop))?;
        agent.clearances.iter().try_for_each(|clearance| readable("a clearance", clearance).map(drop))?;
        self.declared(&agent.groups)
    }
}

pub(super) fn changed_note(by: Actor, agent: &Agent) -> Note {
    let event =
        Event::AgentChanged { agent: agent.id, owners: agent.owners.clone(), groups: agent.groups.clone() };
    describe(Note::new(by, event), agent)
}

pub(super) fn created_note(by: Actor, agent: &Agent) -> Note {
    let event = Event::AgentCreated {
        agent: agent.id,
        principal: agent.kind,
        owners: agent.owners.clone(),
        groups: agent.groups.clone(),
    };
    describe(Note::new(by, event), agent)
}

fn describe(note: Note, agent: &Agent) -> Note {
    let clearances: Vec<&str> = agent.clearances.iter().map(String::as_str).collect();
    note.private("name", agent.name.as_str()).private("clearances", clearances.join("\n"))
}
