//! `ServiceNow`: an approval is a record, decided on by whoever is bound, by the instance's own audit.

use super::Stage;
use countersign_demo::person::Person;
use countersign_e2e::night;
use countersign_testkit::servicenow::{CLOSED, PASSWORD, Record, ServiceNow, USER};
use serde_json::json;

fn section(now: &ServiceNow) -> String {
    format!(
        "[[channel]]\nname = \"dba\"\nkind = \"servicenow\"\nsite = \"{}\"\nuser = \"{USER}\"\n\
         password_from = \"file:servicenow\"\nhears = \"everything\"\ndecides = true\npoll_every = \"1s\"\n",
        now.site()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_decided_on_by_whom_it_is_bound_to_and_closed_with_the_outcome() {
    let now = ServiceNow::start().await.unwrap();
    let stage = Stage::open(&section(&now)).await;
    let link = stage.gateway.invite("ana@example.com", "dba").await.unwrap();
    let ana = Person::open(&stage.gateway.console_url, &link).await.unwrap();
    now.keeps_open(true);
    let said = stage.gateway.command(&["channel", "test", "dba"]).await.unwrap_err().to_string();
    assert!(said.contains("the record's `state` cannot be put to `3` as it is"), "{said}");
    now.keeps_open(false);
    stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    assert_eq!(now.records()[1]["state"], CLOSED);

    stage.ask("PATCH", "logs").await;
    let records = now.until("the record", |records| records.len() == 3).await.unwrap();
    let id = records[2]["sys_id"].clone();
    stage.told().await;
    now.change("ana", &id, &[("approval", "approved")]).unwrap();
    let waits = |records: &[Record]| records[2]["approval"] == "requested";
    now.until("the answer", waits).await.unwrap();
    let notes = now.notes(USER, &id);
    assert!(notes.concat().contains("They were written to, alone"), "{notes:?}");
    assert!(!notes.concat().contains("/bind"), "the link is for nobody else: {notes:?}");
    let mails = now.mails();
    assert_eq!((mails.len(), &*mails[0].0), (1, "ana@example.com"));
    let code = mails[0].1.split_once("/bind#").unwrap().1.split_whitespace().next().unwrap();
    let bound = ana.write("bindings", &json!({"code": code})).await.unwrap();
    assert_eq!(bound.status, 201, "{}", bound.json());
    now.change("ana", &id, &[("approval", "approved")]).unwrap();
    now.until("the outcome", |records| records[2]["state"] == CLOSED).await.unwrap();
    stage.told().await;
    let notes = now.notes(USER, &id);
    assert!(notes.iter().any(|note| note.starts_with("Now: It ran.")), "{notes:?}");

    // Rejecting asks for no more than that, and says why.
    stage.ask("DELETE", "logs").await;
    let records = now.until("the record", |records| records.len() == 4).await.unwrap();
    let id = records[3]["sys_id"].clone();
    stage.told().await;
    now.change("ana", &id, &[("approval", "rejected"), ("comments", "not tonight")]).unwrap();
    now.until("the end", |records| records[3]["state"] == CLOSED).await.unwrap();
    stage.told().await;
    let notes = now.notes(USER, &id).concat();
    assert!(notes.contains("not tonight"), "{notes}");
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count("approval.voted"), count("approval.vote_refused")), (2, 1));
    let log = stage.gateway.log();
    assert!(!log.contains(PASSWORD) && !log.contains(code), "{log}");
}
