//! A gateway on a stage: everything real but the target, the people and the clock.
//! Long because it stands in for every port of the engine at once.

use async_trait::async_trait;
use bytes::Bytes;
use countersign_core::{
    Action, AgentId, ApprovalId, Assurance, Body, ChannelName, Class, CredentialId, GatewayId, GroupName,
    Operation, Payload, PersonId, PrincipalId, PrincipalKind, Requester, Resource, TargetName, Timestamp,
    approval::Outcome, statement::Verdict,
};
use countersign_engine::{
    Error, Gate, Limits, Parts, Reply, Request, Who,
    execute::{Clearance, EndFacts, Ending},
    flow,
    hold::Hold,
    journal::Journal,
    outbox::Channels,
    port::{
        clock::{Clock, Entropy},
        identity::{
            BindingOffer, Bound, ChannelUser, Identity, Introduction, NotAuthenticated, NotOffered,
            Presented, StandIn, Voter,
        },
        push::Subscription,
        store::{FindEntries, Store, StoredEntry},
        ticket::Tickets,
        upstream::{BindError, Exchange, Failed, Kept, Passage, Sent, StoredExchange, Target, Upstream},
    },
    preapproval::Systems,
    read::HoldFilter,
    reply::Ticket,
    start::{self, Opening},
    vote::{self, Ballot, Cast, VoteRefused},
};
use countersign_ledger::{LogKeys, Sealing, entry::Entry, event::Event};
use countersign_policy::{Bundle, DeclaredOperation, DeclaredTarget, Policies, Source, Vocabulary};
use countersign_store::{Fault, SqliteOptions, SqliteStore};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// Longer than anything here takes on the busiest machine.
pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("wall") @reason("never in production") forbid (principal, action in Action::"administer", resource);
@id("data") @gate("data") @approvers("Group::\"privacy\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("session")
@reason("data leaves the system") forbid (principal, action in Action::"export", resource);
@id("change") @gate("change") @approvers("Group::\"sre\"") @quorum("1") @expires("30m") @valid_for("10m") @step_up("session")
@reason("production changes") forbid (principal, action in Action::"configure", resource);
"#;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub(crate) struct StageClock(AtomicI64);

impl Clock for StageClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl StageClock {
    pub(crate) fn pass(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

/// Numbers that never repeat; nothing here depends on their being secret.
#[derive(Debug)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn person(n: u128) -> PersonId {
    PersonId::from_parts(1, n)
}

/// The owner of the agent.
pub(crate) fn olga() -> PersonId {
    person(100)
}

/// People 1 to 9 are in every reviewing group; so is Olga, who owns the agent. Person 9 leads as well.
#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) introduced_by_olga: Mutex<BTreeSet<PersonId>>,
    /// Who brought Olga in, lately.
    pub(crate) brought_olga: Mutex<Option<PersonId>>,
    pub(crate) left: Mutex<BTreeSet<PersonId>>,
    /// Who stands in for whom, from the beginning on.
    pub(crate) away: Mutex<BTreeMap<PersonId, PersonId>>,
    pub(crate) revoked: Mutex<bool>,
    /// Users of channels who speak for somebody.
    pub(crate) bound: Mutex<BTreeMap<(ChannelName, String), Bound>>,
    /// Whether others of their users are offered to.
    pub(crate) offers: Mutex<bool>,
    /// What agents are called.
    pub(crate) agents: Mutex<BTreeMap<AgentId, String>>,
    /// Devices on which they are told.
    pub(crate) devices: Mutex<Vec<(PersonId, Subscription)>>,
}

impl People {
    fn requester(&self) -> Result<Requester, NotAuthenticated> {
        if *self.revoked.lock().unwrap() {
            return Err(NotAuthenticated::Revoked);
        }
        Ok(agent())
    }
}

impl Identity for People {
    fn authenticate(&self, _: Presented<'_>, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        self.requester()
    }

    fn requester(&self, _: CredentialId, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        self.requester()
    }

    fn voter(&self, person: PersonId) -> Option<Voter> {
        self.voters().into_iter().find(|voter| voter.person == person)
    }

    fn voters(&self) -> Vec<Voter> {
        let everyone = (1..10).map(person).chain([olga()]);
        let left = self.left.lock().unwrap();
        let introduced = self.introduced_by_olga.lock().unwrap();
        let away = self.away.lock().unwrap();
        let stands_in = |person| {
            let absent = away.get(&person).into_iter();
            let stand_in = |absent: &PersonId| StandIn {
                absent: *absent,
                from: Timestamp(0),
                until: Timestamp(START).plus(Duration::from_hours(24)),
            };
            absent.map(stand_in).collect()
        };
        let voter = |person| Voter {
            person,
            name: format!("{person}"),
            groups: match person {
                left_them if left.contains(&left_them) => BTreeSet::new(),
                leads if leads == self::person(9) => groups(&["privacy", "sre", "leads"]),
                _ => groups(&["privacy", "sre"]),
            },
            attributes: BTreeSet::new(),
            administrator: false,
            stands_in: stands_in(person),
            introductions: introduced
                .iter()
                .filter(|new| **new == person)
                .map(|_| Introduction { by: Some(olga()), at: Timestamp(START), group: None })
                .chain(
                    self.brought_olga
                        .lock()
                        .unwrap()
                        .iter()
                        .filter(|_| person == olga())
                        .map(|by| Introduction { by: Some(*by), at: Timestamp(START), group: None }),
                )
                .collect(),
        };
        everyone.map(voter).collect()
    }

    fn membership(&self) -> BTreeMap<GroupName, BTreeSet<PersonId>> {
        BTreeMap::new()
    }

    fn person_name(&self, person: PersonId) -> Option<String> {
        Some(person.to_string())
    }

    fn address(&self, person: PersonId) -> Option<String> {
        Some(format!("{person}@example.com"))
    }

    fn bound(&self, channel: &ChannelName, user: &str) -> Option<Bound> {
        self.bound.lock().unwrap().get(&(channel.clone(), user.to_owned())).copied()
    }

    fn user_of(&self, channel: &ChannelName, person: PersonId) -> Option<String> {
        let bound = self.bound.lock().unwrap();
        let found = bound.iter().find(|((of, _), bound)| of == channel && bound.person == person);
        found.map(|((_, user), _)| user.clone())
    }

    fn agent_named(&self, name: &str) -> Option<AgentId> {
        let agents = self.agents.lock().unwrap();
        agents.iter().find(|(_, called)| *called == name).map(|(agent, _)| *agent)
    }

    fn agent_called(&self, agent: AgentId) -> Option<String> {
        self.agents.lock().unwrap().get(&agent).cloned()
    }

    fn subscriptions(&self, person: PersonId) -> Vec<Subscription> {
        let devices = self.devices.lock().unwrap();
        devices.iter().filter(|(owner, _)| *owner == person).map(|(_, device)| device.clone()).collect()
    }

    fn offer_binding(&self, _: ChannelUser) -> Result<BindingOffer, NotOffered> {
        if !*self.offers.lock().unwrap() {
            return Err(NotOffered::Unusable("nobody can be bound here"));
        }
        Ok(BindingOffer { link: "http://sign.example/bind#planted".into(), expires: Timestamp(0) })
    }
}

fn groups(names: &[&str]) -> BTreeSet<GroupName> {
    names.iter().map(|name| GroupName::new(*name).unwrap()).collect()
}

fn agent() -> Requester {
    Requester {
        principal: PrincipalId::Agent(AgentId::from_parts(1, 1)),
        kind: PrincipalKind::Agent,
        name: "bot".into(),
        groups: groups(&["agents"]),
        clearances: BTreeSet::new(),
        claims: BTreeMap::new(),
        owners: [olga()].into(),
        created_by: None,
        on_behalf_of: vec![],
        credential: CredentialId::from_parts(1, 1),
    }
}

/// The target: counts what really happened, and does as it is told.
#[derive(Debug)]
pub(crate) struct Cloud {
    /// Bodies that took effect, in order.
    pub(crate) effects: Mutex<Vec<Bytes>>,
    pub(crate) connects: AtomicUsize,
    /// How many of the next connections are refused.
    pub(crate) offline: AtomicUsize,
    /// Effects take place only as permits are added; many by default.
    pub(crate) pace: Semaphore,
    /// The connection breaks after the bytes went out.
    pub(crate) breaks: AtomicUsize,
    /// Which life of the gateway may still reach it: a process that was killed sends nothing more.
    life: Mutex<u64>,
    /// Where tickets are looked up, as gateways that are opened from here on are told.
    pub(crate) tickets: Mutex<Vec<(ChannelName, Arc<dyn Tickets>)>>,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            effects: Mutex::default(),
            connects: AtomicUsize::default(),
            offline: AtomicUsize::default(),
            pace: Semaphore::new(1 << 20),
            breaks: AtomicUsize::default(),
            life: Mutex::new(0),
            tickets: Mutex::default(),
        }
    }
}

