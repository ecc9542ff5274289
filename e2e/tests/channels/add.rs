//! `countersign channel add`, as somebody types at a terminal, up to a test message that arrives.

use super::SECRET;
use crate::receiver::{Receiver, TAKEN};
use countersign_e2e::cli::{Ran, countersign, countersign_with};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};

/// What a terminal showed while this was typed there, and how it ended.
async fn typed(folder: &Path, arguments: &str, lines: &[&str]) -> (bool, String) {
    let line = format!("{} {arguments}", countersign_e2e::binary().unwrap().display());
    let mut program = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut keys = program.stdin.take().unwrap();
    keys.write_all(format!("{}\n", lines.join("\n")).as_bytes()).await.unwrap();
    let mut shown = String::new();
    let mut out = program.stdout.take().unwrap();
    let ends = async {
        let _ = out.read_to_string(&mut shown).await;
        program.wait().await.unwrap().success()
    };
    let well = timeout(Duration::from_mins(3), ends).await.unwrap();
    drop(keys);
    (well, shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_set_up_at_a_terminal_and_tried_end_to_end() {
    let receiver = Receiver::start(TAKEN).await;
    let folder = tempfile::tempdir().unwrap();
    let made: Ran = countersign(folder.path(), &["init", "."]).await.unwrap();
    assert_eq!(made.status, Some(0), "{}", made.stderr);
    let file = folder.path().join("countersign.toml");
    let before = std::fs::read_to_string(&file).unwrap();

    // An address that others could read along, and a secret that was pasted by mistake.
    let lines = ["siem", "http://hooks.example.com/in", SECRET, "env:SIEM_SECRET", "", &receiver.url];
    let (well, shown) = typed(folder.path(), "channel add webhook", &lines).await;
    assert!(well, "{shown}");
    for words in [
        "What is it called here",
        "a secret is not typed here",
        "without TLS",
        "countersign channel test siem",
    ] {
        assert!(shown.contains(words), "`{words}` is not in {shown}");
    }
    let after = std::fs::read_to_string(&file).unwrap();
    let section = after.strip_prefix(&before).unwrap();
    assert!(section.contains("secret_from = \"env:SIEM_SECRET\"") && !section.contains(SECRET), "{section}");

    let environment = [("SIEM_SECRET", SECRET)];
    let tested = countersign_with(folder.path(), &["channel", "test", "siem"], &environment).await.unwrap();
    assert_eq!(tested.status, Some(0), "{}", tested.stderr);
    assert_eq!(receiver.got().last().unwrap().kind(), "channel.test");

    // Nothing that is there is changed, and what is left open writes nothing.
    let (well, shown) = typed(folder.path(), "channel add slack --name siem", &[]).await;
    assert!(!well && shown.contains("there is a channel `siem` already"), "{shown}");
    let (well, shown) = typed(folder.path(), "channel add jira --name tickets", &["\u{4}"]).await;
    assert!(!well && shown.contains("nothing was written"), "{shown}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
}
