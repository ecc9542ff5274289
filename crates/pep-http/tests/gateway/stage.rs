//! A gateway on a stage: everything real but the target's business, the people and the clock.

use crate::{agent::Agent, cloud::Cloud};
use countersign_core::{
    AgentId, ApprovalId, Assurance, CredentialId, Digest, EnvironmentName, GatewayId, GroupName, PersonId,
    PrincipalId, PrincipalKind, Requester, TargetName, Timestamp, statement::Verdict,
};
use countersign_engine::{
    Changed, Gate, Limits, Parts, Who,
    journal::Journal,
    port::{
        clock::{Clock, Entropy},
        identity::{Identity, NotAuthenticated, Presented, Voter},
        store::{FindEntries, Store},
        upstream::{Target, Upstream},
    },
    start::{self, Opening},
    vote::{self, Cast},
};
use countersign_ledger::{LogKeys, Sealing};
use countersign_pep::{Doors, Serving};
use countersign_pep_http::{
    bodies::{Bodies, BodiesSection},
    config::{HttpSection, HttpTarget},
    listen,
    upstream::HttpUpstream,
};
use countersign_policy::{Bundle, DeclaredOperation, DeclaredTarget, Policies, Source, Vocabulary};
use countersign_store::{SqliteOptions, SqliteStore};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::TempDir;

const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("wall") @reason("never in production") forbid (principal, action in Action::"administer", resource);
@id("change") @gate("change") @approvers("Group::\"sre\"") @quorum("1") @expires("30m") @valid_for("10m") @step_up("session")
@reason("rows go away") forbid (principal, action in Action::"delete", resource);
@id("watched") @gate("watched") @approvers("Group::\"sre\"") @quorum("1") @expires("30m") @valid_for("10m") @step_up("session")
@reason("a stream nobody reads") forbid (principal, action in Action::"connect", resource)
when { context has http && context.http has path && context.http.path == "/watched" };
"#;

/// What the target's credential file holds; no client ever sees it.
pub(crate) const SECRET: &str = "planted-upstream-secret";

/// One moment, for ever: nothing here depends on time passing.
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
            chunk.copy_from_slice(&next.to_be_bytes()[..chunk.len()]);
        }
    }
}

pub(crate) fn person(n: u128) -> PersonId {
    PersonId::from_parts(1, n)
}

/// Two agents, `bot` and `other`, and the people 1 to 3 of `sre`.
#[derive(Debug)]
struct People;

fn requester(n: u128, name: &str) -> Requester {
    Requester {
        principal: PrincipalId::Agent(AgentId::from_parts(1, n)),
        kind: PrincipalKind::Agent,
        name: name.into(),
        groups: [GroupName::new("agents").unwrap()].into(),
        clearances: BTreeSet::new(),
        claims: BTreeMap::new(),
        owners: [person(100)].into(),
        created_by: None,
        on_behalf_of: vec![],
        credential: CredentialId::from_parts(1, n),
    }
}

impl Identity for People {
    fn authenticate(&self, presented: Presented<'_>, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        match presented {
            Presented::Bearer("bot") => Ok(requester(1, "bot")),
            Presented::Bearer("other") => Ok(requester(2, "other")),
            Presented::Bearer(_) | Presented::Certificate(_) => Err(NotAuthenticated::Unknown),
            Presented::Nothing => Err(NotAuthenticated::Missing),
        }
    }

    fn requester(&self, credential: CredentialId, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        let agents = [requester(1, "bot"), requester(2, "other")];
        agents.into_iter().find(|agent| agent.credential == credential).ok_or(NotAuthenticated::Unknown)
    }

    fn voter(&self, person: PersonId) -> Option<Voter> {
        self.voters().into_iter().find(|voter| voter.person == person)
    }

    fn voters(&self) -> Vec<Voter> {
        let voter = |n| Voter {
            person: person(n),
            name: format!("person {n}"),
            groups: [GroupName::new("sre").unwrap()].into(),
            attributes: BTreeSet::new(),
            administrator: false,
            stands_in: Vec::new(),
            introductions: vec![],
        };
        (1..4).map(voter).collect()
    }

    fn membership(&self) -> BTreeMap<GroupName, BTreeSet<PersonId>> {
        BTreeMap::new()
    }

    fn person_name(&self, person: PersonId) -> Option<String> {
        Some(person.to_string())
    }
}