fn take_one(count: &AtomicUsize) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Cloud {
    pub(crate) fn count(&self) -> usize {
        self.effects.lock().unwrap().len()
    }

    fn connect(&self) -> Result<(), Failed> {
        self.connects.fetch_add(1, Ordering::SeqCst);
        if take_one(&self.offline) {
            return Err(Failed { sent: Sent::No, why: "connection refused".into() });
        }
        Ok(())
    }

    async fn take_effect(&self, life: u64, clearance: &Clearance) -> Result<Bytes, Failed> {
        tokio::select! {
            paced = self.pace.acquire() => paced.unwrap().forget(),
            () = clearance.cancelled() => return Err(Failed { sent: Sent::Maybe, why: "cancelled".into() }),
        }
        let body = match &clearance.payload().body {
            Body::Bound(body) => body.clone(),
            Body::Unbound => Bytes::from_static(b"streamed"),
        };
        {
            let alive = self.life.lock().unwrap();
            if *alive != life {
                return Err(Failed { sent: Sent::Maybe, why: "killed".into() });
            }
            self.effects.lock().unwrap().push(body.clone());
        }
        if take_one(&self.breaks) {
            return Err(Failed { sent: Sent::Maybe, why: "connection reset".into() });
        }
        Ok(body)
    }
}

