//! What a gate asks for, and how the rules of one gate combine. Only those that matched count.

use countersign_core::{
    Assurance, ChannelName, GateName, PolicyId, SignInTerms,
    decision::{Approvers, Basis, Gate, Terms},
    evidence::DriftBound,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    time::Duration,
};

/// How long a request waits for its votes where `@expires` says nothing.
pub(crate) const DEFAULT_EXPIRES: Duration = Duration::from_hours(1);
/// How long a grant may be used where `@valid_for` says nothing.
pub(crate) const DEFAULT_VALID_FOR: Duration = Duration::from_mins(15);
/// What a vote must be worth where `@step_up` says nothing.
pub(crate) const DEFAULT_STEP_UP: Assurance = Assurance::Session;

/// The obligations of one `@gate` policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GateRule {
    pub(crate) name: GateName,
    pub(crate) approvers: Approvers,
    pub(crate) quorum: NonZeroU32,
    pub(crate) expires_in: Duration,
    pub(crate) valid_for: Duration,
    pub(crate) assurance: Assurance,
    pub(crate) justification_required: bool,
    pub(crate) notify: BTreeSet<String>,
    pub(crate) distinct: bool,
    pub(crate) drift: DriftBound,
    /// Who may lift it alone; `None`: nobody.
    pub(crate) break_glass: Option<Approvers>,
    /// What a voter's sign-in has to be.
    pub(crate) sign_in: Option<SignInTerms>,
    /// The channels in whose tickets it may have been approved beforehand.
    pub(crate) tickets: BTreeSet<ChannelName>,
    pub(crate) reason: String,
}

/// The terms of the gates that matched: every gate lifted by its own people; the shortest times; every notice.
/// `None` when no gate matched.
pub(crate) fn terms<'r>(
    basis: Basis,
    matched: impl IntoIterator<Item = (&'r PolicyId, &'r GateRule)>,
) -> Option<Terms> {
    let mut gates: BTreeMap<&GateName, Gate> = BTreeMap::new();
    let mut times: Option<(Duration, Duration)> = None;
    let mut notify = BTreeSet::new();
    let mut justification_required = false;
    let mut drift: Option<DriftBound> = None;
    for (policy, rule) in matched {
        gates
            .entry(&rule.name)
            .and_modify(|gate| tighten(gate, policy, rule))
            .or_insert_with(|| gate(policy, rule));
        let (expires, valid) = times.unwrap_or((rule.expires_in, rule.valid_for));
        times = Some((expires.min(rule.expires_in), valid.min(rule.valid_for)));
        notify.extend(rule.notify.iter().cloned());
        justification_required |= rule.justification_required;
        drift = Some(drift.map_or(rule.drift, |drift| drift.min(rule.drift)));
    }
    let (expires_in, valid_for) = times?;
    let gates = gates.into_values().collect();
    Some(Terms { basis, gates, expires_in, valid_for, notify, justification_required, drift: drift? })
}

fn gate(policy: &PolicyId, rule: &GateRule) -> Gate {
    Gate {
        name: rule.name.clone(),
        policies: [policy.clone()].into(),
        approvers: rule.approvers.clone(),
        quorum: rule.quorum,
        assurance: rule.assurance,
        reason: rule.reason.clone(),
        distinct: rule.distinct,
        break_glass: rule.break_glass.clone(),
        sign_in: rule.sign_in.clone(),
        tickets: rule.tickets.clone(),
    }
}

/// One more rule of the same gate. Its approvers, who may break its glass and what it asks of a sign-in are the same: a bundle where they differ
/// does not load.
fn tighten(gate: &mut Gate, policy: &PolicyId, rule: &GateRule) {
    if !gate.policies.insert(policy.clone()) {
        return;
    }
    gate.quorum = gate.quorum.max(rule.quorum);
    gate.assurance = gate.assurance.max(rule.assurance);
    gate.distinct |= rule.distinct;
    // Only where each of them takes a ticket.
    gate.tickets.retain(|channel| rule.tickets.contains(channel));
    if !gate.reason.split("; ").any(|reason| reason == rule.reason) {
        gate.reason = format!("{}; {}", gate.reason, rule.reason);
    }
}
