//! Callers with tokens that somebody else has signed. The configuration says whose are believed and which agent they
//! name; what is known of them is written down once, as a credential of that agent, so that they can be listed,
//! revoked, and looked at again when what they asked for is about to run.

use super::{
    Directory, Draft,
    agents::{changed_note, created_note},
    readable,
    tokens::answerable,
};
use crate::{
    email::EmailAddress,
    error::IdentityError,
    issuer::{Description, KeySource, keyring::KeysSeen},
    jose::compact,
    memory::Memory,
    record::agent::{Agent, Token, Workload, folded},
    trust::Says,
};
use countersign_core::{
    AgentId, ClientCertificate, CredentialId, Digest, PersonId, Requester, Timestamp, visible,
};
use countersign_engine::{journal::Note, port::identity::NotAuthenticated};
use countersign_ledger::event::{Actor, Event};
use std::collections::{BTreeMap, BTreeSet};

/// Different subjects and chains of one agent that are taken down.
const MOST: usize = 1000;

/// An issuer, and how its keys are doing.
#[derive(Clone, Debug)]
pub struct IssuerSeen {
    pub name: String,
    pub issuer: String,
    /// Where its keys come from, in words.
    pub source: String,
    pub keys: KeysSeen,
    /// The agents it can name, as the configuration writes them.
    pub agents: Vec<String>,
}

/// What a token says, in this directory's own terms.
struct Known {
    agent: AgentId,
    person: Option<PersonId>,
    through: Vec<AgentId>,
    /// What all tokens have in common that say the same.
    secret: Digest,
}

impl Directory {
    /// Whether a text is to be read as a token that somebody else has signed.
    pub(super) fn is_foreign(&self, text: &str) -> bool {
        !self.trust.is_empty() && compact::has_shape(text)
    }

    /// The caller behind such a token.
    pub(super) fn foreign(&self, text: &str, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        self.caller_of(&self.trust.check(text, now)?.says, now)
    }

    /// The caller whose key a client's certificate is for.
    pub(super) fn certified(
        &self,
        certificate: &ClientCertificate,
        now: Timestamp,
    ) -> Result<Requester, NotAuthenticated> {
        self.caller_of(&self.trust.certificate(certificate, now)?.says, now)
    }

    fn caller_of(&self, says: &Says, now: Timestamp) -> Result<Requester, NotAuthenticated> {
        let memory = self.memory.read();
        let known = self.known(&memory, says)?;
        let state = memory.tokens.get(&known.secret).ok_or(NotAuthenticated::NotYet)?;
        let requester = self.standing_caller(&memory, &state.held.doc, now)?;
        state.use_at(now);
        Ok(Requester { claims: says.tags.clone(), ..requester })
    }

    /// Brings the keys that are missing for a token; then, if it holds, writes down its agent and its credential.
    pub(super) async fn admit(&self, text: &str) {
        let now = || self.journal.now();
        if self.trust.check(text, now()).err() == Some(NotAuthenticated::NotYet) {
            self.trust.fetch(text, now).await;
        }
        let Ok(held) = self.trust.check(text, now()) else { return };
        self.admit_as(&held.says).await;
    }

    /// The same for a client's certificate.
    pub(super) async fn admit_certified(&self, certificate: &ClientCertificate) {
        let Ok(held) = self.trust.certificate(certificate, self.journal.now()) else { return };
        self.admit_as(&held.says).await;
    }

    async fn admit_as(&self, says: &Says) {
        if let Err(error) = self.write_down(says).await {
            tracing::warn!(%error, issuer = says.issuer, "a workload's credential could not be taken down");
        }
    }

    /// Keeps the keys of every issuer fresh. Never ends.
    pub async fn keep_issuers(&self) {
        self.trust.keep(|| self.journal.now()).await;
    }

