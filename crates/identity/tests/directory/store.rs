//! A store in memory that keeps the port's promises about records, and refuses when told to.

use async_trait::async_trait;
use countersign_core::{Digest, EntryId};
use countersign_engine::port::store::{
    Change, Commit, CommitError, EntryRow, Expect, Find, FindEntries, Health, Key, Kind, OpenExecution,
    ReadError, Receipt, Record, Store, StoredEntry, Writer,
};
use countersign_ledger::reader::LedgerReader;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug)]
pub(crate) struct MemoryStore {
    writer: Writer,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<(Kind, String), (Record, Vec<Key>)>,
    entries: Vec<EntryRow>,
    refusing: Option<CommitError>,
}

impl MemoryStore {
    pub(crate) fn new() -> Arc<Self> {
        let (writer, mut jobs) = Writer::channel(64);
        let state = Arc::<Mutex<State>>::default();
        let theirs = Arc::clone(&state);
        tokio::spawn(async move {
            while let Some(job) = jobs.recv().await {
                let outcome = theirs.lock().apply(job.commit);
                let _ = job.reply.send(outcome);
            }
        });
        Arc::new(Self { writer, state })
    }

    /// From now on every commit fails so; `None`: they succeed again.
    pub(crate) fn refuse(&self, with: Option<CommitError>) {
        self.state.lock().refusing = with;
    }

    pub(crate) fn rows(&self) -> Vec<EntryRow> {
        self.state.lock().entries.clone()
    }

    /// Everything on the disk, as text: documents, keys, entries and their private values.
    pub(crate) fn everything(&self) -> String {
        let state = self.state.lock();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let records = state
            .records
            .iter()
            .map(|((kind, id), (record, keys))| format!("{kind:?} {id} {} {keys:?}\n", text(&record.doc)));
        let entries = state.entries.iter().map(|row| format!("{} {}\n", text(&row.sealed.bytes), row.actor));
        let private = state.entries.iter().flat_map(|row| &row.sealed.private);
        let private = private.map(|field| format!("{} {}\n", field.path, text(&field.value)));
        records.chain(entries).chain(private).collect()
    }
}

impl State {
    fn apply(&mut self, commit: Commit) -> Result<Receipt, CommitError> {
        if let Some(refusal) = &self.refusing {
            return Err(refusal.clone());
        }
        for change in &commit.changes {
            self.check(change)?;
        }
        for change in commit.changes {
            match change {
                Change::Put { kind, id, doc, keys, .. } => {
                    let slot = (kind, id.clone());
                    let version = self.records.get(&slot).map_or(1, |(record, _)| record.version + 1);
                    self.records.insert(slot, (Record { id, version, doc }, keys));
                }
                Change::Delete { kind, id, .. } => {
                    self.records.remove(&(kind, id));
                }
            }
        }
        let first = self.entries.len() as u64;
        self.entries.extend(commit.entries);
        let size = self.entries.len() as u64;
        Ok(Receipt { first, size, root: Digest::of(b"not a tree") })
    }

    fn check(&self, change: &Change) -> Result<(), CommitError> {
        let (kind, id, expect, keys) = match change {
            Change::Put { kind, id, expect, keys, .. } => (*kind, id, expect, keys.as_slice()),
            Change::Delete { kind, id, expect } => (*kind, id, expect, [].as_slice()),
        };
        let version = self.records.get(&(kind, id.clone())).map(|(record, _)| record.version);
        let expected = match expect {
            Expect::Absent => version.is_none(),
            Expect::Version(wanted) => version == Some(*wanted),
        };
        let taken = |key: &Key| {
            self.records
                .iter()
                .any(|((of, owner), (_, theirs))| *of == kind && owner != id && theirs.contains(key))
        };
        if expected && !keys.iter().any(|key| key.unique && taken(key)) {
            Ok(())
        } else {
            Err(CommitError::Conflict { kind, id: id.clone() })
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    async fn fetch(&self, kind: Kind, id: &str) -> Result<Option<Record>, ReadError> {
        Ok(self.state.lock().records.get(&(kind, id.into())).map(|(record, _)| record.clone()))
    }

    async fn find(&self, kind: Kind, find: Find) -> Result<Vec<Record>, ReadError> {
        let state = self.state.lock();
        let of_kind = state.records.iter().rev().filter(|((of, id), (_, keys))| {
            *of == kind
                && find.before.as_ref().is_none_or(|before| id < before)
                && find
                    .keys
                    .iter()
                    .all(|(name, value)| keys.iter().any(|key| key.name == *name && key.value == *value))
        });
        Ok(of_kind.take(find.limit).map(|(_, (record, _))| record.clone()).collect())
    }

    async fn entries(&self, _: FindEntries) -> Result<Vec<StoredEntry>, ReadError> {
        Err(ReadError::Backend("this room reads no entries".into()))
    }

    async fn open_executions(&self) -> Result<Vec<OpenExecution>, ReadError> {
        Err(ReadError::Backend("this room executes nothing".into()))
    }

    async fn erase(&self, _: EntryId, _: Vec<String>) -> Result<(), ReadError> {
        Err(ReadError::Backend("this room erases nothing".into()))
    }

    fn ledger(&self) -> Result<Box<dyn LedgerReader + Send>, ReadError> {
        Err(ReadError::Backend("this room reads no ledger".into()))
    }
}
