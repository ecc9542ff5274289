//! Telling devices, against a push service that refuses what the real ones refuse and decrypts as browsers do.

use crate::{
    stage::{CORPUS, held, letter, message, now},
    together::{gathering, hostile},
};
use async_trait::async_trait;
use countersign_core::{CredentialId, GroupName, PersonId, Requester, Timestamp, visible};
use countersign_engine::port::{
    identity::{Identity, NotAuthenticated, Presented, Voter},
    push::{Fared, Subscription},
};
use countersign_reviewer::{
    Again, Behind, ChannelConfig, ChannelSection, Decider, Failed, Gathering, Letter, NotTried, Over, Push,
    PushKey, Said, Scope, Writes,
};
use countersign_testkit::push::{Message, PushService, Refusal};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

/// People with devices, and how those fared.
#[derive(Debug, Default)]
struct People {
    devices: Mutex<Vec<(PersonId, Subscription)>>,
    fared: Mutex<Vec<(CredentialId, Fared)>>,
}

#[async_trait]
impl Identity for People {
    fn authenticate(&self, _: Presented<'_>, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        Err(NotAuthenticated::Missing)
    }

    fn requester(&self, _: CredentialId, _: Timestamp) -> Result<Requester, NotAuthenticated> {
        Err(NotAuthenticated::Missing)
    }

    fn voter(&self, _: PersonId) -> Option<Voter> {
        None
    }

    fn voters(&self) -> Vec<Voter> {
        Vec::new()
    }

    fn membership(&self) -> BTreeMap<GroupName, BTreeSet<PersonId>> {
        BTreeMap::new()
    }

    fn person_name(&self, _: PersonId) -> Option<String> {
        None
    }

    fn subscriptions(&self, person: PersonId) -> Vec<Subscription> {
        let devices = self.devices.lock().unwrap();
        devices.iter().filter(|(owner, _)| *owner == person).map(|(_, device)| device.clone()).collect()
    }

    async fn subscription_fared(&self, id: CredentialId, fared: Fared) {
        if fared == Fared::Gone {
            self.devices.lock().unwrap().retain(|(_, device)| device.id != id);
        }
        self.fared.lock().unwrap().push((id, fared));
    }
}

struct Stage {
    service: PushService,
    channel: ChannelConfig,
    people: Arc<People>,
    key: String,
    _folder: tempfile::TempDir,
}

fn person(number: u128) -> PersonId {
    PersonId::from_parts(1, number)
}

fn decider(number: u128, said: Said) -> Decider {
    Decider { person: person(number), address: String::new(), link: String::new(), said }
}

impl Stage {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut ChannelSection)) -> Self {
        let (service, folder) = (PushService::start().await.unwrap(), tempfile::tempdir().unwrap());
        let mut section = ChannelSection {
            name: "phones".into(),
            kind: "push".into(),
            private_services: Some(vec![service.url()]),
            ..ChannelSection::default()
        };
        change(&mut section);
        let channel = section.check(folder.path()).unwrap();
        let key = PushKey::open(folder.path()).unwrap();
        let (people, public) = (Arc::new(People::default()), key.public().to_owned());
        let way = channel.push().unwrap();
        way.open(key, Arc::clone(&people) as Arc<dyn Identity>, "https://sign.example");
        Self { service, channel, people, key: public, _folder: folder }
    }

    fn push(&self) -> &Arc<Push> {
        self.channel.push().unwrap()
    }

    /// A device of this person's, by name.
    fn add(&self, owner: u128, name: &str) -> Subscription {
        let device = self.service.subscribe(name, &self.key).unwrap();
        let mut devices = self.people.devices.lock().unwrap();
        let subscription = Subscription {
            id: CredentialId::from_parts(1, devices.len() as u128 + 100),
            endpoint: device.endpoint.clone(),
            p256dh: device.p256dh.clone(),
            auth: device.auth.clone(),
            made_for: self.key.clone(),
        };
        devices.push((person(owner), subscription.clone()));
        subscription
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        self.channel.tell().tell(letter).await
    }

    fn fared(&self) -> Vec<Fared> {
        self.people.fared.lock().unwrap().drain(..).map(|(_, fared)| fared).collect()
    }

    fn notes(&self) -> Vec<(Message, Value)> {
        let messages = self.service.messages();
        messages.into_iter().map(|one| (one.clone(), serde_json::from_str(&one.text).unwrap())).collect()
    }
}

