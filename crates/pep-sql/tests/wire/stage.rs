//! A gateway on a stage, between clients and a cluster of its own.

use countersign_core::{
    AgentId, ApprovalId, Assurance, CredentialId, Digest, EnvironmentName, GatewayId, GroupName, PersonId,
    PrincipalId, PrincipalKind, Requester, TargetName, Timestamp, statement::Verdict,
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
    read::{self, HoldFilter},
    start::{self, Opening},
    vote::{self, Cast},
};
use countersign_ledger::{LogKeys, Sealing};
use countersign_pep::{Doors, Serving};
use countersign_pep_sql::{
    config::{PostgresSection, PostgresTarget},
    listen,
    understand::SqlOperation,
    upstream::PostgresUpstream,
};
use countersign_policy::{Bundle, DeclaredOperation, DeclaredTarget, Policies, Source, Vocabulary};
use countersign_store::{SqliteOptions, SqliteStore};
use countersign_testkit::postgres::{Options, Postgres};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

pub(crate) const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("wall") @reason("never in production") forbid (principal, action in Action::"administer", resource);
@id("delete") @gate("delete") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("session")
@reason("rows go away") forbid (principal, action in Action::"delete", resource);
"#;

/// How long something may take to come, on a busy machine.
pub(crate) const COMES_WITHIN: Duration = Duration::from_mins(2);

/// The role the gateway logs in as, and a password that no client ever sees.
pub(crate) const SECRET: &str = "planted-upstream-secret";

/// What every test finds in the database.
const SCHEMA: &str = "
create role app login password 'planted-upstream-secret';
create database shop owner app;
";
const TABLES: &str = "
set role app;
create table orders (id int primary key, customer text not null, total numeric not null);
insert into orders select n, 'customer ' || n, n * 1.5 from generate_series(1, 100) n;
create table audit (at timestamptz default now(), what text);
create function sneaky() returns int language plpgsql as $$ begin insert into audit (what) values ('sneaked'); return 1; end $$;
";

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

/// The agent `bot`, until its token is revoked, and the people 1 to 3 of `sre`.
#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) revoked: Mutex<bool>,
}

fn bot() -> Requester {
    Requester {
        principal: PrincipalId::Agent(AgentId::from_parts(1, 1)),
        kind: PrincipalKind::Agent,
        name: "bot".into(),
        groups: [GroupName::new("agents").unwrap()].into(),
        clearances: BTreeSet::new(),
        claims: BTreeMap::new(),
        owners: [person(100)].into(),
        created_by: None,
        on_behalf_of: vec![],
        credential: CredentialId::from_parts(1, 1),
    }
}

