//! Sessions of agents, each with its own at the server. An identifier is no credential: a session answers its own
//! principal, acting for the same people, and is unknown to everybody else.

use crate::{
    asks::{self, Asked, Asks},
    feed::{self, Hub, Told},
    frame::{self, Message},
    method::{self, FromServer},
    tools::{Book, Tools},
    upstream::{
        Peer, Way,
        standing::{Heard, Question, Taken},
    },
};
use countersign_core::{ApprovalId, Caller, PrincipalId, Requester};
use countersign_engine::port::upstream::Failed;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    caller: Caller,
    pub(crate) version: &'static str,
    pub(crate) peer: Peer,
    next: AtomicU64,
    /// What the server said it has, until there is reason to ask again.
    tools: tokio::sync::Mutex<Option<Arc<Tools>>>,
    /// There is.
    has_other_tools: AtomicBool,
    under_way: Mutex<HashMap<String, Arc<UnderWay>>>,
    used: Mutex<Instant>,
    /// What the server said of itself when it was opened, and the agent's client, both as JSON.
    pub(crate) opened: Option<String>,
    pub(crate) client: Option<String>,
    /// Where several servers are behind one endpoint: what the agent's client has declared, as JSON, and the agent's sessions at
    /// each of them, in their order.
    pub(crate) declared: Option<String>,
    pub(crate) parts: Vec<tokio::sync::Mutex<Option<Arc<Session>>>>,
    /// Its server does not know it any more.
    forgotten: AtomicBool,
    /// Who listens in it to what the server says by itself.
    pub(crate) hub: Hub,
    /// What its server has asked of its agent.
    pub(crate) asks: Asks,
    /// It has ended here.
    pub(crate) ended: CancellationToken,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(crate) struct UnderWay {
    /// What the server knows it by.
    pub(crate) id: u64,
    /// The approval it waits for, where cancelling the request takes that back.
    held: Mutex<Held>,
    /// The agent does not want its answer any more.
    pub(crate) cancelled: CancellationToken,
}

/// Whether a request waits for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Not,
    For(ApprovalId),
    /// It did, or not: its agent has its answer.
    Answered,
}

