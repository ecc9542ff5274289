//! What waits for the writer: commits, taken in batches, and the few errands that also write.

use countersign_core::EntryId;
use countersign_engine::port::store::{CommitError, Job, ReadError};
use countersign_ledger::LogKeys;
use std::{io, sync::Arc, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
};

/// No batch is larger, so that the first in it does not wait for ever for the last.
const MAX_JOBS: usize = 1024;
const MAX_BYTES: usize = 4 << 20;
/// With so many commits in the batch before, the next one is worth waiting for (PostgreSQL's `commit_siblings`).
const SIBLINGS: usize = 5;
/// For how long (PostgreSQL's `commit_delay`).
const DELAY: Duration = Duration::from_micros(50);
/// How long to wait for a commit before looking by ourselves whether a full disk has room again.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// What the writer does next.
#[derive(Debug)]
pub(super) enum Work {
    Batch(Vec<Job>),
    Errand(Errand),
    /// Nothing new came for a while; what could not be done before may be possible now.
    Unfinished,
}

/// What writes without being a commit.
#[derive(Debug)]
pub(super) enum Errand {
    Erase {
        entry: EntryId,
        paths: Vec<String>,
        reply: oneshot::Sender<Result<(), ReadError>>,
    },
    /// Commits alone, and signs with these keys from then on.
    Rotate {
        job: Job,
        keys: Arc<LogKeys>,
    },
}

/// The receiving ends. The store holds the one sender of errands: when it lets go, the writer ends.
#[derive(Debug)]
pub(super) struct Inbox {
    jobs: mpsc::Receiver<Job>,
    errands: mpsc::Receiver<Errand>,
    waiting: Runtime,
    /// How many commits the batch before had.
    last: usize,
}

impl Inbox {
    pub(super) fn new(jobs: mpsc::Receiver<Job>, errands: mpsc::Receiver<Errand>) -> io::Result<Self> {
        Ok(Self { jobs, errands, waiting: Builder::new_current_thread().enable_time().build()?, last: 0 })
    }

    /// Waits for work. Everything queued by then comes as one batch. `None` when the store was let go and every
    /// commit handed in, or still to be handed in to a reserved place, was given out.
    pub(super) fn next(&mut self, unfinished: bool) -> Option<Work> {
        // Under load the next commit is there already, and nothing has to be waited for.
        match self.errands.try_recv() {
            Ok(errand) => return Some(Work::Errand(errand)),
            // However busy they are, those who still hold the way in do not keep a store alive that was let go.
            Err(TryRecvError::Disconnected) => self.jobs.close(),
            Err(TryRecvError::Empty) => {}
        }
        let first = match self.jobs.try_recv() {
            Ok(job) => job,
            Err(_) => match self.wait(unfinished)? {
                Arrival::Job(job) => job,
                Arrival::Errand(errand) => return Some(Work::Errand(errand)),
                Arrival::Nothing => return Some(Work::Unfinished),
            },
        };
        // Many writers: a moment's rest makes fewer, larger batches, each with its two signatures, its flush and the
        // right edges of every table. A writer who is alone, or nearly so, never waits for it.
        if self.last >= SIBLINGS {
            std::thread::sleep(DELAY);
        }
        let mut bytes = size(&first);
        let mut jobs = vec![first];
        while jobs.len() < MAX_JOBS && bytes < MAX_BYTES {
            let Ok(job) = self.jobs.try_recv() else { break };
            bytes += size(&job);
            jobs.push(job);
        }
        self.last = jobs.len();
        Some(Work::Batch(jobs))
    }

    /// Refuses everything that waits, and everything to come.
    pub(super) fn refuse(mut self, why: &str) {
        self.jobs.close();
        self.errands.close();
        while let Ok(job) = self.jobs.try_recv() {
            // Whoever asked may have let go.
            let _ = job.reply.send(Err(CommitError::Poisoned(why.into())));
        }
    }

    fn wait(&mut self, unfinished: bool) -> Option<Arrival> {
        let (jobs, errands) = (&mut self.jobs, &mut self.errands);
        self.waiting.block_on(async {
            tokio::select! {
                biased;
                errand = errands.recv(), if !jobs.is_closed() => {
                    if let Some(errand) = errand {
                        return Some(Arrival::Errand(errand));
                    }
                    jobs.close();
                    jobs.recv().await.map(Arrival::Job)
                }
                job = jobs.recv() => job.map(Arrival::Job),
                () = tokio::time::sleep(RETRY_EVERY), if unfinished => Some(Arrival::Nothing),
            }
        })
    }
}

enum Arrival {
    Job(Job),
    Errand(Errand),
    Nothing,
}

fn size(job: &Job) -> usize {
    use countersign_engine::port::store::Change;
    let docs = job.commit.changes.iter().map(|change| match change {
        Change::Put { doc, .. } => doc.len(),
        Change::Delete { .. } => 0,
    });
    let entries = job.commit.entries.iter().map(|row| {
        let private: usize = row.sealed.private.iter().map(|private| private.value.len()).sum();
        row.sealed.bytes.len() + private
    });
    docs.chain(entries).sum()
}
