//! Passkey registrations (`WebAuthn` Level 3 section 7.1) where no attestation is asked for.
//!
//! The attestation statement is ignored: what it could say about the make of an authenticator decides nothing here.

use crate::{
    assertion::{Authenticator, AuthenticatorData, Expected, check_client_data},
    cose::{CoseKey, read_map},
    error::AssertionError,
};
use ciborium::Value;

/// A passkey that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The authenticator's own id of the credential.
    pub credential_id: Vec<u8>,
    pub key: CoseKey,
    /// The COSE key as the authenticator wrote it.
    pub key_bytes: Vec<u8>,
    /// AAGUID: the make of the authenticator, unattested.
    pub model: [u8; 16],
    pub authenticator: Authenticator,
}

/// Verifies an answer to `navigator.credentials.create()`.
pub fn verify(
    expected: &Expected<'_>,
    client_data_json: &[u8],
    attestation_object: &[u8],
) -> Result<Registered, AssertionError> {
    check_client_data("webauthn.create", expected, client_data_json)?;
    let (members, rest) = read_map(attestation_object).map_err(AssertionError::Attestation)?;
    if !rest.is_empty() {
        return Err(AssertionError::Attestation("bytes after it"));
    }
    let member = |wanted: &str| {
        let mut found = members.iter().filter(|(name, _)| name.as_text() == Some(wanted));
        found.next().map(|(_, value)| value)
    };
    if member("fmt").and_then(Value::as_text).is_none() || member("attStmt").and_then(Value::as_map).is_none()
    {
        return Err(AssertionError::Attestation("no format or statement"));
    }
    let data = member("authData").and_then(Value::as_bytes);
    let data = AuthenticatorData::parse(data.ok_or(AssertionError::Attestation("no authenticator data"))?)?;
    let authenticator = data.check(expected.relying_party)?;
    let attested = data.attested.ok_or(AssertionError::AuthenticatorData("no credential in it"))?;
    Ok(Registered {
        credential_id: attested.credential_id.to_vec(),
        key: attested.key,
        key_bytes: attested.key_bytes.to_vec(),
        model: attested.model,
        authenticator,
    })
}

#[cfg(test)]
mod tests;
