//! Shared signals (OpenID Shared Signals Framework 1.0, CAEP 1.0, RISC 1.0): an organisation's transmitter says at once that
//! somebody's session was revoked, their credentials changed, or their account was closed. It speaks in security event
//! tokens (RFC 8417), which are believed under its signature alone.

pub(crate) mod event;

use crate::{
    attempts::TooSoon,
    issuer::{
        Issuer,
        keyring::{Keyring, KeysSeen},
    },
    outward::SecretSource,
};
use countersign_core::{Digest, PersonId, Timestamp};
use parking_lot::Mutex;
use std::{collections::BTreeMap, time::Duration};
use url::Url;

/// How long a token's name is remembered, so that one that comes again is not recorded again.
const REMEMBERED: Duration = Duration::from_hours(1);
/// Names remembered of one transmitter; beyond, one that comes again is an entry more and does nothing else.
const MOST: usize = 10_000;

/// A transmitter of signals, as the configuration describes it.
#[derive(Clone, Debug)]
pub struct Transmitter {
    /// Its name, its address and its keys.
    pub issuer: Issuer,
    /// The provider people sign in with whose people it speaks of.
    pub provider: String,
    /// What it has to present when it pushes; `None`: its signature is enough.
    pub push_token: Option<SecretSource>,
    /// Where its events are fetched; `None`: it pushes.
    pub poll: Option<Poll>,
}

/// Fetching events (RFC 8936).
#[derive(Clone, Debug)]
pub struct Poll {
    pub url: Url,
    /// What this gateway presents there.
    pub token: SecretSource,
    /// How often it asks when there is nothing.
    pub every: Duration,
}

/// What a transmitter's word means here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is about nobody here, or about nothing that matters here.
    Nothing,
    /// What rests on this person, as of that moment, has to be taken back.
    Distrust { person: PersonId, until: Timestamp },
}

/// Why a security event token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("there is no such transmitter")]
    Unknown,
    #[error("the credential it came under is not the one that was agreed")]
    Unauthenticated,
    #[error("{why}")]
    Refused {
        /// RFC 8935, section 2.4.
        code: &'static str,
        why: &'static str,
    },
    #[error("it cannot be looked at just now: {0}")]
    Later(String),
    #[error("too many attempts from that address")]
    TooManyAttempts { retry_after: Duration },
}

impl From<TooSoon> for SignalError {
    fn from(TooSoon { retry_after }: TooSoon) -> Self {
        Self::TooManyAttempts { retry_after }
    }
}

/// How a transmitter is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransmitterSeen {
    pub name: String,
    /// What its tokens say in `iss`.
    pub issuer: String,
    /// The provider whose people it speaks of.
    pub provider: String,
    /// Whether its events are fetched; otherwise it pushes.
    pub polled: bool,
    pub keys: KeysSeen,
    /// When its last sound event came, whatever it was about.
    pub heard_at: Option<Timestamp>,
    /// When it last answered, where its events are fetched.
    pub answered_at: Option<Timestamp>,
    /// Why the last fetch failed; `None` when it did not.
    pub failure: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) heard_at: Option<Timestamp>,
    pub(crate) answered_at: Option<Timestamp>,
    pub(crate) failure: Option<String>,
}

/// The transmitters, with what was fetched of each.
#[derive(Debug)]
pub(crate) struct Transmitters(Vec<Known>);

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) transmitter: Transmitter,
    pub(crate) keys: Keyring,
    pub(crate) progress: Mutex<Progress>,
    /// By what a token is called, until when that is remembered.
    taken: Mutex<BTreeMap<Digest, Timestamp>>,
}

impl Transmitters {
    pub(crate) fn new(transmitters: Vec<Transmitter>) -> Self {
        let known = transmitters.into_iter().map(|transmitter| Known {
            transmitter,
            keys: Keyring::new(),
            progress: Mutex::default(),
            taken: Mutex::default(),
        });
        Self(known.collect())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Known> {
        self.0.iter().find(|known| known.transmitter.issuer.name == name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Known> {
        self.0.iter()
    }
}

impl Known {
    pub(crate) fn seen(&self, now: Timestamp) -> TransmitterSeen {
        let progress = self.progress.lock();
        TransmitterSeen {
            name: self.transmitter.issuer.name.clone(),
            issuer: self.transmitter.issuer.issuer.clone(),
            provider: self.transmitter.provider.clone(),
            polled: self.transmitter.poll.is_some(),
            keys: self.keys.seen(now),
            heard_at: progress.heard_at,
            answered_at: progress.answered_at,
            failure: progress.failure.clone(),
        }
    }

    /// Whether a token of this name was taken not long ago.
    pub(crate) fn was_taken(&self, name: &Digest, now: Timestamp) -> bool {
        self.taken.lock().get(name).is_some_and(|until| now < *until)
    }

    pub(crate) fn taken(&self, name: Digest, now: Timestamp) {
        let mut taken = self.taken.lock();
        taken.retain(|_, until| now < *until);
        if taken.len() < MOST {
            taken.insert(name, now.plus(REMEMBERED));
        }
    }
}
