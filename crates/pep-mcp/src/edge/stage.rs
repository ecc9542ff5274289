//! A door on a stage, for the guards that stand between two steps of one exchange: everything real but the people, the clock
//! and the server, which takes in what it is told.

use super::{Door, Entrance};
use crate::{
    asks::{Asks, Offer, Passes, ServerRequestsSection},
    config::McpSection,
    legs::States,
    session::{Session, Sessions, tests::requester},
    tasks::Tasks,
    tools::Book,
    upstream::{McpUpstream, Peer},
};
use countersign_core::{
    CredentialId, Digest, EnvironmentName, GatewayId, GroupName, PersonId, Requester, Timestamp,
};
use countersign_engine::{
    Gate, Limits, Parts, Who,
    journal::Journal,
    port::{
        clock::{Clock, Entropy},
        identity::{Identity, NotAuthenticated, Presented, Voter},
        store::{FindEntries, Store},
        upstream::{Target, Upstream},
    },
    start::{self, Opening},
};
use countersign_ledger::{LogKeys, Sealing};
use countersign_policy::{Bundle, DeclaredTarget, Policies, Source, Vocabulary};
use countersign_store::{SqliteOptions, SqliteStore};
use serde_json::{Value, json, value::RawValue};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

const POLICY: &str = r#"@id("all") permit (principal, action, resource);"#;

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp(1_795_226_400_000_000)
    }
}

/// Numbers that never repeat; nothing here depends on their being secret.
#[derive(Debug)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let next = self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (to, from) in chunk.iter_mut().zip(next.to_be_bytes()) {
                *to = from;
            }
        }
    }
}

/// One agent, and nobody who decides.
#[derive(Debug)]
struct Nobody;

impl Identity for Nobody {
    fn authenticate(&self, _: Presented<'_>, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        Ok(requester(1))
    }

    fn requester(&self, _: CredentialId, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        Ok(requester(1))
    }

    fn voter(&self, _: PersonId) -> Option<Voter> {
        None
    }

    fn voters(&self) -> Vec<Voter> {
        Vec::new()
    }

    fn membership(&self) -> BTreeMap<GroupName, BTreeSet<PersonId>> {
        BTreeMap::new()
    }

    fn person_name(&self, _: PersonId) -> Option<String> {
        None
    }
}

/// A target `shop` with its server.
pub(crate) struct Stage {
    pub(crate) door: Arc<Door>,
    pub(crate) server: TcpListener,
    _folder: TempDir,
}

impl Stage {
    pub(crate) async fn open() -> Self {
        let (server, folder) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TempDir::new().unwrap());
        let upstream = server.local_addr().unwrap();
        let door = Arc::new(door(upstream, &folder).await);
        Self { door, server, _folder: folder }
    }

    /// A session of the earlier era whose agent takes forms.
    pub(crate) fn session() -> Arc<Session> {
        let mut session = Session::new(&requester(1), "2025-11-25", Peer::default());
        let rules = ServerRequestsSection { elicitation: Passes::Pass, ..ServerRequestsSection::default() };
        let declared = RawValue::from_string(r#"{"elicitation":{}}"#.into()).unwrap();
        session.asks = Asks::new("ask".into(), "shop".into(), Offer::new(Some(&declared), rules));
        Arc::new(session)
    }

    /// The data of every entry of this type, oldest first.
    pub(crate) async fn entries(&self, kind: &str) -> Vec<Value> {
        let find = FindEntries { kind: Some(kind.into()), limit: 100, ..FindEntries::default() };
        let mut found = self.door.gate.store().entries(find).await.unwrap();
        found.reverse();
        let data = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["data"].clone();
        found.iter().map(|entry| data(&entry.bytes)).collect()
    }
}

/// What comes on a connection, up to this, or to its end.
pub(crate) async fn told(mut connection: TcpStream, up_to: &str) -> String {
    let (mut told, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut piece).await.unwrap();
        told.extend_from_slice(piece.get(..read).unwrap());
        let text = String::from_utf8_lossy(&told).into_owned();
        if read == 0 || text.contains(up_to) {
            return text;
        }
    }
}

async fn door(upstream: SocketAddr, folder: &TempDir) -> Door {
    let section = json!({
        "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": format!("http://{upstream}/mcp"),
        "protocol": "earlier",
    });
    let target = serde_json::from_value::<McpSection>(section).unwrap().check(Path::new(".")).unwrap();
    let around = target.surroundings();
    let known = Target {
        name: around.target.clone(),
        environment: around.environment.clone(),
        wire: "mcp".into(),
        credential_profile: "none".into(),
    };
    let (name, upstream) = (around.target.clone(), Arc::new(McpUpstream::new(&target)));
    let gate = gate(folder, known, upstream).await;
    let book = Arc::new(Book::new(Arc::clone(&gate), name.clone(), target.unreviewed));
    let entrance = Entrance { gate: Arc::clone(&gate), front: target.front(), target: Some(name) };
    let (states, stopping) = (Arc::new(States::new(&[7; 32])), CancellationToken::new());
    let (sessions, tasks) = (Sessions::default(), Tasks::default());
    Door { gate, entrance, target, book, sessions, states, tasks, stopping }
}

async fn gate(folder: &TempDir, known: Target, upstream: Arc<dyn Upstream>) -> Arc<Gate> {
    const ORIGIN: &str = "stage.example/log";
    let keys = Arc::new(LogKeys::generate(ORIGIN).unwrap());
    let options = SqliteOptions::new(folder.path().join("db"), folder.path().join("mark"), Arc::clone(&keys));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&options).unwrap());
    let gateway = GatewayId::from_parts(1, 1);
    let sealing = Sealing { origin: ORIGIN.into(), gateway };
    let journal = Journal::new(store, Arc::new(Noon), Arc::new(Counting(AtomicU64::new(1))), sealing);
    let prod = EnvironmentName::new("prod").unwrap();
    let declared = DeclaredTarget { environment: prod.clone(), labels: BTreeSet::new() };
    let vocabulary = Vocabulary {
        environments: [prod].into(),
        targets: [(known.name.clone(), declared)].into(),
        mcp: [known.name.clone()].into(),
        ..Vocabulary::default()
    };
    let bundle = Bundle::load(vec![Source::new("stage.cedar", POLICY)], &vocabulary).unwrap();
    let parts = Parts {
        journal,
        policies: Arc::new(Policies::new(bundle)),
        identity: Arc::new(Nobody),
        targets: vec![(known, upstream)],
        channels: countersign_engine::outbox::Channels::default(),
        tickets: countersign_engine::preapproval::Systems::default(),
        limits: Limits::default(),
        who: Who { id: gateway, epoch: 1, console_url: "https://sign.example".into() },
        attach_secret: [7; 32],
    };
    let opening = Opening {
        version: "test".into(),
        configuration: Digest([0; 32]),
        log_opened: keys.opened().unwrap(),
        policy_changed_by: BTreeSet::new(),
    };
    start::open(parts, opening).await.unwrap()
}
