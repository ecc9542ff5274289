//! Counting a ticket: its approver's vote at every gate that takes it, and one of its uses, in one commit.

use super::{
    Counted, Failing, TicketStand,
    judge::{self, Judged},
};
use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, json},
    port::store::{Change, Expect, Kind, ReadError},
    vote::{self, Came, Cast, Seat, VoteRefused},
};
use countersign_core::{
    ApprovalId, Assurance, Digest, GateName, SignIn, TicketCheck, Timestamp,
    approval::Refused,
    decision::Gate as ShutGate,
    statement::{Statement, Verdict},
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Through, TicketVote},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a vote in a ticket is counted with.
#[derive(Debug)]
pub(crate) struct Voucher {
    pub(crate) through: Through,
    pub(crate) vote: TicketVote,
    claimed: String,
    user: String,
    scope: String,
    /// Takes one use, where this approval has none yet.
    uses: Option<Change>,
}

/// For which approvals a ticket was used, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Uses {
    approvals: Vec<ApprovalId>,
}

impl Voucher {
    /// Who said it in the channel's own words, and what the requester wrote, kept beside the entry.
    pub(crate) fn private(&self) -> Vec<PrivateField> {
        let field = |path: &'static str, value: &str| PrivateField {
            path: path.into(),
            value: value.as_bytes().to_vec().into(),
        };
        vec![
            field("channel_user", &self.user),
            field("claimed_ticket", &self.claimed),
            field("ticket_scope", &self.scope),
        ]
    }

    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.uses.clone().into_iter()
    }

    /// Remembers with the approval that a vote at this gate rests on it, beside those that do already.
    pub(crate) fn counted(
        &self,
        hold: &mut Hold,
        statement: &Statement,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let named = hold.name(&self.claimed, now)?;
        named.looked(now);
        let (by, channel, vote) = (statement.voter, self.through.channel.clone(), self.vote.clone());
        let counted = Counted { by, channel, gate: statement.gate.clone(), round: statement.round, vote };
        named.votes.push(counted.clone());
        named.stands = TicketStand::Counted(Box::new(counted));
        Ok(())
    }
}

/// Counts a ticket at every gate that takes it and its approver may lift; or says why it counts at none.
pub(super) async fn count(
    gate: &Arc<Gate>,
    id: ApprovalId,
    claimed: &str,
    judged: Judged,
) -> Result<Result<(), Failing>, Error> {
    // One at a time: the store would refuse the second of two that want the last use, and it is told so here.
    let _turn = gate.tickets().counting.lock().await;
    let (hold, _) = hold::load(gate, id).await?;
    let failing = |check, why: String| Failing {
        channel: Some(judged.channel.clone()),
        ticket: Some(judged.ticket.clone()),
        check,
        why,
    };
    let gates: Vec<GateName> = judge::open_gates(&hold)
        .filter(|shut| shut.tickets.contains(&judged.channel))
        .map(|shut| shut.name.clone())
        .collect();
    let (mut counted, mut why) = (false, None);
    for name in gates {
        let (hold, _) = hold::load(gate, id).await?;
        match at(gate, &hold, &name, claimed, &judged).await? {
            Ok(()) => counted = true,
            Err((check, said)) => {
                // Used up is used up at every gate.
                let over = check == TicketCheck::Uses;
                why = why.or(Some(failing(check, said)));
                if over {
                    break;
                }
            }
        }
    }
    let nothing = || failing(TicketCheck::Policy, "no gate that takes it is shut any more".into());
    Ok(if counted { Ok(()) } else { Err(why.unwrap_or_else(nothing)) })
}

/// Counts it at one gate.
async fn at(
    gate: &Arc<Gate>,
    hold: &Hold,
    name: &GateName,
    claimed: &str,
    judged: &Judged,
) -> Result<Result<(), (TicketCheck, String)>, Error> {
    let Ok(seat) = vote::seat_among(gate, hold, judged.bound.person, |shut| shut.name == *name) else {
        return Ok(Err((TicketCheck::Approver, may_not())));
    };
    if let Err(refused) = accepts(hold, seat, judged) {
        return Ok(Err(refused));
    }
    let (uses, used) = match take(gate, hold.approval.id, judged).await? {
        Ok(taken) => taken,
        Err(why) => return Ok(Err((TicketCheck::Uses, why))),
    };
    let cast = cast(gate, hold, seat, judged);
    let voucher = Voucher {
        through: Through { channel: judged.channel.clone(), binding: judged.bound.binding },
        vote: said(hold, judged, used),
        claimed: claimed.to_owned(),
        user: judged.found.approver.clone(),
        scope: judged.scope.to_string(),
        uses,
    };
    match vote::count(gate, &cast, Came::Ticket(&voucher)).await {
        Ok(Ok(_)) => Ok(Ok(())),
        Ok(Err(refused)) => {
            let check = match &refused {
                VoteRefused::Rule(Refused::TooWeak { .. }) | VoteRefused::StepUp(_) => TicketCheck::Strength,
                VoteRefused::Rule(_)
                | VoteRefused::NotEligible(_)
                | VoteRefused::NotAPerson
                | VoteRefused::Ballot
                | VoteRefused::ReasonMissing
                | VoteRefused::GlassReasonMissing
                | VoteRefused::ReviewOpen(_)
                | VoteRefused::NobodyTold => TicketCheck::Approver,
            };
            Ok(Err((check, may_not())))
        }
        // Another gateway took a use at the same moment.
        Err(Error::Contended { .. }) => {
            Ok(Err((TicketCheck::Uses, "it was used elsewhere at that moment; name it again".into())))
        }
        Err(error) => Err(error),
    }
}

