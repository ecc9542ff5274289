//! The fixed vocabulary of the ledger: what can be recorded, and with which public facts.
//!
//! Nothing here may hold a secret, a name, an address or a payload: those are private fields, and the entry
//! carries only commitments to them (see [`crate::entry`]).
//! Long because it is the one list of everything that can be recorded.

use countersign_core::{
    AgentId, ApprovalId, Assurance, BundleDigest, ChannelName, CredentialId, Digest, EntryId,
    EnvironmentName, GateName, GatewayId, GroupName, PersonId, PolicyId, PrincipalKind, RefusalCode, SignIn,
    SignInTerms, TargetName, TicketCheck, TicketKey, Timestamp,
    approval::{Outcome, Taker},
    decision::Approvers,
    statement::Statement,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Who caused an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Actor {
    Agent {
        id: AgentId,
        credential: CredentialId,
    },
    Service {
        id: AgentId,
        credential: CredentialId,
    },
    Person {
        id: PersonId,
    },
    /// Whoever holds the gateway's own socket or files.
    Operator,
    /// The gateway itself: a timer, a start, a reload.
    Gateway,
    /// Somebody who could not be told apart.
    Unknown,
}

/// What happened. Serialized as `type` and `data` of the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    // The log and its gateway.
    #[serde(rename = "log.opened")]
    LogOpened {
        /// Public keys as `vkey` texts (C2SP signed-note).
        log_key: String,
        gateway_key: String,
        /// The log key's signature over both, base64url: what the gateway key's authority rests on.
        endorsement: String,
    },
    #[serde(rename = "key.rotated")]
    KeyRotated {
        log_key: String,
        gateway_key: String,
        /// Signature over both by the log key that goes out of use, base64url.
        endorsement: String,
    },
    #[serde(rename = "log.rollback_accepted")]
    RollbackAccepted { size: u64, mark: u64 },
    #[serde(rename = "gateway.started")]
    GatewayStarted { version: String, epoch: u64, configuration: Digest, bundle: BundleDigest },
    #[serde(rename = "gateway.stopped")]
    GatewayStopped { epoch: u64 },
    #[serde(rename = "clock.stepped")]
    ClockStepped { from: Timestamp, to: Timestamp },
    #[serde(rename = "policy.loaded")]
    PolicyLoaded {
        bundle: BundleDigest,
        previous: Option<BundleDigest>,
        /// Over the policy files alone: what else is in a bundle comes from the configuration and from tools.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<Digest>,
        /// Who is named as having changed the files.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        changed_by: BTreeSet<PersonId>,
    },
    #[serde(rename = "policy.rejected")]
    PolicyRejected { errors: u64, kept: BundleDigest },
    #[serde(rename = "freeze.set")]
    FreezeSet {
        scope: FreezeScope,
        /// The way it came, where that was a channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        through: Option<Through>,
    },
    #[serde(rename = "freeze.lifted")]
    FreezeLifted { scope: FreezeScope },
    /// A target says something of one of its tools that nobody has looked at.
    #[serde(rename = "tool.noticed")]
    ToolNoticed {
        target: TargetName,
        definition: Digest,
        /// The one that people accepted before.
        accepted: Option<Digest>,
    },
    /// A tool may be called as it is described from now on.
    #[serde(rename = "tool.accepted")]
    ToolAccepted { target: TargetName, definition: Digest, replaces: Option<Digest> },
    /// A tool may not be called as it is described.
    #[serde(rename = "tool.refused")]
    ToolRefused { target: TargetName, definition: Digest },
    /// A channel could not be told of an approval for so long that the gateway stopped trying.
    #[serde(rename = "notification.given_up")]
    NotificationGivenUp { approval: ApprovalId, channel: ChannelName },
    /// Somebody has a channel told once more what it could not be told.
    #[serde(rename = "notification.replayed")]
    NotificationReplayed { approval: ApprovalId, channel: ChannelName },
    #[serde(rename = "ledger.exported")]
    LedgerExported { from: u64, to: u64 },
    #[serde(rename = "ledger.read")]
    LedgerRead { what: String },
    #[serde(rename = "ledger.redacted")]
    LedgerRedacted { entry: EntryId, paths: Vec<String> },

    // People and agents.
    #[serde(rename = "person.invited")]
    PersonInvited { person: PersonId, groups: BTreeSet<GroupName> },
    #[serde(rename = "person.link_issued")]
    PersonLinkIssued { person: PersonId },
    #[serde(rename = "person.attributes_changed")]
    PersonAttributesChanged { person: PersonId },
    #[serde(rename = "person.groups_changed")]
    PersonGroupsChanged { person: PersonId, added: BTreeSet<GroupName>, removed: BTreeSet<GroupName> },
    #[serde(rename = "person.role_changed")]
    PersonRoleChanged {
        person: PersonId,
        /// `reviewer`, `auditor`, `administrator` or `operator`.
        role: String,
    },
    #[serde(rename = "person.disabled")]
    PersonDisabled { person: PersonId },
    /// A provisioning client or a transmitter of signals brought back somebody it had taken out.
    #[serde(rename = "person.returned")]
    PersonReturned { person: PersonId },
    /// A provisioning client says something else of somebody: their name, their address, what it calls them.
    #[serde(rename = "person.provisioned")]
    PersonProvisioned {
        person: PersonId,
        /// The client's token.
        credential: CredentialId,
    },
    /// A provisioning client may speak under this token.
    #[serde(rename = "provisioner.created")]
    ProvisionerCreated { credential: CredentialId, expires: Option<Timestamp> },
    #[serde(rename = "provisioner.revoked")]
    ProvisionerRevoked { credential: CredentialId },
    /// Somebody votes in this person's place from one moment to another.
    #[serde(rename = "delegation.set")]
    DelegationSet { person: PersonId, to: PersonId, from: Timestamp, until: Timestamp },
    #[serde(rename = "delegation.ended")]
    DelegationEnded { person: PersonId, to: PersonId },
    #[serde(rename = "passkey.registered")]
    PasskeyRegistered {
        person: PersonId,
        credential: CredentialId,
        /// The authenticator's own credential id, base64url.
        credential_id: String,
        /// COSE key (RFC 9052 section 7), base64url.
        public_key: String,
        relying_party: String,
        origin: String,
    },
    #[serde(rename = "passkey.removed")]
    PasskeyRemoved { person: PersonId, credential: CredentialId },
    /// A person is told on a device of theirs from now on. What the device is called, and where messages for it are taken,
    /// are private values.
    #[serde(rename = "push.subscribed")]
    PushSubscribed { person: PersonId, subscription: CredentialId },
    #[serde(rename = "push.unsubscribed")]
    PushUnsubscribed { person: PersonId, subscription: CredentialId },
    /// An account at a provider speaks for a person from now on.
    #[serde(rename = "account.linked")]
    AccountLinked {
        person: PersonId,
        /// The provider's name in the configuration.
        provider: String,
    },
    #[serde(rename = "account.unlinked")]
    AccountUnlinked { person: PersonId, provider: String },
    /// A user of a channel speaks for a person from now on: what they say there is that person's word, worth `chat`.
    #[serde(rename = "channel.bound")]
    ChannelBound { person: PersonId, binding: CredentialId, channel: ChannelName },
    #[serde(rename = "channel.unbound")]
    ChannelUnbound { person: PersonId, binding: CredentialId, channel: ChannelName },
    #[serde(rename = "session.opened")]
    SessionOpened {
        person: PersonId,
        assurance: Assurance,
        /// It only reads: a command line, or a program of theirs.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reading: bool,
    },
    #[serde(rename = "session.closed")]
    SessionClosed { person: PersonId, everywhere: bool },
    /// A transmitter of shared signals said something of a person that ends what rests on them.
    #[serde(rename = "signal.received")]
    SignalReceived {
        person: PersonId,
        /// The transmitter's name in the configuration.
        transmitter: String,
        /// What it said: the last part of its event's address, such as `session-revoked`.
        signal: String,
    },
    #[serde(rename = "agent.created")]
    AgentCreated {
        agent: AgentId,
        principal: PrincipalKind,
        owners: BTreeSet<PersonId>,
        groups: BTreeSet<GroupName>,
    },
    #[serde(rename = "agent.changed")]
    AgentChanged { agent: AgentId, owners: BTreeSet<PersonId>, groups: BTreeSet<GroupName> },
    #[serde(rename = "token.created")]
    TokenCreated {
        agent: AgentId,
        credential: CredentialId,
        on_behalf_of: Option<PersonId>,
        expires: Option<Timestamp>,
    },
    /// Somebody else's signed token is known as a credential of an agent from now on.
    #[serde(rename = "workload.admitted")]
    WorkloadAdmitted {
        agent: AgentId,
        credential: CredentialId,
        /// The issuer's name in the configuration.
        issuer: String,
        on_behalf_of: Vec<PersonId>,
        /// The agents it came through, the nearest first.
        through: Vec<AgentId>,
    },
    #[serde(rename = "token.revoked")]
    TokenRevoked { agent: AgentId, credential: CredentialId },

    // Before there is an action.
    #[serde(rename = "intake.refused")]
    IntakeRefused { code: RefusalCode, count: u64, target: Option<TargetName> },

    // One action, from asked to answered.
    #[serde(rename = "action.refused")]
    ActionRefused {
        asked: Asked,
        code: RefusalCode,
        bundle: Option<BundleDigest>,
        policies: BTreeSet<PolicyId>,
    },
    #[serde(rename = "approval.requested")]
    ApprovalRequested { asked: Asked, round: RoundTerms },
    #[serde(rename = "approval.round_opened")]
    ApprovalRoundOpened {
        round: RoundTerms,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<Reopened>,
    },
    #[serde(rename = "approval.voted")]
    ApprovalVoted {
        statement: Statement,
        assurance: Assurance,
        assertion: Option<Assertion>,
        /// How the voter had signed in, where the gate asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sign_in: Option<SignIn>,
        /// The way it came, where that was a channel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        through: Option<Through>,
        /// The ticket that they approved beforehand, where that is their vote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<Box<TicketVote>>,
    },
    /// The requester named a ticket that does not count, or does not any more.
    #[serde(rename = "approval.ticket_refused")]
    ApprovalTicketRefused {
        approval: ApprovalId,
        /// Where it was looked for, where that was found out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ChannelName>,
        /// Its key, where what was said is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ticket: Option<TicketKey>,
        /// The first check that failed.
        check: TicketCheck,
        /// The gate at which its approver's vote counted and does so no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gate: Option<GateName>,
    },
    #[serde(rename = "approval.vote_refused")]
    ApprovalVoteRefused {
        approval: ApprovalId,
        gate: Option<GateName>,
        reason: String,
        /// The channel it came through, where it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<ChannelName>,
    },
    /// Nobody decided for so long that those who are told were told once more.
    #[serde(rename = "approval.reminded")]
    ApprovalReminded {
        approval: ApprovalId,
        /// From 1, in each round.
        reminder: u32,
    },
    /// Nobody decided for so long that further channels are told from now on. Nobody may decide who could not before.
    #[serde(rename = "approval.escalated")]
    ApprovalEscalated {
        approval: ApprovalId,
        /// From 1, in each round.
        step: u32,
        channels: BTreeSet<ChannelName>,
    },
    /// Somebody who voted in the open round has left: their votes, and those cast in their place, count no more.
    #[serde(rename = "approval.votes_withdrawn")]
    ApprovalVotesWithdrawn { approval: ApprovalId, person: PersonId },
    /// One person lifted every gate that was still shut, alone. From here on a review is open, and until it is closed they
    /// break no other.
    #[serde(rename = "approval.glass_broken")]
    ApprovalGlassBroken {
        statement: Statement,
        assertion: Assertion,
        /// Who was told at once: everybody else who may decide it.
        told: BTreeSet<PersonId>,
        /// How they had signed in, where one of the gates asks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sign_in: Option<SignIn>,
    },
    /// Somebody else has looked at a break-glass.
    #[serde(rename = "approval.glass_reviewed")]
    ApprovalGlassReviewed { approval: ApprovalId, broken_by: PersonId, found: Judged },
    #[serde(rename = "approval.granted")]
    ApprovalGranted { approval: ApprovalId, use_by: Timestamp },
    #[serde(rename = "approval.closed")]
    ApprovalClosed { approval: ApprovalId, closing: ClosedAs, by: Option<Taker> },
    #[serde(rename = "approval.revoked_while_running")]
    ApprovalRevokedWhileRunning { approval: ApprovalId, by: Taker },
    #[serde(rename = "execution.authorized")]
    ExecutionAuthorized(Authorization),
    #[serde(rename = "execution.released")]
    ExecutionReleased { attempt: u32, why: String },
    #[serde(rename = "execution.result")]
    ExecutionResult(ResultFacts),
    #[serde(rename = "execution.outcome_unknown")]
    ExecutionUnknown { attempt: u32, why: String },
    #[serde(rename = "execution.resolved")]
    ExecutionResolved { by: Taker, found: Found },
    #[serde(rename = "result.delivered")]
    ResultDelivered { approval: ApprovalId },
}

