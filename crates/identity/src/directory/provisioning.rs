//! People as an organisation's own directory tells them (SCIM): made, renamed, put into groups, gone and back.
//!
//! A provisioning client speaks under a token of its own, which only the operator makes. It gives nobody a role, takes
//! nobody's account or passkey, and has no say about those the configuration names as administrators.

use super::{Author, Directory, Draft, readable};
use crate::{
    email::EmailAddress,
    error::IdentityError,
    record::{
        Held,
        person::{Person, Provisioned, Role},
        provisioner::Provisioner,
    },
    secret::{Secret, fingerprint, token},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{CredentialId, GroupName, PersonId, visible};
use countersign_engine::{journal::Note, port::identity::Introduction};
use countersign_ledger::event::{Actor, Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

/// The longest name or id of a client's own that is kept, in bytes.
const LONGEST: usize = 256;

/// What a client says of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub user_name: String,
    pub external_id: Option<String>,
    /// What people call them; the part before the `@` when it says nothing.
    pub name: Option<String>,
    pub email: String,
    pub active: bool,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    Stays,
    /// From now on they are nobody here: what rests on their word has to be taken back.
    Left,
}

impl Directory {
    /// Makes the token of a client: the operator only. The secret is not kept.
    pub async fn create_provisioner(
        &self,
        by: Author,
        label: &str,
        lasts: Option<Duration>,
    ) -> Result<(CredentialId, Secret), IdentityError> {
        let _turn = self.writing.lock().await;
        operator(by)?;
        let now = self.journal.now();
        let secret = token::provisioner(&self.journal.random());
        let record = Provisioner {
            id: self.journal.id(CredentialId::from_parts),
            label: readable("a label", label)?,
            secret: fingerprint(secret.reveal()),
            created_at: now,
            expires: lasts.map(|lasts| now.plus(lasts)),
            revoked_at: None,
        };
        let id = record.id;
        let mut draft = Draft::default();
        let event = Event::ProvisionerCreated { credential: id, expires: record.expires };
        draft.note(Note::new(by.actor(), event).private("label", record.label.as_str()));
        draft.insert(record)?;
        self.write(draft).await?;
        Ok((id, secret))
    }

    /// Makes a client's token worthless.
    pub async fn revoke_provisioner(&self, by: Author, id: CredentialId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        operator(by)?;
        let held = self.memory.read().provisioners.values().find(|held| held.doc.id == id).cloned();
        let held = held.ok_or(IdentityError::UnknownCredential(id))?;
        if held.doc.revoked_at.is_some() {
            return Ok(());
        }
        let mut draft = Draft::default();
        draft.note(Note::new(by.actor(), Event::ProvisionerRevoked { credential: id }));
        draft.replace(&held, Provisioner { revoked_at: Some(self.journal.now()), ..held.doc.clone() })?;
        self.write(draft).await
    }

    /// The clients' tokens, the revoked included, in the order they were made.
    pub fn provisioners(&self) -> Vec<Provisioner> {
        let memory = self.memory.read();
        let mut all: Vec<Provisioner> = memory.provisioners.values().map(|held| held.doc.clone()).collect();
        all.sort_by_key(|one| one.id);
        all
    }

    /// The client a token belongs to. A wrong one slows its source down; a good one is never held up by others' wrong ones.
    pub fn provisioner(&self, text: &str, source: IpAddr) -> Result<CredentialId, IdentityError> {
        let now = self.journal.now();
        let known = token::has_provisioner_shape(text)
            .then(|| self.memory.read().provisioners.get(&fingerprint(text)).map(|held| held.doc.clone()))
            .flatten();
        if let Some(known) = known.filter(|known| known.is_good(now)) {
            return Ok(known.id);
        }
        self.counted(source, Err(IdentityError::NotSignedIn), |_| true)
    }

    /// Adds somebody. They come in as whoever is invited does; no link is made.
    pub async fn provision(&self, by: CredentialId, told: Told) -> Result<PersonId, IdentityError> {
        let _turn = self.writing.lock().await;
        let email = EmailAddress::new(told.email.trim())?;
        self.not_reserved(&email)?;
        if self.memory.read().emails.contains_key(&email) || self.named(&told.user_name).is_some() {
            return Err(IdentityError::EmailTaken(email.to_string()));
        }
        let now = self.journal.now();
        let name = name_of(&told, &email)?;
        let person = Person {
            id: self.journal.id(PersonId::from_parts),
            name,
            email,
            role: Role::Reviewer,
            groups: BTreeSet::new(),
            introductions: vec![Introduction { by: None, at: now, group: None }],
            removals: Vec::new(),
            former_emails: BTreeSet::new(),
            attributes: BTreeMap::new(),
            on_call: BTreeMap::new(),
            bindings: Vec::new(),
            delegations: Vec::new(),
            handle: URL_SAFE_NO_PAD.encode(self.journal.random::<32>()),
            accounts: Vec::new(),
            unlinked: None,
            provisioned: Some(Provisioned {
                user_name: short(told.user_name)?,
                external_id: told.external_id.map(short).transpose()?,
                made: true,
                gone: !told.active,
                deleted: false,
                changed_at: now,
            }),
            signalled: None,
            distrusted: None,
            invited_at: now,
            enrolled_at: None,
            disabled_at: (!told.active).then_some(now),
        };
        let id = person.id;
        let mut draft = Draft::default();
        let invited = Event::PersonInvited { person: id, groups: BTreeSet::new() };
        let note = under(by, invited).private("name", person.name.as_str());
        draft.note(note.private("email", person.email.as_str()).private("role", person.role.as_str()));
        if !told.active {
            draft.note(under(by, Event::PersonDisabled { person: id }));
        }
        draft.insert(person)?;
        self.write(draft).await?;
        Ok(id)
    }

    /// Makes somebody what a client says they are. Whoever was invited here is the client's from then on, but for their
    /// address, which stays what it was.
    pub async fn reprovision(
        &self,
        by: CredentialId,
        person: PersonId,
        told: Told,
    ) -> Result<Since, IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.provisioned_person(person)?;
        let now = self.journal.now();
        let mut changed = held.doc.clone();
        let mut draft = Draft::default();
        self.retell(&mut changed, &held.doc, told.clone())?;
        let since = if told.active {
            self.bring_back(&mut draft, by, &mut changed)?;
            Since::Stays
        } else {
            self.take_out(&mut draft, by, &mut changed)
        };
        if changed == held.doc {
            return Ok(Since::Stays);
        }
        self.not_reserved(&held.doc.email)?;
        if let Some(provisioned) = &mut changed.provisioned {
            provisioned.changed_at = now;
        }
        let said = under(by, Event::PersonProvisioned { person, credential: by });
        draft.note(said.private("name", changed.name.as_str()).private("email", changed.email.as_str()));
        draft.replace(&held, changed)?;
        self.write(draft).await?;
        Ok(since)
    }

    /// Takes somebody out for good: the client knows them no more, and their address brings nobody in again.
    pub async fn unprovision(&self, by: CredentialId, person: PersonId) -> Result<Since, IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.provisioned_person(person)?;
        self.not_reserved(&held.doc.email)?;
        let mut changed = held.doc.clone();
        let mut draft = Draft::default();
        let since = self.take_out(&mut draft, by, &mut changed);
        let email = changed.email.to_string();
        let now = self.journal.now();
        let provisioned = changed.provisioned.get_or_insert_with(|| Provisioned::here(email, now));
        provisioned.deleted = true;
        provisioned.changed_at = now;
        draft.note(under(by, Event::PersonProvisioned { person, credential: by }));
        draft.replace(&held, changed)?;
        self.write(draft).await?;
        Ok(since)
    }

    /// Makes these, and of those a client knows nobody else, the members of a group it speaks for.
    pub async fn provision_members(
        &self,
        by: CredentialId,
        group: &GroupName,
        members: &BTreeSet<PersonId>,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        if !self.settings.scim_groups.values().any(|ours| ours == group) {
            return Err(IdentityError::UnknownGroup { name: group.clone(), nearest: None });
        }
        let now = self.journal.now();
        let mut draft = Draft::default();
        let people: Vec<Held<Person>> = {
            let memory = self.memory.read();
            let known = memory.people.values().filter(|held| is_shown(&held.doc));
            known
                .filter(|held| held.doc.groups.contains(group) != members.contains(&held.doc.id))
                .cloned()
                .collect()
        };
        for member in members {
            self.provisioned_person(*member)?;
        }
        for held in people {
            self.not_reserved(&held.doc.email)?;
            let mut changed = held.doc.clone();
            let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
            if members.contains(&held.doc.id) {
                // As whoever is put into a group by anybody: from now on, the cooling-off time counts.
                changed.introduce(Introduction { by: None, at: now, group: Some(group.clone()) });
                changed.groups.insert(group.clone());
                added.insert(group.clone());
            } else {
                changed.groups.remove(group);
                removed.insert(group.clone());
            }
            draft.note(under(by, Event::PersonGroupsChanged { person: held.doc.id, added, removed }));
            draft.replace(&held, changed)?;
        }
        if draft.changes.is_empty() { Ok(()) } else { self.write(draft).await }
    }

    /// Everybody a client may know of, in the order they came, with the versions of their records.
    pub fn provisioned(&self) -> Vec<(Person, u64)> {
        let memory = self.memory.read();
        let shown = memory.people.values().filter(|held| is_shown(&held.doc));
        shown.map(|held| (held.doc.clone(), held.version)).collect()
    }

    fn provisioned_person(&self, person: PersonId) -> Result<Held<Person>, IdentityError> {
        let held = self.held_person(person)?;
        if is_shown(&held.doc) { Ok(held) } else { Err(IdentityError::UnknownPerson(person)) }
    }

    /// An address that the configuration names as an administrator's is not a client's to give, to move or to take.
    fn not_reserved(&self, email: &EmailAddress) -> Result<(), IdentityError> {
        if self.settings.administrators.contains(email) { Err(IdentityError::Protected) } else { Ok(()) }
    }

    fn named(&self, user_name: &str) -> Option<PersonId> {
        let memory = self.memory.read();
        let same = |person: &Person| person.user_name().eq_ignore_ascii_case(user_name);
        memory.people.values().map(|held| &held.doc).find(|person| same(person)).map(|person| person.id)
    }

    /// Name, address and the client's own names.
    fn retell(&self, changed: &mut Person, was: &Person, told: Told) -> Result<(), IdentityError> {
        let email = EmailAddress::new(told.email.trim())?;
        if self.named(&told.user_name).is_some_and(|other| other != was.id) {
            return Err(IdentityError::EmailTaken(told.user_name));
        }
        let made = was.provisioned.as_ref().is_some_and(|provisioned| provisioned.made);
        if email != was.email {
            // Whoever is invited under an address comes in by it: it could bring in somebody else.
            if !made || was.role != Role::Reviewer {
                return Err(IdentityError::SetHere("the address"));
            }
            self.not_reserved(&email)?;
            if self.memory.read().emails.contains_key(&email) {
                return Err(IdentityError::EmailTaken(email.to_string()));
            }
            changed.former_emails.insert(was.email.clone());
            changed.email = email.clone();
        }
        if told.name.is_some() {
            changed.name = name_of(&told, &email)?;
        }
        let own = |text: &String| *text != was.email.to_string();
        if was.provisioned.is_some() || told.external_id.is_some() || own(&told.user_name) {
            let base = was.provisioned.clone();
            let base = base.unwrap_or_else(|| Provisioned::here(was.email.to_string(), self.journal.now()));
            changed.provisioned = Some(Provisioned {
                user_name: short(told.user_name)?,
                external_id: told.external_id.map(short).transpose()?,
                ..base
            });
        }
        Ok(())
    }

    /// Ends their part here, as disabling does.
    fn take_out(&self, draft: &mut Draft, by: CredentialId, changed: &mut Person) -> Since {
        if changed.is_disabled() {
            return Since::Stays;
        }
        let (person, now) = (changed.id, self.journal.now());
        draft.note(under(by, Event::PersonDisabled { person }));
        self.end_access(draft, &Actor::Gateway, person);
        Self::end_bindings(draft, &Actor::Gateway, changed);
        changed.disabled_at = Some(now);
        let email = changed.email.to_string();
        changed.provisioned.get_or_insert_with(|| Provisioned::here(email, now)).gone = true;
        Since::Left
    }

    /// Whoever a client took out, it may bring back; whoever was disabled here stays so.
    fn bring_back(
        &self,
        draft: &mut Draft,
        by: CredentialId,
        changed: &mut Person,
    ) -> Result<(), IdentityError> {
        if !changed.is_disabled() {
            return Ok(());
        }
        let Some(provisioned) = changed.provisioned.as_mut().filter(|provisioned| provisioned.gone) else {
            return Err(IdentityError::SetHere("that they are disabled"));
        };
        provisioned.gone = false;
        changed.disabled_at = None;
        changed.introduce(Introduction { by: None, at: self.journal.now(), group: None });
        draft.note(under(by, Event::PersonReturned { person: changed.id }));
        Ok(())
    }
}

/// An entry of what a client changed, with the token it came under.
fn under(by: CredentialId, event: Event) -> Note {
    Note::new(Actor::Gateway, event).private("scim", by.to_string().as_str())
}

fn operator(by: Author) -> Result<(), IdentityError> {
    match by {
        Author::Operator => Ok(()),
        // Whoever held a token could put themself into groups with it.
        Author::Person(_) => {
            Err(IdentityError::NotAllowed { who: "the operator, at the gateway's own socket," })
        }
    }
}

fn is_shown(person: &Person) -> bool {
    match &person.provisioned {
        Some(provisioned) => !provisioned.deleted,
        None => !person.is_disabled(),
    }
}

fn name_of(told: &Told, email: &EmailAddress) -> Result<String, IdentityError> {
    let said = told.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    readable("a name", said.unwrap_or_else(|| email.local()))
}

/// A name of the client's own: shown back to it, and to nobody else.
fn short(text: String) -> Result<String, IdentityError> {
    if (1..=LONGEST).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let shown = visible::one_line(&text.chars().take(60).collect::<String>());
    Err(IdentityError::BadText {
        what: "a name of a client",
        shown,
        why: "it is empty, too long, or not plain",
    })
}
