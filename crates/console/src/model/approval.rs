//! An approval as people see it: what was asked, who decides, who may not, and what became of it.

use super::{
    Named,
    glass::{GlassItem, MayBreak},
    payload::Payload,
    time,
    told::ToldItem,
};
use crate::{caller::Caller, console::Console, error::Problem};
use countersign_core::{
    ApprovalId, Assurance, GroupName, PersonId, SignInTerms, Timestamp,
    approval::{Closing, Round, State},
    decision::Gate,
    evidence::{Finding, Found},
};
use countersign_engine::{
    hold::{Delivery, Hold},
    port::identity::Voter,
    preapproval::{NamedTicket, TicketStand},
    read,
    view::{approvers_in_words, whom_in_words},
    vote::{self, VoteRefused},
};
use countersign_identity::Role;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// An approval in a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalItem {
    pub(crate) id: String,
    pub(crate) action: String,
    /// `pending`, `granted`, `executing`, `done`, `cancelled`, `unknown`, `rejected`, `withdrawn`, `lapsed`, `revoked`.
    pub(crate) state: String,
    /// Eight characters of the action digest, the same on every screen.
    pub(crate) code: String,
    pub(crate) sentence: String,
    pub(crate) requester: Named,
    pub(crate) owners: Vec<Named>,
    pub(crate) on_behalf_of: Vec<Named>,
    pub(crate) target: String,
    pub(crate) environment: String,
    pub(crate) class: String,
    pub(crate) requested_at: String,
    pub(crate) deadline: Option<String>,
    pub(crate) gates: Vec<GateItem>,
    pub(crate) you: You,
}

/// A gate and how far it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GateItem {
    pub(crate) gate: String,
    /// Why policy asks.
    pub(crate) reason: String,
    pub(crate) quorum: u32,
    pub(crate) votes: usize,
    /// The least a vote must be worth.
    pub(crate) assurance: String,
    /// Who may lift it, in plain words.
    pub(crate) approvers: String,
    pub(crate) lifted: bool,
    /// Who lifted it alone.
    pub(crate) broken_by: Option<Named>,
    /// Who may lift it alone, in plain words; `null`: nobody.
    pub(crate) break_glass: Option<String>,
}

/// What the viewer may do here.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct You {
    pub(crate) can_vote: bool,
    pub(crate) why_not: Option<String>,
    pub(crate) voted: bool,
    /// In whose place the vote would be; `null`: your own.
    pub(crate) on_behalf_of: Option<Named>,
    pub(crate) can_revoke: bool,
    /// What is missing in how you signed in; `null`: nothing.
    pub(crate) sign_in_again: Option<StepUp>,
    /// What policy wants of the vote: `passkey`, `session` or `chat`.
    pub(crate) wanted: Option<String>,
}

/// A sign-in that a gate asks for and this session is not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StepUp {
    pub(crate) why: String,
    /// To be handed to `POST /api/v1/session/provider`.
    #[schema(value_type = Object)]
    pub(crate) terms: SignInTerms,
}

/// An approval, whole.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ApprovalFull {
    #[serde(flatten)]
    pub(crate) item: ApprovalItem,
    /// Grows with every change. Named to `/api/v1/events`, it is answered with the news if it is behind.
    pub(crate) version: u64,
    /// The message model every reviewer sees, on any surface.
    #[schema(value_type = Object)]
    pub(crate) view: Value,
    pub(crate) view_digest: String,
    /// As published in the ledger.
    pub(crate) action_digest: String,
    pub(crate) operation: Option<String>,
    #[schema(value_type = Object)]
    pub(crate) facts: Value,
    /// What was found out before anybody decides, for the newest round.
    pub(crate) evidence: Option<EvidenceItem>,
    /// Why it waits again although it was approved: what was found out is not so any more.
    pub(crate) drifted: Option<String>,
    pub(crate) resources: Vec<ResourceItem>,
    pub(crate) wire: String,
    /// What the requester says it is for. Claimed, not verified.
    pub(crate) claimed_reason: Option<String>,
    /// Tickets that the requester named as approved beforehand, in the order in which it did, and what was found out about each.
    pub(crate) named_tickets: Vec<TicketItem>,
    /// What a ticket would have to say to cover this action alone, where a gate takes one.
    pub(crate) ticket_scope: Option<String>,
    pub(crate) payload: Payload,
    /// What was asked has been erased; it had run, or will never run.
    pub(crate) erased: bool,
    pub(crate) rounds: Vec<RoundItem>,
    /// Who may decide now.
    pub(crate) eligible: Vec<Named>,
    /// Who may not, and why.
    pub(crate) excluded: Vec<Excluded>,
    /// People brought in or put into groups lately, among those who may decide.
    pub(crate) recent_changes: Vec<GroupChange>,
    pub(crate) rejection: Option<Rejection>,
    /// When one person lifted gates of it alone, and what others say of that.
    pub(crate) glass: Vec<GlassItem>,
    /// Whether you may lift all that is shut alone; `null` where that is not offered to you.
    pub(crate) break_glass: Option<MayBreak>,
    pub(crate) revoked_by: Option<Named>,
    pub(crate) resolution: Option<ResolutionItem>,
    /// Where the answer is: `waiting`, `kept`, `not-kept`, `delivered`, `expired`.
    pub(crate) delivery: String,
    pub(crate) closed_at: Option<String>,
    /// Who is told of it beside the console.
    pub(crate) told: ToldItem,
    pub(crate) link: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ResourceItem {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
}

