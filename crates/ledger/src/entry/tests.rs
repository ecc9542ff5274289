use super::*;
use crate::event::{Asked, Authorization, KeptAmount, Recording, ResultFacts};
use countersign_core::{
    AgentId, ApprovalId, CredentialId, Digest, EnvironmentName, PersonId, PolicyId, TargetName,
    approval::Outcome, canonical,
};
use proptest::prelude::*;

fn sealing() -> Sealing {
    Sealing { origin: "example.com/log".into(), gateway: GatewayId::from_parts(0, 1) }
}

fn draft(event: Event, private: Vec<PrivateField>) -> EntryDraft {
    EntryDraft {
        id: EntryId::from_parts(5, 6),
        at: Timestamp(1_795_226_400_250_000),
        action: Some(ActionId::from_parts(1, 2)),
        parent: Some(LeafHash([7; 32])),
        actor: Actor::Agent { id: AgentId::from_parts(0, 3), credential: CredentialId::from_parts(0, 4) },
        event,
        private,
    }
}

fn sealed(draft: EntryDraft) -> Sealed {
    let mut next = 0;
    seal(draft, &sealing(), &mut |salt| {
        next += 1;
        *salt = [next; 32];
    })
    .unwrap()
}

fn authorization(operation: &str, approval: Option<ApprovalId>, behalf: u128) -> Event {
    let asked = Asked {
        class: "export".into(),
        digest: Digest([3; 32]),
        environment: EnvironmentName::new("prod").unwrap(),
        on_behalf_of: (0..behalf).map(|n| PersonId::from_parts(0, n)).collect(),
        operation: operation.into(),
        target: TargetName::new("crm").unwrap(),
        wire: "http".into(),
    };
    Event::ExecutionAuthorized(Authorization {
        asked,
        attempt: 1,
        epoch: 9,
        gateway: GatewayId::from_parts(0, 1),
        approval,
        bundle: Digest([4; 32]),
        policies: ["a", "b"].map(|id| PolicyId::new(id).unwrap()).into(),
        body_bound: approval.is_some(),
        recording: if approval.is_some() { Recording::First } else { Recording::Deferred },
    })
}

fn result(status: &str, ended_by: Option<String>, bytes: u64) -> Event {
    Event::ExecutionResult(ResultFacts {
        attempt: 2,
        outcome: Outcome::Cancelled,
        status: status.into(),
        duration_us: 12,
        bytes_sent: 0,
        bytes_received: bytes,
        kept: ended_by.is_some().then_some(KeptAmount { bytes: bytes / 2, of: bytes }),
        ended_by,
    })
}

fn field(path: &str, value: &str) -> PrivateField {
    PrivateField { path: path.to_owned().into(), value: value.to_owned().into() }
}

#[test]
fn a_sealed_entry_reads_back_and_is_canonical() {
    let private = vec![field("payload.body", "secret"), field("operation", "x")];
    let sealed = sealed(draft(authorization("exportCustomers", None, 2), private));
    let entry = Entry::parse(&sealed.bytes).unwrap();
    assert_eq!(entry.event.kind(), sealed.kind);
    assert_eq!(entry.parent, Some(LeafHash([7; 32])));
    assert_eq!(sealed.leaf, leaf_hash(&sealed.bytes));
    let value: Value = serde_json::from_slice(&sealed.bytes).unwrap();
    assert_eq!(canonical::to_vec(&value).unwrap(), &sealed.bytes[..]);
    for opened in &sealed.private {
        assert_eq!(entry.open(&opened.path, &opened.salt, &opened.value), Ok(()));
        assert!(entry.open(&opened.path, &opened.salt, b"other").is_err());
        assert!(entry.open("elsewhere", &opened.salt, &opened.value).is_err());
    }
}

#[test]
fn a_secret_does_not_reach_leaf_or_debug() {
    let sealed = sealed(draft(authorization("x", None, 0), vec![field("payload.body", "hunter2-secret")]));
    assert!(!String::from_utf8_lossy(&sealed.bytes).contains("hunter2"));
    assert!(!format!("{sealed:?} {:?}", field("a", "hunter2")).contains("hunter2"));
}

#[test]
fn equal_secrets_under_different_salts_look_different() {
    assert_ne!(commitment(&[1; 32], "p", b"v"), commitment(&[2; 32], "p", b"v"));
    assert_ne!(commitment(&[1; 32], "pv", b""), commitment(&[1; 32], "p", b"v"));
}

proptest! {
    #[test]
    fn both_ways_of_sealing_give_the_same_bytes(
        text in any::<String>(), approval in any::<Option<u64>>(), behalf in 0..3u128,
        ended in any::<Option<String>>(), bytes in 0..(1u64 << 53),
    ) {
        let approval = approval.map(|n| ApprovalId::from_parts(1, n.into()));
        for event in [authorization(&text, approval, behalf), result(&text, ended.clone(), bytes)] {
            let sealed = sealed(draft(event.clone(), vec![field("a", &text)]));
            // `parse` writes the entry again by way of its values and compares.
            prop_assert_eq!(Entry::parse(&sealed.bytes).unwrap().event, event);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Entry::parse(&bytes);
    }
}

#[test]
fn anything_but_the_canonical_form_is_refused() {
    let good = String::from_utf8(sealed(draft(result("200", None, 1), vec![])).bytes.to_vec()).unwrap();
    assert!(Entry::parse(good.as_bytes()).is_ok());
    for (what, bad) in [
        ("white space", good.replace(",\"id\"", ", \"id\"")),
        ("an unknown member", good.replace("\"v\":1", "\"v\":1,\"w\":1")),
        ("an unknown fact", good.replace("\"status\":", "\"statut\":1,\"status\":")),
        ("a member twice", good.replace("\"attempt\":2", "\"attempt\":1,\"attempt\":2")),
        ("an escape too many", good.replace("\"200\"", "\"\\u0032\\u0030\\u0030\"")),
        ("another version", good.replace("\"v\":1", "\"v\":2")),
        ("an unknown type", good.replace("execution.result", "execution.other")),
        ("bytes after it", format!("{good} ")),
        ("no commitments", good.replace(",\"data\"", ",\"c\":{},\"data\"")),
    ] {
        assert_ne!(bad, good, "{what}");
        assert!(Entry::parse(bad.as_bytes()).is_err(), "{what}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut salts = |salt: &mut [u8; 32]| *salt = [1; 32];
    let mut attempt = |event, private| seal(draft(event, private), &sealing(), &mut salts).err();
    let long = "x".repeat(MAX_LEAF);
    assert!(matches!(attempt(result(&long, None, 1), vec![]), Some(EntryError::TooLarge(_))));
    assert!(matches!(attempt(result("", None, 1 << 54), vec![]), Some(EntryError::Canonical(_))));
    let twice = vec![field("a", "1"), field("a", "2")];
    assert!(matches!(attempt(result("", None, 1), twice), Some(EntryError::PathTwice(_))));
    for path in ["", "A", "a b", "ä", "a\"b"] {
        let refused = attempt(result("", None, 1), vec![field(path, "1")]);
        assert!(matches!(refused, Some(EntryError::Path(_))), "{path}");
    }
}
