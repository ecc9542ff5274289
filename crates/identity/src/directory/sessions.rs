//! Sessions: opened only by a link or a passkey, each with a token of its own; ended by time, by their owner, or
//! with the person.

use super::{Author, Directory, Draft};
use crate::{
    error::IdentityError,
    memory::SessionState,
    record::{
        Held,
        person::{Person, Role},
        session::{Session, SessionId, Standing},
    },
    secret::{self, Secret, fingerprint},
};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{Assurance, GroupName, PersonId, SignIn, Timestamp, visible};
use countersign_engine::journal::Note;
use countersign_ledger::event::{Actor, Event};
use std::{collections::BTreeSet, net::IpAddr, sync::atomic::Ordering, time::Duration};
use subtle::ConstantTimeEq;

/// How much use of a session may go unwritten: after a restart it may seem idle for so much longer.
const UNWRITTEN: Duration = Duration::from_mins(10);
/// How old a cookie's token becomes before a page brings another.
const RENEWED_EVERY: Duration = Duration::from_mins(15);
/// How long the one before is good once the new one has come, for requests that were on their way.
const ON_THE_WAY: Duration = Duration::from_mins(1);

/// Somebody at the console who may become signed in.
#[derive(Clone, Copy)]
pub struct Visitor<'r> {
    /// Where they come from; behind a reverse proxy, what that proxy vouches for.
    pub source: IpAddr,
    pub user_agent: Option<&'r str>,
    /// The session cookie the request came with, if any: that session ends when the new one begins.
    pub cookie: Option<&'r str>,
}

impl std::fmt::Debug for Visitor<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Visitor").field("source", &self.source).finish_non_exhaustive()
    }
}

/// A session that has just begun.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// For the cookie: [`crate::CookieRule::set`]. Not kept here.
    pub token: Secret,
    pub session: SessionInfo,
}

/// Who sits at the console.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    pub id: SessionId,
    pub person: PersonId,
    pub name: String,
    pub role: Role,
    pub groups: BTreeSet<GroupName>,
    /// How they signed in. A vote has an assurance of its own: only [`Directory::verify_vote`] makes it `passkey`.
    pub assurance: Assurance,
    /// The provider they came through; `None`: a link or a passkey.
    pub provider: Option<String>,
    /// When and how they proved who they are.
    pub sign_in: SignIn,
    /// To be written into every form and demanded back with every write; good for this session only.
    pub csrf: Secret,
    pub opened_at: Timestamp,
    /// It only reads: neither votes nor changes come from it.
    pub reading: bool,
    /// When it ends even if it is used.
    pub ends_at: Timestamp,
}

impl SessionInfo {
    /// Whether a request carries this session's CSRF token. Takes as long for a near miss as for any other.
    pub fn csrf_matches(&self, presented: &str) -> bool {
        self.csrf.reveal().as_bytes().ct_eq(presented.as_bytes()).into()
    }
}

/// An open session, as its owner sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    pub id: SessionId,
    /// It only reads; what its owner calls it.
    pub reading: Option<String>,
    pub user_agent: Option<String>,
    pub provider: Option<String>,
    pub opened_at: Timestamp,
    pub seen_at: Timestamp,
}

/// A session about to begin.
pub(super) struct Beginning<'r> {
    pub(super) person: &'r Person,
    pub(super) assurance: Assurance,
    /// The provider they came through.
    pub(super) provider: Option<&'r str>,
    /// The provider's own name for its session.
    pub(super) sid: Option<&'r str>,
    pub(super) sign_in: SignIn,
    pub(super) visitor: &'r Visitor<'r>,
}

impl Directory {
    /// The session a cookie stands for, and keeps it from idling out. Where a token comes that the browser gave up a while ago,
    /// it is in two hands: the session ends.
    pub async fn session(&self, cookie: &str) -> Result<SessionInfo, IdentityError> {
        let (id, standing) = self.standing(cookie).ok_or(IdentityError::NotSignedIn)?;
        if self.is_copy(id, standing) {
            self.close_copied(id).await?;
            return Err(IdentityError::NotSignedIn);
        }
        self.open_session(id).await
    }

