//! Paging and ending pages, against a server that refuses what `PagerDuty` refuses.

use crate::stage::{CORPUS, held, letter, message};
use countersign_core::{ActionId, ApprovalId, EntryId};
use countersign_reviewer::{Again, Before, ChannelSection, Failed, Letter, Scope, Tell};
use countersign_testkit::pagerduty::{PagerDuty, ROUTING_KEY, Refusal, Status};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

struct Stage {
    pager: PagerDuty,
    tell: Arc<dyn Tell>,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Self {
        let (pager, folder) = (PagerDuty::start().await.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("key"), format!("{ROUTING_KEY}\n")).unwrap();
        let section = ChannelSection {
            name: "on-call".into(),
            kind: "pagerduty".into(),
            routing_key_from: Some("file:key".into()),
            severity: Some("critical".into()),
            api: Some(pager.url()),
            ..ChannelSection::default()
        };
        let channel = section.check(folder.path()).unwrap();
        Self { pager, tell: Arc::clone(channel.tell()), folder }
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        self.tell.tell(letter).await
    }

    fn actions(&self) -> Vec<String> {
        self.pager.calls().into_iter().map(|(action, _)| action).collect()
    }
}

/// The news after another, with what was remembered of it.
fn after(first: &Letter, number: u32, (kind, state): (&str, &str), posted: Option<&String>) -> Letter {
    Letter { approval: first.approval, posted: posted.cloned(), ..letter(number, kind, state) }
}

#[tokio::test]
async fn a_page_is_open_while_it_waits_for_people_and_no_longer() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.escalated", "pending");
    let mut posted = stage.tell(&first).await.unwrap();
    stage.pager.acknowledge();
    for (number, kind, state, actions, status) in [
        (2, "approval.voted", "pending", 1, Status::Acknowledged),
        (3, "approval.reminded", "pending", 2, Status::Acknowledged),
        (4, "approval.granted", "granted", 3, Status::Resolved),
        (5, "execution.authorized", "executing", 3, Status::Resolved),
        (6, "approval.round_opened", "pending", 4, Status::Triggered),
        (7, "approval.voted", "rejected", 5, Status::Resolved),
        (8, "approval.closed", "rejected", 5, Status::Resolved),
    ] {
        let told = stage.tell(&after(&first, number, (kind, state), posted.as_ref())).await.unwrap();
        posted = told.or(posted);
        assert_eq!(stage.actions().len(), actions, "{kind}");
        assert_eq!(stage.pager.incidents().last().unwrap().status, status, "{kind}");
    }
    assert_eq!(stage.actions(), ["trigger", "trigger", "resolve", "trigger", "resolve"]);
    let incidents = stage.pager.incidents();
    // What was resolved is not opened again: a new round is a new page, under the same key.
    assert_eq!((incidents.len(), incidents[0].events.len()), (2, 2));
    assert_eq!(incidents[0].key, format!("countersign/{}", first.approval));
    assert_eq!(incidents[0].key, incidents[1].key);
    let event = &incidents[0].events[0];
    assert_eq!(
        (&event["payload"]["severity"], &event["links"][0]["href"]),
        (&"critical".into(), &"https://sign.example/approvals/x".into())
    );
    assert_eq!(event["client_url"], "https://sign.example/approvals/x");
    assert!(
        incidents[0].events[1]["payload"]["summary"].as_str().unwrap().starts_with("Nobody has decided yet")
    );
}

#[tokio::test]
async fn nobody_is_woken_for_what_was_decided_before_it_could_be_told() {
    let stage = Stage::open().await;
    let late = letter(1, "approval.requested", "granted");
    assert_eq!(stage.tell(&late).await, Ok(None));
    assert!(stage.actions().is_empty());
    // Of a page that may have gone out without anybody remembering it, the end is told.
    let perhaps = Letter { before: Before::Perhaps, ..late };
    assert!(stage.tell(&perhaps).await.unwrap().is_some());
    assert_eq!(stage.actions(), ["resolve"]);
    assert!(stage.pager.incidents().is_empty());
}

#[tokio::test]
async fn a_page_that_is_sent_twice_is_one() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    stage.pager.refuse(&[Refusal::Lost]);
    assert_eq!(stage.tell(&first).await.unwrap_err().scope, Scope::Channel);
    let again = Letter { before: Before::Perhaps, ..first };
    let posted = stage.tell(&again).await.unwrap();
    assert_eq!(stage.pager.incidents().len(), 1);
    stage.tell(&after(&again, 2, ("approval.closed", "lapsed"), posted.as_ref())).await.unwrap();
    assert_eq!(stage.pager.incidents()[0].status, Status::Resolved);
}

