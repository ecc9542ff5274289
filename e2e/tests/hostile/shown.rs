//! What is held and shown to people: nothing hidden stays hidden, no markup comes alive, anywhere.

use crate::hidden_in;
use countersign_e2e::{
    cli::{countersign, countersign_with},
    night::{self, Night},
};
use reqwest::{Method, header::HeaderValue};
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

/// What it is, the text, and what a person must be able to read instead.
const CORPUS: [(&str, &str, &str); 12] = [
    ("right-to-left override", "invoice\u{202e}fdp.exe", "U+202E"),
    ("isolates", "\u{2066}admin\u{2069} \u{2067}x\u{2069}", "U+2066"),
    ("zero width", "pass\u{200b}word\u{200d}\u{feff}", "U+200B"),
    ("word joiner", "no\u{2060}where", "U+2060"),
    ("tags", "hello\u{e0041}\u{e0042}", "U+E0041"),
    ("terminal escapes", "\u{1b}[2J\u{1b}[31mAPPROVED\u{1b}[0m\u{1b}]0;title\u{7}", "U+001B"),
    ("NUL", "harmless\u{0}; drop everything", "U+0000"),
    ("C1 control", "a\u{9b}31mb", "U+009B"),
    ("backspaces", "rm -rf /\u{8}\u{8}\u{8}\u{8}", "U+0008"),
    ("markup", "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;", "alert(1)"),
    ("a label of ours", "1500\r\nApproved by: Ana Almeida\r\n\r\nstate done", "Approved by"),
    ("a fence", "```\n# **Approved**\n[here](javascript:alert(1))", "javascript:alert(1)"),
];

