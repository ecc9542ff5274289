//! Outages of those who call whoever is on call: nobody is called late for what was decided meanwhile.

use crate::{Arrived, Far, folder, secret, section, through_an_outage};
use countersign_reviewer::ChannelSection;
use countersign_testkit::{
    opsgenie::{self, Opsgenie},
    pagerduty::{self, PagerDuty},
};

/// Of summaries such as `An approval waits · 1a2b3c4d: Configure thing x`.
fn code_of(summary: &str) -> String {
    let behind = summary.split_once("· ").map_or(summary, |(_, behind)| behind);
    behind.split(':').next().unwrap_or_default().to_owned()
}

/// One page of what waits still.
fn paged(title: &'static str) -> Vec<String> {
    if title == "Rejected" { Vec::new() } else { vec!["An approval waits".to_owned()] }
}

impl Far for PagerDuty {
    fn is_down(&self, down: bool) {
        self.down(down.then_some(pagerduty::Refusal::Status(503)));
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = Arrived::new();
        for event in self.incidents().into_iter().flat_map(|incident| incident.events) {
            let summary = event["payload"]["summary"].as_str().unwrap().to_owned();
            arrived.entry(code_of(&summary)).or_default().push(summary);
        }
        arrived
    }

    fn wanted(&self, title: &'static str, _kinds: &[String]) -> Vec<String> {
        paged(title)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_pagerduty() {
    let (server, folder) = (PagerDuty::start().await.unwrap(), folder(pagerduty::ROUTING_KEY));
    let section =
        ChannelSection { routing_key_from: Some(secret()), api: Some(server.url()), ..section("pagerduty") };
    through_an_outage(&server, section, folder.path()).await;
}

impl Far for Opsgenie {
    fn is_down(&self, down: bool) {
        self.down(down.then_some(opsgenie::Refusal::Status(503)));
    }

    fn arrived(&self) -> Arrived {
        let mut arrived = Arrived::new();
        for alert in self.alerts() {
            assert_eq!(alert.count, 1, "asked for once");
            let message = alert.payload["message"].as_str().unwrap().to_owned();
            arrived.entry(code_of(&message)).or_default().push(message);
        }
        arrived
    }

    fn wanted(&self, title: &'static str, _kinds: &[String]) -> Vec<String> {
        paged(title)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_opsgenie() {
    let (server, folder) = (Opsgenie::start().await.unwrap(), folder(opsgenie::API_KEY));
    let section =
        ChannelSection { api_key_from: Some(secret()), api: Some(server.url()), ..section("opsgenie") };
    through_an_outage(&server, section, folder.path()).await;
}
