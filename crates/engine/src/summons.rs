//! A link that is sent to one person about one approval, on a way that others may read: it leads to the approval's page,
//! once, after that person has signed in. It signs nobody in, shows nothing and decides nothing.

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Write},
};
use countersign_core::{ApprovalId, PersonId, Timestamp, approval::Refused};
use countersign_ledger::event::Actor;

/// Why a link leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOpened {
    #[error("this link was not sent to you, or it is not whole")]
    NotYours,
    #[error("this link, or one that was sent to you after it, was opened before: each is good once")]
    Used,
}

/// The link's address. The same person is sent the same link with the same piece of news, however often that is tried.
/// What it holds stands behind the `#`, which browsers never send.
pub fn link(gate: &Gate, approval: ApprovalId, person: PersonId, at: Timestamp) -> String {
    format!("{}/summons#{}.{}", gate.approval_link(approval), at.0, code(gate, approval, person, at))
}

/// Uses up the link with which this person comes, and every one that they were sent before it.
pub async fn open(
    gate: &Gate,
    approval: ApprovalId,
    person: PersonId,
    held: &str,
) -> Result<Result<(), NotOpened>, Error> {
    let at = held.split_once('.').and_then(|(at, code)| Some((Timestamp(at.parse().ok()?), code)));
    let Some((at, _)) = at.filter(|(at, held)| *held == code(gate, approval, person, *at)) else {
        return Ok(Err(NotOpened::NotYours));
    };
    let opened = hold::revise(gate, approval, |hold, _| {
        if hold.summoned.get(&person).is_some_and(|newest| at <= *newest) {
            return Err(Refused::OutOfOrder("opened before"));
        }
        hold.summoned.insert(person, at);
        Ok(Write::by(Actor::Person { id: person }))
    });
    Ok(opened.await?.map(drop).map_err(|_| NotOpened::Used))
}

fn code(gate: &Gate, approval: ApprovalId, person: PersonId, at: Timestamp) -> String {
    let (approval, person) = (approval.to_string(), person.to_string());
    gate.keyed("countersign/summons/v1", &[approval.as_bytes(), person.as_bytes(), &at.0.to_be_bytes()]).hex()
}
