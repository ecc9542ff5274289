//! Groups that are whoever is on call, as a schedule kept elsewhere says. A schedule makes nobody: it only says which of the
//! people here they are, by their addresses, and whoever it does not name is not one of them.

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
            let people = memory.people.values();
            let wrong = people
                .filter(|held| held.doc.groups.contains(group) != members.contains(&held.doc.id))
                .cloned()
                .collect();
            (members, wrong)
        };
        let mut draft = Draft::default();
        for held in &wrong {
            let mut changed = held.doc.clone();
            let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
            if members.contains(&held.doc.id) {
                changed.introduce(Introduction { by: None, at: now, group: Some(group.clone()) });
                changed.groups.insert(group.clone());
                added.insert(group.clone());
            } else {
                changed.groups.remove(group);
                removed.insert(group.clone());
            }
            let event = Event::PersonGroupsChanged { person: held.doc.id, added, removed };
            draft.note(Note::new(Actor::Gateway, event).private("on_call", schedule));
            draft.replace(held, changed)?;
        }
        if !draft.changes.is_empty() {
            self.write(draft).await?;
        }
        let members = members.len();
        Ok(Followed { members, strangers: addresses.len().saturating_sub(members) })
    }
}
