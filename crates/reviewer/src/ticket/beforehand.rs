//! Tickets in which people approve before anything is asked: what a ticket system itself says of one, held against how it has to
//! stand. What a ticket says of itself is handed on as it is, for whoever reads its scope; nothing else of it is.

use super::{About, By, Refusal};
use crate::{
    channel::Scope,
    desk::{Told, Who},
};
use countersign_core::{TicketCheck, Timestamp};
use countersign_engine::port::ticket::{Found, NotVouched};
use std::time::Duration;

/// Which tickets count beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beforehand {
    /// Where a ticket may stand by now. In Jira a status, in `ServiceNow` a value of `state`.
    pub(crate) stands_in: Vec<String>,
    /// Types of issues; none is any.
    pub(crate) types: Vec<String>,
    pub(crate) good_for: Duration,
}

/// What a system says of a ticket.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// The system's own id of it.
    pub(crate) id: String,
    /// Our own account made it: what stands in it may quote a requester.
    pub(crate) is_ours: bool,
    /// It is of a type that counts.
    pub(crate) is_of_a_type: bool,
    /// It stands where what was approved holds.
    pub(crate) is_in_place: bool,
    /// Where it stands by the field with which people approve.
    pub(crate) stands: String,
    pub(crate) text: String,
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    /// What was done to it, oldest first.
    pub(crate) turns: Vec<Turn>,
}

/// Something that was done to a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) by: By,
    pub(crate) did: Done,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was put there.
    Put(String),
    /// Something was changed that it says, or what it is.
    Wrote,
}

/// Where people put a ticket to approve it, and where it may be put behind that.
pub(crate) struct Places<'p> {
    pub(crate) approved: &'p str,
    pub(crate) behind: &'p [String],
    /// Whether two names are one, as the system tells them apart.
    pub(crate) same: fn(&str, &str) -> bool,
}

impl Places<'_> {
    fn holds(&self, place: &str) -> bool {
        (self.same)(place, self.approved) || self.behind.iter().any(|one| (self.same)(place, one))
    }
}

/// Who approved a ticket, where that still holds.
pub(crate) fn approved(told: Said, places: &Places<'_>) -> Result<Found, NotVouched> {
    use TicketCheck as C;
    let not = |check, why: &str| Err(NotVouched::new(check, why));
    if told.is_ours {
        return not(C::Kind, "the gateway wrote it itself, about something else");
    }
    if !told.is_of_a_type {
        return not(C::Kind, "it is of another project or type than counts here");
    }
    if !places.holds(&told.stands) || !told.is_in_place {
        return not(C::State, "it does not stand where what was approved holds");
    }
    let put = |turn: &&Turn| matches!(turn.did, Done::Put(_));
    let accounts = told.turns.iter().rev().find(put).is_some_and(|turn| match &turn.did {
        Done::Put(place) => (places.same)(place, &told.stands),
        Done::Wrote => false,
    });
    let approves = |turn: &Turn| match &turn.did {
        Done::Put(place) => (places.same)(place, places.approved),
        Done::Wrote => false,
    };
    let at = told.turns.iter().rposition(approves);
    let (true, Some(at)) = (accounts, at) else {
        return not(C::History, "its system's history does not say who put it where it stands");
    };
    let (before, behind) = told.turns.split_at(at);
    let Some((turn, behind)) = behind.split_first() else {
        return not(C::History, "its system's history cannot be read");
    };
    let left = behind.iter().any(|turn| match &turn.did {
        Done::Put(place) => !places.holds(place),
        Done::Wrote => false,
    });
    if left {
        return not(C::State, "it was taken back since it was approved");
    }
    // At the same moment is not before: nobody can tell what was seen.
    let wrote = |turn: &Turn| turn.did == Done::Wrote;
    let late = |one: &Turn| wrote(one) && one.at >= turn.at;
    if behind.iter().any(wrote) || before.iter().any(late) {
        return not(C::Unchanged, "it was changed since it was approved, or in the same moment");
    }
    let By::Person(who) = &turn.by else {
        return not(C::Approver, "no person approved it: an app, a rule or our own account did");
    };
    Ok(Found {
        id: told.id,
        approver: who.id.clone(),
        approver_name: who.name.clone(),
        change: turn.id.clone(),
        approved_at: turn.at,
        text: told.text,
        from: told.from,
        until: told.until,
    })
}

