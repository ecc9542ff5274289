//! Alerting and closing, against a server that refuses what Opsgenie refuses and works on what it takes later.

use crate::stage::{CORPUS, held, letter, message};
use countersign_core::{ActionId, ApprovalId, EntryId};
use countersign_reviewer::{Again, Before, ChannelSection, Failed, Letter, Scope, Tell};
use countersign_testkit::opsgenie::{API_KEY, Opsgenie, Refusal, Status};
use std::{sync::Arc, time::Duration};

struct Stage {
    genie: Opsgenie,
    tell: Arc<dyn Tell>,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Self {
        let (genie, folder) = (Opsgenie::start().await.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("key"), format!("{API_KEY}\n")).unwrap();
        let section = ChannelSection {
            name: "on-call".into(),
            kind: "opsgenie".into(),
            api_key_from: Some("file:key".into()),
            priority: Some("P1".into()),
            responders: Some(vec!["team:dba".into(), "user:ana@example.com".into()]),
            api: Some(genie.url()),
            ..ChannelSection::default()
        };
        let channel = section.check(folder.path()).unwrap();
        Self { genie, tell: Arc::clone(channel.tell()), folder }
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        self.tell.tell(letter).await
    }

    /// What was asked for, but for what became of it.
    fn actions(&self) -> Vec<String> {
        let calls = self.genie.calls().into_iter().map(|(action, _)| action);
        calls.filter(|action| action != "became").collect()
    }
}

/// The news after another, with what was remembered of it.
fn after(first: &Letter, number: u32, (kind, state): (&str, &str), posted: Option<&String>) -> Letter {
    Letter { approval: first.approval, posted: posted.cloned(), ..letter(number, kind, state) }
}

#[tokio::test]
async fn an_alert_is_open_while_it_waits_for_people_and_no_longer() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let mut posted = stage.tell(&first).await.unwrap();
    stage.genie.acknowledge();
    for (number, kind, state, actions, status) in [
        (2, "approval.voted", "pending", 1, Status::Acknowledged),
        (3, "approval.reminded", "pending", 3, Status::Acknowledged),
        (4, "approval.granted", "granted", 4, Status::Closed),
        (5, "execution.authorized", "executing", 4, Status::Closed),
        (6, "approval.round_opened", "pending", 5, Status::Open),
        (7, "approval.voted", "rejected", 6, Status::Closed),
        (8, "approval.closed", "rejected", 6, Status::Closed),
    ] {
        let told = stage.tell(&after(&first, number, (kind, state), posted.as_ref())).await.unwrap();
        posted = told.or(posted);
        assert_eq!(stage.actions().len(), actions, "{kind}");
        assert_eq!(stage.genie.alerts().last().unwrap().status, status, "{kind}");
    }
    assert_eq!(stage.actions(), ["create", "create", "note", "close", "create", "close"]);
    let alerts = stage.genie.alerts();
    // What was closed is not opened again: a new round is a new alert, under the same alias.
    assert_eq!((alerts.len(), alerts[0].count), (2, 2));
    assert_eq!(alerts[0].alias, format!("countersign-{}", first.approval));
    assert_eq!(alerts[0].alias, alerts[1].alias);
    assert_eq!(alerts[0].notes, ["Nobody has decided yet. It still waits for people."]);
    let payload = &alerts[0].payload;
    assert_eq!((&payload["priority"], &payload["tags"][1]), (&"P1".into(), &"prod".into()));
    assert_eq!(payload["responders"][0]["name"], "dba");
    let description = payload["description"].as_str().unwrap();
    assert!(description.contains("https://sign.example/approvals/x"), "{description}");
    assert!(description.contains("To acknowledge is not to approve"), "{description}");
}

#[tokio::test]
async fn who_closes_an_alert_by_hand_is_called_again_with_the_next_step_and_has_decided_nothing() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    stage.genie.close_by_hand();
    let escalated = after(&first, 2, ("approval.escalated", "pending"), posted.as_ref());
    assert!(stage.tell(&escalated).await.unwrap().is_some());
    let alerts = stage.genie.alerts();
    assert_eq!((alerts.len(), alerts[1].status), (2, Status::Open));
    // Closed there already, it is over here as well.
    stage.genie.close_by_hand();
    let over = after(&first, 3, ("approval.closed", "lapsed"), posted.as_ref());
    assert!(stage.tell(&over).await.unwrap().is_some());
    assert!(stage.actions().ends_with(&["close".into(), "read".into()]), "{:?}", stage.actions());
}

#[tokio::test]
async fn nobody_is_woken_for_what_was_decided_before_it_could_be_told() {
    let stage = Stage::open().await;
    let late = letter(1, "approval.requested", "granted");
    assert_eq!(stage.tell(&late).await, Ok(None));
    assert!(stage.actions().is_empty());
    // Of an alert that may be there without anybody remembering it, the end is told.
    let perhaps = Letter { before: Before::Perhaps, ..late };
    assert!(stage.tell(&perhaps).await.unwrap().is_some());
    assert_eq!(stage.actions(), ["close", "read"]);
    assert!(stage.genie.alerts().is_empty());
}