#[derive(Debug)]
struct Way(Arc<Cloud>, u64);

#[async_trait]
impl Upstream for Way {
    async fn connect(&self, _: &Action) -> Result<Box<dyn StoredExchange>, Failed> {
        self.0.connect()?;
        Ok(Box::new(Stored(Arc::clone(&self.0), self.1)))
    }
}

struct Stored(Arc<Cloud>, u64);

#[async_trait]
impl StoredExchange for Stored {
    async fn run(self: Box<Self>, clearance: Clearance, _: u64) -> Result<Kept, Failed> {
        let body = self.0.take_effect(self.1, &clearance).await?;
        let answer = [b"did ".as_slice(), &body].concat();
        Ok(Kept { status: "200".into(), head: vec![], body: Some(answer), bytes_sent: 1, bytes_received: 2 })
    }
}

/// A live request's own exchange.
pub(crate) struct Live {
    cloud: Arc<Cloud>,
    life: u64,
    body: Bytes,
    /// Its wire knows it for a read.
    reads: bool,
}

#[async_trait]
impl Exchange for Live {
    type Reply = Bytes;

    fn only_reads(&self) -> bool {
        self.reads
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Ok(self.body.clone())
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        self.cloud.connect()
    }

    async fn send(self, clearance: Clearance, ending: Ending) -> Result<Bytes, Failed> {
        match self.cloud.take_effect(self.life, &clearance).await {
            Ok(body) => {
                ending
                    .finish(done())
                    .await
                    .map_err(|error| Failed { sent: Sent::Maybe, why: error.to_string() })?;
                Ok(body)
            }
            Err(failed) => {
                ending.failed(&failed).await.unwrap();
                Err(failed)
            }
        }
    }
}

/// A session's exchange: what is approved runs through it and through nothing else.
pub(crate) struct Session {
    live: Live,
    /// What its client is shown while it waits.
    pub(crate) notices: tokio::sync::mpsc::UnboundedSender<Ticket>,
    /// The client is gone when the answer comes.
    pub(crate) leaves: bool,
}

#[async_trait]
impl Exchange for Session {
    type Reply = Bytes;

    fn passage(&self) -> Passage {
        Passage::Own
    }

