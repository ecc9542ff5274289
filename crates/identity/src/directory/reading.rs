//! Sessions that only read: a person's command line, signed in by the device flow (RFC 8628), and tokens they make for their own
//! programs. Nothing comes of one but answers; a vote opens the page.

use super::{
    Directory, Draft, readable,
    sessions::{SessionInfo, Visitor},
};
use crate::{
    attempts::Guesser,
    devices::{self, Answer, Device},
    error::IdentityError,
    record::session::{Session, SessionId},
    secret::{Secret, fingerprint, token},
};
use countersign_core::Timestamp;
use countersign_engine::journal::Note;
use countersign_ledger::event::{Actor, Event};
use std::{net::IpAddr, time::Duration};

/// How many one person may have.
const MOST: usize = 20;

/// A command line has begun to wait.
#[derive(Clone, Debug)]
pub struct DeviceBegun {
    /// What it asks with.
    pub code: Secret,
    /// What the person types, or sees in the page.
    pub user_code: String,
    pub waits: Duration,
    /// How often it may ask.
    pub interval: Duration,
}

/// A command line that asks to be signed in, as the person who decides sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAsks {
    pub user_code: String,
    /// What it calls itself.
    pub label: String,
    pub source: IpAddr,
    pub user_agent: Option<String>,
    pub asked_at: Timestamp,
}

/// What a command line is told.
#[derive(Clone, Debug)]
pub enum Polled {
    Waits,
    /// It asked too soon.
    TooSoon,
    Denied,
    /// It is not known, or not any more.
    Over,
    Allowed {
        token: Secret,
        ends_at: Timestamp,
    },
}

impl Directory {
    /// The session of a reading token.
    pub async fn reading(&self, text: &str) -> Result<SessionInfo, IdentityError> {
        if !token::has_personal_shape(text) {
            return Err(IdentityError::NotSignedIn);
        }
        let session = self.open_session(SessionId(fingerprint(text))).await?;
        let person = self.person(session.person).ok_or(IdentityError::NotSignedIn)?;
        if self.is_vouched(&person, self.journal.now()) {
            Ok(session)
        } else {
            Err(IdentityError::ProviderFirst)
        }
    }

    /// Makes a token for a person's own programs. The secret is not kept.
    pub async fn create_reading(
        &self,
        session: &SessionInfo,
        label: &str,
    ) -> Result<(Secret, SessionInfo), IdentityError> {
        let _turn = self.writing.lock().await;
        let label = readable("a name", label)?;
        let held = self.standing_person(session.person)?;
        if self.sessions(session.person).iter().filter(|open| open.reading.is_some()).count() >= MOST {
            return Err(IdentityError::TooManyReading(MOST));
        }
        let now = self.journal.now();
        let secret = token::personal(&self.journal.random());
        let reading = Session {
            id: SessionId(fingerprint(secret.reveal())),
            renewed: None,
            form_seed: None,
            person: session.person,
            assurance: session.assurance,
            // Whoever ends that session at the provider ends what was made from it.
            provider: session.provider.clone(),
            sid: self.memory.read().sessions.get(&session.id).and_then(|state| state.held.doc.sid.clone()),
            sign_in: session.sign_in.clone(),
            reading: Some(label.clone()),
            opened_at: now,
            seen_at: now,
            user_agent: None,
        };
        let info = self.info(&held.doc, &reading);
        let mut draft = Draft::default();
        let event =
            Event::SessionOpened { person: session.person, assurance: session.assurance, reading: true };
        draft.note(Note::new(Actor::Person { id: session.person }, event).private("label", label.as_str()));
        draft.insert(reading)?;
        self.write(draft).await?;
        Ok((secret, info))
    }

    /// A command line asks to be signed in.
    pub fn begin_device(&self, label: &str, visitor: &Visitor<'_>) -> Result<DeviceBegun, IdentityError> {
        let now = self.journal.now();
        let label = readable("a name", label)?;
        let agent = visitor.user_agent.map(|agent| agent.chars().take(128).collect::<String>());
        let agent = agent.map(|agent| countersign_core::visible::one_line(&agent));
        let (code, user_code) =
            (Secret::of_bytes(&self.journal.random()), devices::user_code(&self.journal.random()));
        let device = Device::new(label, visitor.source, agent, now);
        // Once in a very long time the code is another's, or too few letters came of it.
        if user_code.len() != 8 || !self.devices.lock().add(&code, &user_code, device) {
            return Err(IdentityError::UnknownDevice);
        }
        let user_code = devices::shown(&user_code);
        Ok(DeviceBegun { code, user_code, waits: devices::WAITS, interval: devices::INTERVAL })
    }

    /// The command line with that code, for whoever is signed in. A code is short: a person who tries wrong ones waits, also
    /// for the right one, and nobody else does.
    pub fn device(&self, session: &SessionInfo, user_code: &str) -> Result<DeviceAsks, IdentityError> {
        let now = self.journal.now();
        let who = Guesser::Person(session.person);
        let mut attempts = self.attempts.lock();
        if let Some(retry_after) = attempts.wait(who, now) {
            return Err(IdentityError::TooManyAttempts { retry_after });
        }
        let mut devices = self.devices.lock();
        let Some(device) = devices.meant(user_code, now) else {
            attempts.failed(who, now);
            return Err(IdentityError::UnknownDevice);
        };
        Ok(DeviceAsks {
            user_code: user_code.to_owned(),
            label: device.label.clone(),
            source: device.source,
            user_agent: device.user_agent.clone(),
            asked_at: device.asked_at,
        })
    }

    /// A signed-in person allows it, or does not.
    pub async fn answer_device(
        &self,
        session: &SessionInfo,
        user_code: &str,
        allow: bool,
    ) -> Result<(), IdentityError> {
        let asks = self.device(session, user_code)?;
        let made = if allow { Some(self.create_reading(session, &asks.label).await?) } else { None };
        let now = self.journal.now();
        let taken = {
            let mut devices = self.devices.lock();
            devices.meant(user_code, now).map(|device| {
                device.answer = match &made {
                    None => Answer::No,
                    Some((token, info)) => Answer::Yes { token: token.clone(), ends_at: info.ends_at },
                };
            })
        };
        match (taken, made) {
            (Some(()), _) => Ok(()),
            // Somebody else answered in between: what was made is nobody's.
            (None, Some((_, info))) => {
                self.close_session(info.id).await?;
                Err(IdentityError::UnknownDevice)
            }
            (None, None) => Err(IdentityError::UnknownDevice),
        }
    }

    /// A command line asks whether somebody has allowed it. What it gets, it gets once.
    pub fn poll_device(&self, code: &str) -> Polled {
        match self.devices.lock().ask(code, self.journal.now()) {
            None => Polled::Over,
            Some((Answer::None, true)) => Polled::TooSoon,
            Some((Answer::None, false)) => Polled::Waits,
            Some((Answer::No, _)) => Polled::Denied,
            Some((Answer::Yes { token, ends_at }, _)) => Polled::Allowed { token, ends_at },
        }
    }
}
