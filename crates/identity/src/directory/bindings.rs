//! Users of channels who speak for people. A channel asks for a link, meant for one of its users; a person who is signed
//! in opens it, sees who would speak for them, and says so. From then on what that user says there is theirs, until they,
//! an administrator or their leaving ends it. What a user calls themself never binds anybody.

use super::{Author, Directory, Draft, sessions::SessionInfo};
use crate::{
    error::IdentityError,
    record::{
        Held,
        person::{Binding, Person},
    },
    secret::{self, Secret, fingerprint},
};
use countersign_core::{ChannelName, CredentialId, Digest, PersonId, Timestamp};
use countersign_engine::{
    journal::Note,
    port::identity::{BindingOffer, Bound, ChannelUser, NotOffered},
};
use countersign_ledger::event::{Actor, Event};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// How long a link may be opened.
const LASTS: Duration = Duration::from_mins(10);
/// Links that wait to be opened at once.
const MOST_OFFERS: usize = 4096;
/// Users of channels who may speak for one person.
const MOST: usize = 16;
/// The longest name a channel may have for a user, in bytes.
const LONGEST: usize = 256;

/// Links that were handed out and not opened yet: in memory alone, so that a restart ends them.
#[derive(Debug, Default)]
pub(crate) struct Offers(HashMap<Digest, Offer>);

#[derive(Clone, Debug)]
struct Offer {
    who: ChannelUser,
    expires: Timestamp,
}

/// Who would speak for a person, as they see it before they say so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    pub channel: ChannelName,
    pub user: String,
    /// What the channel calls them: claimed, never believed.
    pub name: Option<String>,
    pub expires: Timestamp,
}

impl Offers {
    fn add(&mut self, code: Digest, offer: Offer, now: Timestamp) -> Result<(), NotOffered> {
        self.0.retain(|_, known| now < known.expires);
        let same =
            |known: &Offer| (&known.who.channel, &known.who.user) == (&offer.who.channel, &offer.who.user);
        self.0.retain(|_, known| !same(known));
        if self.0.len() >= MOST_OFFERS {
            return Err(NotOffered::TooMany);
        }
        self.0.insert(code, offer);
        Ok(())
    }

    fn open(&self, code: &str, now: Timestamp) -> Option<&Offer> {
        let offer = secret::has_shape(code).then(|| self.0.get(&fingerprint(code))).flatten();
        offer.filter(|offer| now < offer.expires)
    }
}

impl Directory {
    pub(super) fn make_offer(&self, who: ChannelUser) -> Result<BindingOffer, NotOffered> {
        let fits = |text: &str| (1..=LONGEST).contains(&text.len());
        if !fits(&who.user) || who.name.as_deref().is_some_and(|name| !fits(name)) {
            return Err(NotOffered::Unusable("a user and its name must be 1 to 256 bytes long"));
        }
        if self.bound_to(&who.channel, &who.user).is_some() {
            return Err(NotOffered::Bound);
        }
        let now = self.journal.now();
        let code = Secret::of_bytes(&self.journal.random());
        let expires = now.plus(LASTS);
        self.offers.lock().add(fingerprint(code.reveal()), Offer { who, expires }, now)?;
        let link = format!("{}/bind#{}", self.settings.origin, code.reveal());
        Ok(BindingOffer { link, expires })
    }

    pub(super) fn bound_to(&self, channel: &ChannelName, user: &str) -> Option<Bound> {
        let memory = self.memory.read();
        let person = memory.people.get(memory.bindings.get(&Binding::key_of(channel, user))?)?;
        if person.doc.is_disabled() {
            return None;
        }
        let binding = person.doc.bindings.iter().find(|one| one.channel == *channel && one.user == user)?;
        Some(Bound { person: person.doc.id, binding: binding.id, since: binding.bound_at })
    }