    async fn held(&mut self, ticket: &Ticket) {
        // A test that does not look has let go of the other end.
        let _ = self.notices.send(ticket.clone());
    }

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        self.live.bind().await
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        self.live.connect().await
    }

    async fn send(self, clearance: Clearance, ending: Ending) -> Result<Bytes, Failed> {
        if !self.leaves {
            return self.live.send(clearance, ending).await;
        }
        let body = self.live.cloud.take_effect(self.live.life, &clearance).await?;
        let kept = Kept {
            status: "200".into(),
            head: vec![],
            body: Some(b"kept".into()),
            bytes_sent: 1,
            bytes_received: 2,
        };
        ending.finish_undelivered(done(), kept).await.unwrap();
        Ok(body)
    }
}

fn done() -> EndFacts {
    EndFacts {
        outcome: Outcome::Done,
        status: "200".into(),
        bytes_sent: 1,
        bytes_received: 2,
        ended_by: None,
        streamed_body: None,
        results: None,
    }
}

/// 2026-11-21T02:00:00Z.
const START: i64 = 1_795_226_400_000_000;

/// What outlives a gateway.
struct Parted {
    folder: Arc<TempDir>,
    clock: Arc<StageClock>,
    cloud: Arc<Cloud>,
    people: Arc<People>,
    channels: fn() -> Channels,
}

