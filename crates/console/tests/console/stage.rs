//! A gateway with its console on a stage: everything real but the target and the clock.
//! Long because it plays the target, the agent, the people and the channel that come to its doors.

use async_trait::async_trait;
use axum::{Router, body::Body};
use bytes::Bytes;
use countersign_console::{
    Console, Delivery, Devices, Keys, NotSigned, NotTold, Signed, Signers, Ways, operator_router, router,
};
use countersign_core::{
    Action, Body as Payload, ChannelName, Class, Digest, GatewayId, GroupName, Operation, PersonId, Resource,
    TargetName, Timestamp,
};
use countersign_engine::{
    Gate, Limits, Parts, Reply, Request as Asked, Who,
    execute::{Clearance, Ending},
    flow,
    journal::Journal,
    port::{
        clock::{Clock, Entropy},
        identity::{Identity, Presented},
        push::Subscription,
        store::{FindEntries, Store},
        upstream::{BindError, Exchange, Failed, Kept, Sent, StoredExchange, Target, Upstream},
    },
    start::{self, Opening},
};
use countersign_identity::{Directory, EmailAddress, Issuer, Settings};
use countersign_ledger::{LogKeys, Sealing};
use countersign_policy::{Bundle, DeclaredTarget, Policies, Source, Vocabulary};
use countersign_store::{SqliteOptions, SqliteStore};
use countersign_testkit::passkey::SoftPasskey;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tower::ServiceExt as _;

pub(crate) const ORIGIN: &str = "http://localhost:7100";
pub(crate) const HOST: &str = "localhost:7100";