/// A ticket that the requester named.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TicketItem {
    /// As the requester wrote it. Claimed, not verified.
    pub(crate) claimed: String,
    /// `unread`, `counted` or `failed`.
    pub(crate) state: String,
    /// The check that failed, as one word.
    pub(crate) check: Option<String>,
    /// Why it does not count.
    pub(crate) why: Option<String>,
    /// How it stands, computed by the gateway.
    pub(crate) says: String,
    pub(crate) named_at: String,
    /// Whose word it is, where it counts.
    pub(crate) approved_by: Option<Named>,
    pub(crate) approved_at: Option<String>,
    /// Which use of the ticket this is, and how many it has.
    pub(crate) used: Option<u32>,
    pub(crate) uses: Option<u32>,
}

impl TicketItem {
    fn of(console: &Console, named: &NamedTicket) -> Self {
        let (counted, why) = match &named.stands {
            TicketStand::Counted(counted) => (Some(counted), None),
            TicketStand::Failed { why, .. } => (None, Some(why.clone())),
            TicketStand::Unread => (None, None),
        };
        Self {
            claimed: named.claimed.clone(),
            state: named.state().into(),
            check: named.failed().map(|check| check.as_str().to_owned()),
            why,
            says: named.in_words(),
            named_at: time(named.named_at),
            approved_by: counted.map(|counted| console.person_named(counted.by)),
            approved_at: counted.map(|counted| time(counted.vote.approved_at)),
            used: counted.map(|counted| counted.vote.used),
            uses: counted.map(|counted| counted.vote.uses),
        }
    }
}

/// What was found out at one moment. Votes are on its digest.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EvidenceItem {
    pub(crate) gathered_at: String,
    pub(crate) findings: Vec<FindingItem>,
}

/// One thing found out, or why it was not.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FindingItem {
    /// What it is about, such as `rows`.
    pub(crate) about: String,
    /// How it was found.
    pub(crate) source: String,
    /// A number.
    pub(crate) value: Option<u64>,
    /// How sure the number is: `exact`, `at least` or `estimate`.
    pub(crate) quality: Option<String>,
    /// The target's own words.
    pub(crate) text: Option<String>,
    /// Digest of what has to be the same when it runs.
    pub(crate) fixed: Option<String>,
    /// Why it could not be found out.
    pub(crate) missing: Option<String>,
}

impl FindingItem {
    fn of(finding: &Finding) -> Self {
        let Finding { about, source, found } = finding.clone();
        let item = Self { about, source, value: None, quality: None, text: None, fixed: None, missing: None };
        match found {
            Found::Number { value, quality } => {
                Self { value: Some(value), quality: Some(quality.as_str().into()), ..item }
            }
            Found::Text { text } => Self { text: Some(text), ..item },
            Found::Fixed { digest } => Self { fixed: Some(digest.to_string()), ..item },
            Found::Missing { why } => Self { missing: Some(why), ..item },
        }
    }
}