#[tokio::test]
async fn what_became_of_a_request_counts_and_an_alert_that_is_asked_for_twice_is_one() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    stage.genie.refuse(&[Refusal::Lost]);
    assert_eq!(stage.tell(&first).await.unwrap_err().scope, Scope::Channel);
    stage.genie.works_later(2);
    let again = Letter { before: Before::Perhaps, ..first.clone() };
    assert!(stage.tell(&again).await.unwrap().is_some());
    assert_eq!((stage.genie.alerts().len(), stage.genie.alerts()[0].count), (1, 2));
    // Taken and not done: that is no alert.
    stage.genie.works_later(0);
    let next = letter(2, "approval.requested", "pending");
    let next = Letter { approval: ApprovalId::from_parts(1, 9), ..next };
    stage.genie.refuse(&[Refusal::Filtered]);
    let failed = stage.tell(&next).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::Yes));
    assert!(failed.why.contains("filters") && !failed.why.contains("planted"), "{}", failed.why);
    // Not closed although it is open: that is no end.
    stage.genie.refuse(&[Refusal::Filtered]);
    let over = after(&first, 3, ("approval.closed", "lapsed"), Some(&"countersign".into()));
    let failed = stage.tell(&over).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::Yes));
    // A key that may not read: that it was taken has to do.
    stage.genie.reads_nothing();
    assert!(stage.tell(&over).await.unwrap().is_some());
    assert_eq!(stage.genie.alerts()[0].status, Status::Closed);
}

#[tokio::test]
async fn a_refusal_stops_the_channel_or_this_alert_and_says_nothing_of_the_key() {
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
        stage.genie.refuse(&[refusal]);
        let failed = stage.tell(&letter).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (scope, again), "{refusal:?}");
        assert!(!failed.why.contains("planted"), "{}", failed.why);
    }
    // As the server itself sees them, and another key in the file counts at once.
    let other = API_KEY.replace("geni", "abcd");
    for key in ["planted-short", other.as_str(), "planted\nplanted"] {
        std::fs::write(stage.folder.path().join("key"), key).unwrap();
        let failed = stage.tell(&letter).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes), "{key}");
        assert!(!failed.why.contains("planted"), "{}", failed.why);
    }
    let shown = format!("{:?}", stage.tell);
    assert!(!shown.contains("planted"), "{shown}");
    std::fs::remove_file(stage.folder.path().join("key")).unwrap();
    let failed = stage.tell(&letter).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
    assert!(stage.genie.alerts().is_empty());
}

#[tokio::test]
async fn an_alert_says_what_was_computed_and_nothing_that_was_claimed() {
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
        shown.computed.environment.clone_from(&shown.computed.sentence);
        let asks = vec![shown.asks[0].clone(); 40];
        shown.asks = asks;
        let letter = Letter { message: shown, ..letter(number, "approval.requested", "pending") };
        let letter = Letter { approval: ApprovalId::from_parts(1, u128::from(number)), ..letter };
        stage.tell(&letter).await.unwrap();
        let alerts = stage.genie.alerts();
        let payload = alerts.last().unwrap().payload.clone();
        let said = payload.to_string();
        assert!(!said.contains("planted claim") && !said.contains("planted body"), "{said}");
        // A link is ours alone, and nothing that was hidden is hidden here.
        let description = payload["description"].as_str().unwrap();
        assert_eq!(description.matches("://").count(), 1, "{description}");
        assert!(description.contains("https://sign.example/approvals/x"), "{description}");
        assert!(!payload["message"].as_str().unwrap().contains("://"), "{payload}");
        let hidden =
            |one: char| (one.is_control() && one != '\n') || "\u{202e}\u{200b}\u{feff}\u{2066}".contains(one);
        assert!(!description.contains(hidden), "{description:?}");
        assert!(!payload["message"].as_str().unwrap().contains(char::is_control), "{payload}");
        assert!(text.len() < 1000 || said.contains("characters more"), "{said}");
    }
}

#[tokio::test]
async fn a_test_calls_quietly_and_ends_it() {
    let stage = Stage::open().await;
    let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
    let test = Letter::of_test(
        EntryId::from_parts(1, 1),
        (approval, action),
        "https://sign.example",
        crate::stage::now(),
    );
    assert_eq!(stage.tell(&test).await, Ok(None));
    let alerts = stage.genie.alerts();
    assert_eq!((alerts.len(), alerts[0].status), (1, Status::Closed));
    assert_eq!(alerts[0].payload["priority"], "P5");
    assert!(alerts[0].payload["message"].as_str().unwrap().contains("A test"), "{:?}", alerts[0]);
}
