//! The `[[signals]]` sections: who says at once that somebody's sessions, credentials or account are not good any more.

use super::{
    Mistake,
    told::{Told, safe},
};
use countersign_identity::{Issuer, KeySource, Poll, Provider, Transmitter};
use countersign_pep::Span;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// One transmitter, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransmitterSection {
    pub(crate) name: String,
    /// What its tokens say in `iss`.
    pub(crate) issuer: String,
    pub(crate) audiences: BTreeSet<String>,
    /// The `[[sign_in]]` section whose people it speaks of.
    pub(crate) provider: String,
    pub(crate) keys_url: Option<String>,
    pub(crate) keys_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) algorithms: Option<BTreeSet<String>>,
    pub(crate) clock_skew: Option<Span>,
    /// `env:NAME` or `file:PATH`: what it presents when it pushes.
    pub(crate) push_token_from: Option<String>,
    pub(crate) poll_url: Option<String>,
    /// What this gateway presents there.
    pub(crate) poll_token_from: Option<String>,
    pub(crate) poll_every: Option<Span>,
}

const EVERY: Duration = Duration::from_secs(10);

/// Every transmitter, checked.
pub(super) fn check(
    sections: Vec<(usize, TransmitterSection)>,
    folder: &Path,
    providers: &[Provider],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Transmitter> {
    let mut names = BTreeSet::new();
    let mut checked = Vec::new();
    for (number, section) in sections {
        let mut told = Told { number, place: format!("signals.{}", section.name), mistakes };
        if !names.insert(section.name.clone()) {
            let why = format!("two transmitters are named `{}`", section.name);
            told.tell("name", why, "give each a name of its own");
        }
        checked.extend(transmitter(&mut told, section, folder, providers));
    }
    checked
}

fn transmitter(
    told: &mut Told<'_>,
    section: TransmitterSection,
    folder: &Path,
    providers: &[Provider],
) -> Option<Transmitter> {
    told.plain_name(&section.name);
    if section.audiences.is_empty() {
        let why = "without an audience, events meant for others would be taken";
        told.tell("audiences", why, "name what the transmitter calls this gateway");
    }
    if !providers.iter().any(|provider| provider.issuer.name == section.provider) {
        let why = format!("there is no `[[sign_in]]` named `{}`", section.provider);
        told.tell("provider", why, "name the provider whose people it speaks of");
    }
    let keys = told.keys(
        &section.issuer,
        section.keys_url.as_ref(),
        section.keys_file.as_ref(),
        folder,
        KeySource::SignalsDiscovery,
    );
    let belief = told.belief(folder, section.ca.as_ref(), section.algorithms.clone(), section.clock_skew);
    let push_token = told.secret("push_token_from", section.push_token_from.as_ref(), folder);
    let poll = poll(told, &section, folder);
    Some(Transmitter {
        issuer: Issuer {
            name: section.name,
            issuer: section.issuer,
            audiences: section.audiences,
            keys: keys?,
            outward: belief.outward?,
            algorithms: belief.algorithms,
            skew: belief.skew,
            // Its tokens have no end; they are looked at once.
            longest: Duration::ZERO,
            tags: BTreeSet::new(),
            rules: Vec::new(),
        },
        provider: section.provider,
        push_token,
        poll,
    })
}

fn poll(told: &mut Told<'_>, section: &TransmitterSection, folder: &Path) -> Option<Poll> {
    let Some(url) = &section.poll_url else {
        for (key, stands) in [
            ("poll_token_from", section.poll_token_from.is_some()),
            ("poll_every", section.poll_every.is_some()),
        ] {
            if stands {
                told.tell(key, "nothing is fetched from it", "add `poll_url`, or remove it");
            }
        }
        return None;
    };
    let url = told.told("poll_url", safe(url), "write an `https` address, or `http` on this machine");
    if section.poll_token_from.is_none() {
        told.tell("poll_token_from", "events are handed only to whom they are for", "say where the token is");
    }
    let every = section.poll_every.map_or(EVERY, |span| span.0);
    if every < Duration::from_secs(1) || every > Duration::from_hours(1) {
        told.tell("poll_every", "it is not from `1s` to `1h`", "leave it out for `10s`");
    }
    let token = told.secret("poll_token_from", section.poll_token_from.as_ref(), folder);
    Some(Poll { url: url?, token: token?, every })
}
