//! Tokens and certificates that others have signed: whose they are, whether they hold, and which agent they name.

use crate::{
    email::EmailAddress,
    issuer::{
        Behalf, Issuer, KeySource, Rule, claims,
        keyring::{AGAIN, EVERY, Keyring, KeysSeen},
    },
    jose::{Unsound, compact::Compact},
    secret::fingerprint,
};
use countersign_core::{ClientCertificate, Digest, Timestamp};
use countersign_engine::port::identity::NotAuthenticated;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

/// Tokens whose signature is remembered to hold.
const REMEMBERED: usize = 2048;
/// Agents one token may have come through.
const DEEPEST: usize = 8;

/// The issuers that are believed, with their keys.
#[derive(Debug)]
pub(crate) struct Trust {
    issuers: Vec<(Issuer, Keyring)>,
    held: Cache<Digest, Arc<Held>>,
}

/// What a token or a certificate that holds says.
#[derive(Debug)]
pub(crate) struct Held {
    at: usize,
    /// Of the issuer's keys; a certificate was verified by the connection it came with.
    generation: u64,
    ends: Timestamp,
    pub(crate) says: Says,
}

/// Who presents a token, in the configuration's words.
#[derive(Debug)]
pub(crate) struct Says {
    pub(crate) issuer: String,
    pub(crate) rule: Digest,
    pub(crate) agent: String,
    pub(crate) subject: String,
    /// Whom it acts for.
    pub(crate) person: Option<EmailAddress>,
    /// The agents it came through, the nearest first.
    pub(crate) through: Vec<String>,
    /// What policy may look at.
    pub(crate) tags: BTreeMap<String, String>,
}

impl Trust {
    pub(crate) fn new(issuers: Vec<Issuer>) -> Self {
        let issuers = issuers.into_iter().map(|issuer| (issuer, Keyring::new())).collect();
        Self { issuers, held: Cache::new(REMEMBERED) }
    }

    /// Whether any token of others can be good.
    pub(crate) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = (&Issuer, &Rule, Digest)> {
        self.issuers.iter().flat_map(|(issuer, _)| {
            issuer.rules.iter().map(move |rule| (issuer, rule, issuer.fingerprint(rule)))
        })
    }

    /// The rule with this fingerprint, if it still stands in the configuration.
    pub(crate) fn rule(&self, fingerprint: Digest) -> Option<(&Issuer, &Rule)> {
        let mut rules = self.rules();
        rules.find(|(_, _, known)| *known == fingerprint).map(|(issuer, rule, _)| (issuer, rule))
    }

    /// Checks a token. [`NotAuthenticated::NotYet`] where a key is missing that [`Trust::fetch`] may bring.
    pub(crate) fn check(&self, text: &str, now: Timestamp) -> Result<Arc<Held>, NotAuthenticated> {
        let known = fingerprint(text);
        if let Some(held) = self.held.get(&known)
            && self.still(&held, now)
        {
            return Ok(held);
        }
        let token = Compact::parse(text).map_err(refused)?;
        let (at, issuer, keyring) = self.issuer_of(&token)?;
        let Some((keys, generation)) = keyring.current(now) else {
            return Err(if keyring.may_fetch(now) {
                NotAuthenticated::NotYet
            } else {
                NotAuthenticated::NoKeys
            });
        };
        if !token.names_a_key_of(&keys) && keyring.may_fetch(now) {
            return Err(NotAuthenticated::NotYet);
        }
        let signed = token.verify(&keys, &issuer.algorithms).map_err(refused)?;
        let ends = claims::check(issuer, &signed, now).map_err(refused)?;
        let says = says(issuer, &signed.claims).map_err(refused)?;
        let held = Arc::new(Held { at, generation, ends, says });
        self.held.insert(known, Arc::clone(&held));
        Ok(held)
    }

