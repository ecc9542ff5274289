//! The one writer: a thread that commits whatever queued while the commit before was flushed, and answers only
//! after. It uses no timer but to look whether a full disk has room again.

use super::{
    apply::{self, Ids},
    fault::{DiskFault, Fault},
    inbox::{Errand, Inbox, Work},
    lock::ProcessLock,
    private,
    replies::Replies,
    row::integer,
};
use countersign_core::{ActionId, Digest, EntryId};
use countersign_engine::port::store::{Commit, CommitError, Execution, Health, Job, ReadError, Receipt};
use countersign_ledger::{
    Committed, LogKeys, MarkFile,
    error::NoteError,
    extend,
    tree::{Frontier, Hash, LeafHash},
};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, TransactionBehavior, params};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Pages in the write-ahead log, by estimate, after which they are moved into the database.
const CHECKPOINT_PAGES: usize = 2000;
const PAGE: usize = 4096;
/// Pages a commit touches beside those its bytes fill: the right edges of tables and indexes.
const EDGES: usize = 8;
/// How long another connection may be in the way of a write. None of ours ever is.
const BUSY: Duration = Duration::from_secs(5);
/// What a probe of a full disk takes up.
const PROBE_BYTES: i64 = 64 * 1024;

type Answer = Result<Receipt, CommitError>;
/// The answers, and how the high-water mark fared, which is written when everything is durable already.
type Transacted = (Vec<Answer>, Result<(), String>);

/// The thread's state: everything that may write.
#[derive(Debug)]
pub(super) struct WriterThread {
    pub(super) connection: Connection,
    pub(super) tail: Tail,
    pub(super) mark: MarkFile,
    pub(super) fault: Option<Arc<dyn Fault>>,
    pub(super) health: watch::Sender<Health>,
    pub(super) replies: Replies,
}

/// Where the ledger ends, as the writer knows it.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) keys: Arc<LogKeys>,
    pub(super) epoch: u64,
    pub(super) frontier: Frontier,
    pub(super) root: Hash,
    /// Executions under way, with the index of what authorized each.
    pub(super) open: Open,
    /// Pages of write-ahead log since the last checkpoint, by estimate.
    pub(super) pages: usize,
    /// Whether the write-ahead log may still hold something that was erased.
    pub(super) scrub: bool,
}

/// Executions under way, by action and by age.
#[derive(Debug, Default)]
pub(super) struct Open {
    // INVARIANT: the values of one are the members of the other.
    by_action: BTreeMap<ActionId, u64>,
    indexes: BTreeSet<u64>,
}

impl Open {
    pub(super) fn begin(&mut self, action: ActionId, index: u64) {
        self.end(action);
        self.by_action.insert(action, index);
        self.indexes.insert(index);
    }

    fn end(&mut self, action: ActionId) {
        if let Some(index) = self.by_action.remove(&action) {
            self.indexes.remove(&index);
        }
    }

    fn oldest(&self) -> Option<u64> {
        self.indexes.first().copied()
    }
}

