//! Outages of ways that lead to people one by one: each of them is told once, and the requester how it ended.

use crate::{
    Arrived, Far, code_of, folder,
    gateway::{Stage, olga, person},
    secret, section, through_an_outage,
};
use countersign_core::{CredentialId, PersonId};
use countersign_engine::port::{
    identity::{Bound, Identity},
    push::Subscription,
};
use countersign_reviewer::{ChannelConfig, ChannelSection, PushKey};
use countersign_testkit::{
    push::{self, PushService},
    slack::{self, Slack},
};
use std::sync::Arc;

/// The channel in which people are bound.
const OF: &str = "dba";

/// Two who may decide, and one on the requester's side.
fn everybody() -> [PersonId; 3] {
    [person(1), person(2), olga()]
}

/// Conversations of people with the app.
struct Direct(Slack);

impl Far for Direct {
    fn meets(&self, stage: &Stage, _channel: &ChannelConfig) {
        let mut bound = stage.people.bound.lock().unwrap();
        for (at, person) in (1_u128..).zip(everybody()) {
            let user = format!("{}/U{at:010}", slack::TEAM);
            let known = Bound { person, binding: CredentialId::from_parts(1, at), since: stage.gate.now() };
            bound.insert((OF.parse().unwrap(), user), known);
        }
    }

    fn is_down(&self, down: bool) {
        self.0.trouble(|trouble| trouble.down = down.then_some(slack::Refusal::Status(503)));
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = Arrived::new();
        for message in self.0.messages() {
            assert!(message.thread.is_none() && message.before.is_empty(), "{message:?}");
            let title = message.blocks[0]["text"]["text"].as_str().unwrap().to_owned();
            let told = format!("{} {title}", message.channel);
            arrived.entry(code_of(&title)).or_default().push(told);
        }
        for told in arrived.values_mut() {
            told.sort();
        }
        arrived
    }

    fn wanted(&self, title: &'static str, _kinds: &[String]) -> Vec<String> {
        // Nobody is asked any more what was rejected before it could be told.
        let whom: &[&str] = if title == "Rejected" { &["3"] } else { &["1", "2"] };
        whom.iter().map(|who| format!("D000000000{who} ")).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_slack_to_people() {
    let (server, folder) = (Direct(Slack::start().await.unwrap()), folder(slack::TOKEN));
    let section = ChannelSection {
        token_from: Some(secret()),
        people_of: Some(OF.into()),
        api: Some(server.0.api()),
        ..section("slack")
    };
    through_an_outage(&server, section, folder.path()).await;
}

/// Phones of people, told through one service.
struct Phones {
    service: PushService,
    keys: tempfile::TempDir,
}

impl Far for Phones {
    fn meets(&self, stage: &Stage, channel: &ChannelConfig) {
        let key = PushKey::open(self.keys.path()).unwrap();
        let mut devices = stage.people.devices.lock().unwrap();
        for (at, owner) in (1_u128..).zip(everybody()) {
            let device = self.service.subscribe(&format!("phone-{at}"), key.public()).unwrap();
            let subscription = Subscription {
                id: CredentialId::from_parts(1, at),
                endpoint: device.endpoint.clone(),
                p256dh: device.p256dh.clone(),
                auth: device.auth.clone(),
                made_for: key.public().to_owned(),
            };
            devices.push((owner, subscription));
        }
        self.service.now_is(stage.gate.now().unix_ms() / 1000);
        let identity = Arc::clone(&stage.people) as Arc<dyn Identity>;
        channel.push().unwrap().open(key, identity, "https://sign.example");
    }

    fn is_down(&self, down: bool) {
        self.service.down(down.then_some(push::Refusal::Status(503)));
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = Arrived::new();
        for message in self.service.messages() {
            let note: serde_json::Value = serde_json::from_str(&message.text).unwrap();
            let title = note["title"].as_str().unwrap();
            arrived.entry(code_of(title)).or_default().push(format!("{} {title}", message.device));
        }
        for told in arrived.values_mut() {
            told.sort();
        }
        arrived
    }

    fn wanted(&self, title: &'static str, _kinds: &[String]) -> Vec<String> {
        // Nobody is asked any more what was rejected; whoever it was asked for is told so.
        let told: &[&str] = match title {
            "Rejected" => &["phone-3 ⛔ Rejected"],
            _ => &["phone-1 An approval waits", "phone-2 An approval waits"],
        };
        told.iter().map(|told| (*told).to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_web_push() {
    let phones = Phones { service: PushService::start().await.unwrap(), keys: tempfile::tempdir().unwrap() };
    let section = ChannelSection { private_services: Some(vec![phones.service.url()]), ..section("push") };
    through_an_outage(&phones, section, phones.keys.path()).await;
}
