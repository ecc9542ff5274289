//! Channels of approvals. Webhooks: signed so that the reference library of Standard Webhooks takes them, in order, at least once,
//! over outages and `kill -9`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod add;
mod decide;
mod email;
mod inward;
mod jira;
mod on_call;
mod opsgenie;
mod pagerduty;
mod preapproved;
mod push;
mod receiver;
mod routes;
mod servicenow;
mod slack;
mod teams;

use countersign_demo::person::Strength;
use countersign_e2e::{
    Gateway, Setup,
    browser::Browser,
    client::{curl, python},
    night,
};
use receiver::{DOWN, Got, Receiver, TAKEN};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("deletes") @gate("deletes") @approvers("Group::\"dba\"") @notify("dba")
@reason("what is deleted is gone")
forbid (principal, action in Action::"delete", resource);
@id("writes") @gate("writes") @approvers("Group::\"dba\"") @reason("writes are looked at")
forbid (principal, action in Action::"write", resource);
@id("tunes") @gate("tunes") @approvers("Group::\"dba\"") @step_up("chat") @reason("a tuning is soon undone")
forbid (principal, action in Action::"configure", resource);
@id("exports") @gate("exports") @approvers("Group::\"dba\"") @step_up("passkey") @notify("dba")
@reason("what is out is out")
forbid (principal, action in Action::"export", resource);
"#;

/// Checks every message with the library, and that it takes none under another secret or with another byte.
const VERIFY: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
from standardwebhooks import Webhook, WebhookVerificationError
secrets, other = sys.argv[3:5], "whsec_" + "A" * 32
def takes(secret, body, headers):
    try:
        Webhook(secret).verify(body, headers)
        return True
    except WebhookVerificationError:
        return False
messages = json.load(open(sys.argv[2]))
for message in messages:
    body, headers = message["body"], message["headers"]
    for secret in secrets:
        assert takes(secret, body, headers), message
    assert not takes(other, body, headers), message
    assert not takes(secrets[0], body.replace("1.0", "1.1", 1), headers), message
    assert not takes(secrets[0], body, {**headers, "webhook-id": "ent_other"}), message
print(len(messages))
"#;

/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(3);

struct Stage {
    gateway: Gateway,
    token: String,
    /// Answers every request of an agent.
    target: Receiver,
}

impl Stage {
    async fn open(channels: &str) -> Self {
        Self::open_with(channels, &[]).await
    }

