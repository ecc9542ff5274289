//! Deciding in a channel, with the guide's own script as the channel: whose word it is, what it lifts, and that it counts
//! once whatever is killed in between.

use crate::{
    Stage, has, picture,
    receiver::{Receiver, TAKEN},
    webhook,
};
use countersign_e2e::{browser::Browser, night};
use serde_json::{Value, json};
use std::path::Path;
use tokio::process::Command;

/// What `inward_secret_from` names.
pub(crate) const INWARD: &str = "whsec_b3VyIG93biBzZWNyZXQgZm9yIHRoaXMgd2F5IQ==";

/// What the script said, and how it ended.
struct Said {
    status: Option<i32>,
    answer: Value,
    error: String,
}

impl Said {
    fn code(&self) -> &str {
        self.answer["code"].as_str().unwrap_or_else(|| panic!("no answer: {}", self.error))
    }
}

struct Bridge<'s> {
    stage: &'s Stage,
    secret: &'s str,
}

impl Bridge<'_> {
    /// Runs the guide's script; `delivery` as `webhook-id`.
    async fn say(&self, delivery: &str, words: &[&str]) -> Said {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/chat_bridge.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(&self.stage.gateway.console_url).arg("team").args(words);
        command.env("CHAT_INWARD_SECRET", self.secret).env("DELIVERY", delivery).kill_on_drop(true);
        let done = command.output().await.unwrap();
        Said {
            status: done.status.code(),
            answer: serde_json::from_slice(&done.stdout).unwrap_or(Value::Null),
            error: String::from_utf8_lossy(&done.stderr).into_owned(),
        }
    }
}

async fn open() -> (Stage, Receiver) {
    let team = Receiver::start(TAKEN).await;
    let more = "hears = \"everything\"\ninward_secret_from = \"file:inward\"";
    (Stage::open(&webhook("team", &team.url, more)).await, team)
}

