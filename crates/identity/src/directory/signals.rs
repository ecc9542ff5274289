//! What a transmitter of shared signals says ends sessions here at once, and takes somebody out or lets them in again.

use super::{Directory, Draft};
use crate::{
    error::IdentityError,
    issuer::keyring::NotVouched,
    jose::read_json,
    record::{
        Held,
        person::{Account, Distrusted, Person, Signalled},
    },
    secret::fingerprint,
    signals::{
        Heard, Known, Poll, SignalError, TransmitterSeen,
        event::{self, Kind, Said, Subject},
    },
};
use bytes::Bytes;
use countersign_core::{PersonId, Timestamp};
use countersign_engine::journal::Note;
use countersign_ledger::event::{Actor, Event};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, net::IpAddr};
use subtle::ConstantTimeEq;

/// Events asked for at once.
const PAGE: usize = 50;

/// What was fetched of a transmitter: tokens by their names.
#[derive(Debug, Default)]
pub struct Fetched {
    pub tokens: Vec<(String, String)>,
    pub more: bool,
}

/// What is answered about tokens that were fetched.
#[derive(Debug, Default)]
pub struct Answered {
    pub taken: Vec<String>,
    /// Names, and the codes and reasons they were refused for.
    pub refused: Vec<(String, &'static str, String)>,
}

impl Answered {
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.refused.is_empty()
    }
}

impl Directory {
    /// Takes a token that a transmitter pushed (RFC 8935). What is to be taken back is the caller's to do before it answers: a
    /// token that comes again says the same again.
    pub async fn hear_pushed(
        &self,
        transmitter: &str,
        presented: Option<&str>,
        token: &str,
        source: IpAddr,
    ) -> Result<Heard, SignalError> {
        let outcome = match self.admitted(transmitter, presented) {
            Ok(known) => self.hear(known, token).await,
            Err(error) => Err(error),
        };
        self.counted(source, outcome, |error| {
            matches!(error, SignalError::Unknown | SignalError::Unauthenticated | SignalError::Refused { .. })
        })
    }

    /// Takes a token that was fetched from its transmitter.
    pub async fn hear_polled(&self, transmitter: &str, token: &str) -> Result<Heard, SignalError> {
        self.hear(self.transmitters.find(transmitter).ok_or(SignalError::Unknown)?, token).await
    }

    /// Every transmitter of the configuration.
    pub fn transmitters(&self) -> Vec<TransmitterSeen> {
        let now = self.journal.now();
        self.transmitters.all().map(|known| known.seen(now)).collect()
    }

    /// The transmitters whose events are fetched.
    pub fn polled(&self) -> Vec<(String, Poll)> {
        let each = self.transmitters.all();
        each.filter_map(|known| {
            Some((known.transmitter.issuer.name.clone(), known.transmitter.poll.clone()?))
        })
        .collect()
    }

    /// Asks a transmitter for events, and tells it what became of those before (RFC 8936, section 2.2).
    pub async fn poll(&self, transmitter: &str, answered: &Answered) -> Result<Fetched, String> {
        let known = self.transmitters.find(transmitter).ok_or("there is no such transmitter")?;
        let fetched = self.ask(known, answered).await;
        let mut progress = known.progress.lock();
        match &fetched {
            Ok(_) => {
                progress.answered_at = Some(self.journal.now());
                progress.failure = None;
            }
            Err(why) => {
                if progress.failure.as_ref() != Some(why) {
                    tracing::warn!(transmitter, why, "signals could not be fetched");
                }
                progress.failure = Some(why.clone());
            }
        }
        fetched
    }

    async fn ask(&self, known: &Known, answered: &Answered) -> Result<Fetched, String> {
        let poll = known.transmitter.poll.as_ref().ok_or("it is not polled")?;
        let token = poll.token.read()?;
        let value = HeaderValue::from_str(&format!("Bearer {}", token.as_str()));
        let mut value = value.map_err(|_| "what is presented to it is no token")?;
        value.set_sensitive(true);
        let json_body = HeaderValue::from_static("application/json");
        let headers = [(header::AUTHORIZATION, value), (header::CONTENT_TYPE, json_body)];
        let refused: Map<String, Value> = answered
            .refused
            .iter()
            .map(|(id, code, why)| (id.clone(), json!({"err": code, "description": why})))
            .collect();
        let body = json!({"maxEvents": PAGE, "returnImmediately": true, "ack": answered.taken,
            "setErrs": refused});
        let outward = &known.transmitter.issuer.outward;
        let asked = outward.call(Method::POST, &poll.url, &headers, Bytes::from(body.to_string())).await;
        let (status, body) = asked.map_err(|error| error.to_string())?;
        if status != StatusCode::OK {
            return Err(format!("its server answered {status}"));
        }
        let answer = read_json(&body).map_err(|_| "its answer is not JSON")?;
        let sets = answer.get("sets").and_then(Value::as_object).ok_or("its answer holds no `sets`")?;
        let tokens = sets.iter().take(PAGE).map(|(id, token)| {
            // What is no text is refused as a token, under its name.
            (id.clone(), token.as_str().unwrap_or_default().to_owned())
        });
        let more = answer.get("moreAvailable").and_then(Value::as_bool).unwrap_or(false);
        Ok(Fetched { tokens: tokens.collect(), more: more && !sets.is_empty() })
    }