impl UnderWay {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, held: Mutex::default(), cancelled: CancellationToken::new() }
    }

    /// The agent has its answer: there is nothing left that it could give up.
    pub(crate) fn answered(&self) {
        *self.held.lock() = Held::Answered;
    }

    /// The agent gives the request up: the approval that is to be taken back. `None` where none is known yet; whoever
    /// comes to know one is then told by [`Self::waits_for`].
    pub(crate) fn cancel(&self) -> Option<ApprovalId> {
        let held = self.held.lock();
        match *held {
            Held::Answered => return None,
            Held::Not | Held::For(_) => self.cancelled.cancel(),
        }
        match *held {
            Held::For(approval) => Some(approval),
            Held::Not | Held::Answered => None,
        }
    }

    /// The approval it is known to wait for.
    pub(crate) fn approval(&self) -> Option<ApprovalId> {
        match *self.held.lock() {
            Held::For(approval) => Some(approval),
            Held::Not | Held::Answered => None,
        }
    }

    /// The request waits for this approval: whether the agent has given it up before that was known.
    pub(crate) fn waits_for(&self, approval: ApprovalId) -> bool {
        let mut held = self.held.lock();
        let known = std::mem::replace(&mut *held, Held::For(approval)) == Held::For(approval);
        self.cancelled.is_cancelled() && !known
    }
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
            caller: requester.caller(),
            version,
            peer,
            next: AtomicU64::new(1),
            tools: tokio::sync::Mutex::default(),
            has_other_tools: AtomicBool::new(false),
            under_way: Mutex::default(),
            used: Mutex::new(Instant::now()),
            opened: None,
            client: None,
            declared: None,
            parts: Vec::new(),
            forgotten: AtomicBool::new(false),
            hub: Hub::default(),
            asks: Asks::default(),
            ended: CancellationToken::new(),
        }
    }

    /// Tells the server that something it asked has no answer, without waiting for that. `id` is JSON.
    pub(crate) fn refuses(&self, way: &Arc<Way>, id: &str, why: &str) {
        let (peer, way, told) = (self.peer.clone(), Arc::clone(way), method::refusal(id, why));
        // Where the gateway itself ends nobody has to be told.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = way.tell(&peer, told).await {
                tracing::debug!(%error, "a server was not told that nobody answers");
            }
        });
    }

    /// Has a question to the agent end by itself, should nobody answer: its server is told.
    pub(crate) fn expires(self: &Arc<Self>, way: &Arc<Way>, asked: &Asked) {
        let (session, way) = (Arc::clone(self), Arc::clone(way));
        let (own, over) = (asked.own.clone(), asked.over.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = session.ended.cancelled() => {}
                () = tokio::time::sleep(asks::PATIENCE) => {
                    let Some(waits) = session.asks.take(&own) else { return };
                    session.refuses(&way, &waits.id, "the agent did not answer in time");
                }
            }
        });
    }

    /// Its server has said that it does not know it any more.
    pub(crate) fn is_forgotten(&self) {
        self.forgotten.store(true, Ordering::Relaxed);
        self.ended.cancel();
    }

    /// Whether nothing more can be said in it.
    pub(crate) fn is_gone(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed) || self.peer.is_gone()
    }

    /// Whether nothing is under way in it, nor in a part of it, and nobody listens.
    fn rests(&self) -> bool {
        let rests = |part: &tokio::sync::Mutex<Option<Arc<Self>>>| {
            part.try_lock().is_ok_and(|part| part.as_ref().is_none_or(|part| part.rests()))
        };
        self.under_way.lock().is_empty() && !self.hub.is_heard() && self.parts.iter().all(rests)
    }

    fn is_of(&self, requester: &Requester) -> bool {
        self.caller == requester.caller()
    }

    /// An identifier for a message to the server that it has not had before.
    pub(crate) fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes in a request; `None` when one of that id is under way already.
    pub(crate) fn enter(self: &Arc<Self>, id: &str) -> Option<Place> {
        let under_way = Arc::new(UnderWay::new(self.next_id()));
        let mut all = self.under_way.lock();
        if all.contains_key(id) {
            return None;
        }
        all.insert(id.to_owned(), Arc::clone(&under_way));
        Some(Place { session: Arc::clone(self), id: id.to_owned(), under_way })
    }

    /// Takes in a request of the later era, whose ids are their connections' own.
    pub(crate) fn enter_any(self: &Arc<Self>) -> Place {
        let under_way = Arc::new(UnderWay::new(self.next_id()));
        // No id of an agent's is written so.
        let id = format!("later {}", under_way.id);
        self.under_way.lock().insert(id.clone(), Arc::clone(&under_way));
        Place { session: Arc::clone(self), id, under_way }
    }

    /// The request under way with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<UnderWay>> {
        self.under_way.lock().get(id).cloned()
    }

    /// What the server has, as it last said.
    pub(crate) async fn tools(&self, book: &Book, way: &Way) -> Result<Arc<Tools>, Failed> {
        let mut known = self.tools.lock().await;
        // What is said while they are asked for is about the next time.
        if self.has_other_tools.swap(false, Ordering::AcqRel) {
            *known = None;
        }
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let fresh = book.fetch(way, &self.peer, self.client.as_deref(), || self.next_id()).await?;
        let fresh = Arc::new(fresh);
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// What the server has, if it has been asked already.
    pub(crate) fn known_tools(&self) -> Option<Arc<Tools>> {
        let known = self.tools.try_lock().ok()?.clone();
        known.filter(|_| !self.has_other_tools.load(Ordering::Acquire))
    }

    /// What the server has now.
    pub(crate) async fn tools_now(&self, book: &Book, way: &Way) -> Result<Arc<Tools>, Failed> {
        self.forget_tools();
        self.tools(book, way).await
    }

    /// The server may have other tools from now on.
    pub(crate) fn forget_tools(&self) {
        self.has_other_tools.store(true, Ordering::Release);
    }

    /// Takes in what its server says by itself; why a question is not taken. Whatever its agent wants to hear of, no call is
    /// bound to tools of before.
    pub(crate) fn heard(self: &Arc<Self>, way: &Arc<Way>, heard: Heard<'_>) -> Taken {
        match heard {
            Heard::Message(message) => {
                if feed::says_tools_changed(message) {
                    self.forget_tools();
                }
                if let Ok(Message::Notification { method, params }) = frame::read(message) {
                    match method::from_server(method) {
                        FromServer::TakesBack => {
                            if let Some(own) = self.asks.taken_back(params) {
                                self.hub.told(&own, Told::NotAnyMore);
                            }
                        }
                        FromServer::Elicited if self.asks.offer.opens_pages() => {
                            let done = String::from_utf8_lossy(message);
                            self.hub.told(&done, Told::Done(&done));
                        }
                        FromServer::Elicited
                        | FromServer::Passed
                        | FromServer::Subscribed
                        | FromServer::Asks
                        | FromServer::Answered
                        | FromServer::Refused(_)
                        | FromServer::Dropped(_) => {}
                    }
                }
                self.hub.heard(message);
                Ok(())
            }
            Heard::Asked(Question { id, method, params, .. }) => {
                // What comes on this stream belongs to none of the calls that are under way (2025-11-25, basic/transports).
                let asked = self.asks.take_in(id, (method, params), None)?;
                if !self.hub.told(&asked.own, Told::Question(&asked.message)) {
                    drop(self.asks.take(&asked.own));
                    return Err("the agent does not listen, or has not read yet what was said before");
                }
                self.expires(way, &asked);
                Ok(())
            }
            Heard::Missed => {
                self.forget_tools();
                self.hub.missed();
                Ok(())
            }
        }
    }
}

