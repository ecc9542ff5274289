//! Jira: an approval is an issue, from the request to its outcome, over an outage and a death of the gateway.

use super::Stage;
use countersign_demo::person::Strength;
use countersign_e2e::night;
use countersign_testkit::jira::{Issue, Jira, PROJECT, Refusal, TOKEN, USER, document::text};

fn section(jira: &Jira, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"dba\"\nkind = \"jira\"\nsite = \"{}\"\nuser = \"{USER}\"\ntoken_from = \"file:jira\"\n\
         project = \"{PROJECT}\"\n{more}\n",
        jira.site()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_one_issue_over_an_outage_and_is_closed_with_its_outcome() {
    let jira = Jira::start().await.unwrap();
    let mut stage = Stage::open(&section(&jira, "")).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    assert_eq!(jira.issues()[0].status, "Done");

    stage.ask("DELETE", "logs").await;
    let issues = jira.until("the issue", |issues| issues.len() == 2).await.unwrap();
    let id = issues[1].labels[0].clone();
    assert!(issues[1].summary.ends_with(" · Drop the table “logs” (prod)."), "{}", issues[1].summary);
    let asked = text(&issues[1].description);
    assert!(asked.contains("DELETE /tables/logs") && asked.contains("Review in Countersign"), "{asked}");

    jira.down(Some(Refusal::Error(503, "")));
    assert!(ana.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    while stage.channel("dba").await["last_error"].is_null() {
        tokio::task::yield_now().await;
    }
    stage.gateway.kill().unwrap();
    jira.down(None);
    stage.gateway.restart().await.unwrap();
    let told = |issues: &[Issue]| issues[1].said().iter().any(|said| said.starts_with("It ran."));
    let issues = jira.until("the outcome", told).await.unwrap();
    assert_eq!((issues.len(), &*issues[1].status), (2, "Done"));
    let said = issues[1].said();
    let begins = ["ana approved: ", "Approved by everybody who had to.", "It runs now.", "It ran."];
    assert!(said.iter().zip(begins).all(|(said, begin)| said.starts_with(begin)), "{said:?}");
    // Each says which entry proves it.
    assert!(said.iter().all(|said| said.contains("Recorded as ent_")), "{said:?}");
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == "execution.result").count(), 1);
    let shown = stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    assert!(!shown.contains(TOKEN) && !stage.gateway.log().contains(TOKEN));
}