fn ask(deciders: Vec<Decider>) -> Letter {
    Letter { deciders, ..letter(1, "approval.requested", "pending") }
}

#[tokio::test]
async fn whoever_may_decide_is_told_on_every_device_in_the_computed_sentence() {
    let stage = Stage::open().await;
    assert_eq!(stage.channel.tell().writes(), Writes::ToDevices);
    for (owner, name) in [(1, "phone"), (1, "desk"), (2, "other"), (3, "nobodys")] {
        stage.add(owner, name);
    }
    let mut asked = ask(vec![decider(1, Said::Nothing), decider(2, Said::Something)]);
    asked.now = now();
    asked.message.deadline = Some(asked.now.plus(Duration::from_mins(30)));
    assert_eq!(stage.tell(&asked).await.unwrap().as_deref(), Some("asked"));
    let notes = stage.notes();
    let told: BTreeSet<&str> = notes.iter().map(|(message, _)| &*message.device).collect();
    // Who has had their say is not asked, and a stranger never is.
    assert_eq!(told, ["desk", "phone"].into());
    let (message, note) = &notes[0];
    assert_eq!((message.ttl, &*message.urgency, message.topic.len()), (1800, "high", 32));
    assert_ne!(notes[0].0.topic, notes[1].0.topic, "a service cannot tell who is asked about the same");
    assert_eq!(message.claims["sub"], "https://sign.example");
    assert_eq!(message.size, 86 + 1024 + 16);
    assert_eq!(note["what"], "ask");
    assert_eq!(note["tag"], asked.approval.to_string());
    assert_eq!(note["path"], "/approvals/x");
    assert_eq!(note["title"], format!("An approval waits · {}", asked.message.code));
    assert_eq!(note["lines"], serde_json::json!(["Drop the table “logs”.", "shop in prod"]));
    assert_eq!(note["until"], asked.message.deadline.unwrap().to_string());
    assert_eq!(stage.fared(), [Fared::Told, Fared::Told]);
    let shown = format!("{:?} {:?}", stage.channel, stage.people);
    assert!(!shown.contains("/push/"), "{shown}");
}

#[tokio::test]
async fn what_waits_for_nobody_any_more_replaces_what_is_shown_once_and_without_waking_anybody() {
    let stage = Stage::open().await;
    stage.add(1, "phone");
    let deciders = vec![decider(1, Said::Nothing)];
    let first = ask(deciders.clone());
    let mut posted = stage.tell(&first).await.unwrap();
    for (number, kind, state, what, messages) in [
        (2, "approval.voted", "pending", "ask", 1),
        (3, "approval.reminded", "pending", "ask", 2),
        (4, "approval.escalated", "pending", "ask", 2),
        (5, "approval.granted", "granted", "over", 3),
        (6, "execution.authorized", "executing", "over", 3),
        (7, "execution.result", "done", "over", 3),
        (8, "approval.round_opened", "pending", "ask", 4),
        (9, "approval.voted", "rejected", "over", 5),
        (10, "approval.closed", "rejected", "over", 5),
        (11, "execution.outcome_unknown", "unknown", "look", 6),
    ] {
        let next = Letter {
            approval: first.approval,
            posted: posted.clone(),
            deciders: deciders.clone(),
            ..letter(number, kind, state)
        };
        let told = stage.tell(&next).await.unwrap();
        posted = told.or(posted);
        assert_eq!(stage.service.calls().len(), messages, "{number} {kind}");
        // One topic: a device that was away finds the newest alone.
        let notes = stage.notes();
        assert_eq!((notes.len(), &notes[0].1["what"]), (1, &what.into()), "{number} {kind}");
        let urgency = if what == "over" { "normal" } else { "high" };
        assert_eq!(notes[0].0.urgency, urgency);
        assert_eq!(notes[0].1["tag"], first.approval.to_string());
    }
    // What was decided before it could be told is no news to anybody.
    let late = Letter { deciders, ..letter(1, "approval.requested", "granted") };
    assert_eq!(stage.tell(&late).await, Ok(None));
    assert_eq!(stage.service.calls().len(), 6);
}

