//! Being away: somebody else votes in a person's place, between two moments. Nothing else passes to them: no role, no
//! group, no agent; and nobody passes it on.

use super::{Author, Directory, Draft};
use crate::{
    error::IdentityError,
    record::person::{Delegation, Person},
};
use countersign_core::PersonId;
use countersign_engine::{journal::Note, port::identity::Introduction};
use countersign_ledger::event::Event;
use std::time::Duration;

/// The longest anybody is away; and how long it is known afterwards that they were, which is longer than anybody cools off.
const LONGEST: Duration = Duration::from_hours(90 * 24);

impl Directory {
    /// Has somebody vote in a person's place: by that person, an administrator or the operator. It takes the place of the
    /// one before. An administrator counts as having brought the stand-in in.
    pub async fn delegate(
        &self,
        by: Author,
        person: PersonId,
        delegation: Delegation,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        if by.person() != Some(person) {
            self.administrator(by)?;
        }
        let now = self.journal.now();
        let Delegation { to, from, until } = delegation;
        if by.person() == Some(to) && to != person {
            return Err(IdentityError::OwnStandIn);
        }
        if from >= until || until <= now || until > from.plus(LONGEST) {
            return Err(IdentityError::BadAbsence);
        }
        let held = self.standing_person(person)?;
        let stand_in = self.standing_person(to)?;
        let away =
            |one: &Person| one.delegations.iter().any(|other| other.from < until && from < other.until);
        if to == person || !stand_in.doc.can_vote() || !held.doc.can_vote() {
            return Err(IdentityError::CannotStandIn("it takes two different people who vote"));
        }
        if away(&stand_in.doc) {
            return Err(IdentityError::CannotStandIn(
                "they are away themself in that time, and nobody passes it on",
            ));
        }
        let mut draft = Draft::default();
        let mut changed = held.doc.clone();
        end(&mut changed, now);
        changed.delegations.retain(|known| known.until.plus(LONGEST) > now);
        changed.delegations.push(delegation);
        draft.replace(&held, changed)?;
        if by.person() != Some(person) {
            let mut brought = stand_in.doc.clone();
            brought.introduce(Introduction { by: by.person(), at: now, group: None });
            self.behind(by).into_iter().for_each(|hand| brought.introduce(hand));
            draft.replace(&stand_in, brought)?;
        }
        draft.note(Note::new(by.actor(), Event::DelegationSet { person, to, from, until }));
        self.write(draft).await
    }

    /// Ends it at once, or before it began.
    pub async fn end_delegation(&self, by: Author, person: PersonId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        if by.person() != Some(person) {
            self.administrator(by)?;
        }
        let now = self.journal.now();
        let held = self.held_person(person)?;
        let Some(Delegation { to, .. }) = held.doc.delegation(now) else { return Ok(()) };
        let mut changed = held.doc.clone();
        end(&mut changed, now);
        let mut draft = Draft::default();
        draft.replace(&held, changed)?;
        draft.note(Note::new(by.actor(), Event::DelegationEnded { person, to }));
        self.write(draft).await
    }
}

/// What has begun ends now; what has not is as if it had never been.
fn end(person: &mut Person, now: countersign_core::Timestamp) {
    person.delegations.retain(|one| one.from < now);
    for one in &mut person.delegations {
        one.until = one.until.min(now);
    }
}