    /// A new token for the cookie's session, where its own is old enough. The old one is good until the new one has come, and a
    /// moment longer; an answer that was lost costs nobody their session.
    pub async fn renew_session(&self, cookie: &str) -> Result<Option<Secret>, IdentityError> {
        if self.renewable(cookie).is_none() {
            return Ok(None);
        }
        // Whoever is writing would make a page wait; then the next one renews it.
        let Ok(_turn) = self.writing.try_lock() else { return Ok(None) };
        let Some((held, presented)) = self.renewable(cookie) else { return Ok(None) };
        let (now, token) = (self.journal.now(), Secret::of_bytes(&self.journal.random()));
        let mut draft = Draft::default();
        draft.replace(&held, held.doc.renewed(fingerprint(token.reveal()), presented, now))?;
        self.write(draft).await?;
        Ok(Some(token))
    }

    /// The cookie's session where it may have another token; and whether the browser has the present one.
    fn renewable(&self, cookie: &str) -> Option<(Held<Session>, bool)> {
        let (id, standing) = self.standing(cookie)?;
        let now = self.journal.now();
        let memory = self.memory.read();
        let state = memory.sessions.get(&id).filter(|state| self.is_alive(state, now))?;
        let presented = match standing {
            Standing::Current => true,
            Standing::Before if state.presented.load(Ordering::Relaxed) == 0 => false,
            Standing::Before | Standing::Spent => return None,
        };
        (now.since(state.held.doc.token_since()) >= RENEWED_EVERY).then(|| (state.held.clone(), presented))
    }