pub(crate) const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("wall") @reason("never in production") forbid (principal, action in Action::"administer", resource);
@id("data") @gate("data") @approvers("Group::\"privacy\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("passkey")
@reason("data leaves the system") forbid (principal, action in Action::"export", resource);
@id("change") @gate("change") @approvers("Group::\"sre\"") @quorum("1") @expires("30m") @valid_for("10m") @step_up("session")
@reason("production changes") forbid (principal, action in Action::"configure", resource);
@id("fresh") @gate("fresh") @approvers("Group::\"sre\"") @fresh("5m") @reason("only by who was here just now")
forbid (principal, action in Action::"connect", resource);
@id("gone") @gate("gone") @approvers("Group::\"privacy\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("passkey")
@break_glass("Group::\"sre\"") @reason("what is deleted is gone") forbid (principal, action in Action::"delete", resource);
"#;

/// 2026-11-21T02:00:00Z.
const START: i64 = 1_795_226_400_000_000;

#[derive(Debug)]
pub(crate) struct StageClock(AtomicI64);

impl Clock for StageClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

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

/// The target: counts what took effect.
#[derive(Debug, Default)]
struct Cloud(AtomicUsize);

#[derive(Debug)]
struct Way(Arc<Cloud>);

struct Stored(Arc<Cloud>);

struct Live(Bytes);

#[async_trait]
impl Upstream for Way {
    async fn connect(&self, _: &Action) -> Result<Box<dyn StoredExchange>, Failed> {
        Ok(Box::new(Stored(Arc::clone(&self.0))))
    }
}

#[async_trait]
impl StoredExchange for Stored {
    async fn run(self: Box<Self>, clearance: Clearance, _: u64) -> Result<Kept, Failed> {
        self.0.0.fetch_add(1, Ordering::SeqCst);
        if matches!(&clearance.payload().body, Payload::Bound(body) if body.starts_with(b"lose sight")) {
            return Err(Failed { sent: Sent::Maybe, why: "connection reset".into() });
        }
        let body = Some(b"done".to_vec());
        Ok(Kept { status: "200".into(), head: vec![], body, bytes_sent: 1, bytes_received: 4 })
    }
}

#[async_trait]
impl Exchange for Live {
    type Reply = ();

    async fn bind(&mut self) -> Result<Bytes, BindError> {
        Ok(self.0.clone())
    }

    async fn connect(&mut self) -> Result<(), Failed> {
        Err(Failed { sent: Sent::No, why: "nothing runs live here".into() })
    }

    async fn send(self, _: Clearance, ending: Ending) -> Result<(), Failed> {
        let failed = Failed { sent: Sent::No, why: "nothing runs live here".into() };
        ending.failed(&failed).await.unwrap();
        Err(failed)
    }
}

/// The channel whose users may decide.
pub(crate) fn team() -> ChannelName {
    ChannelName::new("team").unwrap()
}

/// Believes what was sealed just now with the one secret of this stage.
#[derive(Debug)]
struct Sealed;

impl Signed for Sealed {
    fn check(&self, delivery: &Delivery<'_>, now: u64) -> Result<(), NotSigned> {
        let seconds: u64 = delivery.timestamp.parse().map_err(|_| NotSigned::Time)?;
        if delivery.signatures != seal(delivery.id, delivery.timestamp, delivery.body) {
            return Err(NotSigned::Wrong);
        }
        if now.abs_diff(seconds) > 300 { Err(NotSigned::Time) } else { Ok(()) }
    }
}

/// The gateway's key for push services.
pub(crate) const PUSH_KEY: &str = "stage-key";

/// Speaks to one push service, which takes what is for the devices whose address does not end in `full`.
#[derive(Debug)]
struct Pushed;

#[async_trait]
impl Devices for Pushed {
    fn key(&self) -> &str {
        PUSH_KEY
    }

    fn check(&self, endpoint: &str, _: &str, _: &str) -> Result<(), String> {
        let known = endpoint.starts_with("https://push.example/");
        if known { Ok(()) } else { Err("its push service is not one that this gateway speaks to".into()) }
    }

    async fn test(&self, device: &Subscription) -> Result<(), NotTold> {
        let full = device.endpoint.ends_with("full");
        if full { Err(NotTold::Failed("its push service answered 507".into())) } else { Ok(()) }
    }
}

pub(crate) fn seal(id: &str, timestamp: &str, body: &[u8]) -> String {
    Digest::of_parts("stage", &[id.as_bytes(), timestamp.as_bytes(), body]).hex()
}

pub(crate) struct Stage {
    pub(crate) gate: Arc<Gate>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) clock: Arc<StageClock>,
    pub(crate) keys: Arc<LogKeys>,
    cloud: Arc<Cloud>,
    app: Router,
    operator: Router,
    /// The agent's token.
    pub(crate) token: String,
    pub(crate) agent: String,
    /// The owner of the agent, an administrator and in every reviewing group.
    pub(crate) olga: Browser,
    _timers: tokio::task::JoinSet<()>,
    folder: TempDir,
}

/// Somebody at the console.
pub(crate) struct Browser {
    pub(crate) id: String,
    pub(crate) cookie: String,
    pub(crate) csrf: String,
    pub(crate) passkey: Option<SoftPasskey>,
}

impl Browser {
    /// The same session in another hand.
    pub(crate) fn again(&self) -> Self {
        let Self { id, cookie, csrf, .. } = self;
        Self { id: id.clone(), cookie: cookie.clone(), csrf: csrf.clone(), passkey: None }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value of a success.
    pub(crate) fn ok(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{} {}", self.status, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        (self.status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::trusting(Vec::new()).await
    }

    /// With issuers whose tokens are believed.
    pub(crate) async fn trusting(issuers: Vec<Issuer>) -> Self {
        Self::with(|settings| settings.issuers = issuers).await
    }

    /// With more in its configuration.
    pub(crate) async fn with(configure: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        std::fs::create_dir_all(path("keys")).unwrap();
        let keys = Arc::new(LogKeys::open(&path("keys"), "stage.example").unwrap());
        let store = Arc::new(
            SqliteStore::open(&SqliteOptions::new(path("db"), path("mark"), Arc::clone(&keys))).unwrap(),
        );
        let clock = Arc::new(StageClock(AtomicI64::new(START)));
        let id = GatewayId::from_parts(1, 1);
        let who = Who { id, epoch: store.epoch(), console_url: ORIGIN.into() };
        let journal = Journal::new(
            Arc::clone(&store) as Arc<dyn Store>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(Counted(AtomicU64::new(0))),
            Sealing { origin: "stage.example".into(), gateway: id },
        );
        let mut settings = Settings::new(ORIGIN).unwrap();
        configure(&mut settings);
        settings.administrators = [EmailAddress::new("root@example.com").unwrap()].into();
        let sre = GroupName::new("sre").unwrap();
        settings.scim_groups = [("Site Reliability".to_owned(), sre)].into();
        let directory = Directory::open(journal.clone(), groups(), settings).await.unwrap();
        let cloud = Arc::new(Cloud::default());
        let target = Target {
            name: TargetName::new("cloud").unwrap(),
            environment: "prod".parse().unwrap(),
            wire: "http".into(),
            credential_profile: "cloud-admin".into(),
        };
        let parts = Parts {
            journal,
            policies: Arc::new(Policies::new(bundle(POLICY))),
            identity: Arc::clone(&directory) as Arc<dyn Identity>,
            targets: vec![(target, Arc::new(Way(Arc::clone(&cloud))))],
            channels: countersign_engine::outbox::Channels::default(),
            tickets: countersign_engine::preapproval::Systems::default(),
            limits: Limits::default(),
            who,
            attach_secret: [7; 32],
        };
        let opening = Opening {
            version: "test".into(),
            configuration: Digest::of(b"test"),
            log_opened: keys.opened().unwrap(),
            policy_changed_by: BTreeSet::new(),
        };
        let gate = start::open(parts, opening).await.unwrap();
        start::resume(&gate).await.unwrap();
        let mut timers = tokio::task::JoinSet::new();
        timers.spawn(countersign_engine::timers::run(Arc::clone(&gate)));
        let shown = Keys {
            origin: "stage.example".into(),
            log_key: keys.log().verifier().to_string(),
            gateway_key: keys.gateway().verifier().to_string(),
        };
        let signers: Signers = [(team(), Arc::new(Sealed) as Arc<dyn Signed>)].into();
        let ways = Ways { signers, devices: Some(Arc::new(Pushed)), ..Ways::default() };
        let console = Console::with_ways(Arc::clone(&gate), directory, shown, ways);
        let (app, operator) = (router(console.clone()), operator_router(console));
        let nobody = Browser { id: String::new(), cookie: String::new(), csrf: String::new(), passkey: None };
        let (token, agent) = (String::new(), String::new());
        let mut stage = Self {
            gate,
            store,
            clock,
            keys,
            cloud,
            app,
            operator,
            token,
            agent,
            olga: nobody,
            _timers: timers,
            folder,
        };
        stage.olga = stage.person("Olga", &["privacy", "sre"], "administrator").await;
        let made = json!({"name": "night-agent", "kind": "agent", "owner": "olga@example.com", "groups": ["agents"]});
        let made = stage.operator("POST", "/api/v1/agents", Some(made)).await.ok();
        made["id"].as_str().unwrap().clone_into(&mut stage.agent);
        let path = format!("/api/v1/agents/{}/tokens", stage.agent);
        let made =
            stage.operator("POST", &path, Some(json!({"label": "laptop", "expires_in": "30d"}))).await.ok();
        made["token"].as_str().unwrap().clone_into(&mut stage.token);
        stage
    }

    /// Somebody invited by the operator who has opened their link.
    pub(crate) async fn person(&self, name: &str, groups: &[&str], role: &str) -> Browser {
        let email = format!("{}@example.com", name.to_lowercase());
        let who = json!({"name": name, "email": email, "groups": groups, "role": role});
        let invited = self.operator("POST", "/api/v1/people", Some(who)).await.ok();
        self.open_link(invited["link"].as_str().unwrap()).await
    }

    pub(crate) async fn open_link(&self, link: &str) -> Browser {
        let token = link.split_once('#').unwrap().1;
        let answer = self.call(request("POST", "/api/v1/session/link", Some(json!({"token": token})))).await;
        let cookie =
            answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let session = answer.ok();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Browser { id: text(&session["person"]["id"]), cookie, csrf: text(&session["csrf"]), passkey: None }
    }

    /// The same with a passkey.
    pub(crate) async fn reviewer(&self, name: &str, groups: &[&str]) -> Browser {
        let mut browser = self.person(name, groups, "reviewer").await;
        self.register(&mut browser).await;
        browser
    }

    pub(crate) async fn register(&self, browser: &mut Browser) {
        let mut passkey = SoftPasskey::new().unwrap();
        let options = self.as_person(browser, "POST", "/api/v1/passkeys/options", Some(json!({}))).await.ok();
        let response = passkey.register(&options["publicKey"], ORIGIN).unwrap();
        let made = json!({"name": "laptop", "response": response});
        self.as_person(browser, "POST", "/api/v1/passkeys", Some(made)).await.ok();
        browser.passkey = Some(passkey);
    }

    /// Signs in with the passkey, as whoever has one does every day.
    pub(crate) async fn sign_in(&self, browser: &mut Browser) {
        let begin = request("POST", "/api/v1/session/passkey/options", Some(json!({})));
        let options = self.call(begin).await.ok();
        let response = browser.passkey.as_mut().unwrap().assert(&options["publicKey"], ORIGIN).unwrap();
        let finish = request("POST", "/api/v1/session/passkey", Some(json!({"response": response})));
        let answer = self.call(finish).await;
        let cookie =
            answer.headers[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let session = answer.ok();
        browser.cookie = cookie;
        session["csrf"].as_str().unwrap().clone_into(&mut browser.csrf);
    }

    /// What the channel `team` delivers, signed.
    pub(crate) async fn deliver(&self, id: &str, event: &Value) -> Answer {
        let timestamp = (self.gate.now().unix_ms() / 1000).to_string();
        let body = event.to_string();
        let seal = seal(id, &timestamp, body.as_bytes());
        self.delivered("team", (id, &timestamp, &seal), body).await
    }

    /// What somebody delivers, whoever they are. No cookie, no origin.
    pub(crate) async fn delivered(
        &self,
        channel: &str,
        (id, timestamp, signatures): (&str, &str, &str),
        body: String,
    ) -> Answer {
        let asked = Request::builder()
            .method("POST")
            .uri(format!("/api/v1/channels/{channel}/events"))
            .header(header::HOST, HOST)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signatures);
        self.call(asked.body(Body::from(body)).unwrap()).await
    }

    /// A user of the channel is bound to somebody, as both would do it.
    pub(crate) async fn bind(&self, who: &mut Browser, user: &str) -> String {
        if who.passkey.is_some() {
            self.sign_in(who).await;
        }
        let link = json!({"type": "bind", "user": user, "user_name": "somebody"});
        let answer = self.deliver(&format!("bind-{user}"), &link).await.ok();
        let code = answer["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
        let bound = self.as_person(who, "POST", "/api/v1/bindings", Some(json!({"code": code}))).await.ok();
        bound["id"].as_str().unwrap().to_owned()
    }

    /// What a message about an approval carries that shows all of it.
    pub(crate) async fn shown(&self, id: &str) -> String {
        let hold = countersign_engine::read::hold(&self.gate, id.parse().unwrap()).await.unwrap().unwrap();
        countersign_engine::inward::token(&self.gate, &team(), &hold, countersign_engine::inward::Seen::Whole)
    }

    pub(crate) async fn call(&self, request: Request<Body>) -> Answer {
        whole(self.app.clone().oneshot(request).await.unwrap()).await
    }

    /// The answer's body as it arrives.
    pub(crate) async fn stream(&self, request: Request<Body>) -> Response<Body> {
        self.app.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn operator(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut asked = request(method, path, body);
        asked.headers_mut().remove(header::ORIGIN);
        asked.headers_mut().remove(header::HOST);
        whole(self.operator.clone().oneshot(asked).await.unwrap()).await
    }

    pub(crate) async fn as_person(
        &self,
        who: &Browser,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        self.call(signed(who, method, path, body)).await
    }

    pub(crate) async fn page(&self, who: &Browser, path: &str) -> Answer {
        let mut asked = signed(who, "GET", path, None);
        asked.headers_mut().insert(header::ACCEPT, "text/html".parse().unwrap());
        self.call(asked).await
    }

    /// Votes to approve: with the passkey if there is one.
    pub(crate) async fn approve(&self, who: &mut Browser, id: &str) -> Answer {
        let path = format!("/api/v1/approvals/{id}");
        let asked = json!({"decision": "approve"});
        let ballot = self.as_person(who, "POST", &format!("{path}/ballot"), Some(asked)).await;
        if !ballot.status.is_success() {
            return ballot;
        }
        let ballot = ballot.json();
        let assertion =
            who.passkey.as_mut().map(|passkey| passkey.assert(&ballot["publicKey"], ORIGIN).unwrap());
        let vote = json!({"statement": ballot["statement"], "assertion": assertion, "reason": null});
        self.as_person(who, "POST", &format!("{path}/votes"), Some(vote)).await
    }

    /// The agent asks for something that policy holds; the id of its approval.
    pub(crate) async fn hold(&self, class: Class, body: &[u8]) -> String {
        self.hold_as(class, body, &format!("{} thing x of cloud (prod).", class.as_str()), Some("because"))
            .await
    }

    /// The agent asks again for what was decided: whether it has run by then, or still waits, is nobody's to say.
    pub(crate) async fn claim(&self, class: Class, body: &[u8]) {
        let sentence = format!("{} thing x of cloud (prod).", class.as_str());
        match self.ask(class, body, &sentence, Some("because")).await {
            Reply::Pending(_) | Reply::Kept(_) => {}
            other @ (Reply::Live(()) | Reply::Refused(_)) => panic!("neither held nor kept: {other:?}"),
        }
    }

    pub(crate) async fn hold_as(
        &self,
        class: Class,
        body: &[u8],
        sentence: &str,
        reason: Option<&str>,
    ) -> String {
        match self.ask(class, body, sentence, reason).await {
            Reply::Pending(ticket) => ticket.approval.to_string(),
            other @ (Reply::Live(()) | Reply::Kept(_) | Reply::Refused(_)) => panic!("not held: {other:?}"),
        }
    }

    pub(crate) async fn ask(
        &self,
        class: Class,
        body: &[u8],
        sentence: &str,
        reason: Option<&str>,
    ) -> Reply<()> {
        self.ask_with(&self.token, class, body, (sentence, reason)).await
    }

    /// What the holder of this token asks for and policy holds.
    pub(crate) async fn hold_with(&self, token: &str, class: Class, body: &[u8]) -> String {
        let sentence = format!("{} thing x of cloud (prod).", class.as_str());
        match self.ask_with(token, class, body, (&sentence, None)).await {
            Reply::Pending(ticket) => ticket.approval.to_string(),
            other @ (Reply::Live(()) | Reply::Kept(_) | Reply::Refused(_)) => panic!("not held: {other:?}"),
        }
    }

    async fn ask_with(
        &self,
        token: &str,
        class: Class,
        body: &[u8],
        (sentence, reason): (&str, Option<&str>),
    ) -> Reply<()> {
        let requester = self.gate.authenticate(Presented::Bearer(token)).await.unwrap();
        let facts = json!({"method": "POST", "path": "/x", "query": "", "member": sentence});
        let asked = Asked {
            requester,
            target: TargetName::new("cloud").unwrap(),
            operation: Operation { name: None, class },
            resources: vec![Resource {
                kind: "thing".into(),
                name: sentence.into(),
                labels: BTreeSet::new(),
            }],
            facts: serde_json::from_value(facts).unwrap(),
            session: BTreeMap::new(),
            payload: countersign_core::Payload {
                head: Bytes::from_static(b"countersign-http/1\n4:POST\n2:/x\n0:\n6:accept\n3:*/*\n"),
                body: Payload::Unbound,
            },
            idempotency_key: None,
            sentence: sentence.into(),
            claimed_reason: reason.map(ToOwned::to_owned),
            claimed_ticket: None,
            patience: Duration::ZERO,
        };
        flow::handle(&self.gate, asked, Live(Bytes::copy_from_slice(body))).await.unwrap()
    }

    /// Puts other policies in force.
    pub(crate) async fn put_in_force(&self, text: &str) {
        self.put_in_force_by(text, BTreeSet::new()).await;
    }

    /// The same, changed by these people.
    pub(crate) async fn put_in_force_by(&self, text: &str, authors: BTreeSet<PersonId>) {
        start::put_in_force(&self.gate, bundle(text), authors).await.unwrap();
    }

    /// One person lifts everything alone: a ballot, the passkey if there is one, and the reason.
    pub(crate) async fn break_glass(&self, who: &mut Browser, id: &str, why: &str) -> Answer {
        let path = format!("/api/v1/approvals/{id}");
        let asked = json!({"decision": "break-glass"});
        let ballot = self.as_person(who, "POST", &format!("{path}/ballot"), Some(asked)).await;
        if !ballot.status.is_success() {
            return ballot;
        }
        let ballot = ballot.json();
        let assertion =
            who.passkey.as_mut().map(|passkey| passkey.assert(&ballot["publicKey"], ORIGIN).unwrap());
        let vote = json!({"statement": ballot["statement"], "assertion": assertion, "reason": why});
        self.as_person(who, "POST", &format!("{path}/votes"), Some(vote)).await
    }

    /// How often the target was really acted on.
    pub(crate) fn effects(&self) -> usize {
        self.cloud.0.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, span: Duration) {
        self.clock.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) async fn state(&self, id: &str) -> String {
        let seen = self.operator("GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
        seen["state"].as_str().unwrap().to_owned()
    }

    /// Waits until the approval is in this state; fails when it never gets there.
    pub(crate) async fn until(&self, id: &str, state: &str) {
        let mut changes = self.gate.changes();
        let reached = async {
            while self.state(id).await != state {
                let _ = tokio::time::timeout(Duration::from_millis(200), changes.recv()).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_mins(2), reached).await.is_ok();
        assert!(in_time, "{id} is {} and not {state}", self.state(id).await);
    }

    /// Whether these bytes stand anywhere in what the store wrote.
    pub(crate) fn holds_on_disk(&self, text: &str) -> bool {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|file| file.unwrap().path());
        let found = |bytes: Vec<u8>| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        files.filter(|file| file.is_file()).any(|file| found(std::fs::read(file).unwrap()))
    }

    /// The types of all entries, oldest first.
    pub(crate) async fn types(&self) -> Vec<String> {
        let find = FindEntries { limit: 10_000, ..FindEntries::default() };
        let entries = self.store.entries(find).await.unwrap();
        let kind = |bytes: &Bytes| {
            serde_json::from_slice::<Value>(bytes).unwrap()["type"].as_str().unwrap().to_owned()
        };
        entries.iter().rev().map(|entry| kind(&entry.bytes)).collect()
    }

    pub(crate) async fn count(&self, kind: &str) -> usize {
        self.types().await.iter().filter(|found| *found == kind).count()
    }
}

pub(crate) fn request(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let method: Method = method.parse().unwrap();
    let mut asked = Request::builder().method(&method).uri(path).header(header::HOST, HOST);
    if method != Method::GET {
        asked = asked.header(header::ORIGIN, ORIGIN);
    }
    match body {
        None => asked.body(Body::empty()).unwrap(),
        Some(json) => {
            asked.header(header::CONTENT_TYPE, "application/json").body(Body::from(json.to_string())).unwrap()
        }
    }
}

pub(crate) fn signed(who: &Browser, method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let mut asked = request(method, path, body);
    asked.headers_mut().insert(header::COOKIE, who.cookie.parse().unwrap());
    asked.headers_mut().insert("x-countersign-csrf", who.csrf.parse().unwrap());
    asked
}

async fn whole(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

fn groups() -> BTreeSet<GroupName> {
    ["agents", "privacy", "sre"].iter().map(|name| GroupName::new(*name).unwrap()).collect()
}

fn bundle(text: &str) -> Bundle {
    let prod: countersign_core::EnvironmentName = "prod".parse().unwrap();
    let declared = DeclaredTarget { environment: prod.clone(), labels: BTreeSet::new() };
    let vocabulary = Vocabulary {
        environments: [prod].into(),
        targets: [(TargetName::new("cloud").unwrap(), declared)].into(),
        groups: groups(),
        labels: BTreeSet::new(),
        operations: vec![],
        ..Vocabulary::default()
    };
    Bundle::load(vec![Source::new("stage.cedar", text)], &vocabulary)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
}
