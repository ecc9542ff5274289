//! Holding: an action waits, in the store and in memory only, until people have decided or time has.

mod document;
mod live;

pub(crate) use document::json;
pub use document::{Delivery, Glass, GlassReview, Hold, Resolution};
pub(crate) use live::{At, Holds, Standing, Work};

use crate::{
    call,
    error::Error,
    execute,
    gate::{Changed, Gate, actor_of, asked},
    journal::Note,
    outbox::{self, Calls, First},
    port::{
        identity::{Introduction, StandIn},
        store::{Change, Commit, CommitError, Expect, Find, Kind, Receipt},
        upstream::Kept,
    },
    preapproval::NamedTicket,
    reply::{Refused as ReplyRefused, Reply},
    rules,
    view::View,
};
use bytes::Bytes;
use countersign_core::{
    Action, Approval, ApprovalId, Body, Digest, Evidence, PersonId, Refusal, RefusalCode, Requester, Terms,
    Timestamp,
    approval::{Refused, Round},
    canonical::{self, CanonicalError},
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Event, GateTerms, RoundTerms},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// A caller's place at an approval, new or attached to.
#[derive(Debug)]
pub(crate) struct Held {
    id: ApprovalId,
    standing: watch::Receiver<Standing>,
}

impl Held {
    pub(crate) fn id(&self) -> ApprovalId {
        self.id
    }

    /// Where it stands; what changes from here on is told by [`Self::changed`].
    pub(crate) fn standing(&mut self) -> At {
        self.standing.borrow_and_update().at
    }

    /// Resolves at the next change; an error when the hold was delivered and let go.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.standing.changed().await
    }
}

/// What became of the wish to hold an action.
pub(crate) enum Placed {
    Held(Held),
    Refused(Box<Action>, Refusal),
}

/// What a revision writes beside the hold itself.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) actor: Actor,
    pub(crate) events: Vec<(Event, Vec<PrivateField>)>,
    pub(crate) changes: Vec<Change>,
}

impl Write {
    pub(crate) fn by(actor: Actor) -> Self {
        Self { actor, events: Vec::new(), changes: Vec::new() }
    }

    pub(crate) fn event(mut self, event: Event) -> Self {
        self.events.push((event, Vec::new()));
        self
    }

    pub(crate) fn with_private(mut self, event: Event, private: Vec<PrivateField>) -> Self {
        self.events.push((event, private));
        self
    }

