//! Devices on which people are told. A person adds their own, just after proving who they are: whoever got hold of a session
//! for a while would otherwise read along for good. They end with the person, when the person signs out everywhere, when
//! somebody says that their sessions are not to be trusted, and when the push service knows them no more.

use super::{Author, Directory, Draft, readable, sessions::SessionInfo};
use crate::{
    error::IdentityError,
    memory::Memory,
    record::subscription::{Subscription, Trouble},
};
use countersign_core::{CredentialId, PersonId, Timestamp};
use countersign_engine::{
    journal::Note,
    port::push::{self, Fared},
};
use countersign_ledger::event::{Actor, Event};
use std::time::Duration;

/// Devices on which one person is told.
const MOST: usize = 10;
/// How exactly it is known when a device was last told.
const COARSE: Duration = Duration::from_mins(1);

/// What a browser handed over, checked by whoever tells devices.
pub struct NewSubscription<'n> {
    pub name: &'n str,
    pub endpoint: &'n str,
    pub p256dh: &'n str,
    pub auth: &'n str,
    pub made_for: &'n str,
}

impl std::fmt::Debug for NewSubscription<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("NewSubscription").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Directory {
    /// Has a device of this session's person told from now on.
    pub async fn subscribe(
        &self,
        session: &SessionInfo,
        new: &NewSubscription<'_>,
    ) -> Result<CredentialId, IdentityError> {
        let _turn = self.writing.lock().await;
        let name = readable("a device's name", new.name)?;
        self.still_signed_in(session)?;
        self.may_bind(session)?;
        {
            let memory = self.memory.read();
            if memory.subscriptions.values().any(|held| held.doc.endpoint == new.endpoint) {
                return Err(IdentityError::SubscriptionTaken);
            }
            if memory.subscriptions_of(session.person).count() >= MOST {
                return Err(IdentityError::TooManySubscriptions(MOST));
            }
        }
        let subscription = Subscription {
            id: self.journal.id(CredentialId::from_parts),
            person: session.person,
            name,
            endpoint: new.endpoint.to_owned(),
            p256dh: new.p256dh.to_owned(),
            auth: new.auth.to_owned(),
            made_for: new.made_for.to_owned(),
            created_at: self.journal.now(),
            told_at: None,
            trouble: None,
        };
        let (id, person) = (subscription.id, session.person);
        let event = Event::PushSubscribed { person, subscription: id };
        let note = Note::new(Actor::Person { id: person }, event);
        let note =
            note.private("name", subscription.name.as_str()).private("push_service", subscription.service());
        let mut draft = Draft::default();
        draft.note(note);
        draft.insert(subscription)?;
        self.write(draft).await?;
        Ok(id)
    }

    /// Tells a device no more: its owner, an administrator or the operator may say so.
    pub async fn unsubscribe(&self, by: Author, id: CredentialId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.memory.read().subscriptions.get(&id).cloned();
        let owner = held.as_ref().map(|held| held.doc.person);
        if owner.is_none() || by.person() != owner {
            self.administrator(by)?;
        }
        let held = held.ok_or(IdentityError::UnknownCredential(id))?;
        let mut draft = Draft::default();
        draft.delete(&held);
        draft.note(ended(by.actor(), &held.doc));
        self.write(draft).await
    }

    /// A person's devices, in the order they were added.
    pub fn subscriptions(&self, person: PersonId) -> Vec<Subscription> {
        self.memory.read().subscriptions_of(person).map(|held| held.doc.clone()).collect()
    }

    /// Whose device this is, and what is needed to tell it something.
    pub fn subscription(&self, id: CredentialId) -> Option<(PersonId, push::Subscription)> {
        self.memory.read().subscriptions.get(&id).map(|held| (held.doc.person, held.doc.way()))
    }

    /// Takes all devices from somebody.
    pub(super) fn end_subscriptions(memory: &Memory, draft: &mut Draft, by: &Actor, person: PersonId) {
        for held in memory.subscriptions_of(person) {
            draft.delete(held);
            draft.note(ended(by.clone(), &held.doc));
        }
    }

    /// The devices of somebody who is in.
    pub(super) fn ways(&self, person: PersonId) -> Vec<push::Subscription> {
        let memory = self.memory.read();
        if !memory.person(person).is_some_and(|person| self.hears(person)) {
            return Vec::new();
        }
        memory.subscriptions_of(person).map(|held| held.doc.way()).collect()
    }

    /// Takes down how a device fared, where that is news.
    pub(super) async fn fared(&self, id: CredentialId, fared: Fared) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.memory.read().subscriptions.get(&id).cloned();
        // It may have been removed meanwhile.
        let Some(held) = held else { return Ok(()) };
        let mut draft = Draft::default();
        if fared == Fared::Gone {
            draft.delete(&held);
            draft.note(
                ended(Actor::Gateway, &held.doc).private("reason", "its push service knows it no more"),
            );
            return self.write(draft).await;
        }
        match after(&held.doc, &fared, self.journal.now()) {
            None => Ok(()),
            Some(doc) => {
                draft.replace(&held, doc)?;
                self.write(draft).await
            }
        }
    }
}

/// The record after it fared like this; `None`: nothing in it changes that anybody would see.
fn after(was: &Subscription, fared: &Fared, now: Timestamp) -> Option<Subscription> {
    match fared {
        Fared::Gone => None,
        Fared::Told => {
            let fresh = was.told_at.is_some_and(|at| now.since(at) < COARSE);
            (!fresh || was.trouble.is_some()).then(|| Subscription {
                told_at: Some(now),
                trouble: None,
                ..was.clone()
            })
        }
        Fared::Failed(why) => {
            let known = was.trouble.as_ref();
            let same = known.is_some_and(|known| known.why == *why && now.since(known.at) < COARSE);
            let trouble = Some(Trouble { at: now, why: why.clone() });
            (!same).then(|| Subscription { trouble, ..was.clone() })
        }
    }
}

fn ended(by: Actor, subscription: &Subscription) -> Note {
    let Subscription { id, person, .. } = *subscription;
    Note::new(by, Event::PushUnsubscribed { person, subscription: id })
}