impl Event {
    /// The type as it stands in the entry.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LogOpened { .. } => "log.opened",
            Self::KeyRotated { .. } => "key.rotated",
            Self::RollbackAccepted { .. } => "log.rollback_accepted",
            Self::GatewayStarted { .. } => "gateway.started",
            Self::GatewayStopped { .. } => "gateway.stopped",
            Self::ClockStepped { .. } => "clock.stepped",
            Self::PolicyLoaded { .. } => "policy.loaded",
            Self::PolicyRejected { .. } => "policy.rejected",
            Self::FreezeSet { .. } => "freeze.set",
            Self::FreezeLifted { .. } => "freeze.lifted",
            Self::ToolNoticed { .. } => "tool.noticed",
            Self::ToolAccepted { .. } => "tool.accepted",
            Self::ToolRefused { .. } => "tool.refused",
            Self::NotificationGivenUp { .. } => "notification.given_up",
            Self::NotificationReplayed { .. } => "notification.replayed",
            Self::LedgerExported { .. } => "ledger.exported",
            Self::LedgerRead { .. } => "ledger.read",
            Self::LedgerRedacted { .. } => "ledger.redacted",
            Self::PersonInvited { .. } => "person.invited",
            Self::PersonLinkIssued { .. } => "person.link_issued",
            Self::PersonAttributesChanged { .. } => "person.attributes_changed",
            Self::PersonGroupsChanged { .. } => "person.groups_changed",
            Self::PersonRoleChanged { .. } => "person.role_changed",
            Self::PersonDisabled { .. } => "person.disabled",
            Self::PersonReturned { .. } => "person.returned",
            Self::PersonProvisioned { .. } => "person.provisioned",
            Self::ProvisionerCreated { .. } => "provisioner.created",
            Self::ProvisionerRevoked { .. } => "provisioner.revoked",
            Self::DelegationSet { .. } => "delegation.set",
            Self::DelegationEnded { .. } => "delegation.ended",
            Self::PasskeyRegistered { .. } => "passkey.registered",
            Self::PasskeyRemoved { .. } => "passkey.removed",
            Self::PushSubscribed { .. } => "push.subscribed",
            Self::PushUnsubscribed { .. } => "push.unsubscribed",
            Self::AccountLinked { .. } => "account.linked",
            Self::AccountUnlinked { .. } => "account.unlinked",
            Self::ChannelBound { .. } => "channel.bound",
            Self::ChannelUnbound { .. } => "channel.unbound",
            Self::SessionOpened { .. } => "session.opened",
            Self::SessionClosed { .. } => "session.closed",
            Self::SignalReceived { .. } => "signal.received",
            Self::AgentCreated { .. } => "agent.created",
            Self::AgentChanged { .. } => "agent.changed",
            Self::TokenCreated { .. } => "token.created",
            Self::WorkloadAdmitted { .. } => "workload.admitted",
            Self::TokenRevoked { .. } => "token.revoked",
            Self::IntakeRefused { .. } => "intake.refused",
            Self::ActionRefused { .. } => "action.refused",
            Self::ApprovalRequested { .. } => "approval.requested",
            Self::ApprovalRoundOpened { .. } => "approval.round_opened",
            Self::ApprovalVoted { .. } => "approval.voted",
            Self::ApprovalVoteRefused { .. } => "approval.vote_refused",
            Self::ApprovalTicketRefused { .. } => "approval.ticket_refused",
            Self::ApprovalReminded { .. } => "approval.reminded",
            Self::ApprovalEscalated { .. } => "approval.escalated",
            Self::ApprovalVotesWithdrawn { .. } => "approval.votes_withdrawn",
            Self::ApprovalGlassBroken { .. } => "approval.glass_broken",
            Self::ApprovalGlassReviewed { .. } => "approval.glass_reviewed",
            Self::ApprovalGranted { .. } => "approval.granted",
            Self::ApprovalClosed { .. } => "approval.closed",
            Self::ApprovalRevokedWhileRunning { .. } => "approval.revoked_while_running",
            Self::ExecutionAuthorized(_) => "execution.authorized",
            Self::ExecutionReleased { .. } => "execution.released",
            Self::ExecutionResult(_) => "execution.result",
            Self::ExecutionUnknown { .. } => "execution.outcome_unknown",
            Self::ExecutionResolved { .. } => "execution.resolved",
            Self::ResultDelivered { .. } => "result.delivered",
        }
    }
}