/// One series of votes.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RoundItem {
    pub(crate) number: u32,
    pub(crate) opened_at: String,
    pub(crate) deadline: String,
    pub(crate) policy: String,
    pub(crate) view_digest: String,
    pub(crate) evidence_digest: String,
    pub(crate) gates: Vec<GateItem>,
    pub(crate) votes: Vec<VoteItem>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct VoteItem {
    pub(crate) gate: String,
    pub(crate) voter: Named,
    /// In whose place it was cast; `null`: their own.
    pub(crate) on_behalf_of: Option<Named>,
    pub(crate) assurance: String,
    pub(crate) at: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Excluded {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) why: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GroupChange {
    pub(crate) person: Named,
    pub(crate) by: Named,
    pub(crate) at: String,
    /// `None`: they were invited, or a link was made for them.
    pub(crate) group: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Rejection {
    pub(crate) by: Option<Named>,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ResolutionItem {
    pub(crate) by: Named,
    /// `ran`, `did-not-run` or `cannot-tell`.
    pub(crate) found: String,
    pub(crate) note: String,
    pub(crate) at: String,
}

/// A serializable word of ours, such as `did-not-run`.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

pub(crate) fn item(console: &Console, hold: &Hold, caller: &Caller) -> ApprovalItem {
    let (approval, seen) = (&hold.approval, &hold.view.computed);
    let rounds = approval.rounds.iter();
    ApprovalItem {
        id: approval.id.to_string(),
        action: approval.action.to_string(),
        state: approval.state.as_str().into(),
        code: seen.code.clone(),
        sentence: seen.sentence.clone(),
        requester: console.principal_named(hold.principal, Some(&hold.view.claimed.requester_name)),
        owners: console.people_named(&seen.owners),
        on_behalf_of: console.people_named(&seen.on_behalf_of),
        target: seen.target.to_string(),
        environment: seen.environment.to_string(),
        class: seen.class.clone(),
        requested_at: time(approval.requested_at),
        deadline: approval.next_deadline().map(time),
        gates: rounds.flat_map(|round| gates(console, round)).collect(),
        you: you(console, hold, caller),
    }
}

/// An approval as it was stored at one moment.
pub(crate) struct Read {
    pub(crate) hold: Hold,
    pub(crate) version: u64,
}

/// For programs: with the bytes as texts.
pub(crate) async fn full(console: &Console, read: &Read, caller: &Caller) -> Result<ApprovalFull, Problem> {
    let mut full = drawn(console, read, caller).await?;
    full.payload = full.payload.written_out();
    Ok(full)
}

/// For pages, which draw the bytes themselves.
pub(crate) async fn drawn(console: &Console, read: &Read, caller: &Caller) -> Result<ApprovalFull, Problem> {
    let hold = &read.hold;
    let (approval, seen) = (&hold.approval, &hold.view.computed);
    let action = read::action(console.gate(), approval.action).await?;
    if action.is_none() && !approval.state.is_closed() {
        return Err(Problem::internal("the stored request of this approval is missing"));
    }
    let mut facts = seen.facts.clone();
    if !seen.claims.is_empty() {
        // No wire has a fact of such a name.
        facts.insert("requester.claims".into(), serde_json::json!(seen.claims));
    }
    let facts = Value::Object(facts);
    let view =
        serde_json::to_value(&hold.view).map_err(|_| Problem::internal("the view has no JSON form"))?;
    let resources = seen.resources.iter().map(|resource| ResourceItem {
        kind: resource.kind.clone(),
        name: resource.name.clone(),
        labels: resource.labels.iter().cloned().collect(),
    });
    let deciding = Deciding::of(console, hold);
    Ok(ApprovalFull {
        item: item(console, hold, caller),
        version: read.version,
        view,
        view_digest: approval.round().map_or_else(String::new, |round| round.view.to_string()),
        action_digest: hold.asked.digest.to_string(),
        operation: seen.operation.clone(),
        facts,
        evidence: seen.evidence.as_ref().map(|evidence| EvidenceItem {
            gathered_at: time(evidence.gathered_at),
            findings: evidence.findings.iter().map(FindingItem::of).collect(),
        }),
        drifted: hold.drifted.clone(),
        resources: resources.collect(),
        wire: seen.wire.clone(),
        claimed_reason: hold.view.claimed.reason.clone(),
        named_tickets: hold.tickets.iter().map(|named| TicketItem::of(console, named)).collect(),
        ticket_scope: hold.scope_of_a_ticket(),
        erased: action.is_none(),
        payload: action.map_or_else(Payload::erased, |action| Payload::of(&action, seen.hidden_characters)),
        rounds: approval.rounds.iter().map(|round| round_item(console, round)).collect(),
        eligible: deciding.eligible,
        excluded: deciding.excluded,
        recent_changes: deciding.recent,
        rejection: rejection(console, hold),
        glass: console.glass_items(hold, caller),
        break_glass: console.may_break(hold, caller).await?,
        revoked_by: revoked_by(console, hold),
        resolution: hold.resolution.as_ref().map(|found| ResolutionItem {
            by: console.author_named(found.by),
            found: word(&found.found),
            note: found.note.clone(),
            at: time(found.at),
        }),
        delivery: delivery(hold.delivery).into(),
        closed_at: hold.closed_at.map(time),
        told: console.told(hold).await?,
        link: console.gate().approval_link(approval.id),
    })
}

/// The approval with this id, or the problem that there is none.
pub(crate) async fn load(console: &Console, id: ApprovalId) -> Result<Read, Problem> {
    let found = read::hold_at(console.gate(), id).await?;
    let missing = || Problem::not_found(format!("there is no approval `{id}`"));
    found.map(|(hold, version)| Read { hold, version }).ok_or_else(missing)
}

/// Whether this person, who is not on the requester's side, is asked about it at all.
pub(crate) fn is_reviewer(console: &Console, hold: &Hold, person: PersonId) -> bool {
    vote::gate_for(console.gate(), hold, person).is_ok()
}

fn gates<'h>(console: &'h Console, round: &'h Round) -> impl Iterator<Item = GateItem> + 'h {
    round.gates.iter().map(move |gate| gate_item(console, round, gate))
}

fn gate_item(console: &Console, round: &Round, gate: &Gate) -> GateItem {
    let name_of = |person| console.directory().person(person).map(|person| person.name);
    let broken = round.broken.as_ref().filter(|broken| broken.gates.contains(&gate.name));
    GateItem {
        gate: gate.name.to_string(),
        reason: gate.reason.clone(),
        quorum: gate.quorum.get(),
        votes: round.votes.get(&gate.name).map_or(0, std::collections::BTreeMap::len),
        assurance: gate.assurance.as_str().into(),
        approvers: approvers_in_words(gate, name_of),
        lifted: round.lifted(gate),
        broken_by: broken.map(|broken| console.person_named(broken.by)),
        break_glass: gate.break_glass.as_ref().map(|alone| whom_in_words(alone, name_of)),
    }
}

fn round_item(console: &Console, round: &Round) -> RoundItem {
    let votes = round.votes.iter().flat_map(|(gate, votes)| {
        votes.iter().map(move |(voter, vote)| VoteItem {
            gate: gate.to_string(),
            voter: console.person_named(*voter),
            on_behalf_of: vote.on_behalf_of.map(|absent| console.person_named(absent)),
            assurance: vote.assurance.as_str().into(),
            at: time(vote.at),
        })
    });
    RoundItem {
        number: round.number,
        opened_at: time(round.opened_at),
        deadline: time(round.deadline),
        policy: round.bundle.to_string(),
        view_digest: round.view.to_string(),
        evidence_digest: round.evidence.to_string(),
        votes: votes.collect(),
        gates: gates(console, round).collect(),
    }
}

fn you(console: &Console, hold: &Hold, caller: &Caller) -> You {
    let open = !hold.approval.state.is_closed();
    let Some(person) = caller.person() else {
        let why_not = Some("the operator does not vote".to_owned());
        return You { why_not, can_revoke: open, ..You::default() };
    };
    let voted = |gate: &Gate| {
        let votes = hold.approval.round().and_then(|round| round.votes.get(&gate.name));
        votes.is_some_and(|votes| votes.contains_key(&person))
    };
    let has_voted = hold.approval.rounds.iter().any(|round| round.gates.iter().any(&voted));
    let found = vote::seat_for(console.gate(), hold, person);
    let auditor = caller.role() == Some(Role::Auditor);
    let of_the_side = || vote::side_of(console.gate(), hold).contains(&person);
    let can_revoke = open && !auditor && (found.is_ok() || caller.is_administrator() && !of_the_side());
    let base = You { voted: has_voted, can_revoke, ..You::default() };
    let why = |why: &str| You { why_not: Some(why.to_owned()), ..base.clone() };
    match (&hold.approval.state, found) {
        (State::Closed(_), _) => why("this approval is closed"),
        _ if auditor => why("auditors do not vote"),
        (State::Granted { .. } | State::Executing(_), _) => why("it is decided already"),
        (State::Pending, Ok(seat)) if voted(seat.gate) => why("you have voted"),
        (State::Pending, Ok(seat)) => {
            let on_behalf_of = seat.on_behalf_of.map(|absent| console.person_named(absent));
            let sign_in_again = step_up(console, seat.gate, caller);
            You {
                can_vote: true,
                on_behalf_of,
                sign_in_again,
                wanted: Some(seat.gate.assurance.as_str().into()),
                ..base
            }
        }
        (State::Pending, Err(VoteRefused::NotAPerson)) => why("you are not enrolled as a reviewer"),
        (State::Pending, Err(refused)) => why(&refused.to_string()),
    }
}

/// What is missing in how the viewer signed in. A passkey, where they have one, proves them anew with the vote itself.
fn step_up(console: &Console, gate: &Gate, caller: &Caller) -> Option<StepUp> {
    let (terms, session) = (gate.sign_in.as_ref()?, caller.session.as_ref()?);
    let signs = !console.directory().passkeys(session.person).is_empty();
    let assurance = if signs { Assurance::Passkey } else { Assurance::Session };
    let why = terms.met_by(&session.sign_in, assurance, console.gate().now()).err()?;
    Some(StepUp { why: why.to_string(), terms: terms.clone() })
}

struct Deciding {
    eligible: Vec<Named>,
    excluded: Vec<Excluded>,
    recent: Vec<GroupChange>,
}

impl Deciding {
    fn of(console: &Console, hold: &Hold) -> Self {
        let gate = console.gate();
        let excluded = vote::exclusions(gate, hold);
        let since = hold.approval.requested_at.minus(gate.limits().cooling_off);
        let concerned = |voter: &Voter| {
            let mut gates = hold.approval.rounds.iter().flat_map(|round| &round.gates);
            gates.any(|gate| {
                let mut groups = gate.approvers.groups.intersection(&voter.groups);
                groups.next().is_some() || gate.approvers.people.contains(&voter.person)
            }) || !voter.stands_in.is_empty() && vote::gate_for(gate, hold, voter.person).is_ok()
        };
        let gates = || hold.approval.rounds.iter().flat_map(|round| &round.gates);
        let groups: BTreeSet<&GroupName> = gates().flat_map(|gate| &gate.approvers.groups).collect();
        let voters: Vec<Voter> = console.identity().voters();
        let (mut eligible, mut others, mut recent) = (Vec::new(), Vec::new(), Vec::new());
        for voter in voters.iter().filter(|voter| concerned(voter)) {
            recent.extend(changes(console, voter, since, &groups));
            match vote::gate_for(gate, hold, voter.person) {
                Ok(_) => eligible.push(console.person_named(voter.person)),
                Err(refused) if !excluded.contains_key(&voter.person) => {
                    let why = refused.to_string();
                    others.push(Excluded { id: voter.person.to_string(), name: voter.name.clone(), why });
                }
                Err(_) => {}
            }
        }
        let named = excluded.into_iter().map(|(person, why)| {
            let Named { id, name, .. } = console.person_named(person);
            Excluded { id, name, why }
        });
        Self { eligible, excluded: named.chain(others).collect(), recent }
    }
}

/// Who was brought in lately, or into one of these groups.
fn changes(
    console: &Console,
    voter: &Voter,
    since: Timestamp,
    groups: &BTreeSet<&GroupName>,
) -> Vec<GroupChange> {
    let lately = voter.introductions.iter().filter(|introduction| {
        let concerns = introduction.group.as_ref().is_none_or(|group| groups.contains(group));
        introduction.at >= since && concerns
    });
    let change = |introduction: &countersign_engine::port::identity::Introduction| GroupChange {
        person: console.person_named(voter.person),
        by: console.author_named(introduction.by),
        at: time(introduction.at),
        group: introduction.group.as_ref().map(ToString::to_string),
    };
    lately.map(change).collect()
}

fn rejection(console: &Console, hold: &Hold) -> Option<Rejection> {
    let by = match &hold.approval.state {
        State::Closed(Closing::Rejected { by, .. }) => Some(console.person_named(*by)),
        State::Pending | State::Granted { .. } | State::Executing(_) | State::Closed(_) => None,
    };
    hold.rejection.clone().map(|reason| Rejection { by, reason })
}

fn revoked_by(console: &Console, hold: &Hold) -> Option<Named> {
    let taker = match &hold.approval.state {
        State::Executing(attempt) => attempt.revoked_by.as_ref(),
        State::Closed(Closing::Revoked { by }) => Some(by),
        State::Closed(Closing::Finished { revoked_by, .. }) => revoked_by.as_ref(),
        State::Pending
        | State::Granted { .. }
        | State::Closed(Closing::Rejected { .. } | Closing::Withdrawn | Closing::Lapsed) => None,
    };
    taker.map(|taker| console.taker_named(taker))
}

const fn delivery(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Waiting => "waiting",
        Delivery::Kept => "kept",
        Delivery::NotKept => "not-kept",
        Delivery::Delivered => "delivered",
        Delivery::Expired => "expired",
    }
}