    /// What a client's certificate says, which the handshake of its connection verified. It ends with its time, however
    /// long that connection lasts.
    pub(crate) fn certificate(
        &self,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Arc<Held>, NotAuthenticated> {
        let known = Digest::of_parts(
            "countersign/client-certificate/v1",
            &[certificate.issuer.as_bytes(), certificate.fingerprint.as_bytes()],
        );
        if let Some(held) = self.held.get(&known).filter(|held| now < held.ends) {
            return Ok(held);
        }
        let mut issuers = self.issuers.iter().map(|(issuer, _)| issuer).enumerate();
        let (at, issuer) = issuers
            .find(|(_, issuer)| issuer.keys == KeySource::Certificates && issuer.name == certificate.issuer)
            .ok_or(NotAuthenticated::Unknown)?;
        if let Some(why) = certificate.flaw {
            return Err(NotAuthenticated::NotTrusted(why));
        }
        if now < certificate.not_before.minus(issuer.skew) {
            return Err(NotAuthenticated::NotTrusted("the certificate is not good yet"));
        }
        if certificate.not_after <= now {
            return Err(NotAuthenticated::Expired);
        }
        let claims = claims_of(issuer, certificate).map_err(refused)?;
        let says = says(issuer, &claims).map_err(refused)?;
        let held = Arc::new(Held { at, generation: 0, ends: certificate.not_after, says });
        self.held.insert(known, Arc::clone(&held));
        Ok(held)
    }

    /// Brings the keys of whoever claims to have issued a token, if that is somebody who is believed.
    pub(crate) async fn fetch(&self, text: &str, now: impl Fn() -> Timestamp) {
        let Ok(token) = Compact::parse(text) else { return };
        if let Ok((_, issuer, keyring)) = self.issuer_of(&token) {
            keyring.fetch(issuer, now).await;
        }
    }

    /// Keeps every issuer's keys fresh, until dropped.
    pub(crate) async fn keep(&self, now: impl Fn() -> Timestamp + Copy) {
        let keyed = self.issuers.iter().filter(|(issuer, _)| issuer.keys != KeySource::Certificates);
        let each = keyed.map(async |(issuer, keyring)| {
            loop {
                let fresh = keyring.fetch(issuer, now).await;
                tokio::time::sleep(if fresh { EVERY } else { AGAIN }).await;
            }
        });
        futures_util::future::join_all(each).await;
    }

    pub(crate) fn seen(&self, now: Timestamp) -> Vec<(&Issuer, KeysSeen)> {
        self.issuers.iter().map(|(issuer, keyring)| (issuer, keyring.seen(now))).collect()
    }

    /// Whether what was found out about a token is still true.
    fn still(&self, held: &Held, now: Timestamp) -> bool {
        let keyring = self.issuers.get(held.at).map(|(_, keyring)| keyring);
        let generation = keyring.and_then(|keyring| keyring.current(now)).map(|(_, generation)| generation);
        generation == Some(held.generation) && now < held.ends
    }

    fn issuer_of(&self, token: &Compact<'_>) -> Result<(usize, &Issuer, &Keyring), NotAuthenticated> {
        let claimed = token.claimed_issuer();
        let mut numbered = self.issuers.iter().enumerate();
        let found = numbered.find(|(_, (issuer, _))| {
            issuer.keys != KeySource::Certificates && claimed == Some(issuer.issuer.as_str())
        });
        let (at, (issuer, keyring)) =
            found.ok_or(NotAuthenticated::NotTrusted("the token's issuer is not trusted here"))?;
        Ok((at, issuer, keyring))
    }
}

fn refused(why: Unsound) -> NotAuthenticated {
    NotAuthenticated::NotTrusted(why.0)
}

/// What a certificate says, in the form rules are written for. `sub` is what tells certificates of one agent apart.
fn claims_of(issuer: &Issuer, certificate: &ClientCertificate) -> Result<Map<String, Value>, Unsound> {
    let mut claims = Map::new();
    if let Some(id) = &certificate.spiffe_id {
        let rest = id.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'));
        let (domain, path) = rest.ok_or(Unsound("the certificate's SPIFFE id is not as one must be"))?;
        claims.insert("spiffe_id".into(), id.as_str().into());
        claims.insert("spiffe_path".into(), path.into());
        claims.insert("trust_domain".into(), domain.into());
    }
    // Its authorities may sign for other trust domains, and are believed about this one.
    if let Some(domain) = issuer.issuer.strip_prefix("spiffe://")
        && claims.get("trust_domain").and_then(Value::as_str) != Some(domain)
    {
        return Err(Unsound("the certificate is not of the issuer's trust domain"));
    }
    let named = [
        ("common_name", &certificate.common_name),
        ("organization", &certificate.organization),
        ("organizational_unit", &certificate.organizational_unit),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            claims.insert(name.into(), value.as_str().into());
        }
    }
    if !certificate.dns.is_empty() {
        claims.insert("dns".into(), certificate.dns.clone().into());
    }
    if !certificate.subject.is_empty() {
        claims.insert("subject".into(), certificate.subject.as_str().into());
    }
    let first = certificate.dns.first();
    let subject = certificate.spiffe_id.as_ref().or(first).unwrap_or(&certificate.subject);
    claims.insert("sub".into(), subject.as_str().into());
    Ok(claims)
}