impl Event {
    /// The policy bundles it refers to: whoever reads it later needs their content.
    pub fn bundles(&self) -> Vec<BundleDigest> {
        match self {
            Self::GatewayStarted { bundle, .. } => vec![*bundle],
            Self::PolicyLoaded { bundle, previous, .. } => previous.iter().chain([bundle]).copied().collect(),
            Self::PolicyRejected { kept, .. } => vec![*kept],
            Self::ActionRefused { bundle, .. } => bundle.iter().copied().collect(),
            Self::ApprovalRequested { round, .. } | Self::ApprovalRoundOpened { round, .. } => {
                vec![round.bundle]
            }
            Self::ApprovalVoted { statement, .. } | Self::ApprovalGlassBroken { statement, .. } => {
                vec![statement.bundle_digest]
            }
            Self::ExecutionAuthorized(facts) => vec![facts.bundle],
            Self::LogOpened { .. }
            | Self::KeyRotated { .. }
            | Self::RollbackAccepted { .. }
            | Self::GatewayStopped { .. }
            | Self::ClockStepped { .. }
            | Self::FreezeSet { .. }
            | Self::FreezeLifted { .. }
            | Self::ToolNoticed { .. }
            | Self::ToolAccepted { .. }
            | Self::ToolRefused { .. }
            | Self::NotificationGivenUp { .. }
            | Self::NotificationReplayed { .. }
            | Self::LedgerExported { .. }
            | Self::LedgerRead { .. }
            | Self::LedgerRedacted { .. }
            | Self::PersonInvited { .. }
            | Self::PersonLinkIssued { .. }
            | Self::PersonAttributesChanged { .. }
            | Self::PersonGroupsChanged { .. }
            | Self::PersonRoleChanged { .. }
            | Self::PersonDisabled { .. }
            | Self::PersonReturned { .. }
            | Self::PersonProvisioned { .. }
            | Self::ProvisionerCreated { .. }
            | Self::ProvisionerRevoked { .. }
            | Self::DelegationSet { .. }
            | Self::DelegationEnded { .. }
            | Self::AccountLinked { .. }
            | Self::AccountUnlinked { .. }
            | Self::PasskeyRegistered { .. }
            | Self::PasskeyRemoved { .. }
            | Self::PushSubscribed { .. }
            | Self::PushUnsubscribed { .. }
            | Self::ChannelBound { .. }
            | Self::ChannelUnbound { .. }
            | Self::SessionOpened { .. }
            | Self::SessionClosed { .. }
            | Self::SignalReceived { .. }
            | Self::AgentCreated { .. }
            | Self::AgentChanged { .. }
            | Self::TokenCreated { .. }
            | Self::WorkloadAdmitted { .. }
            | Self::TokenRevoked { .. }
            | Self::IntakeRefused { .. }
            | Self::ApprovalVoteRefused { .. }
            | Self::ApprovalTicketRefused { .. }
            | Self::ApprovalReminded { .. }
            | Self::ApprovalEscalated { .. }
            | Self::ApprovalVotesWithdrawn { .. }
            | Self::ApprovalGlassReviewed { .. }
            | Self::ApprovalGranted { .. }
            | Self::ApprovalClosed { .. }
            | Self::ApprovalRevokedWhileRunning { .. }
            | Self::ExecutionReleased { .. }
            | Self::ExecutionResult(_)
            | Self::ExecutionUnknown { .. }
            | Self::ExecutionResolved { .. }
            | Self::ResultDelivered { .. } => Vec::new(),
        }
    }
}