/// What the channel was told of an approval's request last: its id, and what a decision on it comes back with.
async fn asked(team: &Receiver, table: &str) -> (String, String) {
    let of = |got: &crate::receiver::Got| {
        let event = got.event();
        let sentence =
            event["data"]["message"]["computed"]["sentence"].as_str().unwrap_or_default().to_owned();
        (got.kind() == "approval.requested" && sentence.contains(table)).then_some(event)
    };
    let got = team.until("the request", |got| got.iter().any(|got| of(got).is_some())).await;
    let event = got.iter().find_map(of).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&event["data"]["approval"]), text(&event["data"]["shown"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guides_script_binds_a_user_who_then_decides_where_the_gate_accepts_it() {
    let (mut stage, team) = open().await;
    let link = stage.gateway.invite("ana@example.com", "dba").await.unwrap();
    let ana = countersign_demo::person::Person::open(&stage.gateway.console_url, &link).await.unwrap();
    stage.ask("PATCH", "cache").await;
    let (approval, shown) = asked(&team, "cache").await;
    let bridge = Bridge { stage: &stage, secret: INWARD };

    // Nobody's user can look and open, and no more.
    let stranger = bridge.say("m1", &["approve", "U1", &approval, &shown]).await;
    assert_eq!((stranger.status, stranger.code()), (Some(2), "not-bound"));
    let other = Bridge { stage: &stage, secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" };
    let forged = other.say("m2", &["approve", "U1", &approval, &shown]).await;
    assert!(forged.status == Some(1) && forged.error.contains("401 not-signed"), "{}", forged.error);
    // Nor with the secret that the channel is told with.
    let other = Bridge { stage: &stage, secret: crate::SECRET };
    assert_eq!(other.say("m3", &["approve", "U1", &approval, &shown]).await.status, Some(1));

    let offer = bridge.say("m4", &["bind", "U1", "Ana"]).await;
    assert_eq!((offer.status, offer.code()), (Some(0), "link"));
    let code = offer.answer["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let bound = ana.write("bindings", &json!({"code": code})).await.unwrap();
    assert_eq!(bound.status, 201);

    let decided = bridge.say("m5", &["approve", "U1", &approval, &shown]).await;
    assert_eq!((decided.status, decided.code()), (Some(0), "granted"));
    team.until("the result", |got| has(got, "execution.result")).await;

    // A gate that asks for more leads to its page; a rejection needs no more, and its reason is the person's.
    stage.ask("DELETE", "orders").await;
    let (delete, shown) = asked(&team, "orders").await;
    let refused = bridge.say("m6", &["approve", "U1", &delete, &shown]).await;
    assert_eq!((refused.status, refused.code()), (Some(2), "open-page"));
    assert!(refused.answer["link"].as_str().unwrap().ends_with(&format!("/approvals/{delete}/decide")));
    let rejected = bridge.say("m7", &["reject", "U1", &delete, &shown, "not on a Friday"]).await;
    assert_eq!(rejected.code(), "rejected");
    let first = rejected.answer.clone();

    // Killed, and delivered again: the same answer, and nothing counts twice.
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    let bridge = Bridge { stage: &stage, secret: INWARD };
    let again = bridge.say("m7", &["reject", "U1", &delete, &shown, "not on a Friday"]).await;
    assert_eq!(again.answer, first);
    let reused = bridge.say("m7", &["reject", "U1", &delete, &shown, "another"]).await;
    assert!(reused.error.contains("422 delivery-reused"), "{}", reused.error);

    // Whoever runs the gateway sees who speaks for whom, and ends it: that user is nobody's then.
    let all = stage.gateway.command(&["person", "bindings"]).await.unwrap();
    let one = &all["items"][0];
    assert_eq!(
        (&one["email"], &one["channel"], &one["user"]),
        (&json!("ana@example.com"), &json!("team"), &json!("U1"))
    );
    let binding = one["id"].as_str().unwrap();
    let wrong = ["person", "bindings", "olga@example.com", "--remove", binding];
    assert!(stage.gateway.command(&wrong).await.is_err(), "it is not hers");
    let end = ["person", "bindings", "ana@example.com", "--remove", binding];
    assert_eq!(stage.gateway.command(&end).await.unwrap()["removed"], binding);
    let left = stage.gateway.command(&["person", "bindings", "ana@example.com"]).await.unwrap();
    assert_eq!(left["items"], json!([]));
    let ended = bridge.say("m8", &["reject", "U1", &delete, &shown, "x"]).await;
    assert_eq!((ended.status, ended.code()), (Some(2), "not-bound"));

    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    let voted: Vec<_> = entries.iter().filter(|entry| entry.kind == "approval.voted").collect();
    assert_eq!(voted.len(), 2);
    for vote in &voted {
        assert_eq!((vote.text("/assurance"), vote.text("/through/channel")), ("chat", "team"));
    }
    assert_eq!(entries.iter().filter(|entry| entry.kind == "channel.bound").count(), 1);
    let log = stage.gateway.log();
    for secret in [&code, INWARD.trim_start_matches("whsec_")] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_a_binding_link_signs_in_sees_whom_it_binds_and_confirms() {
    let (stage, _team) = open().await;
    let link = stage.gateway.invite("ana@example.com", "dba").await.unwrap();
    let browser = Browser::start(390, 844).await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    browser.go(&format!("{}/account", stage.gateway.console_url)).await.unwrap();
    browser.click("form[data-api='DELETE /api/v1/session'] button.plain").await.unwrap();
    browser.until_text("h1", "Countersign").await.unwrap();

    let bridge = Bridge { stage: &stage, secret: INWARD };
    let offer = bridge.say("m1", &["bind", "U\u{202e}1", "Ana <b>"]).await;
    let link = offer.answer["link"].as_str().unwrap().to_owned();
    // Signed out: the link's secret comes along through signing in, and leaves the address bar.
    browser.page.goto(&link).await.unwrap();
    browser.click("#sign-in-button").await.unwrap();
    browser.until_text("#bind-user", "U⟨U+202E⟩1").await.unwrap();
    assert_eq!(browser.text("#bind-name").await.unwrap(), "Ana <b>");
    browser.until("location.hash === ''").await.unwrap();
    assert_eq!(browser.overflow().await.unwrap(), 0);
    picture(&browser, "bind-phone").await;
    browser.page.set_window_size(1280, 900).await.unwrap();
    picture(&browser, "bind-desktop").await;
    browser.click("#bind-yes").await.unwrap();
    let shown = browser.until_text("main", "Who speaks for you").await.unwrap();
    assert!(shown.contains("U⟨U+202E⟩1") && shown.contains("team"), "{shown}");
    picture(&browser, "bound").await;
    browser.page.goto(&link).await.unwrap();
    browser.until_text("#outcome", "not good any more").await.unwrap();
}