/// A target `shop` behind a gateway, and what happened there.
pub(crate) struct Stage {
    pub(crate) gate: Arc<Gate>,
    pub(crate) cloud: Cloud,
    pub(crate) addr: SocketAddr,
    _serving: Serving,
    folder: TempDir,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::with(|_| {}).await
    }

    /// `change` edits the target's section before it is checked.
    pub(crate) async fn with(change: impl FnOnce(&mut Value)) -> Self {
        Self::roomy(change, &BodiesSection::default()).await
    }

    /// The same with other room for bodies.
    pub(crate) async fn roomy(change: impl FnOnce(&mut Value), bodies: &BodiesSection) -> Self {
        let cloud = Cloud::open().await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), SECRET).unwrap();
        let mut section = section(cloud.addr);
        change(&mut section);
        let section: HttpSection = serde_json::from_value(section).unwrap();
        let target = section.check(folder.path()).map_err(|faults| format!("{faults:?}")).unwrap();
        let gate = gate(&folder, &target).await;
        let bodies = Bodies::new(bodies, folder.path().to_owned());
        let mut doors = Doors::default();
        listen(&mut doors, Arc::clone(&gate), vec![target], Arc::new(bodies)).await.unwrap();
        let serving = doors.open();
        let addr = serving.listeners()[0].addr;
        Self { gate, cloud, addr, _serving: serving, folder }
    }

    pub(crate) async fn agent(&self) -> Agent {
        Agent::connect(self.addr).await
    }

    /// One person says yes.
    pub(crate) async fn approve(&self, id: ApprovalId) {
        let ballot = vote::prepare(&self.gate, person(1), id, Verdict::Approve).await.unwrap().unwrap();
        let cast = Cast {
            statement: ballot.statement,
            assurance: Assurance::Session,
            assertion: None,
            reason: None,
            sign_in: countersign_core::SignIn::default(),
        };
        vote::cast(&self.gate, cast).await.unwrap().unwrap();
    }

    /// The approval that is asked for next, or was asked for while `changes` was listening.
    pub(crate) async fn asked(changes: &mut tokio::sync::broadcast::Receiver<Changed>) -> ApprovalId {
        loop {
            if let Changed::Approval { id, state: "pending" } = changes.recv().await.unwrap() {
                return id;
            }
        }
    }

    /// The data of every entry of this type, oldest first.
    pub(crate) async fn entries(&self, kind: &str) -> Vec<Value> {
        let find = FindEntries { kind: Some(kind.into()), limit: 100, ..FindEntries::default() };
        let mut found = self.gate.store().entries(find).await.unwrap();
        found.reverse();
        let data = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["data"].clone();
        found.iter().map(|entry| data(&entry.bytes)).collect()
    }

    /// Waits until there are so many entries of this type.
    pub(crate) async fn until(&self, kind: &str, count: usize) -> Vec<Value> {
        let mut changes = self.gate.changes();
        loop {
            let found = self.entries(kind).await;
            if found.len() >= count {
                return found;
            }
            changes.recv().await.unwrap();
        }
    }

    /// Where everything is kept.
    pub(crate) fn path(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Everything the store wrote, as bytes.
    pub(crate) fn files(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let stored = files.filter(|file| file.is_file() && !file.ends_with("token"));
        stored.flat_map(|file| std::fs::read(file).unwrap()).collect()
    }
}

fn section(upstream: SocketAddr) -> Value {
    serde_json::json!({
        "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": format!("http://{upstream}"),
        "credential": {"profile": "shop-bot", "value_from": "file:token"},
        "body_limit": 4096,
        "operations": [
            {"name": "listOrders", "method": "GET", "path": "/orders", "class": "read"},
            {"name": "export", "method": "GET", "path": "/export", "class": "read"},
            {"name": "makeOrder", "method": "POST", "path": "/orders", "class": "write"},
            {"name": "dropOrder", "method": "DELETE", "path": "/orders/{order}", "class": "delete",
                "sentence": "Delete order {order} of {target}"},
            {"name": "dropMany", "method": "POST", "path": "/orders:drop", "class": "delete",
                "facts": [{"name": "filter", "pointer": "/filter"}], "sentence": "Delete all orders like {filter}"},
            {"name": "findOrders", "method": "POST", "path": "/orders:find", "class": "read",
                "facts": [{"name": "filter", "pointer": "/filter"}]},
            {"name": "makeAdmin", "method": "POST", "path": "/admins", "class": "administer"},
            {"name": "socket", "method": "GET", "path": "/socket", "class": "connect"},
        ],
    })
}

async fn gate(folder: &TempDir, target: &HttpTarget) -> Arc<Gate> {
    const ORIGIN: &str = "stage.example/log";
    let keys = Arc::new(LogKeys::generate(ORIGIN).unwrap());
    let options = SqliteOptions::new(folder.path().join("db"), folder.path().join("mark"), Arc::clone(&keys));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&options).unwrap());
    let gateway = GatewayId::from_parts(1, 1);
    let sealing = Sealing { origin: ORIGIN.into(), gateway };
    let journal = Journal::new(store, Arc::new(Noon), Arc::new(Counting(AtomicU64::new(1))), sealing);
    let around = target.classifier.surroundings();
    let upstream: Arc<dyn Upstream> = Arc::new(HttpUpstream::new(target).unwrap());
    let known = Target {
        name: around.target.clone(),
        environment: around.environment.clone(),
        wire: "http".into(),
        credential_profile: target.credential_profile.clone(),
    };
    let parts = Parts {
        journal,
        policies: Arc::new(Policies::new(bundle(target))),
        identity: Arc::new(People),
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

fn bundle(target: &HttpTarget) -> Bundle {
    let prod = EnvironmentName::new("prod").unwrap();
    let declared = |operation: countersign_pep_http::classify::DeclaredOperation| DeclaredOperation {
        target: operation.target,
        name: operation.name,
        class: operation.class,
        facts: BTreeMap::new(),
    };
    let vocabulary = Vocabulary {
        environments: [prod.clone()].into(),
        targets: [(
            TargetName::new("shop").unwrap(),
            DeclaredTarget { environment: prod, labels: BTreeSet::new() },
        )]
        .into(),
        groups: ["agents", "sre"].map(|name| GroupName::new(name).unwrap()).into(),
        labels: BTreeSet::new(),
        operations: target.classifier.declared().into_iter().map(declared).collect(),
        ..Vocabulary::default()
    };
    Bundle::load(vec![Source::new("stage.cedar", POLICY)], &vocabulary).unwrap()
}
