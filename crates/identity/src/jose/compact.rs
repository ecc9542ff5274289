//! A compact serialization taken apart, and its signature checked with a key the gateway got by itself.

use super::{
    Algorithm, Unsound,
    keys::{Key, KeySet},
    read_json,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The longest token that is looked at.
pub(crate) const LONGEST: usize = 16 << 10;

/// A token in the compact form whose signature nobody has checked yet.
#[derive(Debug)]
pub(crate) struct Compact<'t> {
    /// What is signed: head and payload as they came.
    signed: &'t str,
    signature: &'t str,
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Option<String>,
    claims: Map<String, Value>,
}

/// Claims under a signature that was checked.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The head's `typ`, without `application/`, in lower case.
    pub(crate) kind: Option<String>,
    pub(crate) claims: Map<String, Value>,
    /// Of the key that signed it.
    pub(crate) endorsements: Vec<String>,
}

/// Whether a text can be such a token at all: three parts, and a head that begins like an object.
pub(crate) fn has_shape(text: &str) -> bool {
    text.starts_with("eyJ") && text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl<'t> Compact<'t> {
    /// Takes a token apart. Nothing in it is true yet.
    pub(crate) fn parse(text: &'t str) -> Result<Self, Unsound> {
        if text.len() > LONGEST {
            return Err(Unsound("the token is too long"));
        }
        let refused = Unsound("the token is not in the compact form of a signed token");
        let (signed, signature) = text.rsplit_once('.').ok_or(refused)?;
        let (head, payload) = signed.split_once('.').ok_or(refused)?;
        if payload.contains('.') || signature.is_empty() {
            return Err(refused);
        }
        let head = object(head).ok_or(Unsound("the token's head cannot be read"))?;
        let claims = object(payload).ok_or(Unsound("the token's claims cannot be read"))?;
        // RFC 7515, section 4.1.11: what is critical must be understood, and no extension is here. An unencoded
        // payload (RFC 7797) would be another text than the one that was read.
        if head.contains_key("crit") || head.contains_key("b64") {
            return Err(Unsound("the token's head asks for an extension that is not known here"));
        }
        // An encrypted token, or one in a token, is not what this is.
        if head.contains_key("enc") || head.contains_key("zip") || head.contains_key("cty") {
            return Err(Unsound("the token is not a plain signed token"));
        }
        // `jku`, `jwk`, `x5u` and `x5c` are not looked at: keys come from where the configuration says.
        let member = |name: &str| match head.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Unsound("the token's head cannot be read")),
        };
        let named = member("alg")?.ok_or(Unsound("the token's head names no algorithm"))?;
        let algorithm =
            named.parse().map_err(|_| Unsound("the token's algorithm is not one that can be trusted"))?;
        let kind = member("typ")?.map(|kind| kind.to_ascii_lowercase().replace("application/", ""));
        Ok(Self { signed, signature, algorithm, key_id: member("kid")?, kind, claims })
    }

    /// Who it says has issued it: for choosing whose keys to check it with, and for nothing else.
    pub(crate) fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Whether the set has a key this token could be signed with. If not, the set may be old.
    pub(crate) fn names_a_key_of(&self, keys: &KeySet) -> bool {
        keys.candidates(self.key_id.as_deref(), self.algorithm).next().is_some()
    }

    /// The claims, once one of the keys has been found to have signed them with an accepted algorithm.
    pub(crate) fn verify(self, keys: &KeySet, accepted: &BTreeSet<Algorithm>) -> Result<Signed, Unsound> {
        if !accepted.contains(&self.algorithm) {
            return Err(Unsound("the token's algorithm is not accepted from its issuer"));
        }
        let mut candidates = keys.candidates(self.key_id.as_deref(), self.algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(Unsound("the token is signed with a key its issuer does not publish"));
        }
        let key = signer(&mut candidates, self.algorithm, self.signed.as_bytes(), self.signature);
        let key = key.ok_or(Unsound("the token's signature does not hold"))?;
        Ok(Signed { kind: self.kind, claims: self.claims, endorsements: key.endorsements.clone() })
    }
}

/// The key that has signed a message, if one of these has.
pub(super) fn signer<'k>(
    candidates: &mut impl Iterator<Item = &'k Key>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &str,
) -> Option<&'k Key> {
    let signed =
        |key: &Key| jsonwebtoken::crypto::verify(signature, message, &key.verifies, algorithm.library());
    candidates.find(|key| signed(key).unwrap_or(false))
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
    match read_json(&bytes).ok()? {
        Value::Object(members) => Some(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}
