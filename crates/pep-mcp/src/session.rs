//! Sessions of agents, each with its own at the server. An identifier is no credential: a session answers its own
//! principal, acting for the same people, and is unknown to everybody else.

use crate::{
    tools::{self, Tools},
    upstream::{Peer, Way},
};
use countersign_core::{ApprovalId, PersonId, PrincipalId, Requester};
use countersign_engine::port::upstream::Failed;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    principal: PrincipalId,
    on_behalf_of: Vec<PersonId>,
    pub(crate) version: &'static str,
    pub(crate) peer: Peer,
    next: AtomicU64,
    /// What the server said it has, until there is reason to ask again.
    tools: tokio::sync::Mutex<Option<Arc<Tools>>>,
    under_way: Mutex<HashMap<String, Arc<UnderWay>>>,
    used: Mutex<Instant>,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// What the server knows it by.
    pub(crate) id: u64,
    /// The approval it waits for, where cancelling the request takes that back.
    pub(crate) held: Mutex<Option<ApprovalId>>,
    /// The agent does not want its answer any more.
    pub(crate) cancelled: CancellationToken,
}

/// A request's place among those under way.
#[derive(Debug)]
pub(crate) struct Place {
    session: Arc<Session>,
    id: String,
    pub(crate) under_way: Arc<UnderWay>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.session.under_way.lock().remove(&self.id);
    }
}

impl Session {
    pub(crate) fn new(requester: &Requester, version: &'static str, peer: Peer) -> Self {
        Self {
            principal: requester.principal,
            on_behalf_of: requester.on_behalf_of.clone(),
            version,
            peer,
            next: AtomicU64::new(1),
            tools: tokio::sync::Mutex::default(),
            under_way: Mutex::default(),
            used: Mutex::new(Instant::now()),
        }
    }

    fn is_of(&self, requester: &Requester) -> bool {
        self.principal == requester.principal && self.on_behalf_of == requester.on_behalf_of
    }

    /// An identifier for a message to the server that it has not had before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes in a request; `None` when one of that id is under way already.
    pub(crate) fn enter(self: &Arc<Self>, id: &str) -> Option<Place> {
        let under_way = Arc::new(UnderWay {
            id: self.next_id(),
            held: Mutex::default(),
            cancelled: CancellationToken::new(),
        });
        let mut all = self.under_way.lock();
        if all.contains_key(id) {
            return None;
        }
        all.insert(id.to_owned(), Arc::clone(&under_way));
        Some(Place { session: Arc::clone(self), id: id.to_owned(), under_way })
    }

    /// The request under way with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<UnderWay>> {
        self.under_way.lock().get(id).cloned()
    }

    /// What the server has, as it last said.
    pub(crate) async fn tools(&self, way: &Way) -> Result<Arc<Tools>, Failed> {
        let mut known = self.tools.lock().await;
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let fresh = Arc::new(tools::fetch(way, &self.peer, || self.next_id()).await?);
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// What the server has now.
    pub(crate) async fn tools_now(&self, way: &Way) -> Result<Arc<Tools>, Failed> {
        *self.tools.lock().await = None;
        self.tools(way).await
    }

    /// The server may have other tools from now on.
    pub(crate) async fn forget_tools(&self) {
        *self.tools.lock().await = None;
    }
}

/// The sessions of one target.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Arc<Session>>>);

impl Sessions {
    /// The session of this id, if it is this caller's.
    pub(crate) fn find(&self, id: &str, requester: &Requester) -> Option<Arc<Session>> {
        let session = self.0.lock().get(id).filter(|session| session.is_of(requester)).cloned()?;
        *session.used.lock() = Instant::now();
        Some(session)
    }

    /// Forgets a session that was found.
    pub(crate) fn remove(&self, id: &str) {
        self.0.lock().remove(id);
    }

    /// Whether this principal has as many as it may.
    pub(crate) fn is_full(&self, principal: PrincipalId, most: usize) -> bool {
        self.0.lock().values().filter(|session| session.principal == principal).count() >= most
    }

    pub(crate) fn insert(&self, id: String, session: Arc<Session>) {
        self.0.lock().insert(id, session);
    }

    /// Takes out the sessions that nobody has used for so long and that have nothing under way.
    pub(crate) fn take_idle(&self, idle: Duration) -> Vec<Arc<Session>> {
        let rests = |session: &Arc<Session>| {
            session.used.lock().elapsed() >= idle && session.under_way.lock().is_empty()
        };
        self.0.lock().extract_if(|_, session| rests(session)).map(|(_, session)| session).collect()
    }
}
