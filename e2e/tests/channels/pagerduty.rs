//! `PagerDuty`: a route pages whoever is on call, acknowledging decides nothing, and what is decided ends the page.

use super::{Stage, picture};
use countersign_demo::person::Strength;
use countersign_e2e::{browser::Browser, night};
use countersign_testkit::pagerduty::{Incident, PagerDuty, ROUTING_KEY, Refusal, Status};

fn sections(pager: &PagerDuty) -> String {
    format!(
        "[[channel]]\nname = \"on-call\"\nkind = \"pagerduty\"\nrouting_key_from = \"file:pager\"\napi = \"{}\"\n\n\
         [[route]]\nname = \"night\"\nwhen = {{ classes = [\"delete\"] }}\nchannels = [\"on-call\"]\n",
        pager.url()
    )
}

fn is(status: Status, number: usize) -> impl Fn(&[Incident]) -> bool {
    move |incidents| incidents.get(number).is_some_and(|incident| incident.status == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_rings_over_an_outage_acknowledging_decides_nothing_and_a_decision_ends_it() {
    let pager = PagerDuty::start().await.unwrap();
    let mut stage = Stage::open(&sections(&pager)).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.gateway.command(&["channel", "test", "on-call"]).await.unwrap();
    pager.until("the test", is(Status::Resolved, 0)).await.unwrap();

    // Nobody answers there, and the gateway dies meanwhile: the page still comes, once.
    pager.down(Some(Refusal::Status(503)));
    stage.ask("DELETE", "logs").await;
    stage.ask("PUT", "logs").await;
    while stage.channel("on-call").await["last_error"].is_null() {
        tokio::task::yield_now().await;
    }
    stage.gateway.kill().unwrap();
    pager.down(None);
    stage.gateway.restart().await.unwrap();
    let incidents = pager.until("the page", is(Status::Triggered, 1)).await.unwrap();
    let event = &incidents[1].events[0];
    let id = incidents[1].key.strip_prefix("countersign/").unwrap().to_owned();
    let summary = event["payload"]["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("An approval waits · ") && summary.ends_with("Drop the table “logs” (prod)."),
        "{summary}"
    );
    assert!(event["links"][0]["href"].as_str().unwrap().ends_with(&format!("/approvals/{id}")), "{event}");
    assert_eq!(
        (&event["payload"]["component"], &event["payload"]["group"]),
        (&"shop".into(), &"prod".into())
    );

    pager.acknowledge();
    let waiting = stage.gateway.approvals("pending").await.unwrap();
    assert!(waiting.iter().any(|approval| approval["id"] == id.as_str()), "to acknowledge is not to approve");
    assert!(ana.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    let incidents = pager.until("the end", is(Status::Resolved, 1)).await.unwrap();
    assert_eq!(incidents.len(), 2, "a write pages nobody");
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "approval.voted").count(), 1);

    let shown = stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    let log = stage.gateway.log();
    assert!(!shown.contains(ROUTING_KEY) && !log.contains(ROUTING_KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_where_people_look_and_holds_up_nobody() {
    let pager = PagerDuty::start().await.unwrap();
    let sections = sections(&pager).replace("file:pager", "file:secret");
    let stage = Stage::open(&sections).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.ask("DELETE", "logs").await;
    let approval = stage.gateway.approval("pending").await.unwrap();
    while stage.channel("on-call").await["last_error"].is_null() {
        tokio::task::yield_now().await;
    }
    assert!(ana.vote(&approval, "approve", Strength::Session, None).await.unwrap().is_success());
    let link = stage.gateway.invite("bea@example.com", "dba").await.unwrap();
    let browser = Browser::start(1280, 900).await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    for (width, name) in [(1280, "desktop"), (390, "phone")] {
        browser.page.set_window_size(width, 900).await.unwrap();
        browser.go(&format!("{}/channels", stage.gateway.console_url)).await.unwrap();
        let shown = browser.until_text("main", "does not take the routing key").await.unwrap();
        assert!(shown.contains("pagerduty"), "{shown}");
        assert_eq!(browser.overflow().await.unwrap(), 0);
        picture(&browser, &format!("pagerduty-{name}")).await;
    }
}
