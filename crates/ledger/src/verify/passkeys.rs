//! Which passkeys were registered to whom at each place in the log, and whether a vote is signed by one of them.

use super::fault::{Breach, Rule, breach, demand};
use crate::{
    assertion::{self, AssertionParts, Expected},
    cose::CoseKey,
    event::Assertion,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_core::{CredentialId, PersonId, statement::Statement};
use std::collections::BTreeMap;

/// The passkeys in force.
#[derive(Debug, Default)]
pub(super) struct Passkeys(BTreeMap<CredentialId, Passkey>);

#[derive(Debug)]
struct Passkey {
    person: PersonId,
    key: CoseKey,
    relying_party: String,
    origin: String,
    removed: bool,
}

impl Passkeys {
    pub(super) fn register(
        &mut self,
        person: PersonId,
        credential: CredentialId,
        public_key: &str,
        (relying_party, origin): (&str, &str),
    ) -> Result<(), Breach> {
        let unusable = |error: &dyn std::fmt::Display| breach(Rule::Passkey, "a public key", error);
        let key = URL_SAFE_NO_PAD.decode(public_key).map_err(|error| unusable(&error))?;
        let key = CoseKey::parse(&key).map_err(|error| unusable(&error))?;
        let (relying_party, origin) = (relying_party.to_owned(), origin.to_owned());
        let passkey = Passkey { person, key, relying_party, origin, removed: false };
        let before = self.0.insert(credential, passkey);
        demand(Rule::Passkey, before.is_none(), "a new credential id", format!("`{credential}` again"))
    }

    pub(super) fn remove(&mut self, person: PersonId, credential: CredentialId) -> Result<(), Breach> {
        let found = self.0.get_mut(&credential).filter(|passkey| passkey.person == person);
        let what = || breach(Rule::Passkey, "a registered passkey of that person", format!("`{credential}`"));
        found.ok_or_else(what)?.removed = true;
        Ok(())
    }

    /// That the voter's own passkey, registered and not removed, signed this very statement.
    pub(super) fn check(&self, statement: &Statement, recorded: &Assertion) -> Result<(), Breach> {
        let credential = recorded.credential;
        let known = self.0.get(&credential);
        let passkey = known.ok_or_else(|| {
            breach(Rule::Passkey, "a passkey registered before", format!("the unknown `{credential}`"))
        })?;
        let voter = statement.voter;
        demand(Rule::Passkey, passkey.person == voter, format!("a passkey of `{voter}`"), passkey.person)?;
        demand(
            Rule::Passkey,
            !passkey.removed,
            "a passkey in force",
            format!("`{credential}`, removed before"),
        )?;
        let wrong = |error: &dyn std::fmt::Display| breach(Rule::Passkey, "a good assertion", error);
        let challenge = statement.challenge().map_err(|error| wrong(&error))?;
        let parts = AssertionParts::decode(recorded).map_err(|error| wrong(&error))?;
        let expected = Expected {
            challenge: challenge.as_bytes(),
            origin: &passkey.origin,
            relying_party: &passkey.relying_party,
        };
        assertion::verify(&passkey.key, &expected, &parts).map_err(|error| wrong(&error))?;
        Ok(())
    }
}
