//! What policy says about an action: permit, review on terms, or forbid.

use crate::{
    Assurance, BundleDigest, ChannelName, GateName, GroupName, PersonId, PolicyId, SignInTerms,
    evidence::DriftBound,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, num::NonZeroU32, time::Duration};

/// The answer to one action under one policy bundle. There is no default: nothing matched is [`Decision::Forbid`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Permit(Basis),
    Review(Terms),
    Forbid(Refusal),
}

/// Which policies led to a decision, under which bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    pub bundle: BundleDigest,
    /// The ids of the policies that determined it, sorted.
    pub policies: BTreeSet<PolicyId>,
}

/// On what terms a held action may run: every gate lifted, each by its own people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub basis: Basis,
    /// At least one; sorted by name, each name once.
    pub gates: Vec<Gate>,
    /// How long the request may wait for its votes: the shortest of the gates'.
    pub expires_in: Duration,
    /// How long after the last vote it may start: the shortest of the gates'.
    pub valid_for: Duration,
    /// Where reviewers are told, beside the console.
    pub notify: BTreeSet<String>,
    /// The requester must say why before anyone is asked.
    pub justification_required: bool,
    /// By how much what was found out beforehand may have grown when it runs: the smallest of the gates'.
    pub drift: DriftBound,
}

/// A forbid that approvals lift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub name: GateName,
    pub policies: BTreeSet<PolicyId>,
    pub approvers: Approvers,
    pub quorum: NonZeroU32,
    /// The least a vote must be worth to count here.
    pub assurance: Assurance,
    /// Why the policy asks, in plain words.
    pub reason: String,
    /// Who lifts this gate may lift no other of the same approval.
    pub distinct: bool,
    /// Who may lift it alone when it cannot wait; `None`: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<Approvers>,
    /// What a voter's sign-in has to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<SignInTerms>,
    /// The ticket systems, by channel, in which it may have been approved beforehand.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tickets: BTreeSet<ChannelName>,
}

/// Who may lift a gate, before the rules against the requester's side.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Approvers {
    pub groups: BTreeSet<GroupName>,
    pub people: BTreeSet<PersonId>,
}

/// Why an action was refused, for a machine and for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub code: RefusalCode,
    /// One plain sentence.
    pub reason: String,
    /// What the caller can do instead; empty when nothing would help.
    pub remedy: String,
    /// The walls that stood, when policy refused.
    pub basis: Option<Basis>,
}

/// The kinds of refusal. Each is a stable word in the API and the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// A plain forbid matched. No approval lifts it.
    Wall,
    /// No permit matched.
    NotPermitted,
    /// Policy could not be evaluated.
    PolicyError,
    /// Reviewers said no.
    Rejected,
    /// Nobody decided in time, or it was not run in time.
    Lapsed,
    /// The requester took it back.
    Withdrawn,
    /// An approval was taken back.
    Revoked,
    /// The agent, the target or everything is frozen.
    Frozen,
    /// Too much of the caller is waiting already.
    TooMany,
    /// Larger than what is read before deciding.
    TooLarge,
    /// There is no room for its body at the moment; nothing ran.
    NoRoom,
    /// The caller is not known, or its credential is not good any more.
    Unauthenticated,
    /// The bytes cannot be read without doubt.
    Malformed,
    /// Policy wants to hear why before anyone is asked.
    JustificationMissing,
    /// The ledger or the store cannot record, so nothing runs.
    NotRecordable,
    /// It ran, or may have run; it will not run again.
    Spent,
    /// The target could not be reached; nothing was sent.
    Unreachable,
}

impl RefusalCode {
    pub const ALL: [Self; 17] = [
        Self::Wall,
        Self::NotPermitted,
        Self::PolicyError,
        Self::Rejected,
        Self::Lapsed,
        Self::Withdrawn,
        Self::Revoked,
        Self::Frozen,
        Self::TooMany,
        Self::TooLarge,
        Self::NoRoom,
        Self::Unauthenticated,
        Self::Malformed,
        Self::JustificationMissing,
        Self::NotRecordable,
        Self::Spent,
        Self::Unreachable,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::NotPermitted => "not-permitted",
            Self::PolicyError => "policy-error",
            Self::Rejected => "rejected",
            Self::Lapsed => "lapsed",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
            Self::Frozen => "frozen",
            Self::TooMany => "too-many",
            Self::TooLarge => "too-large",
            Self::NoRoom => "no-room",
            Self::Unauthenticated => "unauthenticated",
            Self::Malformed => "malformed",
            Self::JustificationMissing => "justification-missing",
            Self::NotRecordable => "not-recordable",
            Self::Spent => "spent",
            Self::Unreachable => "unreachable",
        }
    }
}
