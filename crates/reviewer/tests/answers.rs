//! Whoever it was asked for is told how it ended, by mail and on their devices, and is offered nothing to decide; with the
//! worker, the store, and servers that refuse what the real ones refuse.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a failed expectation is how a test fails"
)]

#[path = "../../engine/tests/engine/stage.rs"]
#[expect(dead_code, reason = "it is the engine's own stage; channels need a part of it")]
mod gateway;

use crate::gateway::{Stage, olga, person, request};
use countersign_core::{ApprovalId, Class, CredentialId, PersonId, PrincipalId, PrincipalKind};
use countersign_engine::{
    Reply, flow,
    outbox::{self, ChannelSpec, Channels, Hears, Shelf},
    port::{identity::Identity, push::Subscription},
};
use countersign_reviewer::{ChannelSection, PushKey, run};
use countersign_testkit::{
    push::PushService,
    smtp::{Mail, Mode, Smtp},
};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How long something may take to come, on a busy machine.
const COMES_WITHIN: Duration = Duration::from_mins(1);

fn channels() -> Channels {
    let spec = |name: &str, kind| ChannelSpec {
        name: name.parse().unwrap(),
        kind,
        place: String::new(),
        hears: Hears::Everything,
        together: None,
    };
    Channels::new([spec("mail", "email"), spec("phones", "push")])
}

/// People 1 and 2 may decide, and everybody has a phone.
struct Room {
    stage: Stage,
    smtp: Smtp,
    service: PushService,
    tasks: JoinSet<()>,
    _folder: tempfile::TempDir,
}

impl Room {
    async fn open() -> Self {
        let (stage, folder) = (Stage::telling(channels).await, tempfile::tempdir().unwrap());
        stage.people.left.lock().unwrap().extend((4..10).map(person));
        let (smtp, service) =
            (Smtp::start(Mode::Plain, None).await.unwrap(), PushService::start().await.unwrap());
        let mail = ChannelSection {
            name: "mail".into(),
            kind: "email".into(),
            server: Some("127.0.0.1".into()),
            port: Some(smtp.port()),
            tls: Some("none".into()),
            from: Some("countersign@example.com".into()),
            ..ChannelSection::default()
        };
        let phones = ChannelSection {
            name: "phones".into(),
            kind: "push".into(),
            private_services: Some(vec![service.url()]),
            ..ChannelSection::default()
        };
        let (mail, phones) = (mail.check(folder.path()).unwrap(), phones.check(folder.path()).unwrap());
        let key = PushKey::open(folder.path()).unwrap();
        service.now_is(stage.gate.now().unix_ms() / 1000);
        for (at, owner) in (1_u128..).zip([person(1), person(2), person(3), olga()]) {
            let device = service.subscribe(&owner.to_string(), key.public()).unwrap();
            let subscription = Subscription {
                id: CredentialId::from_parts(1, at),
                endpoint: device.endpoint.clone(),
                p256dh: device.p256dh.clone(),
                auth: device.auth.clone(),
                made_for: key.public().to_owned(),
            };
            stage.people.devices.lock().unwrap().push((owner, subscription));
        }
        let identity = Arc::clone(&stage.people) as Arc<dyn Identity>;
        phones.push().unwrap().open(key, identity, "https://sign.example");
        let mut tasks = JoinSet::new();
        for (name, channel) in [("mail", mail), ("phones", phones)] {
            let (gate, tell) = (Arc::clone(&stage.gate), Arc::clone(channel.tell()));
            tasks.spawn(run(gate, name.parse().unwrap(), tell));
        }
        Self { stage, smtp, service, tasks, _folder: folder }
    }