    /// Which session a cookie's token is of, and what it is to it. Takes down that the present one has come.
    fn standing(&self, cookie: &str) -> Option<(SessionId, Standing)> {
        let token = secret::has_shape(cookie).then(|| fingerprint(cookie))?;
        let memory = self.memory.read();
        let id = *memory.session_tokens.get(&token)?;
        let state = memory.sessions.get(&id)?;
        let standing = state.held.doc.standing(token)?;
        if standing == Standing::Current {
            let now = self.journal.now().0;
            let _ = state.presented.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        Some((id, standing))
    }

    /// Whether a token is one that the browser does not use any more.
    fn is_copy(&self, session: SessionId, standing: Standing) -> bool {
        let memory = self.memory.read();
        let Some(state) = memory.sessions.get(&session) else { return false };
        let now = self.journal.now();
        let presented = state.presented.load(Ordering::Relaxed);
        self.is_alive(state, now)
            && match standing {
                Standing::Current => false,
                Standing::Before => presented != 0 && now > Timestamp(presented).plus(ON_THE_WAY),
                Standing::Spent => true,
            }
    }

    /// Ends a session of whose token there is a copy.
    async fn close_copied(&self, session: SessionId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.memory.read().sessions.get(&session).map(|state| state.held.clone());
        let Some(held) = held else { return Ok(()) };
        let person = held.doc.person;
        let mut draft = Draft::default();
        draft.delete(&held);
        let note = Note::new(Actor::Gateway, Event::SessionClosed { person, everywhere: false });
        draft.note(
            note.private("reason", "a token was used after it had been renewed: there may be a copy of it"),
        );
        self.write(draft).await
    }

    pub(super) async fn open_session(&self, id: SessionId) -> Result<SessionInfo, IdentityError> {
        let now = self.journal.now();
        let (info, written) = self.see(id, now).ok_or(IdentityError::NotSignedIn)?;
        if now.since(written) >= UNWRITTEN
            && let Err(error) = self.write_seen(id, now).await
        {
            // Being read is no reason to refuse: a full disk must not lock people out of the console.
            tracing::warn!(%error, "a session's use could not be written down");
        }
        Ok(info)
    }

    /// A person's open sessions, the newest first.
    pub fn sessions(&self, person: PersonId) -> Vec<OpenSession> {
        let now = self.journal.now();
        let memory = self.memory.read();
        let states = memory.sessions.values().filter(|state| state.held.doc.person == person);
        let alive = states.filter(|state| self.is_alive(state, now));
        let mut open: Vec<OpenSession> = alive
            .map(|state| OpenSession {
                id: state.held.doc.id,
                reading: state.held.doc.reading.clone(),
                user_agent: state.held.doc.user_agent.clone(),
                provider: state.held.doc.provider.clone(),
                opened_at: state.held.doc.opened_at,
                seen_at: state.seen(),
            })
            .collect();
        open.sort_by_key(|session| (std::cmp::Reverse(session.opened_at), session.id));
        open
    }

    /// Ends one of a person's own sessions; another's is not found.
    pub async fn close_own_session(&self, session: &SessionInfo, id: &str) -> Result<(), IdentityError> {
        let own = self.sessions(session.person).into_iter().find(|open| open.id.to_string() == id);
        self.close_session(own.ok_or(IdentityError::UnknownSession)?.id).await
    }

    /// Whether a session is still good; asking does not keep it from idling out.
    pub fn is_open(&self, session: SessionId) -> bool {
        let now = self.journal.now();
        let memory = self.memory.read();
        let alive = memory.sessions.get(&session).filter(|state| self.is_alive(state, now));
        alive
            .and_then(|state| memory.person(state.held.doc.person))
            .is_some_and(|person| !person.is_disabled())
    }

    /// Ends one session, as its owner signing out.
    pub async fn close_session(&self, session: SessionId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.memory.read().sessions.get(&session).map(|state| state.held.clone());
        let Some(held) = held else { return Ok(()) };
        let mut draft = Draft::default();
        close(&mut draft, &held);
        self.write(draft).await
    }

    /// Ends all of a person's sessions, and what tells their devices: by themself, an administrator or the operator.
    pub async fn close_all_sessions(&self, by: Author, person: PersonId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        if by.person() != Some(person) {
            self.administrator(by)?;
        }
        let mut draft = Draft::default();
        self.memory.read().sessions_of(person).for_each(|session| draft.delete(session));
        if !draft.changes.is_empty() {
            draft.note(Note::new(by.actor(), Event::SessionClosed { person, everywhere: true }));
        }
        // Whoever lost a phone signs out everywhere, and nothing is to be shown on it any more.
        Self::end_subscriptions(&self.memory.read(), &mut draft, &by.actor(), person);
        if draft.changes.is_empty() {
            return Ok(());
        }
        self.write(draft).await
    }

    pub(super) fn is_alive(&self, state: &SessionState, now: Timestamp) -> bool {
        let (idle, most) = match &state.held.doc.reading {
            None => (self.settings.session_idle, self.settings.session_end),
            Some(_) => (self.settings.reading_idle, self.settings.reading_end),
        };
        now < state.seen().plus(idle) && now < state.held.doc.opened_at.plus(most)
    }

    /// Draws a token nobody knew before this sign-in and adds its session. What the visitor came with ends.
    pub(super) fn add_session(
        &self,
        draft: &mut Draft,
        beginning: &Beginning<'_>,
    ) -> Result<SignedIn, IdentityError> {
        let now = self.journal.now();
        let Beginning { person, assurance, provider, sid, ref sign_in, visitor } = *beginning;
        self.end_before(draft, person.id, visitor, now);
        let token = Secret::of_bytes(&self.journal.random());
        let agent = visitor.user_agent.map(|agent| agent.chars().take(256).collect::<String>());
        let session = Session {
            id: SessionId(fingerprint(token.reveal())),
            renewed: None,
            form_seed: Some(Secret::of_bytes(&self.journal.random()).reveal().to_owned()),
            person: person.id,
            assurance,
            provider: provider.map(str::to_owned),
            sid: sid.map(str::to_owned),
            sign_in: sign_in.clone(),
            reading: None,
            opened_at: now,
            seen_at: now,
            user_agent: agent.map(|agent| visible::one_line(&agent)),
        };
        let event = Event::SessionOpened { person: person.id, assurance, reading: false };
        let mut note = Note::new(Actor::Person { id: person.id }, event);
        if let Some(agent) = &session.user_agent {
            note = note.private("user_agent", agent.as_str());
        }
        if let Some(provider) = provider {
            note = note.private("provider", provider);
        }
        draft.note(note);
        let info = self.info(person, &session);
        draft.insert(session)?;
        Ok(SignedIn { token, session: info })
    }

    /// Ends the session the visitor came with, and sweeps away what the person left to lapse.
    fn end_before(&self, draft: &mut Draft, person: PersonId, visitor: &Visitor<'_>, now: Timestamp) {
        let memory = self.memory.read();
        let token = visitor.cookie.filter(|cookie| secret::has_shape(cookie)).map(fingerprint);
        let before = token.and_then(|token| memory.session_tokens.get(&token));
        let before = before.and_then(|id| memory.sessions.get(id));
        if let Some(state) = before.filter(|state| self.is_alive(state, now)) {
            close(draft, &state.held);
        }
        let lapsed = |state: &&SessionState| state.held.doc.person == person && !self.is_alive(state, now);
        for state in memory.sessions.values().filter(lapsed) {
            draft.delete(&state.held);
        }
    }

    /// Looks a session up and marks it used. With it comes when its use was last written down.
    pub(super) fn see(&self, id: SessionId, now: Timestamp) -> Option<(SessionInfo, Timestamp)> {
        let memory = self.memory.read();
        let state = memory.sessions.get(&id).filter(|state| self.is_alive(state, now))?;
        let person = memory.person(state.held.doc.person).filter(|person| !person.is_disabled())?;
        state.seen.fetch_max(now.0, Ordering::Relaxed);
        Some((self.info(person, &state.held.doc), state.held.doc.seen_at))
    }

    pub(super) async fn write_seen(&self, id: SessionId, now: Timestamp) -> Result<(), IdentityError> {
        // Whoever is writing makes this wait; then the next request writes it.
        let Ok(_turn) = self.writing.try_lock() else { return Ok(()) };
        let held = self.memory.read().sessions.get(&id).map(|state| state.held.clone());
        let Some(held) = held else { return Ok(()) };
        let mut draft = Draft::default();
        draft.replace(&held, Session { seen_at: now, ..held.doc.clone() })?;
        self.write(draft).await
    }

    pub(super) fn info(&self, person: &Person, session: &Session) -> SessionInfo {
        SessionInfo {
            id: session.id,
            person: person.id,
            name: person.name.clone(),
            role: person.role,
            groups: person.groups.intersection(&self.groups).cloned().collect(),
            assurance: session.assurance,
            provider: session.provider.clone(),
            sign_in: session.sign_in.clone(),
            csrf: csrf_token(session),
            opened_at: session.opened_at,
            reading: session.reading.is_some(),
            ends_at: session.opened_at.plus(match session.reading {
                None => self.settings.session_end,
                Some(_) => self.settings.reading_end,
            }),
        }
    }
}

fn close(draft: &mut Draft, held: &Held<Session>) {
    let person = held.doc.person;
    draft.delete(held);
    draft.note(Note::new(Actor::Person { id: person }, Event::SessionClosed { person, everywhere: false }));
}

/// Derived from what only the session's record holds: it stays the same when the session's token is renewed, and no other session's
/// gives it.
fn csrf_token(session: &Session) -> Secret {
    let seed = session.form_seed.clone().unwrap_or_else(|| session.id.to_string());
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed.as_bytes());
    Secret::new(URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"countersign/csrf/v1")))
}
