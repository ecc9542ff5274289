//! What can go wrong in this room, as things a caller can act on. No variant holds a secret, and none that a
//! stranger can cause tells whether a person or an address exists.

use crate::{attempts::TooSoon, email::NotAnAddress};
use countersign_core::{AgentId, ChannelName, CredentialId, GroupName, PersonId};
use countersign_engine::{
    journal::JournalError,
    port::store::{CommitError, ReadError},
};
use countersign_ledger::error::AssertionError;
use std::time::Duration;

/// Why the directory did not do something. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    // Who asks.
    #[error("you are not signed in, or the session has ended")]
    NotSignedIn,
    #[error("only {who} may do this")]
    NotAllowed { who: &'static str },
    #[error("passkeys are changed only within five minutes of signing in with one")]
    NotFresh,
    #[error("the first passkey is registered within half an hour of signing in")]
    SignedInLongAgo,
    #[error("nobody puts themself into a group")]
    OwnGroups,
    #[error("nobody changes their own role")]
    OwnRole,
    #[error("nobody makes themself vote in another's place")]
    OwnStandIn,
    #[error("the configuration names them as an administrator, which no provisioning client changes")]
    Protected,
    #[error("{0} was set here, and no provisioning client changes it")]
    SetHere(&'static str),

    // Coming in through a provider.
    #[error("there is no such provider")]
    UnknownProvider,
    #[error("the provider cannot be used just now")]
    ProviderAway,
    #[error("this sign-in was not begun in this browser, is over, or took too long")]
    SignInOver,
    #[error("{0}")]
    NotVouched(&'static str),
    #[error("nobody here is known by that account")]
    NotInvited,
    #[error("somebody with that address is here already")]
    LinkFirst,
    #[error("your provider has not vouched for you for too long")]
    ProviderFirst,
    #[error("that account is linked already, or another one of that provider is")]
    AccountTaken,

    // Users of channels.
    #[error("this binding link is not good any more: it was used, replaced, or has expired")]
    BindingSpent,
    #[error("this user of the channel speaks for somebody already")]
    UserBound,
    #[error("somebody speaks for you on channel `{0}` already")]
    ChannelBound(ChannelName),

    // What they ask for.
    #[error("there is no person `{0}`")]
    UnknownPerson(PersonId),
    #[error("`{0}` is disabled")]
    PersonDisabled(PersonId),
    #[error("there is no agent `{0}`")]
    UnknownAgent(AgentId),
    #[error("agent `{0}` is disabled")]
    AgentDisabled(AgentId),
    #[error("no session of yours has that name")]
    UnknownSession,
    #[error("nobody asks to sign in with that code, or it took too long")]
    UnknownDevice,
    #[error("you have {0} tokens and command lines signed in already")]
    TooManyReading(usize),
    #[error("there is no credential `{0}`")]
    UnknownCredential(CredentialId),
    #[error("there is no group `{name}`")]
    UnknownGroup { name: GroupName, nearest: Option<GroupName> },
    #[error("{what} cannot be `{shown}`: {why}")]
    BadText { what: &'static str, shown: String, why: &'static str },
    #[error(transparent)]
    BadEmail(#[from] NotAnAddress),
    #[error("somebody has the address `{0}` already")]
    EmailTaken(String),
    #[error("an agent has the name `{0}` already")]
    NameTaken(String),
    #[error("an absence ends after it begins, is not over yet, and lasts 90 days at most")]
    BadAbsence,
    #[error("they cannot stand in: {0}")]
    CannotStandIn(&'static str),
    #[error("an agent needs at least one owner")]
    NoOwner,
    #[error("a person cannot be registered as an agent")]
    NotAnAgentKind,
    #[error("agent `{0}` is described in the configuration")]
    Described(String),
    #[error("an agent has {0} workload credentials already; there are no more")]
    TooManyWorkloads(usize),
    #[error("the expiry lies in the past")]
    ExpiresInThePast,

    // Links and passkeys.
    #[error("this link is not good any more: it was used, replaced, or has expired")]
    LinkSpent,
    #[error("too many attempts from your address")]
    TooManyAttempts { retry_after: Duration },
    #[error("passkeys need a console with a host name; this one is reached by address")]
    NoRelyingParty,
    #[error("the passkey ceremony took too long or was answered already")]
    CeremonyOver,
    #[error("the browser's answer cannot be read: {0}")]
    UnreadableAnswer(String),
    #[error("the passkey's answer was not accepted")]
    Passkey(#[source] AssertionError),
    #[error("this passkey is not known here, or it was removed")]
    UnknownPasskey,
    #[error("this passkey is registered already")]
    PasskeyTaken,
    #[error("a person can have {0} passkeys at most")]
    TooManyPasskeys(usize),
    #[error("this browser is told for somebody already")]
    SubscriptionTaken,
    #[error("a person can be told on {0} devices at most")]
    TooManySubscriptions(usize),
    #[error("this passkey's counter went backwards: there may be a copy of it")]
    ClonedPasskey,

    // Where it is kept.
    #[error("somebody else changed this at the same moment")]
    Conflict,
    #[error("this has changed since you looked at it")]
    ChangedSince,
    #[error("the change could not be recorded")]
    Write(#[source] JournalError),
    #[error("the directory could not be read")]
    Read(#[from] ReadError),
}

impl IdentityError {
    /// What to do about it, where that is not plain from the message.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotSignedIn => "sign in again",
            Self::ProviderAway => "try again in a minute; the gateway's own log says what is wrong",
            Self::SignInOver => "begin again",
            Self::NotVouched(_) => "try again; if it stays so, ask an administrator",
            Self::NotInvited => {
                "ask an administrator to invite you under the address your provider vouches for"
            }
            Self::LinkFirst => "if that is you, sign in as before, and link the account on your own page",
            Self::ProviderFirst => {
                "sign in through your provider once, and your passkey is good again; if you have left it, ask an administrator for a link"
            }
            Self::AccountTaken => "unlink it where it is linked first",
            Self::NotFresh => {
                "sign out, sign in with a passkey, and try again; if it is lost, ask an administrator"
            }
            Self::SignedInLongAgo => {
                "sign out and sign in again, through your provider or by a new link from an administrator"
            }
            Self::OwnGroups | Self::OwnRole | Self::OwnStandIn => {
                "ask another administrator, or use `countersign` on the gateway's own machine"
            }
            Self::PersonDisabled(_) => "a disabled person stays so; invite them under another address",
            Self::AgentDisabled(_) => "a disabled agent stays so; create another one",
            Self::UnknownGroup { nearest: Some(near), .. } => {
                return Some(format!("did you mean `{near}`? groups are declared in the configuration"));
            }
            Self::UnknownGroup { nearest: None, .. } => "groups are declared in the configuration",
            Self::Described(_) => "change it there, and restart the gateway",
            Self::UnknownDevice => "begin again with `countersign login`",
            Self::TooManyReading(_) => "end one of them on your own page",
            Self::NoOwner => "name a person who answers for it",
            Self::BindingSpent => "ask the channel for a new one",
            Self::UserBound | Self::ChannelBound(_) => "end the binding there is first",
            Self::LinkSpent => "ask an administrator for a new link",
            Self::TooManyAttempts { .. } => "wait a little, then try again",
            Self::NoRelyingParty => {
                "open the console as `http://localhost` with its port, or give it a host name"
            }
            Self::CeremonyOver | Self::Conflict => "try again",
            Self::ChangedSince => "read it again, and decide on what it is now",
            Self::UnknownPasskey => "choose another passkey, or ask an administrator for a sign-in link",
            Self::SubscriptionTaken => "have the browser subscribe anew",
            Self::TooManyPasskeys(_) | Self::TooManySubscriptions(_) => {
                "remove one that is not used any more"
            }
            Self::ClonedPasskey => "remove this passkey and register a new one",
            Self::Write(_) => "see what the gateway says of its store's health",
            Self::UnknownProvider
            | Self::Protected
            | Self::SetHere(_)
            | Self::NotAllowed { .. }
            | Self::UnknownPerson(_)
            | Self::UnknownAgent(_)
            | Self::UnknownCredential(_)
            | Self::UnknownSession
            | Self::BadText { .. }
            | Self::BadEmail(_)
            | Self::EmailTaken(_)
            | Self::NameTaken(_)
            | Self::TooManyWorkloads(_)
            | Self::NotAnAgentKind
            | Self::BadAbsence
            | Self::CannotStandIn(_)
            | Self::ExpiresInThePast
            | Self::UnreadableAnswer(_)
            | Self::Passkey(_)
            | Self::PasskeyTaken
            | Self::Read(_) => return None,
        };
        Some(text.into())
    }
}

impl From<TooSoon> for IdentityError {
    fn from(TooSoon { retry_after }: TooSoon) -> Self {
        Self::TooManyAttempts { retry_after }
    }
}

impl From<JournalError> for IdentityError {
    fn from(error: JournalError) -> Self {
        if matches!(error, JournalError::Commit(CommitError::Conflict { .. })) {
            Self::Conflict
        } else {
            Self::Write(error)
        }
    }
}