    /// With more files beside the configuration.
    async fn open_with(channels: &str, more: &[(&str, &str)]) -> Self {
        let target = Receiver::start("200 OK").await;
        let sections = format!(
            r#"[[http]]
listen = "127.0.0.1:WIRE"
name = "shop"
environment = "prod"
upstream = "{}"

[[http.operations]]
name = "dropTable"
method = "DELETE"
path = "/tables/{{table}}"
class = "delete"
sentence = "Drop the table {{table}}"

[[http.operations]]
name = "fillTable"
method = "PUT"
path = "/tables/{{table}}"
class = "write"
sentence = "Fill the table {{table}}"

[[http.operations]]
name = "tuneTable"
method = "PATCH"
path = "/tables/{{table}}"
class = "configure"
sentence = "Tune the table {{table}}"

[[http.operations]]
name = "exportTable"
method = "POST"
path = "/tables/{{table}}/export"
class = "export"
sentence = "Export the table {{table}}"

{channels}"#,
            target.url
        );
        let files = [
            ("secret", SECRET),
            ("next", NEXT),
            ("inward", inward::INWARD),
            ("token", countersign_testkit::slack::TOKEN),
            ("signing", countersign_testkit::slack::person::SECRET),
            ("teams", countersign_testkit::teams::SECRET),
            ("jira", countersign_testkit::jira::TOKEN),
            ("servicenow", countersign_testkit::servicenow::PASSWORD),
            ("pager", countersign_testkit::pagerduty::ROUTING_KEY),
            ("genie", countersign_testkit::opsgenie::API_KEY),
            ("schedules", countersign_testkit::pagerduty::TOKEN),
        ];
        let files = [&files, more].concat();
        let groups = r#"["agents", "dba"]"#;
        // A gate that names a channel which is not there does not load.
        let named = channels.contains("name = \"dba\"");
        let policy = if named { POLICY.to_owned() } else { POLICY.replace("@notify(\"dba\")", "") };
        let policy = if channels.contains("preapproves") {
            policy.replace("@gate(\"tunes\")", "@gate(\"tunes\") @ticket(\"dba\")")
        } else {
            policy
        };
        let setup = Setup { policy: &policy, groups, sections: &sections, files: &files };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "dba").await.unwrap();
        let token = gateway.agent("night", "olga@example.com", "agents").await.unwrap();
        Self { gateway, token, target }
    }

    async fn ask(&self, method: &str, table: &str) {
        assert_eq!(self.asked(method, table).await, 202);
    }

    /// Asks for something: the status of the answer.
    async fn asked(&self, method: &str, table: &str) -> u16 {
        let bearer = format!("Authorization: Bearer {}", self.token);
        let url = format!("{}/tables/{table}", self.gateway.url);
        let arguments = ["-X", method, "-H", &bearer, "-H", "Prefer: respond-async", &url];
        curl(&arguments).await.unwrap().status
    }

    /// The browser of somebody who was invited just now and has a passkey.
    async fn browser(&self, email: &str, width: u32) -> Browser {
        let link = self.gateway.invite(email, "dba").await.unwrap();
        let browser = Browser::start(width, 1400).await.unwrap();
        browser.page.goto(&link).await.unwrap();
        browser.click("#open-link").await.unwrap();
        browser.click("#register-passkey button").await.unwrap();
        browser.until_text("h1", "Inbox").await.unwrap();
        browser
    }

    /// Waits until the channel `dba` was told of everything.
    async fn told(&self) {
        self.until("everything was told", |channel| channel["waiting"] == 0).await;
    }

    /// Waits until the channel `dba` is as it should be.
    async fn until(&self, what: &str, enough: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let channel = self.channel("dba").await;
                if enough(&channel) {
                    return channel;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(COMES_WITHIN, found).await;
        found.unwrap_or_else(|_| panic!("{what}: it never came"))
    }

    async fn channel(&self, name: &str) -> Value {
        let list = self.gateway.command(&["channel", "list"]).await.unwrap();
        let items = list["items"].as_array().unwrap();
        items.iter().find(|item| item["name"] == name).unwrap().clone()
    }
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_from = \"file:secret\"\n{more}\n"
    )
}

/// Where a library that tests drive is.
fn driver(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|folder| folder.join("drivers").exists());
    let library: PathBuf = target.map(|target| target.join("drivers").join(name)).unwrap_or_default();
    assert!(library.exists(), "the library is not there\n\nhint: run `.ci/drivers`, as `make test` does");
    library.display().to_string()
}

/// Has the library check all of it.
async fn verified(stage: &Stage, got: &[Got], secrets: &[&str]) {
    let library = driver("webhooks");
    let file = stage.gateway.folder().join("messages.json");
    let messages: Vec<Value> = got.iter().map(Got::as_json).collect();
    std::fs::write(&file, Value::from(messages).to_string()).unwrap();
    let file = file.display().to_string();
    let arguments = [&[&*library, &*file], secrets].concat();
    let said = python(VERIFY, &arguments).await.unwrap();
    assert_eq!(String::from_utf8(said).unwrap().trim(), got.len().to_string());
}

/// What was taken of each approval: numbers in the order in which they came first.
fn taken(got: &[Got]) -> BTreeMap<String, Vec<u64>> {
    let mut seen = BTreeSet::new();
    let mut taken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for got in got.iter().filter(|got| got.taken && seen.insert(got.id().to_owned())) {
        let event = got.event();
        let approval = event["subject"].as_str().unwrap().to_owned();
        taken.entry(approval).or_default().push(event["data"]["number"].as_u64().unwrap());
    }
    taken
}

/// Keeps a picture of the page where `COUNTERSIGN_PICTURES` names a folder, for looking at it.
async fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("COUNTERSIGN_PICTURES") {
        let picture = browser.page.screenshot().await.unwrap();
        std::fs::write(PathBuf::from(folder).join(format!("channels-{name}.png")), picture).unwrap();
    }
}

/// Whether blocks of Slack's say this somewhere.
fn has_text(blocks: &[Value], text: &str) -> bool {
    let said =
        ["mrkdwn", "plain_text"].map(|kind| countersign_testkit::slack::blocks::texts_of(blocks, kind));
    said.concat().iter().any(|said| said.contains(text))
}

