//! People who come through a provider: who they are here, how they come to be, and which accounts of theirs are linked.
//!
//! An account is linked once and then speaks for its person by the provider's own subject; an address alone never does.
//! By address it is linked only to somebody who was invited under it and has never come in, so that no provider gives
//! anybody the place of a person who is here already.

use super::{
    Directory, Draft, readable,
    sessions::{Beginning, SessionInfo, SignedIn, Visitor},
};
use crate::{
    error::IdentityError,
    issuer::keyring::NotVouched,
    record::{
        Held,
        person::{Account, Person, Role, pairs},
        session::SessionId,
    },
    secret::{Secret, fingerprint},
    sign_in::{
        Known, Provider,
        exchange::{ExchangeError, Vouched},
        flow::Flow,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{Assurance, Digest, GroupName, PersonId, SignInTerms, Timestamp};
use countersign_engine::{journal::Note, port::identity::Introduction};
use countersign_ledger::event::{Actor, Event};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use subtle::ConstantTimeEq;

/// How long a person may take at their provider.
const LASTS: Duration = Duration::from_mins(10);
/// The longest path a sign-in may lead to.
const LONGEST_NEXT: usize = 512;
/// Accounts one person may have linked.
const MOST: usize = 8;

/// A provider as the sign-in page shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    pub name: String,
    pub label: String,
}

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub location: String,
    /// For the cookie that brings the flow back: [`crate::CookieRule::set_flow`].
    pub flow: Secret,
}

/// What a browser brings back from a provider.
#[derive(Clone, Copy)]
pub struct Answer<'r> {
    pub state: Option<&'r str>,
    pub code: Option<&'r str>,
    /// Who answers (RFC 9207).
    pub issuer: Option<&'r str>,
    /// The provider's own word for why not.
    pub error: Option<&'r str>,
    /// The value of the flow's cookie.
    pub flow: Option<&'r str>,
}

impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Answer(…)")
    }
}

/// What a flow is for, beside signing in.
#[derive(Default)]
struct Wanted {
    terms: Option<SignInTerms>,
    linking: Option<SessionId>,
}

/// What came of it.
#[derive(Debug)]
pub enum Arrived {
    SignedIn { signed_in: Box<SignedIn>, next: String },
    Linked { next: String },
}

impl Directory {
    /// The providers people can sign in with.
    pub fn offered(&self) -> Vec<Offered> {
        let one = |provider: &Provider| Offered {
            name: provider.issuer.name.clone(),
            label: provider.label.clone(),
        };
        self.providers.all().map(one).collect()
    }

    /// The same, with when this person linked an account there.
    pub fn offered_to(&self, person: PersonId) -> Vec<(Offered, Option<Timestamp>)> {
        let accounts = self.person(person).map(|person| person.accounts).unwrap_or_default();
        let linked = |provider: &Provider| {
            let found = accounts.iter().find(|account| account.issuer == provider.issuer.issuer);
            found.map(|account| account.linked_at)
        };
        self.offered().into_iter().zip(self.providers.all().map(linked)).collect()
    }

    /// Sends a browser to a provider, to come back to `next`, a path of ours.
    pub async fn begin_with_provider(&self, provider: &str, next: &str) -> Result<Begun, IdentityError> {
        self.begin_flow(provider, next, Wanted::default()).await
    }

    /// The same for a sign-in that is as recent and as strong as a gate asks: a person proves themself anew.
    pub async fn begin_again(
        &self,
        provider: &str,
        next: &str,
        terms: &SignInTerms,
    ) -> Result<Begun, IdentityError> {
        let words = terms.acr.iter().chain(&terms.amr);
        if terms.acr.len() + terms.amr.len() > MOST || words.into_iter().any(|word| word.len() > 200) {
            return Err(IdentityError::SignInOver);
        }
        self.begin_flow(provider, next, Wanted { terms: Some(terms.clone()), linking: None }).await
    }

    /// The same for somebody who is signed in and links an account. Whoever may change their passkeys may.
    pub async fn begin_linking(&self, session: &SessionInfo, provider: &str) -> Result<Begun, IdentityError> {
        self.freshly_proven(session)?;
        self.begin_flow(provider, "/account", Wanted { terms: None, linking: Some(session.id) }).await
    }