    pub(crate) fn change(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
}

/// How often a revision is tried again when somebody else was faster.
const TRIES: usize = 64;

/// Holds the action for review, or attaches it to the approval that an identical one already has.
pub(crate) async fn place(gate: &Arc<Gate>, action: Action, terms: Terms) -> Result<Placed, Error> {
    let digest = action.digest()?;
    let key = gate.attach_key(&action, &digest);
    if let Some(held) = attach(gate, &key) {
        return Ok(Placed::Held(held));
    }
    if let Some(refusal) = not_holdable(gate, &action, &terms) {
        return Ok(Placed::Refused(Box::new(action), refusal));
    }
    let (hold, note) = open(gate, &action, digest, key.clone(), &terms)?;
    let row = gate.journal().row(note)?;
    let hold = Hold { last_leaf: Digest(row.sealed.leaf.0), ..hold };
    let stored = Change::Put {
        kind: Kind::Action,
        id: action.id.to_string(),
        expect: Expect::Absent,
        doc: json(&action)?.into(),
        keys: vec![],
    };
    let entries = vec![row];
    let mut changes = vec![hold.put(Expect::Absent)?, stored];
    let news = Box::pin(outbox::news(gate, &hold, &entries, First::Yes)).await?;
    changes.extend(news.changes);
    let id = hold.approval.id;
    let placed = gate.commit(Commit { changes, entries }, move |gate| {
        gate.holds.insert(&hold, 1);
        gate.channels().ring_of(&hold.notify, &news.put_off);
    });
    match placed.await {
        Ok(_) => {}
        // An identical action was placed at the same moment; this one belongs to it.
        Err(CommitError::Conflict { .. }) => take_in(gate, &key).await?,
        Err(error) => return Err(error.into()),
    }
    gate.announce(Changed::Approval { id, state: "pending" });
    let held = attach(gate, &key).ok_or_else(|| Error::Contended { kind: Kind::Hold, id: id.to_string() })?;
    // Whoever saw it in the store may have changed it before it stood here. What cannot be read now is heard of with the
    // next change.
    if let Ok((now, version)) = Box::pin(load(gate, held.id)).await {
        gate.holds.update(&now, version);
    }
    Ok(Placed::Held(held))
}

/// Whether an identical action has an approval that this one will attach to.
pub(crate) fn is_placed(gate: &Gate, action: &Action) -> Result<bool, Error> {
    let key = gate.attach_key(action, &action.digest()?);
    Ok(gate.holds.attached(&key).is_some())
}

fn attach(gate: &Gate, key: &str) -> Option<Held> {
    held(gate, gate.holds.attached(key)?)
}

/// A caller's place at an approval that is known by its id; `None` when nobody can attach to it any more.
pub(crate) fn held(gate: &Gate, id: ApprovalId) -> Option<Held> {
    Some(Held { id, standing: gate.holds.watch(id)? })
}

async fn take_in(gate: &Gate, key: &str) -> Result<(), Error> {
    let find = Find { keys: vec![("attach", key.into())], before: None, limit: 1 };
    for record in gate.store().find(Kind::Hold, find).await? {
        gate.holds.insert(&Hold::read(&record)?, record.version);
    }
    Ok(())
}

fn not_holdable(gate: &Gate, action: &Action, terms: &Terms) -> Option<Refusal> {
    let refuse = |code, reason: String, remedy: &str| {
        Some(Refusal { code, reason, remedy: remedy.into(), basis: Some(terms.basis.clone()) })
    };
    if terms.justification_required
        && action.claimed_reason.as_deref().is_none_or(|said| said.trim().is_empty())
    {
        let reason = "policy wants to hear why before anyone is asked".into();
        return refuse(RefusalCode::JustificationMissing, reason, "repeat the request with its reason");
    }
    let (open, limit) = (gate.holds.open_of(action.requester.principal), gate.limits().pending_per_principal);
    if open >= limit {
        let reason = format!("{open} of your actions are waiting already, and {limit} may");
        return refuse(RefusalCode::TooMany, reason, "wait until some are decided, or withdraw them");
    }
    None
}

fn open(
    gate: &Gate,
    action: &Action,
    digest: Digest,
    attach_key: String,
    terms: &Terms,
) -> Result<(Hold, Note), Error> {
    let now = gate.now();
    let deadline = now.plus(terms.expires_in);
    let view = View::of(action, &digest, &terms.gates, deadline);
    let side = action.requester.side();
    let round = Round {
        number: 1,
        bundle: terms.basis.bundle,
        evidence: evidence_digest(action.evidence.as_ref())?,
        view: view.digest()?,
        opened_at: now,
        deadline,
        valid_for_micros: i64::try_from(terms.valid_for.as_micros()).unwrap_or(i64::MAX),
        gates: terms.gates.clone(),
        votes: BTreeMap::new(),
        broken: None,
    };
    let id = gate.journal().id(ApprovalId::from_parts);
    let salt: [u8; 32] = gate.journal().random();
    let asked = asked(action, &digest, &salt);
    let excluded = excluded(gate, &action.requester, deadline);
    let event = Event::ApprovalRequested { asked: asked.clone(), round: round_terms(id, &round, &excluded) };
    let note = Note {
        action: Some(action.id),
        parent: None,
        actor: actor_of(&action.requester),
        event,
        private: private_fields(action, &digest, &salt)?,
    };
    let plan = call::plan(gate, action, &terms.gates);
    let mut hold = Hold {
        approval: Approval::open(id, action.id, digest, side, round),
        principal: action.requester.principal,
        asked,
        view,
        salt,
        attach_key,
        last_leaf: digest,
        handle_given: false,
        delivery: Delivery::Waiting,
        resolution: None,
        rejection: None,
        evidence: action.evidence.clone(),
        drift: terms.drift,
        drifted: None,
        excluded,
        glass: Vec::new(),
        heard: Vec::new(),
        tickets: action.claimed_ticket.iter().map(|claimed| NamedTicket::new(claimed.clone(), now)).collect(),
        summoned: BTreeMap::new(),
        notify: terms.notify.iter().cloned().collect(),
        calls: Calls::default(),
        closed_at: None,
    };
    hold.follow(plan);
    Ok((hold, note))
}

/// What the ledger keeps beside an action's first entry: openable by whoever may see it, erasable.
pub(crate) fn private_fields(
    action: &Action,
    digest: &Digest,
    salt: &[u8; 32],
) -> Result<Vec<PrivateField>, CanonicalError> {
    let field = |path: &'static str, value: Bytes| PrivateField { path: path.into(), value };
    let mut fields = vec![
        field("action_digest_opening", [salt.as_slice(), digest.as_bytes()].concat().into()),
        field("request_head", action.payload.head.clone()),
        field("requester_name", action.requester.name.clone().into()),
        field("sentence", action.sentence.clone().into()),
    ];
    if let Body::Bound(body) = &action.payload.body
        && !body.is_empty()
    {
        fields.push(field("request_body", body.clone()));
    }
    if !action.requester.claims.is_empty() {
        fields.push(field("claims", canonical::to_vec(&action.requester.claims)?.into()));
    }
    if let Some(reason) = &action.claimed_reason {
        fields.push(field("claimed_reason", reason.clone().into()));
    }
    if let Some(ticket) = &action.claimed_ticket {
        fields.push(field("claimed_ticket", ticket.clone().into()));
    }
    fields.extend(evidence_field(action.evidence.as_ref())?);
    Ok(fields)
}

/// Everyone who may not vote, and why: the requester's side, and for a cooling-off time whoever they brought in and
/// whoever changed the policy.
pub(crate) fn excluded(
    gate: &Gate,
    requester: &Requester,
    deadline: Timestamp,
) -> BTreeMap<PersonId, String> {
    let side = requester.side();
    let mut out: BTreeMap<_, _> =
        side.iter().map(|person| (*person, "is on the requester's side".to_owned())).collect();
    let since = gate.now().min(deadline).minus(gate.limits().cooling_off);
    let rules = rules::before(gate, requester.principal, gate.now()).into_iter();
    let further = near(gate, &side, since).chain(rules.map(|(person, why)| (person, why.to_owned())));
    out.extend(further.filter(|(person, _)| !side.contains(person)));
    out
}

/// Who is too near to the requester's side for a cooling-off time: those it brought in, those who brought it in, and those
/// who stand in for somebody of it.
pub(crate) fn near<'s>(
    gate: &'s Gate,
    side: &'s BTreeSet<PersonId>,
    since: Timestamp,
) -> impl Iterator<Item = (PersonId, String)> + use<'s> {
    const BROUGHT_IN: &str = "was brought in by the requester's side within the cooling-off time";
    const STAND_IN: &str = "stands in for somebody on the requester's side";
    const BRINGER: &str = "brought in the requester's side within the cooling-off time";
    let now = gate.now();
    // Of everybody on the side: one who may not vote can be somebody's puppet all the same.
    let bringers = side.iter().flat_map(move |person| {
        let by = hands(&gate.identity().introductions(*person), since);
        by.into_iter().map(|by| (by, BRINGER))
    });
    let near = gate.identity().voters().into_iter().flat_map(move |voter| {
        let by = hands(&voter.introductions, since);
        let brought_in = by.iter().any(|by| side.contains(by)).then_some((voter.person, BROUGHT_IN));
        // Not whoever did: a side that names one reviewer after the other would choose who is left.
        let stands = |one: &StandIn| side.contains(&one.absent) && one.from <= now && now < one.until;
        let stands_in = voter.stands_in.iter().any(stands).then_some((voter.person, STAND_IN));
        brought_in.into_iter().chain(stands_in).collect::<Vec<_>>()
    });
    bringers.chain(near).map(|(person, why)| (person, why.to_owned()))
}