    /// Every issuer of the configuration.
    pub fn issuers(&self) -> Vec<IssuerSeen> {
        let seen = self.trust.seen(self.journal.now());
        let one = |(issuer, keys): (&crate::issuer::Issuer, KeysSeen)| IssuerSeen {
            name: issuer.name.clone(),
            issuer: issuer.issuer.clone(),
            source: match &issuer.keys {
                KeySource::Discovery | KeySource::SignalsDiscovery => "what the issuer says of itself".into(),
                KeySource::Url(url) | KeySource::Metadata(url) => url.to_string(),
                KeySource::File(path) => path.display().to_string(),
                KeySource::Certificates => "certificates of clients".into(),
            },
            keys,
            agents: issuer.rules.iter().map(|rule| rule.agent.to_string()).collect(),
        };
        seen.into_iter().map(one).collect()
    }

    /// Everyone the rule and the chain put behind a token, beside its agent's own.
    pub(super) fn behind_workload(
        &self,
        memory: &Memory,
        workload: &Workload,
        token: &Token,
    ) -> Result<BTreeSet<PersonId>, NotAuthenticated> {
        let (_, rule) = self.trust.rule(workload.rule).ok_or(NotAuthenticated::Revoked)?;
        let mut behind = named(memory, &rule.obtainable_by);
        // Who was invited since is an owner from that moment on, whatever the agent's record says.
        behind.extend(rule.described.iter().flat_map(|described| named(memory, &described.owners)));
        for agent in &workload.through {
            let agent = memory.agents.get(agent).map(|held| &held.doc).ok_or(NotAuthenticated::Unknown)?;
            if agent.is_disabled() {
                return Err(NotAuthenticated::Disabled);
            }
            behind.extend(answerable(agent, token));
            behind.extend(agent.created_by);
        }
        Ok(behind)
    }