/// One gateway over a folder.
pub(crate) struct Stage {
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) people: Arc<People>,
    pub(crate) clock: Arc<StageClock>,
    pub(crate) keys: Arc<LogKeys>,
    life: u64,
    timers: tokio::task::JoinSet<()>,
    folder: Arc<TempDir>,
    channels: fn() -> Channels,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default(), None).await
    }

    pub(crate) async fn with(limits: Limits, fault: Option<Arc<dyn Fault>>) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(StageClock(AtomicI64::new(START)));
        let (cloud, people) = (Arc::new(Cloud::default()), Arc::new(People::default()));
        let parts = Parted { folder, clock, cloud, people, channels: Channels::default };
        Self::open(parts, limits, fault).await
    }

    /// A gateway with these ways on which people are told.
    pub(crate) async fn telling(channels: fn() -> Channels) -> Self {
        Self::asking(channels, Vec::new()).await
    }

    /// The same, where tickets may be named.
    pub(crate) async fn asking(
        channels: fn() -> Channels,
        tickets: Vec<(ChannelName, Arc<dyn Tickets>)>,
    ) -> Self {
        Self::asking_on(channels, tickets, None).await
    }

    /// The same on a disk with faults.
    pub(crate) async fn asking_on(
        channels: fn() -> Channels,
        tickets: Vec<(ChannelName, Arc<dyn Tickets>)>,
        fault: Option<Arc<dyn Fault>>,
    ) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(StageClock(AtomicI64::new(START)));
        let (cloud, people) = (Arc::new(Cloud::default()), Arc::new(People::default()));
        *cloud.tickets.lock().unwrap() = tickets;
        Self::open(Parted { folder, clock, cloud, people, channels }, Limits::default(), fault).await
    }

    /// The same folder, target, people and clock after the process is gone.
    pub(crate) async fn restart(self) -> Self {
        let Self { gate, store, cloud, people, clock, mut timers, folder, channels, .. } = self;
        timers.shutdown().await;
        drop(gate);
        let Some(store) = Arc::into_inner(store) else { panic!("somebody still holds the store") };
        store.close().await;
        Self::open(Parted { folder, clock, cloud, people, channels }, Limits::default(), None).await
    }

    /// What is on the disk at this moment, opened by a successor: as after `kill -9`.
    pub(crate) async fn crash(&self) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        *self.cloud.life.lock().unwrap() += 1;
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        let mut files: Vec<_> = files.filter(|file| file.file_type().unwrap().is_file()).collect();
        // The mark first: never is it ahead of what is copied behind it, as it never is on a disk.
        files.sort_by_key(|file| file.file_name() != "mark");
        for file in files {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        let keys = folder.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        for entry in std::fs::read_dir(self.folder.path().join("keys")).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), keys.join(entry.file_name())).unwrap();
        }
        let (cloud, people) = (Arc::clone(&self.cloud), Arc::clone(&self.people));
        let (clock, channels) = (Arc::clone(&self.clock), self.channels);
        Self::open(Parted { folder, clock, cloud, people, channels }, Limits::default(), None).await
    }

    async fn open(parts: Parted, limits: Limits, fault: Option<Arc<dyn Fault>>) -> Self {
        let path = |name: &str| -> PathBuf { Path::new(parts.folder.path()).join(name) };
        std::fs::create_dir_all(path("keys")).unwrap();
        let keys = Arc::new(LogKeys::open(&path("keys"), "stage.example").unwrap());
        let options = SqliteOptions::new(path("db"), path("mark"), Arc::clone(&keys));
        let store = Arc::new(SqliteStore::open(&SqliteOptions { fault, ..options }).unwrap());
        Self::over(parts, limits, (store, keys), 1).await
    }

    /// Another gateway over the same store, target, people and clock: what each keeps to itself, the other does not know.
    pub(crate) async fn beside(&self) -> Self {
        let (folder, clock) = (Arc::clone(&self.folder), Arc::clone(&self.clock));
        let (cloud, people) = (Arc::clone(&self.cloud), Arc::clone(&self.people));
        let parts = Parted { folder, clock, cloud, people, channels: self.channels };
        let kept = (Arc::clone(&self.store), Arc::clone(&self.keys));
        Self::over(parts, Limits::default(), kept, 2).await
    }

    /// The gateway of this number over a store.
    async fn over(
        parts: Parted,
        limits: Limits,
        (store, keys): (Arc<SqliteStore>, Arc<LogKeys>),
        number: u8,
    ) -> Self {
        let Parted { folder, clock, cloud, people, channels } = parts;
        let life = *cloud.life.lock().unwrap();
        let who = Who {
            id: GatewayId::from_parts(1, u128::from(number)),
            epoch: store.epoch(),
            console_url: "http://localhost:7100".into(),
        };
        let seed =
            who.epoch.wrapping_mul(1 << 32) + u64::from(std::process::id()) + (u64::from(number) << 56);
        let journal = Journal::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(Counting(AtomicU64::new(seed))),
            Sealing { origin: "stage.example".into(), gateway: who.id },
        );
        let policies = Arc::new(Policies::new(bundle(POLICY)));
        let target = Target {
            name: TargetName::new("cloud").unwrap(),
            environment: "prod".parse().unwrap(),
            wire: "http".into(),
            credential_profile: "cloud-admin".into(),
        };
        let parts = Parts {
            journal,
            policies,
            identity: Arc::clone(&people) as Arc<dyn Identity>,
            targets: vec![(target, Arc::new(Way(Arc::clone(&cloud), life)))],
            channels: channels(),
            tickets: Systems::new(cloud.tickets.lock().unwrap().clone()),
            limits,
            who,
            attach_secret: [7; 32],
        };
        let opening = Opening {
            version: "test".into(),
            configuration: countersign_core::Digest::of(b"test"),
            log_opened: keys.opened().unwrap(),
            policy_changed_by: BTreeSet::new(),
        };
        let gate = start::open(parts, opening).await.unwrap();
        start::resume(&gate).await.unwrap();
        let mut timers = tokio::task::JoinSet::new();
        timers.spawn(countersign_engine::timers::run(Arc::clone(&gate)));
        Self { gate, store, cloud, people, clock, keys, life, timers, folder, channels }
    }

    pub(crate) async fn policy(&self, text: &str) {
        self.policy_by(text, BTreeSet::new()).await;
    }

    /// The same, changed by these people.
    pub(crate) async fn policy_by(&self, text: &str, authors: BTreeSet<PersonId>) {
        start::put_in_force(&self.gate, bundle(text), authors).await.unwrap();
    }

    /// Sends a request and stays for as long as asked.
    pub(crate) async fn ask(
        &self,
        class: Class,
        body: &str,
        patience: Duration,
    ) -> Result<Reply<Bytes>, Error> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let exchange = Live { cloud: Arc::clone(&self.cloud), life: self.life, body, reads: false };
        flow::handle(&self.gate, request(class, patience), exchange).await
    }

    /// The same, naming a ticket.
    pub(crate) async fn ask_with(
        &self,
        (class, body): (Class, &str),
        ticket: &str,
        patience: Duration,
    ) -> Result<Reply<Bytes>, Error> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let exchange = Live { cloud: Arc::clone(&self.cloud), life: self.life, body, reads: false };
        let asked = Request { claimed_ticket: Some(ticket.to_owned()), ..request(class, patience) };
        flow::handle(&self.gate, asked, exchange).await
    }

    /// A request's exchange that its wire knows for a read.
    pub(crate) fn reading(&self, body: &str) -> Live {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Live { cloud: Arc::clone(&self.cloud), life: self.life, body, reads: true }
    }

    /// A session in which an action can be asked for.
    pub(crate) fn session(&self, body: &str) -> (Session, tokio::sync::mpsc::UnboundedReceiver<Ticket>) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let live = Live { cloud: Arc::clone(&self.cloud), life: self.life, body, reads: false };
        let (notices, shown) = tokio::sync::mpsc::unbounded_channel();
        (Session { live, notices, leaves: false }, shown)
    }

    /// Asks in a session, in a task of its own.
    pub(crate) fn ask_in(
        &self,
        session: Session,
        class: Class,
        patience: Duration,
    ) -> tokio::task::JoinHandle<Reply<Bytes>> {
        let gate = Arc::clone(&self.gate);
        tokio::spawn(async move { flow::handle(&gate, request(class, patience), session).await.unwrap() })
    }

    /// Sends a request that policy holds, and leaves with a handle.
    pub(crate) async fn hold(&self, class: Class, body: &str) -> ApprovalId {
        match self.ask(class, body, Duration::ZERO).await.unwrap() {
            Reply::Pending(ticket) => ticket.approval,
            other => panic!("not held: {other:?}"),
        }
    }

    pub(crate) fn requester() -> Requester {
        agent()
    }

    pub(crate) async fn ballot(&self, n: PersonId, id: ApprovalId) -> Result<Ballot, VoteRefused> {
        vote::prepare(&self.gate, n, id, Verdict::Approve).await.unwrap()
    }

    pub(crate) async fn approve(&self, voter: PersonId, id: ApprovalId) -> Result<Hold, VoteRefused> {
        let statement = self.ballot(voter, id).await?.statement;
        let assurance = Assurance::Session;
        vote::cast(
            &self.gate,
            Cast {
                statement,
                assurance,
                assertion: None,
                reason: None,
                sign_in: countersign_core::SignIn::default(),
            },
        )
        .await
        .unwrap()
    }

    pub(crate) async fn reject(
        &self,
        voter: PersonId,
        id: ApprovalId,
        why: &str,
    ) -> Result<Hold, VoteRefused> {
        let ballot = vote::prepare(&self.gate, voter, id, Verdict::Reject).await.unwrap()?;
        let reason = Some(why.to_owned());
        let cast = Cast {
            statement: ballot.statement,
            assurance: Assurance::Session,
            assertion: None,
            reason,
            sign_in: countersign_core::SignIn::default(),
        };
        vote::cast(&self.gate, cast).await.unwrap()
    }

    pub(crate) async fn state(&self, id: ApprovalId) -> String {
        let hold = countersign_engine::read::hold(&self.gate, id).await.unwrap().unwrap();
        hold.approval.state.as_str().to_owned()
    }

    /// The agent asks, waits, and its connection is lost; the approval it left behind.
    pub(crate) async fn ask_and_leave(&self, class: Class, command: &str) -> ApprovalId {
        let asking = self.ask(class, command, LONG);
        let held = async {
            loop {
                let pending =
                    HoldFilter { status: Some("pending".into()), limit: 1, ..HoldFilter::default() };
                if let Some(hold) =
                    countersign_engine::read::holds(&self.gate, pending).await.unwrap().first()
                {
                    return hold.approval.id;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            reply = asking => panic!("answered: {reply:?}"),
            id = tokio::time::timeout(LONG, held) => id.unwrap(),
        }
    }

    /// Waits until the approval is in this state; fails when it never gets there.
    pub(crate) async fn until(&self, id: ApprovalId, state: &str) {
        self.until_any(id, &[state]).await;
    }

    /// The same of several states: the one it got to.
    pub(crate) async fn until_any(&self, id: ApprovalId, states: &[&str]) -> String {
        let mut changes = self.gate.changes();
        let reached = async {
            loop {
                let state = self.state(id).await;
                if states.contains(&state.as_str()) {
                    return state;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), changes.recv()).await;
            }
        };
        let Ok(state) = tokio::time::timeout(LONG, reached).await else {
            panic!("{id} is {} and not {}", self.state(id).await, states.join(" or "))
        };
        state
    }

    /// The events of one approval's action, oldest first.
    pub(crate) async fn events_of(&self, id: ApprovalId) -> Vec<&'static str> {
        let hold = countersign_engine::read::hold(&self.gate, id).await.unwrap().unwrap();
        let entries = countersign_engine::read::timeline(&self.gate, hold.action()).await.unwrap();
        entries.iter().map(kind).collect()
    }

    /// Every entry, oldest first.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let find = FindEntries { limit: 100_000, ..FindEntries::default() };
        let mut entries = self.store.entries(find).await.unwrap();
        entries.reverse();
        entries.iter().map(|entry| Entry::parse(&entry.bytes).unwrap()).collect()
    }

    /// Every entry but those that say that the clock was set, oldest first: on a busy machine the stage's own, which stands
    /// still, seems to be, at any moment.
    pub(crate) async fn happened(&self) -> Vec<Entry> {
        happenings(self.entries().await)
    }

    /// Exports the whole ledger and checks it offline, as an auditor would.
    pub(crate) fn verify(&self) -> countersign_ledger::verify::Report {
        let reader = self.store.ledger().unwrap();
        let (size, _) = reader.head().unwrap();
        let request = countersign_ledger::bundle::Request { from: 0, to: size, disclose: &|_, _| false };
        let mut file = Vec::new();
        let key = self.keys.log().verifier();
        countersign_ledger::bundle::write(&mut file, &*reader, "stage.example", &request).unwrap();
        match countersign_ledger::verify::verify(file.as_slice(), key) {
            Ok(report) => report,
            Err(fault) => panic!("the ledger does not verify: {fault}"),
        }
    }
}

