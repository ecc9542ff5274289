//! Bundles as wholes: digests, storage, files, replacement.

use crate::world::*;
use countersign_policy::{Bundle, Membership, Policies, RuleKind, Source, Vocabulary, sources_from_path};
use std::{fs, os::unix::fs::symlink, sync::Arc};

fn two(first: &str, second: &str) -> Vec<Source> {
    let permit = |id: &str| format!("@id(\"{id}\") permit (principal, action, resource);");
    vec![Source::new("a.cedar", permit(first)), Source::new("b.cedar", permit(second))]
}

#[test]
fn a_digest_names_exactly_one_content() {
    let bundle = Bundle::load(two("x", "y"), &vocabulary()).unwrap();
    let mut turned = two("x", "y");
    turned.reverse();
    assert_eq!(
        Bundle::load(turned, &vocabulary()).unwrap().digest(),
        bundle.digest(),
        "order does not matter"
    );
    assert_ne!(Bundle::load(two("x", "z"), &vocabulary()).unwrap().digest(), bundle.digest());
    let mut renamed = two("x", "y");
    renamed[0].name = "c.cedar".into();
    assert_ne!(Bundle::load(renamed, &vocabulary()).unwrap().digest(), bundle.digest());
    let mut declared = vocabulary();
    declared.labels.insert("new".into());
    assert_ne!(Bundle::load(two("x", "y"), &declared).unwrap().digest(), bundle.digest());
}

/// Digests stand in ledgers for years: the same files must have the same digest in every version that speaks this
/// vocabulary.
#[test]
fn a_digest_is_stable_across_versions() {
    // What a configuration does not have leaves no trace in the digest.
    let vocabulary = Vocabulary { channels: [].into(), ..vocabulary() };
    let bundle = Bundle::load(vec![Source::new("rules.cedar", EXAMPLES)], &vocabulary).unwrap();
    assert_eq!(
        bundle.digest().to_string(),
        "sha256:05ca05ae5b69ccd564098b59ca94591d47344e7c723ea812b5f125b4060a9914"
    );
}

#[test]
fn a_stored_bundle_loads_from_its_content_alone_and_decides_alike() {
    let bundle = load(EXAMPLES);
    let stored = Bundle::from_content(bundle.content()).unwrap();
    assert_eq!(stored.digest(), bundle.digest());
    assert_eq!(stored.sources(), bundle.sources());
    assert_eq!(stored.vocabulary(), bundle.vocabulary());
    assert_eq!(stored.decide(&export(), NOW), bundle.decide(&export(), NOW));
}

#[test]
fn stored_content_that_was_touched_is_refused() {
    let content = String::from_utf8(load(EXAMPLES).content().to_vec()).unwrap();
    for touched in [
        content.replace("\"version\":1", "\"version\":2"),
        content.replace("\"Group\":{}", "\"Group\":{\"memberOfTypes\":[\"Group\"]}"),
        content.replace("\"version\":1", "\"version\": 1"),
        content.replace("\"version\":1", "\"other\":1,\"version\":1"),
        String::new(),
    ] {
        assert_ne!(touched, content);
        assert!(Bundle::from_content(touched.as_bytes()).is_err(), "{touched}");
    }
}

#[test]
fn rules_are_listed_with_kind_and_place() {
    let bundle = load(EXAMPLES);
    let found: Vec<_> =
        bundle.rules().map(|rule| (rule.id.to_string(), rule.kind, rule.position.line)).collect();
    assert_eq!(
        found,
        [
            ("platform-agents".to_owned(), RuleKind::Permit, 3),
            ("fedramp-wall".to_owned(), RuleKind::Wall, 7),
            ("pii-export".to_owned(), RuleKind::Gate, 12),
        ]
    );
    assert!(bundle.schema_text().unwrap().contains("crm/exportCustomers"));
}

#[test]
fn a_quorum_larger_than_its_group_is_a_warning() {
    let bundle = load(EXAMPLES);
    let mut members = Membership::new();
    members.insert(group("privacy"), [person(10)].into());
    let warnings = bundle.unreachable_quorums(&members);
    assert_eq!(
        warnings[0].to_string(),
        "rules.cedar:12:1: gate `pii-export` of policy `pii-export` needs 2 people and 1 could approve"
    );
    members.insert(group("privacy"), [person(10), person(11)].into());
    assert_eq!(bundle.unreachable_quorums(&members), []);
}

