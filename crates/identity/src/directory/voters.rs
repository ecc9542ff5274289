//! What the engine asks: callers by their credential, and people as voters.

use super::{Directory, is_active};
use crate::{
    memory::Memory,
    record::person::{Person, Role, pairs},
};
use async_trait::async_trait;
use countersign_core::{AgentId, ChannelName, CredentialId, GroupName, PersonId, Requester, Timestamp};
use countersign_engine::port::{
    identity::{
        BindingOffer, Bound, ChannelUser, Identity, Introduction, NotAuthenticated, NotOffered, Presented,
        Regrouped, Regrouping, StandIn, Voter,
    },
    push::{Fared, Subscription},
};
use std::collections::{BTreeMap, BTreeSet};

#[async_trait]
impl Identity for Directory {
    fn authenticate(&self, presented: Presented<'_>, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        match presented {
            Presented::Bearer(text) if self.is_foreign(text) => self.foreign(text, now),
            Presented::Bearer(text) => self.bearer(text, now),
            Presented::Certificate(certificate) => self.certified(certificate, now),
            Presented::Nothing => Err(NotAuthenticated::Missing),
        }
    }

    async fn prepare(&self, presented: Presented<'_>) {
        match presented {
            Presented::Bearer(text) if self.is_foreign(text) => self.admit(text).await,
            Presented::Certificate(certificate) => self.admit_certified(certificate).await,
            Presented::Bearer(_) | Presented::Nothing => {}
        }
    }

    fn requester(&self, credential: CredentialId, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        self.holder(credential, now)
    }

    fn voter(&self, person: PersonId) -> Option<Voter> {
        let memory = self.memory.read();
        let person = memory.person(person).filter(|person| self.votes(person))?;
        Some(self.as_voter(&memory, person))
    }

    fn voters(&self) -> Vec<Voter> {
        let memory = self.memory.read();
        let people = memory.people.values().map(|held| &held.doc);
        let mut voters: Vec<Voter> =
            people.filter(|person| self.votes(person)).map(|person| self.as_voter(&memory, person)).collect();
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

    fn introductions(&self, person: PersonId) -> Vec<Introduction> {
        self.memory.read().person(person).map(|person| person.introductions.clone()).unwrap_or_default()
    }

    fn regroupings(&self, since: Timestamp) -> Vec<Regrouping> {
        let memory = self.memory.read();
        let people =
            memory.people.values().flat_map(|held| held.doc.introductions.iter().chain(&held.doc.removals));
        let of_people = people.filter(|change| change.at >= since).filter_map(|change| {
            Some(Regrouping { by: change.by?, at: change.at, of: Regrouped::Group(change.group.clone()?) })
        });
        let agents = memory
            .agents
            .values()
            .flat_map(|held| held.doc.changed_by.iter().map(|(by, at)| (*by, *at, held.doc.id)));
        let of_agents = agents.filter(|(_, at, _)| *at >= since).map(|(by, at, agent)| Regrouping {
            by,
            at,
            of: Regrouped::Agent(agent),
        });
        of_people.chain(of_agents).collect()
    }

    fn person_name(&self, person: PersonId) -> Option<String> {
        self.memory.read().person(person).map(|person| format!("{} <{}>", person.name, person.email))
    }

    fn called(&self, person: PersonId) -> Option<String> {
        self.memory.read().person(person).map(|person| person.name.clone())
    }

    fn address(&self, person: PersonId) -> Option<String> {
        let memory = self.memory.read();
        let person = memory.person(person).filter(|person| self.hears(person))?;
        Some(person.email.to_string())
    }

    fn may_freeze(&self, person: PersonId) -> bool {
        let memory = self.memory.read();
        let person = memory.person(person).filter(|person| person.role != Role::Auditor);
        person.is_some_and(|person| {
            is_active(person, person.role) && self.is_vouched(person, self.journal.now())
        })
    }

    fn agent_named(&self, name: &str) -> Option<AgentId> {
        self.agent_by_name(name).map(|agent| agent.id)
    }

    fn agent_called(&self, agent: AgentId) -> Option<String> {
        self.agent(agent).map(|agent| agent.name)
    }

    fn subscriptions(&self, person: PersonId) -> Vec<Subscription> {
        self.ways(person)
    }

    async fn subscription_fared(&self, subscription: CredentialId, fared: Fared) {
        if let Err(error) = Self::fared(self, subscription, fared).await {
            tracing::warn!(%error, %subscription, "how a device fared could not be written down");
        }
    }

    fn bound(&self, channel: &ChannelName, user: &str) -> Option<Bound> {
        self.bound_to(channel, user)
    }

    fn user_of(&self, channel: &ChannelName, person: PersonId) -> Option<String> {
        let memory = self.memory.read();
        let person = memory.person(person).filter(|person| self.hears(person))?;
        let binding = person.bindings.iter().find(|binding| binding.channel == *channel)?;
        Some(binding.user.clone())
    }

    fn offer_binding(&self, who: ChannelUser) -> Result<BindingOffer, NotOffered> {
        self.make_offer(who)
    }
}

impl Directory {
    /// Whether somebody is told of what is asked: they are in, and their provider vouched for them not too long ago.
    pub(super) fn hears(&self, person: &Person) -> bool {
        person.is_in() && self.is_vouched(person, self.journal.now())
    }

    fn votes(&self, person: &Person) -> bool {
        person.can_vote() && self.is_vouched(person, self.journal.now())
    }

    /// What is known of a person under the names that a provider is asked for today.
    fn attributes_of(&self, person: &Person) -> BTreeSet<String> {
        let asked =
            |name: &String| self.settings.providers.iter().any(|one| one.attributes.contains_key(name));
        let known = person.attributes.iter().filter(|(name, _)| asked(name));
        pairs(&known.map(|(name, values)| (name.clone(), values.clone())).collect())
    }

    fn as_voter(&self, memory: &Memory, person: &Person) -> Voter {
        let absent = memory.stand_ins.get(&person.id).into_iter().flatten();
        let absent = absent.filter_map(|absent| memory.person(*absent));
        let stands_in = absent.flat_map(|absent| {
            let own = absent.delegations.iter().filter(|one| one.to == person.id);
            own.map(|one| StandIn { absent: absent.id, from: one.from, until: one.until })
        });
        Voter {
            person: person.id,
            name: person.name.clone(),
            groups: person.groups.intersection(&self.groups).cloned().collect(),
            attributes: self.attributes_of(person),
            administrator: person.role == Role::Administrator,
            introductions: person.introductions.clone(),
            stands_in: stands_in.collect(),
        }
    }
}