impl From<Refusal> for NotVouched {
    /// In our own words already.
    fn from(refusal: Refusal) -> Self {
        let check = match (refusal.about, refusal.failed.scope) {
            (About::Gone, _) => TicketCheck::Found,
            // About this ticket alone: it was reached, and what is read of it is not enough.
            (_, Scope::News) => TicketCheck::History,
            (_, Scope::Channel) => TicketCheck::Reached,
        };
        Self::new(check, refusal.failed.why)
    }
}

/// Whom a link is for, and what they are told with it.
pub(crate) fn invitation(found: &Found, link: &str) -> (Who, Told) {
    let who = Who { id: found.approver.clone(), name: found.approver_name.clone() };
    let words = "Somebody named a ticket that you approved, and nobody here knows whose word yours is. Open this link, signed \
                 in, and confirm it; it is good once, for you alone."
        .into();
    (who, Told::Linked { words, title: "Make it mine", link: link.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(at: i64, who: &str, did: Done) -> Turn {
        let person = Who { id: who.into(), name: None };
        let by = match who {
            "us" => By::Us,
            "rule" => By::Machine(person),
            _ => By::Person(person),
        };
        Turn { id: at.to_string(), at: Timestamp(at), by, did }
    }

    fn put(at: i64, who: &str, place: &str) -> Turn {
        turn(at, who, Done::Put(place.into()))
    }

    fn told(stands: &str, turns: Vec<Turn>) -> Said {
        Said {
            id: "1".into(),
            is_ours: false,
            is_of_a_type: true,
            is_in_place: true,
            stands: stands.into(),
            text: "words".into(),
            from: None,
            until: None,
            turns,
        }
    }

    fn judged(told: Said) -> Result<String, TicketCheck> {
        let behind = ["doing".to_owned()];
        let places = Places { approved: "approved", behind: &behind, same: |one, other| one == other };
        approved(told, &places).map(|found| found.approver).map_err(|not| not.check)
    }

    #[test]
    fn it_counts_while_it_stands_as_a_person_approved_it() {
        use TicketCheck as C;
        let wrote = |at, who| turn(at, who, Done::Wrote);
        let ana = || Ok("ana".to_owned());
        let approved = || put(5, "ana", "approved");
        for (what, stands, turns, want) in [
            ("approved", "approved", vec![wrote(1, "bot"), approved()], ana()),
            ("moved on", "doing", vec![approved(), put(6, "bot", "doing")], ana()),
            (
                "approved anew",
                "approved",
                vec![approved(), put(6, "bob", "rejected"), put(7, "ana", "approved")],
                ana(),
            ),
            (
                "the last one counts",
                "approved",
                vec![put(4, "bob", "approved"), put(5, "bob", "open"), put(6, "ana", "approved")],
                ana(),
            ),
            ("never approved", "open", vec![], Err(C::State)),
            ("approved by nobody", "approved", vec![], Err(C::History)),
            ("not accounted for", "approved", vec![approved(), put(6, "bob", "open")], Err(C::History)),
            ("not accounted for either", "doing", vec![approved()], Err(C::History)),
            (
                "taken back",
                "doing",
                vec![approved(), put(6, "bob", "rejected"), put(7, "bot", "doing")],
                Err(C::State),
            ),
            ("rejected", "rejected", vec![approved(), put(6, "bob", "rejected")], Err(C::State)),
            ("edited", "approved", vec![approved(), wrote(6, "ana")], Err(C::Unchanged)),
            ("edited by us", "approved", vec![approved(), wrote(6, "us")], Err(C::Unchanged)),
            (
                "edited and moved on",
                "doing",
                vec![approved(), wrote(6, "bot"), put(7, "bot", "doing")],
                Err(C::Unchanged),
            ),
            ("edited in that moment", "approved", vec![wrote(5, "ana"), approved()], Err(C::Unchanged)),
            ("by a rule", "approved", vec![put(5, "rule", "approved")], Err(C::Approver)),
            ("by us", "approved", vec![put(5, "us", "approved")], Err(C::Approver)),
            (
                "by a rule in the end",
                "approved",
                vec![approved(), put(6, "rule", "approved")],
                Err(C::Approver),
            ),
        ] {
            assert_eq!(judged(told(stands, turns)), want, "{what}");
        }
        for (change, want) in [
            ((|one| one.is_ours = true) as fn(&mut Said), C::Kind),
            (|one| one.is_of_a_type = false, C::Kind),
            (|one| one.is_in_place = false, C::State),
        ] {
            let mut told = told("approved", vec![approved()]);
            change(&mut told);
            assert_eq!(judged(told), Err(want));
        }
    }
}