#[test]
fn a_gate_that_rests_on_groups_that_somebody_else_keeps_is_a_warning() {
    let bundle = load(EXAMPLES);
    let warnings = bundle.resting_on(&[group("privacy"), group("night")].into());
    assert_eq!(
        warnings[0].to_string(),
        "rules.cedar:12:1: gate `pii-export` of policy `pii-export` can be lifted by whoever is on call (`privacy`) and \
         nobody else: whoever edits the schedule chooses who that is, and no cooling-off time sees it; a second gate with a \
         group that is kept here bounds it"
    );
    assert_eq!(warnings.len(), 1);
    // Any of the groups may decide, so that another one beside it bounds nothing.
    let joined = EXAMPLES.replace(r#"Group::\"privacy\""#, r#"[Group::\"privacy\", Group::\"security\"]"#);
    assert_ne!(joined, EXAMPLES);
    assert_eq!(load(&joined).resting_on(&[group("privacy")].into()).len(), 1);
    // Nor does a group that is kept here where another one lifts the gate alone.
    let glass = EXAMPLES
        .replace(r#"Group::\"privacy\"""#, r#"Group::\"security\"") @break_glass("Group::\"privacy\"""#);
    assert_ne!(glass, EXAMPLES);
    assert_eq!(load(&glass).resting_on(&[group("privacy")].into()).len(), 1);
    assert_eq!(bundle.resting_on(&[].into()), []);
}

#[test]
fn a_bad_reload_keeps_the_old_bundle() {
    let policies = Policies::new(load(EXAMPLES));
    let before = policies.current();
    assert!(policies.reload(vec![Source::new("a.cedar", "nonsense")], &vocabulary()).is_err());
    assert!(Arc::ptr_eq(&before, &policies.current()));
    let replaced = policies.reload(two("x", "y"), &vocabulary()).unwrap();
    assert_eq!(replaced.before, before.digest());
    assert_eq!(replaced.after, policies.current().digest());
    assert_eq!(
        word(&before.decide(&export(), NOW).decision),
        "review pii-export",
        "who took the old one keeps it"
    );
}

#[test]
fn files_of_a_folder_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("b.cedar", "b"), ("a.cedar", "a"), ("notes.md", "no"), (".cedar", "no")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let names: Vec<_> =
        sources_from_path(folder.path()).unwrap().into_iter().map(|source| source.name).collect();
    assert_eq!(names, ["a.cedar", "b.cedar"]);
    let one = sources_from_path(&folder.path().join("b.cedar")).unwrap();
    assert_eq!(one, [Source::new("b.cedar", "b")]);
}

#[test]
fn what_cannot_be_trusted_to_be_the_reviewed_file_is_refused() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x.cedar"), "x").unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(outside.path().join("x.cedar"), folder.path().join("link.cedar")).unwrap();
    symlink("nowhere", folder.path().join("lost.cedar")).unwrap();
    fs::write(folder.path().join("latin.cedar"), b"// caf\xe9").unwrap();
    fs::create_dir(folder.path().join("folder.cedar")).unwrap();
    let told = told(&sources_from_path(folder.path()).unwrap_err());
    assert!(told.contains("`link.cedar` is a link that leaves the folder"), "{told}");
    assert!(told.contains("`lost.cedar` cannot be opened"), "{told}");
    assert!(told.contains("`latin.cedar` is not UTF-8 (byte 6)"), "{told}");
    assert!(told.contains("`folder.cedar` is not a regular file"), "{told}");
    fs::write(folder.path().join("a.cedar"), "a").unwrap();
    assert!(sources_from_path(folder.path()).is_err(), "nothing is loaded from a folder with a bad file");
    let empty = tempfile::tempdir().unwrap();
    assert!(sources_from_path(empty.path()).is_err());
    assert!(sources_from_path(&empty.path().join("missing")).is_err());
}

#[test]
fn links_inside_the_folder_are_fine() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("real.txt"), "x").unwrap();
    symlink("real.txt", folder.path().join("x.cedar")).unwrap();
    assert_eq!(sources_from_path(folder.path()).unwrap(), [Source::new("x.cedar", "x")]);
}
