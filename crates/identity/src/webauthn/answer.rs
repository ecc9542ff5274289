//! What a browser sends back: `PublicKeyCredential.toJSON()` of a registration or an authentication. Members this
//! room has no use for are passed over; those it uses must be there once and be strict base64url.

use crate::error::IdentityError;
use countersign_ledger::{
    assertion::{AssertionParts, base64url},
    error::AssertionError,
};
use serde::{Deserialize, de::DeserializeOwned};

/// Longer answers are not read. Far above what any authenticator sends.
const LONGEST: usize = 64 * 1024;

/// A registration's answer (`RegistrationResponseJSON`), decoded.
pub(crate) struct Registration {
    /// The credential's id as the browser names it, base64url.
    pub(crate) credential_id: String,
    pub(crate) client_data_json: Vec<u8>,
    pub(crate) attestation_object: Vec<u8>,
    pub(crate) transports: Vec<String>,
}

/// An authentication's answer (`AuthenticationResponseJSON`), decoded.
pub(crate) struct Authentication {
    pub(crate) credential_id: String,
    pub(crate) parts: AssertionParts,
    pub(crate) user_handle: Option<String>,
    /// The challenge the authenticator signed, as the client data says.
    pub(crate) challenge: Vec<u8>,
}

impl Registration {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, IdentityError> {
        let (credential_id, response) = parse::<RegistrationParts>(json)?;
        Ok(Self {
            credential_id,
            client_data_json: decode("clientDataJSON", &response.client_data_json)?,
            attestation_object: decode("attestationObject", &response.attestation_object)?,
            transports: response.transports.into_iter().filter(|word| is_transport(word)).take(8).collect(),
        })
    }
}

impl Authentication {
    pub(crate) fn parse(json: &[u8]) -> Result<Self, IdentityError> {
        let (credential_id, response) = parse::<AuthenticationParts>(json)?;
        let client_data_json = decode("clientDataJSON", &response.client_data_json)?;
        let client_data: ClientData = serde_json::from_slice(&client_data_json)
            .map_err(|error| IdentityError::UnreadableAnswer(error.to_string()))?;
        Ok(Self {
            credential_id,
            challenge: decode("challenge", &client_data.challenge)?,
            parts: AssertionParts {
                authenticator_data: decode("authenticatorData", &response.authenticator_data)?,
                client_data_json,
                signature: decode("signature", &response.signature)?,
            },
            user_handle: response.user_handle.filter(|handle| !handle.is_empty()),
        })
    }
}

#[derive(Deserialize)]
struct Credential<R> {
    id: String,
    #[serde(rename = "rawId")]
    raw_id: String,
    #[serde(rename = "type")]
    kind: String,
    response: R,
}

#[derive(Deserialize)]
struct RegistrationParts {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    #[serde(rename = "attestationObject")]
    attestation_object: String,
    #[serde(default)]
    transports: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthenticationParts {
    #[serde(rename = "clientDataJSON")]
    client_data_json: String,
    authenticator_data: String,
    signature: String,
    user_handle: Option<String>,
}

#[derive(Deserialize)]
struct ClientData {
    challenge: String,
}

fn parse<R: DeserializeOwned>(json: &[u8]) -> Result<(String, R), IdentityError> {
    let unreadable = |why: &str| IdentityError::UnreadableAnswer(why.to_owned());
    if json.len() > LONGEST {
        return Err(unreadable("it is too long"));
    }
    let answer: Credential<R> =
        serde_json::from_slice(json).map_err(|error| unreadable(&error.to_string()))?;
    if answer.kind != "public-key" {
        return Err(unreadable("its type is not `public-key`"));
    }
    if answer.id != answer.raw_id {
        return Err(unreadable("`id` and `rawId` differ"));
    }
    decode("id", &answer.id)?;
    Ok((answer.id, answer.response))
}

fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, IdentityError> {
    base64url(what, text).map_err(|error: AssertionError| IdentityError::Passkey(error))
}

fn is_transport(word: &str) -> bool {
    (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}
