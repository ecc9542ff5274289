use super::*;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use ciborium::{Value, cbor};
use proptest::prelude::*;

pub(crate) const ORIGIN: &str = "https://console.example";
pub(crate) const RELYING_PARTY: &str = "console.example";
const CHALLENGE: &[u8] = b"what is being decided";

/// A passkey in software.
pub(crate) struct SoftKey(EcdsaKeyPair);

impl SoftKey {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn cose(&self) -> Vec<u8> {
        let point = self.0.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        cose_bytes(&cbor!({1 => 2, 3 => -7, -1 => 1, -2 => Value::Bytes(x.to_vec()), -3 => Value::Bytes(y.to_vec())}).unwrap())
    }

    pub(crate) fn sign(&self, authenticator_data: &[u8], client_data_json: &[u8]) -> AssertionParts {
        let message = [authenticator_data, &Sha256::digest(client_data_json)].concat();
        let signature = self.0.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec();
        let (authenticator_data, client_data_json) = (authenticator_data.to_vec(), client_data_json.to_vec());
        AssertionParts { authenticator_data, client_data_json, signature }
    }
}

pub(crate) fn cose_bytes(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

pub(crate) fn authenticator_data(relying_party: &str, flags: u8, rest: &[u8]) -> Vec<u8> {
    [&Sha256::digest(relying_party)[..], &[flags], &7u32.to_be_bytes(), rest].concat()
}

pub(crate) fn client_data(kind: &str, challenge: &[u8], origin: &str, more: &str) -> Vec<u8> {
    let challenge = URL_SAFE_NO_PAD.encode(challenge);
    format!(r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}"{more}}}"#).into_bytes()
}

pub(crate) const EXPECTED: Expected<'static> =
    Expected { challenge: CHALLENGE, origin: ORIGIN, relying_party: RELYING_PARTY };

fn good_data() -> Vec<u8> {
    authenticator_data(RELYING_PARTY, PRESENT | VERIFIED | BACKUP_ELIGIBLE, b"")
}

fn good_client() -> Vec<u8> {
    client_data("webauthn.get", CHALLENGE, ORIGIN, r#","crossOrigin":false,"added":"later""#)
}

#[test]
fn a_good_assertion_verifies_and_says_what_it_knows() {
    let soft = SoftKey::new();
    let key = CoseKey::parse(&soft.cose()).unwrap();
    let parts = soft.sign(&good_data(), &good_client());
    let known = Authenticator { backup_eligible: true, backed_up: false, counter: 7 };
    assert_eq!(verify(&key, &EXPECTED, &parts), Ok(known));
    let other = CoseKey::parse(&SoftKey::new().cose()).unwrap();
    assert_eq!(verify(&other, &EXPECTED, &parts), Err(AssertionError::Signature));
}

#[test]
#[rustfmt::skip]
fn every_check_of_the_ceremony_refuses() {
    let soft = SoftKey::new();
    let key = CoseKey::parse(&soft.cose()).unwrap();
    let data = |flags| authenticator_data(RELYING_PARTY, flags, b"");
    let client = |more: &str| client_data("webauthn.get", CHALLENGE, ORIGIN, more);
    for (what, data, client, wanted) in [
        ("another challenge", good_data(), client_data("webauthn.get", b"x", ORIGIN, ""), "another challenge"),
        ("another page", good_data(), client_data("webauthn.get", CHALLENGE, "https://console.example.evil", ""), "the origin"),
        ("a port", good_data(), client_data("webauthn.get", CHALLENGE, "https://console.example:8443", ""), "the origin"),
        ("a registration", good_data(), client_data("webauthn.create", CHALLENGE, ORIGIN, ""), "the client data says"),
        ("inside a foreign page", good_data(), client(r#","crossOrigin":true"#), "another origin"),
        ("below a foreign page", good_data(), client(r#","topOrigin":"https://evil.example""#), "another origin"),
        ("a member twice", good_data(), client(r#","origin":"https://console.example""#), "not readable"),
        ("no client data", good_data(), vec![], "not readable"),
        ("another relying party", authenticator_data("example", PRESENT | VERIFIED, b""), good_client(), "relying party"),
        ("nobody there", data(VERIFIED), good_client(), "not present"),
        ("nobody verified", data(PRESENT), good_client(), "not verified"),
        ("backed up though it cannot be", data(PRESENT | VERIFIED | BACKED_UP), good_client(), "eligible"),
        ("bytes after it", authenticator_data(RELYING_PARTY, PRESENT | VERIFIED, b"x"), good_client(), "bytes after"),
        ("extensions promised", data(PRESENT | VERIFIED | EXTENSIONS), good_client(), "CBOR"),
        ("too short", good_data()[..36].to_vec(), good_client(), "too short"),
    ] {
        let refused = verify(&key, &EXPECTED, &soft.sign(&data, &client)).unwrap_err();
        assert!(refused.to_string().contains(wanted), "{what}: {refused}");
    }
}

#[test]
fn a_challenge_with_padding_or_another_alphabet_is_refused() {
    let soft = SoftKey::new();
    let key = CoseKey::parse(&soft.cose()).unwrap();
    for challenge in ["d2hhdA==", "+/+/", "d2hhdB"] {
        let json = format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}"}}"#);
        let refused = verify(&key, &EXPECTED, &soft.sign(&good_data(), json.as_bytes()));
        assert_eq!(refused, Err(AssertionError::Base64("challenge")), "{challenge}");
    }
}

#[test]
fn an_ed25519_passkey_verifies() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let public = Value::Bytes(pair.public_key().as_ref().to_vec());
    let key = CoseKey::parse(&cose_bytes(&cbor!({1 => 1, 3 => -8, -1 => 6, -2 => public}).unwrap())).unwrap();
    let (authenticator_data, client_data_json) = (good_data(), good_client());
    let message = [&authenticator_data[..], &Sha256::digest(&client_data_json)].concat();
    let signature = pair.sign(&message).as_ref().to_vec();
    let parts = AssertionParts { authenticator_data, client_data_json, signature };
    assert!(verify(&key, &EXPECTED, &parts).is_ok());
}

#[test]
fn an_rsa_passkey_verifies() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey (RFC 8017 appendix A.1.1) of 2048 bits: the two integers stand at fixed places.
    let der = pair.public_key().as_ref();
    let (modulus, exponent) = (der[9..265].to_vec(), der[267..].to_vec());
    let value =
        cbor!({1 => 3, 3 => -257, -1 => Value::Bytes(modulus), -2 => Value::Bytes(exponent)}).unwrap();
    let key = CoseKey::parse(&cose_bytes(&value)).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), b"message", &mut signature).unwrap();
    assert_eq!(key.verify(b"message", &signature), Ok(()));
    assert_eq!(key.verify(b"massage", &signature), Err(AssertionError::Signature));
}

#[test]
fn keys_are_read_strictly() {
    let good = SoftKey::new().cose();
    let twice = [&[0xa6, 1, 2][..], &good[1..]].concat();
    let off_curve = [&good[..good.len() - 1], &[!good[good.len() - 1]]].concat();
    let long_form = [&[0xb8, 5][..], &good[1..]].concat();
    let endless = [&[0xbf][..], &good[1..], &[0xff]].concat();
    let other = cose_bytes(&cbor!({1 => 2, 3 => -35, -1 => 2}).unwrap());
    for (what, bad) in [
        ("trailing bytes", [&good[..], &[0]].concat()),
        ("a member twice", twice),
        ("a point off the curve", off_curve),
        ("a long form", long_form),
        ("an endless map", endless),
        ("another algorithm", other),
        ("an array", vec![0x80]),
        ("nothing", vec![]),
    ] {
        assert!(matches!(CoseKey::parse(&bad), Err(AssertionError::Key(_))), "{what}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = CoseKey::parse(&bytes);
        let _ = AuthenticatorData::parse(&bytes);
        let _ = check_client_data("webauthn.get", &EXPECTED, &bytes);
    }

    #[test]
    fn no_changed_byte_of_an_assertion_verifies(at in any::<proptest::sample::Index>(), bit in 0..8u8) {
        let soft = SoftKey::new();
        let key = CoseKey::parse(&soft.cose()).unwrap();
        let mut parts = soft.sign(&good_data(), &good_client());
        let length = parts.authenticator_data.len();
        let at = at.index(length + parts.client_data_json.len());
        let byte = if at < length { &mut parts.authenticator_data[at] } else { &mut parts.client_data_json[at - length] };
        *byte ^= 1 << bit;
        prop_assert!(verify(&key, &EXPECTED, &parts).is_err());
    }
}
