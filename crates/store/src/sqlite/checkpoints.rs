//! Moves the write-ahead log into the database beside the writer, on a connection of its own.
//!
//! A pass goes as far as the log reached when it began. The writer goes on meanwhile, and moves the little that it added
//! itself when the pass has ended: only a log that was moved whole is begun anew, and so stays small.

use rusqlite::{Connection, ffi};
use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long another connection may be in the way of a write. None of ours ever is.
const BUSY: Duration = Duration::from_secs(5);

/// The writer's end.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// `None` only while this is dropped.
    begin: Option<SyncSender<()>>,
    ended: Receiver<rusqlite::Result<()>>,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// Starts the thread; dropping this ends it.
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (begin, begun) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let thread = thread::Builder::new().name("store-moves".into()).spawn(move || {
            while begun.recv().is_ok() {
                if end.send(pass(&connection, "PASSIVE").map(drop)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { begin: Some(begin), ended, under_way: false, thread: Some(thread) })
    }

    /// Begins a pass. None may be under way.
    pub(super) fn begin(&mut self) {
        // A thread that is gone says so when it is asked how the pass ended.
        let _ = self.begin.as_ref().map(|begin| begin.try_send(()));
        self.under_way = true;
    }

    pub(super) const fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// How the pass under way ended, if it has.
    pub(super) fn ended(&mut self) -> Option<rusqlite::Result<()>> {
        match self.ended.try_recv() {
            Err(TryRecvError::Empty) => None,
            Ok(ended) => {
                self.under_way = false;
                Some(ended)
            }
            Err(TryRecvError::Disconnected) => Some(Err(gone())),
        }
    }

    /// Waits for the pass under way, if one is.
    pub(super) fn wait(&mut self) -> rusqlite::Result<()> {
        if !std::mem::take(&mut self.under_way) {
            return Ok(());
        }
        self.ended.recv().unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Checkpoints {
    /// Waits for the thread's connection to close: who finds the store closed finds its files as they stay.
    fn drop(&mut self) {
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was told when it happened.
            let _ = thread.join();
        }
    }
}

/// Moves what the log holds into the database. Whether everything was moved, without waiting for any reader.
pub(super) fn pass(connection: &Connection, mode: &str) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let done =
        connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0));
    connection.busy_timeout(BUSY)?;
    Ok(done? == 0)
}

fn gone() -> rusqlite::Error {
    let why = "the thread that moves the write-ahead log has ended".to_owned();
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), Some(why))
}
