//! What comes in through a channel: one of its users decides on an approval from the message that they were shown. Their
//! word is worth `chat`, counts only for whom they are bound to and only on what the message showed, and counts once
//! however often it is delivered. Rejecting needs no more than that, whatever a gate asks for.
//!
//! Whoever calls has checked that what it hands in comes from the channel; nothing here knows how.

mod arrival;
mod pace;

pub(crate) use arrival::Arrival;
pub use arrival::{Answer, Heard, Outcome};
pub(crate) use pace::Pace;

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, Write},
    port::identity::Bound,
    vote::{self, Came, Cast, Seat, VoteRefused},
};
use arrival::Known;
use countersign_core::{
    ApprovalId, Assurance, ChannelName, Digest, GateName, PersonId, SignIn,
    approval::{Refused, State},
    decision::Gate as ShutGate,
    statement::{Statement, Verdict},
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Event, Through},
};
use std::{sync::Arc, time::Duration};

/// What a user of a channel says about an approval.
#[derive(Clone, Debug)]
pub struct Said {
    pub channel: ChannelName,
    /// The user, as the channel itself tells its users apart. Compared byte for byte.
    pub user: String,
    /// The channel's own id of this delivery: delivered again, it is answered as before and counts no second time.
    pub delivery: String,
    pub approval: ApprovalId,
    /// What the message came with that the user decided on: [`token`].
    pub shown: String,
    pub says: Says,
    /// The gate that is meant; `None`: the first that waits for this person.
    pub gate: Option<GateName>,
    /// Needed for a rejection: it reaches the requester.
    pub reason: Option<String>,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Approve,
    Reject,
}

/// How much of an approval a message showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All there is to see, so that it can be approved on.
    Whole,
    /// Not all of it: it can be rejected on, and no more.
    Part,
}

/// Why what was said was not taken in. It was not recorded, and may be said again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotHeard {
    #[error("too much was said at once")]
    TooMany { retry_after: Duration },
    #[error("this delivery id was used for something else")]
    Reused,
    #[error("{0}")]
    Invalid(&'static str),
}

/// The longest name a channel may have for a user or a delivery, in bytes.
pub const LONGEST_ID: usize = 256;
/// The longest reason, in characters.
pub const LONGEST_REASON: usize = 2_000;

/// What a message about an approval carries, so that a decision made on it names what it showed. Another round, other
/// evidence or another view makes another; nobody who was not shown it can know it.
pub fn token(gate: &Gate, channel: &ChannelName, hold: &Hold, seen: Seen) -> String {
    let Some(round) = hold.approval.round() else { return String::new() };
    let whole: &[u8] = match seen {
        Seen::Whole => b"whole",
        Seen::Part => b"part",
    };
    let approval = hold.approval.id.to_string();
    let parts: [&[u8]; 7] = [
        channel.as_str().as_bytes(),
        approval.as_bytes(),
        &round.number.to_be_bytes(),
        round.bundle.as_bytes(),
        round.evidence.as_bytes(),
        round.view.as_bytes(),
        whole,
    ];
    gate.keyed("countersign/shown/v1", &parts).hex()
}

/// Takes in what a user of a channel says about an approval, and answers in words that are meant for that user.
pub async fn answer(gate: &Arc<Gate>, said: &Said) -> Result<Result<Answer, NotHeard>, Error> {
    if let Err(not_heard) = sound(said) {
        return Ok(Err(not_heard));
    }
    let arrival = Arrival::of(said);
    let (hold, _) = hold::load(gate, said.approval).await?;
    match arrival.known(&hold) {
        Known::Before(answer) => return Ok(Ok(answer)),
        Known::Otherwise => return Ok(Err(NotHeard::Reused)),
        Known::Never => {}
    }
    if let Err(retry_after) = gate.pace.take(&said.channel, &said.user, gate.now()) {
        return Ok(Err(NotHeard::TooMany { retry_after }));
    }
    if let Err(retry_after) = Arrival::room(&hold, gate.now()) {
        return Ok(Err(NotHeard::TooMany { retry_after }));
    }
    let Some(bound) = gate.identity().bound(&said.channel, &said.user) else {
        return refuse(gate, said, &arrival, None, Refusal::NotBound).await.map(Ok);
    };
    let seat = match may(gate, &hold, &bound, said) {
        Ok(seat) => seat,
        Err(refusal) => return refuse(gate, said, &arrival, Some(&bound), refusal).await.map(Ok),
    };
    let through = Through { channel: said.channel.clone(), binding: bound.binding };
    let (gate_name, cast) = (seat.gate.name.clone(), cast(gate, &hold, &bound, said, seat));
    let arrival = arrival.through(through);
    match vote::count(gate, &cast, Came::Channel(&arrival)).await? {
        Ok((hold, _)) => {
            Ok(Ok(arrival.answer(&hold).unwrap_or_else(|| Answer::counted(gate, &hold, said.says))))
        }
        Err(refused) => {
            // Their own word from a moment ago may have come between.
            let (hold, _) = hold::load(gate, said.approval).await?;
            let before = said.says == Says::Approve && has_approved(&hold, bound.person, Some(&gate_name));
            let refusal = if before { Refusal::Before } else { Refusal::Vote(refused, Some(gate_name)) };
            refuse(gate, said, &arrival, Some(&bound), refusal).await.map(Ok)
        }
    }
}