/// Without a name: whom it is that may not is nothing for the requester.
fn may_not() -> String {
    "its approver may not decide here".into()
}

/// Whether a word in a ticket is enough at this gate, said by somebody for themself who has not had their say.
fn accepts(hold: &Hold, seat: Seat<'_>, judged: &Judged) -> Result<(), (TicketCheck, String)> {
    let Seat { gate: shut, on_behalf_of } = seat;
    if shut.assurance > Assurance::Chat || shut.sign_in.is_some() {
        return Err((TicketCheck::Strength, format!("gate `{}` asks for more than a ticket", shut.name)));
    }
    if on_behalf_of.is_some() {
        let why = "whoever approved it may decide here only in somebody's place, which a ticket does not say";
        return Err((TicketCheck::Approver, why.into()));
    }
    let votes = hold.approval.round().and_then(|round| round.votes.get(&shut.name));
    if votes.is_some_and(|votes| votes.contains_key(&judged.bound.person)) {
        return Err((TicketCheck::Approver, "whoever approved it has had their say here".into()));
    }
    Ok(())
}

/// Takes a use of the ticket, as far as that is not done for this approval: the change, and the how manieth it is.
async fn take(
    gate: &Gate,
    id: ApprovalId,
    judged: &Judged,
) -> Result<Result<(Option<Change>, u32), String>, Error> {
    let place = use_id(judged);
    let record = gate.store().fetch(Kind::TicketUse, &place).await?;
    let expect = record.as_ref().map_or(Expect::Absent, |record| Expect::Version(record.version));
    let garbled = |error: serde_json::Error| {
        Error::Read(ReadError::Garbled { kind: Kind::TicketUse, why: error.to_string() })
    };
    let mut uses: Uses = match &record {
        Some(record) => serde_json::from_slice(&record.doc).map_err(garbled)?,
        None => Uses::default(),
    };
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1);
    let most = judged.scope.uses.get();
    let known = uses.approvals.iter().position(|approval| *approval == id);
    let used = number(known.unwrap_or(uses.approvals.len()));
    if used > most {
        return Ok(Err(match most {
            1 => "it was used before, and is good for one action".into(),
            _ => format!("it was used before, and is good for {most} actions"),
        }));
    }
    if known.is_some() {
        return Ok(Ok((None, used)));
    }
    uses.approvals.push(id);
    let doc = json(&uses)?.into();
    let change = Change::Put { kind: Kind::TicketUse, id: place, expect, doc, keys: vec![] };
    Ok(Ok((Some(change), used)))
}

/// Under what the uses of a ticket are kept: the same through whichever channel it is read.
fn use_id(Judged { system, origin, found, .. }: &Judged) -> String {
    format!("{system} {origin} {}", found.id)
}

fn said(hold: &Hold, judged: &Judged, used: u32) -> TicketVote {
    use TicketCheck as C;
    TicketVote {
        system: judged.system.into(),
        ticket: judged.ticket.clone(),
        id: judged.found.id.clone(),
        change: judged.found.change.clone(),
        approved_at: judged.found.approved_at,
        read_at: judged.read_at,
        // Salted as the action's own digest is: what a scope says could be guessed.
        scope: Digest::of_parts("countersign/scope/v1", &[&hold.salt, judged.scope.to_string().as_bytes()]),
        uses: judged.scope.uses.get(),
        used,
        from: judged.from,
        until: Some(judged.until),
        checked: [
            C::Kind,
            C::State,
            C::History,
            C::Unchanged,
            C::Approver,
            C::Scope,
            C::Time,
            C::Uses,
            C::Strength,
        ]
        .into(),
    }
}

/// The vote. Nobody was shown a ballot: what they approved is the ticket, and what it covers.
fn cast(gate: &Gate, hold: &Hold, Seat { gate: shut, .. }: Seat<'_>, judged: &Judged) -> Cast {
    let (round, shut): (_, &ShutGate) = (hold.approval.round(), shut);
    let of = |read: fn(&countersign_core::approval::Round) -> Digest| round.map_or(Digest([0; 32]), read);
    let expires = gate.now().plus(vote::BALLOT_FOR);
    let statement = Statement {
        approval: hold.approval.id,
        round: round.map_or(0, |round| round.number),
        gate: shut.name.clone(),
        decision: Verdict::Approve,
        voter: judged.bound.person,
        on_behalf_of: None,
        action_digest: hold.asked.digest,
        bundle_digest: of(|round| round.bundle),
        evidence_digest: of(|round| round.evidence),
        view_digest: of(|round| round.view),
        nonce: Digest(gate.journal().random()).hex(),
        expires: round.map_or(expires, |round| round.deadline.min(expires)),
    };
    let sign_in = SignIn::default();
    Cast { statement, assurance: Assurance::Chat, assertion: None, reason: None, sign_in }
}
