//! The `[[issuers]]` sections: whose signed tokens are believed, and which agents they name.

use super::{Mistake, checked_names, told::Told};
use countersign_core::{GroupName, PrincipalKind};
use countersign_identity::{Behalf, Description, EmailAddress, Issuer, KeySource, Pattern, Rule, Template};
use countersign_pep::Span;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

/// One issuer, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerSection {
    pub(crate) name: String,
    /// What tokens say in `iss`.
    pub(crate) issuer: Option<String>,
    #[serde(default)]
    pub(crate) audiences: BTreeSet<String>,
    /// It issues certificates in place of tokens.
    #[serde(default)]
    pub(crate) certificates: bool,
    /// Certificates must have a SPIFFE id of this trust domain.
    pub(crate) trust_domain: Option<String>,
    pub(crate) keys_url: Option<String>,
    pub(crate) keys_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) algorithms: Option<BTreeSet<String>>,
    pub(crate) clock_skew: Option<Span>,
    pub(crate) max_lifetime: Option<Span>,
    /// Claims that policies may look at, as tags of the principal.
    #[serde(default)]
    pub(crate) tags: BTreeSet<String>,
    #[serde(default)]
    pub(crate) agents: Vec<AgentSection>,
}

/// Which tokens are which agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentSection {
    pub(crate) agent: String,
    #[serde(rename = "match")]
    pub(crate) wanted: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    pub(crate) owners: BTreeSet<String>,
    #[serde(default)]
    pub(crate) groups: BTreeSet<String>,
    #[serde(default)]
    pub(crate) clearances: BTreeSet<String>,
    pub(crate) kind: Option<PrincipalKind>,
    #[serde(default)]
    pub(crate) obtainable_by: BTreeSet<String>,
    pub(crate) on_behalf_of: Option<String>,
    #[serde(default)]
    pub(crate) people: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) actors: BTreeMap<String, String>,
}

/// A pattern, or several of which one must fit.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// How many claims policies may look at, and the longest name of one.
const MOST_TAGS: usize = 16;
const LONGEST_TAG: usize = 128;

const LIFETIME: Duration = Duration::from_hours(24);

