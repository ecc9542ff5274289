//! The way to write: records and entries sealed and committed together. Nothing else in the product writes.

use crate::port::{
    clock::{Clock, Entropy},
    store::{Change, Commit, CommitError, EntryRow, Execution, Receipt, Slot, Store},
};
use countersign_core::{ActionId, Digest, EntryId, TargetName, Timestamp};
use countersign_ledger::{
    entry::{EntryDraft, PrivateField, Sealed, Sealing, seal},
    error::EntryError,
    event::{Actor, Event},
    tree::LeafHash,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Something to be written into the ledger.
#[derive(Clone, Debug)]
pub struct Note {
    pub action: Option<ActionId>,
    /// Leaf hash of the action's previous entry.
    pub parent: Option<Digest>,
    pub actor: Actor,
    pub event: Event,
    /// Fields kept beside the ledger; the entry carries commitments to them.
    pub private: Vec<PrivateField>,
}

impl Note {
    /// An entry that belongs to no action.
    pub fn new(actor: Actor, event: Event) -> Self {
        Self { action: None, parent: None, actor, event, private: Vec::new() }
    }

    #[must_use]
    pub fn private(mut self, path: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.private.push(PrivateField { path: path.into(), value: value.into().into() });
        self
    }
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("an entry could not be sealed")]
    Entry(#[from] EntryError),
    #[error("a record could not be written as JSON: {0}")]
    Shape(String),
}

/// Seals entries and commits them with the changes they speak of.
#[derive(Clone, Debug)]
pub struct Journal {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    sealing: Arc<Sealing>,
}

impl Journal {
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sealing: Sealing,
    ) -> Self {
        Self { store, clock, entropy, sealing: Arc::new(sealing) }
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn sealing(&self) -> &Sealing {
        &self.sealing
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new identifier: `journal.id(PersonId::from_parts)`.
    pub fn id<T>(&self, make: impl FnOnce(u64, u128) -> T) -> T {
        self.id_at(self.now(), make)
    }

    /// A new identifier that is made at a moment already read.
    pub(crate) fn id_at<T>(&self, at: Timestamp, make: impl FnOnce(u64, u128) -> T) -> T {
        make(at.unix_ms(), u128::from_be_bytes(self.random()))
    }

    /// Unpredictable bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// Seals one entry; its leaf hash is the parent of the next entry of the same action.
    pub fn seal(&self, note: Note) -> Result<Sealed, EntryError> {
        let at = self.now();
        let draft = EntryDraft {
            id: self.id_at(at, EntryId::from_parts),
            at,
            action: note.action,
            parent: note.parent.map(|leaf| LeafHash(leaf.0)),
            actor: note.actor,
            event: note.event,
            private: note.private,
        };
        seal(draft, &self.sealing, &mut |salt| self.entropy.fill(salt))
    }

    /// Seals one entry as the row a store keeps.
    pub fn row(&self, note: Note) -> Result<EntryRow, EntryError> {
        let actor = actor_column(&note.actor);
        let (target, execution) = columns(&note.event);
        Ok(EntryRow { sealed: self.seal(note)?, actor, target, execution })
    }

    /// Writes the changes and the entries together; returns once both are durable.
    pub async fn commit(&self, changes: Vec<Change>, notes: Vec<Note>) -> Result<Receipt, JournalError> {
        let entries = notes.into_iter().map(|note| self.row(note)).collect::<Result<_, _>>()?;
        Ok(self.store.writer().commit(Commit { changes, entries }).await?)
    }

    /// Hands a commit to a place reserved for it.
    pub fn submit(&self, slot: Slot, commit: Commit) -> oneshot::Receiver<Result<Receipt, CommitError>> {
        slot.submit(commit)
    }
}

fn actor_column(actor: &Actor) -> String {
    match actor {
        Actor::Agent { id, .. } | Actor::Service { id, .. } => id.to_string(),
        Actor::Person { id } => id.to_string(),
        Actor::Operator => "operator".into(),
        Actor::Gateway => "gateway".into(),
        Actor::Unknown => "unknown".into(),
    }
}

/// What the store indexes of an event.
#[expect(clippy::wildcard_enum_match_arm, reason = "only these few events name a target or an execution")]
fn columns(event: &Event) -> (Option<String>, Execution) {
    let text = |target: &TargetName| Some(target.as_str().to_owned());
    match event {
        Event::ExecutionAuthorized(authorized) => (text(&authorized.asked.target), Execution::Opens),
        Event::ExecutionResult(_) | Event::ExecutionUnknown { .. } | Event::ExecutionReleased { .. } => {
            (None, Execution::Closes)
        }
        Event::ActionRefused { asked, .. } | Event::ApprovalRequested { asked, .. } => {
            (text(&asked.target), Execution::Neither)
        }
        Event::IntakeRefused { target, .. } => (target.as_ref().and_then(text), Execution::Neither),
        Event::ToolNoticed { target, .. }
        | Event::ToolAccepted { target, .. }
        | Event::ToolRefused { target, .. } => (text(target), Execution::Neither),
        _ => (None, Execution::Neither),
    }
}