/// How something came that was not done on the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Through {
    pub channel: ChannelName,
    /// Whose user of the channel said it: see `channel.bound`.
    pub binding: CredentialId,
}

/// The ticket that a vote was cast in, before the action was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TicketVote {
    /// What is spoken there: `jira`, `servicenow`.
    pub system: String,
    pub ticket: TicketKey,
    /// The system's own id of it, by which its uses are counted.
    pub id: String,
    /// The id, in the system's own history, of the change by which it was approved.
    pub change: String,
    /// When that was, by the system's clock.
    pub approved_at: Timestamp,
    /// When it was looked up.
    pub read_at: Timestamp,
    /// Digest of the scope as it was read, salted as the action's digest is; the scope itself is the private field `ticket_scope`.
    pub scope: Digest,
    /// How often it may be used, and the how manieth action this is.
    pub uses: u32,
    pub used: u32,
    /// Within what time it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What was checked.
    pub checked: BTreeSet<TicketCheck>,
}

/// What a freeze reaches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "kebab-case")]
pub enum FreezeScope {
    All,
    Agent { id: AgentId },
    Target { name: TargetName },
}

/// The public facts of an action. Its bytes, its resources' names and its sentence are private fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub class: String,
    /// The salted form of the action digest: equal in every entry of the action.
    pub digest: Digest,
    pub environment: EnvironmentName,
    pub on_behalf_of: Vec<PersonId>,
    /// The operation's name at its target; empty when it was not recognised.
    pub operation: String,
    pub target: TargetName,
    pub wire: String,
}