/// Why nothing of a batch was committed.
#[derive(Debug)]
enum Failure {
    Full,
    Broken(String),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<NoteError> for Failure {
    fn from(error: NoteError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl WriterThread {
    /// Works until the store is let go and its queue is empty, or until a write fails.
    // INVARIANT: `self` drops last, and with it `health`: whoever sees that end finds the lock released.
    pub(super) fn run(mut self, mut inbox: Inbox, _lock: ProcessLock) {
        // Whatever ends this thread early, a panic included, is not taken for health.
        let mut ending = Ending { health: &self.health.clone(), why: Some("the writer stopped".into()) };
        loop {
            let unfinished = self.tail.scrub || *self.health.borrow() == Health::Full;
            let Some(work) = inbox.next(unfinished) else { break };
            let result = match work {
                Work::Batch(jobs) => self.commit(jobs),
                Work::Errand(errand) => self.run_errand(errand),
                Work::Unfinished => self.finish(),
            };
            if let Err(why) = result {
                tracing::error!(%why, "the store stopped: nothing is accepted until the gateway is restarted");
                inbox.refuse(&why);
                ending.why = Some(why);
                return;
            }
        }
        self.tail.scrub = true;
        ending.why = self.checkpoint().err();
    }

    fn commit(&mut self, jobs: Vec<Job>) -> Result<(), String> {
        let commits: Vec<&Commit> = jobs.iter().map(|job| &job.commit).collect();
        match self.transact(&commits) {
            Ok((answers, marked)) => {
                // Health first: who has an answer finds the health it came from.
                if answers.iter().any(Result::is_ok) {
                    self.be(Health::Ready);
                }
                self.replies.send(jobs.into_iter().map(|job| job.reply).zip(answers).collect());
                marked.and_then(|()| self.checkpoint_when_due())
            }
            Err(Failure::Full) => {
                self.be(Health::Full);
                self.replies.send(jobs.into_iter().map(|job| (job.reply, Err(CommitError::Full))).collect());
                Ok(())
            }
            Err(Failure::Broken(why)) => {
                self.be(Health::Poisoned(why.clone()));
                let poisoned = |job: Job| (job.reply, Err(CommitError::Poisoned(why.clone())));
                self.replies.send(jobs.into_iter().map(poisoned).collect());
                Err(why)
            }
        }
    }

    /// One transaction for all commits, tried again with care should an entry be there already.
    fn transact(&mut self, commits: &[&Commit]) -> Result<Transacted, Failure> {
        if let Some(done) = self.attempt(commits, Ids::Trust)? {
            return Ok(done);
        }
        let twice = || Failure::Broken("an index refused what its check had let pass".into());
        self.attempt(commits, Ids::Look)?.ok_or_else(twice)
    }

    /// `None`: nothing was written, because something of it is there already.
    fn attempt(&mut self, commits: &[&Commit], ids: Ids) -> Result<Option<Transacted>, Failure> {
        let before = self.tail.frontier.size();
        let limit = self.fault.as_ref().and_then(|fault| fault.page_limit());
        if let Some(pages) = limit {
            self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut leaves: Vec<LeafHash> = Vec::new();
        let mut verdicts = Vec::with_capacity(commits.len());
        for commit in commits {
            let first = before + leaves.len() as u64;
            let verdict = apply::check(&transaction, commit, ids)?;
            if verdict.is_ok() {
                match apply::write(&transaction, commit, first) {
                    Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                        return Ok(None);
                    }
                    written => written?,
                }
                leaves.extend(commit.entries.iter().map(|row| row.sealed.leaf));
            }
            verdicts.push(verdict.map(|()| first));
        }
        let committed = self.tail.sign(&transaction, &leaves)?;
        if verdicts.iter().all(Result::is_err) {
            transaction.rollback()?;
        } else {
            match self.fault.as_ref().and_then(|fault| fault.strikes()) {
                Some(DiskFault::Full) => return Err(Failure::Full),
                Some(DiskFault::Broken) => return Err(Failure::Broken("disk I/O error".into())),
                None => transaction.commit()?,
            }
        }
        let survivors = commits
            .iter()
            .zip(&verdicts)
            .filter_map(|(commit, verdict)| verdict.as_ref().ok().map(|first| (*commit, *first)));
        self.tail.follow(survivors);
        let marked = committed.map_or(Ok(()), |committed| self.promise(committed));
        let (size, root) = (self.tail.frontier.size(), Digest(self.tail.root));
        let receipt = |first| Receipt { first, size, root };
        Ok(Some((verdicts.into_iter().map(|verdict| verdict.map(receipt)).collect(), marked)))
    }

    /// Takes over the committed head and raises the mark.
    fn promise(&mut self, committed: Committed) -> Result<(), String> {
        let first = committed.batch.first;
        self.tail.frontier = committed.head.frontier;
        self.tail.root = committed.head.root;
        self.mark.store(&committed.head.note).map_err(|error| error.to_string())?;
        // From the first batch on, a missing mark is a sign of something.
        if first == 0 { self.mark.sync().map_err(|error| error.to_string()) } else { Ok(()) }
    }

    fn run_errand(&mut self, errand: Errand) -> Result<(), String> {
        match errand {
            Errand::Erase { entry, paths, reply } => {
                let erased = self.erase(entry, &paths);
                let broken = match &erased {
                    Err(Failure::Broken(why)) => Err(why.clone()),
                    Ok(_) | Err(Failure::Full) => Ok(()),
                };
                // The asker may be gone; what was asked is done.
                let _ = reply.send(match erased {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(ReadError::Backend(format!("there is no entry `{entry}`"))),
                    Err(Failure::Full) => Err(ReadError::Backend("the disk is full".into())),
                    Err(Failure::Broken(why)) => Err(ReadError::Backend(why)),
                });
                broken
            }
            Errand::Rotate { job, keys } => {
                let before = self.tail.frontier.size();
                self.commit(vec![job])?;
                if self.tail.frontier.size() > before {
                    self.tail.keys = keys;
                }
                Ok(())
            }
        }
    }

    fn erase(&mut self, entry: EntryId, paths: &[String]) -> Result<bool, Failure> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let index: Option<i64> = transaction
            .query_row("SELECT idx FROM entry WHERE id = ?1", [entry.to_string()], |row| row.get(0))
            .optional()?;
        let Some(index) = index else { return Ok(false) };
        private::erase(&transaction, index, paths)?;
        transaction.commit()?;
        // The write-ahead log still holds what was erased.
        self.tail.scrub = true;
        self.checkpoint().map_err(Failure::Broken)?;
        Ok(true)
    }

    /// Looks again whether a full disk has room, and whether the readers that kept an old write-ahead log are gone.
    fn finish(&mut self) -> Result<(), String> {
        if self.tail.scrub {
            self.checkpoint()?;
        }
        if *self.health.borrow() != Health::Full {
            return Ok(());
        }
        let limit = self.fault.as_ref().and_then(|fault| fault.page_limit());
        match room(&mut self.connection, limit) {
            Ok(()) => {
                self.be(Health::Ready);
                Ok(())
            }
            Err(Failure::Full) => Ok(()),
            Err(Failure::Broken(why)) => Err(why),
        }
    }

    fn checkpoint_when_due(&mut self) -> Result<(), String> {
        if self.tail.pages < CHECKPOINT_PAGES {
            return Ok(());
        }
        self.checkpoint()?;
        self.mark.sync().map_err(|error| error.to_string())
    }

    /// Moves the write-ahead log into the database, as far as readers let it, and empties it when something was
    /// erased. No room for it is not an error: the log is kept.
    fn checkpoint(&mut self) -> Result<(), String> {
        self.tail.pages = 0;
        let mode = if self.tail.scrub { "TRUNCATE" } else { "PASSIVE" };
        match checkpoint(&self.connection, mode).map_err(Failure::from) {
            Ok(done) => {
                self.tail.scrub &= !done;
                Ok(())
            }
            Err(Failure::Full) => {
                self.be(Health::Full);
                Ok(())
            }
            Err(Failure::Broken(why)) => Err(why),
        }
    }

    fn be(&self, health: Health) {
        self.health.send_if_modified(|present| {
            let changed = *present != health;
            if changed {
                tracing::warn!(from = ?present, to = ?health, "the store's health changed");
                *present = health;
            }
            changed
        });
    }
}

impl Tail {
    /// Signs the batch and writes it with the new head; nothing when there are no leaves.
    fn sign(&self, transaction: &Transaction<'_>, leaves: &[LeafHash]) -> Result<Option<Committed>, Failure> {
        if leaves.is_empty() {
            return Ok(None);
        }
        let committed = extend(&self.frontier, leaves, &self.keys, self.epoch)?;
        let Committed { batch, head } = &committed;
        transaction
            .prepare_cached(
                "INSERT INTO batch (first, count, epoch, key_id, signature, leaves) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                integer(batch.first),
                batch.count,
                integer(batch.epoch),
                batch.key_id.0,
                batch.signature,
                leaves.iter().flat_map(|leaf| leaf.0).collect::<Vec<u8>>(),
            ])?;
        // Executions that this very batch opens lie at its first leaf or after it.
        let open_from = self.open.oldest().unwrap_or(batch.first);
        transaction
            .prepare_cached(
                "REPLACE INTO head (one, size, frontier, root, note, open_from) VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                integer(head.size),
                head.frontier.to_bytes(),
                head.root,
                head.note,
                integer(open_from)
            ])?;
        Ok(Some(committed))
    }

