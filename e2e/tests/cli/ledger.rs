//! The record in the operator's hands: keys, restores, exports, and everything the verifier must find.

use crate::Desk;
use countersign_e2e::{Gateway, Setup, ledger};
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
};

fn key(value: &Value) -> String {
    value["log_key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bundle_that_was_touched_or_is_anothers_ends_with_3() {
    let desk = Desk::open().await;
    desk.json(&["person", "invite", "ana@example.com", "--group", "sre"]).await;
    desk.json(&["agent", "create", "bot", "--owner", "ana@example.com"]).await;
    let own = key(&desk.json(&["export", "--file", "all.jsonl", "--disclose", "all"]).await);
    desk.run(&["verify", "all.jsonl", "--key", &own]).await;
    let whole = fs::read_to_string(desk.path().join("all.jsonl")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let without = |kind: &str| {
        let at = lines.iter().position(|line| line.starts_with(&format!("{{\"{kind}\""))).unwrap();
        lines.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, line)| *line).collect::<Vec<_>>()
    };
    let mut swapped = lines.clone();
    let entries: Vec<usize> =
        (0..lines.len()).filter(|index| lines[*index].starts_with("{\"entry\"")).collect();
    swapped.swap(entries[1], entries[2]);
    for (what, text) in [
        ("an edited entry", whole.replace("\"sre\"", "\"srx\"")),
        ("another event", whole.replacen("agent.created", "agent.changed", 1)),
        ("an entry left out", without("entry").join("\n")),
        ("a batch left out", without("batch").join("\n")),
        ("no checkpoint", without("checkpoint").join("\n")),
        ("entries swapped", swapped.join("\n")),
        ("cut in the middle", whole.chars().take(whole.len() / 2).collect()),
        ("the end cut off", lines[..lines.len() - 1].join("\n")),
        ("nothing", String::new()),
        ("not JSON", "hello".into()),
    ] {
        desk.write("touched.jsonl", text);
        let ran = desk.run(&["verify", "touched.jsonl", "--key", &own, "--output", "json"]).await;
        assert_eq!(ran.status, Some(3), "{what}: {}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.json()["verified"], false, "{what}: {}", ran.stdout);
        assert!(ran.stderr.contains("\n\nhint: "), "{what}: {}", ran.stderr);
    }
    let other = key(&Desk::open().await.json(&["log", "key"]).await);
    desk.refused(&["verify", "all.jsonl", "--key", &other], 3, &["hint: "]).await;
    desk.refused(&["verify", "none.jsonl", "--key", &own], 2, &["`none.jsonl`"]).await;
}

#[tokio::test]
async fn after_a_rotation_the_first_key_still_verifies_the_whole_log() {
    let desk = Desk::open().await;
    let first = key(&desk.json(&["log", "key"]).await);
    desk.json(&["person", "invite", "ana@example.com"]).await;
    let second = key(&desk.json(&["log", "rotate-keys"]).await);
    assert_ne!(first, second);
    desk.json(&["person", "invite", "ben@example.com"]).await;
    assert_eq!(key(&desk.json(&["export", "--file", "all.jsonl"]).await), second);
    let verified = desk.json(&["verify", "all.jsonl", "--key", &first]).await;
    assert_eq!(verified["verified"], true);
    let entries = ledger::read(&fs::read_to_string(desk.path().join("all.jsonl")).unwrap()).unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "key.rotated").count(), 1);
    desk.json(&["log", "audit"]).await;
}

#[tokio::test]
async fn a_restored_backup_is_refused_until_it_is_accepted_on_record() {
    let desk = Desk::open().await;
    desk.json(&["person", "invite", "ana@example.com"]).await;
    let copy = |from: &str, to: &str| {
        let status = Command::new("cp").args(["-a", from, to]).current_dir(desk.path()).status().unwrap();
        assert!(status.success());
    };
    copy("data", "backup");
    desk.json(&["person", "invite", "ben@example.com"]).await;
    fs::remove_dir_all(desk.path().join("data")).unwrap();
    copy("backup", "data");
    for command in [&["serve"][..], &["person", "list"], &["export"], &["log", "audit"]] {
        let says = ["a backup was restored", "\n\nhint: ", "accept-rollback"];
        desk.refused(command, 1, &says).await;
    }
    let accepted = desk.json(&["log", "accept-rollback"]).await;
    assert!(accepted["size"].as_u64() < accepted["mark"].as_u64(), "{accepted}");
    let own = key(&desk.json(&["export", "--file", "all.jsonl"]).await);
    assert_eq!(desk.json(&["verify", "all.jsonl", "--key", &own]).await["verified"], true);
    let entries = ledger::read(&fs::read_to_string(desk.path().join("all.jsonl")).unwrap()).unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "log.rollback_accepted").count(), 1);
}

#[tokio::test]
async fn a_gateway_over_an_edited_log_stops_and_says_which_entry() {
    // The last byte of the oldest batch; says which entry that is of.
    const EDIT: &str = "import sqlite3, sys
log = sqlite3.connect(sys.argv[1])
count, entries = log.execute('SELECT count, entries FROM batch WHERE first = 0').fetchone()
log.execute('UPDATE batch SET entries = ? WHERE first = 0', (entries[:-1] + b' ',))
log.commit()
print(count - 1, end='')";
    let desk = Desk::open().await;
    desk.json(&["person", "invite", "ana@example.com"]).await;
    desk.json(&["person", "invite", "ben@example.com"]).await;
    let database = desk.path().join("data/countersign.db");
    let edited = Command::new("python3").args(["-c", EDIT]).arg(database).output().unwrap();
    assert!(edited.status.success());
    let entry = format!("entry {} ", String::from_utf8(edited.stdout).unwrap());
    desk.refused(&["serve"], 1, &["does not hold", &entry, "\n\nhint: keep this database"]).await;
}