pub(crate) fn kind(entry: &StoredEntry) -> &'static str {
    Entry::parse(&entry.bytes).unwrap().event.kind()
}

/// Without the entries that say that the clock was set.
pub(crate) fn happenings(entries: Vec<Entry>) -> Vec<Entry> {
    entries.into_iter().filter(|entry| entry.event.kind() != "clock.stepped").collect()
}

/// How many executions an event list holds that began.
pub(crate) fn authorized(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| matches!(entry.event, Event::ExecutionAuthorized(_))).count()
}

pub(crate) fn request(class: Class, patience: Duration) -> Request {
    Request {
        requester: agent(),
        target: TargetName::new("cloud").unwrap(),
        operation: Operation { name: None, class },
        resources: vec![Resource { kind: "thing".into(), name: "x".into(), labels: BTreeSet::new() }],
        facts: serde_json::from_value(serde_json::json!({"method": "POST", "path": "/x", "query": ""}))
            .unwrap(),
        session: BTreeMap::new(),
        payload: Payload { head: Bytes::from_static(b"POST /x"), body: Body::Unbound },
        idempotency_key: None,
        sentence: format!("{} thing x of cloud (prod).", class.as_str()),
        claimed_reason: Some("because".into()),
        claimed_ticket: None,
        patience,
    }
}

fn bundle(text: &str) -> Bundle {
    let prod: countersign_core::EnvironmentName = "prod".parse().unwrap();
    let cloud = TargetName::new("cloud").unwrap();
    let declared = DeclaredTarget { environment: prod.clone(), labels: BTreeSet::new() };
    let vocabulary = Vocabulary {
        environments: [prod].into(),
        targets: [(cloud, declared)].into(),
        groups: groups(&["agents", "privacy", "sre", "security"]),
        labels: BTreeSet::new(),
        operations: Vec::<DeclaredOperation>::new(),
        channels: ["tickets".parse().unwrap()].into(),
        ticket_channels: ["tickets".parse().unwrap()].into(),
        ..Vocabulary::default()
    };
    match Bundle::load(vec![Source::new("stage.cedar", text)], &vocabulary) {
        Ok(bundle) => bundle,
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