/// The people whose hand is in somebody's standing since a moment.
pub(crate) fn hands(introductions: &[Introduction], since: Timestamp) -> BTreeSet<PersonId> {
    let recent = introductions.iter().filter(|introduction| introduction.at >= since);
    recent.filter_map(|introduction| introduction.by).collect()
}

pub(crate) fn round_terms(
    id: ApprovalId,
    round: &Round,
    excluded: &BTreeMap<PersonId, String>,
) -> RoundTerms {
    let gates = round.gates.iter().map(|gate| GateTerms {
        gate: gate.name.clone(),
        quorum: gate.quorum.get(),
        assurance: gate.assurance,
        distinct: gate.distinct,
        groups: gate.approvers.groups.clone(),
        people: gate.approvers.people.clone(),
        policies: gate.policies.clone(),
        break_glass: gate.break_glass.clone(),
        sign_in: gate.sign_in.clone(),
        tickets: gate.tickets.clone(),
    });
    RoundTerms {
        approval: id,
        number: round.number,
        bundle: round.bundle,
        evidence: round.evidence,
        view: round.view,
        deadline: round.deadline,
        gates: gates.collect(),
        excluded: excluded.keys().copied().collect(),
    }
}

/// Digest of what was gathered, or of there being nothing.
pub(crate) fn evidence_digest(evidence: Option<&Evidence>) -> Result<Digest, CanonicalError> {
    evidence.map_or_else(|| Ok(Evidence::none()), Evidence::digest)
}