    /// Who would speak for the person of this session. Opening does not use the link up; wrong ones slow their source down.
    pub fn proposed(
        &self,
        session: &SessionInfo,
        code: &str,
        source: IpAddr,
    ) -> Result<Proposed, IdentityError> {
        self.may_bind(session)?;
        self.offer(code, source).map(|Offer { who, expires }| Proposed {
            channel: who.channel,
            user: who.user,
            name: who.name,
            expires,
        })
    }

    /// Has the user a link is meant for speak for the person of this session, who has just proven who they are.
    pub async fn bind(
        &self,
        session: &SessionInfo,
        code: &str,
        source: IpAddr,
    ) -> Result<Binding, IdentityError> {
        let _turn = self.writing.lock().await;
        self.may_bind(session)?;
        let Offer { who, .. } = self.offer(code, source)?;
        let held = self.standing_person(session.person)?;
        let binding = Binding {
            id: self.journal.id(CredentialId::from_parts),
            channel: who.channel,
            user: who.user,
            name: who.name,
            bound_at: self.journal.now(),
        };
        if self.memory.read().bindings.contains_key(&binding.key()) {
            return Err(IdentityError::UserBound);
        }
        let own = &held.doc.bindings;
        // One user of a channel for each person: otherwise one person could hand out their voice there.
        if own.iter().any(|known| known.channel == binding.channel) || own.len() >= MOST {
            return Err(IdentityError::ChannelBound(binding.channel));
        }
        let mut changed = held.doc.clone();
        changed.bindings.push(binding.clone());
        let mut draft = Draft::default();
        let person = session.person;
        let event = Event::ChannelBound { person, binding: binding.id, channel: binding.channel.clone() };
        let note =
            Note::new(Actor::Person { id: person }, event).private("channel_user", binding.user.as_str());
        draft.note(match &binding.name {
            Some(name) => note.private("channel_user_name", name.as_str()),
            None => note,
        });
        draft.replace(&held, changed)?;
        // Once, whatever comes of it.
        self.offers.lock().0.remove(&fingerprint(code));
        self.write(draft).await?;
        Ok(binding)
    }

    /// Ends a binding: its person, an administrator or the operator may.
    pub async fn unbind(
        &self,
        by: Author,
        person: PersonId,
        binding: CredentialId,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        if by.person() != Some(person) {
            self.administrator(by)?;
        }
        let held = self.held_person(person)?;
        let mut changed = held.doc.clone();
        let found = held.doc.bindings.iter().find(|known| known.id == binding);
        let found = found.ok_or(IdentityError::UnknownCredential(binding))?;
        changed.bindings.retain(|known| known.id != binding);
        let mut draft = Draft::default();
        draft.note(ended(by.actor(), person, found));
        draft.replace(&held, changed)?;
        self.write(draft).await
    }

    /// Takes all bindings from somebody who leaves.
    pub(super) fn end_bindings(draft: &mut Draft, by: &Actor, person: &mut Person) {
        for binding in std::mem::take(&mut person.bindings) {
            draft.note(ended(by.clone(), person.id, &binding));
        }
    }

    pub(super) fn may_bind(&self, session: &SessionInfo) -> Result<(), IdentityError> {
        let held: Held<Person> = self.standing_person(session.person)?;
        if !held.doc.can_vote() {
            return Err(IdentityError::NotAllowed { who: "whoever can decide on approvals" });
        }
        self.freshly_proven(session)
    }

    /// A link that is open. Wrong ones slow down only their source.
    fn offer(&self, code: &str, source: IpAddr) -> Result<Offer, IdentityError> {
        let now = self.journal.now();
        if let Some(offer) = self.offers.lock().open(code, now) {
            return Ok(offer.clone());
        }
        self.counted(source, Err(IdentityError::BindingSpent), |_| true)
    }
}

fn ended(by: Actor, person: PersonId, binding: &Binding) -> Note {
    let channel = binding.channel.clone();
    Note::new(by, Event::ChannelUnbound { person, binding: binding.id, channel })
}
