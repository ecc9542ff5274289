//! What the engine asks: callers by their credential, and people as voters.

use super::Directory;
use crate::record::person::{Person, Role};
use async_trait::async_trait;
use countersign_core::{CredentialId, GroupName, PersonId, Requester, Timestamp};
use countersign_engine::port::identity::{Identity, NotAuthenticated, Presented, Voter};
use std::collections::{BTreeMap, BTreeSet};

#[async_trait]
impl Identity for Directory {
    fn authenticate(&self, presented: Presented<'_>, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        match presented {
            Presented::Bearer(text) if self.is_foreign(text) => self.foreign(text, now),
            Presented::Bearer(text) => self.bearer(text, now),
            Presented::Nothing => Err(NotAuthenticated::Missing),
        }
    }

    async fn prepare(&self, presented: Presented<'_>) {
        match presented {
            Presented::Bearer(text) if self.is_foreign(text) => self.admit(text).await,
            Presented::Bearer(_) | Presented::Nothing => {}
        }
    }

    fn requester(&self, credential: CredentialId, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        self.holder(credential, now)
    }

    fn voter(&self, person: PersonId) -> Option<Voter> {
        self.memory
            .read()
            .person(person)
            .filter(|person| person.can_vote())
            .map(|person| self.as_voter(person))
    }

    fn voters(&self) -> Vec<Voter> {
        let memory = self.memory.read();
        let people = memory.people.values().map(|held| &held.doc);
        let mut voters: Vec<Voter> =
            people.filter(|person| person.can_vote()).map(|person| self.as_voter(person)).collect();
        voters.sort_by(|left, right| (&left.name, left.person).cmp(&(&right.name, right.person)));
        voters
    }

    fn membership(&self) -> BTreeMap<GroupName, BTreeSet<PersonId>> {
        let memory = self.memory.read();
        let voters: Vec<&Person> =
            memory.people.values().map(|held| &held.doc).filter(|person| person.can_vote()).collect();
        let members = |group: &GroupName| {
            voters.iter().filter(|person| person.groups.contains(group)).map(|person| person.id).collect()
        };
        self.groups.iter().map(|group| (group.clone(), members(group))).collect()
    }

    fn person_name(&self, person: PersonId) -> Option<String> {
        self.memory.read().person(person).map(|person| format!("{} <{}>", person.name, person.email))
    }
}

impl Directory {
    fn as_voter(&self, person: &Person) -> Voter {
        Voter {
            person: person.id,
            name: person.name.clone(),
            groups: person.groups.intersection(&self.groups).cloned().collect(),
            administrator: person.role == Role::Administrator,
            introductions: person.introductions.clone(),
        }
    }
}
