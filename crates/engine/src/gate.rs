//! What every step shares: the doors to the other rooms, what is frozen, what waits and what runs.

use crate::{
    definitions::Definitions,
    hold::Holds,
    journal::Journal,
    late::Late,
    outbox::Channels,
    port::{
        identity::{Identity, NotAuthenticated, Presented},
        store::{Commit, CommitError, Receipt, Store},
        upstream::{Target, Upstream},
    },
    preapproval::Systems,
    rules::Authors,
    running::Running,
};
use countersign_core::{
    Action, ActionId, ApprovalId, Digest, GatewayId, PrincipalId, Refusal, RefusalCode, Requester,
    TargetName, Timestamp, statement::published_digest,
};
use countersign_ledger::event::{Actor, Asked, FreezeScope};
use countersign_policy::Policies;
use parking_lot::RwLock;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::broadcast;

/// How much is accepted, kept and waited for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many actions of one principal may wait at once.
    pub pending_per_principal: usize,
    /// Answers of approved actions are kept whole up to this size.
    pub keep_bytes: u64,
    /// How long an answer is kept for a requester who does not come for it.
    pub retention: Duration,
    /// How long people brought in by the requester's side have no vote for it.
    pub cooling_off: Duration,
    /// How long people who changed the policy have no vote on what is asked under it.
    pub author_cooling_off: Duration,
    /// An approved action that runs longer is cancelled.
    pub run_for: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending_per_principal: 100,
            keep_bytes: 8 << 20,
            retention: Duration::from_hours(1),
            cooling_off: Duration::from_hours(7 * 24),
            author_cooling_off: Duration::from_hours(24),
            run_for: Duration::from_hours(1),
        }
    }
}

/// Who this gateway is.
#[derive(Clone, Debug)]
pub struct Who {
    pub id: GatewayId,
    /// Grows with every start.
    pub epoch: u64,
    /// Where people reach the console, without a trailing slash.
    pub console_url: String,
}

/// Something reviewers' pages want to know at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Approval {
        id: ApprovalId,
        state: &'static str,
    },
    /// An action was permitted or refused outright.
    Action {
        id: ActionId,
    },
    Freeze,
    Policy,
    /// The glass of an approval was broken, or that was reviewed.
    Glass {
        id: ApprovalId,
    },
    /// A target describes a tool otherwise, or somebody decided on that.
    Tools,
}

/// The engine's shared state. Everything reaches everything else through here.
pub struct Gate {
    /// Itself, for work that goes on when whoever began it is gone.
    me: Weak<Self>,
    journal: Journal,
    policies: Arc<Policies>,
    identity: Arc<dyn Identity>,
    targets: BTreeMap<TargetName, (Target, Arc<dyn Upstream>)>,
    limits: Limits,
    who: Who,
    /// Keys attachments; made at first start, never shown.
    attach_secret: [u8; 32],
    channels: Channels,
    tickets: Systems,
    frozen: RwLock<BTreeSet<FreezeScope>>,
    /// Held while a freeze is set or lifted.
    pub(crate) freezing: tokio::sync::Mutex<()>,
    changes: broadcast::Sender<Changed>,
    pub(crate) holds: Holds,
    pub(crate) authors: Authors,
    pub(crate) running: Running,
    pub(crate) definitions: Definitions,
    pub(crate) late: Late,
    pub(crate) refusals: crate::record::RefusalCounter,
    pub(crate) nonces: crate::vote::Nonces,
    pub(crate) pace: crate::inward::Pace,
}

/// A target and the way to it.
pub type Reachable = (Target, Arc<dyn Upstream>);

/// What a gate is made of.
#[derive(Debug)]
pub struct Parts {
    pub journal: Journal,
    pub policies: Arc<Policies>,
    pub identity: Arc<dyn Identity>,
    pub targets: Vec<Reachable>,
    /// The ways on which people are told.
    pub channels: Channels,
    /// Where tickets are looked up that requesters name.
    pub tickets: Systems,
    pub limits: Limits,
    pub who: Who,
    pub attach_secret: [u8; 32],
}