    /// Follows what was committed: executions begun and ended, and how much was written.
    fn follow<'c>(&mut self, commits: impl Iterator<Item = (&'c Commit, u64)>) {
        let mut bytes = 0;
        for (commit, first) in commits {
            for (row, index) in commit.entries.iter().zip(first..) {
                let private: usize = row.sealed.private.iter().map(|private| private.value.len() + 64).sum();
                bytes += row.sealed.bytes.len() + private;
                match (row.execution, row.sealed.action) {
                    (Execution::Opens, Some(action)) => self.open.begin(action, index),
                    (Execution::Closes, Some(action)) => self.open.end(action),
                    (Execution::Opens | Execution::Closes | Execution::Neither, _) => {}
                }
            }
            bytes += commit.changes.len() * PAGE;
        }
        self.pages += EDGES + bytes / PAGE;
    }
}

/// Whether everything was moved, without waiting for any reader.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let done =
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(BUSY)?;
    Ok(done? == 0)
}

fn room(connection: &mut Connection, limit: Option<u32>) -> Result<(), Failure> {
    if let Some(pages) = limit {
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    connection.execute("REPLACE INTO probe (one, room) VALUES (1, zeroblob(?1))", [PROBE_BYTES])?;
    connection.execute("DELETE FROM probe", [])?;
    Ok(())
}

/// Says on the way out why nothing is written any more.
struct Ending<'h> {
    health: &'h watch::Sender<Health>,
    why: Option<String>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(why) = self.why.take() {
            self.health.send_replace(Health::Poisoned(why));
        }
    }
}
