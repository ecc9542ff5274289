//! Groups that are whoever is on call, as a schedule kept elsewhere says. A schedule makes nobody: it only says which of the
//! people here they are, by their addresses, and whoever it does not name is not one of them. A schedule that is not
//! configured any more leaves nobody behind.

use super::{Directory, Draft};
use crate::{email::EmailAddress, error::IdentityError, record::Held, record::person::Person};
use countersign_core::{GroupName, PersonId};
use countersign_engine::{journal::Note, port::identity::Introduction};
use countersign_ledger::event::{Actor, Event};
use std::collections::BTreeSet;

/// What became of a schedule's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// So many are in the group now.
    pub members: usize,
    /// So many addresses belong to nobody here, or to somebody who is disabled.
    pub strangers: usize,
}

impl Directory {
    /// Makes those with these addresses, and nobody else, the members of a group. `schedule` is what the configuration calls whose
    /// word it is. Nothing is written where nothing changes.
    pub async fn follow_roster(
        &self,
        schedule: &str,
        group: &GroupName,
        addresses: &BTreeSet<String>,
    ) -> Result<Followed, IdentityError> {
        let _turn = self.writing.lock().await;
        self.declared([group])?;
        let now = self.journal.now();
        let (members, wrong): (BTreeSet<PersonId>, Vec<Held<Person>>) = {
            let memory = self.memory.read();
            let named = addresses.iter().filter_map(|address| EmailAddress::new(address.trim()).ok());
            let named = named.filter_map(|email| memory.emails.get(&email)).copied();
            let stands = |id: &PersonId| memory.person(*id).is_some_and(|person| !person.is_disabled());
            let members: BTreeSet<PersonId> = named.filter(stands).collect();
            let is_right = |person: &Person| {
                let by = person.on_call.get(group).map(String::as_str);
                if members.contains(&person.id) {
                    person.groups.contains(group) && by == Some(schedule)
                } else {
                    !person.groups.contains(group) && by.is_none()
                }
            };
            let wrong = memory.people.values().filter(|held| !is_right(&held.doc)).cloned().collect();
            (members, wrong)
        };
        let mut draft = Draft::default();
        for held in &wrong {
            let mut changed = held.doc.clone();
            if members.contains(&held.doc.id) {
                changed.on_call.insert(group.clone(), schedule.to_owned());
                if changed.groups.insert(group.clone()) {
                    changed.introduce(Introduction { by: None, at: now, group: Some(group.clone()) });
                    draft.note(shift(changed.id, schedule, [group.clone()].into(), BTreeSet::new()));
                }
            } else {
                changed.on_call.remove(group);
                if changed.groups.remove(group) {
                    draft.note(shift(changed.id, schedule, BTreeSet::new(), [group.clone()].into()));
                }
            }
            draft.replace(held, changed)?;
        }
        if !draft.changes.is_empty() {
            self.write(draft).await?;
        }
        let members = members.len();
        Ok(Followed { members, strangers: addresses.len().saturating_sub(members) })
    }

    /// Takes out of their groups whoever a schedule had put there that does not keep that group any more: only the groups
    /// that are `kept` by one still have people by one. How many places in groups ended.
    pub async fn end_rosters(&self, kept: &BTreeSet<GroupName>) -> Result<usize, IdentityError> {
        let _turn = self.writing.lock().await;
        let over = |person: &Person| person.on_call.keys().any(|group| !kept.contains(group));
        let left: Vec<Held<Person>> =
            self.memory.read().people.values().filter(|held| over(&held.doc)).cloned().collect();
        let (mut draft, mut ended) = (Draft::default(), 0);
        for held in &left {
            let mut changed = held.doc.clone();
            changed.on_call.retain(|group, _| kept.contains(group));
            for (group, schedule) in held.doc.on_call.iter().filter(|(group, _)| !kept.contains(*group)) {
                if changed.groups.remove(group) {
                    ended += 1;
                    draft.note(shift(changed.id, schedule, BTreeSet::new(), [group.clone()].into()));
                }
            }
            draft.replace(held, changed)?;
        }
        if !draft.changes.is_empty() {
            self.write(draft).await?;
        }
        Ok(ended)
    }
}

/// Somebody's shift begins or ends.
fn shift(person: PersonId, schedule: &str, added: BTreeSet<GroupName>, removed: BTreeSet<GroupName>) -> Note {
    let event = Event::PersonGroupsChanged { person, added, removed };
    Note::new(Actor::Gateway, event).private("on_call", schedule)
}
