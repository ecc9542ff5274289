//! What users of a chat ask for, carried out: they decide, ask what waits for them, or want to be bound. It knows no chat's
//! form: each draws what is told in its own way, where only that user sees it.

pub(crate) mod freeze;

use crate::words::{self, sentence};
use countersign_core::{ApprovalId, ChannelName, PersonId};
use countersign_engine::{
    Error, Gate,
    inward::{self, NotHeard, Outcome, Said, Says},
    port::identity::{ChannelUser, NotOffered},
    read::{self, HoldFilter},
    vote,
};
use std::sync::Arc;

/// Approvals that are listed, out of so many.
const LISTED: usize = 10;
const LOOKED_AT: usize = 200;

/// A user of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// As the chat tells its users apart, wherever else their ids may mean somebody else.
    pub(crate) id: String,
    /// What they are called there. Shown, never compared.
    pub(crate) name: Option<String>,
}

/// What a button carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) approval: ApprovalId,
    pub(crate) shown: String,
}

/// Somebody decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) who: Who,
    pub(crate) target: Target,
    /// The chat's own id of this click.
    pub(crate) delivery: String,
    pub(crate) says: Says,
    pub(crate) reason: Option<String>,
}

/// What the user is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A sentence of ours, with nothing in it that somebody else wrote: a chat may read marks in it.
    Plain(String),
    /// A sentence that may name what others named, and a link of ours under its title.
    Linked { words: String, title: &'static str, link: String },
    /// How an approval stands.
    Status { state: &'static str, sentence: String, link: String },
    /// What waits: code, sentence and page of each, and how many more there are.
    List { waiting: Vec<(String, String, String)>, more: usize, console: String },
}

/// What a user reads where the gateway could not do it.
pub(crate) const FAILED: &str = "The gateway could not do it. Try again, or open Countersign.";
pub(crate) const NO_SUCH: &str = "There is no such approval.";
pub(crate) const PAGE: &str = "Open its page";
const DECIDE: &str = "Decide there";

impl Target {
    pub(crate) fn value(approval: ApprovalId, shown: &str) -> String {
        format!("{approval}.{shown}")
    }

    pub(crate) fn read(value: &str) -> Option<Self> {
        let (approval, shown) = value.split_once('.')?;
        Some(Self { approval: approval.parse().ok()?, shown: shown.to_owned() })
    }
}

impl Told {
    pub(crate) fn plain(words: impl Into<String>) -> Self {
        Self::Plain(words.into())
    }
}

/// What became of what somebody decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    Counted,
    Refused,
    /// Nobody is known to have said it; what is told is meant for that user alone.
    NotBound,
    /// It was not looked at, and may be said again.
    NotHeard,
}

/// Counts what somebody decided, or says why not.
pub(crate) async fn decide(
    gate: &Arc<Gate>,
    channel: &ChannelName,
    decision: Decision,
) -> Result<Told, Error> {
    count(gate, channel, decision).await.map(|(_, told)| told)
}

/// The same, with what became of it.
pub(crate) async fn count(
    gate: &Arc<Gate>,
    channel: &ChannelName,
    decision: Decision,
) -> Result<(Became, Told), Error> {
    let Decision { who, target: Target { approval, shown }, delivery, says, reason } = decision;
    if read::hold(gate, approval).await?.is_none() {
        return Ok((Became::Refused, Told::plain(NO_SUCH)));
    }
    let (channel, user) = (channel.clone(), who.id.clone());
    let said = Said { channel, user, delivery, approval, shown, says, gate: None, reason };
    Ok(match inward::answer(gate, &said).await? {
        Ok(answer) if answer.code == "not-bound" => (Became::NotBound, binding(gate, &said.channel, &who)),
        Ok(answer) => {
            let became = match answer.outcome {
                Outcome::Done => Became::Counted,
                Outcome::Refused => Became::Refused,
            };
            let title = if answer.code == inward::OPEN_PAGE { DECIDE } else { PAGE };
            (became, Told::Linked { words: sentence(&answer.message), title, link: answer.link })
        }
        Err(NotHeard::TooMany { .. }) => {
            (Became::NotHeard, Told::plain("That was too much at once. Try again in a minute."))
        }
        Err(why @ (NotHeard::Reused | NotHeard::Invalid(_))) => {
            (Became::Refused, Told::Plain(sentence(&why.to_string())))
        }
    })
}

/// A link with which a signed-in person makes this user theirs.
pub(crate) fn binding(gate: &Gate, channel: &ChannelName, who: &Who) -> Told {
    let user = ChannelUser { channel: channel.clone(), user: who.id.clone(), name: who.name.clone() };
    match gate.identity().offer_binding(user) {
        Ok(offer) => Told::Linked {
            words: "Nobody here knows whose word yours is. Open this link, signed in, and confirm it; it is good once, for \
                    you alone. Then decide again."
                .into(),
            title: "Make it mine",
            link: offer.link,
        },
        Err(NotOffered::Bound) => Told::plain("You are bound: what you say here is yours."),
        Err(NotOffered::TooMany) => Told::plain("Too many links wait to be opened. Try again later."),
        Err(NotOffered::Unusable(_)) => Told::plain("Nobody can be bound in this channel."),
    }
}

/// What a user asks for in words: `pending`, `status apr_…` or `bind`. `None`: something else. Only who is bound is told
/// anything; others are shown how to be.
pub(crate) async fn obey(
    gate: &Gate,
    channel: &ChannelName,
    who: &Who,
    text: &str,
) -> Result<Option<Told>, Error> {
    let mut words = text.split_whitespace();
    let (first, second) = (words.next().unwrap_or("pending"), words.next());
    let person = gate.identity().bound(channel, &who.id).map(|bound| bound.person);
    Ok(match (first, person) {
        ("bind", _) | ("pending" | "status", None) => Some(binding(gate, channel, who)),
        ("pending", Some(person)) => Some(pending(gate, person).await?),
        ("status", Some(_)) => Some(status(gate, second.unwrap_or_default()).await?),
        _ => None,
    })
}

async fn pending(gate: &Gate, person: PersonId) -> Result<Told, Error> {
    let filter = HoldFilter { status: Some("pending".into()), limit: LOOKED_AT, ..HoldFilter::default() };
    let holds = read::holds(gate, filter).await?;
    let mine: Vec<_> = holds.iter().filter(|hold| vote::seat_for(gate, hold, person).is_ok()).collect();
    let lines = mine.iter().take(LISTED).map(|hold| {
        let computed = &hold.view.computed;
        (computed.code.clone(), computed.sentence.clone(), gate.approval_link(hold.approval.id))
    });
    let (waiting, more) = (lines.collect(), mine.len().saturating_sub(LISTED));
    Ok(Told::List { waiting, more, console: gate.who().console_url.clone() })
}

async fn status(gate: &Gate, id: &str) -> Result<Told, Error> {
    let Ok(id) = id.parse::<ApprovalId>() else {
        return Ok(Told::plain("Write the approval's id behind `status`: `status apr_…`."));
    };
    let Some(hold) = read::hold(gate, id).await? else { return Ok(Told::plain(NO_SUCH)) };
    let (state, sentence) = (words::title(hold.approval.state.as_str()), hold.view.computed.sentence.clone());
    Ok(Told::Status { state, sentence, link: gate.approval_link(id) })
}
