//! An issuer's keys: fetched in the background, kept, and fetched again soon when a token names one that is not there.
//! Nobody's request makes more than one fetch in ten seconds, and no request is checked against keys of yesterday.

use super::{Issuer, KeySource};
use crate::{
    jose::{
        Unsound,
        compact::{Compact, Signed},
        keys::KeySet,
        read_json,
    },
    outward::{OutwardError, is_safe},
};
use bytes::Bytes;
use countersign_core::{Digest, Timestamp};
use parking_lot::RwLock;
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};
use url::Url;

/// How often keys are fetched without anybody asking.
pub(crate) const EVERY: Duration = Duration::from_mins(10);
/// How soon a fetch that failed is tried again in the background.
pub(crate) const AGAIN: Duration = Duration::from_secs(30);
/// Between two fetches, whoever asks.
const GAP: Duration = Duration::from_secs(10);
/// Keys that could not be fetched anew for so long are not believed any more: one may have been withdrawn.
const STALE: Duration = Duration::from_hours(24);
/// The largest file of keys.
const LARGEST: u64 = 512 << 10;

/// How an issuer's keys are doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysSeen {
    /// How many can be used now.
    pub keys: usize,
    pub fetched_at: Option<Timestamp>,
    /// Why the last try failed; `None` when it did not.
    pub failure: Option<String>,
}

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Keyring {
    state: RwLock<State>,
    /// Held while fetching: whoever asks meanwhile waits for that fetch.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// Of the document they were read from.
    digest: Option<Digest>,
    /// Grows when the keys change.
    generation: u64,
    fetched_at: Option<Timestamp>,
    tried_at: Option<Timestamp>,
    failure: Option<String>,
}

/// Why nothing a token says is believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotVouched {
    #[error("its keys could not be fetched")]
    NoKeys,
    #[error(transparent)]
    Unsound(#[from] Unsound),
}

