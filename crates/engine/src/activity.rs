//! What agents did lately, counted from the ledger: so that an agent nobody remembers, or a permission nobody needs, is found.

use crate::{
    error::Error,
    gate::Gate,
    port::store::{FindEntries, ReadError},
};
use countersign_core::{ActionId, AgentId, PolicyId, TargetName, Timestamp};
use countersign_ledger::{
    entry::Entry,
    event::{Actor, Asked, ClosedAs, Event},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many entries are looked through at most, the newest first.
const LOOKED_THROUGH: usize = 10_000;
/// How many are read at once.
const BATCH: usize = 1_000;

/// What was seen of all agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Everything after this moment was counted.
    pub since: Timestamp,
    /// Every entry of the time that was asked about was counted.
    pub whole: bool,
    pub agents: BTreeMap<AgentId, Activity>,
}

/// What one agent did. Each action counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// The newest entry it caused.
    pub last: Timestamp,
    /// Permitted outright.
    pub permitted: u64,
    /// Held for people.
    pub held: u64,
    /// Refused by policy or a limit.
    pub refused: u64,
    /// Of what was held: approved by people, and said no to.
    pub approved: u64,
    pub rejected: u64,
    /// Of what was held: nobody decided in time.
    pub lapsed: u64,
    /// Of what was held: taken back, by itself or by others.
    pub taken_back: u64,
    /// What it asked for, by target and operation, or class where the operation was not recognised.
    pub operations: BTreeMap<(TargetName, String), u64>,
    /// The policies by which something of it ran.
    pub policies: BTreeSet<PolicyId>,
}

/// What later entries of an action said, until the first one names the agent.
#[derive(Debug, Default)]
struct After {
    granted: bool,
    closed: Option<ClosedAs>,
    policies: BTreeSet<PolicyId>,
}

/// Everything agents did since then, as far as it can be looked through.
pub async fn of_agents(gate: &Gate, since: Timestamp) -> Result<Seen, Error> {
    let mut seen = Seen { since, whole: true, agents: BTreeMap::new() };
    let mut after: HashMap<ActionId, After> = HashMap::new();
    let (mut before, mut looked) = (None, 0);
    loop {
        let of = FindEntries { since: Some(since), limit: BATCH, bare: true, ..FindEntries::default() };
        let find = FindEntries { before, ..of };
        let batch = gate.store().entries(find).await?;
        let last = batch.len() < BATCH;
        for stored in &batch {
            let entry = Entry::parse(&stored.bytes)
                .map_err(|error| ReadError::Backend(format!("entry {}: {error}", stored.index)))?;
            before = Some(stored.index);
            looked += 1;
            if !last && looked >= LOOKED_THROUGH {
                return Ok(Seen { since: entry.at, whole: false, ..seen });
            }
            seen.take(&entry, &mut after);
        }
        if last {
            return Ok(seen);
        }
    }
}

impl Seen {
    /// Entries come newest first.
    fn take(&mut self, entry: &Entry, after: &mut HashMap<ActionId, After>) {
        let agent = match entry.actor {
            Actor::Agent { id, .. } | Actor::Service { id, .. } => {
                let activity = self.agents.entry(id).or_default();
                activity.last = activity.last.max(entry.at);
                Some(activity)
            }
            Actor::Person { .. } | Actor::Operator | Actor::Gateway | Actor::Unknown => None,
        };
        let Some(action) = entry.action else { return };
        match (&entry.event, agent) {
            (Event::ApprovalGranted { .. }, _) => after.entry(action).or_default().granted = true,
            (Event::ApprovalClosed { closing, .. }, _) => {
                after.entry(action).or_default().closed.get_or_insert(*closing);
            }
            (Event::ExecutionAuthorized(facts), _) if facts.approval.is_some() => {
                after.entry(action).or_default().policies.extend(facts.policies.iter().cloned());
            }
            (Event::ExecutionAuthorized(facts), Some(activity)) => {
                activity.permitted += 1;
                activity.policies.extend(facts.policies.iter().cloned());
                activity.asked(&facts.asked);
            }
            (Event::ActionRefused { asked, .. }, Some(activity)) => {
                activity.refused += 1;
                activity.asked(asked);
            }
            (Event::ApprovalRequested { asked, .. }, Some(activity)) => {
                let after = after.remove(&action).unwrap_or_default();
                activity.held += 1;
                match after.closed {
                    Some(ClosedAs::Rejected) => activity.rejected += 1,
                    Some(ClosedAs::Lapsed) if !after.granted => activity.lapsed += 1,
                    Some(ClosedAs::Withdrawn | ClosedAs::Revoked) => activity.taken_back += 1,
                    Some(ClosedAs::Lapsed) | None => activity.approved += u64::from(after.granted),
                }
                activity.policies.extend(after.policies);
                activity.asked(asked);
            }
            _ => {}
        }
    }
}

impl Activity {
    /// How many actions of it there were.
    pub fn asked_for(&self) -> u64 {
        self.permitted + self.held + self.refused
    }

    fn asked(&mut self, asked: &Asked) {
        let what = if asked.operation.is_empty() { &asked.class } else { &asked.operation };
        *self.operations.entry((asked.target.clone(), what.clone())).or_default() += 1;
    }
}
