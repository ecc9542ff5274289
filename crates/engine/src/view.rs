//! What a reviewer sees, before any surface draws it: computed facts apart from claimed text.
//!
//! The view is the same for every viewer, names nobody by a name that can change, and its digest is part of what a
//! vote signs.

use countersign_core::{
    Action, Assurance, Body, ChannelName, Digest, EnvironmentName, Evidence, GateName, PersonId, PolicyId,
    PrincipalId, Resource, SignInTerms, TargetName, Timestamp,
    canonical::{self, CanonicalError},
    decision::{Approvers, Gate},
    visible,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Everything about a held action that reviewers are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    pub computed: Computed,
    pub claimed: Claimed,
}

/// What was read from the bytes and from our own records. The requester had no say in any of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computed {
    pub sentence: String,
    pub requester: PrincipalId,
    pub owners: BTreeSet<PersonId>,
    pub on_behalf_of: Vec<PersonId>,
    pub target: TargetName,
    pub environment: EnvironmentName,
    pub wire: String,
    pub class: String,
    pub operation: Option<String>,
    pub resources: Vec<Resource>,
    pub facts: Map<String, Value>,
    /// What was found out about it beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// What the requester's credential says that policy may look at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, String>,
    pub head_digest: Digest,
    pub body_digest: Digest,
    pub body_bytes: u64,
    /// The bytes hold characters that are not seen, or bytes that are no text.
    pub hidden_characters: bool,
    /// Eight characters of the action digest.
    pub code: String,
    pub gates: Vec<ViewGate>,
    pub deadline: Timestamp,
}

/// What the requester says. Never believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    pub requester_name: String,
    pub reason: Option<String>,
    /// The ticket in which it is said to be approved beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticket: Option<String>,
}

/// Why policy asks, and whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewGate {
    pub gate: GateName,
    pub reason: String,
    pub approvers: Approvers,
    pub quorum: u32,
    pub assurance: Assurance,
    pub policies: BTreeSet<PolicyId>,
    /// Who may lift it alone; `None`: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<Approvers>,
    /// What a voter's sign-in has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInTerms>,
    /// The channels in whose tickets it may have been approved beforehand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tickets: BTreeSet<ChannelName>,
}

impl View {
    pub fn of(action: &Action, digest: &Digest, gates: &[Gate], deadline: Timestamp) -> Self {
        let empty = bytes::Bytes::new();
        let body = match &action.payload.body {
            Body::Bound(body) => body,
            Body::Unbound => &empty,
        };
        let claimed = [&action.claimed_reason, &action.claimed_ticket].map(Option::as_deref);
        let texts = claimed.into_iter().chain([Some(action.sentence.as_str())]);
        let hidden = |bytes: &[u8]| std::str::from_utf8(bytes).map_or(true, visible::has_hidden);
        let computed = Computed {
            sentence: action.sentence.clone(),
            requester: action.requester.principal,
            owners: action.requester.owners.clone(),
            on_behalf_of: action.requester.on_behalf_of.clone(),
            target: action.target.clone(),
            environment: action.environment.clone(),
            wire: action.wire.clone(),
            class: action.operation.class.as_str().into(),
            operation: action.operation.name.clone(),
            resources: action.resources.clone(),
            facts: action.facts.clone(),
            evidence: action.evidence.clone(),
            claims: action.requester.claims.clone(),
            head_digest: Digest::of(&action.payload.head),
            body_digest: Digest::of(body),
            body_bytes: body.len() as u64,
            hidden_characters: hidden(body) || texts.flatten().any(visible::has_hidden),
            code: digest.short_code(),
            gates: gates.iter().map(ViewGate::of).collect(),
            deadline,
        };
        let claimed = Claimed {
            requester_name: action.requester.name.clone(),
            reason: action.claimed_reason.clone(),
            ticket: action.claimed_ticket.clone(),
        };
        Self { computed, claimed }
    }

    /// The same action on the terms of a later round.
    #[must_use]
    pub fn on(mut self, gates: &[Gate], deadline: Timestamp) -> Self {
        self.computed.gates = gates.iter().map(ViewGate::of).collect();
        self.computed.deadline = deadline;
        self
    }

    /// The same action as it reads after something was found out about it.
    #[must_use]
    pub fn in_light_of(mut self, action: &Action) -> Self {
        self.computed.sentence.clone_from(&action.sentence);
        self.computed.facts.clone_from(&action.facts);
        self.computed.evidence.clone_from(&action.evidence);
        self
    }

    /// SHA-256 over the canonical form, in a domain of its own.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        Ok(Digest::of_parts("countersign/view/v1", &[&canonical::to_vec(self)?]))
    }
}

impl ViewGate {
    fn of(gate: &Gate) -> Self {
        Self {
            gate: gate.name.clone(),
            reason: gate.reason.clone(),
            approvers: gate.approvers.clone(),
            quorum: gate.quorum.get(),
            assurance: gate.assurance,
            policies: gate.policies.clone(),
            break_glass: gate.break_glass.clone(),
            sign_in: gate.sign_in.clone(),
            tickets: gate.tickets.clone(),
        }
    }
}

/// Who may lift a gate, in plain words: `2 people of privacy, each with a passkey`.
pub fn approvers_in_words(gate: &Gate, name_of: impl Fn(PersonId) -> Option<String>) -> String {
    let whom = whom_in_words(&gate.approvers, name_of);
    let count = match gate.quorum.get() {
        1 => "one person".to_owned(),
        quorum => format!("{quorum} people"),
    };
    let strength = match (gate.assurance, gate.quorum.get()) {
        (Assurance::Passkey, 1) => ", with a passkey",
        (Assurance::Passkey, _) => ", each with a passkey",
        (Assurance::Session, 1) => ", signed in",
        (Assurance::Session, _) => ", each signed in",
        (Assurance::Chat, _) => "",
    };
    format!("{count} of {whom}{strength}")
}

/// Groups and people, in plain words: `privacy or Ana`.
pub fn whom_in_words(whom: &Approvers, name_of: impl Fn(PersonId) -> Option<String>) -> String {
    let groups = whom.groups.iter().map(ToString::to_string);
    let people = whom.people.iter().map(|id| name_of(*id).unwrap_or_else(|| id.to_string()));
    groups.chain(people).collect::<Vec<_>>().join(" or ")
}