impl Identity for People {
    fn authenticate(&self, presented: Presented<'_>, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        match presented {
            Presented::Bearer("bot-token") => self.requester(bot().credential, now),
            // A token that says something which rules may look at.
            Presented::Bearer("main-token") => {
                let claims = [("ref".to_owned(), "main".to_owned())].into();
                Ok(Requester { claims, ..self.requester(bot().credential, now)? })
            }
            Presented::Bearer(_) | Presented::Certificate(_) => Err(NotAuthenticated::Unknown),
            Presented::Nothing => Err(NotAuthenticated::Missing),
        }
    }

    fn requester(&self, _: CredentialId, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        if *self.revoked.lock().unwrap() { Err(NotAuthenticated::Revoked) } else { Ok(bot()) }
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

/// A target `shop` behind a gateway, and the cluster it stands for.
pub(crate) struct Stage {
    pub(crate) gate: Arc<Gate>,
    pub(crate) people: Arc<People>,
    pub(crate) cluster: Postgres,
    pub(crate) addr: SocketAddr,
    pub(crate) folder: TempDir,
    /// The target's section, as it was written.
    pub(crate) section: PostgresSection,
    _serving: Serving,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::with(&Options::default(), |_| {}).await
    }

    /// The same under other policies.
    pub(crate) async fn under(policy: &str, change: impl FnOnce(&mut Value)) -> Self {
        Self::made(policy, &Options::default(), change).await
    }

    /// `change` edits the target's section before it is checked.
    pub(crate) async fn with(options: &Options, change: impl FnOnce(&mut Value)) -> Self {
        Self::made(POLICY, options, change).await
    }

    async fn made(policy: &str, options: &Options, change: impl FnOnce(&mut Value)) -> Self {
        let cluster = Postgres::start(options).await.unwrap();
        for part in SCHEMA.trim().lines() {
            cluster.run("postgres", part).unwrap();
        }
        cluster.run("shop", TABLES).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let mut section = serde_json::json!({
            "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "databases": ["shop"],
            "upstream": format!("127.0.0.1:{}", cluster.port()),
            "credential": {"profile": "shop-app", "user": "app", "value_from": "file:secret"},
            "limits": {"connect": "60s", "login": "60s"},
        });
        change(&mut section);
        let section: PostgresSection = serde_json::from_value(section).unwrap();
        let target = section.clone().check(folder.path()).map_err(|faults| format!("{faults:?}")).unwrap();
        let people = Arc::new(People::default());
        let gate = gate(&folder, &target, &people, policy).await;
        let mut doors = Doors::default();
        listen(&mut doors, Arc::clone(&gate), vec![target]).await.unwrap();
        let serving = doors.open();
        let addr = serving.listeners()[0].addr;
        Self { gate, people, cluster, addr, folder, section, _serving: serving }
    }

    /// `psql` as the agent, through the gateway.
    pub(crate) fn psql(&self) -> Command {
        let mut command = self.cluster.program("psql");
        command.env("PGPASSWORD", "bot-token").env("PGCONNECT_TIMEOUT", "120");
        let port = self.addr.port().to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "bot", "-d", "shop", "-X", "-A", "-t"]);
        command.args(["-v", "VERBOSITY=verbose"]);
        command
    }

    /// Runs SQL through the gateway with `psql`, to its end.
    pub(crate) async fn run(&self, sql: &str) -> Said {
        let mut command = self.psql();
        command.args(["-c", sql]);
        finished(command).await
    }

    /// The same in a task of its own.
    pub(crate) fn start(&self, sql: &str) -> tokio::task::JoinHandle<Said> {
        let mut command = self.psql();
        command.args(["-c", sql]);
        tokio::spawn(finished(command))
    }

    /// What the cluster says when it is asked directly.
    pub(crate) fn direct(&self, sql: &str) -> String {
        self.cluster.run("shop", sql).unwrap()
    }

    /// Waits until something is held that was not before.
    pub(crate) async fn held(&self) -> ApprovalId {
        self.in_state("pending", 1).await[0]
    }

    pub(crate) async fn in_state(&self, state: &str, count: usize) -> Vec<ApprovalId> {
        let mut changes = self.gate.changes();
        let found = async {
            loop {
                let filter = HoldFilter { limit: 100, ..Default::default() };
                let holds = read::holds(&self.gate, filter).await.unwrap();
                let ids: Vec<_> = holds
                    .iter()
                    .filter(|hold| hold.approval.state.as_str() == state)
                    .map(|hold| hold.approval.id)
                    .collect();
                if ids.len() >= count {
                    return ids;
                }
                let _ = tokio::time::timeout(Duration::from_millis(200), changes.recv()).await;
            }
        };
        let found = tokio::time::timeout(COMES_WITHIN, found).await;
        found.unwrap_or_else(|_| panic!("never {count} {state}"))
    }

    pub(crate) async fn approve(&self, n: u128, id: ApprovalId) {
        let ballot = vote::prepare(&self.gate, person(n), id, Verdict::Approve).await.unwrap().unwrap();
        let assurance = Assurance::Session;
        let cast = Cast {
            statement: ballot.statement,
            assurance,
            assertion: None,
            reason: None,
            sign_in: countersign_core::SignIn::default(),
        };
        vote::cast(&self.gate, cast).await.unwrap().unwrap();
    }

    pub(crate) async fn reject(&self, n: u128, id: ApprovalId, why: &str) {
        let ballot = vote::prepare(&self.gate, person(n), id, Verdict::Reject).await.unwrap().unwrap();
        let (assurance, reason) = (Assurance::Session, Some(why.to_owned()));
        let cast = Cast {
            statement: ballot.statement,
            assurance,
            assertion: None,
            reason,
            sign_in: countersign_core::SignIn::default(),
        };
        vote::cast(&self.gate, cast).await.unwrap().unwrap();
    }

    /// How the first executions ended, in the server's words; waits until there are so many.
    pub(crate) async fn results(&self, count: usize) -> Vec<String> {
        let found = self.entries_from("execution.result", count).await;
        found.iter().map(|data| data["status"].as_str().unwrap().to_owned()).collect()
    }

    /// [`Self::entries`], once there are so many.
    pub(crate) async fn entries_from(&self, kind: &str, count: usize) -> Vec<Value> {
        let found = async {
            loop {
                let found = self.entries(kind).await;
                if found.len() >= count {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(COMES_WITHIN, found).await.unwrap()
    }

    /// The data of every entry of this type, oldest first.
    pub(crate) async fn entries(&self, kind: &str) -> Vec<Value> {
        let find = FindEntries { kind: Some(kind.into()), limit: 1000, ..FindEntries::default() };
        let mut found = self.gate.store().entries(find).await.unwrap();
        found.reverse();
        let data = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap()["data"].clone();
        found.iter().map(|entry| data(&entry.bytes)).collect()
    }
}

/// What a client printed.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) fine: bool,
}

pub(crate) async fn finished(mut command: Command) -> Said {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    Said { out: text(stdout), err: text(stderr), fine: status.success() }
}

async fn gate(folder: &TempDir, target: &PostgresTarget, people: &Arc<People>, policy: &str) -> Arc<Gate> {
    const ORIGIN: &str = "stage.example/log";
    let keys = Arc::new(LogKeys::generate(ORIGIN).unwrap());
    let options = SqliteOptions::new(folder.path().join("db"), folder.path().join("mark"), Arc::clone(&keys));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&options).unwrap());
    let gateway = GatewayId::from_parts(1, 1);
    let sealing = Sealing { origin: ORIGIN.into(), gateway };
    let journal = Journal::new(store, Arc::new(Noon), Arc::new(Counting(AtomicU64::new(1))), sealing);
    let known = Target {
        name: target.name().clone(),
        environment: target.sql.environment.clone(),
        wire: "postgres".into(),
        credential_profile: target.credential_profile.clone(),
    };
    let upstream: Arc<dyn Upstream> = Arc::new(PostgresUpstream);
    let parts = Parts {
        journal,
        policies: Arc::new(Policies::new(bundle(policy))),
        identity: Arc::clone(people) as Arc<dyn Identity>,
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

fn bundle(policy: &str) -> Bundle {
    let prod = EnvironmentName::new("prod").unwrap();
    let shop = TargetName::new("shop").unwrap();
    let declared = |operation: SqlOperation| DeclaredOperation {
        target: shop.clone(),
        name: operation.as_str().into(),
        class: operation.class(),
        facts: BTreeMap::new(),
    };
    let vocabulary = Vocabulary {
        environments: [prod.clone()].into(),
        targets: [(shop.clone(), DeclaredTarget { environment: prod, labels: BTreeSet::new() })].into(),
        groups: ["agents", "sre"].map(|name| GroupName::new(name).unwrap()).into(),
        labels: BTreeSet::new(),
        operations: SqlOperation::ALL.into_iter().map(declared).collect(),
        ..Vocabulary::default()
    };
    match Bundle::load(vec![Source::new("stage.cedar", policy)], &vocabulary) {
        Ok(bundle) => bundle,
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
