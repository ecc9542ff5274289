//! Records and ledger in one `SQLite` file: one writer thread that commits in groups, a few readers beside it.

mod apply;
mod audit;
mod batch;
mod checkpoints;
mod connection;
mod facts;
mod fault;
mod group;
mod history;
mod inbox;
mod kinds;
mod known;
mod ledger;
mod lock;
mod places;
mod pool;
mod private;
mod read;
mod replies;
mod row;
mod schema;
mod startup;
mod tail;
mod writer;

pub use audit::Audited;
pub use fault::{DiskFault, Fault};
pub use startup::{AcceptedRollback, OnRollback};

use crate::error::{AuditError, OpenError};
use async_trait::async_trait;
use checkpoints::Checkpoints;
use countersign_core::EntryId;
use countersign_engine::port::store::{
    Commit, CommitError, Find, FindEntries, Health, Job, Kind, OpenExecution, ReadError, Receipt, Record,
    Store, StoredEntry, Writer,
};
use countersign_ledger::{LedgerReader, LogKeys};
use inbox::{Errand, Inbox};
use lock::ProcessLock;
use pool::Readers;
use row::unreadable;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};
use tokio::sync::{mpsc, oneshot, watch};
use writer::WriterThread;

/// How many commits may wait; callers beyond that wait to be let in.
const QUEUE: usize = 4096;
/// Errands are rare.
const ERRANDS: usize = 16;

/// Where the database is, and under which keys its ledger is written.
#[derive(Debug)]
pub struct SqliteOptions {
    pub path: PathBuf,
    /// The high-water mark; better on another disk than the database, and never in the same backup.
    pub mark_path: PathBuf,
    /// They also name the log's origin.
    pub keys: Arc<LogKeys>,
    pub on_rollback: OnRollback,
    /// What goes wrong with the disk, in tests.
    pub fault: Option<Arc<dyn Fault>>,
}

impl SqliteOptions {
    pub fn new(path: impl Into<PathBuf>, mark_path: impl Into<PathBuf>, keys: Arc<LogKeys>) -> Self {
        Self {
            path: path.into(),
            mark_path: mark_path.into(),
            keys,
            on_rollback: OnRollback::Refuse,
            fault: None,
        }
    }
}

/// The store of one gateway.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    // INVARIANT: the only sender; the writer thread ends when it goes.
    errands: mpsc::Sender<Errand>,
    readers: Readers,
    health: watch::Receiver<Health>,
    keys: Arc<LogKeys>,
    epoch: u64,
    accepted: Option<AcceptedRollback>,
}

/// Records of a database that a gateway may be using, read beside it: nothing is locked, written or checked.
pub fn peek(path: &Path, kind: Kind, find: &Find) -> Result<Vec<Record>, ReadError> {
    let connection = connection::reading(path).map_err(unreadable)?;
    read::find(&connection, kind, find).map_err(unreadable)
}

impl SqliteStore {
    /// Opens or creates the database, brings its schema up to date and checks the end of its ledger. Blocks; writes
    /// nothing to the ledger.
    pub fn open(options: &SqliteOptions) -> Result<Self, OpenError> {
        lock::keep_private(&options.path)?;
        let lock = ProcessLock::take(&options.path)?;
        let mut connection = connection::writing(&options.path)?;
        schema::migrate(&mut connection)?;
        let (tail, mark, accepted) = startup::verify(&connection, options)?;
        let epoch = tail.epoch;
        let (writer, jobs) = Writer::channel(QUEUE);
        let (errands, errand) = mpsc::channel(ERRANDS);
        let (health_now, health) = watch::channel(Health::Ready);
        let thread =
            |source| OpenError::Io { what: "start the writer of", path: options.path.clone(), source };
        let inbox = Inbox::new(jobs, errand).map_err(thread)?;
        let fault = options.fault.clone();
        let replies = replies::Replies::start();
        let checkpoints = Checkpoints::start(connection::writing(&options.path)?).map_err(thread)?;
        let state = WriterThread { connection, checkpoints, tail, mark, fault, health: health_now, replies };
        let run = move || state.run(inbox, lock);
        thread::Builder::new().name("store-writer".into()).spawn(run).map_err(thread)?;
        let readers = Readers::new(options.path.clone());
        Ok(Self { writer, errands, readers, health, keys: Arc::clone(&options.keys), epoch, accepted })
    }

    /// The fencing epoch under which this process writes: one more than that of the newest batch found.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The rollback that was accepted when opening, to be recorded as `log.rollback_accepted`.
    pub const fn accepted_rollback(&self) -> Option<AcceptedRollback> {
        self.accepted
    }

    /// Tells of each change of health; it ends when the writer has.
    pub fn health_changes(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Commits the `key.rotated` entry as the last thing the present keys sign; from the next commit on `keys` sign.
    pub async fn rotate(&self, commit: Commit, keys: Arc<LogKeys>) -> Result<Receipt, CommitError> {
        let (reply, answer) = oneshot::channel();
        let errand = Errand::Rotate { job: Job { commit, reply }, keys };
        self.errands.send(errand).await.map_err(|_| CommitError::Lost)?;
        answer.await.map_err(|_| CommitError::Lost)?
    }

    /// Hashes every entry again and checks every signature: all that the check at the start leaves out. Takes about
    /// a second for a hundred thousand entries.
    pub async fn verify_all(&self) -> Result<Audited, AuditError> {
        let (keys, readers) = (Arc::clone(&self.keys), self.readers.clone());
        let run = move || audit::verify(&readers.open()?, &keys);
        tokio::task::spawn_blocking(run)
            .await
            .unwrap_or_else(|error| Err(AuditError::Read(error.to_string())))
    }

    /// Commits what is queued and what has a place reserved, then lets the database go. Returns when it is free.
    pub async fn close(self) {
        let Self { errands, mut health, .. } = self;
        drop(errands);
        // The channel ends with the writer.
        while health.changed().await.is_ok() {}
    }

    async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.readers.ask(question).await.map_err(unreadable)
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn writer(&self) -> &Writer {
        &self.writer
    }

    fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    async fn fetch(&self, kind: Kind, id: &str) -> Result<Option<Record>, ReadError> {
        let id = id.to_owned();
        self.read(move |connection| read::fetch(connection, kind, &id)).await
    }

    async fn find(&self, kind: Kind, find: Find) -> Result<Vec<Record>, ReadError> {
        self.read(move |connection| read::find(connection, kind, &find)).await
    }

    async fn entries(&self, find: FindEntries) -> Result<Vec<StoredEntry>, ReadError> {
        self.read(move |connection| history::entries(connection, &find)).await
    }

    async fn open_executions(&self) -> Result<Vec<OpenExecution>, ReadError> {
        self.read(history::open_executions).await
    }

    async fn erase(&self, entry: EntryId, paths: Vec<String>) -> Result<(), ReadError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || ReadError::Backend("the writer has ended".into());
        self.errands.send(Errand::Erase { entry, paths, reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    fn ledger(&self) -> Result<Box<dyn LedgerReader + Send>, ReadError> {
        let snapshot = self.readers.open().and_then(ledger::Snapshot::take).map_err(unreadable)?;
        Ok(Box::new(snapshot))
    }
}