    /// Whether somebody who comes through a provider was vouched for by one not too long ago. Whoever has left it keeps
    /// their passkey and their users in channels, and nobody tells us. A directory that speaks for them would. An account
    /// they unlinked counts on: it would be the way to stay.
    pub(super) fn is_vouched(&self, person: &Person, now: Timestamp) -> bool {
        let known = |account: &&Account| self.providers.all().any(|one| one.issuer.issuer == account.issuer);
        let last = person.accounts.iter().filter(known).map(Account::vouched).chain(person.unlinked).max();
        person.provisioned.is_some() || last.is_none_or(|last| now < last.plus(self.settings.provider_again))
    }

    /// Takes what a browser brings back. It counts once, in the browser that began, from the provider it was sent to.
    pub async fn finish_with_provider(
        &self,
        provider: &str,
        answer: &Answer<'_>,
        visitor: &Visitor<'_>,
    ) -> Result<Arrived, IdentityError> {
        let arrived = self.arrive(provider, answer, visitor).await;
        self.counted(visitor.source, arrived, |error| {
            matches!(
                error,
                IdentityError::SignInOver
                    | IdentityError::UnknownProvider
                    | IdentityError::NotVouched(_)
                    | IdentityError::NotInvited
            )
        })
    }

    /// Takes an account from its person: by themself, just after proving who they are.
    pub async fn unlink_account(&self, session: &SessionInfo, provider: &str) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        self.freshly_proven(session)?;
        let issuer = &self.provider(provider)?.provider.issuer.issuer;
        let held = self.standing_person(session.person)?;
        let mut changed = held.doc.clone();
        let of_it = |account: &Account| account.issuer == *issuer;
        let Some(vouched) = held.doc.accounts.iter().filter(|one| of_it(one)).map(Account::vouched).max()
        else {
            return Ok(());
        };
        changed.accounts.retain(|account| !of_it(account));
        changed.unlinked = changed.unlinked.max(Some(vouched));
        let mut draft = Draft::default();
        let event = Event::AccountUnlinked { person: session.person, provider: provider.to_owned() };
        draft.note(Note::new(Actor::Person { id: session.person }, event));
        // What it said of them is nobody's word any more.
        let provider = &self.provider(provider)?.provider;
        let person = session.person;
        changed.attributes.retain(|name, _| !provider.attributes.contains_key(name));
        if changed.attributes != held.doc.attributes {
            draft.note(Note::new(Actor::Gateway, Event::PersonAttributesChanged { person }));
        }
        let spoken_for: BTreeSet<&GroupName> = provider.groups.values().collect();
        changed.groups.retain(|group| !spoken_for.contains(group));
        let removed: BTreeSet<GroupName> = held.doc.groups.difference(&changed.groups).cloned().collect();
        if !removed.is_empty() {
            let event = Event::PersonGroupsChanged { person, added: BTreeSet::new(), removed };
            draft.note(Note::new(Actor::Gateway, event));
        }
        draft.replace(&held, changed)?;
        self.write(draft).await
    }

    /// Where to end the provider's own session too, if it offers that (OpenID Connect RP-Initiated Logout 1.0).
    pub async fn provider_sign_out(&self, session: &SessionInfo) -> Option<String> {
        let known = self.providers.find(session.provider.as_deref()?)?;
        let metadata = known.described.get(&known.provider.issuer, self.journal.now()).await.ok()?;
        let mut url = metadata.end_session.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &known.provider.client_id)
            .append_pair("post_logout_redirect_uri", &format!("{}/sign-in", self.settings.origin));
        Some(url.into())
    }

    /// The address a provider sends browsers back to. Each has one of its own, so that none answers in another's place.
    fn redirect(&self, provider: &Provider) -> String {
        format!("{}/sign-in/{}/back", self.settings.origin, provider.issuer.name)
    }

    fn provider(&self, name: &str) -> Result<&Known, IdentityError> {
        self.providers.find(name).ok_or(IdentityError::UnknownProvider)
    }

    async fn begin_flow(
        &self,
        provider: &str,
        next: &str,
        Wanted { terms, linking }: Wanted,
    ) -> Result<Begun, IdentityError> {
        let known = self.provider(provider)?;
        let provider = &known.provider;
        let now = self.journal.now();
        let metadata =
            known.described.get(&provider.issuer, now).await.map_err(|error| away(provider, &error))?;
        let text = || URL_SAFE_NO_PAD.encode(self.journal.random::<32>());
        let next = if is_ours(next) { next } else { "/" };
        let flow = Flow {
            provider: provider.issuer.name.clone(),
            state: text(),
            nonce: text(),
            verifier: text(),
            ends: now.plus(LASTS),
            next: next.to_owned(),
            linking,
            within_s: terms.as_ref().and_then(|terms| terms.within_s),
        };
        let challenge = URL_SAFE_NO_PAD.encode(Digest::of(flow.verifier.as_bytes()).as_bytes());
        let mut location = metadata.authorization.clone();
        let scopes: Vec<&str> = provider.scopes.iter().map(String::as_str).collect();
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", &self.redirect(provider))
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", &flow.state)
            .append_pair("nonce", &flow.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let asked = terms.as_ref().map(|terms| &terms.acr).filter(|acr| !acr.is_empty());
        let acr: Vec<&str> = asked.unwrap_or(&provider.acr).iter().map(String::as_str).collect();
        if !acr.is_empty() {
            location.query_pairs_mut().append_pair("acr_values", &acr.join(" "));
        }
        let within = [provider.max_age.map(|longest| longest.as_secs()), flow.within_s];
        if let Some(longest) = within.into_iter().flatten().min() {
            location.query_pairs_mut().append_pair("max_age", &longest.to_string());
        }
        if terms.is_some() {
            // Not whoever happens to be signed in there: the person proves themself again.
            location.query_pairs_mut().append_pair("prompt", "login");
        }
        let sealed = self.providers.sealer.seal(&flow, self.journal.random());
        Ok(Begun { location: location.into(), flow: Secret::new(sealed.ok_or(IdentityError::SignInOver)?) })
    }

    async fn arrive(
        &self,
        provider: &str,
        answer: &Answer<'_>,
        visitor: &Visitor<'_>,
    ) -> Result<Arrived, IdentityError> {
        let known = self.provider(provider)?;
        let provider = &known.provider;
        let now = self.journal.now();
        let flow = answer.flow.and_then(|sealed| self.providers.sealer.open(sealed, now));
        let flow = flow.ok_or(IdentityError::SignInOver)?;
        let same = |said: &str| bool::from(said.as_bytes().ct_eq(flow.state.as_bytes()));
        if flow.provider != provider.issuer.name || !answer.state.is_some_and(same) {
            return Err(IdentityError::SignInOver);
        }
        let metadata =
            known.described.get(&provider.issuer, now).await.map_err(|error| away(provider, &error))?;
        // RFC 9207, section 2.4: an answer of another provider than the one that was asked is a mix-up.
        let named = answer.issuer.map(|issuer| issuer == provider.issuer.issuer);
        if named == Some(false) || (metadata.names_itself && named.is_none()) {
            return Err(IdentityError::NotVouched("the answer comes from another provider"));
        }
        if let Some(error) = answer.error {
            return Err(match error {
                "access_denied" => IdentityError::NotVouched("the provider did not let you in"),
                "login_required" | "interaction_required" | "unmet_authentication_requirements" => {
                    IdentityError::NotVouched("the provider wants you to sign in there anew")
                }
                _ => IdentityError::NotVouched("the provider could not sign you in"),
            });
        }
        let code = answer.code.ok_or(IdentityError::SignInOver)?;
        // Once: whatever comes of it, this flow is over.
        if !self.providers.take(fingerprint(&flow.state), flow.ends, now) {
            return Err(IdentityError::SignInOver);
        }
        let clock = || self.journal.now();
        let redirect = self.redirect(provider);
        let vouched = known.redeem(&metadata, &flow, code, &redirect, clock).await;
        let vouched = vouched.map_err(|error| refused(provider, &error))?;
        match flow.linking {
            None => {
                let signed_in = self.come_in(provider, &vouched, visitor).await?;
                Ok(Arrived::SignedIn { signed_in: Box::new(signed_in), next: flow.next })
            }
            Some(session) => {
                self.link(provider, &vouched, session).await?;
                Ok(Arrived::Linked { next: flow.next })
            }
        }
    }

    async fn come_in(
        &self,
        provider: &Provider,
        vouched: &Vouched,
        visitor: &Visitor<'_>,
    ) -> Result<SignedIn, IdentityError> {
        let _turn = self.writing.lock().await;
        let now = self.journal.now();
        let account = account(provider, vouched, now);
        let mut draft = Draft::default();
        let linked = self.memory.read().accounts.get(&account.key()).copied();
        let (held, mut person) = match linked {
            Some(person) => {
                let held = self.standing_person(person).map_err(|_| IdentityError::NotInvited)?;
                let person = held.doc.clone();
                (Some(held), person)
            }
            None => self.newcomer(&mut draft, provider, vouched, account)?,
        };
        for own in person.accounts.iter_mut().filter(|own| own.issuer == provider.issuer.issuer) {
            own.vouched_at = Some(now);
        }
        self.follow_groups(&mut draft, provider, vouched, &mut person);
        follow_attributes(&mut draft, provider, vouched, &mut person);
        if person.enrolled_at.is_none() {
            person.enrolled_at = Some(now);
        }
        let beginning = Beginning {
            person: &person,
            assurance: Assurance::Session,
            provider: Some(&provider.issuer.name),
            sid: vouched.sid.as_deref(),
            sign_in: vouched.sign_in.clone(),
            visitor,
        };
        let signed_in = self.add_session(&mut draft, &beginning)?;
        match held {
            Some(held) if held.doc == person => {}
            Some(held) => draft.replace(&held, person)?,
            None => draft.insert(person)?,
        }
        self.write(draft).await?;
        Ok(signed_in)
    }

    /// Who comes with an account that nobody has linked: somebody invited under its address who was never here, or,
    /// where the configuration says so, somebody new.
    fn newcomer(
        &self,
        draft: &mut Draft,
        provider: &Provider,
        vouched: &Vouched,
        account: Account,
    ) -> Result<(Option<Held<Person>>, Person), IdentityError> {
        let email = vouched.email.clone().ok_or(IdentityError::NotInvited)?;
        let known = self.memory.read().emails.get(&email).copied();
        let mut linked = |person: PersonId| {
            let event = Event::AccountLinked { person, provider: provider.issuer.name.clone() };
            let note = Note::new(Actor::Person { id: person }, event);
            draft.note(note.private("subject", vouched.subject.as_str()));
        };
        if let Some(person) = known {
            let held = self.standing_person(person).map_err(|_| IdentityError::NotInvited)?;
            // Whoever is here already says so themself, signed in: an address is no proof against them.
            if held.doc.enrolled_at.is_some() || self.memory.read().passkeys_of(person).next().is_some() {
                return Err(IdentityError::LinkFirst);
            }
            linked(person);
            let mut person = held.doc.clone();
            person.accounts.push(account);
            self.memory.read().links_of(person.id).for_each(|link| draft.delete(link));
            return Ok((Some(held), person));
        }
        let first = self.settings.administrators.contains(&email);
        if !provider.admits && !first {
            return Err(IdentityError::NotInvited);
        }
        let now = self.journal.now();
        let called = vouched.name.as_deref().and_then(|name| readable("a name", name).ok());
        let person = Person {
            id: self.journal.id(PersonId::from_parts),
            name: called.unwrap_or_else(|| email.local().to_owned()),
            email,
            role: if first { Role::Administrator } else { Role::Reviewer },
            groups: BTreeSet::new(),
            introductions: vec![Introduction { by: None, at: now, group: None }],
            removals: Vec::new(),
            former_emails: BTreeSet::new(),
            attributes: BTreeMap::new(),
            on_call: BTreeMap::new(),
            handle: URL_SAFE_NO_PAD.encode(self.journal.random::<32>()),
            accounts: vec![account],
            unlinked: None,
            bindings: Vec::new(),
            delegations: Vec::new(),
            provisioned: None,
            signalled: None,
            distrusted: None,
            invited_at: now,
            enrolled_at: None,
            disabled_at: None,
        };
        linked(person.id);
        let event = Event::PersonInvited { person: person.id, groups: BTreeSet::new() };
        let note = Note::new(Actor::Gateway, event)
            .private("name", person.name.as_str())
            .private("email", person.email.as_str())
            .private("role", person.role.as_str());
        draft.notes.insert(0, note);
        Ok((None, person))
    }

    /// The groups a provider speaks for are as it says: put into, and taken out of.
    fn follow_groups(&self, draft: &mut Draft, provider: &Provider, vouched: &Vouched, person: &mut Person) {
        let spoken_for: BTreeSet<&GroupName> = provider.groups.values().collect();
        let said = provider.groups.iter().filter(|(theirs, _)| vouched.groups.contains(*theirs));
        let said: BTreeSet<&GroupName> =
            said.map(|(_, ours)| ours).filter(|group| self.groups.contains(*group)).collect();
        let added: BTreeSet<GroupName> = said
            .iter()
            .filter(|group| !person.groups.contains(**group))
            .map(|group| (*group).clone())
            .collect();
        let gone = person.groups.iter().filter(|group| spoken_for.contains(group) && !said.contains(group));
        let removed: BTreeSet<GroupName> = gone.cloned().collect();
        if added.is_empty() && removed.is_empty() {
            return;
        }
        let now = self.journal.now();
        for group in &added {
            person.introduce(Introduction { by: None, at: now, group: Some(group.clone()) });
        }
        person.groups.retain(|group| !removed.contains(group));
        person.groups.extend(added.iter().cloned());
        let event = Event::PersonGroupsChanged { person: person.id, added, removed };
        draft.note(Note::new(Actor::Gateway, event).private("provider", provider.issuer.name.as_str()));
    }

    async fn link(
        &self,
        provider: &Provider,
        vouched: &Vouched,
        session: SessionId,
    ) -> Result<(), IdentityError> {
        let _turn = self.writing.lock().await;
        let now = self.journal.now();
        let person = {
            let memory = self.memory.read();
            let state = memory.sessions.get(&session).filter(|state| self.is_alive(state, now));
            state.map(|state| state.held.doc.person).ok_or(IdentityError::NotSignedIn)?
        };
        let held = self.standing_person(person).map_err(|_| IdentityError::NotSignedIn)?;
        let account = account(provider, vouched, now);
        let owner = self.memory.read().accounts.get(&account.key()).copied();
        match owner {
            Some(owner) if owner == person => return Ok(()),
            Some(_) => return Err(IdentityError::AccountTaken),
            None => {}
        }
        // One account of a provider for each person: otherwise one person could stand in for another's sign-in there.
        if held.doc.accounts.iter().any(|known| known.issuer == account.issuer) {
            return Err(IdentityError::AccountTaken);
        }
        if held.doc.accounts.len() >= MOST {
            return Err(IdentityError::AccountTaken);
        }
        let mut changed = held.doc.clone();
        changed.accounts.push(account);
        let event = Event::AccountLinked { person, provider: provider.issuer.name.clone() };
        let mut draft = Draft::default();
        let note = Note::new(Actor::Person { id: person }, event);
        draft.note(note.private("subject", vouched.subject.as_str()));
        draft.replace(&held, changed)?;
        self.write(draft).await
    }
}

