//! Passkey assertions, verified from bytes alone: `WebAuthn` Level 3 section 7.2 over a challenge of our own choosing.
//!
//! Used where a person signs in, where a vote is cast, and years later by the offline verifier; so it asks no server
//! and keeps no state. User presence and user verification are always demanded.

use crate::{
    cose::{CoseKey, read_map},
    error::AssertionError,
    event,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// What the ceremony was begun with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub challenge: &'a [u8],
    /// Scheme, host and port of the page, exactly.
    pub origin: &'a str,
    /// The relying party id, a domain.
    pub relying_party: &'a str,
}

/// The three parts an authenticator's answer consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssertionParts {
    pub authenticator_data: Vec<u8>,
    pub client_data_json: Vec<u8>,
    pub signature: Vec<u8>,
}

impl AssertionParts {
    /// The parts of an assertion kept in an entry.
    pub fn decode(recorded: &event::Assertion) -> Result<Self, AssertionError> {
        Ok(Self {
            authenticator_data: base64url("authenticator_data", &recorded.authenticator_data)?,
            client_data_json: base64url("client_data_json", &recorded.client_data_json)?,
            signature: base64url("signature", &recorded.signature)?,
        })
    }
}

/// What a good answer says about the authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// The passkey may leave its device (synced passkeys).
    pub backup_eligible: bool,
    pub backed_up: bool,
    /// Signature counter; zero where the authenticator keeps none.
    pub counter: u32,
}

/// Verifies an assertion by the passkey `key`.
pub fn verify(
    key: &CoseKey,
    expected: &Expected<'_>,
    parts: &AssertionParts,
) -> Result<Authenticator, AssertionError> {
    check_client_data("webauthn.get", expected, &parts.client_data_json)?;
    let data = AuthenticatorData::parse(&parts.authenticator_data)?;
    let authenticator = data.check(expected.relying_party)?;
    let mut message = parts.authenticator_data.clone();
    message.extend_from_slice(&Sha256::digest(&parts.client_data_json));
    key.verify(&message, &parts.signature)?;
    Ok(authenticator)
}

/// Strict base64url without padding.
pub fn base64url(what: &'static str, text: &str) -> Result<Vec<u8>, AssertionError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| AssertionError::Base64(what))
}

/// `CollectedClientData` (section 5.8.1). Members we do not know are allowed there; those we know come once.
#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(rename = "crossOrigin")]
    cross_origin: Option<bool>,
    #[serde(rename = "topOrigin")]
    top_origin: Option<String>,
}

pub(crate) fn check_client_data(
    kind: &'static str,
    expected: &Expected<'_>,
    json: &[u8],
) -> Result<(), AssertionError> {
    let unreadable = |error: serde_json::Error| AssertionError::ClientData(error.to_string());
    let found: ClientData = serde_json::from_slice(json).map_err(unreadable)?;
    if found.kind != kind {
        return Err(AssertionError::Type { expected: kind, found: found.kind });
    }
    if base64url("challenge", &found.challenge)? != expected.challenge {
        return Err(AssertionError::Challenge);
    }
    if found.origin != expected.origin {
        return Err(AssertionError::Origin { expected: expected.origin.to_owned(), found: found.origin });
    }
    if found.cross_origin == Some(true) || found.top_origin.is_some() {
        return Err(AssertionError::CrossOrigin);
    }
    Ok(())
}

/// Authenticator data (section 6.1).
#[derive(Debug)]
pub(crate) struct AuthenticatorData<'a> {
    relying_party_hash: &'a [u8; 32],
    flags: u8,
    counter: u32,
    pub(crate) attested: Option<Attested<'a>>,
}

/// Attested credential data (section 6.5.1).
#[derive(Debug)]
pub(crate) struct Attested<'a> {
    pub(crate) model: [u8; 16],
    pub(crate) credential_id: &'a [u8],
    pub(crate) key: CoseKey,
    pub(crate) key_bytes: &'a [u8],
}

impl<'a> AuthenticatorData<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, AssertionError> {
        let short = || AssertionError::AuthenticatorData("too short");
        let (relying_party_hash, rest) = bytes.split_first_chunk::<32>().ok_or_else(short)?;
        let ([flags], rest) = rest.split_first_chunk::<1>().ok_or_else(short)?;
        let (counter, mut rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let mut attested = None;
        if flags & ATTESTED != 0 {
            let found = parse_attested(rest)?;
            (attested, rest) = (Some(found.0), found.1);
        }
        if flags & EXTENSIONS != 0 {
            (_, rest) = read_map(rest).map_err(AssertionError::AuthenticatorData)?;
        }
        if !rest.is_empty() {
            return Err(AssertionError::AuthenticatorData("bytes after it"));
        }
        if flags & BACKED_UP != 0 && flags & BACKUP_ELIGIBLE == 0 {
            return Err(AssertionError::AuthenticatorData("backed up without being eligible"));
        }
        Ok(Self { relying_party_hash, flags: *flags, counter: u32::from_be_bytes(*counter), attested })
    }

    pub(crate) fn check(&self, relying_party: &str) -> Result<Authenticator, AssertionError> {
        if self.relying_party_hash[..] != Sha256::digest(relying_party.as_bytes())[..] {
            return Err(AssertionError::RelyingParty(relying_party.to_owned()));
        }
        if self.flags & PRESENT == 0 {
            return Err(AssertionError::NotPresent);
        }
        if self.flags & VERIFIED == 0 {
            return Err(AssertionError::NotVerified);
        }
        Ok(Authenticator {
            backup_eligible: self.flags & BACKUP_ELIGIBLE != 0,
            backed_up: self.flags & BACKED_UP != 0,
            counter: self.counter,
        })
    }
}

fn parse_attested(bytes: &[u8]) -> Result<(Attested<'_>, &[u8]), AssertionError> {
    let short = || AssertionError::AuthenticatorData("credential data too short");
    let (model, rest) = bytes.split_first_chunk::<16>().ok_or_else(short)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if !(1..=1023).contains(&length) {
        return Err(AssertionError::AuthenticatorData("credential id of a length not allowed"));
    }
    let (credential_id, key_and_rest) = rest.split_at_checked(length).ok_or_else(short)?;
    let (key, rest) = CoseKey::parse_first(key_and_rest)?;
    let key_bytes = key_and_rest.get(..key_and_rest.len() - rest.len()).unwrap_or_default();
    Ok((Attested { model: *model, credential_id, key, key_bytes }, rest))
}

#[cfg(test)]
pub(crate) mod tests;