/// On what terms a round of votes is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundTerms {
    pub approval: ApprovalId,
    pub number: u32,
    pub bundle: BundleDigest,
    pub evidence: Digest,
    pub view: Digest,
    pub deadline: Timestamp,
    pub gates: Vec<GateTerms>,
    /// Everyone who may not vote: the requester's side and those it has just invited.
    pub excluded: BTreeSet<PersonId>,
}

/// One gate of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateTerms {
    pub gate: GateName,
    pub quorum: u32,
    pub assurance: Assurance,
    pub distinct: bool,
    pub groups: BTreeSet<GroupName>,
    pub people: BTreeSet<PersonId>,
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

/// A passkey's signature over a statement's challenge (`WebAuthn` Level 3, section 6.3.3); each part base64url.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    pub credential: CredentialId,
    pub authenticator_data: String,
    pub client_data_json: String,
    pub signature: String,
}

/// Why an execution may start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    pub asked: Asked,
    /// From 1; an action that policy permits has exactly one.
    pub attempt: u32,
    pub epoch: u64,
    pub gateway: GatewayId,
    /// The approval whose grant is consumed; `None` when policy permits outright.
    pub approval: Option<ApprovalId>,
    /// The bundle that decided now, which may be newer than the one that asked.
    pub bundle: BundleDigest,
    pub policies: BTreeSet<PolicyId>,
    /// Whether the body was read before deciding and is part of the digest.
    pub body_bound: bool,
    #[serde(default, skip_serializing_if = "Recording::is_first")]
    pub recording: Recording,
}