fn has(got: &[Got], kind: &str) -> bool {
    got.iter().any(|got| got.taken && got.kind() == kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_is_told_in_order_to_those_it_concerns_and_every_message_verifies() {
    let (siem, dba) = (Receiver::start(TAKEN).await, Receiver::start(TAKEN).await);
    let astray = Receiver::start(&format!("302 Found\r\nLocation: {}/stolen", siem.url)).await;
    let rotated = "hears = \"everything\"\nprevious_secret_from = \"file:next\"";
    let channels = [
        webhook("siem", &format!("{}/in?key=s3cret", siem.url), rotated),
        webhook("dba", &dba.url, "show = 5"),
        webhook("astray", &astray.url, "hears = \"everything\""),
        webhook("nobody", "http://127.0.0.1:1/", "hears = \"everything\""),
    ];
    let stage = Stage::open(&channels.concat()).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.ask("DELETE", "logs").await;
    let approval = stage.gateway.approval("pending").await.unwrap();
    dba.until("the request", |got| has(got, "approval.requested")).await;
    let voted = ana.vote(&approval, "approve", Strength::Session, None).await.unwrap();
    assert!(voted.is_success());
    let got = siem.until("the result", |got| has(got, "execution.result")).await;

    let kinds: Vec<String> = got.iter().map(Got::kind).collect();
    let life = [
        "approval.requested",
        "approval.voted",
        "approval.granted",
        "execution.authorized",
        "execution.result",
    ];
    assert_eq!(kinds, life);
    assert_eq!(taken(&got), [(approval.clone(), vec![1, 2, 3, 4, 5])].into());
    verified(&stage, &got, &[SECRET, NEXT]).await;
    assert!(got.iter().all(|got| got.path == "/in?key=s3cret"));

    let event = got[0].event();
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], stage.gateway.console_url.as_str());
    assert_eq!(got[0].headers["content-type"], "application/cloudevents+json");
    let message = &event["data"]["message"];
    assert_eq!(message["computed"]["sentence"], "Drop the table “logs” (prod).");
    // Who owns the agent has a name, enrolled or not.
    assert_eq!(message["computed"]["owners"][0]["name"], "olga");
    assert_eq!(
        message["request"]["head"]["whole"]["text"].as_str().unwrap().lines().next(),
        Some("DELETE /tables/logs")
    );
    assert_eq!(message["offers"], "decide");
    let asked = &message["asks"][0];
    assert_eq!(
        (&asked["reason"], &asked["approvers"]),
        (&"what is deleted is gone".into(), &"one person of dba, signed in".into())
    );
    assert!(message["link"].as_str().unwrap().ends_with(&format!("/approvals/{approval}")));
    // Whoever sees a part only is offered the page.
    let part = dba.got()[0].event();
    assert_eq!(part["data"]["message"]["offers"], "review");
    assert!(part["data"]["message"]["request"]["head"]["ends"]["left_out"].as_u64().unwrap() > 0);

    // A write names no channel: whoever hears of everything hears of it, the other does not.
    stage.ask("PUT", "logs").await;
    siem.until("the second request", |got| got.len() == 6).await;
    assert!(dba.got().iter().all(|got| got.event()["subject"] == approval.as_str()));
    // What answers with a redirect, or not at all, held up nobody.
    for name in ["astray", "nobody"] {
        while stage.channel(name).await["last_error"].is_null() {
            tokio::task::yield_now().await;
        }
    }
    let (lost, nobody) = (stage.channel("astray").await, stage.channel("nobody").await);
    assert_eq!(lost["last_error"], "it answered 302: redirects are not followed");
    assert!(nobody["last_error"].as_str().unwrap().starts_with("no connection to `127.0.0.1:1`"), "{nobody}");
    assert_eq!((&lost["waiting"], &nobody["waiting"]), (&2.into(), &2.into()));
    assert!(siem.got().iter().all(|got| got.path != "/stolen"));
    let shown = stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    let log = stage.gateway.log();
    for secret in ["s3cret", SECRET.trim_start_matches("whsec_")] {
        assert!(!shown.contains(secret) && !log.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_it_was_told_and_through_an_outage_nothing_is_lost_and_order_is_kept() {
    const ASKED: usize = 12;
    let siem = Receiver::start(DOWN).await;
    let channels = webhook("siem", &siem.url, "hears = \"everything\"");
    let mut stage = Stage::open(&channels).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.ask("DELETE", "first").await;
    let first = siem.until("a first try", |got| !got.is_empty()).await[0].id().to_owned();
    stage.gateway.kill().unwrap();
    siem.answers(TAKEN);
    stage.gateway.restart().await.unwrap();
    let got = siem.until("the request after the restart", |got| has(got, "approval.requested")).await;
    assert!(got.iter().all(|got| got.id() == first), "every try of one piece of news has its id");

    // An outage, with people deciding meanwhile.
    siem.answers(DOWN);
    let before = got.len();
    for table in 1..ASKED {
        stage.ask("DELETE", &format!("t{table}")).await;
    }
    for waiting in stage.gateway.approvals("pending").await.unwrap() {
        let id = waiting["id"].as_str().unwrap();
        assert!(ana.vote(id, "approve", Strength::Session, None).await.unwrap().is_success());
    }
    siem.until("tries in vain", |got| got.len() > before + 1).await;
    assert!(!has(&siem.got(), "approval.voted"));
    siem.answers(TAKEN);
    let finished = |got: &[Got]| {
        let ends = got.iter().filter(|got| got.taken && got.kind() == "execution.result");
        ends.map(|got| got.event()["subject"].to_string()).collect::<BTreeSet<_>>().len() == ASKED
    };
    let got = siem.until("every result", finished).await;
    for (approval, numbers) in taken(&got) {
        assert_eq!(numbers, [1, 2, 3, 4, 5], "{approval}");
    }
    assert_eq!(taken(&got).len(), ASKED);
    let mut bodies: BTreeMap<&str, Value> = BTreeMap::new();
    for got in &got {
        let number = got.event()["data"]["number"].clone();
        assert_eq!(bodies.entry(got.id()).or_insert_with(|| number.clone()), &number);
    }
    verified(&stage, &got, &[SECRET]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_kept_recorded_and_told_once_more_when_somebody_asks() {
    let siem = Receiver::start(DOWN).await;
    let channels = webhook("siem", &siem.url, "hears = \"everything\"\ngive_up_after = \"1ms\"");
    let stage = Stage::open(&channels).await;
    let untaken = stage.gateway.command(&["channel", "test", "siem"]).await.unwrap_err().to_string();
    assert!(untaken.contains("`siem` was not told: it answered 500"), "{untaken}");
    stage.ask("DELETE", "logs").await;
    // Tried, and tried once more after the time was over.
    siem.until("two tries", |got| got.iter().filter(|got| got.kind() == "approval.requested").count() == 2)
        .await;
    while stage.channel("siem").await["given_up"] != 1 {
        tokio::task::yield_now().await;
    }
    siem.answers(TAKEN);
    // An administrator sees it on the page, at any width, and has it told once more.
    let link = stage.gateway.invite("bea@example.com", "dba").await.unwrap();
    stage.gateway.command(&["person", "role", "bea@example.com", "administrator"]).await.unwrap();
    let browser = Browser::start(390, 844).await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    browser.go(&format!("{}/channels", stage.gateway.console_url)).await.unwrap();
    let shown = browser.until_text("main", "Given up").await.unwrap();
    assert!(shown.contains("it answered 500") && shown.contains("approval.requested"), "{shown}");
    assert_eq!(browser.overflow().await.unwrap(), 0);
    picture(&browser, "phone").await;
    browser.page.set_window_size(1280, 900).await.unwrap();
    picture(&browser, "desktop").await;
    browser.click("main form[data-api] button").await.unwrap();
    let got = siem.until("the request", |got| has(got, "approval.requested")).await;
    assert_eq!(got[1].id(), got.last().unwrap().id());
    let again = stage.gateway.command(&["channel", "replay", "siem"]).await.unwrap();
    assert_eq!(again["replayed"], 0);
    stage.gateway.command(&["channel", "test", "siem"]).await.unwrap();
    assert_eq!(siem.got().last().unwrap().kind(), "channel.test");
    verified(&stage, &siem.got(), &[SECRET]).await;
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    for kind in ["notification.given_up", "notification.replayed"] {
        let found: Vec<_> = entries.iter().filter(|entry| entry.kind == kind).collect();
        assert_eq!(found.len(), 1, "{kind}");
        assert_eq!(found[0].text("/channel"), "siem");
    }
}