impl Gate {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let targets = parts.targets.into_iter().map(|(target, way)| (target.name.clone(), (target, way)));
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            journal: parts.journal,
            policies: parts.policies,
            identity: parts.identity,
            targets: targets.collect(),
            limits: parts.limits,
            who: parts.who,
            attach_secret: parts.attach_secret,
            channels: parts.channels,
            tickets: parts.tickets,
            frozen: RwLock::default(),
            freezing: tokio::sync::Mutex::default(),
            changes: broadcast::channel(1024).0,
            holds: Holds::default(),
            authors: Authors::default(),
            running: Running::default(),
            definitions: Definitions::default(),
            late: Late::default(),
            refusals: crate::record::RefusalCounter::default(),
            nonces: crate::vote::Nonces::default(),
            pace: crate::inward::Pace::default(),
        })
    }

    /// Commits, and lets memory follow, even when whoever asked for it leaves meanwhile: else the store would hold what nobody
    /// here knows of, an approval without an end or a tool that cannot be noticed any more.
    pub(crate) fn commit<T: Send + 'static, F: FnOnce(&Self) -> T + Send + 'static>(
        &self,
        commit: Commit,
        follow: F,
    ) -> impl Future<Output = Result<(Receipt, T), CommitError>> + Send + use<T, F> {
        let done = self.me.upgrade().map(|gate| {
            tokio::spawn(async move {
                let receipt = gate.store().writer().commit(commit).await?;
                Ok((receipt, follow(&gate)))
            })
        });
        async {
            let Some(done) = done else { return Err(CommitError::Lost) };
            done.await.unwrap_or(Err(CommitError::Lost))
        }
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        self.journal.store()
    }

    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    pub fn identity(&self) -> &Arc<dyn Identity> {
        &self.identity
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub fn who(&self) -> &Who {
        &self.who
    }

    pub fn now(&self) -> Timestamp {
        self.journal.now()
    }

    /// Every configured target.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.values().map(|(target, _)| target)
    }

    pub fn target(&self, name: &TargetName) -> Option<&Target> {
        self.targets.get(name).map(|(target, _)| target)
    }

    pub(crate) fn upstream(&self, name: &TargetName) -> Option<&Arc<dyn Upstream>> {
        self.targets.get(name).map(|(_, upstream)| upstream)
    }

    /// The caller behind a credential, or a refusal that says what to do.
    pub async fn authenticate(&self, presented: Presented<'_>) -> Result<Requester, Refusal> {
        let first = self.identity.authenticate(presented, self.now());
        let outcome = if first == Err(NotAuthenticated::NotYet) {
            self.identity.prepare(presented).await;
            self.identity.authenticate(presented, self.now())
        } else {
            first
        };
        outcome.map_err(unauthenticated)
    }

    /// A caller as it stands now, by its credential. What its token said is known of that token alone, and stays. `None`: its
    /// credential is worth nothing any more.
    pub fn renewed(&self, known: &Requester) -> Option<Requester> {
        let now = self.identity.requester(known.credential, self.now()).ok()?;
        (now.principal == known.principal).then(|| Requester { claims: known.claims.clone(), ..now })
    }

    /// News for pages; a receiver that falls behind is told and reads afresh.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    pub(crate) fn announce(&self, changed: Changed) {
        // Nobody listening is no failure.
        let _ = self.changes.send(changed);
    }

    /// What keeps this principal from this target, in words.
    pub fn frozen(&self, principal: PrincipalId, target: &TargetName) -> Option<String> {
        let frozen = self.frozen.read();
        if frozen.is_empty() {
            return None;
        }
        let found = frozen.iter().find(|scope| reaches(scope, principal, target))?;
        Some(match found {
            FreezeScope::All => "everything".to_owned(),
            FreezeScope::Agent { .. } => "this agent".to_owned(),
            FreezeScope::Target { name } => format!("target `{name}`"),
        })
    }

    /// What is frozen now.
    pub fn freezes(&self) -> BTreeSet<FreezeScope> {
        self.frozen.read().clone()
    }

    pub(crate) fn set_frozen(&self, scope: FreezeScope, on: Frozen) {
        let mut frozen = self.frozen.write();
        match on {
            Frozen::Yes => frozen.insert(scope),
            Frozen::No => frozen.remove(&scope),
        };
    }

    /// Under which key identical actions of one principal attach. Kept private: the digest could be guessed.
    pub(crate) fn attach_key(&self, action: &Action, digest: &Digest) -> String {
        let principal = action.requester.principal.to_string();
        let parts: [&[u8]; 3] = [&self.attach_secret, principal.as_bytes(), digest.as_bytes()];
        Digest::of_parts("countersign/attach/v1", &parts).hex()
    }

    /// A digest that only this installation can make.
    pub(crate) fn keyed(&self, domain: &str, parts: &[&[u8]]) -> Digest {
        let parts: Vec<&[u8]> =
            std::iter::once(&self.attach_secret[..]).chain(parts.iter().copied()).collect();
        Digest::of_parts(domain, &parts)
    }

    /// The ways on which people are told.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Where tickets are looked up that requesters name.
    pub(crate) fn tickets(&self) -> &Systems {
        &self.tickets
    }

    /// How many executions run right now.
    pub fn running(&self) -> usize {
        self.running.count()
    }

    /// Where a signed-in person reads about an approval.
    pub fn approval_link(&self, approval: ApprovalId) -> String {
        format!("{}/approvals/{approval}", self.who.console_url)
    }

    /// Where a signed-in person decides on it, with nothing else on the page.
    pub fn decide_link(&self, approval: ApprovalId) -> String {
        format!("{}/decide", self.approval_link(approval))
    }

    /// Where a signed-in person reads about an action.
    pub fn action_link(&self, action: ActionId) -> String {
        format!("{}/actions/{action}", self.who.console_url)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gate")
            .field("who", &self.who)
            .field("targets", &self.targets.len())
            .finish_non_exhaustive()
    }
}

