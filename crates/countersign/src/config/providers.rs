//! The `[[sign_in]]` sections: the providers that people sign in with.

use super::{
    Mistake, checked_names,
    told::{Told, safe},
};
use countersign_core::GroupName;
use countersign_identity::{Issuer, KeySource, Provider};
use countersign_pep::Span;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// One provider, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderSection {
    pub(crate) name: String,
    pub(crate) label: Option<String>,
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    /// `env:NAME` or `file:PATH`.
    pub(crate) client_secret_from: Option<String>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) algorithms: Option<BTreeSet<String>>,
    pub(crate) clock_skew: Option<Span>,
    #[serde(default)]
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) domains: BTreeSet<String>,
    #[serde(default)]
    pub(crate) email_is_verified: bool,
    #[serde(default)]
    pub(crate) admits: bool,
    pub(crate) groups_claim: Option<String>,
    #[serde(default)]
    pub(crate) groups: BTreeMap<String, String>,
    /// Attributes of people by name, and the claim that says each.
    #[serde(default)]
    pub(crate) attributes: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) acr: BTreeSet<String>,
    #[serde(default)]
    pub(crate) amr: BTreeSet<String>,
    pub(crate) max_age: Option<Span>,
}

/// How long an ID token may be good; it is looked at once.
const LIFETIME: Duration = Duration::from_hours(24);

/// Every provider, checked.
pub(super) fn check(
    sections: Vec<(usize, ProviderSection)>,
    folder: &Path,
    declared: &BTreeSet<GroupName>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Provider> {
    let (mut names, mut issuers) = (BTreeSet::new(), BTreeSet::new());
    let mut checked = Vec::new();
    for (number, section) in sections {
        let mut told = Told { number, place: format!("sign_in.{}", section.name), mistakes };
        if !names.insert(section.name.clone()) {
            let why = format!("two providers are named `{}`", section.name);
            told.tell("name", why, "give each a name of its own");
        }
        if !issuers.insert(section.issuer.clone()) {
            let hint = "one provider has one section";
            told.tell("issuer", format!("`{}` stands in two sections", section.issuer), hint);
        }
        checked.extend(provider(&mut told, section, folder, declared));
    }
    checked
}

fn provider(
    told: &mut Told<'_>,
    section: ProviderSection,
    folder: &Path,
    declared: &BTreeSet<GroupName>,
) -> Option<Provider> {
    told.plain_name(&section.name);
    let address = safe(&section.issuer);
    told.told("issuer", address, "write an `https` address, or `http` on this machine");
    let secret = told.secret("client_secret_from", section.client_secret_from.as_ref(), folder);
    let belief = told.belief(folder, section.ca.as_ref(), section.algorithms, section.clock_skew);
    if section.domains.is_empty() {
        let why = "without a domain, the provider could vouch for anybody";
        told.tell("domains", why, "name the domains whose addresses it hands out");
    }
    let ours: BTreeSet<String> = section.groups.values().cloned().collect();
    for group in checked_names(&ours, "sign_in.groups", GroupName::new, told.mistakes).difference(declared) {
        told.tell("groups", format!("there is no group `{group}`"), "declare it in `people.groups`");
    }
    let groups =
        section.groups.into_iter().filter_map(|(theirs, ours)| Some((theirs, GroupName::new(ours).ok()?)));
    for name in section.attributes.keys() {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            let why = format!("`{name}` cannot name an attribute");
            told.tell("attributes", why, "use letters, digits, `_`, `-` and `.`");
        }
    }
    let mut scopes = section.scopes;
    if scopes.is_empty() {
        scopes = ["email", "profile"].map(str::to_owned).into();
    }
    scopes.insert("openid".into());
    Some(Provider {
        label: section.label.unwrap_or_else(|| section.name.clone()),
        issuer: Issuer {
            name: section.name,
            issuer: section.issuer,
            audiences: [section.client_id.clone()].into(),
            keys: KeySource::Discovery,
            outward: belief.outward?,
            algorithms: belief.algorithms,
            skew: belief.skew,
            longest: LIFETIME,
            tags: BTreeSet::new(),
            rules: Vec::new(),
        },
        client_id: section.client_id,
        secret,
        scopes,
        domains: section.domains.iter().map(|domain| domain.to_ascii_lowercase()).collect(),
        email_is_verified: section.email_is_verified,
        admits: section.admits,
        groups_claim: section.groups_claim.unwrap_or_else(|| "groups".into()),
        groups: groups.collect(),
        attributes: section.attributes,
        acr: section.acr,
        amr: section.amr,
        max_age: section.max_age.map(|span| span.0),
    })
}
