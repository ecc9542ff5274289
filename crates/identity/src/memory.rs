//! Everything the room knows, in memory: what every proxied request and every page is answered from.

use crate::{
    email::EmailAddress,
    error::IdentityError,
    record::{
        Held, Stored,
        agent::{Agent, Token, folded},
        link::LinkRecord,
        passkey::Passkey,
        person::Person,
        provisioner::Provisioner,
        session::{Session, SessionId},
        subscription::Subscription,
    },
};
use countersign_core::{AgentId, CredentialId, Digest, PersonId, Timestamp};
use countersign_engine::port::store::{Find, ReadError, Store};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

/// How exactly the last use of a token is known.
const COARSE: Duration = Duration::from_mins(1);

/// The records of this room, with what they are found by.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) people: BTreeMap<PersonId, Held<Person>>,
    pub(crate) emails: HashMap<EmailAddress, PersonId>,
    /// Who had an address before.
    pub(crate) former_emails: HashMap<EmailAddress, BTreeSet<PersonId>>,
    pub(crate) accounts: HashMap<Digest, PersonId>,
    /// By channel and user.
    pub(crate) bindings: HashMap<Digest, PersonId>,
    /// For whom somebody votes, did or will: a first look; their records say when.
    pub(crate) stand_ins: HashMap<PersonId, BTreeSet<PersonId>>,
    pub(crate) links: HashMap<Digest, Held<LinkRecord>>,
    pub(crate) passkeys: BTreeMap<CredentialId, Held<Passkey>>,
    /// By the authenticator's own id, base64url.
    pub(crate) credentials: HashMap<String, CredentialId>,
    pub(crate) subscriptions: BTreeMap<CredentialId, Held<Subscription>>,
    pub(crate) sessions: HashMap<SessionId, SessionState>,
    /// By the fingerprints of every token their cookies had.
    pub(crate) session_tokens: HashMap<Digest, SessionId>,
    pub(crate) agents: BTreeMap<AgentId, Held<Agent>>,
    pub(crate) agent_names: HashMap<String, AgentId>,
    pub(crate) tokens: HashMap<Digest, TokenState>,
    pub(crate) token_ids: BTreeMap<CredentialId, Digest>,
    /// By the fingerprint of its secret.
    pub(crate) provisioners: HashMap<Digest, Held<Provisioner>>,
}

/// A session and when it was last used, in microseconds: newer than what is stored.
#[derive(Debug)]
pub(crate) struct SessionState {
    pub(crate) held: Held<Session>,
    pub(crate) seen: AtomicI64,
    /// When its present token first came, in microseconds; 0: it has not since it was made, or since the start.
    pub(crate) presented: AtomicI64,
}

/// A token and when it was last presented, in microseconds; 0 for never.
#[derive(Debug)]
pub(crate) struct TokenState {
    pub(crate) held: Held<Token>,
    pub(crate) used: AtomicI64,
}

impl TokenState {
    pub(crate) fn used(&self) -> i64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes down that it was used.
    pub(crate) fn use_at(&self, now: Timestamp) {
        if now.since(Timestamp(self.used())) >= COARSE {
            self.used.store(now.0, Ordering::Relaxed);
        }
    }

    pub(crate) fn listed(&self) -> Token {
        let used_at = Some(self.used()).filter(|used| *used != 0).map(Timestamp);
        Token { used_at, ..self.held.doc.clone() }
    }
}

impl SessionState {
    pub(crate) fn seen(&self) -> Timestamp {
        Timestamp(self.seen.load(Ordering::Relaxed))
    }
}

impl Memory {
    /// Reads every record of the room.
    pub(crate) async fn load(store: &dyn Store) -> Result<Self, IdentityError> {
        let mut memory = Self::default();
        load_all::<Person>(store, &mut memory).await?;
        load_all::<LinkRecord>(store, &mut memory).await?;
        load_all::<Passkey>(store, &mut memory).await?;
        load_all::<Subscription>(store, &mut memory).await?;
        load_all::<Session>(store, &mut memory).await?;
        load_all::<Agent>(store, &mut memory).await?;
        load_all::<Token>(store, &mut memory).await?;
        load_all::<Provisioner>(store, &mut memory).await?;
        Ok(memory)
    }

    pub(crate) fn person(&self, person: PersonId) -> Option<&Person> {
        self.people.get(&person).map(|held| &held.doc)
    }

    /// By name, whatever its case.
    pub(crate) fn agent_named(&self, name: &str) -> Option<&Agent> {
        self.agent_names.get(&folded(name)).and_then(|agent| self.agents.get(agent)).map(|held| &held.doc)
    }

    pub(crate) fn passkeys_of(&self, person: PersonId) -> impl Iterator<Item = &Held<Passkey>> {
        self.passkeys.values().filter(move |held| held.doc.person == person)
    }

    pub(crate) fn subscriptions_of(&self, person: PersonId) -> impl Iterator<Item = &Held<Subscription>> {
        self.subscriptions.values().filter(move |held| held.doc.person == person)
    }

    pub(crate) fn sessions_of(&self, person: PersonId) -> impl Iterator<Item = &Held<Session>> {
        self.sessions.values().map(|state| &state.held).filter(move |held| held.doc.person == person)
    }

    pub(crate) fn links_of(&self, person: PersonId) -> impl Iterator<Item = &Held<LinkRecord>> {
        self.links.values().filter(move |held| held.doc.person == person)
    }

    pub(crate) fn tokens_of(&self, agent: AgentId) -> impl Iterator<Item = &TokenState> {
        self.tokens.values().filter(move |state| state.held.doc.agent == agent)
    }
}

async fn load_all<T: Stored>(store: &dyn Store, memory: &mut Memory) -> Result<(), IdentityError> {
    const PAGE: usize = 500;
    let mut before = None;
    loop {
        let page = store.find(T::KIND, Find { before, limit: PAGE, ..Find::default() }).await?;
        before = page.last().map(|record| record.id.clone());
        let ended = page.len() < PAGE;
        for record in page {
            let doc: T = serde_json::from_slice(&record.doc)
                .map_err(|error| ReadError::Garbled { kind: T::KIND, why: error.to_string() })?;
            T::place(Held { version: record.version, doc }, memory);
        }
        if ended {
            return Ok(());
        }
    }
}