/// When an authorization became durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recording {
    /// Before anything ran.
    #[default]
    First,
    /// While it ran, or after: a read that policy permits to be recorded so. A crash may have lost others like it.
    Deferred,
}

impl Recording {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
    const fn is_first(&self) -> bool {
        matches!(self, Self::First)
    }
}

/// What is known of an execution that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultFacts {
    pub attempt: u32,
    pub outcome: Outcome,
    /// The wire's own word for how it went: an HTTP status, an SQLSTATE.
    pub status: String,
    pub duration_us: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Where something ended early: who ended it, in one word.
    pub ended_by: Option<String>,
    /// What of the result is kept, where policy asks for it; the rest of it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptAmount>,
}

/// How much of a result is kept beside its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptAmount {
    /// How many bytes are kept, from the first on.
    pub bytes: u64,
    /// How many there were.
    pub of: u64,
}

/// Why people have to decide again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reopened {
    /// Further gates matched, or voters lost their right.
    Gates,
    /// What was found out beforehand is not so any more.
    Evidence,
}

/// What somebody says of a break-glass who has looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judged {
    Justified,
    NotJustified,
}

/// How an approval closed without running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClosedAs {
    Rejected,
    Withdrawn,
    Lapsed,
    Revoked,
}

/// What a person found out about an execution whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    Ran,
    DidNotRun,
    CannotTell,
}

#[cfg(test)]
mod tests;
