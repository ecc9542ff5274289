//! Somewhere to open stores, and entries to put into them.

use async_trait::async_trait;
use countersign_core::{ActionId, EntryId, GatewayId, Timestamp};
use countersign_engine::port::store::{
    Change, Commit, EntryRow, Execution, Expect, Key, Kind, Receipt, Store,
};
use countersign_ledger::{
    EntryDraft, LogKeys, PrivateField, Sealing,
    event::{Actor, Event},
    seal,
};
use countersign_store::{SqliteOptions, SqliteStore};
use std::{path::PathBuf, sync::Arc};

pub(crate) const ORIGIN: &str = "test.example/log";

/// Where one database is, to be opened again and again.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    type Store: Store + 'static;

    async fn open(&self) -> Self::Store;

    /// Returns when the database can be opened again.
    async fn close(&self, store: Self::Store);
}

/// A folder with a database, its mark and its keys.
pub(crate) struct SqlitePlace {
    pub(crate) folder: tempfile::TempDir,
}

impl SqlitePlace {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn options(&self) -> SqliteOptions {
        options_in(self.folder.path())
    }
}

pub(crate) fn options_in(folder: &std::path::Path) -> SqliteOptions {
    let keys = Arc::new(LogKeys::open(folder, ORIGIN).unwrap());
    SqliteOptions::new(folder.join("state.db"), folder.join("mark"), keys)
}

#[async_trait]
impl Place for SqlitePlace {
    type Store = SqliteStore;

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.options()).unwrap()
    }

    async fn close(&self, store: SqliteStore) {
        store.close().await;
    }
}

/// The entry numbered `n`, of no action.
pub(crate) fn entry(n: u64) -> EntryRow {
    entry_of(n, None, Execution::Neither, &[])
}

pub(crate) fn action(n: u64) -> ActionId {
    ActionId::from_parts(1_700_000_000_000, n.into())
}

pub(crate) fn entry_id(n: u64) -> EntryId {
    EntryId::from_parts(1_700_000_000_000 + n, n.into())
}

/// Microseconds at which [`entry_of`] says the entry numbered `n` happened.
pub(crate) fn moment(n: u64) -> Timestamp {
    Timestamp(1_700_000_000_000_000 + i64::try_from(n).unwrap())
}

pub(crate) fn entry_of(
    n: u64,
    action: Option<ActionId>,
    execution: Execution,
    private: &[(&str, &str)],
) -> EntryRow {
    let event = if n == 0 {
        Event::GatewayStopped { epoch: 1 }
    } else {
        Event::LedgerRead { what: format!("page \"{n}\"") }
    };
    let private = private
        .iter()
        .map(|(path, value)| PrivateField {
            path: (*path).to_owned().into(),
            value: value.as_bytes().to_vec().into(),
        })
        .collect();
    let draft = EntryDraft {
        id: entry_id(n),
        at: moment(n),
        action,
        parent: None,
        actor: Actor::Gateway,
        event,
        private,
    };
    let sealing = Sealing { origin: ORIGIN.into(), gateway: GatewayId::from_parts(1, 1) };
    let sealed = seal(draft, &sealing, &mut |salt| salt.fill(u8::try_from(n % 251).unwrap())).unwrap();
    let target = (n % 2 == 1).then(|| "odd-target".to_owned());
    EntryRow { sealed, actor: format!("actor-{}", n % 3), target, execution }
}

pub(crate) fn put(
    id: &str,
    expect: Expect,
    doc: &'static str,
    keys: &[(&'static str, &str, bool)],
) -> Change {
    let key = |(name, value, unique): &(&'static str, &str, bool)| Key {
        name,
        value: (*value).to_owned(),
        unique: *unique,
    };
    Change::Put {
        kind: Kind::Hold,
        id: id.into(),
        expect,
        doc: doc.as_bytes().into(),
        keys: keys.iter().map(key).collect(),
    }
}

pub(crate) fn delete(id: &str, expect: Expect) -> Change {
    Change::Delete { kind: Kind::Hold, id: id.into(), expect }
}

pub(crate) fn changes(changes: Vec<Change>) -> Commit {
    Commit { changes, entries: vec![] }
}

pub(crate) fn entries(entries: Vec<EntryRow>) -> Commit {
    Commit { changes: vec![], entries }
}

/// Commits, and demands that it worked.
pub(crate) async fn done(store: &impl Store, commit: Commit) -> Receipt {
    store.writer().commit(commit).await.unwrap()
}
