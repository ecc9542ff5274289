//! The browser's side of passkeys: options and answers in the JSON of WebAuthn Level 3 (sections 5.1.8 to 5.1.10),
//! so that the page needs no more than `parseCreationOptionsFromJSON()`, `parseRequestOptionsFromJSON()` and
//! `toJSON()`. Checking signatures is the ledger's work, where the offline verifier does it too.

pub(crate) mod answer;
pub(crate) mod ceremony;

use crate::record::{passkey::Passkey, person::Person};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_ledger::CoseKey;
use serde_json::{Value, json};
use std::time::Duration;

/// Options for `navigator.credentials.create()`: a discoverable, user-verifying credential without attestation.
pub(crate) fn creation_options(
    relying_party: &str,
    person: &Person,
    registered: &[&Passkey],
    challenge: &[u8],
    timeout: Duration,
) -> Value {
    let algorithms: Vec<Value> =
        CoseKey::ALGORITHMS.iter().map(|alg| json!({"type": "public-key", "alg": alg})).collect();
    json!({
        "rp": {"id": relying_party, "name": "Countersign"},
        "user": {"id": person.handle, "name": person.email, "displayName": person.name},
        "challenge": URL_SAFE_NO_PAD.encode(challenge),
        "pubKeyCredParams": algorithms,
        "timeout": millis(timeout),
        "excludeCredentials": descriptors(registered),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": true,
            "userVerification": "required",
        },
        "attestation": "none",
        "extensions": {"credProps": true},
    })
}

/// Options for `navigator.credentials.get()`. Without `allowed`, the browser offers what it has.
pub(crate) fn request_options(
    relying_party: &str,
    allowed: &[&Passkey],
    challenge: &[u8],
    timeout: Duration,
) -> Value {
    json!({
        "rpId": relying_party,
        "challenge": URL_SAFE_NO_PAD.encode(challenge),
        "timeout": millis(timeout),
        "allowCredentials": descriptors(allowed),
        "userVerification": "required",
    })
}

fn descriptors(passkeys: &[&Passkey]) -> Vec<Value> {
    let descriptor = |passkey: &&Passkey| json!({"type": "public-key", "id": passkey.credential_id, "transports": passkey.transports});
    passkeys.iter().map(descriptor).collect()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