#[tokio::test]
async fn a_refusal_stops_the_channel_or_this_page_and_says_nothing_of_the_key() {
    let stage = Stage::open().await;
    let letter = letter(1, "approval.requested", "pending");
    for (refusal, scope, again) in [
        (Refusal::Later(7), Scope::Channel, Again::After(Duration::from_secs(7))),
        (Refusal::Status(429), Scope::Channel, Again::After(Duration::from_secs(30))),
        (Refusal::Status(500), Scope::Channel, Again::Yes),
        (Refusal::Status(403), Scope::Channel, Again::Yes),
        (Refusal::Status(413), Scope::News, Again::No),
        (Refusal::Status(400), Scope::News, Again::No),
    ] {
        stage.pager.refuse(&[refusal]);
        let failed = stage.tell(&letter).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (scope, again), "{refusal:?}");
        assert!(!failed.why.contains("planted"), "{}", failed.why);
    }
    // As the server itself sees them, and another key in the file counts at once.
    for key in ["planted-u+key", "planted0another0key0planted0key00", "planted0routing0key0planted0keyX"] {
        std::fs::write(stage.folder.path().join("key"), key).unwrap();
        let failed = stage.tell(&letter).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes), "{key}");
        assert!(failed.why.contains("routing key") && !failed.why.contains("planted"), "{}", failed.why);
    }
    let shown = format!("{:?}", stage.tell);
    assert!(!shown.contains("planted"), "{shown}");
    std::fs::remove_file(stage.folder.path().join("key")).unwrap();
    let failed = stage.tell(&letter).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
    assert!(stage.pager.incidents().is_empty());
}

#[tokio::test]
async fn a_page_says_what_was_computed_and_nothing_that_was_claimed() {
    let stage = Stage::open().await;
    for (number, text) in (1..).zip(CORPUS.map(str::to_owned).into_iter().chain([
        "https://evil.example/approve".into(),
        "a".repeat(1 << 16),
        "🎈".repeat(1 << 14),
    ])) {
        let (hold, action) = held(&text, "planted body");
        let mut shown = message(&hold, Some(&action), None);
        shown.claimed.reason = Some("planted claim".into());
        shown.claimed.requester_name = "planted claim".into();
        shown.asks[0].reason.clone_from(&shown.computed.sentence);
        shown.computed.target.clone_from(&shown.computed.sentence);
        let asks = vec![shown.asks[0].clone(); 40];
        shown.asks = asks;
        let letter = Letter { message: shown, ..letter(number, "approval.requested", "pending") };
        let letter = Letter { approval: ApprovalId::from_parts(1, u128::from(number)), ..letter };
        stage.tell(&letter).await.unwrap();
        let incidents = stage.pager.incidents();
        let event = &incidents.last().unwrap().events[0];
        let said = event.to_string();
        assert!(!said.contains("planted claim") && !said.contains("planted body"), "{said}");
        assert!(said.len() < 32 << 10, "{}", said.len());
        // A link is ours alone, and nothing that was hidden is hidden here.
        let shown = texts(&event["payload"]);
        let source = &event["payload"]["source"];
        assert!(shown.iter().all(|text| !text.contains("://") || *source == text.as_str()), "{shown:?}");
        let hidden = |text: &String| {
            text.chars().any(|one| one.is_control() || "\u{202e}\u{200b}\u{feff}".contains(one))
        };
        assert!(!shown.iter().any(hidden), "{shown:?}");
        assert!(text.len() < 1000 || said.contains("characters more"), "{said}");
    }
}

#[tokio::test]
async fn a_test_pages_and_ends_it() {
    let stage = Stage::open().await;
    let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
    let test = Letter::of_test(
        EntryId::from_parts(1, 1),
        (approval, action),
        "https://sign.example",
        crate::stage::now(),
    );
    assert_eq!(stage.tell(&test).await, Ok(None));
    let incidents = stage.pager.incidents();
    assert_eq!((incidents.len(), incidents[0].status), (1, Status::Resolved));
    let payload = &incidents[0].events[0]["payload"];
    assert_eq!(payload["severity"], "info");
    assert!(payload["summary"].as_str().unwrap().contains("This is a test"), "{payload}");
}

/// Every text in it.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(members) => members.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}
