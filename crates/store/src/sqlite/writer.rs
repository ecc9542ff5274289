//! The one writer: a thread that commits whatever queued while the commit before was flushed, and answers only
//! after. It uses no timer but to look whether a full disk has room again.

use super::{
    apply,
    batch::Stored,
    checkpoints::{self, Checkpoints},
    connection::Writing,
    fault::{DiskFault, Fault},
    group::Group,
    inbox::{Errand, Inbox, Work},
    lock::ProcessLock,
    places,
    replies::Replies,
    row::integer,
    tail::Tail,
};
use countersign_core::{Digest, EntryId};
use countersign_engine::port::store::{Commit, CommitError, Health, Job, ReadError, Receipt};
use countersign_ledger::{Committed, MarkFile, error::NoteError};
use rusqlite::{Connection, ErrorCode, params};
use std::sync::Arc;
use tokio::sync::watch;

/// Pages in the write-ahead log, by estimate, after which they are moved into the database.
const CHECKPOINT_PAGES: usize = 2000;
/// Pages after which the writer waits until they are.
const MOST_PAGES: usize = 8 * CHECKPOINT_PAGES;
/// What a probe of a full disk takes up.
const PROBE_BYTES: i64 = 64 * 1024;

type Answer = Result<Receipt, CommitError>;
/// The answers, and how the high-water mark fared, which is written when everything is durable already.
type Transacted = (Vec<Answer>, Result<(), String>);

/// The thread's state: everything that may write.
#[derive(Debug)]
pub(super) struct WriterThread {
    pub(super) connection: Connection,
    pub(super) checkpoints: Checkpoints,
    pub(super) tail: Tail,
    pub(super) mark: MarkFile,
    pub(super) fault: Option<Arc<dyn Fault>>,
    pub(super) health: watch::Sender<Health>,
    pub(super) replies: Replies,
}

/// Why nothing of a batch was committed.
#[derive(Debug)]
pub(super) enum Failure {
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

    /// One transaction for all commits.
    fn transact(&mut self, commits: &[&Commit]) -> Result<Transacted, Failure> {
        let limit = self.fault.as_ref().and_then(|fault| fault.page_limit());
        if let Some(pages) = limit {
            self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        }
        let transaction = Writing::begin(&self.connection)?;
        let mut group = Group::at(self.tail.size());
        let mut verdicts = Vec::with_capacity(commits.len());
        for commit in commits {
            let verdict = match apply::check(&transaction, commit)? {
                Ok(()) => self.tail.known.check(&transaction, commit, &mut group.ids)?,
                refused => refused,
            };
            let first = group.end();
            if verdict.is_ok() {
                apply::write(&transaction, commit)?;
                group.add(commit);
            }
            verdicts.push(verdict.map(|()| first));
        }
        let committed = self.tail.sign(&transaction, &group)?;
        if verdicts.iter().any(Result::is_ok) {
            match self.fault.as_ref().and_then(|fault| fault.strikes()) {
                Some(DiskFault::Full) => return Err(Failure::Full),
                Some(DiskFault::Broken) => return Err(Failure::Broken("disk I/O error".into())),
                None => transaction.commit()?,
            }
        } else {
            drop(transaction);
        }
        let survivors = commits.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok());
        self.tail.follow(group, survivors.map(|(commit, _)| *commit));
        let marked = committed.map_or(Ok(()), |committed| self.promise(committed));
        let (size, root) = (self.tail.size(), Digest(self.tail.root));
        let receipt = |first| Receipt { first, size, root };
        Ok((verdicts.into_iter().map(|verdict| verdict.map(receipt)).collect(), marked))
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
                let before = self.tail.size();
                self.commit(vec![job])?;
                if self.tail.size() > before {
                    self.tail.keys = keys;
                }
                Ok(())
            }
        }
    }

    fn erase(&mut self, entry: EntryId, paths: &[String]) -> Result<bool, Failure> {
        let transaction = Writing::begin(&self.connection)?;
        let Some(index) = places::of_entry(&transaction, entry)? else { return Ok(false) };
        let Some(batch) = Stored::around(&transaction, index)? else { return Ok(false) };
        let left = batch.without(index, paths)?;
        let erase = "UPDATE batch SET private = ?2 WHERE first = ?1";
        transaction.execute(erase, params![integer(batch.first), left])?;
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

    /// Has the write-ahead log moved into the database when it has grown, and moves the rest when that is done.
    fn checkpoint_when_due(&mut self) -> Result<(), String> {
        if !self.checkpoints.is_under_way() {
            if self.tail.pages >= CHECKPOINT_PAGES {
                self.checkpoints.begin();
            }
            return Ok(());
        }
        // The log has no end if nobody ever waits for it to be moved.
        let far = self.tail.pages >= MOST_PAGES;
        let ended = if far { Some(self.checkpoints.wait()) } else { self.checkpoints.ended() };
        let Some(ended) = ended else { return Ok(()) };
        self.moved(ended)?;
        self.checkpoint()?;
        self.mark.sync().map_err(|error| error.to_string())
    }

    /// Moves the write-ahead log into the database, as far as readers let it, and empties it when something was
    /// erased.
    fn checkpoint(&mut self) -> Result<(), String> {
        let ended = self.checkpoints.wait();
        self.moved(ended)?;
        self.tail.pages = 0;
        let mode = if self.tail.scrub { "TRUNCATE" } else { "PASSIVE" };
        let done = checkpoints::pass(&self.connection, mode);
        self.tail.scrub &= !matches!(done, Ok(true));
        self.moved(done.map(drop))
    }

    /// No room to move the log is not an error: it is kept.
    fn moved(&self, ended: rusqlite::Result<()>) -> Result<(), String> {
        match ended.map_err(Failure::from) {
            Ok(()) => Ok(()),
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
