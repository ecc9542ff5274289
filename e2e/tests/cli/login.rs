//! A person's command line: signed in from their browser, reading what waits for them, and nothing else.

use countersign_demo::person::Strength;
use countersign_e2e::{Gateway, Setup, cli::Ran, cli::countersign_with, client::curl};
use countersign_testkit::server::{Server, json};
use serde_json::{Value, json as value};
use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Stdio, sync::Arc};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

const TARGET: &str = r#"[[http]]
name = "api"
environment = "prod"
listen = "127.0.0.1:WIRE"
upstream = "UPSTREAM"

[[http.operations]]
name = "putThing"
method = "PUT"
path = "/things/{id}"
class = "configure"
sentence = "Change thing {id}"
"#;

const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("production changes")
forbid (principal, action in Action::"configure", resource);
"#;

async fn run(home: &Path, arguments: &[&str]) -> Ran {
    let home_text = home.to_str().unwrap();
    countersign_with(home, arguments, &[("HOME", home_text), ("XDG_CONFIG_HOME", "")]).await.unwrap()
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
    let bearer = format!("Authorization: Bearer {token}");
    let url = format!("{}/things/7", gateway.url);
    let asked =
        curl(&["-X", "PUT", "-H", &bearer, "-H", "Prefer: respond-async", "-d", "{}", &url]).await.unwrap();
    assert_eq!(asked.status, 202, "{}", String::from_utf8_lossy(&asked.body));
    let waits = inbox(home.path()).await;
    assert_eq!((waits.len(), &waits[0]["requester"]["name"]), (1, &value!("bot")));
    let table = run(home.path(), &["inbox", "--once"]).await.stdout;
    assert!(table.contains("Change thing “7”") && table.contains("api (prod)"), "{table}");
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

    assert_eq!(run(home.path(), &["logout"]).await.status, Some(0));
    assert!(!file.exists());
    let over = curl(&["-H", &bearer, &format!("{}/api/v1/approvals", gateway.console_url)]).await.unwrap();
    assert_eq!(over.status, 401);
    for wrong in ["http://example.com", "https://example.com/x", "nonsense"] {
        let ran = run(home.path(), &["login", wrong]).await;
        assert_eq!(ran.status, Some(2), "{wrong}: {}", ran.stderr);
    }
}
