//! A person: the only place where a name and an address are written down.

use super::{Held, Stored, unique};
use crate::{email::EmailAddress, memory::Memory};
use countersign_core::{ChannelName, CredentialId, Digest, GroupName, PersonId, Timestamp};
use countersign_engine::port::{
    identity::Introduction,
    store::{Key, Kind},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// What a person may do beside voting. No role gives a vote; only groups and policy do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    #[default]
    Reviewer,
    /// Manages people and agents, and may freeze.
    Administrator,
    /// Reads everything, and only reads: never a voter.
    Auditor,
    /// Freezes, lifts freezes and says what became of actions: never a voter.
    Operator,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reviewer => "reviewer",
            Self::Administrator => "administrator",
            Self::Auditor => "auditor",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Reviewer, Self::Administrator, Self::Auditor, Self::Operator]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| "a role is `reviewer`, `auditor`, `administrator` or `operator`".into())
    }
}

/// A person as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    pub id: PersonId,
    pub name: String,
    pub email: EmailAddress,
    /// Addresses they had before: whom a configuration names by one of these stays named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) former_emails: BTreeSet<EmailAddress>,
    pub role: Role,
    pub groups: BTreeSet<GroupName>,
    /// Who invited them, put them into a group or made a link for them: the latest of each. Whoever brought in
    /// those hands is named too, as of the time they did, so that a puppet brings in nobody its maker could not.
    pub introductions: Vec<Introduction>,
    /// What a provider says of them, for policy: texts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, BTreeSet<String>>,
    /// Who took them out of a group: the latest of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) removals: Vec<Introduction>,
    /// Groups they are in by a schedule of who is on call, with what the configuration called it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) on_call: BTreeMap<GroupName, String>,
    /// Who votes in their place, and when; and who did in the last months.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delegations: Vec<Delegation>,
    /// The WebAuthn user handle: 32 random bytes, base64url, so that an authenticator learns nothing else.
    pub(crate) handle: String,
    /// Accounts at providers that speak for this person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<Account>,
    /// When a provider last spoke for an account that they have unlinked since; `None`: there is none, or somebody who
    /// makes links vouched for them after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unlinked: Option<Timestamp>,
    /// Users of channels who speak for this person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// What a provisioning client says of them; `None`: none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provisioned: Option<Provisioned>,
    /// What a transmitter of signals said last of whether their account is good; `None`: none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signalled: Option<Signalled>,
    /// Up to when what was done in their name was taken back last; `None`: it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) distrusted: Option<Distrusted>,
    pub invited_at: Timestamp,
    /// When they first opened a link of theirs.
    pub enrolled_at: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
}

/// What a provisioning client says of a person, and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provisioned {
    pub(crate) user_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) external_id: Option<String>,
    /// It made them; otherwise they were invited here, and it took them over.
    pub(crate) made: bool,
    /// It took them out, and may bring them back.
    pub(crate) gone: bool,
    /// It took them out for good: it knows them no more.
    pub(crate) deleted: bool,
    pub(crate) changed_at: Timestamp,
}

impl Provisioned {
    /// Of somebody who was invited here.
    pub(crate) fn here(user_name: String, now: Timestamp) -> Self {
        Self { user_name, external_id: None, made: false, gone: false, deleted: false, changed_at: now }
    }
}

/// What a transmitter of signals said of a person's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signalled {
    pub(crate) transmitter: String,
    /// The moment it spoke of; what is older is no news.
    pub(crate) at: Timestamp,
    /// They are disabled by its word, which it may take back.
    pub(crate) disabled: bool,
}

/// A signal that what is done in a person's name is not to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Distrusted {
    /// The moment it spoke of.
    pub(crate) at: Timestamp,
    /// When it came: what was done up to then was taken back.
    pub(crate) heard_at: Timestamp,
}

/// Somebody else votes in a person's place for a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    pub to: PersonId,
    pub from: Timestamp,
    /// From here on not any more; brought forward when it is ended early.
    pub until: Timestamp,
}

/// A person's account at a provider: by its issuer and subject, which never name anybody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub issuer: String,
    pub(crate) subject: String,
    pub linked_at: Timestamp,
    /// When the provider last said that it is theirs, after it was linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vouched_at: Option<Timestamp>,
}

impl Account {
    /// When the provider last spoke for it.
    pub(crate) fn vouched(&self) -> Timestamp {
        self.vouched_at.unwrap_or(self.linked_at)
    }

    /// What it is found by.
    pub(crate) fn key(&self) -> Digest {
        Self::key_of(&self.issuer, &self.subject)
    }

    pub(crate) fn key_of(issuer: &str, subject: &str) -> Digest {
        Digest::of_parts("countersign/account/v1", &[issuer.as_bytes(), subject.as_bytes()])
    }
}

