//! An honest log verifies; every way of tampering with it, and every dishonest story a gateway could sign, is told.

use super::*;
use crate::testlog::Log;
use story::Story;

mod chat;
mod dishonest;
mod story;
mod tampered;
mod tickets;

fn check(bundle: &[u8], log: &Log) -> Result<Report, Box<Fault>> {
    verify(bundle, log.verifier())
}

/// The rule that is broken.
fn rule(bundle: &[u8], log: &Log) -> Option<Rule> {
    check(bundle, log).err().map(|fault| fault.rule)
}

/// One of everything that may happen.
fn honest() -> Story {
    let mut story = Story::begin();
    story.permitted(1);
    story.approved_by_two(2);
    story.rejected(3);
    story.revoked(4);
    story.unknown_and_resolved(5);
    story.log.rotate();
    story.taken_back_and_run_again(6);
    story.second_round(7);
    story.permitted(8);
    story.log.fill(16);
    story
}

#[test]
fn an_honest_log_verifies_and_is_counted() {
    let story = honest();
    let log = &story.log;
    let report = check(&log.export(), log).unwrap();
    let size = log.entries.len() as u64;
    assert_eq!((report.from, report.to, report.size, report.entries), (0, size, size, size));
    assert_eq!((report.actions, report.executed, report.unknown), (8, 5, 1));
    assert_eq!((report.approvals, report.policies), (6, 1));
    assert_eq!(report.disclosures, 2);
    assert_eq!(report.checkpoint_at.0, log.now - 1_000_000);
    assert!(report.to_string().contains("is intact"), "{report}");
}

#[test]
fn partial_exports_verify_with_what_they_rest_on() {
    let story = honest();
    let log = &story.log;
    let size = log.entries.len() as u64;
    for from in (0..=size).step_by(3) {
        for to in [from, from + 1, from + 4] {
            if to <= size {
                let report = check(&log.export_range(from, to), log).unwrap();
                assert_eq!((report.from, report.to, report.size), (from, to, size));
            }
        }
    }
}

#[test]
fn only_what_was_asked_for_is_disclosed() {
    let story = honest();
    let bundle = String::from_utf8(story.log.export()).unwrap();
    assert!(bundle.contains("\"path\":\"sentence\"") && !bundle.contains("\"path\":\"payload\""));
    assert!(!bundle.contains("hunter2") && !bundle.contains("aHVudGVyMg"));
}

#[test]
fn a_fault_is_told_in_words() {
    let mut story = Story::begin();
    story.voted_once_but_granted(1);
    let fault = check(&story.log.export(), &story.log).unwrap_err();
    assert_eq!(fault.rule, Rule::Quorum);
    let told = fault.to_string();
    for part in ["at 8 (entry `ent_", "of the action `act_", "expected 2 voices for `data`, found 1"] {
        assert!(told.contains(part), "{told}");
    }
}