#[tokio::test]
async fn what_is_not_shown_whole_only_says_that_something_waits() {
    let stage = Stage::open().await;
    stage.add(1, "phone");
    let long = format!("Drop {}.", "x".repeat(180));
    for text in CORPUS.map(str::to_owned).into_iter().chain(["🎈".repeat(400), long]) {
        let (hold, action) = held(&text, "planted body");
        let shown = message(&hold, Some(&action), None);
        let asked = Letter { message: shown, ..ask(vec![decider(1, Said::Nothing)]) };
        stage.tell(&asked).await.unwrap();
        let (_, note) = stage.notes().pop().unwrap();
        let lines: Vec<&str> =
            note["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
        let sentence = &asked.message.computed.sentence;
        let whole = lines == [sentence.as_str(), "shop in prod"];
        assert!(whole || lines == ["Open it to see what is asked."], "{lines:?}");
        if asked.message.hidden_characters || sentence.chars().count() > 180 || sentence.contains('\n') {
            assert!(!whole, "{text:?}");
        }
        for said in note["lines"].as_array().unwrap().iter().chain([&note["title"]]) {
            let said = said.as_str().unwrap();
            assert!(!visible::has_hidden(said) && !said.contains('\n'), "{said:?}");
            assert!(!said.contains("planted body") && !said.contains("claimed"), "{said}");
        }
    }
    // And whoever wants no sentence on any screen has none.
    let quiet = Stage::with(|section| section.show = Some(0)).await;
    quiet.add(1, "phone");
    quiet.tell(&ask(vec![decider(1, Said::Nothing)])).await.unwrap();
    assert_eq!(quiet.notes()[0].1["lines"], serde_json::json!(["Open it to see what is asked."]));
}

#[tokio::test]
async fn whatever_is_told_shows_a_sentence_that_is_whole_or_none() {
    let stage = Stage::open().await;
    stage.add(1, "phone");
    stage.add(9, "requester's");
    for text in CORPUS {
        let (mut hold, action) = held(text, "planted body");
        hold.drifted = Some(text.into());
        for (number, kind, state) in [
            (2, "approval.reminded", "pending"),
            (3, "approval.round_opened", "pending"),
            (4, "approval.glass_broken", "granted"),
            (5, "approval.closed", "rejected"),
            (6, "execution.result", "done"),
            (7, "execution.outcome_unknown", "unknown"),
        ] {
            let mut shown = message(&hold, Some(&action), None);
            shown.state = state.into();
            let told = Letter {
                message: shown,
                by: Some(visible::name(text)),
                deciders: vec![decider(1, Said::Nothing)],
                requesters: vec![decider(9, Said::Something)],
                posted: Some("asked".into()),
                ..letter(number, kind, state)
            };
            let calls = stage.service.calls().len();
            stage.tell(&told).await.unwrap();
            let ends = state != "pending";
            assert_eq!(stage.service.calls().len() - calls, 1 + usize::from(ends), "{kind}");
            let notes = stage.notes();
            for (message, note) in &notes[notes.len() - 1 - usize::from(ends)..] {
                let sentence = &told.message.computed.sentence;
                let title = note["title"].as_str().unwrap();
                // A title is ours, code and all.
                assert!(title.ends_with(&told.message.code), "{kind}: {title}");
                let lines = note["lines"].as_array().unwrap().iter();
                for said in lines.map(|said| said.as_str().unwrap()) {
                    assert!(!visible::has_hidden(said) && !said.contains('\n'), "{kind}: {said:?}");
                    assert!(!said.contains("planted") && !said.contains("claimed"), "{kind}: {said}");
                }
                let whole = note["lines"][0] == sentence.as_str();
                assert!(!whole || !told.message.hidden_characters, "{kind}: {note}");
                let is_answer = message.device == "requester's";
                assert_eq!(note["what"] == "ended", is_answer, "{kind}: {note}");
                assert!(ends || !is_answer, "they are asked nothing");
            }
        }
    }
    let several = Gathering { deciders: vec![decider(1, Said::Nothing)], ..gathering(10_000, &hostile()) };
    stage.channel.tell().tell_together(&several).await.unwrap();
    let (_, note) = stage.notes().pop().unwrap();
    assert_eq!(note["lines"], serde_json::json!(["shop in prod", "Open the list to see them."]));
}

#[tokio::test]
async fn a_device_that_is_gone_is_removed_and_nobody_left_is_tried_again() {
    let stage = Stage::open().await;
    let asked = ask(vec![decider(1, Said::Nothing)]);
    let nobody = stage.tell(&asked).await.unwrap_err();
    assert_eq!((nobody.scope, nobody.again), (Scope::News, Again::Yes));
    for status in [404, 410] {
        stage.add(1, "phone");
        stage.service.refuse(&[Refusal::Status(status)]);
        let failed = stage.tell(&asked).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (Scope::News, Again::Yes), "{failed:?}");
        assert_eq!(stage.fared(), [Fared::Gone]);
        assert!(stage.people.subscriptions(person(1)).is_empty());
    }
    // As a browser that was told so by its service.
    stage.add(1, "phone");
    stage.add(1, "desk");
    stage.service.forget("phone");
    stage.tell(&asked).await.unwrap();
    assert_eq!(stage.people.subscriptions(person(1)).len(), 1);
    assert_eq!(stage.notes().len(), 1);
}