/// What was found out, as a private field of an entry: it may quote what is in the target.
pub(crate) fn evidence_field(evidence: Option<&Evidence>) -> Result<Option<PrivateField>, CanonicalError> {
    let field = |evidence: &Evidence| {
        Ok(PrivateField { path: "evidence".into(), value: canonical::to_vec(evidence)?.into() })
    };
    evidence.map(field).transpose()
}

/// Waits for the answer, as long as the caller's patience lasts; then leaves a handle.
pub(crate) async fn until_answered<R>(
    gate: &Arc<Gate>,
    mut held: Held,
    patience: Duration,
) -> Result<Reply<R>, Error> {
    let until = Instant::now() + patience;
    let mut fresh = true;
    loop {
        let standing = held.standing.borrow_and_update().clone();
        match (standing.at, standing.hiccup) {
            (At::Closed, _) => return answer(gate, held.id).await,
            (At::Granted, Some(refusal)) if !fresh => {
                let refused = refused(gate, held.id, Some((*refusal).clone())).await?;
                return Ok(Reply::Refused(refused));
            }
            (At::Granted, _) => execute::start(gate, held.id),
            (At::Pending | At::Executing, _) => {}
        }
        fresh = false;
        let changed = tokio::time::timeout_at(until, held.standing.changed()).await;
        match changed {
            Ok(Ok(())) => {}
            // The hold was delivered elsewhere while this caller waited.
            Ok(Err(_)) => return answer(gate, held.id).await,
            Err(_) => return leave_handle(gate, held.id).await,
        }
    }
}

async fn leave_handle<R>(gate: &Arc<Gate>, id: ApprovalId) -> Result<Reply<R>, Error> {
    if !gate.holds.handle_given(id) {
        let revised = revise(gate, id, |hold, _| {
            hold.handle_given = true;
            Ok(Write::by(Actor::Gateway))
        });
        revised.await?.ok();
    }
    let hold = load(gate, id).await?.0;
    if hold.approval.state.is_closed() {
        return answer(gate, id).await;
    }
    if matches!(hold.approval.state, countersign_core::approval::State::Granted { .. }) {
        execute::start(gate, id);
    }
    Ok(Reply::Pending(ticket(gate, &hold)))
}

pub(crate) fn ticket(gate: &Gate, hold: &Hold) -> crate::reply::Ticket {
    hold.ticket(gate.approval_link(hold.approval.id), |person| gate.identity().person_name(person))
}

/// The answer of a closed approval. Refusals count as delivered when they are told.
pub(crate) async fn answer<R>(gate: &Arc<Gate>, id: ApprovalId) -> Result<Reply<R>, Error> {
    let (hold, _) = load(gate, id).await?;
    if hold.delivery == Delivery::Kept {
        let stored = gate.store().fetch(Kind::Answer, &id.to_string()).await?;
        if let Some(record) = stored {
            let kept: Kept = serde_json::from_slice(&record.doc).map_err(|error| {
                crate::port::store::ReadError::Garbled { kind: Kind::Answer, why: error.to_string() }
            })?;
            return Ok(Reply::Kept(Box::new(Handover { gate: Arc::clone(gate), approval: id, kept })));
        }
    }
    let refused = refused(gate, id, None).await?;
    if hold.attaches() {
        delivered(gate, id).await?;
    }
    Ok(Reply::Refused(refused))
}