    /// At start: agents that the configuration describes are as it describes them.
    pub(super) async fn describe_agents(&self) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        for (_, rule, fingerprint) in self.trust.rules() {
            let Some(described) = &rule.described else { continue };
            let names: BTreeSet<String> = {
                let memory = self.memory.read();
                let agents = memory.agents.values().map(|held| &held.doc);
                let made = agents.filter(|agent| agent.described_by == Some(fingerprint));
                made.map(|agent| agent.name.clone()).chain(rule.agent.literal().map(str::to_owned)).collect()
            };
            for name in names {
                let mut draft = Draft::default();
                match self.describe(&mut draft, &name, fingerprint, described) {
                    Ok(()) if draft.changes.is_empty() => {}
                    Ok(()) => self.write(draft).await?,
                    Err(error) => tracing::warn!(%error, agent = name, "a described agent is not ready"),
                }
            }
        }
        Ok(())
    }

    /// What a token says, where everybody it names is known.
    fn known(&self, memory: &Memory, says: &Says) -> Result<Known, NotAuthenticated> {
        const NO_AGENT: NotAuthenticated =
            NotAuthenticated::NotTrusted("the token's agent is not known here");
        let (_, rule) = self.trust.rule(says.rule).ok_or(NotAuthenticated::Unknown)?;
        let agent = memory.agent_named(&says.agent);
        let agent = match (&rule.described, agent) {
            (None, Some(agent)) => agent,
            (Some(_), Some(agent)) if agent.described_by == Some(says.rule) => agent,
            (Some(_), None) => return Err(NotAuthenticated::NotYet),
            // A described agent never takes over one that people keep, or that another rule describes.
            (None, None) | (Some(_), Some(_)) => return Err(NO_AGENT),
        };
        let person = says.person.as_ref().map(|email| {
            let known = memory.emails.get(email).copied();
            known.ok_or(NotAuthenticated::NotTrusted("the person the token acts for is not known here"))
        });
        let person = person.transpose()?;
        let through = says.through.iter().map(|name| memory.agent_named(name).map(|agent| agent.id));
        let through: Option<Vec<AgentId>> = through.collect();
        let through = through.ok_or(NO_AGENT)?;
        let (agent, mut parts) =
            (agent.id, vec![says.rule.hex(), agent.id.to_string(), says.subject.clone()]);
        parts.push(person.map(|person| person.to_string()).unwrap_or_default());
        parts.extend(through.iter().map(ToString::to_string));
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        Ok(Known { agent, person, through, secret: Digest::of_parts("countersign/workload/v1", &parts) })
    }

    async fn write_down(&self, says: &Says) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let Some((_, rule)) = self.trust.rule(says.rule) else { return Ok(()) };
        if let Some(described) = &rule.described {
            let mut draft = Draft::default();
            self.describe(&mut draft, &says.agent, says.rule, described)?;
            if !draft.changes.is_empty() {
                self.write(draft).await?;
            }
        }
        let known = {
            let memory = self.memory.read();
            let Ok(known) = self.known(&memory, says) else { return Ok(()) };
            if memory.tokens.contains_key(&known.secret) {
                return Ok(());
            }
            let foreign = memory.tokens_of(known.agent).filter(|state| state.held.doc.workload.is_some());
            if foreign.count() >= MOST {
                return Err(IdentityError::TooManyWorkloads(MOST));
            }
            known
        };
        let subject: String = says.subject.chars().take(256).collect();
        let token = Token {
            id: self.journal.id(CredentialId::from_parts),
            agent: known.agent,
            label: visible::one_line(&subject),
            hint: says.issuer.clone(),
            secret: known.secret,
            workload: Some(Workload {
                issuer: says.issuer.clone(),
                rule: says.rule,
                subject: says.subject.clone(),
                through: known.through.clone(),
            }),
            on_behalf_of: known.person,
            created_by: None,
            created_at: self.journal.now(),
            expires: None,
            revoked_at: None,
            used_at: None,
        };
        let event = Event::WorkloadAdmitted {
            agent: known.agent,
            credential: token.id,
            issuer: says.issuer.clone(),
            on_behalf_of: known.person.into_iter().collect(),
            through: known.through,
        };
        let mut draft = Draft::default();
        draft.note(Note::new(Actor::Gateway, event).private("subject", says.subject.as_str()));
        draft.insert(token)?;
        self.write(draft).await
    }

    /// Makes an agent what the configuration says it is.
    fn describe(
        &self,
        draft: &mut Draft,
        name: &str,
        rule: Digest,
        described: &Description,
    ) -> Result<(), IdentityError> {
        let (now, owners, held) = {
            let memory = self.memory.read();
            let held =
                memory.agent_names.get(&folded(name)).and_then(|agent| memory.agents.get(agent)).cloned();
            (self.journal.now(), named(&memory, &described.owners), held)
        };
        let standing = owners.into_iter().filter(|owner| self.standing_person(*owner).is_ok()).collect();
        let Some(held) = held else {
            let agent = Agent {
                id: self.journal.id(AgentId::from_parts),
                name: readable("a name", name)?,
                kind: described.kind,
                owners: standing,
                former_owners: BTreeMap::new(),
                changed_by: BTreeMap::new(),
                groups: described.groups.clone(),
                clearances: described.clearances.clone(),
                described_by: Some(rule),
                created_by: None,
                created_at: now,
                disabled_at: None,
            };
            self.check_agent(&agent)?;
            draft.note(created_note(Actor::Gateway, &agent));
            return draft.insert(agent);
        };
        // A rule that reads otherwise by now is another one; an agent that people keep is never taken from them.
        let same = held.doc.described_by == Some(rule);
        let moved = held.doc.described_by.is_some_and(|before| self.trust.rule(before).is_none());
        if !same && !moved {
            return Err(IdentityError::NameTaken(held.doc.name.clone()));
        }
        if held.doc.is_disabled() {
            return Ok(());
        }
        let agent = Agent {
            kind: described.kind,
            groups: described.groups.clone(),
            clearances: described.clearances.clone(),
            described_by: Some(rule),
            ..held.doc.clone().owned_by(standing, now)
        };
        if agent == held.doc {
            return Ok(());
        }
        self.check_agent(&agent)?;
        draft.note(changed_note(Actor::Gateway, &agent));
        draft.replace(&held, agent)
    }
}

/// The people with these addresses, as far as they are known, and whoever had one before: a new address lifts nobody off
/// the requester's side.
fn named(memory: &Memory, emails: &BTreeSet<EmailAddress>) -> BTreeSet<PersonId> {
    let now = emails.iter().filter_map(|email| memory.emails.get(email));
    now.chain(emails.iter().filter_map(|email| memory.former_emails.get(email)).flatten()).copied().collect()
}