    fn admitted(&self, transmitter: &str, presented: Option<&str>) -> Result<&Known, SignalError> {
        let known = self.transmitters.find(transmitter).ok_or(SignalError::Unknown)?;
        let Some(wanted) = &known.transmitter.push_token else { return Ok(known) };
        let wanted = wanted.read().map_err(SignalError::Later)?;
        let presented = presented.unwrap_or_default();
        if bool::from(presented.as_bytes().ct_eq(wanted.as_bytes())) {
            Ok(known)
        } else {
            Err(SignalError::Unauthenticated)
        }
    }

    async fn hear(&self, known: &Known, token: &str) -> Result<Heard, SignalError> {
        let issuer = &known.transmitter.issuer;
        let signed =
            known.keys.vouch(issuer, token, || self.journal.now()).await.map_err(|why| match why {
                NotVouched::NoKeys => {
                    SignalError::Later("its transmitter's keys could not be fetched".into())
                }
                NotVouched::Unsound(why) => SignalError::Refused { code: "invalid_key", why: why.0 },
            })?;
        let said = event::read(issuer, &signed, self.journal.now());
        let said = said.map_err(|why| SignalError::Refused { code: "invalid_request", why: why.0 })?;
        known.progress.lock().heard_at = Some(self.journal.now());
        if said.kind == Kind::Other {
            return Ok(Heard::Nothing);
        }
        let heard = self.act_on(known, &said).await;
        heard.map_err(|error| SignalError::Later(error.to_string()))
    }

    async fn act_on(&self, known: &Known, said: &Said) -> Result<Heard, IdentityError> {
        let _turn = self.writing.lock().await;
        let Some(held) = self.meant(known, &said.subjects) else { return Ok(Heard::Nothing) };
        let now = self.journal.now();
        let person = held.doc.id;
        let heard = match said.kind {
            Kind::Other | Kind::Enabled => Heard::Nothing,
            Kind::Distrust | Kind::Disabled => Heard::Distrust { person, until: until(&held.doc, said, now) },
        };
        let name = fingerprint(&said.id);
        if known.was_taken(&name, now) {
            return Ok(heard);
        }
        let mut draft = Draft::default();
        draft.note(Note::new(
            Actor::Gateway,
            Event::SignalReceived {
                person,
                transmitter: known.transmitter.issuer.name.clone(),
                signal: said.name.clone(),
            },
        ));
        let signalled = |disabled: bool| Signalled {
            transmitter: known.transmitter.issuer.name.clone(),
            at: said.at,
            disabled,
        };
        match (&heard, said.kind) {
            (_, Kind::Disabled) if self.may_take_out(&held.doc, &signalled(true)) => {
                draft.note(Note::new(Actor::Gateway, Event::PersonDisabled { person }));
                self.end_access(&mut draft, &Actor::Gateway, person);
                let mut gone =
                    Person { disabled_at: Some(now), signalled: Some(signalled(true)), ..held.doc.clone() };
                Self::end_bindings(&mut draft, &Actor::Gateway, &mut gone);
                draft.replace(&held, gone)?;
            }
            (Heard::Distrust { until, .. }, _) => {
                let moment = said.at.minus(known.transmitter.issuer.skew);
                let mut left = held.doc.clone();
                self.end_what_sessions_made(&mut draft, &mut left, known, (moment, *until));
                let last = left.distrusted.filter(|last| last.at >= said.at);
                left.distrusted = last.or(Some(Distrusted { at: said.at, heard_at: now }));
                draft.replace(&held, left)?;
            }
            (Heard::Nothing, _) => {
                if took_out(&held.doc, &signalled(false)) {
                    draft.note(Note::new(Actor::Gateway, Event::PersonReturned { person }));
                    let back =
                        Person { disabled_at: None, signalled: Some(signalled(false)), ..held.doc.clone() };
                    draft.replace(&held, back)?;
                }
            }
        }
        self.write(draft).await?;
        known.taken(name, now);
        Ok(heard)
    }

