//! Passkeys: registered by a signed-in person, used for signing in and for signing votes, removed for good.

use super::{
    Author, Directory, Draft, readable,
    sessions::{Beginning, SessionInfo, SignedIn, Visitor},
};
use crate::{
    error::IdentityError,
    record::{Held, passkey::Passkey, person::Person},
    webauthn::{
        answer::{Authentication, Registration},
        creation_options, request_options,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{
    Assurance, CredentialId, Digest, PersonId, RefusalCode, SignIn, statement::Statement,
};
use countersign_engine::journal::Note;
use countersign_ledger::{
    CoseKey,
    assertion::{self, Expected},
    error::AssertionError,
    event::{Actor, Assertion, Event},
    registration,
};
use serde_json::Value;
use std::time::Duration;

/// Passkeys one person may have.
const MOST: usize = 16;
/// How long after signing in with a passkey a person may change their passkeys. A session that somebody stole later
/// is not enough to become that person for good.
const PROVEN_FOR: Duration = Duration::from_mins(5);
/// For how long after signing in somebody without a passkey may register one.
const FIRST_WITHIN: Duration = Duration::from_mins(30);

impl Directory {
    /// Options for `navigator.credentials.create()`. Its answer goes to [`Directory::finish_registration`].
    pub fn begin_registration(&self, session: &SessionInfo) -> Result<Value, IdentityError> {
        let relying_party = self.relying_party()?;
        let person = self.standing_person(session.person)?.doc;
        self.freshly_proven(session)?;
        let challenge = self.journal.random::<32>();
        let now = self.journal.now();
        let lasts = self.settings.ceremony;
        self.ceremonies.lock().begin_registration(session.id, challenge, now, now.plus(lasts));
        let memory = self.memory.read();
        let registered: Vec<&Passkey> = memory.passkeys_of(person.id).map(|held| &held.doc).collect();
        Ok(creation_options(relying_party, &person, &registered, &challenge, lasts))
    }

    /// Takes the browser's answer (`PublicKeyCredential.toJSON()`) and keeps the passkey under a name.
    pub async fn finish_registration(
        &self,
        session: &SessionInfo,
        name: &str,
        answer: &[u8],
    ) -> Result<CredentialId, IdentityError> {
        let _turn = self.writing.lock().await;
        let name = readable("a passkey's name", name)?;
        let person = self.still_signed_in(session)?;
        self.freshly_proven(session)?;
        let now = self.journal.now();
        let challenge = self.ceremonies.lock().take_registration(session.id, now);
        let challenge = challenge.ok_or(IdentityError::CeremonyOver)?;
        let relying_party = self.relying_party()?;
        let expected = Expected { challenge: &challenge, origin: &self.settings.origin, relying_party };
        let answer = Registration::parse(answer)?;
        let made = registration::verify(&expected, &answer.client_data_json, &answer.attestation_object)
            .map_err(IdentityError::Passkey)?;
        let credential_id = URL_SAFE_NO_PAD.encode(&made.credential_id);
        if credential_id != answer.credential_id {
            return Err(IdentityError::UnreadableAnswer("it names another credential than was made".into()));
        }
        {
            let memory = self.memory.read();
            if memory.credentials.contains_key(&credential_id) {
                return Err(IdentityError::PasskeyTaken);
            }
            if memory.passkeys_of(person).count() >= MOST {
                return Err(IdentityError::TooManyPasskeys(MOST));
            }
        }
        let passkey = Passkey {
            id: self.journal.id(CredentialId::from_parts),
            person,
            name,
            credential_id,
            public_key: URL_SAFE_NO_PAD.encode(&made.key_bytes),
            counter: made.authenticator.counter,
            transports: answer.transports,
            created_at: now,
            used_at: None,
        };
        let id = passkey.id;
        let event = Event::PasskeyRegistered {
            person,
            credential: id,
            credential_id: passkey.credential_id.clone(),
            public_key: passkey.public_key.clone(),
            relying_party: relying_party.to_owned(),
            origin: self.settings.origin.clone(),
        };
        let mut draft = Draft::default();
        draft.note(Note::new(Actor::Person { id: person }, event).private("name", passkey.name.as_str()));
        draft.insert(passkey)?;
        self.write(draft).await?;
        Ok(id)
    }

    /// Whether this session may change its person's passkeys: further ones only just after signing in with one, the first
    /// one only while the sign-in is not long ago, so that a session somebody got hold of does not become a passkey of theirs. Who lost theirs has an administrator remove it, and comes back by a new link.
    pub fn freshly_proven(&self, session: &SessionInfo) -> Result<(), IdentityError> {
        let has_one = self.memory.read().passkeys_of(session.person).next().is_some();
        let age = self.journal.now().since(session.opened_at);
        match has_one {
            false if age <= FIRST_WITHIN => Ok(()),
            false => Err(IdentityError::SignedInLongAgo),
            true if session.assurance == Assurance::Passkey && age <= PROVEN_FOR => Ok(()),
            true => Err(IdentityError::NotFresh),
        }
    }

    /// Removes a passkey for good: its owner, an administrator or the operator may. For an owner, whoever calls has
    /// asked [`Directory::freshly_proven`].
    pub async fn remove_passkey(&self, by: Author, credential: CredentialId) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let held = self.memory.read().passkeys.get(&credential).cloned();
        let owner = held.as_ref().map(|held| held.doc.person);
        if owner.is_none() || by.person() != owner {
            self.administrator(by)?;
        }
        let held = held.ok_or(IdentityError::UnknownCredential(credential))?;
        let mut draft = Draft::default();
        draft.delete(&held);
        draft.note(Note::new(by.actor(), Event::PasskeyRemoved { person: held.doc.person, credential }));
        self.write(draft).await
    }

    /// A person's passkeys, in the order they were registered.
    pub fn passkeys(&self, person: PersonId) -> Vec<Passkey> {
        self.memory.read().passkeys_of(person).map(|held| held.doc.clone()).collect()
    }

    /// Whose passkey this is.
    pub fn passkey_owner(&self, id: CredentialId) -> Option<PersonId> {
        self.memory.read().passkeys.get(&id).map(|held| held.doc.person)
    }

    /// Options for `navigator.credentials.get()` without naming anyone: the browser offers the passkeys it has, and
    /// the answer is the same for everybody.
    pub fn begin_sign_in(&self) -> Result<Value, IdentityError> {
        let lasts = self.settings.ceremony;
        let expires = self.journal.now().plus(lasts);
        let challenge = self.ceremonies.lock().sign_in_challenge(self.journal.random(), expires);
        Ok(request_options(self.relying_party()?, &[], &challenge, lasts))
    }

    /// Takes the browser's answer and signs its person in at assurance `passkey`, with a new token.
    pub async fn finish_sign_in(
        &self,
        answer: &[u8],
        visitor: &Visitor<'_>,
    ) -> Result<SignedIn, IdentityError> {
        let signed_in = self.sign_in(answer, visitor).await;
        self.counted(visitor.source, signed_in, |error| {
            matches!(
                error,
                IdentityError::UnknownPasskey
                    | IdentityError::Passkey(_)
                    | IdentityError::UnreadableAnswer(_)
                    | IdentityError::CeremonyOver
                    | IdentityError::ClonedPasskey
            )
        })
    }

    /// Options for `navigator.credentials.get()` whose challenge is the statement's: what the passkey signs is
    /// this vote and no other.
    pub fn begin_vote(&self, statement: &Statement) -> Result<Value, IdentityError> {
        let challenge = challenge_of(statement)?;
        let person = self.standing_person(statement.voter)?.doc.id;
        let memory = self.memory.read();
        let allowed: Vec<&Passkey> = memory.passkeys_of(person).map(|held| &held.doc).collect();
        if allowed.is_empty() {
            return Err(IdentityError::UnknownPasskey);
        }
        Ok(request_options(self.relying_party()?, &allowed, challenge.as_bytes(), self.settings.ceremony))
    }

    /// Checks that one of the voter's own passkeys signed this very statement, on our page, with the person
    /// verified. What comes back goes into the ledger with the vote. That the statement is current, and that its
    /// nonce is used once, is for whoever made the statement to check.
    pub async fn verify_vote(
        &self,
        statement: &Statement,
        answer: &[u8],
    ) -> Result<Assertion, IdentityError> {
        let challenge = challenge_of(statement)?;
        let answer = Authentication::parse(answer)?;
        let counter = self.verified(&answer, challenge.as_bytes())?;
        let _turn = self.writing.lock().await;
        let (held, person) = self.signer(&answer)?;
        if person.id != statement.voter || !person.can_vote() {
            return Err(IdentityError::UnknownPasskey);
        }
        let mut draft = Draft::default();
        self.count(&mut draft, &held, counter).await?;
        // Authenticators that do not count leave nothing to write.
        if counter != held.doc.counter {
            self.write(draft).await?;
        }
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Ok(Assertion {
            credential: held.doc.id,
            authenticator_data: encode(&answer.parts.authenticator_data),
            client_data_json: encode(&answer.parts.client_data_json),
            signature: encode(&answer.parts.signature),
        })
    }

    async fn sign_in(&self, answer: &[u8], visitor: &Visitor<'_>) -> Result<SignedIn, IdentityError> {
        let answer = Authentication::parse(answer)?;
        let now = self.journal.now();
        let genuine = self.ceremonies.lock().recognise(&answer.challenge, now);
        let genuine = genuine.ok_or(IdentityError::CeremonyOver)?;
        // A discoverable credential says whose it is (WebAuthn Level 3, section 7.2, step 6).
        if answer.user_handle.is_none() {
            return Err(IdentityError::UnknownPasskey);
        }
        let counter = self.verified(&answer, &answer.challenge)?;
        let _turn = self.writing.lock().await;
        let (held, person) = self.signer(&answer)?;
        if !self.is_vouched(&person, now) {
            return Err(IdentityError::ProviderFirst);
        }
        if !self.ceremonies.lock().answer(genuine, now) {
            return Err(IdentityError::CeremonyOver);
        }
        let mut draft = Draft::default();
        self.count(&mut draft, &held, counter).await?;
        if person.enrolled_at.is_none() {
            let held = self.standing_person(person.id)?;
            draft.replace(&held, Person { enrolled_at: Some(now), ..held.doc.clone() })?;
        }
        let beginning = Beginning {
            person: &person,
            assurance: Assurance::Passkey,
            provider: None,
            sid: None,
            sign_in: SignIn { proven_at: Some(self.journal.now()), ..SignIn::default() },
            visitor,
        };
        let signed_in = self.add_session(&mut draft, &beginning)?;
        self.write(draft).await?;
        Ok(signed_in)
    }

    /// The passkey an answer claims to come from, and its owner, if neither is gone and the user handle fits.
    fn signer(&self, answer: &Authentication) -> Result<(Held<Passkey>, Person), IdentityError> {
        let memory = self.memory.read();
        let id = memory.credentials.get(&answer.credential_id);
        let held = id.and_then(|id| memory.passkeys.get(id)).ok_or(IdentityError::UnknownPasskey)?;
        let person = memory.person(held.doc.person).filter(|person| !person.is_disabled());
        let person = person.ok_or(IdentityError::UnknownPasskey)?;
        if answer.user_handle.as_ref().is_some_and(|handle| *handle != person.handle) {
            return Err(IdentityError::UnknownPasskey);
        }
        Ok((held.clone(), person.clone()))
    }

    /// Verifies an answer over a challenge and returns the counter it came with. Wrong answers end here, before
    /// they could keep anyone's write waiting; afterwards the passkey has to be looked up again.
    fn verified(&self, answer: &Authentication, challenge: &[u8]) -> Result<u32, IdentityError> {
        let (held, _) = self.signer(answer)?;
        let relying_party = self.relying_party()?;
        let expected = Expected { challenge, origin: &self.settings.origin, relying_party };
        let verified = assertion::base64url("public_key", &held.doc.public_key)
            .and_then(|key| CoseKey::parse(&key))
            .and_then(|key| assertion::verify(&key, &expected, &answer.parts));
        verified.map(|authenticator| authenticator.counter).map_err(IdentityError::Passkey)
    }

    /// Takes the counter down. One that does not grow means a copy of the passkey (WebAuthn Level 3, section
    /// 6.1.1): that is recorded, and the answer is refused.
    async fn count(
        &self,
        draft: &mut Draft,
        held: &Held<Passkey>,
        counter: u32,
    ) -> Result<(), IdentityError> {
        let was = held.doc.counter;
        if (was, counter) != (0, 0) && counter <= was {
            let refused = Event::IntakeRefused { code: RefusalCode::Unauthenticated, count: 1, target: None };
            let note = Note::new(Actor::Person { id: held.doc.person }, refused)
                .private("reason", "a passkey's counter went backwards: there may be a copy of it")
                .private("credential", held.doc.id.to_string());
            self.write(Draft { notes: vec![note], ..Draft::default() }).await?;
            return Err(IdentityError::ClonedPasskey);
        }
        let used = Passkey { counter, used_at: Some(self.journal.now()), ..held.doc.clone() };
        draft.replace(held, used)
    }

    /// The session's person, if the session did not end since it was looked up.
    pub(super) fn still_signed_in(&self, session: &SessionInfo) -> Result<PersonId, IdentityError> {
        let now = self.journal.now();
        let memory = self.memory.read();
        let state = memory.sessions.get(&session.id).filter(|state| self.is_alive(state, now));
        let person = state.and_then(|state| memory.person(state.held.doc.person));
        let person = person.filter(|person| !person.is_disabled()).ok_or(IdentityError::NotSignedIn)?;
        Ok(person.id)
    }

    fn relying_party(&self) -> Result<&str, IdentityError> {
        self.settings.relying_party.as_deref().ok_or(IdentityError::NoRelyingParty)
    }
}

fn challenge_of(statement: &Statement) -> Result<Digest, IdentityError> {
    statement.challenge().map_err(|_| IdentityError::Passkey(AssertionError::Challenge))
}