/// The sessions of one target.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Those that agents opened.
    named: Mutex<HashMap<String, Arc<Session>>>,
    /// Those that agents of the later era are served by, one to each.
    standing: Mutex<HashMap<Caller, Arc<Session>>>,
}

impl Sessions {
    /// The session of this id, if it is this caller's.
    pub(crate) fn find(&self, id: &str, requester: &Requester) -> Option<Arc<Session>> {
        let session = self.named.lock().get(id).filter(|session| session.is_of(requester)).cloned()?;
        *session.used.lock() = Instant::now();
        Some(session)
    }

    /// The session that serves this caller's requests of the later era.
    pub(crate) fn standing(&self, requester: &Requester) -> Option<Arc<Session>> {
        let caller = requester.caller();
        let session = self.standing.lock().get(&caller).filter(|session| !session.peer.is_gone()).cloned()?;
        *session.used.lock() = Instant::now();
        Some(session)
    }

    /// Has a session serve this caller's requests of the later era; the one that did before.
    pub(crate) fn stand(&self, requester: &Requester, session: Arc<Session>) -> Option<Arc<Session>> {
        self.standing.lock().insert(requester.caller(), session)
    }

    /// Forgets a session, whatever it is known by.
    pub(crate) fn forget(&self, session: &Arc<Session>) {
        self.named.lock().retain(|_, known| !Arc::ptr_eq(known, session));
        self.standing.lock().retain(|_, known| !Arc::ptr_eq(known, session));
    }

    /// Forgets a session that was found.
    pub(crate) fn remove(&self, id: &str) {
        self.named.lock().remove(id);
    }

    /// Whether this principal has as many as it may.
    pub(crate) fn is_full(&self, principal: PrincipalId, most: usize) -> bool {
        let of_it = |session: &&Arc<Session>| session.caller.principal == principal;
        let named = self.named.lock().values().filter(of_it).count();
        named + self.standing.lock().values().filter(of_it).count() >= most
    }

    pub(crate) fn insert(&self, id: String, session: Arc<Session>) {
        self.named.lock().insert(id, session);
    }

    /// Takes out the sessions that nobody has used for so long and that have nothing under way.
    pub(crate) fn take_idle(&self, idle: Duration) -> Vec<Arc<Session>> {
        let rests = |session: &Arc<Session>| session.used.lock().elapsed() >= idle && session.rests();
        let mut rested: Vec<_> =
            self.named.lock().extract_if(|_, session| rests(session)).map(|(_, session)| session).collect();
        rested
            .extend(self.standing.lock().extract_if(|_, session| rests(session)).map(|(_, session)| session));
        rested
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::method::NEWEST;
    use countersign_core::{AgentId, CredentialId, PrincipalId, PrincipalKind, Requester};
    use std::collections::{BTreeMap, BTreeSet};

    /// An agent of this number.
    pub(crate) fn requester(number: u128) -> Requester {
        Requester {
            principal: PrincipalId::Agent(AgentId::from_parts(1, number)),
            kind: PrincipalKind::Agent,
            name: format!("agent {number}"),
            groups: BTreeSet::new(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: BTreeSet::new(),
            created_by: None,
            on_behalf_of: vec![],
            credential: CredentialId::from_parts(1, number),
        }
    }

    #[test]
    fn a_session_serves_its_own_caller_alone_and_counts_however_it_is_known() {
        let claims = || [("ref".to_owned(), "main".to_owned())].into();
        let (one, other) = (requester(1), Requester { claims: claims(), ..requester(1) });
        let session = |of: &Requester| Arc::new(Session::new(of, NEWEST, Peer::default()));
        let (sessions, theirs) = (Sessions::default(), session(&one));
        assert!(theirs.is_of(&one) && !theirs.is_of(&other), "another token of the same agent");
        sessions.stand(&one, theirs);
        assert!(sessions.standing(&one).is_some() && sessions.standing(&other).is_none());
        sessions.insert("s".into(), session(&other));
        assert!(sessions.is_full(one.principal, 2) && !sessions.is_full(requester(2).principal, 1));
    }
}