/// Whether this is a path on this origin: nothing a browser would take for another host.
pub fn is_ours(path: &str) -> bool {
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    plain && path.starts_with('/') && !path.starts_with("//") && path.len() <= LONGEST_NEXT
}

fn account(provider: &Provider, vouched: &Vouched, now: Timestamp) -> Account {
    let issuer = provider.issuer.issuer.clone();
    Account { issuer, subject: vouched.subject.clone(), linked_at: now, vouched_at: None }
}

fn away(provider: &Provider, error: &dyn std::error::Error) -> IdentityError {
    tracing::warn!(provider = provider.issuer.name, %error, "a provider cannot be used");
    IdentityError::ProviderAway
}

fn refused(provider: &Provider, error: &ExchangeError) -> IdentityError {
    match error {
        ExchangeError::Unsound(why) | ExchangeError::NotVouched(NotVouched::Unsound(why)) => {
            tracing::warn!(provider = provider.issuer.name, why = why.0, "an ID token was refused");
            IdentityError::NotVouched(why.0)
        }
        ExchangeError::Refused => IdentityError::NotVouched("the provider did not take its own code"),
        ExchangeError::NoToken => IdentityError::NotVouched("the provider's answer holds no ID token"),
        ExchangeError::Outward(_)
        | ExchangeError::Secret(_)
        | ExchangeError::NotVouched(NotVouched::NoKeys) => away(provider, error),
    }
}

/// What a provider says of a person replaces what it said before.
fn follow_attributes(draft: &mut Draft, provider: &Provider, vouched: &Vouched, person: &mut Person) {
    let mut said = person.attributes.clone();
    for (name, values) in &vouched.attributes {
        if values.is_empty() {
            said.remove(name);
        } else {
            said.insert(name.clone(), values.clone());
        }
    }
    if said == person.attributes {
        return;
    }
    let note = Note::new(Actor::Gateway, Event::PersonAttributesChanged { person: person.id });
    let told: Vec<String> = pairs(&said).into_iter().collect();
    draft
        .note(note.private("provider", provider.issuer.name.as_str()).private("attributes", told.join("\n")));
    person.attributes = said;
}