fn says(issuer: &Issuer, claims: &Map<String, Value>) -> Result<Says, Unsound> {
    let rule = claims::rule(issuer, claims).ok_or(Unsound("no rule of its issuer fits its claims"))?;
    let agent = rule.agent.fill(claims);
    let agent = agent.ok_or(Unsound("its claims make no name of an agent"))?;
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or(Unsound("the token names no subject"))?;
    if subject.len() > 1024 {
        return Err(Unsound("the token's subject is too long"));
    }
    let (person, through) = match &rule.behalf {
        None if claims.contains_key("act") => {
            return Err(Unsound("the token acts for somebody, and no rule says who that is here"));
        }
        None => (None, Vec::new()),
        Some(behalf) => (Some(person(behalf, claims)?), through(issuer, rule, behalf, claims)?),
    };
    Ok(Says {
        issuer: issuer.name.clone(),
        rule: issuer.fingerprint(rule),
        agent,
        subject: subject.to_owned(),
        person,
        through,
        tags: claims::tags(issuer, claims)?,
    })
}

/// The person a token acts for. One that cannot be told is nobody's: there would be nobody to keep from voting.
fn person(behalf: &Behalf, claims: &Map<String, Value>) -> Result<EmailAddress, Unsound> {
    let said = claims::find(claims, &behalf.claim).and_then(Value::as_str);
    let said = said.ok_or(Unsound("the token does not say for whom it acts"))?;
    if !behalf.people.is_empty() {
        let known = behalf.people.get(said);
        return known.cloned().ok_or(Unsound("the person the token acts for is not known here"));
    }
    // Whoever may write any address into their account would put somebody else in their place.
    if behalf.claim != "email" || claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(Unsound("the e-mail address of the person the token acts for is not verified"));
    }
    EmailAddress::new(said).map_err(|_| Unsound("the person the token acts for is not known here"))
}

/// The agents a token came through before its present actor, the nearest first (RFC 8693, section 4.1).
fn through(
    issuer: &Issuer,
    rule: &Rule,
    behalf: &Behalf,
    claims: &Map<String, Value>,
) -> Result<Vec<String>, Unsound> {
    const UNKNOWN: Unsound = Unsound("an agent the token came through is not known here");
    let mut through = Vec::new();
    // The outermost is whoever presents it, where the rule looks at it.
    let present = claims.get("act");
    let told = rule.wanted.keys().any(|claim| claim.starts_with("/act/"));
    let mut before = if told { present.and_then(|present| present.get("act")) } else { present };
    while let Some(actor) = before {
        let other = actor.get("iss").is_some_and(|other| other.as_str() != Some(&issuer.issuer));
        let name = actor.get("sub").and_then(Value::as_str).and_then(|subject| behalf.actors.get(subject));
        let name = name.filter(|_| !other).ok_or(UNKNOWN)?;
        through.push(name.clone());
        if through.len() > DEEPEST {
            return Err(Unsound("the token came through too many agents"));
        }
        before = actor.get("act");
    }
    Ok(through)
}