    /// The one person that names of a token mean; `None`: nobody here, or not one and the same.
    fn meant(&self, known: &Known, subjects: &[Subject]) -> Option<Held<Person>> {
        let provider = &self.providers.find(&known.transmitter.provider)?.provider;
        let memory = self.memory.read();
        let mut found: BTreeSet<PersonId> = BTreeSet::new();
        for subject in subjects {
            let person = match subject {
                Subject::Account { issuer, subject } if *issuer == provider.issuer.issuer => {
                    memory.accounts.get(&Account::key_of(issuer, subject)).copied()
                }
                // It is believed about the addresses that the provider is believed about.
                Subject::Email(email) if provider.domains.contains(email.domain()) => {
                    memory.emails.get(email).copied()
                }
                Subject::Session(sid) => memory
                    .sessions
                    .values()
                    .map(|state| &state.held.doc)
                    .find(|session| {
                        session.provider.as_ref() == Some(&known.transmitter.provider)
                            && session.sid.as_ref() == Some(sid)
                    })
                    .map(|session| session.person),
                Subject::Account { .. } | Subject::Email(_) => None,
            };
            found.extend(person);
        }
        match (found.len(), found.first()) {
            (1, Some(person)) => memory.people.get(person).cloned(),
            _ => None,
        }
    }

    /// Ends the sessions that were opened up to `until`, and what one of them could have made to come back by since it was
    /// opened, or since the moment the signal speaks of: passkeys, and users of channels and accounts that speak for the
    /// person.
    fn end_what_sessions_made(
        &self,
        draft: &mut Draft,
        person: &mut Person,
        known: &Known,
        (moment, until): (Timestamp, Timestamp),
    ) {
        let memory = self.memory.read();
        let ended: Vec<_> =
            memory.sessions_of(person.id).filter(|held| held.doc.opened_at <= until).collect();
        let since = ended.iter().map(|held| held.doc.opened_at).fold(moment, Timestamp::min);
        let made = |at: Timestamp| since <= at && at <= until;
        if !ended.is_empty() {
            let event = Event::SessionClosed { person: person.id, everywhere: true };
            draft.note(Note::new(Actor::Gateway, event));
        }
        for session in ended {
            draft.delete(session);
        }
        for held in memory.passkeys_of(person.id).filter(|held| made(held.doc.created_at)) {
            draft.delete(held);
            let event = Event::PasskeyRemoved { person: person.id, credential: held.doc.id };
            draft.note(Note::new(Actor::Gateway, event));
        }
        // All of them: a device that somebody took goes on showing what comes.
        Self::end_subscriptions(&memory, draft, &Actor::Gateway, person.id);
        let mut theirs = person.clone();
        theirs.bindings.retain(|binding| made(binding.bound_at));
        Self::end_bindings(draft, &Actor::Gateway, &mut theirs);
        person.bindings.retain(|binding| !made(binding.bound_at));
        // Not the account whose provider the signal speaks for: it is how they come back.
        let own = self.providers.find(&known.transmitter.provider).map(|own| &own.provider.issuer.issuer);
        let stays = |account: &Account| !made(account.linked_at) || Some(&account.issuer) == own;
        for account in person.accounts.iter().filter(|account| !stays(account)) {
            let provider = self.providers.all().find(|one| one.issuer.issuer == account.issuer);
            let provider = provider.map_or_else(|| account.issuer.clone(), |one| one.issuer.name.clone());
            draft.note(Note::new(Actor::Gateway, Event::AccountUnlinked { person: person.id, provider }));
        }
        person.accounts.retain(stays);
    }

    /// Those the configuration names stay: they are the anchor that no outside system removes.
    fn may_take_out(&self, person: &Person, said: &Signalled) -> bool {
        let named = self.settings.administrators.contains(&person.email);
        !named && !person.is_disabled() && is_news(person, said)
    }
}

/// Until it came, not until the moment it speaks of: it may come late, and whoever had the session used it meanwhile. One that
/// speaks of no later moment than one that came before says nothing new of what was done since.
fn until(person: &Person, said: &Said, now: Timestamp) -> Timestamp {
    person.distrusted.filter(|last| said.at <= last.at).map_or(now, |last| last.heard_at)
}

/// Only who took somebody out lets them in again: not whom an administrator or another system disabled.
fn took_out(person: &Person, said: &Signalled) -> bool {
    let by_them = |last: &Signalled| last.disabled && last.transmitter == said.transmitter;
    person.signalled.as_ref().is_some_and(by_them) && person.is_disabled() && is_news(person, said)
}

/// Tokens come again and out of order: what is older than the last word of the same transmitter changes nothing.
fn is_news(person: &Person, said: &Signalled) -> bool {
    let last = person.signalled.as_ref().filter(|last| last.transmitter == said.transmitter);
    last.is_none_or(|last| said.at > last.at)
}
