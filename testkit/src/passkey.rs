//! A passkey in software: an authenticator and the browser around it, for tests and the demo.
//!
//! It takes the options a page would hand to `navigator.credentials` and returns what the page would send back, in
//! the JSON of `WebAuthn` Level 3. Like a real one it keeps to its relying party, and its knobs make the answers an
//! attacker's browser or a broken authenticator would give. It protects nothing: its key lives in memory.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;

/// Whether the person proves who they are to the authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    Done,
    /// Touched only: the user-verified flag stays clear.
    Skipped,
}

/// One passkey. Knobs are plain fields: set one, and answers from then on are made that way.
#[derive(Debug)]
pub struct SoftPasskey {
    key: EcdsaKeyPair,
    credential_id: Vec<u8>,
    user_handle: String,
    /// The signature counter, grown by one before each answer; `None` for an authenticator that keeps none.
    pub counter: Option<u32>,
    pub verification: Verification,
    /// Signs this instead of the challenge that was asked for, base64url.
    pub other_challenge: Option<String>,
    /// Hashes this instead of the relying party that was asked for.
    pub other_relying_party: Option<String>,
    /// Says the page stood inside a page of another origin.
    pub embedded_in: Option<String>,
}

/// The key could not be made or used, or the options are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    #[error("the key cannot be made or used")]
    Key,
    #[error("the options have no `{0}`")]
    Options(&'static str),
}

impl SoftPasskey {
    /// A new key that belongs to nobody yet.
    pub fn new() -> Result<Self, PasskeyError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| PasskeyError::Key)?;
        let credential_id = Sha256::digest(key.public_key().as_ref()).to_vec();
        Ok(Self {
            key,
            credential_id,
            user_handle: String::new(),
            counter: None,
            verification: Verification::Done,
            other_challenge: None,
            other_relying_party: None,
            embedded_in: None,
        })
    }

    /// The credential's id as answers name it, base64url.
    pub fn credential_id(&self) -> String {
        encode(&self.credential_id)
    }

    /// Answers `navigator.credentials.create()` on a page of `origin`: a `RegistrationResponseJSON`.
    pub fn register(&mut self, options: &Value, origin: &str) -> Result<Value, PasskeyError> {
        text(options, "/user/id")?.clone_into(&mut self.user_handle);
        let client_data = self.client_data("webauthn.create", options, origin)?;
        let mut data = self.authenticator_data(text(options, "/rp/id")?, ATTESTED);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&length(&self.credential_id));
        data.extend_from_slice(&self.credential_id);
        data.extend_from_slice(&self.cose_key());
        let mut attestation = vec![0xa3];
        attestation.extend_from_slice(b"\x63fmt\x64none\x67attStmt\xa0\x68authData\x59");
        attestation.extend_from_slice(&length(&data));
        attestation.extend_from_slice(&data);
        Ok(self.answer(&json!({
            "clientDataJSON": encode(&client_data),
            "attestationObject": encode(&attestation),
            "authenticatorData": encode(&data),
            "publicKeyAlgorithm": -7,
            "transports": ["internal"],
        })))
    }

    /// Answers `navigator.credentials.get()` on a page of `origin`: an `AuthenticationResponseJSON`.
    pub fn assert(&mut self, options: &Value, origin: &str) -> Result<Value, PasskeyError> {
        let client_data = self.client_data("webauthn.get", options, origin)?;
        let data = self.authenticator_data(text(options, "/rpId")?, 0);
        let mut message = data.clone();
        message.extend_from_slice(&Sha256::digest(&client_data));
        let signature = self.key.sign(&SystemRandom::new(), &message).map_err(|_| PasskeyError::Key)?;
        Ok(self.answer(&json!({
            "clientDataJSON": encode(&client_data),
            "authenticatorData": encode(&data),
            "signature": encode(signature.as_ref()),
            "userHandle": self.user_handle,
        })))
    }

    fn client_data(&self, kind: &str, options: &Value, origin: &str) -> Result<Vec<u8>, PasskeyError> {
        let asked = text(options, "/challenge")?;
        let mut data = json!({
            "type": kind,
            "challenge": self.other_challenge.as_deref().unwrap_or(asked),
            "origin": origin,
            "crossOrigin": self.embedded_in.is_some(),
        });
        if let (Some(members), Some(top)) = (data.as_object_mut(), &self.embedded_in) {
            members.insert("topOrigin".into(), top.as_str().into());
        }
        Ok(data.to_string().into_bytes())
    }

    /// Authenticator data (section 6.1) up to and including the counter.
    fn authenticator_data(&mut self, relying_party: &str, more_flags: u8) -> Vec<u8> {
        let relying_party = self.other_relying_party.as_deref().unwrap_or(relying_party);
        let verified = match self.verification {
            Verification::Done => VERIFIED,
            Verification::Skipped => 0,
        };
        self.counter = self.counter.map(|counter| counter.saturating_add(1));
        let mut data = Sha256::digest(relying_party.as_bytes()).to_vec();
        data.push(PRESENT | verified | more_flags);
        data.extend_from_slice(&self.counter.unwrap_or(0).to_be_bytes());
        data
    }

    /// The public key as a COSE key (RFC 9053 section 7.1): ES256 on P-256.
    fn cose_key(&self) -> Vec<u8> {
        // Uncompressed: one byte of form, then both coordinates.
        let (x, y) = self.key.public_key().as_ref().split_at(1).1.split_at(32);
        let mut key = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20".to_vec();
        key.extend_from_slice(x);
        key.extend_from_slice(b"\x22\x58\x20");
        key.extend_from_slice(y);
        key
    }

    fn answer(&self, response: &Value) -> Value {
        json!({
            "id": self.credential_id(),
            "rawId": self.credential_id(),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        })
    }
}

fn text<'o>(options: &'o Value, pointer: &'static str) -> Result<&'o str, PasskeyError> {
    options.pointer(pointer).and_then(Value::as_str).ok_or(PasskeyError::Options(pointer))
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A length as two big-endian bytes.
fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}