/// Why an issuer's keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Outward(#[from] OutwardError),
    #[error("its keys cannot be used: {0}")]
    Keys(&'static str),
    #[error("what it says of itself cannot be used: {0}")]
    Discovery(&'static str),
    #[error("its file of keys cannot be read: {0}")]
    File(std::io::Error),
}

impl Keyring {
    pub(crate) fn new() -> Self {
        Self { state: RwLock::default(), fetching: tokio::sync::Mutex::new(()) }
    }

    /// The keys and their generation; `None` where none were fetched, or too long ago.
    pub(crate) fn current(&self, now: Timestamp) -> Option<(Arc<KeySet>, u64)> {
        let state = self.state.read();
        let fresh = state.fetched_at.is_some_and(|fetched| now.since(fetched) < STALE);
        state.keys.as_ref().filter(|_| fresh).map(|keys| (Arc::clone(keys), state.generation))
    }

    /// What a token says, under its issuer's signature; its keys are fetched when the token names one that is not here.
    /// Where the token is good, and when, is not looked at.
    pub(crate) async fn vouch(
        &self,
        issuer: &Issuer,
        token: &str,
        now: impl Fn() -> Timestamp + Copy,
    ) -> Result<Signed, NotVouched> {
        let compact = Compact::parse(token)?;
        if self.current(now()).is_none_or(|(keys, _)| !compact.names_a_key_of(&keys)) {
            self.fetch(issuer, now).await;
        }
        let (keys, _) = self.current(now()).ok_or(NotVouched::NoKeys)?;
        Ok(compact.verify(&keys, &issuer.algorithms)?)
    }

    /// Whether a fetch is due when somebody asks for a key that is not there.
    pub(crate) fn may_fetch(&self, now: Timestamp) -> bool {
        self.state.read().tried_at.is_none_or(|tried| now.since(tried) >= GAP || now < tried)
    }

    pub(crate) fn seen(&self, now: Timestamp) -> KeysSeen {
        let current = self.current(now);
        let state = self.state.read();
        KeysSeen {
            keys: current.map_or(0, |(keys, _)| keys.len()),
            fetched_at: state.fetched_at,
            failure: state.failure.clone(),
        }
    }

    /// Fetches the keys, unless somebody did within the last seconds. `now` is asked again after waiting.
    /// Whether the keys are fresh afterwards.
    pub(crate) async fn fetch(&self, issuer: &Issuer, now: impl Fn() -> Timestamp) -> bool {
        let _turn = self.fetching.lock().await;
        if !self.may_fetch(now()) {
            return self.state.read().failure.is_none();
        }
        let outcome = document(issuer).await.and_then(|document| {
            let keys = KeySet::parse(&document).map_err(FetchError::Keys)?;
            Ok((Digest::of(&document), keys))
        });
        let mut state = self.state.write();
        let at = now();
        state.tried_at = Some(at);
        match outcome {
            Ok((digest, keys)) => {
                if state.digest != Some(digest) {
                    tracing::info!(issuer = issuer.name, keys = keys.len(), "an issuer's keys were fetched");
                    state.keys = Some(Arc::new(keys));
                    state.digest = Some(digest);
                    state.generation += 1;
                }
                state.fetched_at = Some(at);
                state.failure = None;
                true
            }
            Err(error) => {
                let why = chain(&error);
                if state.failure.as_ref() != Some(&why) {
                    tracing::warn!(issuer = issuer.name, why, "an issuer's keys could not be fetched");
                }
                state.failure = Some(why);
                false
            }
        }
    }
}

async fn document(issuer: &Issuer) -> Result<Bytes, FetchError> {
    match &issuer.keys {
        KeySource::File(path) => file(path).await.map_err(FetchError::File),
        KeySource::Url(url) => Ok(issuer.outward.get(url).await?),
        KeySource::Certificates => Err(FetchError::Keys("it has none")),
        KeySource::Discovery => described(issuer, discovery(&issuer.issuer)).await,
        KeySource::Metadata(url) => described(issuer, Some(url.clone())).await,
        KeySource::SignalsDiscovery => described(issuer, signals_discovery(&issuer.issuer)).await,
    }
}

/// The keys that what an issuer says of itself leads to.
async fn described(issuer: &Issuer, address: Option<Url>) -> Result<Bytes, FetchError> {
    let address = address.ok_or(FetchError::Discovery("the issuer is no address"))?;
    let document = issuer.outward.get(&address).await?;
    Ok(issuer.outward.get(&jwks_address(issuer, &address, &document)?).await?)
}

async fn file(path: &Path) -> std::io::Result<Bytes> {
    if tokio::fs::metadata(path).await?.len() > LARGEST {
        return Err(std::io::Error::other("it is too large"));
    }
    tokio::fs::read(path).await.map(Bytes::from)
}

/// Where an issuer says what it is (OpenID Connect Discovery 1.0, section 4).
pub(crate) fn discovery(issuer: &str) -> Option<Url> {
    Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))).ok()
}

/// Where a transmitter of signals does: before the issuer's own path (Shared Signals Framework 1.0, section 7.2).
fn signals_discovery(issuer: &str) -> Option<Url> {
    let mut url = Url::parse(issuer).ok()?;
    let path = format!("/.well-known/ssf-configuration{}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

fn jwks_address(issuer: &Issuer, asked: &Url, document: &[u8]) -> Result<Url, FetchError> {
    let document = read_json(document).map_err(|_| FetchError::Discovery("it is not JSON"))?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    // Section 4.3: whoever answers there must be the issuer itself.
    if text("issuer") != Some(&issuer.issuer) {
        return Err(FetchError::Discovery("it calls itself another issuer"));
    }
    let keys = text("jwks_uri").and_then(|uri| Url::parse(uri).ok());
    let keys = keys.ok_or(FetchError::Discovery("it names no address of keys"))?;
    // Over the network, nobody leads the gateway back to this machine.
    if !is_safe(&keys) || (keys.scheme() != "https" && asked.scheme() == "https") {
        return Err(FetchError::Discovery("the address of its keys is not encrypted"));
    }
    Ok(keys)
}

/// An error with what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = inner.source();
    }
    text
}
