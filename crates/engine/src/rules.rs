//! Who changed the rules by which something is decided: the policy, or who belongs to what. They do not vote on what was
//! asked under the rules before.

use crate::{
    error::Error,
    gate::Gate,
    hold::Hold,
    port::{
        identity::{Regrouped, Regrouping},
        store::{FindEntries, ReadError, Store, StoredEntry},
    },
    read, vote,
};
use countersign_core::{
    AgentId, ApprovalId, BundleDigest, Digest, GroupName, PersonId, PrincipalId, TargetName, Timestamp,
    approval::State, decision::Approvers,
};
use countersign_ledger::{
    entry::Entry,
    event::{Actor, Event, FreezeScope},
};
use parking_lot::RwLock;
use std::{collections::BTreeSet, fmt};

const PAGE: usize = 1_000;
const POLICY: &str = "changed the policy after this was asked, or within the cooling-off time before";
const GROUP: &str = "changed who is in a group that decides on this after it was asked";
const DECIDERS: &str = "the requester's side tried to change who decides on this";
const FILES: &str = "the requester's side tried to change the policy";
const TOOLS: &str = "the requester's side tried to say what a tool of this target is";
const FREEZE: &str = "the requester's side tried to lift a freeze of what it waits for";
const AGENT: &str = "changed what the agent belongs to after it asked, or within the cooling-off time before";

/// Who changed the policy, and when that came into force.
#[derive(Debug, Default)]
pub(crate) struct Authors(RwLock<BTreeSet<(Timestamp, PersonId)>>);

impl Authors {
    pub(crate) fn changed(&self, by: &BTreeSet<PersonId>, at: Timestamp) {
        self.0.write().extend(by.iter().map(|person| (at, *person)));
    }

    fn within(&self, (from, until): (Timestamp, Timestamp)) -> Vec<PersonId> {
        let known = self.0.read();
        known.iter().filter(|(at, _)| (from..=until).contains(at)).map(|(_, person)| *person).collect()
    }
}

/// Who changed the policy, or what the caller is, too short a time before it asks something.
pub(crate) fn before(
    gate: &Gate,
    principal: PrincipalId,
    asked_at: Timestamp,
) -> Vec<(PersonId, &'static str)> {
    until(gate, principal, asked_at, Timestamp(i64::MAX))
}

fn until(
    gate: &Gate,
    principal: PrincipalId,
    asked_at: Timestamp,
    end: Timestamp,
) -> Vec<(PersonId, &'static str)> {
    let since = asked_at.minus(gate.limits().author_cooling_off);
    let of_it = |change: &Regrouping| match change.of {
        Regrouped::Agent(agent) => principal == PrincipalId::Agent(agent) && change.at <= end,
        Regrouped::Group(_) => false,
    };
    let changed =
        gate.identity().regroupings(since).into_iter().filter(of_it).map(|change| (change.by, AGENT));
    gate.authors.within((since, end)).into_iter().map(|person| (person, POLICY)).chain(changed).collect()
}

/// Who changed the rules by which an action is decided, or was: what changed once it was over is nothing to it.
pub(crate) fn changed(gate: &Gate, hold: &Hold) -> Vec<(PersonId, &'static str)> {
    let (asked_at, end) = (hold.approval.requested_at, hold.closed_at.unwrap_or(Timestamp(i64::MAX)));
    let deciding: BTreeSet<&GroupName> = deciders(hold).flat_map(|who| &who.groups).collect();
    let of_it = |change: &Regrouping| match &change.of {
        Regrouped::Group(group) => deciding.contains(group) && change.at <= end,
        Regrouped::Agent(_) => false,
    };
    let members =
        gate.identity().regroupings(asked_at).into_iter().filter(of_it).map(|change| (change.by, GROUP));
    until(gate, hold.principal, asked_at, end).into_iter().chain(members).collect()
}

/// Those who have a say in an action, or could break its glass.
fn deciders(hold: &Hold) -> impl Iterator<Item = &Approvers> {
    let gates = hold.approval.rounds.iter().flat_map(|round| &round.gates);
    gates.flat_map(|gate| std::iter::once(&gate.approvers).chain(&gate.break_glass))
}

/// Refuses somebody who would change who these groups and people are, or what they can do, while one of them decides on
/// what their own side asked for, and records the attempt at the oldest such approval.
pub async fn may_change_deciders(
    gate: &Gate,
    by: PersonId,
    touched: &Approvers,
) -> Result<Result<(), OwnCause>, Error> {
    let touches = |who: &Approvers| {
        !who.groups.is_disjoint(&touched.groups) || !who.people.is_disjoint(&touched.people)
    };
    disinterested(gate, by, DECIDERS, |hold| deciders(hold).any(touches)).await
}

