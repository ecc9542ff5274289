//! What every section about somebody whose signatures are believed has in common: where its mistakes go, how its server is
//! reached, what it may sign with, and where its keys are.

use super::Mistake;
use countersign_identity::{Algorithm, KeySource, Outward, SecretSource};
use countersign_pep::{NOT_A_REFERENCE, SecretRef, Span};
use std::{
    collections::BTreeSet,
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};
use url::Url;

const SKEW: Duration = Duration::from_mins(1);
const MOST_SKEW: Duration = Duration::from_mins(5);

/// Where the mistakes of one section go.
pub(super) struct Told<'m> {
    pub(super) number: usize,
    pub(super) place: String,
    pub(super) mistakes: &'m mut Vec<Mistake>,
}

/// How somebody's signed words are come by and believed.
pub(super) struct Belief {
    pub(super) outward: Option<Outward>,
    pub(super) algorithms: BTreeSet<Algorithm>,
    pub(super) skew: Duration,
}

impl Told<'_> {
    pub(super) fn tell(&mut self, key: &str, why: impl Display, hint: &str) {
        let mistake = Mistake::new(format!("{}.{key}", self.place), why.to_string(), hint);
        self.mistakes.push(Mistake { item: Some(self.number), ..mistake });
    }

    /// The value, or its error told.
    pub(super) fn told<T, E: Display>(&mut self, key: &str, outcome: Result<T, E>, hint: &str) -> Option<T> {
        outcome.map_err(|error| self.tell(key, error, hint)).ok()
    }

    pub(super) fn belief(
        &mut self,
        folder: &Path,
        ca: Option<&PathBuf>,
        algorithms: Option<BTreeSet<String>>,
        skew: Option<Span>,
    ) -> Belief {
        let authorities = ca.map(|ca| folder.join(ca));
        let outward = Outward::new(authorities.as_deref());
        let outward = self.told("ca", outward, "name a PEM file with certificates");
        let named = algorithms.unwrap_or_else(|| ["RS256", "ES256"].map(str::to_owned).into());
        let mut algorithms = BTreeSet::new();
        for name in named {
            algorithms.extend(self.told("algorithms", name.parse::<Algorithm>(), "name some of those"));
        }
        let skew = skew.map_or(SKEW, |span| span.0);
        if skew > MOST_SKEW {
            self.tell("clock_skew", "a clock that is further off than `5m` is wrong", "set that clock");
        }
        Belief { outward, algorithms, skew }
    }

    /// Where keys are: at an address, in a file, or where the issuer itself says.
    pub(super) fn keys(
        &mut self,
        issuer: &str,
        url: Option<&String>,
        file: Option<&PathBuf>,
        folder: &Path,
        discovery: KeySource,
    ) -> Option<KeySource> {
        const HINT: &str = "write an `https` address, or `http` on this machine";
        match (url, file) {
            (Some(_), Some(_)) => {
                self.tell("keys_url", "keys come from an address or from a file", "keep one of them");
                None
            }
            (Some(url), None) => self.told("keys_url", safe(url), HINT).map(KeySource::Url),
            (None, Some(file)) => Some(KeySource::File(folder.join(file))),
            (None, None) => {
                let hint =
                    "write an `https` address, or say where the keys are with `keys_url` or `keys_file`";
                self.told("issuer", safe(issuer), hint).map(|_| discovery)
            }
        }
    }

    /// A secret by its reference; `None` where there is none, or none that can be read.
    pub(super) fn secret(
        &mut self,
        key: &str,
        reference: Option<&String>,
        folder: &Path,
    ) -> Option<SecretSource> {
        let reference = self.told(key, SecretRef::read(reference?, folder), NOT_A_REFERENCE)?;
        Some(SecretSource::new(move || reference.secret().map_err(|error| error.to_string())))
    }

    /// A name that stands in an address of ours.
    pub(super) fn plain_name(&mut self, name: &str) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            let why = format!("`{name}` cannot stand in an address");
            self.tell("name", why, "use lower-case letters, digits and `-`");
        }
    }
}

/// An address that keys may be fetched from.
pub(super) fn safe(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no address: {error}"))?;
    if countersign_identity::is_safe(&url) { Ok(url) } else { Err(format!("`{text}` is not encrypted")) }
}