/// What a delivery was answered, where that is still known; it comes with the approval as it was then read.
pub fn answered(hold: &Hold, channel: &ChannelName, delivery: &str) -> Option<Answer> {
    Arrival::answered(hold, channel, delivery)
}

/// Why a user's word does not count.
enum Refusal {
    NotBound,
    /// The message is not about what waits now.
    ShownChanged,
    /// The message did not show all of it.
    NotShownWhole,
    /// They have had their say in this round.
    Before,
    Vote(VoteRefused, Option<GateName>),
}

fn sound(said: &Said) -> Result<(), NotHeard> {
    let fits = |text: &str| (1..=LONGEST_ID).contains(&text.len());
    if !fits(&said.user) {
        return Err(NotHeard::Invalid("`user` must be 1 to 256 bytes long"));
    }
    if !fits(&said.delivery) {
        return Err(NotHeard::Invalid("the delivery's id must be 1 to 256 bytes long"));
    }
    if said.reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        return Err(NotHeard::Invalid("`reason` must be at most 2000 characters long"));
    }
    Ok(())
}

/// At which gate this person's word counts, as far as that is known before it is counted.
fn may<'h>(gate: &Gate, hold: &'h Hold, bound: &Bound, said: &Said) -> Result<Seat<'h>, Refusal> {
    let refused = |refused: VoteRefused| Refusal::Vote(refused, said.gate.clone());
    let state = &hold.approval.state;
    let votable = match said.says {
        Says::Approve => matches!(state, State::Pending),
        Says::Reject => matches!(state, State::Pending | State::Granted { .. }),
    };
    if !votable {
        return Err(refused(Refused::OutOfOrder(state.as_str()).into()));
    }
    let is = |seen| said.shown == token(gate, &said.channel, hold, seen);
    match (is(Seen::Whole), is(Seen::Part), said.says) {
        (true, _, Says::Approve | Says::Reject) | (false, true, Says::Reject) => {}
        (false, true, Says::Approve) => return Err(Refusal::NotShownWhole),
        (false, false, Says::Approve | Says::Reject) => return Err(Refusal::ShownChanged),
    }
    let no_reason = said.reason.as_deref().is_none_or(|reason| reason.trim().is_empty());
    if said.says == Says::Reject && no_reason {
        return Err(refused(VoteRefused::ReasonMissing));
    }
    // Said twice it is one word: it never moves on to the next gate by itself.
    if said.says == Says::Approve && has_approved(hold, bound.person, said.gate.as_ref()) {
        return Err(Refusal::Before);
    }
    let round = hold.approval.round();
    if let Some(name) = &said.gate {
        if round.is_none_or(|round| round.gates.iter().all(|open| open.name != *name)) {
            return Err(refused(Refused::NoSuchGate(name.clone()).into()));
        }
        return vote::seat_among(gate, hold, bound.person, |shut| shut.name == *name).map_err(refused);
    }
    let accepts_chat = |shut: &ShutGate| {
        let lifted = round.is_some_and(|round| round.lifted(shut));
        !lifted && shut.assurance == Assurance::Chat && shut.sign_in.is_none()
    };
    vote::seat_among(gate, hold, bound.person, accepts_chat)
        .or_else(|_| vote::seat_for(gate, hold, bound.person))
        .map_err(refused)
}

