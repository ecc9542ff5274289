//! One installation: a store, a clock, unpredictable bytes that are the same in every run, and a directory.

use crate::store::MemoryStore;
use countersign_core::{Assurance, CredentialId, Digest, GatewayId, GroupName, PersonId, Timestamp};
use countersign_engine::{
    journal::Journal,
    port::{
        clock::{Clock, Entropy},
        store::Store,
    },
};
use countersign_identity::{
    Author, Directory, IdentityError, Link, NewAgent, NewPerson, Role, SessionInfo, Settings, SignedIn,
    Visitor,
};
use countersign_ledger::entry::Sealing;
use countersign_testkit::passkey::SoftPasskey;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

pub(crate) const ORIGIN: &str = "https://sign.example.com";
pub(crate) const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const VISITOR: Visitor<'static> =
    Visitor { source: HOME, user_agent: Some("Browser/1"), cookie: None };

#[derive(Debug)]
pub(crate) struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// SHA-256 of a counter.
#[derive(Debug)]
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let digest = Digest::of(&self.0.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            chunk.copy_from_slice(&digest.as_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) journal: Journal,
    clock: Arc<SetClock>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let store = MemoryStore::new();
        let (journal, clock) = journal_over(Arc::clone(&store) as _);
        let directory = open(&journal, ORIGIN, &["sre", "privacy", "platform-agents"]).await;
        Self { store, directory, journal, clock }
    }

    /// Another gateway, or this one after a restart.
    pub(crate) async fn another(&self) -> Arc<Directory> {
        open(&self.journal, ORIGIN, &["sre", "privacy", "platform-agents"]).await
    }

    /// This gateway after a restart with these issuers in its configuration.
    pub(crate) async fn trusting(&self, issuers: Vec<countersign_identity::Issuer>) -> Arc<Directory> {
        let mut settings = Settings::new(ORIGIN).unwrap();
        settings.issuers = issuers;
        let declared = groups(&["sre", "privacy", "platform-agents"]);
        Directory::open(self.journal.clone(), declared, settings).await.unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.clock.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) async fn invite(&self, name: &str, in_groups: &[&str], role: Role) -> (PersonId, Link) {
        let email = format!("{}@example.com", name.to_lowercase());
        let who = NewPerson { name: name.into(), email, groups: groups(in_groups), role };
        self.directory.invite(Author::Operator, who).await.unwrap()
    }

    /// A person who has opened their link.
    pub(crate) async fn enrol(&self, name: &str, in_groups: &[&str], role: Role) -> SignedIn {
        let (_, link) = self.invite(name, in_groups, role).await;
        self.directory.redeem_link(link.secret.reveal(), &VISITOR).await.unwrap()
    }

    pub(crate) async fn reviewer(&self, name: &str) -> SessionInfo {
        self.enrol(name, &["sre"], Role::Reviewer).await.session
    }

    pub(crate) async fn administrator(&self, name: &str) -> SessionInfo {
        self.enrol(name, &[], Role::Administrator).await.session
    }

    pub(crate) async fn add_passkey(&self, session: &SessionInfo) -> (CredentialId, SoftPasskey) {
        let mut passkey = SoftPasskey::new().unwrap();
        let id = self.register(session, &mut passkey, ORIGIN).await.unwrap();
        (id, passkey)
    }

    pub(crate) async fn register(
        &self,
        session: &SessionInfo,
        passkey: &mut SoftPasskey,
        origin: &str,
    ) -> Result<CredentialId, IdentityError> {
        let session = &self.proven(session);
        let options = self.directory.begin_registration(session).unwrap();
        let answer = passkey.register(&options, origin).unwrap();
        self.directory.finish_registration(session, "laptop", answer.to_string().as_bytes()).await
    }

    /// The same session as if its person had just signed in with a passkey.
    pub(crate) fn proven(&self, session: &SessionInfo) -> SessionInfo {
        SessionInfo { assurance: Assurance::Passkey, opened_at: self.journal.now(), ..session.clone() }
    }

    pub(crate) async fn sign_in(
        &self,
        passkey: &mut SoftPasskey,
        origin: &str,
    ) -> Result<SignedIn, IdentityError> {
        let options = self.directory.begin_sign_in().unwrap();
        let answer = passkey.assert(&options, origin).unwrap();
        self.directory.finish_sign_in(answer.to_string().as_bytes(), &VISITOR).await
    }

    /// The entries so far, as an export shows them.
    pub(crate) fn entries(&self) -> Vec<Value> {
        self.store.rows().iter().map(|row| serde_json::from_slice(&row.sealed.bytes).unwrap()).collect()
    }

    /// The types of the entries so far.
    pub(crate) fn types(&self) -> Vec<String> {
        self.entries().iter().map(|entry| entry["type"].as_str().unwrap().to_owned()).collect()
    }
}

/// A journal of its own: after a restart, the unpredictable is different.
pub(crate) fn journal_over(store: Arc<dyn Store>) -> (Journal, Arc<SetClock>) {
    static STARTS: AtomicU64 = AtomicU64::new(0);
    let clock = Arc::new(SetClock(AtomicI64::new(1_800_000_000_000_000)));
    let entropy = Counted(AtomicU64::new(STARTS.fetch_add(1, Ordering::SeqCst) << 32));
    let sealing = Sealing { origin: "log.example".into(), gateway: GatewayId::from_parts(0, 1) };
    (Journal::new(store, Arc::clone(&clock) as _, Arc::new(entropy), sealing), clock)
}

pub(crate) async fn open(journal: &Journal, console: &str, declared: &[&str]) -> Arc<Directory> {
    Directory::open(journal.clone(), groups(declared), Settings::new(console).unwrap()).await.unwrap()
}

pub(crate) fn groups(names: &[&str]) -> BTreeSet<GroupName> {
    names.iter().map(|name| GroupName::new(*name).unwrap()).collect()
}

pub(crate) fn agent_of(owner: PersonId, name: &str) -> NewAgent {
    NewAgent {
        name: name.into(),
        kind: countersign_core::PrincipalKind::Agent,
        owners: [owner].into(),
        groups: groups(&["platform-agents"]),
        clearances: ["fedramp".to_owned()].into(),
    }
}
