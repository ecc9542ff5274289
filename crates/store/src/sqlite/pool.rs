//! Read-only connections, a few at a time, off the threads that must not wait.

use super::connection;
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{path::PathBuf, sync::Arc};
use tokio::sync::Semaphore;

const READERS: usize = 4;

/// Lends read-only connections.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(Arc::new(Shelf { path, idle: Mutex::new(Vec::new()), places: Semaphore::new(READERS) }))
    }

    /// Asks within one snapshot of the database.
    pub(super) async fn ask<T, E>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        // The semaphore is never closed; were it, the question would be asked without a place of its own.
        let place = self.0.places.acquire().await;
        let readers = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || readers.ask(question)).await;
        drop(place);
        asked.unwrap_or_else(|_| Err(rusqlite::Error::InvalidQuery.into()))
    }

    /// A connection of one's own, for a view that is kept for longer.
    pub(super) fn open(&self) -> rusqlite::Result<Connection> {
        connection::reading(&self.0.path)
    }
}

impl Shelf {
    fn ask<T, E: From<rusqlite::Error>>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let idle = self.idle.lock().pop();
        let connection = idle.map_or_else(|| connection::reading(&self.path), Ok)?;
        let transaction = connection.unchecked_transaction()?;
        let answer = question(&transaction);
        drop(transaction);
        // A connection that failed is not lent again.
        if answer.is_ok() {
            self.idle.lock().push(connection);
        }
        answer
    }
}