async fn refused(gate: &Gate, id: ApprovalId, refusal: Option<Refusal>) -> Result<ReplyRefused, Error> {
    let (hold, _) = load(gate, id).await?;
    let refusal = refusal.unwrap_or_else(|| {
        let (code, reason, remedy) = hold.closing_in_words();
        Refusal { code, reason, remedy: remedy.into(), basis: None }
    });
    let link = Some(gate.approval_link(id));
    Ok(ReplyRefused { refusal, action: Some(hold.action()), approval: Some(id), link })
}

/// A kept answer on its way to the requester.
#[derive(Debug)]
pub struct Handover {
    gate: Arc<Gate>,
    approval: ApprovalId,
    kept: Kept,
}

impl Handover {
    pub fn approval(&self) -> ApprovalId {
        self.approval
    }

    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// To be called once the requester has the whole answer: from then on the same bytes are a new action.
    pub async fn done(self) -> Result<(), Error> {
        delivered(&self.gate, self.approval).await
    }
}

async fn delivered(gate: &Gate, id: ApprovalId) -> Result<(), Error> {
    let answer = gate.store().fetch(Kind::Answer, &id.to_string()).await?;
    let revised = revise(gate, id, |hold, _| {
        if !hold.attaches() {
            return Err(Refused::OutOfOrder("delivered"));
        }
        hold.delivery = Delivery::Delivered;
        let write = Write::by(Actor::Gateway).event(Event::ResultDelivered { approval: id });
        Ok(match &answer {
            Some(record) => write.change(Change::Delete {
                kind: Kind::Answer,
                id: record.id.clone(),
                expect: Expect::Version(record.version),
            }),
            None => write,
        })
    });
    revised.await?.ok();
    Ok(())
}

/// A hold as stored, with its version.
pub(crate) async fn load(gate: &Gate, id: ApprovalId) -> Result<(Hold, u64), Error> {
    let record = gate.store().fetch(Kind::Hold, &id.to_string()).await?;
    let record = record.ok_or_else(|| Error::Missing { kind: Kind::Hold, id: id.to_string() })?;
    Ok((Hold::read(&record)?, record.version))
}

/// Changes a hold by compare-and-set: `change` is asked again when somebody else was faster. The entries it names
/// are chained to the action's last one and committed together with it.
pub(crate) async fn revise(
    gate: &Gate,
    id: ApprovalId,
    mut change: impl FnMut(&mut Hold, Timestamp) -> Result<Write, Refused>,
) -> Result<Result<(Hold, Receipt), Refused>, Error> {
    for _ in 0..TRIES {
        let (mut hold, version) = load(gate, id).await?;
        let write = match change(&mut hold, gate.now()) {
            Ok(write) => write,
            Err(refused) => return Ok(Err(refused)),
        };
        let mut entries = Vec::with_capacity(write.events.len());
        for (event, private) in write.events {
            let (action, parent) = (Some(hold.action()), Some(hold.last_leaf));
            let row =
                gate.journal().row(Note { action, parent, actor: write.actor.clone(), event, private })?;
            hold.last_leaf = Digest(row.sealed.leaf.0);
            entries.push(row);
        }
        let mut changes = vec![hold.put(Expect::Version(version))?];
        changes.extend(write.changes);
        let news = Box::pin(outbox::news(gate, &hold, &entries, First::No)).await?;
        changes.extend(news.changes);
        let revised = gate.commit(Commit { changes, entries }, move |gate| {
            gate.holds.update(&hold, version + 1);
            gate.channels().ring_of(&hold.notify, &news.put_off);
            gate.announce(Changed::Approval { id, state: hold.approval.state.as_str() });
            hold
        });
        match revised.await {
            Ok((receipt, hold)) => return Ok(Ok((hold, receipt))),
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended { kind: Kind::Hold, id: id.to_string() })
}
