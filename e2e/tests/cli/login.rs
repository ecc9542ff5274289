//! A person's command line: signed in from their browser, reading what waits for them, and nothing else.

use countersign_demo::person::Strength;
use countersign_e2e::{Gateway, Setup, cli::Ran, cli::countersign_with, client::curl};
use countersign_testkit::server::{Server, json};
use serde_json::{Value, json as value};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

const TARGET: &str = include_str!("../../fixtures/things.toml");

const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("production changes")
forbid (principal, action in Action::"configure", resource);
"#;

async fn run(home: &Path, arguments: &[&str]) -> Ran {
    let home_text = home.to_str().unwrap();
    countersign_with(home, arguments, &[("HOME", home_text), ("XDG_CONFIG_HOME", "")]).await.unwrap()
}

/// `countersign inbox` on a terminal of its own.
struct Screen {
    program: Child,
    /// What was written since something was last looked for; it may end inside a letter.
    shown: Vec<u8>,
    file: PathBuf,
}

impl Screen {
    fn open(home: &Path) -> Self {
        let bin = home.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let file = home.join("opened");
        // Stands for the browser.
        let opener = bin.join("xdg-open");
        std::fs::write(
            &opener,
            format!("#!/bin/sh\nprintf %s \"$1\" > {}.new\nmv {0}.new {0}\n", file.display()),
        )
        .unwrap();
        std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let line = format!("{} inbox", countersign_e2e::binary().unwrap().display());
        let program = Command::new("script")
            .args(["-qfec", &line, "/dev/null"])
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", "")
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { program, shown: Vec::new(), file }
    }

    /// Waits until this is written.
    async fn shows(&mut self, text: &str) {
        let out = self.program.stdout.as_mut().unwrap();
        let mut piece = [0; 4096];
        loop {
            let shown = String::from_utf8_lossy(&self.shown);
            if shown.contains(text) {
                break;
            }
            let read = timeout(Duration::from_mins(2), out.read(&mut piece)).await;
            let read = read.unwrap_or_else(|_| panic!("no `{text}` in\n{shown}")).unwrap();
            assert!(read > 0, "it ended before `{text}`:\n{shown}");
            self.shown.extend_from_slice(piece.get(..read).unwrap());
        }
        self.shown.clear();
    }