/// Whether somebody's approval of a gate, or of any, stands in the newest round.
fn has_approved(hold: &Hold, person: PersonId, gate: Option<&GateName>) -> bool {
    let meant = |name: &GateName| gate.is_none_or(|gate| gate == name);
    let votes = hold.approval.round().map(|round| &round.votes).into_iter().flatten();
    votes.into_iter().any(|(name, votes)| meant(name) && votes.contains_key(&person))
}

/// The vote as it is counted and recorded. No ballot was handed out: the message's token stands for one.
fn cast(gate: &Gate, hold: &Hold, bound: &Bound, said: &Said, seat: Seat<'_>) -> Cast {
    let round = hold.approval.round();
    let of = |read: fn(&countersign_core::approval::Round) -> Digest| round.map_or(Digest([0; 32]), read);
    let expires = gate.now().plus(vote::BALLOT_FOR);
    let statement = Statement {
        approval: said.approval,
        round: round.map_or(0, |round| round.number),
        gate: seat.gate.name.clone(),
        decision: match said.says {
            Says::Approve => Verdict::Approve,
            Says::Reject => Verdict::Reject,
        },
        voter: bound.person,
        on_behalf_of: seat.on_behalf_of,
        action_digest: hold.asked.digest,
        bundle_digest: of(|round| round.bundle),
        evidence_digest: of(|round| round.evidence),
        view_digest: of(|round| round.view),
        nonce: Digest(gate.journal().random()).hex(),
        expires: round.map_or(expires, |round| round.deadline.min(expires)),
    };
    let reason = said.reason.clone();
    Cast { statement, assurance: Assurance::Chat, assertion: None, reason, sign_in: SignIn::default() }
}

/// Records that it did not count, and says so; what was said before and is said again changes nothing.
async fn refuse(
    gate: &Gate,
    said: &Said,
    arrival: &Arrival,
    bound: Option<&Bound>,
    refusal: Refusal,
) -> Result<Answer, Error> {
    let answer = Answer::refused(gate, said.approval, &refusal);
    let actor = bound.map_or(Actor::Unknown, |bound| Actor::Person { id: bound.person });
    let named = match &refusal {
        Refusal::Vote(_, named) => named.clone(),
        Refusal::NotBound | Refusal::ShownChanged | Refusal::NotShownWhole | Refusal::Before => None,
    };
    let revised = hold::revise(gate, said.approval, |hold, now| {
        arrival.take_in(hold, now, &answer)?;
        let write = Write::by(actor.clone());
        if matches!(refusal, Refusal::Before) {
            return Ok(write);
        }
        let event = Event::ApprovalVoteRefused {
            approval: said.approval,
            gate: named.clone(),
            reason: answer.message.clone(),
            channel: Some(said.channel.clone()),
        };
        Ok(write.with_private(event, arrival.private()))
    });
    match revised.await? {
        Ok(_) => Ok(answer),
        // The same delivery came twice at once, and the other was faster.
        Err(_) => Ok(arrival.answer(&hold::load(gate, said.approval).await?.0).unwrap_or(answer)),
    }
}

/// The word for what is decided on the approval's page, where all of it is shown and a vote is worth more.
pub const OPEN_PAGE: &str = "open-page";

impl Refusal {
    /// A stable word for programs, and what the user can do about it.
    fn told(&self) -> (&'static str, String) {
        match self {
            Self::NotBound => (
                "not-bound",
                "you are bound to nobody here: ask this channel for a binding link, open it signed in, and decide again".into(),
            ),
            Self::ShownChanged => {
                ("shown-changed", "this has changed since the message was drawn: look at it again".into())
            }
            Self::NotShownWhole => {
                (OPEN_PAGE, "the message does not show all of it: open its page to approve".into())
            }
            Self::Before => ("said-before", "your approval was counted before".into()),
            Self::Vote(VoteRefused::Rule(Refused::TooWeak { .. }) | VoteRefused::StepUp(_), _) => {
                (OPEN_PAGE, "policy asks for more than a word in this channel: open its page to approve".into())
            }
            Self::Vote(refused, _) => (refused.code(), refused.to_string()),
        }
    }
}

/// What is kept of a text in an entry's private field.
fn private(path: &'static str, value: &str) -> PrivateField {
    PrivateField { path: path.into(), value: value.as_bytes().to_vec().into() }
}