/// A user of a channel who speaks for a person there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    pub id: CredentialId,
    pub channel: ChannelName,
    /// As the channel itself tells its users apart.
    pub user: String,
    /// What the channel called them when they were bound. Shown, never compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub bound_at: Timestamp,
}

impl Binding {
    /// What it is found by.
    pub(crate) fn key(&self) -> Digest {
        Self::key_of(&self.channel, &self.user)
    }

    pub(crate) fn key_of(channel: &ChannelName, user: &str) -> Digest {
        Digest::of_parts("countersign/binding/v1", &[channel.as_str().as_bytes(), user.as_bytes()])
    }
}

/// How far a person has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PersonState {
    Invited,
    Enrolled,
    Disabled,
}

impl Person {
    pub fn state(&self) -> PersonState {
        match (self.disabled_at, self.enrolled_at) {
            (Some(_), _) => PersonState::Disabled,
            (None, Some(_)) => PersonState::Enrolled,
            (None, None) => PersonState::Invited,
        }
    }

    /// Whether they are in: they came by an invitation, or a provider or directory named them, and nobody disabled them.
    pub fn is_in(&self) -> bool {
        self.state() == PersonState::Enrolled
    }

    pub fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    /// What a provisioning client calls them.
    pub fn user_name(&self) -> &str {
        self.provisioned.as_ref().map_or(self.email.as_str(), |provisioned| &provisioned.user_name)
    }

    /// The client's own id of them.
    pub fn external_id(&self) -> Option<&str> {
        self.provisioned.as_ref()?.external_id.as_deref()
    }

    /// When a client last changed them; when they were invited, where none did.
    pub fn provisioned_at(&self) -> Timestamp {
        self.provisioned.as_ref().map_or(self.invited_at, |provisioned| provisioned.changed_at)
    }

    /// Whether they can be asked to vote at all.
    pub fn can_vote(&self) -> bool {
        self.state() == PersonState::Enrolled && matches!(self.role, Role::Reviewer | Role::Administrator)
    }

    /// Who votes in their place at this moment, or will.
    pub fn delegation(&self, now: Timestamp) -> Option<Delegation> {
        self.delegations.iter().copied().find(|one| now < one.until)
    }

    /// Notes who had a hand in this person's standing. Of the same hand and group only the latest is kept.
    pub(crate) fn introduce(&mut self, introduction: Introduction) {
        keep_latest(&mut self.introductions, introduction);
    }

    /// Notes who took this person out of a group.
    pub(crate) fn take_out(&mut self, removal: Introduction) {
        keep_latest(&mut self.removals, removal);
    }
}

fn keep_latest(known: &mut Vec<Introduction>, new: Introduction) {
    let same = |known: &Introduction| (known.by, &known.group) == (new.by, &new.group);
    if known.iter().any(|known| same(known) && known.at > new.at) {
        return;
    }
    known.retain(|known| !same(known));
    known.push(new);
}

impl Stored for Person {
    const KIND: Kind = Kind::Person;

    fn key(&self) -> String {
        self.id.to_string()
    }

    fn keys(&self) -> Vec<Key> {
        let own = [unique("email", self.email.as_str()), unique("handle", &self.handle)];
        own.into_iter()
            .chain(self.accounts.iter().map(|account| unique("account", account.key().hex())))
            .chain(self.bindings.iter().map(|binding| unique("binding", binding.key().hex())))
            .collect()
    }

    fn place(held: Held<Self>, memory: &mut Memory) {
        let email = held.doc.email.clone();
        let accounts: Vec<Digest> = held.doc.accounts.iter().map(Account::key).collect();
        let bindings: Vec<Digest> = held.doc.bindings.iter().map(Binding::key).collect();
        let person = held.doc.id;
        for former in &held.doc.former_emails {
            memory.former_emails.entry(former.clone()).or_default().insert(person);
        }
        for one in &held.doc.delegations {
            memory.stand_ins.entry(one.to).or_default().insert(person);
        }
        if let Some(before) = memory.people.insert(person, held) {
            memory.emails.remove(&before.doc.email);
            for account in &before.doc.accounts {
                memory.accounts.remove(&account.key());
            }
            for binding in &before.doc.bindings {
                memory.bindings.remove(&binding.key());
            }
        }
        memory.emails.insert(email, person);
        memory.accounts.extend(accounts.into_iter().map(|account| (account, person)));
        memory.bindings.extend(bindings.into_iter().map(|binding| (binding, person)));
    }

    fn displace(&self, memory: &mut Memory) {
        memory.emails.remove(&self.email);
        for account in &self.accounts {
            memory.accounts.remove(&account.key());
        }
        for binding in &self.bindings {
            memory.bindings.remove(&binding.key());
        }
        memory.people.remove(&self.id);
    }
}

/// Attributes as policy names them: `name=value`.
pub(crate) fn pairs(attributes: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let each = attributes
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")));
    each.collect()
}