#[tokio::test]
async fn a_service_that_asks_for_less_is_left_alone_and_the_others_are_told_meanwhile() {
    let stage = Stage::open().await;
    let phone = stage.add(1, "phone");
    let mut asked = ask(vec![decider(1, Said::Nothing)]);
    for (refusal, seconds) in [
        (Refusal::Later(429, 7), 7),
        (Refusal::Status(429), 30),
        (Refusal::Later(503, 9), 9),
        (Refusal::Later(429, 1 << 40), 3600),
    ] {
        stage.service.refuse(&[refusal]);
        let calls = stage.service.calls().len();
        let failed = stage.tell(&asked).await.unwrap_err();
        let after = Again::After(Duration::from_secs(seconds));
        assert_eq!((failed.scope, failed.again), (Scope::News, after), "{refusal:?}");
        assert!(!failed.why.contains("planted"), "{}", failed.why);
        // Nothing goes there before that, by hand neither.
        let early = Letter { now: asked.now.plus(Duration::from_secs(seconds - 1)), ..asked.clone() };
        let left = stage.tell(&early).await.unwrap_err();
        assert_eq!((left.scope, left.again), (Scope::News, Again::After(Duration::from_secs(1))));
        assert!(matches!(stage.push().try_out(&phone, early.now).await, Err(NotTried::Failed(_))));
        assert_eq!(stage.service.calls().len(), calls + 1, "{refusal:?}");
        let due = Letter { now: asked.now.plus(Duration::from_secs(seconds)), ..asked.clone() };
        stage.tell(&due).await.unwrap();
        asked.now = due.now.plus(Duration::from_hours(1));
    }
}

#[tokio::test]
async fn a_failure_stops_the_channel_or_this_news_or_this_device() {
    let stage = Stage::open().await;
    stage.add(1, "phone");
    let asked = ask(vec![decider(1, Said::Nothing)]);
    for (status, again, what) in [
        (500, Again::Yes, "answered 500"),
        (502, Again::Yes, "answered 502"),
        (400, Again::No, "answered 400"),
        (302, Again::No, "answered 302"),
        (401, Again::No, "does not believe this gateway's key (401)"),
        (403, Again::No, "does not believe this gateway's key (403)"),
    ] {
        stage.service.refuse(&[Refusal::Status(status)]);
        let failed = stage.tell(&asked).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (Scope::News, again), "{status}");
        assert!(failed.why.contains(what), "{}", failed.why);
        assert!(matches!(stage.fared().as_slice(), [Fared::Failed(why)] if why.contains(what)));
    }
    // Who has it does not get it again when the others are tried once more.
    stage.add(1, "desk");
    stage.service.refuse(&[Refusal::Status(500)]);
    assert!(stage.tell(&asked).await.is_err());
    stage.tell(&asked).await.unwrap();
    let told: Vec<u16> = stage.service.calls().iter().rev().take(3).map(|(status, _)| *status).collect();
    assert_eq!(told.iter().filter(|status| **status == 201).count(), 2, "{told:?}");
    // One device keeps nobody from newer news.
    stage.service.down(Some(Refusal::Status(500)));
    let more = Letter { behind: Behind::More, id: "another".into(), ..asked.clone() };
    stage.tell(&more).await.unwrap();
    // A browser may have handed over the address of a service that is not there: the channel goes on for everybody else.
    let gone = Stage::open().await;
    gone.add(1, "phone");
    let Stage { service, channel, .. } = gone;
    drop(service);
    let failed = channel.tell().tell(&asked).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::Yes), "{failed:?}");
    assert!(!failed.why.contains("/push/"), "{}", failed.why);
}

