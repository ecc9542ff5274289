//! Public keys of passkeys: COSE keys (RFC 9052 section 7, RFC 9053) of the three algorithms we ask for.
//!
//! Read strictly: one encoding for each key, no member twice, nothing after it.

use crate::error::AssertionError;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use ciborium::Value;

/// How deep CBOR may nest. A key is one map; an attestation object holds certificates in arrays.
const MAX_DEPTH: usize = 16;

/// A passkey's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoseKey {
    /// ECDSA with SHA-256 on P-256 (algorithm -7): the point, uncompressed.
    Es256([u8; 65]),
    /// Ed25519 (algorithm -8).
    EdDsa([u8; 32]),
    /// RSASSA-PKCS1-v1_5 with SHA-256 (algorithm -257): modulus and exponent, big-endian.
    Rs256 { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl CoseKey {
    /// The algorithms to ask an authenticator for, as COSE identifiers, the preferred first.
    pub const ALGORITHMS: [i64; 3] = [-7, -8, -257];

    pub fn parse(bytes: &[u8]) -> Result<Self, AssertionError> {
        let (key, rest) = Self::parse_first(bytes)?;
        if rest.is_empty() { Ok(key) } else { Err(AssertionError::Key("bytes after it")) }
    }

    /// The key that `bytes` begin with, and what follows it.
    pub(crate) fn parse_first(bytes: &[u8]) -> Result<(Self, &[u8]), AssertionError> {
        let (members, rest) = read_map(bytes).map_err(AssertionError::Key)?;
        let used = bytes.get(..bytes.len() - rest.len()).unwrap_or_default();
        let mut again = Vec::with_capacity(used.len());
        let written = ciborium::into_writer(&Value::Map(members.clone()), &mut again);
        if written.is_err() || again != used {
            return Err(AssertionError::Key("not in its shortest form"));
        }
        Ok((Self::from_members(&members)?, rest))
    }

    fn from_members(members: &[(Value, Value)]) -> Result<Self, AssertionError> {
        let member = |label: i64| {
            let mut found = members.iter().filter(|(name, _)| *name == Value::Integer(label.into()));
            found.next().map(|(_, value)| value)
        };
        let number = |label| member(label).and_then(Value::as_integer).map(i128::from);
        let bytes = |label| member(label).and_then(Value::as_bytes).map(Vec::as_slice);
        let fixed = |label| bytes(label).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        match (number(1), number(3), number(-1)) {
            (Some(2), Some(-7), Some(1)) => {
                let (x, y) = fixed(-2).zip(fixed(-3)).ok_or(AssertionError::Key("no point"))?;
                let mut point = [4; 65];
                let (_, coordinates) = point.split_at_mut(1);
                coordinates.copy_from_slice(&[x, y].concat());
                let on_curve = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).parse();
                on_curve.map(|_| Self::Es256(point)).map_err(|_| AssertionError::Key("not a point of P-256"))
            }
            (Some(1), Some(-8), Some(6)) => {
                fixed(-2).map(Self::EdDsa).ok_or(AssertionError::Key("no Ed25519 key"))
            }
            (Some(3), Some(-257), _) => {
                let (modulus, exponent) =
                    bytes(-1).zip(bytes(-2)).ok_or(AssertionError::Key("no RSA key"))?;
                if !(256..=1024).contains(&modulus.len()) || !(1..=8).contains(&exponent.len()) {
                    return Err(AssertionError::Key("an RSA key of a size not allowed"));
                }
                Ok(Self::Rs256 { modulus: modulus.to_vec(), exponent: exponent.to_vec() })
            }
            _ => Err(AssertionError::Key("its algorithm is not ES256, EdDSA or RS256")),
        }
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), AssertionError> {
        let verified =
            match self {
                Self::Es256(point) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature)
                }
                Self::EdDsa(public) => UnparsedPublicKey::new(&ED25519, public).verify(message, signature),
                Self::Rs256 { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            };
        verified.map_err(|_| AssertionError::Signature)
    }
}

type Members = Vec<(Value, Value)>;

/// The CBOR map that `bytes` begin with, no key of it twice, and what follows.
pub(crate) fn read_map(mut bytes: &[u8]) -> Result<(Members, &[u8]), &'static str> {
    let value: Result<Value, _> = ciborium::de::from_reader_with_recursion_limit(&mut bytes, MAX_DEPTH);
    let Ok(Value::Map(members)) = value else { return Err("not a CBOR map") };
    for (at, (name, _)) in members.iter().enumerate() {
        if members.iter().take(at).any(|(before, _)| before == name) {
            return Err("a member is there twice");
        }
    }
    Ok((members, bytes))
}
