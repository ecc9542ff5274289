//! Who is on call by somebody else's schedule is a group that policy names as reviewers: whoever is on call decides, and nobody else.

use super::Stage;
use countersign_demo::person::{Person, Strength};
use countersign_e2e::night;
use countersign_testkit::{
    opsgenie::{self, Opsgenie},
    pagerduty::{self, PagerDuty, Refusal},
};
use std::time::Duration;

fn section(kind: &str, (schedule, token, api): (&str, &str, &str), holds_for: &str) -> String {
    // The group that lifts the gates is whoever is on call.
    format!(
        "[[on_call]]\nname = \"night\"\nkind = \"{kind}\"\ngroup = \"dba\"\nschedule = \"{schedule}\"\n\
         token_from = \"file:{token}\"\napi = \"{api}\"\nevery = \"1s\"\nholds_for = \"{holds_for}\"\n"
    )
}

/// Waits until the people of the group are these.
async fn are_on_call(stage: &Stage, people: &[&str]) {
    let found = async {
        loop {
            let all = stage.gateway.command(&["person", "list"]).await.unwrap();
            let items = all.as_array().unwrap();
            let on_call = items.iter().filter(|one| one["groups"].to_string().contains("\"dba\""));
            let mut names: Vec<&str> = on_call.map(|one| one["email"].as_str().unwrap()).collect();
            names.sort_unstable();
            if names == people {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let found = tokio::time::timeout(super::COMES_WITHIN, found).await;
    found.unwrap_or_else(|_| panic!("{people:?} are never on call\n{}", stage.gateway.log()));
}

async fn may(person: &mut Person, approval: &str) -> bool {
    person.vote(approval, "approve", Strength::Session, None).await.unwrap().is_success()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_on_call_decides_and_nobody_is_where_the_schedule_does_not_answer() {
    let pager = PagerDuty::start().await.unwrap();
    pager.on_call(&["ana@example.com"]);
    let api = pager.rest();
    let named = ("PI7DH85", "schedules", &*api);
    assert_eq!(named.0, pagerduty::SCHEDULE);
    let mut stage = Stage::open(&section("pagerduty", named, "2s")).await;
    let mut ana = stage.gateway.person("ana@example.com", "agents").await.unwrap();
    let mut bea = stage.gateway.person("bea@example.com", "agents").await.unwrap();
    // Olga was put there by hand, and is not on call.
    are_on_call(&stage, &["ana@example.com"]).await;
    stage.ask("DELETE", "logs").await;
    let approval = stage.gateway.approval("pending").await.unwrap();
    assert!(!may(&mut bea, &approval).await, "she is not on call");

    // The shift changes: who was on call is not any more, and who is may.
    pager.on_call(&["bea@example.com", "stranger@example.com"]);
    are_on_call(&stage, &["bea@example.com"]).await;
    assert!(!may(&mut ana, &approval).await, "her shift is over");

    // Nobody answers: what was said last holds for a while, and then nobody is on call.
    pager.down(Some(Refusal::Status(503)));
    are_on_call(&stage, &[]).await;
    assert!(!may(&mut bea, &approval).await, "nobody knows who is on call");
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    are_on_call(&stage, &[]).await;
    pager.down(None);
    let decides = async {
        // Where a look comes late, nobody is on call until the next one.
        while !may(&mut bea, &approval).await {
            are_on_call(&stage, &["bea@example.com"]).await;
        }
    };
    tokio::time::timeout(super::COMES_WITHIN, decides).await.unwrap();
    // That every gate of this policy rests on the schedule alone is said where policies are checked.
    for command in [&["policy", "check"] as &[&str], &["check"]] {
        let checked = stage.gateway.command(command).await.unwrap();
        let warnings = checked["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 4, "{checked}");
        let alone =
            |one: &serde_json::Value| one.to_string().contains("can be lifted by whoever is on call (`dba`)");
        assert!(warnings.iter().all(alone), "{checked}");
    }

    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    let changed = entries.iter().filter(|entry| entry.kind == "person.groups_changed").count();
    assert!(changed >= 5, "each change of shift is an entry: {changed}");
    let log = stage.gateway.log();
    assert!(log.contains("some who are on call are nobody here") && log.contains("cannot be read"), "{log}");
    assert!(!log.contains(pagerduty::TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shift_that_changed_while_the_gateway_was_down_counts_from_its_start() {
    let genie = Opsgenie::start().await.unwrap();
    genie.on_call(&["ana@example.com"]);
    let api = genie.url();
    let mut stage = Stage::open(&section("opsgenie", (opsgenie::SCHEDULE, "genie", &api), "1h")).await;
    let mut ana = stage.gateway.person("ana@example.com", "agents").await.unwrap();
    let mut bea = stage.gateway.person("bea@example.com", "agents").await.unwrap();
    are_on_call(&stage, &["ana@example.com"]).await;
    stage.ask("DELETE", "logs").await;
    let approval = stage.gateway.approval("pending").await.unwrap();
    stage.gateway.kill().unwrap();
    genie.on_call(&["bea@example.com"]);
    stage.gateway.restart().await.unwrap();
    // Without any wait: it was asked before anything was served.
    assert!(!may(&mut ana, &approval).await);
    assert!(may(&mut bea, &approval).await);
    stage.gateway.kill().unwrap();
    genie.down(Some(opsgenie::Refusal::Status(500)));
    stage.gateway.restart().await.unwrap();
    tokio::time::timeout(Duration::from_mins(1), are_on_call(&stage, &[])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_ends_with_its_schedule_and_what_hands_put_there_afterwards_stays() {
    let pager = PagerDuty::start().await.unwrap();
    pager.on_call(&["ana@example.com"]);
    let api = pager.rest();
    let section = section("pagerduty", (pagerduty::SCHEDULE, "schedules", &api), "1h");
    let mut stage = Stage::open(&section).await;
    let mut ana = stage.gateway.person("ana@example.com", "agents").await.unwrap();
    are_on_call(&stage, &["ana@example.com"]).await;
    stage.ask("DELETE", "logs").await;
    let approval = stage.gateway.approval("pending").await.unwrap();

    // The schedule gets another name: it is the same group.
    let file = stage.gateway.folder().join("countersign.toml");
    let rewrite = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        std::fs::write(&file, text.replace(from, to)).unwrap();
    };
    let renamed = section.replace("name = \"night\"", "name = \"nights\"");
    stage.gateway.kill().unwrap();
    rewrite(&section, &renamed);
    stage.gateway.restart().await.unwrap();
    are_on_call(&stage, &["ana@example.com"]).await;

    // Its section is taken out: whom it named is out of the group before anything is served.
    stage.gateway.kill().unwrap();
    rewrite(&renamed, "");
    stage.gateway.restart().await.unwrap();
    assert!(!may(&mut ana, &approval).await, "no schedule says that she is on call");
    are_on_call(&stage, &[]).await;
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    let last = entries.iter().rev().find(|entry| entry.kind == "person.groups_changed").unwrap();
    assert_eq!((last.text("/removed/0"), last.text("/added/0")), ("dba", ""));

    // Put there by hand she stays, over the next start too.
    stage.gateway.command(&["person", "groups", "ana@example.com", "--add", "dba"]).await.unwrap();
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    are_on_call(&stage, &["ana@example.com"]).await;
    assert!(may(&mut ana, &approval).await);
}
