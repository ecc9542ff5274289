//! A provider ends sessions that it began (OpenID Connect Back-Channel Logout 1.0): whoever is signed out there, or has
//! left, is signed out here at once.

use super::{Directory, Draft};
use crate::{
    error::IdentityError,
    issuer::{claims, keyring::NotVouched},
    jose::Unsound,
    record::person::Account,
    secret::fingerprint,
};
use countersign_core::PersonId;
use countersign_engine::journal::Note;
use countersign_ledger::event::{Actor, Event};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, net::IpAddr};

/// What a logout token says has happened.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Whose sessions end.
struct Ends<'c> {
    subject: Option<&'c str>,
    /// The provider's own name for its session; without it all of the subject's end.
    sid: Option<&'c str>,
    /// Names the token, which counts once.
    id: &'c str,
}

impl Directory {
    /// Ends the sessions a provider's logout token names, and says how many. Only under the provider's signature, for this
    /// client, and once.
    pub async fn end_by_provider(
        &self,
        provider: &str,
        token: &str,
        source: IpAddr,
    ) -> Result<usize, IdentityError> {
        let ended = self.end_sessions(provider, token).await;
        self.counted(source, ended, |error| {
            matches!(error, IdentityError::NotVouched(_) | IdentityError::UnknownProvider)
        })
    }

    async fn end_sessions(&self, provider: &str, token: &str) -> Result<usize, IdentityError> {
        let known = self.providers.find(provider).ok_or(IdentityError::UnknownProvider)?;
        let issuer = &known.provider.issuer;
        let refused = |why: Unsound| IdentityError::NotVouched(why.0);
        let signed =
            known.keys.vouch(issuer, token, || self.journal.now()).await.map_err(|why| match why {
                NotVouched::NoKeys => IdentityError::ProviderAway,
                NotVouched::Unsound(why) => refused(why),
            })?;
        let now = self.journal.now();
        let until = claims::check_kind(issuer, &signed, now, &["logout+jwt", "jwt"]).map_err(refused)?;
        let ends = ends(&signed.claims).map_err(refused)?;
        // Once: replayed, it would end sessions that were begun since.
        let name = fingerprint(&format!("logout {provider} {}", ends.id));
        if !self.providers.take(name, until, now) {
            return Err(IdentityError::NotVouched("the logout token was used before"));
        }
        let ended = self.end_those(provider, &issuer.issuer, &ends).await;
        if ended.is_err() {
            // It ended nothing: the provider sends it again.
            self.providers.give_back(&name);
        }
        ended
    }

    async fn end_those(&self, provider: &str, issuer: &str, ends: &Ends<'_>) -> Result<usize, IdentityError> {
        let _turn = self.writing.lock().await;
        let mut draft = Draft::default();
        let mut people: BTreeSet<PersonId> = BTreeSet::new();
        {
            let memory = self.memory.read();
            let person =
                ends.subject.map(|subject| memory.accounts.get(&Account::key_of(issuer, subject)).copied());
            let named = memory.sessions.values().map(|state| &state.held).filter(|held| {
                let session = &held.doc;
                session.provider.as_deref() == Some(provider)
                    && ends.sid.is_none_or(|sid| session.sid.as_deref() == Some(sid))
                    && person.is_none_or(|person| person == Some(session.person))
            });
            for held in named {
                people.insert(held.doc.person);
                draft.delete(held);
            }
        }
        let ended = draft.changes.len();
        for person in people {
            let note =
                Note::new(Actor::Gateway, Event::SessionClosed { person, everywhere: ends.sid.is_none() });
            draft.note(note.private("provider", provider));
        }
        if ended > 0 {
            self.write(draft).await?;
        }
        Ok(ended)
    }
}

/// What the claims of a logout token name (section 2.4), checked as section 2.6 says.
fn ends(claims: &Map<String, Value>) -> Result<Ends<'_>, Unsound> {
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if (1..=255).contains(&text.len()) => Ok(Some(text.as_str())),
        Some(_) => Err(Unsound("the logout token names something that cannot be read")),
    };
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(Unsound("the token is no logout token"));
    }
    // An ID token has one: it must not be taken for a logout token.
    if claims.contains_key("nonce") {
        return Err(Unsound("a logout token has no nonce"));
    }
    if claims::time(claims, "iat")?.is_none() {
        return Err(Unsound("the logout token does not say when it was made"));
    }
    let ends = Ends {
        subject: text("sub")?,
        sid: text("sid")?,
        id: text("jti")?.ok_or(Unsound("the logout token has no name"))?,
    };
    if ends.subject.is_none() && ends.sid.is_none() {
        return Err(Unsound("the logout token names no session"));
    }
    Ok(ends)
}