/// Every issuer, checked.
pub(super) fn check(
    sections: Vec<(usize, IssuerSection)>,
    folder: &Path,
    declared: &BTreeSet<GroupName>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Issuer> {
    let (mut names, mut issuers, mut agents) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let mut checked = Vec::new();
    for (number, section) in sections {
        let mut told = Told { number, place: format!("issuers.{}", section.name), mistakes };
        if !names.insert(section.name.clone()) {
            told.tell(
                "name",
                format!("two issuers are named `{}`", section.name),
                "give each a name of its own",
            );
        }
        let issues = section.issuer.clone().or_else(|| section.trust_domain.clone());
        if let Some(twice) = issues.filter(|issues| !issuers.insert(issues.clone())) {
            let hint = "put the agents of one issuer into one section";
            told.tell("issuer", format!("`{twice}` stands in two sections"), hint);
        }
        for rule in section.agents.iter().filter(|rule| !rule.owners.is_empty()) {
            if !agents.insert(rule.agent.to_lowercase()) {
                let hint = "describe it once; elsewhere name it without `owners`";
                told.tell("agents", format!("agent `{}` is described twice", rule.agent), hint);
            }
        }
        checked.extend(issuer(&mut told, section, folder, declared));
    }
    checked
}

fn issuer(
    told: &mut Told<'_>,
    section: IssuerSection,
    folder: &Path,
    declared: &BTreeSet<GroupName>,
) -> Option<Issuer> {
    let issues = if section.certificates {
        of_certificates(told, &section)
    } else {
        of_tokens(told, &section, folder)
    };
    let belief = told.belief(folder, section.ca.as_ref(), section.algorithms, section.clock_skew);
    if section.agents.is_empty() {
        told.tell(
            "agents",
            "an issuer without agents lets nobody in",
            "add `[[issuers.agents]]`, or remove it",
        );
    }
    let is_claim = |name: &String| {
        (1..=LONGEST_TAG).contains(&name.len())
            && !name.chars().any(|letter| letter.is_whitespace() || letter.is_control())
    };
    if section.tags.len() > MOST_TAGS || !section.tags.iter().all(is_claim) {
        let why = format!("these are more than {MOST_TAGS}, or one is no name of a claim");
        told.tell(
            "tags",
            why,
            "name the claims that rules look at, such as `repository`, or `/realm/team` for one further in",
        );
    }
    let mut rules = Vec::new();
    for rule in section.agents {
        rules.extend(rule_of(told, rule, declared));
    }
    let (issuer, keys) = issues?;
    Some(Issuer {
        name: section.name,
        issuer,
        audiences: section.audiences,
        keys,
        outward: belief.outward?,
        algorithms: belief.algorithms,
        skew: belief.skew,
        longest: section.max_lifetime.map_or(LIFETIME, |span| span.0),
        tags: section.tags,
        rules,
    })
}

/// What its tokens say in `iss`, and where its keys are.
fn of_tokens(told: &mut Told<'_>, section: &IssuerSection, folder: &Path) -> Option<(String, KeySource)> {
    if section.audiences.is_empty() {
        let why = "without an audience, tokens meant for others would be taken";
        told.tell("audiences", why, "name this gateway");
    }
    if section.trust_domain.is_some() {
        let why = "only certificates are of a trust domain";
        told.tell("trust_domain", why, "remove it, or write `certificates = true`");
    }
    let Some(issuer) = &section.issuer else {
        let hint = "write it to the letter; an issuer of certificates has `certificates = true` instead";
        told.tell("issuer", "nothing says what its tokens say in `iss`", hint);
        return None;
    };
    let (url, file) = (section.keys_url.as_ref(), section.keys_file.as_ref());
    Some((issuer.clone(), told.keys(issuer, url, file, folder, KeySource::Discovery)?))
}

/// Whose certificates they are. Which authorities sign them, each listener says.
fn of_certificates(told: &mut Told<'_>, section: &IssuerSection) -> Option<(String, KeySource)> {
    for (key, stands) in [
        ("issuer", section.issuer.is_some()),
        ("audiences", !section.audiences.is_empty()),
        ("keys_url", section.keys_url.is_some()),
        ("keys_file", section.keys_file.is_some()),
        ("algorithms", section.algorithms.is_some()),
        ("max_lifetime", section.max_lifetime.is_some()),
    ] {
        if stands {
            let hint = "remove it; listeners name its authorities in `listener_tls.clients`";
            told.tell(key, "certificates have no such thing", hint);
        }
    }
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    match &section.trust_domain {
        None => Some((format!("certificates:{}", section.name), KeySource::Certificates)),
        Some(domain) if !domain.is_empty() && domain.bytes().all(fits) => {
            Some((format!("spiffe://{domain}"), KeySource::Certificates))
        }
        Some(domain) => {
            let hint = "write it as in `spiffe://<trust domain>/…`, such as `prod.example.com`";
            told.tell("trust_domain", format!("`{domain}` is no trust domain"), hint);
            None
        }
    }
}

fn rule_of(told: &mut Told<'_>, section: AgentSection, declared: &BTreeSet<GroupName>) -> Option<Rule> {
    let agent = told.told("agents.agent", Template::new(section.agent), "write a name such as `deploy-bot`");
    let mut wanted = BTreeMap::new();
    for (claim, texts) in section.wanted {
        let texts = match texts {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        };
        let mut patterns = Vec::new();
        for text in texts {
            patterns.extend(told.told(
                "agents.match",
                Pattern::new(text),
                "write a text, with `*` within it",
            ));
        }
        wanted.insert(claim, patterns);
    }
    let anchored =
        |patterns: &Vec<Pattern>| !patterns.is_empty() && patterns.iter().all(Pattern::is_anchored);
    if !wanted.values().any(anchored) {
        let why = "no claim is asked for by how it begins: anybody of that issuer would be this agent";
        told.tell(
            "agents.match",
            why,
            "ask for a claim that only yours can have, such as `repository_owner_id`",
        );
    }
    let owners = emails(told, "agents.owners", &section.owners);
    let obtainable_by = emails(told, "agents.obtainable_by", &section.obtainable_by);
    let groups = checked_names(&section.groups, "issuers.agents.groups", GroupName::new, told.mistakes);
    for group in groups.difference(declared) {
        told.tell("agents.groups", format!("there is no group `{group}`"), "declare it in `people.groups`");
    }
    let said = !section.groups.is_empty() || !section.clearances.is_empty() || section.kind.is_some();
    if section.owners.is_empty() && said {
        let hint =
            "name the people who answer for it, or leave groups, clearances and kind to its own record";
        told.tell("agents.owners", "an agent that is described needs an owner", hint);
    }
    if section.kind == Some(PrincipalKind::Person) {
        told.tell("agents.kind", "a token is never a person", "write `agent` or `service`");
    }
    let described = (!section.owners.is_empty()).then_some(Description {
        kind: section.kind.unwrap_or(PrincipalKind::Agent),
        owners,
        groups,
        clearances: section.clearances,
    });
    let mut people = BTreeMap::new();
    for (said, email) in section.people {
        let hint = "write their e-mail address";
        people.extend(told.told("agents.people", EmailAddress::new(&email), hint).map(|email| (said, email)));
    }
    let others = !people.is_empty() || !section.actors.is_empty();
    if section.on_behalf_of.is_none() && others {
        let hint = "name the claim with `on_behalf_of`";
        told.tell("agents.people", "nothing says which claim names the person", hint);
    }
    if section.on_behalf_of.as_deref().is_some_and(|claim| claim != "email") && people.is_empty() {
        let hint = "say with `people` who each value is; only `email`, with `email_verified`, names people by itself";
        told.tell("agents.on_behalf_of", "a user may write whatever they like into such a claim", hint);
    }
    let behalf = section.on_behalf_of.map(|claim| Behalf { claim, people, actors: section.actors });
    Some(Rule { agent: agent?, wanted, described, obtainable_by, behalf })
}

fn emails(told: &mut Told<'_>, key: &str, texts: &BTreeSet<String>) -> BTreeSet<EmailAddress> {
    let mut emails = BTreeSet::new();
    for text in texts {
        emails.extend(told.told(key, EmailAddress::new(text), "write an e-mail address"));
    }
    emails
}
