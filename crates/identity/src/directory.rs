//! The room's one door. Reads are answered from memory; every write is one commit of records and entries, made
//! one at a time, and memory follows only when that commit is durable.

pub(crate) mod agents;
pub(crate) mod bindings;
pub(crate) mod chain;
pub(crate) mod delegations;
pub(crate) mod links;
pub(crate) mod logout;
pub(crate) mod passkeys;
pub(crate) mod people;
pub(crate) mod providers;
pub(crate) mod provisioning;
pub(crate) mod reading;
pub(crate) mod rosters;
pub(crate) mod sessions;
pub(crate) mod signals;
pub(crate) mod subscriptions;
pub(crate) mod tokens;
mod voters;
pub(crate) mod workloads;

use crate::{
    attempts::{Attempts, TooSoon},
    devices::Devices,
    error::IdentityError,
    memory::Memory,
    record::{
        Held, Stored,
        person::{Person, Role},
    },
    settings::Settings,
    sign_in::Providers,
    signals::Transmitters,
    trust::Trust,
    webauthn::ceremony::Ceremonies,
};
use countersign_core::{GroupName, PersonId, visible};
use countersign_engine::{
    journal::{Journal, JournalError, Note},
    port::store::{Change, CommitError, Expect},
};
use countersign_ledger::event::Actor;
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

/// Who makes a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    Person(PersonId),
    /// Whoever holds the gateway's own socket or files.
    Operator,
}

impl Author {
    /// `None`: the local operator.
    pub fn person(self) -> Option<PersonId> {
        match self {
            Self::Person(person) => Some(person),
            Self::Operator => None,
        }
    }

    fn actor(self) -> Actor {
        match self {
            Self::Person(id) => Actor::Person { id },
            Self::Operator => Actor::Operator,
        }
    }
}

/// The people and the agents there are, and the credentials by which they are known.
pub struct Directory {
    journal: Journal,
    groups: BTreeSet<GroupName>,
    settings: Settings,
    trust: Trust,
    providers: Providers,
    transmitters: Transmitters,
    memory: RwLock<Memory>,
    /// Held from reading memory until it shows the change: writes see each other's results.
    writing: tokio::sync::Mutex<()>,
    ceremonies: Mutex<Ceremonies>,
    devices: Mutex<Devices>,
    attempts: Mutex<Attempts>,
    offers: Mutex<bindings::Offers>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.memory.read();
        out.debug_struct("Directory")
            .field("people", &memory.people.len())
            .field("agents", &memory.agents.len())
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// Reads everything there is. Only `groups` exist; a group that a record still names but the configuration
    /// does not declare any more gives nobody anything.
    pub async fn open(
        journal: Journal,
        groups: BTreeSet<GroupName>,
        settings: Settings,
    ) -> Result<Arc<Self>, IdentityError> {
        let memory = Memory::load(journal.store().as_ref()).await?;
        let ceremonies = Ceremonies::new(&journal.random());
        let providers = Providers::new(settings.providers.clone(), &journal.random());
        let directory = Self {
            journal,
            groups,
            trust: Trust::new(settings.issuers.clone()),
            providers,
            transmitters: Transmitters::new(settings.transmitters.clone()),
            settings,
            memory: RwLock::new(memory),
            writing: tokio::sync::Mutex::new(()),
            ceremonies: Mutex::new(ceremonies),
            devices: Mutex::default(),
            attempts: Mutex::default(),
            offers: Mutex::default(),
        };
        directory.drop_lapsed().await?;
        directory.describe_agents().await?;
        directory.first_administrators().await?;
        Ok(Arc::new(directory))
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The groups the configuration declares.
    pub fn groups(&self) -> &BTreeSet<GroupName> {
        &self.groups
    }

    /// Removes links and sessions that nobody can use any more.
    async fn drop_lapsed(&self) -> Result<(), IdentityError> {
        let now = self.journal.now();
        let mut draft = Draft::default();
        {
            let memory = self.memory.read();
            let links = memory.links.values().filter(|link| link.doc.expires <= now);
            links.for_each(|link| draft.delete(link));
            let sessions = memory.sessions.values().filter(|state| !self.is_alive(state, now));
            sessions.for_each(|state| draft.delete(&state.held));
        }
        if draft.changes.is_empty() { Ok(()) } else { self.write(draft).await }
    }

    /// Commits the draft, then shows it in memory. When somebody else wrote meanwhile, or it is not known
    /// whether the commit happened, memory is read anew, so that it is never ahead of the store.
    async fn write(&self, draft: Draft) -> Result<(), IdentityError> {
        let outcome = self.journal.commit(draft.changes, draft.notes).await;
        match outcome {
            Ok(_) => {
                let mut memory = self.memory.write();
                draft.effects.into_iter().for_each(|effect| effect(&mut memory));
                Ok(())
            }
            Err(error) => {
                if let JournalError::Commit(CommitError::Conflict { .. } | CommitError::Lost) = error {
                    let fresh = Memory::load(self.journal.store().as_ref()).await?;
                    *self.memory.write() = fresh;
                }
                Err(error.into())
            }
        }
    }

    /// Counts an answer that is wrong, of something nobody finds by trying; beyond a few its source is told to wait. What is
    /// right is never held up by others' wrong ones: behind a proxy or a shared address they come from the same place.
    fn counted<T, E: From<TooSoon>>(
        &self,
        source: IpAddr,
        outcome: Result<T, E>,
        is_wrong: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        if outcome.as_ref().is_err_and(is_wrong) {
            let now = self.journal.now();
            let mut attempts = self.attempts.lock();
            if let Some(retry_after) = attempts.wait(source, now) {
                return Err(TooSoon { retry_after }.into());
            }
            attempts.failed(source, now);
        }
        outcome
    }

    /// The author, if an administrator or the operator.
    fn administrator(&self, by: Author) -> Result<(), IdentityError> {
        let Author::Person(person) = by else { return Ok(()) };
        let memory = self.memory.read();
        let allowed = memory.person(person).is_some_and(|person| is_active(person, Role::Administrator));
        if allowed { Ok(()) } else { Err(IdentityError::NotAllowed { who: "an administrator" }) }
    }

    fn held_person(&self, person: PersonId) -> Result<Held<Person>, IdentityError> {
        let held = self.memory.read().people.get(&person).cloned();
        held.ok_or(IdentityError::UnknownPerson(person))
    }

    /// A person who was not disabled.
    fn standing_person(&self, person: PersonId) -> Result<Held<Person>, IdentityError> {
        let held = self.held_person(person)?;
        if held.doc.is_disabled() { Err(IdentityError::PersonDisabled(person)) } else { Ok(held) }
    }

    fn declared<'g>(&self, groups: impl IntoIterator<Item = &'g GroupName>) -> Result<(), IdentityError> {
        let unknown = groups.into_iter().find(|group| !self.groups.contains(*group));
        unknown.map_or(Ok(()), |name| {
            let distance = |known: &&GroupName| strsim::osa_distance(known.as_str(), name.as_str());
            let nearest = self.groups.iter().min_by_key(distance).filter(|near| distance(near) <= 3);
            Err(IdentityError::UnknownGroup { name: name.clone(), nearest: nearest.cloned() })
        })
    }
}

