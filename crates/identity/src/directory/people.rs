//! People: invited, put into groups, disabled. Names and addresses go into the person's record and into private
//! fields of entries, nowhere else.

use super::{Author, Directory, Draft, readable};
use crate::{
    email::EmailAddress,
    error::IdentityError,
    record::{
        Held,
        link::{LinkKind, LinkRecord},
        person::{Person, Role},
    },
    secret::{Secret, fingerprint},
    seen::Seen,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{GroupName, PersonId, Timestamp};
use countersign_engine::{journal::Note, port::identity::Introduction};
use countersign_ledger::event::{Actor, Event};
use std::collections::{BTreeMap, BTreeSet};

/// Somebody to be invited.
#[derive(Clone, Debug)]
pub struct NewPerson {
    pub name: String,
    pub email: String,
    pub groups: BTreeSet<GroupName>,
    pub role: Role,
}

/// A one-time link, to be handed to the person it is for and to nobody else.
#[derive(Clone, Debug)]
pub struct Link {
    /// The console's address with the secret in the fragment, which browsers never send.
    pub url: Secret,
    /// The secret alone, as the page sends it back.
    pub secret: Secret,
    pub kind: LinkKind,
    pub expires: Timestamp,
}

impl Directory {
    /// Invites a person. The author counts as their introducer: see [`Introduction`].
    pub async fn invite(&self, by: Author, who: NewPerson) -> Result<(PersonId, Link), IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        let name = readable("a name", &who.name)?;
        let email = EmailAddress::new(who.email.trim())?;
        let first = self.settings.administrators.contains(&email);
        self.declared(&who.groups)?;
        if self.memory.read().emails.contains_key(&email) {
            return Err(IdentityError::EmailTaken(email.to_string()));
        }
        let now = self.journal.now();
        let introduction = |group| Introduction { by: by.person(), at: now, group };
        let into_groups = who.groups.iter().cloned().map(|group| introduction(Some(group)));
        let mut person = Person {
            id: self.journal.id(PersonId::from_parts),
            name,
            email,
            role: if first { Role::Administrator } else { who.role },
            introductions: std::iter::once(introduction(None)).chain(into_groups).collect(),
            removals: Vec::new(),
            former_emails: BTreeSet::new(),
            attributes: BTreeMap::new(),
            on_call: BTreeMap::new(),
            groups: who.groups,
            handle: URL_SAFE_NO_PAD.encode(self.journal.random::<32>()),
            accounts: Vec::new(),
            unlinked: None,
            bindings: Vec::new(),
            delegations: Vec::new(),
            provisioned: None,
            signalled: None,
            distrusted: None,
            invited_at: now,
            enrolled_at: None,
            disabled_at: None,
        };
        self.behind(by).into_iter().for_each(|hand| person.introduce(hand));
        let id = person.id;
        let mut draft = Draft::default();
        let event = Event::PersonInvited { person: id, groups: person.groups.clone() };
        let note = Note::new(by.actor(), event)
            .private("name", person.name.as_str())
            .private("email", person.email.as_str())
            .private("role", person.role.as_str());
        draft.note(note);
        draft.insert(person)?;
        let link = self.add_link(&mut draft, id, LinkKind::Enrol)?;
        self.write(draft).await?;
        Ok((id, link))
    }

    /// Makes a new one-time link for a person; their older ones stop working. Whoever makes a link could open it,
    /// so they count as the person's introducer.
    pub async fn issue_link(&self, by: Author, person: PersonId) -> Result<Link, IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        let held = self.standing_person(person)?;
        let mut draft = Draft::default();
        self.memory.read().links_of(person).for_each(|link| draft.delete(link));
        let kind = if held.doc.enrolled_at.is_some() { LinkKind::SignIn } else { LinkKind::Enrol };
        let mut changed = held.doc.clone();
        changed.introduce(Introduction { by: by.person(), at: self.journal.now(), group: None });
        self.behind(by).into_iter().for_each(|hand| changed.introduce(hand));
        draft.replace(&held, changed)?;
        draft.note(Note::new(by.actor(), Event::PersonLinkIssued { person }));
        let link = self.add_link(&mut draft, person, kind)?;
        self.write(draft).await?;
        Ok(link)
    }

    /// Puts a person into groups and takes them out of others. Nobody puts themself into a group: an
    /// administrator gains no vote by being one.
    pub async fn set_groups(
        &self,
        by: Author,
        person: impl Into<Seen<PersonId>>,
        add: &BTreeSet<GroupName>,
        remove: &BTreeSet<GroupName>,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        self.declared(add)?;
        let seen = person.into();
        let person = seen.id;
        let held = self.standing_person(person)?;
        seen.is_present(&held)?;
        let added: BTreeSet<_> = add.difference(&held.doc.groups).cloned().collect();
        let removed: BTreeSet<_> =
            held.doc.groups.intersection(remove).filter(|group| !add.contains(*group)).cloned().collect();
        if by.person() == Some(person) && !added.is_empty() {
            return Err(IdentityError::OwnGroups);
        }
        if added.is_empty() && removed.is_empty() {
            return Ok(());
        }
        let mut changed = held.doc.clone();
        let now = self.journal.now();
        for group in &added {
            changed.introduce(Introduction { by: by.person(), at: now, group: Some(group.clone()) });
        }
        if !added.is_empty() {
            self.behind(by).into_iter().for_each(|hand| changed.introduce(hand));
        }
        for group in &removed {
            changed.take_out(Introduction { by: by.person(), at: now, group: Some(group.clone()) });
        }
        changed.groups.retain(|group| !removed.contains(group));
        changed.groups.extend(added.iter().cloned());
        let mut draft = Draft::default();
        draft.replace(&held, changed)?;
        draft.note(Note::new(by.actor(), Event::PersonGroupsChanged { person, added, removed }));
        self.write(draft).await
    }

    /// Says what a person may do beside voting. Nobody changes their own role: the last administrator could neither
    /// lock everybody out nor be made one by themself. Their sessions go on with the new role at once.
    pub async fn set_role(
        &self,
        by: Author,
        person: impl Into<Seen<PersonId>>,
        role: Role,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        let seen = person.into();
        if by.person() == Some(seen.id) {
            return Err(IdentityError::OwnRole);
        }
        let held = self.standing_person(seen.id)?;
        seen.is_present(&held)?;
        if held.doc.role == role {
            return Ok(());
        }
        let mut draft = Draft::default();
        draft.note(role_note(by.actor(), seen.id, role));
        let mut changed = Person { role, ..held.doc.clone() };
        if changed.can_vote() && !held.doc.can_vote() {
            // Whoever gives somebody a vote has brought them in.
            changed.introduce(Introduction { by: by.person(), at: self.journal.now(), group: None });
            self.behind(by).into_iter().for_each(|hand| changed.introduce(hand));
        }
        draft.replace(&held, changed)?;
        self.write(draft).await
    }

    /// At start: whoever the configuration names is an administrator.
    pub(super) async fn first_administrators(&self) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let mut draft = Draft::default();
        {
            let memory = self.memory.read();
            let named = self.settings.administrators.iter().filter_map(|email| memory.emails.get(email));
            let held = named.filter_map(|person| memory.people.get(person));
            for held in held.filter(|held| !held.doc.is_disabled() && held.doc.role != Role::Administrator) {
                draft.note(role_note(Actor::Gateway, held.doc.id, Role::Administrator));
                draft.replace(held, Person { role: Role::Administrator, ..held.doc.clone() })?;
            }
        }
        if draft.changes.is_empty() { Ok(()) } else { self.write(draft).await }
    }

    /// Ends a person's part here: sessions and links end at once, no vote counts any more, and tokens that act
    /// on their behalf stop working.
    pub async fn disable_person(
        &self,
        by: Author,
        person: impl Into<Seen<PersonId>>,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        self.administrator(by)?;
        let seen = person.into();
        let person = seen.id;
        let held = self.held_person(person)?;
        seen.is_present(&held)?;
        if held.doc.is_disabled() {
            return Ok(());
        }
        let mut draft = Draft::default();
        draft.note(Note::new(by.actor(), Event::PersonDisabled { person }));
        self.end_access(&mut draft, &by.actor(), person);
        let mut changed = Person { disabled_at: Some(self.journal.now()), ..held.doc.clone() };
        Self::end_bindings(&mut draft, &by.actor(), &mut changed);
        draft.replace(&held, changed)?;
        self.write(draft).await
    }

    /// Everybody, the disabled included, in the order they were invited.
    pub fn people(&self) -> Vec<Person> {
        self.memory.read().people.values().map(|held| held.doc.clone()).collect()
    }

    /// Everybody, with the versions of their records.
    pub fn people_at(&self) -> Vec<(Person, u64)> {
        self.memory.read().people.values().map(|held| (held.doc.clone(), held.version)).collect()
    }

    /// Somebody, with the version of their record; it grows with every change.
    pub fn person_at(&self, person: PersonId) -> Option<(Person, u64)> {
        self.memory.read().people.get(&person).map(|held| (held.doc.clone(), held.version))
    }

    pub fn person(&self, person: PersonId) -> Option<Person> {
        self.memory.read().person(person).cloned()
    }

    /// Only for those who are signed in, or on the gateway's own machine.
    pub fn person_by_email(&self, email: &EmailAddress) -> Option<Person> {
        let memory = self.memory.read();
        memory.emails.get(email).and_then(|person| memory.person(*person)).cloned()
    }

    /// Who brought in the author, and whoever brought in those: their hand is in all that the author does.
    pub(super) fn behind(&self, by: Author) -> Vec<Introduction> {
        let memory = self.memory.read();
        let author = by.person().and_then(|person| memory.person(person));
        let hands = author.into_iter().flat_map(|author| &author.introductions);
        hands
            .filter(|hand| hand.by.is_some())
            .map(|hand| Introduction { group: None, ..hand.clone() })
            .collect()
    }

    fn add_link(&self, draft: &mut Draft, person: PersonId, kind: LinkKind) -> Result<Link, IdentityError> {
        let secret = Secret::of_bytes(&self.journal.random());
        let lasts = match kind {
            LinkKind::Enrol => self.settings.enrolment_link,
            LinkKind::SignIn => self.settings.sign_in_link,
        };
        let expires = self.journal.now().plus(lasts);
        draft.insert(LinkRecord { secret: fingerprint(secret.reveal()), person, kind, expires })?;
        let url = Secret::new(format!("{}/enrol#{}", self.settings.origin, secret.reveal()));
        Ok(Link { url, secret, kind, expires })
    }

    pub(super) fn end_access(&self, draft: &mut Draft, by: &Actor, person: PersonId) {
        let memory = self.memory.read();
        let sessions: Vec<&Held<_>> = memory.sessions_of(person).collect();
        if !sessions.is_empty() {
            draft.note(Note::new(by.clone(), Event::SessionClosed { person, everywhere: true }));
        }
        Self::end_subscriptions(&memory, draft, by, person);
        for session in sessions {
            draft.delete(session);
        }
        memory.links_of(person).for_each(|link| draft.delete(link));
    }
}

fn role_note(by: Actor, person: PersonId, role: Role) -> Note {
    Note::new(by, Event::PersonRoleChanged { person, role: role.as_str().to_owned() })
}
