//! Issuers whose tokens are believed, as the configuration describes them: whose keys, for which audience, and what a
//! token must say to be which agent.

pub(crate) mod claims;
pub(crate) mod keyring;
mod pattern;
mod template;

pub use pattern::{Pattern, PatternError};
pub use template::{Template, TemplateError};

use crate::{email::EmailAddress, jose::Algorithm, outward::Outward};
use countersign_core::{Digest, GroupName, PrincipalKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use url::Url;

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// From what it says at `/.well-known/openid-configuration` (OpenID Connect Discovery 1.0).
    Discovery,
    /// From what it says at `/.well-known/ssf-configuration` (OpenID Shared Signals Framework 1.0).
    SignalsDiscovery,
    /// From what it says of itself at this address.
    Metadata(Url),
    /// A set of keys at this address.
    Url(Url),
    /// A set of keys in this file.
    File(PathBuf),
    /// None: it issues certificates, which listeners verify.
    Certificates,
}

/// Somebody whose signed tokens are believed.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// What it is called here; in entries and on pages.
    pub name: String,
    /// What its tokens say in `iss`, to the letter. Of certificates: their trust domain, as
    /// `spiffe://…`, or another text that no other issuer has.
    pub issuer: String,
    /// One of these must be in a token's `aud`.
    pub audiences: BTreeSet<String>,
    pub keys: KeySource,
    /// How its server is reached.
    pub outward: Outward,
    /// What its tokens may be signed with.
    pub algorithms: BTreeSet<Algorithm>,
    /// How far its clock may be off.
    pub skew: Duration,
    /// How long a token may still be good; one that is good for longer is refused.
    pub longest: Duration,
    /// Claims that policy may look at, by name or JSON pointer.
    pub tags: BTreeSet<String>,
    /// The first that fits decides.
    pub rules: Vec<Rule>,
}

/// Which tokens of an issuer are which agent.
#[derive(Clone, Debug)]
pub struct Rule {
    pub agent: Template,
    /// By claim; each must fit one of its patterns.
    pub wanted: BTreeMap<String, Vec<Pattern>>,
    /// What the agent is. `None`: it is kept by people, and named here only.
    pub described: Option<Description>,
    /// Who else can come by such a token: they never approve for it.
    pub obtainable_by: BTreeSet<EmailAddress>,
    /// Whom such a token acts for. `None`: for nobody, and one that says it does is refused.
    pub behalf: Option<Behalf>,
}

/// How a token says for whom its agent acts (RFC 8693, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behalf {
    /// The claim that names the person; it must be there.
    pub claim: String,
    /// The person by what the claim says. Empty: it says their e-mail address.
    pub people: BTreeMap<String, EmailAddress>,
    /// The agents a token may have come through before, by the `sub` of their `act` claims: names of agents here.
    pub actors: BTreeMap<String, String>,
}

/// An agent as the configuration describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub kind: PrincipalKind,
    /// At least one.
    pub owners: BTreeSet<EmailAddress>,
    pub groups: BTreeSet<GroupName>,
    pub clearances: BTreeSet<String>,
}

impl Issuer {
    /// Tells rules apart, and the same rule again after a restart: who issues, and which tokens are which agent.
    /// Owners and groups are not in it: with other owners it is still the same rule.
    pub(crate) fn fingerprint(&self, rule: &Rule) -> Digest {
        let mut parts: Vec<&[u8]> = vec![self.issuer.as_bytes(), rule.agent.as_str().as_bytes()];
        for audience in &self.audiences {
            parts.extend([b"audience".as_slice(), audience.as_bytes()]);
        }
        for (claim, patterns) in &rule.wanted {
            parts.extend([b"claim".as_slice(), claim.as_bytes()]);
            parts.extend(patterns.iter().map(|pattern| pattern.as_str().as_bytes()));
        }
        Digest::of_parts("countersign/issuer-rule/v1", &parts)
    }
}