fn is_active(person: &Person, role: Role) -> bool {
    !person.is_disabled() && person.enrolled_at.is_some() && person.role == role
}

/// A name or a label: something on one line that a person can read as it is.
fn readable(what: &'static str, text: &str) -> Result<String, IdentityError> {
    let text = text.trim();
    let why = match text.chars().count() {
        0 => "it is empty",
        1..=100 if visible::has_hidden(text) || text.contains(['\n', '\t', '\r']) => {
            "it holds characters that cannot be seen"
        }
        1..=100 => return Ok(text.to_owned()),
        _ => "it is longer than 100 characters",
    };
    let shown = visible::one_line(&text.chars().take(100).collect::<String>());
    Err(IdentityError::BadText { what, shown, why })
}

type Effect = Box<dyn FnOnce(&mut Memory) + Send>;

/// A write being put together: what the store shall do, what the ledger shall say, what memory shall then hold.
#[derive(Default)]
struct Draft {
    changes: Vec<Change>,
    notes: Vec<Note>,
    effects: Vec<Effect>,
}

impl Draft {
    fn insert<T: Stored>(&mut self, doc: T) -> Result<(), IdentityError> {
        self.put(doc, Expect::Absent, 1)
    }

    /// Replaces a document that is still as it was read.
    fn replace<T: Stored>(&mut self, was: &Held<T>, doc: T) -> Result<(), IdentityError> {
        self.put(doc, Expect::Version(was.version), was.version + 1)
    }

    fn delete<T: Stored>(&mut self, was: &Held<T>) {
        self.changes.push(Change::Delete {
            kind: T::KIND,
            id: was.doc.key(),
            expect: Expect::Version(was.version),
        });
        let doc = was.doc.clone();
        self.effects.push(Box::new(move |memory| doc.displace(memory)));
    }

    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    fn put<T: Stored>(&mut self, doc: T, expect: Expect, version: u64) -> Result<(), IdentityError> {
        let bytes = serde_json::to_vec(&doc).map_err(|error| JournalError::Shape(error.to_string()))?;
        let change =
            Change::Put { kind: T::KIND, id: doc.key(), expect, doc: bytes.into(), keys: doc.keys() };
        self.changes.push(change);
        self.effects.push(Box::new(move |memory| T::place(Held { version, doc }, memory)));
        Ok(())
    }
}