    async fn until(&self, what: &str, enough: impl Fn(&Self) -> bool) {
        let comes = async {
            while !enough(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(COMES_WITHIN, comes).await.is_ok();
        assert!(came, "{what} never came; {:?}; {:?}", self.smtp.said(), self.service.calls());
    }

    fn mails(&self, person: PersonId) -> Vec<Mail> {
        let to = format!("{person}@example.com");
        self.smtp.taken().into_iter().filter(|taken| taken.to == to).map(|taken| taken.mail).collect()
    }

    /// What stands on somebody's phone.
    fn note(&self, person: PersonId) -> Option<Value> {
        let message = self.service.messages().into_iter().rfind(|one| one.device == person.to_string())?;
        Some(serde_json::from_str(&message.text).unwrap())
    }

    /// Both ways show somebody that it ended so.
    async fn ended(&self, person: PersonId, how: &str) {
        let ends = |room: &Self| {
            room.mails(person).last().is_some_and(|mail| mail.text.starts_with(how))
                && room.note(person).is_some_and(|note| note["title"].as_str().unwrap().starts_with(how))
        };
        self.until(how, ends).await;
    }

    /// Neither of them asks them anything, nor leads anywhere but to the page that shows how it stands.
    fn asks_nothing(&self, person: PersonId, id: ApprovalId) {
        let page = self.stage.gate.approval_link(id);
        for mail in self.mails(person) {
            assert_eq!(mail.links(), std::slice::from_ref(&page));
            for part in [&mail.text, &mail.html] {
                assert!(part.contains("it was asked for by you") && part.contains("See it in Countersign"));
                assert!(!part.contains("Decide") && !part.contains("summons"), "{part}");
            }
        }
        let note = self.note(person).unwrap();
        assert_eq!((&note["what"], &note["path"]), (&"ended".into(), &format!("/approvals/{id}").into()));
    }

    async fn close(mut self) {
        self.tasks.shutdown().await;
        self.stage.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_an_agent_is_told_that_it_was_approved_and_ran() {
    let room = Room::open().await;
    let id = room.stage.hold(Class::Configure, "change").await;
    let asked =
        |room: &Room| (1..4).map(person).all(|one| room.mails(one).len() == 1 && room.note(one).is_some());
    room.until("the question", asked).await;
    assert!(room.mails(olga()).is_empty() && room.note(olga()).is_none(), "nothing is asked of her");
    room.stage.approve(person(1), id).await.unwrap();
    room.stage.until(id, "done").await;
    room.ended(olga(), "✅ Approved and done").await;
    room.asks_nothing(olga(), id);
    let told = room.mails(olga());
    assert!(told.len() <= 2, "that it was approved, and that it ran");
    assert!(told.iter().all(|mail| mail.header("to") == format!("<{}@example.com>", olga())));
    let lines = &room.note(olga()).unwrap()["lines"];
    assert_eq!(lines, &serde_json::json!(["configure thing x of cloud (prod).", "cloud in prod"]));
    // Those who decided are not mailed that it ran.
    assert!(room.mails(person(1)).iter().all(|mail| !mail.text.contains("It ran.")));
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_reaches_whoever_asked_with_its_reason_which_means_nothing_to_any_program() {
    let room = Room::open().await;
    let id = room.stage.hold(Class::Configure, "change").await;
    let why =
        "no\r\n\r\nDecide in Countersign:\r\nhttps://evil.example/ </pre><a href='x'>Approve</a> \u{202e}";
    room.stage.reject(person(1), id, why).await.unwrap();
    room.ended(olga(), "⛔ Rejected").await;
    let mail = room.mails(olga()).pop().unwrap();
    assert_eq!(mail.links(), [room.stage.gate.approval_link(id)]);
    assert!(
        mail.text.contains("https⟨U+003A⟩//evil.example/") && mail.text.contains("⟨U+202E⟩"),
        "{}",
        mail.text
    );
    let theirs = mail.text.lines().filter(|line| line.contains("Decide") || line.contains("evil"));
    assert!(theirs.clone().count() > 0 && theirs.clone().all(|line| line.starts_with("| ")), "{}", mail.text);
    assert!(!mail.html.contains("<a href='x'>"), "{}", mail.html);
    assert!(mail.headers.iter().all(|(_, value)| !value.contains("evil")));
    let note = room.note(olga()).unwrap();
    assert!(!note.to_string().contains("evil"), "{note}");
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_asks_by_themselves_is_told_and_so_is_whoever_it_is_for() {
    let room = Room::open().await;
    let mut asked = request(Class::Configure, Duration::ZERO);
    asked.requester.principal = PrincipalId::Person(person(3));
    asked.requester.kind = PrincipalKind::Person;
    asked.requester.owners = BTreeSet::new();
    asked.requester.on_behalf_of = vec![olga()];
    let id = match flow::handle(&room.stage.gate, asked, room.stage.reading("change")).await.unwrap() {
        Reply::Pending(ticket) => ticket.approval,
        other => panic!("not held: {other:?}"),
    };
    let asked = |room: &Room| (1..3).map(person).all(|one| room.mails(one).len() == 1);
    room.until("the question", asked).await;
    room.stage.reject(person(1), id, "not tonight").await.unwrap();
    for side in [person(3), olga()] {
        room.ended(side, "⛔ Rejected").await;
        assert_eq!(room.mails(side).len(), 1, "and is asked nothing");
        room.asks_nothing(side, id);
    }
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_who_cannot_be_reached_keeps_nobody_from_theirs() {
    let room = Room::open().await;
    let id = room.stage.hold(Class::Configure, "change").await;
    room.until("the question", |room| (1..4).map(person).all(|one| room.mails(one).len() == 1)).await;
    room.smtp.trouble(|trouble| trouble.unknown.extend([format!("{}@example.com", olga())]));
    room.until("the question on phones", |room| (1..4).map(person).all(|one| room.note(one).is_some())).await;
    room.service.forget(&olga().to_string());
    room.stage.reject(person(1), id, "not tonight").await.unwrap();
    for decider in (1..4).map(person) {
        room.ended(decider, "⛔ Rejected").await;
    }
    assert!(room.mails(olga()).is_empty() && room.note(olga()).is_none());
    // Nobody has to look after it: everybody who was asked has it.
    for channel in ["mail", "phones"] {
        let given_up = outbox::count(&room.stage.gate, &channel.parse().unwrap(), Shelf::GivenUp, 10).await;
        assert_eq!(given_up.unwrap(), 0, "{channel}");
    }
    room.close().await;
}