/// The same for somebody who would say what a tool of a target is, while their own side waits there.
pub async fn may_review_tools(
    gate: &Gate,
    by: PersonId,
    target: &TargetName,
) -> Result<Result<(), OwnCause>, Error> {
    disinterested(gate, by, TOOLS, |hold| hold.asked.target == *target).await
}

/// The same for somebody who changed the policy files, while anything of their own side waits.
pub async fn may_change_policy(gate: &Gate, by: PersonId) -> Result<Result<(), OwnCause>, Error> {
    disinterested(gate, by, FILES, |_| true).await
}

/// Whether somebody may freeze: whoever may review or operates the gateway, and nobody who only reads.
pub fn may_freeze(gate: &Gate, by: PersonId) -> bool {
    gate.identity().may_freeze(by)
}

/// The same for somebody who would lift a freeze that keeps back what their own side asked for, approved or not.
pub async fn may_thaw(gate: &Gate, by: PersonId, scope: &FreezeScope) -> Result<Result<(), OwnCause>, Error> {
    let kept_back = |hold: &Hold| match scope {
        FreezeScope::All => true,
        FreezeScope::Agent { id } => hold.principal == PrincipalId::Agent(*id),
        FreezeScope::Target { name } => hold.asked.target == *name,
    };
    disinterested(gate, by, FREEZE, kept_back).await
}

/// Records at the oldest approval that waits for an agent that somebody behind it tried to help it along in another way.
pub async fn interfered(gate: &Gate, by: PersonId, agent: AgentId, attempt: &str) -> Result<(), Error> {
    let own = disinterested(gate, by, attempt, |hold| hold.principal == PrincipalId::Agent(agent));
    own.await.map(drop)
}

async fn disinterested(
    gate: &Gate,
    by: PersonId,
    attempt: &str,
    concerned: impl Fn(&Hold) -> bool,
) -> Result<Result<(), OwnCause>, Error> {
    let mut own: Vec<Hold> = Vec::new();
    for (hold, _) in read::holds_with(gate, ("open", "yes")).await? {
        let waits = matches!(hold.approval.state, State::Pending | State::Granted { .. });
        if waits && concerned(&hold) && vote::side_of(gate, &hold).contains(&by) {
            own.push(hold);
        }
    }
    let Some(oldest) = own.iter().min_by_key(|hold| hold.approval.requested_at) else { return Ok(Ok(())) };
    let refused = OwnCause { approval: oldest.approval.id, others: own.len() - 1 };
    vote::attempted(gate, refused.approval, Actor::Person { id: by }, attempt).await?;
    Ok(Err(refused))
}

/// What somebody would change bears on what their own side asked for, and it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCause {
    /// The oldest approval that waits.
    pub approval: ApprovalId,
    /// How many more do.
    pub others: usize,
}

impl fmt::Display for OwnCause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { approval, others } = self;
        match others {
            0 => write!(
                formatter,
                "this bears on approval `{approval}`, which your own side asked for and which waits"
            ),
            _ => write!(
                formatter,
                "this bears on approval `{approval}` and {others} more, which your own side asked for and which wait"
            ),
        }
    }
}

/// Remembers from the ledger who changed the policy since a moment.
pub(crate) async fn load(gate: &Gate, since: Timestamp) -> Result<(), Error> {
    let mut before = None;
    loop {
        let kind = Some("policy.loaded".to_owned());
        let find = FindEntries {
            kind,
            since: Some(since),
            before,
            limit: PAGE,
            bare: true,
            ..FindEntries::default()
        };
        let page = gate.store().entries(find).await?;
        for stored in &page {
            let entry = parsed(stored)?;
            if let Event::PolicyLoaded { changed_by, .. } = &entry.event {
                gate.authors.changed(changed_by, entry.at);
            }
        }
        before = page.last().map(|stored| stored.index);
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// What was in force last, according to the ledger.
#[derive(Clone, Copy, Debug)]
pub struct LastPolicy {
    pub bundle: BundleDigest,
    /// Of the files alone; `None` where the entry is of an earlier version.
    pub files: Option<Digest>,
}

/// The policy that was in force last, according to the ledger.
pub async fn last(store: &dyn Store) -> Result<Option<LastPolicy>, ReadError> {
    let kind = Some("policy.loaded".to_owned());
    let newest = FindEntries { kind, limit: 1, bare: true, ..FindEntries::default() };
    let Some(stored) = store.entries(newest).await?.pop() else { return Ok(None) };
    let Event::PolicyLoaded { bundle, files, .. } = parsed(&stored)?.event else { return Ok(None) };
    Ok(Some(LastPolicy { bundle, files }))
}

fn parsed(stored: &StoredEntry) -> Result<Entry, ReadError> {
    Entry::parse(&stored.bytes)
        .map_err(|error| ReadError::Backend(format!("an entry cannot be read: {error}")))
}