/// Whether a scope is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frozen {
    Yes,
    No,
}

pub(crate) fn reaches(scope: &FreezeScope, principal: PrincipalId, target: &TargetName) -> bool {
    match scope {
        FreezeScope::All => true,
        FreezeScope::Agent { id } => principal == PrincipalId::Agent(*id),
        FreezeScope::Target { name } => name == target,
    }
}

/// The actor an action's entries name.
pub fn actor_of(requester: &Requester) -> Actor {
    use countersign_core::PrincipalKind as Kind;
    match (requester.principal, requester.kind) {
        (PrincipalId::Person(id), _) => Actor::Person { id },
        (PrincipalId::Agent(id), Kind::Service) => Actor::Service { id, credential: requester.credential },
        (PrincipalId::Agent(id), Kind::Agent | Kind::Person) => {
            Actor::Agent { id, credential: requester.credential }
        }
    }
}

/// The public facts of an action, under its own salt.
pub(crate) fn asked(action: &Action, digest: &Digest, salt: &[u8; 32]) -> Asked {
    Asked {
        class: action.operation.class.as_str().into(),
        digest: published_digest(salt, digest),
        environment: action.environment.clone(),
        on_behalf_of: action.requester.on_behalf_of.clone(),
        operation: action.operation.name.clone().unwrap_or_default(),
        target: action.target.clone(),
        wire: action.wire.clone(),
    }
}

pub(crate) fn unauthenticated(error: NotAuthenticated) -> Refusal {
    let remedy = match error {
        NotAuthenticated::Missing => "send your token as `Authorization: Bearer …`",
        NotAuthenticated::Unknown | NotAuthenticated::Expired | NotAuthenticated::Revoked => {
            "stop, and ask the agent's owner for a new token"
        }
        NotAuthenticated::NotTrusted(_) => "present a token that the gateway's configuration trusts",
        NotAuthenticated::NoKeys | NotAuthenticated::NotYet => {
            "try again in a minute; the gateway's own log says what is wrong"
        }
        NotAuthenticated::Disabled => "stop, and ask an administrator",
    };
    Refusal {
        code: RefusalCode::Unauthenticated,
        reason: error.to_string(),
        remedy: remedy.into(),
        basis: None,
    }
}