#[tokio::test]
async fn a_key_that_others_can_read_or_that_is_missing_is_refused_with_its_remedy() {
    let desk = Desk::open().await;
    desk.json(&["log", "key"]).await;
    let file = desk.path().join("data/keys/log.key");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    desk.refused(&["person", "list"], 1, &["mode 644", "\n\nhint: run `chmod 600"]).await;
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    desk.json(&["person", "list"]).await;
    fs::rename(&file, desk.path().join("kept")).unwrap();
    desk.refused(&["person", "list"], 1, &["log.key", "\n\nhint: restore it"]).await;
}

#[tokio::test]
async fn tiles_are_brought_up_to_date_and_those_of_another_log_are_left_alone() {
    let desk = Desk::open().await;
    let first = desk.json(&["log", "tiles", "mirror"]).await;
    assert_eq!(first["from"], 0);
    desk.json(&["person", "invite", "ana@example.com"]).await;
    let second = desk.json(&["log", "tiles", "mirror"]).await;
    assert_eq!(second["from"], first["size"]);
    let note = fs::read_to_string(desk.path().join("mirror/checkpoint")).unwrap();
    assert_eq!(note.lines().nth(1), Some(&*second["size"].to_string()));
    let size = second["size"].as_u64().unwrap();
    let leaves = fs::metadata(desk.path().join(format!("mirror/tile/0/000.p/{size}"))).unwrap();
    assert_eq!(leaves.len(), size * 32);
    let told = desk.run(&["log", "tiles", "mirror"]).await;
    assert!(told.stdout.contains(&format!("it held {size} before")), "{}", told.stdout);
    let other = Desk::open().await;
    let mirror = desk.path().join("mirror").display().to_string();
    other.refused(&["log", "tiles", &mirror], 1, &["none of this log", "hint: "]).await;
    desk.write("file", "x");
    desk.refused(&["log", "tiles", "file"], 1, &["hint: "]).await;
}

#[tokio::test]
async fn an_erased_value_is_gone_and_the_log_says_so_and_verifies() {
    let desk = Desk::open().await;
    desk.json(&["person", "invite", "ana@example.com", "--name", "Ana Forgotten"]).await;
    let key = key(&desk.json(&["export", "--file", "before.jsonl", "--disclose", "all"]).await);
    let read = |name: &str| ledger::read(&fs::read_to_string(desk.path().join(name)).unwrap()).unwrap();
    let invited = |name: &str| read(name).into_iter().find(|entry| entry.kind == "person.invited").unwrap();
    let before = invited("before.jsonl");
    assert_eq!(before.disclosed["name"], "Ana Forgotten");
    let id = before.leaf["id"].as_str().unwrap();
    let why = ["--reason", "asked to be forgotten"];
    let done = desk.json(&[&["log", "redact", id, "name", "email"][..], &why].concat()).await;
    assert_eq!(done["erased"], serde_json::json!(["email", "name"]));
    desk.refused(&[&["log", "redact", id, "name"][..], &why].concat(), 1, &["erased already"]).await;
    desk.refused(&[&["log", "redact", "nonsense", "name"][..], &why].concat(), 1, &["`entry`"]).await;
    desk.refused(&["log", "redact", id, "role"], 2, &["--reason"]).await;
    desk.json(&["export", "--file", "after.jsonl", "--disclose", "all"]).await;
    let after = invited("after.jsonl");
    assert_eq!(after.leaf, before.leaf, "the entry is what it was");
    assert_eq!(after.disclosed.keys().collect::<Vec<_>>(), ["role"]);
    let redacted = read("after.jsonl").into_iter().find(|entry| entry.kind == "ledger.redacted").unwrap();
    assert_eq!(redacted.disclosed["reason"], "asked to be forgotten");
    let verified = desk.json(&["verify", "after.jsonl", "--key", &key]).await;
    assert_eq!((&verified["verified"], &verified["erased"]), (&true.into(), &2.into()));
    let told = desk.run(&["verify", "after.jsonl", "--key", &key]).await;
    assert!(told.stdout.contains("2 private values were erased"), "{}", told.stdout);
    // What was exported before is in other hands.
    assert_eq!(desk.json(&["verify", "before.jsonl", "--key", &key]).await["erased"], 0);
}

#[tokio::test]
async fn a_running_gateway_lays_out_tiles_and_erases_at_its_own_socket() {
    let setup = Setup {
        policy: include_str!("../../fixtures/nginx.cedar"),
        groups: r#"["operators"]"#,
        sections: "[[http]]\nlisten = \"127.0.0.1:WIRE\"\nname = \"files\"\nenvironment = \"prod\"\nupstream = \"http://127.0.0.1:9\"\n",
        files: &[],
    };
    let gateway = Gateway::start(&setup).await.unwrap();
    gateway.invite("olga@example.com", "operators").await.unwrap();
    let tiles = gateway.command(&["log", "tiles", "mirror"]).await.unwrap();
    let note = fs::read_to_string(gateway.folder().join("mirror/checkpoint")).unwrap();
    assert_eq!(note.lines().nth(1), Some(&*tiles["size"].to_string()));
    gateway.command(&["export", "--file", "all.jsonl"]).await.unwrap();
    let entries = ledger::read(&fs::read_to_string(gateway.folder().join("all.jsonl")).unwrap()).unwrap();
    let invited = entries.iter().find(|entry| entry.kind == "person.invited").unwrap();
    let id = invited.leaf["id"].as_str().unwrap();
    let done = gateway.command(&["log", "redact", id, "email", "--reason", "test"]).await.unwrap();
    assert_eq!(done["erased"], serde_json::json!(["email"]));
}
