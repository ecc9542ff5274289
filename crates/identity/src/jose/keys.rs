//! A published set of keys (RFC 7517). Keys that cannot check a signature of ours are passed over; a set without any
//! that can is a fault.

use super::{Algorithm, read_json};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

/// The most keys of a set that are kept.
const MOST: usize = 64;
/// The smallest RSA modulus, in bytes.
const SMALLEST_RSA: usize = 256;
const LARGEST_RSA: usize = 1024;

/// The keys an issuer publishes for checking signatures.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    /// The algorithms it is good for: its own, or those of its kind.
    algorithms: Vec<Algorithm>,
    pub(super) verifies: DecodingKey,
    /// What it may speak for, as the Bot Framework's set of keys says of its own.
    pub(super) endorsements: Vec<String>,
}

impl KeySet {
    /// Reads a set; says why none of it can be used.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let document = read_json(bytes).map_err(|_| "it is not JSON")?;
        let listed = document.get("keys").and_then(Value::as_array).ok_or("it has no list `keys`")?;
        let keys: Vec<Key> = listed.iter().filter_map(Key::of).take(MOST).collect();
        if keys.is_empty() { Err("none of its keys can check a signature") } else { Ok(Self { keys }) }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys a token may be signed with. One that names no key is only taken where there is a single choice.
    pub(super) fn candidates(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &Key> {
        let good = self.keys.iter().filter(move |key| key.algorithms.contains(&algorithm));
        let single = good.clone().count() == 1;
        good.filter(move |key| match key_id {
            Some(wanted) => key.id.as_deref() == Some(wanted),
            None => single,
        })
    }
}

impl Key {
    /// `None` for a secret, a key for encryption, a weak or unknown one.
    fn of(document: &Value) -> Option<Self> {
        let key: Jwk = serde_json::from_value(document.clone()).ok()?;
        let signs = match &key.common.public_key_use {
            None | Some(PublicKeyUse::Signature) => true,
            Some(PublicKeyUse::Other(other)) => other == "jwt-svid",
            Some(PublicKeyUse::Encryption) => false,
        };
        let may_verify =
            key.common.key_operations.as_ref().is_none_or(|allowed| allowed.contains(&KeyOperations::Verify));
        if !signs || !may_verify {
            return None;
        }
        let kind = of_kind(&key.algorithm)?;
        // RFC 7517, section 4.4: where it is named, the key is for that algorithm alone.
        let named = document.get("alg").map(|named| named.as_str().and_then(|named| named.parse().ok()));
        let algorithms = match named {
            None => kind.to_vec(),
            Some(Some(named)) if kind.contains(&named) => vec![named],
            Some(_) => return None,
        };
        let endorsements = document.get("endorsements").and_then(Value::as_array).into_iter().flatten();
        let endorsements = endorsements.filter_map(Value::as_str).take(MOST).map(str::to_owned).collect();
        let (id, verifies) = (key.common.key_id.clone(), DecodingKey::from_jwk(&key).ok()?);
        Some(Self { id, algorithms, verifies, endorsements })
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum that may grow; what is not known is not used"
)]
fn of_kind(parameters: &AlgorithmParameters) -> Option<&'static [Algorithm]> {
    use Algorithm as A;
    match parameters {
        AlgorithmParameters::RSA(key) => {
            let modulus = URL_SAFE_NO_PAD.decode(&key.n).ok()?;
            let size = modulus.iter().skip_while(|byte| **byte == 0).count();
            let strong = (SMALLEST_RSA..=LARGEST_RSA).contains(&size);
            strong.then_some(&[A::Rs256, A::Rs384, A::Rs512, A::Ps256, A::Ps384, A::Ps512])
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Some(&[A::Es256]),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Some(&[A::Es384]),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Some(&[A::EdDsa]),
        _ => None,
    }
}