    async fn types(&mut self, line: &str) {
        let keys = self.program.stdin.as_mut().unwrap();
        keys.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    /// What the browser was given.
    async fn opened(&self) -> String {
        let there = async {
            while !self.file.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_mins(2), there).await.unwrap();
        std::fs::read_to_string(&self.file).unwrap()
    }
}

async fn inbox(home: &Path) -> Vec<Value> {
    let ran = run(home, &["inbox", "--once", "--output", "json"]).await;
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_line_shows_what_waits_for_its_person_and_votes_for_nobody() {
    let upstream = Server::start(Arc::new(|_| json(http::StatusCode::OK, &value!({})))).await.unwrap();
    let sections = TARGET.replace("UPSTREAM", &upstream.url());
    let setup = Setup { policy: POLICY, groups: r#"["agents", "sre"]"#, sections: &sections, files: &[] };
    let gateway = Gateway::start(&setup).await.unwrap();
    gateway.invite("olga@example.com", "agents").await.unwrap();
    let mut ana = gateway.person("ana@example.com", "sre").await.unwrap();
    let token = gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
    let home = TempDir::new().unwrap();
    let not_yet = run(home.path(), &["inbox", "--once"]).await;
    assert_eq!(not_yet.status, Some(1));
    assert!(not_yet.stderr.contains("countersign login"), "{}", not_yet.stderr);

    let mut login = Command::new(countersign_e2e::binary().unwrap())
        .args(["login", &gateway.console_url, "--label", "ana's laptop"])
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", "")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
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
    let page = ana.page(&format!("/device?code={code}")).await.unwrap();
    assert!(String::from_utf8_lossy(&page.body).contains("laptop"));
    let answer = value!({"user_code": code, "allow": true});
    assert_eq!(ana.write("sessions/device", &answer).await.unwrap().status, 204);
    let done = login.wait_with_output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    let file = home.path().join(".config/countersign/login.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).unwrap();
    let secret = serde_json::from_str::<Value>(&kept).unwrap()["token"].as_str().unwrap().to_owned();
    assert!(!String::from_utf8_lossy(&done.stdout).contains(&secret) && !gateway.log().contains(&secret));

    assert!(inbox(home.path()).await.is_empty());
    let mut screen = Screen::open(home.path());
    screen.shows("Nothing waits for you.").await;
    let bearer = format!("Authorization: Bearer {token}");
    let url = format!("{}/things/7", gateway.url);
    let asked =
        curl(&["-X", "PUT", "-H", &bearer, "-H", "Prefer: respond-async", "-d", "{}", &url]).await.unwrap();
    assert_eq!(asked.status, 202, "{}", String::from_utf8_lossy(&asked.body));
    let waits = inbox(home.path()).await;
    assert_eq!((waits.len(), &waits[0]["requester"]["name"]), (1, &value!("bot")));
    let table = run(home.path(), &["inbox", "--once"]).await.stdout;
    assert!(table.contains("Change thing “7”") && table.contains("api (prod)"), "{table}");
    // On a terminal it is there by itself; a number opens the page, and nothing typed there decides.
    screen.shows("Change thing “7”").await;
    screen.types("2").await;
    screen.shows("There is no number 2.").await;
    screen.types("1").await;
    let page = format!("{}/approvals/{}", gateway.console_url, waits[0]["id"].as_str().unwrap());
    screen.shows(&page).await;
    assert_eq!(screen.opened().await, page);
    // With its token, a vote is refused: it is cast on the page.
    let id = waits[0]["id"].as_str().unwrap().to_owned();
    let bearer = format!("Authorization: Bearer {secret}");
    let origin = format!("Origin: {}", gateway.console_url);
    let vote = format!("{}/api/v1/approvals/{id}/ballot", gateway.console_url);
    let body = r#"{"decision":"approve"}"#;
    let kind = "Content-Type: application/json";
    let refused = curl(&["-H", &bearer, "-H", &origin, "-H", kind, "-d", body, &vote]).await.unwrap();
    assert_eq!(refused.status, 403, "{}", String::from_utf8_lossy(&refused.body));
    let voted = ana.vote(&id, "approve", Strength::Session, None).await.unwrap();
    assert!(voted.is_success(), "{}", voted.told());
    assert!(inbox(home.path()).await.is_empty());
    screen.shows("Nothing waits for you.").await;
    screen.types("q").await;
    assert!(screen.program.wait().await.unwrap().success());

    assert_eq!(run(home.path(), &["logout"]).await.status, Some(0));
    assert!(!file.exists());
    let over = curl(&["-H", &bearer, &format!("{}/api/v1/approvals", gateway.console_url)]).await.unwrap();
    assert_eq!(over.status, 401);
    for wrong in ["http://example.com", "https://example.com/x", "nonsense"] {
        let ran = run(home.path(), &["login", wrong]).await;
        assert_eq!(ran.status, Some(2), "{wrong}: {}", ran.stderr);
    }
}

/// A command line asks through a proxy, and a person's page says from where.
async fn asks_from(gateway: &Gateway, email: &str, seen: &str) {
    let person = gateway.person(email, "sre").await.unwrap();
    let begin = format!("{}/api/v1/session/device", gateway.console_url);
    let origin = format!("Origin: {}", gateway.console_url);
    let kind = "Content-Type: application/json";
    let through = "X-Forwarded-For: 203.0.113.66, 198.51.100.7";
    let label = r#"{"label":"laptop"}"#;
    let begun = curl(&["-H", &origin, "-H", kind, "-H", through, "-d", label, &begin]).await.unwrap();
    let begun: Value = serde_json::from_slice(&begun.body).unwrap();
    let code = begun.get("user_code").and_then(Value::as_str).unwrap();
    let page = format!("/device?code={code}");
    let page = person.page(&page).await.unwrap();
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains(&format!("from {seen}<")), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_the_configuration_names_a_person_sees_whose_command_line_asks() {
    let setup = Setup {
        policy: POLICY,
        groups: r#"["agents", "sre"]"#,
        sections: &TARGET.replace("UPSTREAM", "http://127.0.0.1:9"),
        files: &[],
    };
    let mut gateway = Gateway::start(&setup).await.unwrap();
    asks_from(&gateway, "ana@example.com", "127.0.0.1").await;
    let configuration = gateway.folder().join("countersign.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let named = text.replace("[console]\n", "[console]\nproxies = [\"127.0.0.0/8\"]\n");
    std::fs::write(&configuration, named).unwrap();
    assert_eq!(gateway.stop().unwrap(), Some(0));
    gateway.restart().await.unwrap();
    asks_from(&gateway, "ben@example.com", "198.51.100.7").await;
}
