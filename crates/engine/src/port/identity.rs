//! Who is calling, and who the people are: what the engine asks of the identity room.

use crate::port::push::{Fared, Subscription};
use async_trait::async_trait;
use countersign_core::{
    AgentId, ChannelName, ClientCertificate, CredentialId, GroupName, PersonId, Requester, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// A credential as it came over a wire. Never logged, never kept.
#[derive(Clone, Copy)]
pub enum Presented<'a> {
    Bearer(&'a str),
    /// What the connection's handshake has verified, where no token came with the request.
    Certificate(&'a ClientCertificate),
    Nothing,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Bearer(_) => "Bearer(…)",
            Self::Certificate(_) => "Certificate(…)",
            Self::Nothing => "Nothing",
        })
    }
}

/// Why a caller is not let in. The wording tells the caller what to do without telling a guesser anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAuthenticated {
    #[error("no credential was presented")]
    Missing,
    #[error("the credential is not one this gateway issued")]
    Unknown,
    /// Somebody else's token does not hold, or names nobody here; the text says why and nothing of the token.
    #[error("{0}")]
    NotTrusted(&'static str),
    #[error("the keys of the credential's issuer could not be fetched")]
    NoKeys,
    /// [`Identity::prepare`] may help.
    #[error("the credential could not be taken down just now")]
    NotYet,
    #[error("the credential has expired")]
    Expired,
    #[error("the credential was revoked")]
    Revoked,
    #[error("the credential's owner is disabled")]
    Disabled,
}

/// A person as far as voting goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub person: PersonId,
    /// What people call them. Shown, never compared.
    pub name: String,
    pub groups: BTreeSet<GroupName>,
    /// What is known of them beside their groups, as `name=value`.
    pub attributes: BTreeSet<String>,
    /// They manage people and agents.
    pub administrator: bool,
    /// Who brought this person in, or into a group, and when; kept at least for the cooling-off time.
    pub introductions: Vec<Introduction>,
    /// In whose place they vote, did lately, or will.
    pub stands_in: Vec<StandIn>,
}

/// One person votes in another's place from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// Who is away.
    pub absent: PersonId,
    pub from: Timestamp,
    /// From here on not any more.
    pub until: Timestamp,
}

/// Somebody invited a person or put them into a group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Introduction {
    /// `None`: the local operator.
    pub by: Option<PersonId>,
    pub at: Timestamp,
    /// The group they were put into; `None` for the invitation itself.
    pub group: Option<GroupName>,
}

/// Somebody changed what follows from belonging to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regrouping {
    pub by: PersonId,
    pub at: Timestamp,
    pub of: Regrouped,
}

/// Where membership changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regrouped {
    /// Somebody was put into it or taken out.
    Group(GroupName),
    /// Its groups, clearances or owners.
    Agent(AgentId),
}

/// A person for whom a user of a channel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub person: PersonId,
    /// As entries of the ledger name it.
    pub binding: CredentialId,
    /// Since when they are bound.
    pub since: Timestamp,
}

/// Somebody on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelUser {
    pub channel: ChannelName,
    /// As the channel itself tells its users apart.
    pub user: String,
    /// What the channel calls them. Shown, never compared.
    pub name: Option<String>,
}

/// A link for binding a user of a channel, meant for that user alone.
#[derive(Clone)]
pub struct BindingOffer {
    pub link: String,
    pub expires: Timestamp,
}

impl std::fmt::Debug for BindingOffer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("BindingOffer").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Why there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOffered {
    #[error("this user is bound already")]
    Bound,
    #[error("{0}")]
    Unusable(&'static str),
    #[error("too many links wait to be opened")]
    TooMany,
}

/// Credentials to callers, and the people there are. Answers from memory: it is asked on every request.
#[async_trait]
pub trait Identity: Send + Sync + std::fmt::Debug {
    /// [`NotAuthenticated::NotYet`] where it is worth asking once more after [`Identity::prepare`].
    fn authenticate(&self, presented: Presented<'_>, now: Timestamp) -> Result<Requester, NotAuthenticated>;

    /// Brings what is missing to know a credential: its issuer's keys, or a record of it. Bounded in time and in how
    /// often it does anything at all.
    async fn prepare(&self, _presented: Presented<'_>) {}

    /// The caller behind a credential that was presented earlier, as it is now: groups and owners may have changed,
    /// and the credential may not be good any more.
    fn requester(&self, credential: CredentialId, now: Timestamp) -> Result<Requester, NotAuthenticated>;

    /// A person who is enrolled and not disabled.
    fn voter(&self, person: PersonId) -> Option<Voter>;

    /// Every such person, by name.
    fn voters(&self) -> Vec<Voter>;

    /// Each declared group's members, for checking that quorums can be reached.
    fn membership(&self) -> BTreeMap<GroupName, BTreeSet<PersonId>>;

    /// Who brought a person in, whether they can vote or not; kept at least for the cooling-off time.
    fn introductions(&self, person: PersonId) -> Vec<Introduction> {
        self.voter(person).map(|voter| voter.introductions).unwrap_or_default()
    }

    /// What people changed of groups and agents since a moment; of one person and one thing at least the latest.
    fn regroupings(&self, _since: Timestamp) -> Vec<Regrouping> {
        Vec::new()
    }

    /// Name and e-mail for showing to signed-in people; `None` for the unknown or erased.
    fn person_name(&self, person: PersonId) -> Option<String>;

    /// What people call somebody, whether they can vote or not; `None` for the unknown or erased.
    fn called(&self, person: PersonId) -> Option<String> {
        self.voter(person).map(|voter| voter.name)
    }

    /// Where mail reaches somebody who is in, whether they can vote or not. For writing to them; it proves nothing of who they are.
    fn address(&self, _person: PersonId) -> Option<String> {
        None
    }

    /// Whether somebody may stop agents and targets, whether they vote or not.
    fn may_freeze(&self, person: PersonId) -> bool {
        self.voter(person).is_some()
    }

    /// The agent with this name.
    fn agent_named(&self, _name: &str) -> Option<AgentId> {
        None
    }

    /// What people call an agent; `None` for the unknown.
    fn agent_called(&self, _agent: AgentId) -> Option<String> {
        None
    }

    /// The devices on which somebody who is in is told, whether they can vote or not.
    fn subscriptions(&self, _person: PersonId) -> Vec<Subscription> {
        Vec::new()
    }

    /// Takes down how a device fared when it was told something. What is gone is removed, which is recorded.
    async fn subscription_fared(&self, _subscription: CredentialId, _fared: Fared) {}

    /// For whom a user of a channel speaks. Never whom they call themselves.
    fn bound(&self, _channel: &ChannelName, _user: &str) -> Option<Bound> {
        None
    }

    /// Which user of a channel speaks for a person.
    fn user_of(&self, _channel: &ChannelName, _person: PersonId) -> Option<String> {
        None
    }

    /// Makes a link with which a signed-in person can have a user of a channel speak for them. Good once, for a short
    /// time, for this user alone; it takes the place of the one before.
    fn offer_binding(&self, _who: ChannelUser) -> Result<BindingOffer, NotOffered> {
        Err(NotOffered::Unusable("nobody can be bound here"))
    }
}
