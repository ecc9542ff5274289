//! Entries that reach the ledger a moment after what they tell of: of reads, where policy says so.
//!
//! Bounded in number and in age. What finds no place here is recorded before it runs, like everything else, so that
//! nothing runs when nothing can be written. A crash loses at most what stands here.

use crate::{
    gate::{Changed, Gate},
    port::store::{Commit, CommitError, EntryRow, Health},
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};

/// Entries that may be promised or not yet durable at once.
const MOST: usize = 8_192;
/// With one that has waited so long, no more are taken.
const OLDEST: Duration = Duration::from_secs(1);
/// For how long others are waited for, to be written together.
const LINGER: Duration = Duration::from_millis(5);
/// Written at once.
const TOGETHER: usize = 512;
/// When a full disk is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// What waits to be recorded.
#[derive(Debug, Default)]
pub(crate) struct Late {
    buffer: Mutex<Buffer>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Buffer {
    rows: Vec<EntryRow>,
    /// Places given out, entries that wait, and entries on their way to the disk.
    taken: usize,
    /// Since when at least one has waited.
    since: Option<Instant>,
    /// A task is at it.
    writing: bool,
    /// The store has stopped for good.
    broken: bool,
}

/// Places for the entries of one action. Those not used are given back.
#[derive(Debug)]
pub(crate) struct Places {
    gate: Arc<Gate>,
    left: usize,
}

impl Late {
    /// Places for so many entries; `None` when there is no room for them, or doubt whether they could be written.
    pub(crate) fn admit(gate: &Arc<Gate>, entries: usize) -> Option<Places> {
        if gate.store().health() != Health::Ready {
            return None;
        }
        let mut buffer = gate.late.buffer.lock();
        let stalled = buffer.since.is_some_and(|since| since.elapsed() >= OLDEST);
        if buffer.broken || stalled || buffer.taken + entries > MOST {
            return None;
        }
        buffer.taken += entries;
        Some(Places { gate: Arc::clone(gate), left: entries })
    }

    /// Returns once nothing waits any more, or never will be written.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if !self.buffer.lock().writing {
                return;
            }
            emptied.await;
        }
    }

    fn take(&self) -> Vec<EntryRow> {
        let mut buffer = self.buffer.lock();
        let count = buffer.rows.len().min(TOGETHER);
        let rest = buffer.rows.split_off(count);
        std::mem::replace(&mut buffer.rows, rest)
    }

    /// So many are durable; those behind them wait since then at the longest.
    fn done(&self, count: usize, since: Instant) -> More {
        let mut buffer = self.buffer.lock();
        buffer.taken = buffer.taken.saturating_sub(count);
        if buffer.rows.is_empty() {
            buffer.since = None;
            buffer.writing = false;
            self.emptied.notify_waiters();
            return More::No;
        }
        buffer.since = Some(since);
        More::Yes
    }

    fn broke(&self) -> usize {
        let mut buffer = self.buffer.lock();
        buffer.broken = true;
        buffer.writing = false;
        self.emptied.notify_waiters();
        std::mem::take(&mut buffer.rows).len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

impl Places {
    /// Puts an entry in its place. It is durable soon, or the gateway ends.
    pub(crate) fn put(&mut self, row: EntryRow) {
        let idle = {
            let mut buffer = self.gate.late.buffer.lock();
            // Beyond its places there is still no losing an entry.
            buffer.taken += usize::from(self.left == 0);
            self.left = self.left.saturating_sub(1);
            buffer.rows.push(row);
            buffer.since.get_or_insert_with(Instant::now);
            !std::mem::replace(&mut buffer.writing, true)
        };
        if idle {
            tokio::spawn(write(Arc::clone(&self.gate)));
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let mut buffer = self.gate.late.buffer.lock();
        buffer.taken = buffer.taken.saturating_sub(self.left);
    }
}

/// Writes until nothing is left.
async fn write(gate: Arc<Gate>) {
    loop {
        tokio::time::sleep(LINGER).await;
        let since = Instant::now();
        let rows = gate.late.take();
        if let Err(error) = kept(&gate, &rows).await {
            let lost = rows.len() + gate.late.broke();
            tracing::error!(%error, lost, "reads that ran are not in the ledger");
            return;
        }
        for action in rows.iter().filter_map(|row| row.sealed.action) {
            gate.announce(Changed::Action { id: action });
        }
        if gate.late.done(rows.len(), since) == More::No {
            return;
        }
    }
}

/// A full disk is waited for: meanwhile nothing more is taken.
async fn kept(gate: &Gate, rows: &[EntryRow]) -> Result<(), CommitError> {
    loop {
        let commit = Commit { changes: Vec::new(), entries: rows.to_vec() };
        match gate.store().writer().commit(commit).await {
            Ok(_) => return Ok(()),
            Err(CommitError::Full) => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error),
        }
    }
}