#[tokio::test]
async fn a_service_that_takes_no_large_message_is_sent_a_brief_one() {
    let stage = Stage::with(|section| section.show = Some(500)).await;
    stage.add(1, "phone");
    let (hold, action) = held(&"🎈".repeat(400), "x");
    let long =
        Letter { message: message(&hold, Some(&action), None), ..ask(vec![decider(1, Said::Nothing)]) };
    stage.service.take_at_most(1500);
    stage.tell(&long).await.unwrap();
    assert_eq!(stage.service.calls().iter().map(|(status, _)| *status).collect::<Vec<_>>(), [413, 201]);
    assert_eq!(stage.notes()[0].1["lines"], serde_json::json!(["Open it to see what is asked."]));
    stage.service.take_at_most(100);
    let failed = stage.tell(&Letter { id: "another".into(), ..long }).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::No));
}

#[tokio::test]
async fn a_device_of_another_key_or_another_service_is_never_spoken_to() {
    let stage = Stage::open().await;
    let phone = stage.add(1, "phone");
    let elsewhere = PushService::start().await.unwrap();
    let device = elsewhere.subscribe("phone", &stage.key).unwrap();
    for wrong in [
        Subscription { made_for: "another".into(), ..phone.clone() },
        Subscription { endpoint: device.endpoint.clone(), ..phone.clone() },
        Subscription { endpoint: "https://127.0.0.1/x".into(), ..phone.clone() },
        Subscription { p256dh: "AAAA".into(), ..phone.clone() },
    ] {
        stage.people.devices.lock().unwrap()[0].1 = wrong.clone();
        let asked = ask(vec![decider(1, Said::Nothing)]);
        let failed = stage.tell(&asked).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (Scope::News, Again::No), "{wrong:?}");
    }
    assert!(stage.service.calls().is_empty() && elsewhere.calls().is_empty());
    let check = |endpoint: &str, p256dh: &str, auth: &str| stage.push().check(endpoint, p256dh, auth);
    assert_eq!(check(&phone.endpoint, &phone.p256dh, &phone.auth), Ok(()));
    for (endpoint, p256dh, auth) in [
        (&*device.endpoint, &*phone.p256dh, &*phone.auth),
        ("http://169.254.169.254/latest", &phone.p256dh, &phone.auth),
        (&phone.endpoint, "AAAA", &phone.auth),
        (&phone.endpoint, &phone.p256dh, "AAAA"),
    ] {
        let why = check(endpoint, p256dh, auth).unwrap_err();
        assert!(!why.contains("169.254") && !why.contains("/push/"), "{why}");
    }
}

#[tokio::test]
async fn a_device_is_tried_by_hand_and_not_over_and_over() {
    let stage = Stage::open().await;
    let (phone, at) = (stage.add(1, "phone"), now());
    stage.push().try_out(&phone, at).await.unwrap();
    assert_eq!(stage.notes()[0].1["title"], "A test");
    assert_eq!(stage.push().try_out(&phone, at.plus(Duration::from_secs(9))).await, Err(NotTried::TooSoon));
    stage.service.forget("phone");
    assert_eq!(stage.push().try_out(&phone, at.plus(Duration::from_secs(10))).await, Err(NotTried::Gone));
    assert_eq!(stage.fared(), [Fared::Told, Fared::Gone]);
    // The command line names whose devices are tried.
    let test = letter(1, "channel.test", "test");
    assert_eq!(stage.tell(&test).await.unwrap_err().again, Again::No);
}

#[tokio::test]
async fn several_are_one_notification_that_ends_with_the_last_of_them() {
    let stage = Stage::open().await;
    stage.add(1, "phone");
    stage.add(2, "other");
    let deciders = vec![decider(1, Said::Nothing), decider(2, Said::Something)];
    let all = Gathering { deciders, ..gathering(10_000, &hostile()) };
    let posted = stage.channel.tell().tell_together(&all).await.unwrap().unwrap();
    let notes = stage.notes();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].0.device, "phone");
    let path = notes[0].1["path"].as_str().unwrap();
    assert!(path.starts_with("/approvals"), "{path}");
    let over = Over { id: all.id.clone(), posted, link: all.link.clone(), now: all.now };
    stage.channel.tell().over(&over).await.unwrap();
    let notes = stage.notes();
    assert_eq!((notes.len(), &notes[0].1["what"]), (1, &"over".into()));
    // A device that left in between is nobody's failure.
    stage.service.forget("phone");
    stage.channel.tell().over(&over).await.unwrap();
    stage.channel.tell().over(&over).await.unwrap();
}
