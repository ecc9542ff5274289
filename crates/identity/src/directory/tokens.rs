//! Tokens agents present: shown once, kept as a hash, looked up in memory on every request.

use super::{Author, Directory, Draft, agents::NewToken, is_active, readable};
use crate::{
    error::IdentityError,
    memory::{Memory, TokenState},
    record::{
        agent::{Agent, Token},
        person::Role,
    },
    secret::{Secret, fingerprint, token},
};
use countersign_core::{AgentId, CredentialId, PersonId, PrincipalId, Requester, Timestamp};
use countersign_engine::{journal::Note, port::identity::NotAuthenticated};
use countersign_ledger::event::Event;
use std::collections::{BTreeMap, BTreeSet};

impl Directory {
    /// Makes a token. An administrator, the operator, or an owner of the agent may; acting for somebody else
    /// than oneself takes an administrator or the operator. The secret is not kept.
    pub async fn create_token(
        &self,
        by: Author,
        new: NewToken,
    ) -> Result<(CredentialId, Secret), IdentityError> {
        let _turn = self.writing.lock().await;
        self.may_make_token(by, &new)?;
        self.standing_agent(new.agent)?;
        new.on_behalf_of.map_or(Ok(()), |person| self.standing_person(person).map(drop))?;
        let now = self.journal.now();
        if new.expires.is_some_and(|expires| expires <= now) {
            return Err(IdentityError::ExpiresInThePast);
        }
        let secret = token::text(&self.journal.random());
        let record = Token {
            id: self.journal.id(CredentialId::from_parts),
            agent: new.agent,
            label: readable("a label", &new.label)?,
            hint: secret.reveal().chars().take(token::PREFIX.len() + 4).collect(),
            secret: fingerprint(secret.reveal()),
            workload: None,
            on_behalf_of: new.on_behalf_of,
            created_by: by.person(),
            created_at: now,
            expires: new.expires,
            revoked_at: None,
            used_at: None,
        };
        let id = record.id;
        let event = Event::TokenCreated {
            agent: new.agent,
            credential: id,
            on_behalf_of: new.on_behalf_of,
            expires: new.expires,
        };
        let mut draft = Draft::default();
        draft.note(Note::new(by.actor(), event).private("label", record.label.as_str()));
        draft.insert(record)?;
        self.write(draft).await?;
        Ok((id, secret))
    }

    /// Revokes a token, from this moment on: an administrator, the operator, or an owner of its agent may.
    pub async fn revoke_token(&self, by: Author, credential: CredentialId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let held = {
            let memory = self.memory.read();
            let state = memory.token_ids.get(&credential).and_then(|secret| memory.tokens.get(secret));
            state.map(|state| state.held.clone()).ok_or(IdentityError::UnknownCredential(credential))?
        };
        self.administrator_or_owner(by, held.doc.agent)?;
        if held.doc.revoked_at.is_some() {
            return Ok(());
        }
        let mut draft = Draft::default();
        draft.note(Note::new(by.actor(), Event::TokenRevoked { agent: held.doc.agent, credential }));
        draft.replace(&held, Token { revoked_at: Some(self.journal.now()), ..held.doc.clone() })?;
        self.write(draft).await
    }

    /// An agent's tokens, the revoked included, in the order they were made; never their secrets.
    pub fn tokens(&self, agent: AgentId) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.memory.read().tokens_of(agent).map(TokenState::listed).collect();
        tokens.sort_by_key(|token| token.id);
        tokens
    }

    /// The caller a token stands for. Its shape and checksum are checked before anything is looked up; then one
    /// hash and one look into memory.
    pub(super) fn bearer(&self, text: &str, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        if !token::has_shape(text) {
            return Err(NotAuthenticated::Unknown);
        }
        let memory = self.memory.read();
        let state = memory.tokens.get(&fingerprint(text)).ok_or(NotAuthenticated::Unknown)?;
        let requester = self.standing_caller(&memory, &state.held.doc, now)?;
        state.use_at(now);
        Ok(requester)
    }

    /// The caller a credential belongs to, as it stands now.
    pub(super) fn holder(
        &self,
        credential: CredentialId,
        now: Timestamp,
    ) -> Result<Requester, NotAuthenticated> {
        let memory = self.memory.read();
        let state = memory.token_ids.get(&credential).and_then(|secret| memory.tokens.get(secret));
        self.standing_caller(&memory, &state.ok_or(NotAuthenticated::Unknown)?.held.doc, now)
    }

    pub(super) fn standing_caller(
        &self,
        memory: &Memory,
        token: &Token,
        now: Timestamp,
    ) -> Result<Requester, NotAuthenticated> {
        let agent = memory.agents.get(&token.agent).map(|held| &held.doc).ok_or(NotAuthenticated::Unknown)?;
        if agent.is_disabled() {
            return Err(NotAuthenticated::Disabled);
        }
        if token.revoked_at.is_some() {
            return Err(NotAuthenticated::Revoked);
        }
        if token.expires.is_some_and(|expires| expires <= now) {
            return Err(NotAuthenticated::Expired);
        }
        let stands = |person| memory.person(person).is_some_and(|person| !person.is_disabled());
        // An agent acts for nobody who has left, and not without anyone left to answer for it.
        if !token.on_behalf_of.is_none_or(stands) || !agent.owners.iter().any(|owner| stands(*owner)) {
            return Err(NotAuthenticated::Disabled);
        }
        // INVARIANT: whoever made the token, or owned the agent while it was there, may have kept its secret, so
        // they stand on the caller's side.
        let mut owners = answerable(agent, token);
        owners.extend(token.created_by);
        if let Some(workload) = &token.workload {
            owners.extend(self.behind_workload(memory, workload, token)?);
        }
        Ok(Requester {
            principal: PrincipalId::Agent(agent.id),
            kind: agent.kind,
            name: agent.name.clone(),
            groups: agent.groups.intersection(&self.groups).cloned().collect(),
            clearances: agent.clearances.clone(),
            claims: BTreeMap::new(),
            owners,
            created_by: agent.created_by,
            on_behalf_of: token.on_behalf_of.into_iter().collect(),
            credential: token.id,
        })
    }

    fn may_make_token(&self, by: Author, new: &NewToken) -> Result<(), IdentityError> {
        let for_another = new.on_behalf_of.is_some_and(|person| by.person() != Some(person));
        if for_another { self.administrator(by) } else { self.administrator_or_owner(by, new.agent) }
    }

    fn administrator_or_owner(&self, by: Author, agent: AgentId) -> Result<(), IdentityError> {
        let Author::Person(person) = by else { return Ok(()) };
        let memory = self.memory.read();
        let author = memory.person(person);
        let owns = memory.agents.get(&agent).is_some_and(|held| held.doc.owners.contains(&person));
        let allowed = author.is_some_and(|author| {
            is_active(author, Role::Administrator)
                || owns && author.role != Role::Auditor && is_active(author, author.role)
        });
        if allowed { Ok(()) } else { Err(IdentityError::NotAllowed { who: "an administrator or an owner" }) }
    }
}

/// Who owns an agent, and who did while the token was there.
pub(super) fn answerable(agent: &Agent, token: &Token) -> BTreeSet<PersonId> {
    let knew = agent.former_owners.iter().filter(|(_, left)| token.created_at <= **left);
    agent.owners.iter().chain(knew.map(|(person, _)| person)).copied().collect()
}
