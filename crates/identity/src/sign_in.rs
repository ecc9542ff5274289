//! Signing people in through an OpenID provider: the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636,
//! RFC 9207). What a browser brings back is believed only together with what this gateway has sealed into its cookie, and
//! what the provider says only under its signature.

pub(crate) mod exchange;
pub(crate) mod flow;
pub(crate) mod metadata;

use crate::{
    issuer::{Issuer, keyring::Keyring},
    outward::SecretSource,
};
use countersign_core::{Digest, GroupName, Timestamp};
use flow::Sealer;
use metadata::Described;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// An OpenID provider that people sign in with, as the configuration describes it.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name, its address and its keys; the audience is the client.
    pub issuer: Issuer,
    /// What stands on its button.
    pub label: String,
    pub client_id: String,
    /// `None`: a public client.
    pub secret: Option<SecretSource>,
    pub scopes: BTreeSet<String>,
    /// Whose e-mail addresses it is believed about. A provider that many share must not vouch for everybody.
    pub domains: BTreeSet<String>,
    /// Believe its addresses without `email_verified`: for providers that never say it.
    pub email_is_verified: bool,
    /// Whether people whom nobody has invited may come in.
    pub admits: bool,
    /// The claim that lists a person's groups there.
    pub groups_claim: String,
    /// Groups here by what that claim lists. They follow the provider with every sign-in.
    pub groups: BTreeMap<String, GroupName>,
    /// What policy may know of a person: each attribute's name, and the claim that says it. They follow the provider with
    /// every sign-in.
    pub attributes: BTreeMap<String, String>,
    /// One of these must be the token's `acr`; empty: none is asked for.
    pub acr: BTreeSet<String>,
    /// One of these must be in the token's `amr`; empty: none is asked for.
    pub amr: BTreeSet<String>,
    /// How long ago the person may have proven themself there.
    pub max_age: Option<Duration>,
}

/// The providers, with what was fetched of each.
#[derive(Debug)]
pub(crate) struct Providers {
    known: Vec<Known>,
    pub(crate) sealer: Sealer,
    /// Answers that were taken, until their flows would have ended anyway.
    taken: Mutex<BTreeMap<Digest, Timestamp>>,
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) provider: Provider,
    pub(crate) keys: Keyring,
    pub(crate) described: Described,
}

impl Providers {
    pub(crate) fn new(providers: Vec<Provider>, key: &[u8; 32]) -> Self {
        let known = providers.into_iter().map(|provider| Known {
            provider,
            keys: Keyring::new(),
            described: Described::default(),
        });
        Self { known: known.collect(), sealer: Sealer::new(key), taken: Mutex::default() }
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Known> {
        self.known.iter().find(|known| known.provider.issuer.name == name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Provider> {
        self.known.iter().map(|known| &known.provider)
    }

    /// Uses a flow up. False when it was answered before.
    pub(crate) fn take(&self, state: Digest, ends: Timestamp, now: Timestamp) -> bool {
        let mut taken = self.taken.lock();
        taken.retain(|_, ends| now < *ends);
        taken.insert(state, ends).is_none()
    }

    /// What was taken for nothing may be taken again.
    pub(crate) fn give_back(&self, state: &Digest) {
        self.taken.lock().remove(state);
    }
}
