//! Bundles changed by somebody who does not have the log's keys.

use super::{Report, Rule, check, honest, rule};
use crate::{LeafHashes, checkpoint::Checkpoint, keys::tests::keys, testlog::Log, tree::root_of};
use proptest::prelude::*;

fn lines(bundle: &[u8]) -> Vec<String> {
    String::from_utf8(bundle.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

/// Puts the lines together again with an end that counts them.
fn joined(mut lines: Vec<String>) -> Vec<u8> {
    lines.pop();
    lines.push(format!("{{\"end\":{{\"lines\":{}}}}}", lines.len()));
    let mut text = lines.join("\n");
    text.push('\n');
    text.into_bytes()
}

fn edit(bundle: &[u8], change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
    let mut lines = lines(bundle);
    change(&mut lines);
    joined(lines)
}

fn find(lines: &[String], part: &str) -> usize {
    lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no `{part}`"))
}

fn honest_log() -> Log {
    honest().log
}

#[test]
fn an_untouched_bundle_is_good() {
    let log = honest_log();
    let bundle = log.export();
    assert_eq!(edit(&bundle, |_| {}), bundle);
    assert_eq!(rule(&bundle, &log), None);
}

#[test]
#[rustfmt::skip]
fn a_database_administrator_edits_deletes_inserts_or_reorders() {
    let log = honest_log();
    let bundle = log.export();
    let entries = |lines: &[String]| lines.iter().enumerate().filter(|(_, line)| line.starts_with("{\"entry\"")).map(|(at, _)| at).collect::<Vec<_>>();
    let batches = |lines: &[String]| lines.iter().enumerate().filter(|(_, line)| line.starts_with("{\"batch\"")).map(|(at, _)| at).collect::<Vec<_>>();
    for (what, bad, wanted) in [
        ("an entry edited", edit(&bundle, |lines| { let at = find(lines, "\"status\":\"200\""); lines[at] = lines[at].replace("\"200\"", "\"500\""); }), Rule::Leaf),
        ("an entry deleted", edit(&bundle, |lines| { let at = entries(lines)[6]; lines.remove(at); }), Rule::Complete),
        ("an entry and its batch deleted", edit(&bundle, |lines| { let at = batches(lines)[6]; lines.drain(at..at + 2); }), Rule::Covered),
        ("a batch twice", edit(&bundle, |lines| { let at = batches(lines)[6]; let line = lines[at].clone(); lines.insert(at, line); }), Rule::Complete),
        ("an entry twice", edit(&bundle, |lines| { let at = entries(lines)[6]; let line = lines[at].clone(); lines.insert(at, line); }), Rule::Readable),
        ("entries reordered", edit(&bundle, |lines| { let (a, b) = (entries(lines)[6], entries(lines)[7]); lines.swap(a, b); }), Rule::Complete),
        ("leaves of two batches swapped", edit(&bundle, |lines| {
            let (a, b) = (batches(lines)[6], batches(lines)[7]);
            lines.swap(a, b);
        }), Rule::Covered),
        ("the newest entry left out", edit(&bundle, |lines| { let at = *entries(lines).last().unwrap(); lines.remove(at); }), Rule::Complete),
        ("the first entry left out", edit(&bundle, |lines| { let at = entries(lines)[0]; lines.remove(at); }), Rule::Complete),
        ("no checkpoint", edit(&bundle, |lines| { let at = find(lines, "{\"checkpoint\""); lines.remove(at); }), Rule::Readable),
        ("a larger claim", edit(&bundle, |lines| lines[0] = lines[0].replace(&format!("\"size\":{}", log.entries.len()), &format!("\"size\":{}", log.entries.len() + 1))), Rule::Covered),
        ("another log", edit(&bundle, |lines| lines[0] = lines[0].replace("example.com/log", "example.com/gol")), Rule::Trusted),
        ("other policy content", edit(&bundle, |lines| { let at = find(lines, "{\"policy\""); lines[at] = lines[at].replace("\"content\":\"c", "\"content\":\"d"); }), Rule::Policy),
        ("an invented disclosure", edit(&bundle, |lines| { let at = find(lines, "{\"disclosure\""); lines[at] = lines[at].replace("\"value\":\"Z", "\"value\":\"a"); }), Rule::Disclosure),
        ("a disclosure elsewhere", edit(&bundle, |lines| { let at = find(lines, "{\"disclosure\""); let line = lines.remove(at); lines.insert(at + 2, line); }), Rule::Disclosure),
        ("lines after the end", [&bundle[..], b"{\"end\":{\"lines\":1}}\n"].concat(), Rule::Readable),
        ("a cut file", bundle[..bundle.len() - 2].to_vec(), Rule::Readable),
        ("nothing", vec![], Rule::Readable),
    ] {
        assert_eq!(rule(&bad, &log), Some(wanted), "{what}");
    }
}

#[test]
fn a_dropped_or_borrowed_batch_signature_is_told() {
    let log = honest_log();
    let bundle = log.export();
    let signature =
        |line: &str| line.split_once("\"signature\":\"").unwrap().1.split('"').next().unwrap().to_owned();
    let swapped = edit(&bundle, |lines| {
        let batches: Vec<usize> =
            (0..lines.len()).filter(|at| lines[*at].starts_with("{\"batch\"")).collect();
        let (first, second) = (signature(&lines[batches[3]]), signature(&lines[batches[4]]));
        lines[batches[3]] = lines[batches[3]].replace(&first, &second);
    });
    assert_eq!(rule(&swapped, &log), Some(Rule::BatchSigned));
    let dropped = edit(&bundle, |lines| {
        let at = find(lines, "{\"batch\"");
        lines[at] = lines[at].replace(&signature(&lines[at]), "");
    });
    assert_eq!(rule(&dropped, &log), Some(Rule::Readable));
}

#[test]
fn a_restored_backup_signed_again_with_another_key_is_told() {
    let log = honest_log();
    let kept = log.leaf_hashes(0, 20).unwrap();
    let stranger = keys(31);
    let forged = Checkpoint { origin: "example.com/log".into(), size: 20, root: root_of(&kept) };
    let note = serde_json::to_string(&forged.sign(stranger.log()).unwrap()).unwrap();
    let size = log.entries.len();
    let rolled_back = edit(&log.export(), |lines| {
        lines[0] = lines[0].replace(&format!("\"size\":{size}"), "\"size\":20");
        lines[0] = lines[0].replace(&format!("\"to\":{size}"), "\"to\":20");
        let cut = find(lines, "{\"batch\":{\"first\":20,");
        lines.truncate(cut);
        lines.push(format!("{{\"checkpoint\":{{\"note\":{note}}}}}"));
        lines.push(String::new());
    });
    assert_eq!(rule(&rolled_back, &log), Some(Rule::Signed));
}

#[test]
fn a_rewritten_history_under_the_old_keys_of_a_rotated_log_is_told() {
    // After the rotation the old keys sign nothing any more.
    let mut log = honest_log();
    log.keys = keys(1);
    log.fill(3);
    assert_eq!(rule(&log.export(), &log), Some(Rule::BatchSigned));
}

#[test]
fn exchanging_two_votes_is_told() {
    let log = honest_log();
    let swapped = edit(&log.export(), |lines| {
        let votes: Vec<usize> =
            (0..lines.len()).filter(|at| lines[*at].contains("\"type\":\"approval.voted\"")).collect();
        let leaf = |line: &str| line.split_once("\"leaf\":").unwrap().1.to_owned();
        let (first, second) = (leaf(&lines[votes[0]]), leaf(&lines[votes[1]]));
        lines[votes[0]] = lines[votes[0]].replace(&first, &second);
    });
    assert_eq!(rule(&swapped, &log), Some(Rule::Leaf));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_changed_byte_makes_a_bundle_say_something_else(
        at in any::<proptest::sample::Index>(), byte in any::<u8>(),
    ) {
        thread_local! {
            static HONEST: (Log, Vec<u8>, Report) = {
                let log = honest_log();
                let bundle = log.export();
                let report = check(&bundle, &log).unwrap();
                (log, bundle, report)
            };
        }
        HONEST.with(|(log, good, honest)| {
            let mut bundle = good.clone();
            let at = at.index(bundle.len());
            bundle[at] = byte;
            if let Ok(report) = check(&bundle, log) {
                let mut claimed = report.clone();
                // A smaller range may be claimed: what is said of it is still so.
                prop_assert!(report.from <= report.to && report.to <= report.size);
                (claimed.from, claimed.to) = (honest.from, honest.to);
                prop_assert_eq!(&claimed, honest);
            }
            Ok(())
        })?;
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let log = Log::new();
        prop_assert!(check(&bytes, &log).is_err());
        let header = log.export().split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec();
        prop_assert!(check(&[header, bytes].concat(), &log).is_err());
    }
}