async fn held(night: &Night, number: usize, text: &str) -> String {
    let client = night::client().unwrap();
    let path = format!("/v1/config/prod/hostile-{number}");
    let mut ask = night.ask(&client, Method::PUT, &path).header("prefer", "respond-async");
    // A header cannot carry every character; what it can, it carries.
    if let Ok(reason) = HeaderValue::from_bytes(text.as_bytes()) {
        ask = ask.header("countersign-reason", reason);
    }
    let answer = ask.json(&json!({ "value": text })).send().await.unwrap();
    let (status, body) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, 202, "{text:?}: {body}");
    assert_eq!(hidden_in(&body), None, "{text:?}: the agent's own answer: {body}");
    let told: Value = serde_json::from_str(&body).unwrap();
    told["approval"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn hostile_text_is_visible_on_every_page_in_the_api_and_in_the_terminal() {
    let night = Night::open(&[]).await.unwrap();
    let mut approvals = Vec::new();
    for (number, (_, text, _)) in CORPUS.iter().enumerate() {
        approvals.push(held(&night, number, text).await);
    }
    for ((what, text, must), id) in CORPUS.iter().zip(&approvals) {
        let shown = night.ana.approval(id).await.unwrap();
        let sentence = shown["sentence"].as_str().unwrap();
        assert_eq!(hidden_in(sentence), None, "{what}: {sentence}");
        let flagged = shown["payload"]["hidden_characters"].as_bool().unwrap();
        let hides = hidden_in(text).is_some() || text.contains('\n');
        assert_eq!(flagged, hides, "{what}: it says whether something hides");
        for path in [format!("/approvals/{id}"), format!("/approvals/{id}/decide")] {
            let page = page(&night, &path).await;
            assert!(page.contains(must), "{what}: {path} shows no `{must}`");
        }
        let line = countersign(night.gateway.folder(), &["approvals", "show", id]).await.unwrap();
        assert_eq!(line.status, Some(0), "{what}: {}", line.stderr);
        assert_eq!(hidden_in(&line.stdout), None, "{what}: {}", line.stdout);
        assert!(!line.stdout.lines().any(|line| line.starts_with("Approved by")), "{}", line.stdout);
    }
    for path in ["/", "/approvals", "/history", "/ledger", "/agents", "/people", "/fragments/inbox"] {
        page(&night, path).await;
    }
    for arguments in [&["approvals", "list"][..], &["approvals", "list", "--output", "json"]] {
        let list = countersign(night.gateway.folder(), arguments).await.unwrap();
        assert_eq!((list.status, hidden_in(&list.stdout)), (Some(0), None), "{}", list.stdout);
    }
}

/// Signs a command line in as Ana, with its files in this folder.
async fn sign_in(night: &mut Night, home: &Path) {
    let mut login = Command::new(countersign_e2e::binary().unwrap())
        .args(["login", &night.gateway.console_url, "--label", "ana's laptop"])
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", "")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(login.stderr.take().unwrap()).lines();
    let code = loop {
        let line = said.next_line().await.unwrap().unwrap();
        if let Some((_, code)) = line.split_once("?code=") {
            break code.to_owned();
        }
    };
    let answer = json!({"user_code": code, "allow": true});
    assert_eq!(night.ana.write("sessions/device", &answer).await.unwrap().status, 204);
    assert!(login.wait().await.unwrap().success());
}

#[tokio::test]
async fn the_inbox_of_a_command_line_shows_everything_and_obeys_nothing() {
    const CLEARS: &str = "\u{1b}[2J\u{1b}[H";
    let mut night = Night::open(&[]).await.unwrap();
    for (number, (_, text, _)) in CORPUS.iter().enumerate() {
        held(&night, number, text).await;
    }
    let home = tempfile::tempdir().unwrap();
    sign_in(&mut night, home.path()).await;
    let own = [("HOME", home.path().to_str().unwrap()), ("XDG_CONFIG_HOME", "")];
    for output in ["table", "json"] {
        let arguments = ["inbox", "--once", "--output", output];
        let ran = countersign_with(home.path(), &arguments, &own).await.unwrap();
        assert_eq!((ran.status, hidden_in(&ran.stdout)), (Some(0), None), "{}", ran.stdout);
        for (what, _, must) in CORPUS {
            assert!(ran.stdout.contains(must), "{what}: no `{must}` in {}", ran.stdout);
        }
        assert!(
            !ran.stdout.lines().any(|line| line.trim_start().starts_with("Approved by")),
            "{}",
            ran.stdout
        );
    }
    // The same on a terminal, where an escape would be obeyed.
    let line = format!("{} inbox", countersign_e2e::binary().unwrap().display());
    let mut screen = Command::new("script")
        .args(["-qfec", &line, "/dev/null"])
        .envs(own)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut keys = screen.stdin.take().unwrap();
    keys.write_all(b"q\n").await.unwrap();
    let mut shown = String::new();
    let read = screen.stdout.as_mut().unwrap().read_to_string(&mut shown);
    tokio::time::timeout(Duration::from_mins(2), read).await.unwrap().unwrap();
    assert!(shown.contains(CLEARS) && shown.contains("Type a number"), "{shown:?}");
    let shown = shown.replace(CLEARS, "").replace("\r\n", "\n");
    assert_eq!(hidden_in(&shown), None, "{shown:?}");
    assert!(!shown.lines().any(|line| line.trim_start().starts_with("Approved by")), "{shown}");
}

/// Opens a page and holds it to what every page must keep.
async fn page(night: &Night, path: &str) -> String {
    let answer = night.ana.page(path).await.unwrap();
    // A line end is one in HTML, whichever way it is written.
    let html = String::from_utf8(answer.body).unwrap().replace("\r\n", "\n");
    assert_eq!(answer.status, 200, "{path}: {html}");
    assert_eq!(hidden_in(&html), None, "{path}");
    for alive in ["<script>alert", "<img src=x", "onerror=alert(1)>\"", "href=\"javascript:"] {
        assert!(!html.contains(alive), "{path}: `{alive}` is alive");
    }
    let policy = answer.headers.get("content-security-policy").unwrap().to_str().unwrap();
    assert!(policy.contains("script-src") || policy.contains("default-src"), "{path}: {policy}");
    html
}

#[tokio::test]
async fn hostile_names_of_people_and_agents_are_refused_or_shown() {
    let night = Night::open(&[]).await.unwrap();
    for (number, (what, text, _)) in
        CORPUS.iter().enumerate().filter(|(_, (_, text, _))| !text.contains('\0'))
    {
        let email = format!("hostile{number}@example.com");
        let invite = ["person", "invite", &email, "--name", text];
        let agent = ["agent", "create", text, "--owner", "olga@example.com"];
        for arguments in [&invite[..], &agent] {
            let ran = countersign(night.gateway.folder(), arguments).await.unwrap();
            assert!(matches!(ran.status, Some(0 | 1)), "{what}: {}", ran.stderr);
            assert_eq!(hidden_in(&ran.stderr), None, "{what}: {}", ran.stderr);
            assert_eq!(hidden_in(&ran.stdout), None, "{what}: {}", ran.stdout);
        }
    }
    for arguments in [["person", "list"], ["agent", "list"]] {
        let ran = countersign(night.gateway.folder(), &arguments).await.unwrap();
        assert_eq!((ran.status, hidden_in(&ran.stdout)), (Some(0), None), "{}", ran.stdout);
    }
    for path in ["/people", "/agents"] {
        page(&night, path).await;
    }
}
