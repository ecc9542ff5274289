//! What the gateway knows of each database's catalog, read over a connection of its own and never on an agent's session.
//! Shared by all sessions of a database; looked at again when it may have changed.

use crate::{
    error::LoginError,
    frame::{Fields, FrameError},
    message::Backend,
    reply::{message, put_text},
    understand::{Catalog, CatalogError},
    upstream::{Way, login::LoggedIn},
};
use bytes::BytesMut;
use parking_lot::RwLock;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Mutex,
    time::{Instant, timeout},
};

/// A snapshot is taken for current for so long. A change made through the gateway is seen at once.
const FRESH: Duration = Duration::from_secs(1);
/// How long reading a catalog may take.
const WITHIN: Duration = Duration::from_secs(20);
/// One column of one row may be this long.
const LONGEST: usize = 64 << 20;

/// The catalog of one database, as far as it is known.
pub(crate) struct Watch {
    way: Arc<Way>,
    database: String,
    /// The connection it is read over; also keeps two from reading at once.
    connection: Mutex<Option<LoggedIn>>,
    known: RwLock<Known>,
    /// Somebody is looking again before it is too old.
    ahead: AtomicBool,
}

struct Known {
    catalog: Arc<Catalog>,
    /// When reading it began.
    seen: Option<Instant>,
}

/// Why a catalog could not be read: nothing is resolved then, and nothing unresolved is taken for a read.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("the connection for the catalog was lost")]
    Lost(#[from] io::Error),
    #[error("the catalog's answer is no protocol")]
    Frame(#[from] FrameError),
    #[error("the database refused to show its catalog")]
    Refused,
    #[error("the catalog cannot be read")]
    Catalog(#[from] CatalogError),
    #[error("reading the catalog took too long")]
    TooLate,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Watch({})", self.database)
    }
}

impl Watch {
    pub(crate) fn new(way: Arc<Way>, database: String) -> Self {
        let known = Known { catalog: Arc::new(Catalog::unknown()), seen: None };
        Self {
            way,
            database,
            connection: Mutex::new(None),
            known: RwLock::new(known),
            ahead: AtomicBool::new(false),
        }
    }

    /// The catalog as it was a moment ago. Whoever asks in the second half of that moment has it looked at again, and
    /// waits for nothing.
    pub(crate) async fn current(self: &Arc<Self>, nonce: impl Fn() -> [u8; 18]) -> Arc<Catalog> {
        let within = |span: Duration| move |began: Instant| began.elapsed() < span;
        let Some(known) = self.known_if(within(FRESH)) else {
            return self.once(within(FRESH), nonce).await;
        };
        if self.known_if(within(FRESH / 2)).is_none() && !self.ahead.swap(true, Ordering::Relaxed) {
            let (watch, nonce) = (Arc::clone(self), nonce());
            tokio::spawn(async move {
                watch.once(within(FRESH / 2), || nonce).await;
                watch.ahead.store(false, Ordering::Relaxed);
            });
        }
        known
    }

    /// Which one is known.
    pub(crate) fn version(&self) -> u64 {
        self.known.read().catalog.version()
    }

    /// The catalog as it is now.
    pub(crate) async fn again(&self, nonce: impl Fn() -> [u8; 18]) -> Arc<Catalog> {
        let asked = Instant::now();
        self.once(|began| began >= asked, nonce).await
    }

    fn known_if(&self, good: impl Fn(Instant) -> bool) -> Option<Arc<Catalog>> {
        let known = self.known.read();
        known.seen.is_some_and(good).then(|| Arc::clone(&known.catalog))
    }

    /// Reads it, unless somebody else did meanwhile.
    async fn once(&self, good: impl Fn(Instant) -> bool, nonce: impl Fn() -> [u8; 18]) -> Arc<Catalog> {
        let mut connection = self.connection.lock().await;
        if let Some(known) = self.known_if(good) {
            return known;
        }
        let began = Instant::now();
        let kept = connection.take();
        let fresh = match self.read(kept, nonce()).await {
            // A connection that rested may be gone; a new one says whether the database is.
            Err(WatchError::Lost(_)) => self.read(None, nonce()).await,
            other => other,
        };
        let catalog = match fresh {
            Ok((kept, catalog)) => {
                *connection = Some(kept);
                catalog
            }
            Err(error) => {
                tracing::warn!(database = %self.database, %error, "a catalog could not be read");
                Arc::new(Catalog::unknown())
            }
        };
        *self.known.write() = Known { catalog: Arc::clone(&catalog), seen: Some(began) };
        catalog
    }

    async fn read(
        &self,
        kept: Option<LoggedIn>,
        nonce: [u8; 18],
    ) -> Result<(LoggedIn, Arc<Catalog>), WatchError> {
        let mut connection = match kept {
            Some(kept) => kept,
            None => self.way.login(&self.database, &[], nonce).await?,
        };
        let known = Arc::clone(&self.known.read().catalog);
        let read =
            timeout(WITHIN, fetch(&mut connection, &known)).await.map_err(|_| WatchError::TooLate)??;
        Ok((connection, read.map_or(known, Arc::new)))
    }
}

/// The catalog, unless it is still the one that is known.
async fn fetch(connection: &mut LoggedIn, known: &Catalog) -> Result<Option<Catalog>, WatchError> {
    let stamp = ask(connection, Catalog::STAMP).await?.concat();
    if known.version() > 0 && known.stamp() == stamp {
        return Ok(None);
    }
    ask(connection, Catalog::BEGIN).await?;
    let mut answers = Vec::with_capacity(Catalog::QUERIES.len());
    for query in Catalog::QUERIES {
        answers.push(ask(connection, query).await?);
    }
    let stamp = ask(connection, Catalog::STAMP).await?.concat();
    ask(connection, Catalog::END).await?;
    // A server that does not say counts as one whose encoding is another.
    let encoding = connection.parameters.get("server_encoding").map_or("", String::as_str);
    Ok(Some(Catalog::read(&stamp, &answers)?.encoded(encoding)))
}

/// The only column of every row.
async fn ask(connection: &mut LoggedIn, sql: &str) -> Result<Vec<String>, WatchError> {
    let mut out = BytesMut::new();
    message(&mut out, b'Q', |out| put_text(out, sql));
    connection.stream.write_all(&out).await?;
    connection.stream.flush().await?;
    let mut rows = Vec::new();
    let mut failed = false;
    loop {
        let Some(frame) = crate::frame::take(&mut connection.buffer, LONGEST)? else {
            if connection.stream.read_buf(&mut connection.buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            continue;
        };
        let mut fields = Fields::new(frame.body());
        match Backend::of(frame.tag) {
            Some(Backend::DataRow) => rows.push(fields.first_column()?),
            Some(Backend::ErrorResponse) => failed = true,
            Some(Backend::ReadyForQuery) if failed => return Err(WatchError::Refused),
            Some(Backend::ReadyForQuery) => return Ok(rows),
            _ => {}
        }
    }
}
