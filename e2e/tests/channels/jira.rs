//! Jira: an approval is an issue, from the request to its outcome, over an outage and a death of the gateway.

use super::Stage;
use countersign_demo::person::{Person, Strength};
use countersign_e2e::night;
use countersign_testkit::jira::{
    Issue, Jira, PROJECT, Refusal, TOKEN, USER,
    document::text,
    person::{SECRET, Webhook},
};
use serde_json::json;

const ANA: &str = "557058:ana";

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
    stage.until("the outage", |channel| !channel["last_error"].is_null()).await;
    assert_eq!(stage.gateway.approval("done").await.unwrap(), id);
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

/// Hands in what Jira sends: the answer's status.
async fn deliver(stage: &Stage, webhook: &Webhook) -> u16 {
    let url = format!("{}/api/v1/channels/dba/jira", stage.gateway.console_url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sent = client.post(url).header("content-type", "application/json");
    let sent = sent.header("x-hub-signature", &webhook.signature).body(webhook.body.clone());
    sent.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_moves_an_issue_decides_once_jira_wrote_to_them_and_they_said_who_they_are() {
    let jira = Jira::start().await.unwrap();
    let more = "hears = \"everything\"\ndecides = true\nwaiting = \"Waiting\"\npoll_every = \"1h\"\nsigning_secret_from = \"file:hook\"";
    let stage = Stage::open_with(&section(&jira, more), &[("hook", SECRET)]).await;
    let link = stage.gateway.invite("ana@example.com", "dba").await.unwrap();
    let ana = Person::open(&stage.gateway.console_url, &link).await.unwrap();
    stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    assert_eq!(jira.issues()[0].changes.len(), 7, "it went every way, and wrote something else");

    // A gate that accepts a word in a channel.
    stage.ask("PATCH", "logs").await;
    let issues = jira.until("the issue", |issues| issues.len() == 2).await.unwrap();
    stage.told().await;
    let issue = issues[1].id.clone();
    let move_to = async |status: &str, says: Option<&str>| {
        jira.transit(ANA, &issue, status, says).unwrap();
        assert_eq!(deliver(&stage, &jira.webhook(&issue)).await, 200);
    };
    move_to("Approved", None).await;
    let waits = |issues: &[Issue]| issues[1].status == "Waiting" && !issues[1].comments.is_empty();
    let issues = jira.until("the answer", waits).await.unwrap();
    let said = issues[1].said();
    assert!(said[0].contains("They were written to, alone"), "{said:?}");
    assert!(!said.concat().contains("/bind"), "the link is for nobody else: {said:?}");
    let mails = jira.mails();
    let (to, mail) = mails.first().unwrap();
    assert_eq!((mails.len(), &**to), (1, ANA));
    let code = mail.split_once("/bind#").unwrap().1.split_whitespace().next().unwrap();
    let bound = ana.write("bindings", &json!({"code": code})).await.unwrap();
    assert_eq!(bound.status, 201, "{}", bound.json());
    move_to("Approved", None).await;
    let ran = |issues: &[Issue]| issues[1].said().iter().any(|said| said.starts_with("It ran."));
    let issues = jira.until("the outcome", ran).await.unwrap();
    assert_eq!(issues[1].status, "Done");

    // One that asks for more says where to go, and is rejected all the same.
    stage.ask("DELETE", "logs").await;
    let issues = jira.until("the issue", |issues| issues.len() == 3).await.unwrap();
    stage.told().await;
    let issue = issues[2].id.clone();
    jira.transit(ANA, &issue, "Approved", None).unwrap();
    let unsigned = Webhook { signature: "sha256=00".into(), ..jira.webhook(&issue) };
    assert_eq!(deliver(&stage, &unsigned).await, 401);
    assert_eq!(deliver(&stage, &jira.webhook(&issue)).await, 200);
    let refused = |issues: &[Issue]| issues[2].status == "Waiting" && !issues[2].comments.is_empty();
    let issues = jira.until("the answer", refused).await.unwrap();
    assert!(issues[2].said()[0].contains("asks for more"), "{:?}", issues[2].said());
    jira.transit(ANA, &issue, "Rejected", Some("not tonight")).unwrap();
    assert_eq!(deliver(&stage, &jira.webhook(&issue)).await, 200);
    let ours = |said: &String| said.starts_with("ana rejected it.") && said.contains("not tonight");
    let why = |issues: &[Issue]| issues[2].said().iter().any(ours);
    let issues = jira.until("the rejection", why).await.unwrap();
    assert_eq!(issues[2].status, "Done");
    let entries = night::verified_entries(&stage.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count("approval.voted"), count("approval.vote_refused")), (2, 2));
    let log = stage.gateway.log();
    assert!(!log.contains(TOKEN) && !log.contains(SECRET) && !log.contains(code), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_webhooks_issues_are_looked_at_now_and_then() {
    let jira = Jira::start().await.unwrap();
    let more = "hears = \"everything\"\ndecides = true\nwaiting = \"Waiting\"\npoll_every = \"1s\"";
    let stage = Stage::open(&section(&jira, more)).await;
    stage.ask("PATCH", "logs").await;
    let issues = jira.until("the issue", |issues| issues.len() == 1).await.unwrap();
    // There is no door without a secret.
    assert_eq!(deliver(&stage, &jira.webhook(&issues[0].id)).await, 404);
    jira.transit("557058:rule", &issues[0].id, "Approved", None).unwrap();
    let waits = |issues: &[Issue]| issues[0].status == "Waiting" && !issues[0].comments.is_empty();
    let issues = jira.until("the answer", waits).await.unwrap();
    assert!(issues[0].said()[0].contains("Only a person decides"), "{:?}", issues[0].said());
    // What cannot be read is said where channels are shown.
    jira.down(Some(Refusal::Error(503, "")));
    let channel = stage.until("what cannot be read", |channel| channel["unread_error"].is_string()).await;
    assert_eq!(channel["unread_error"], "Jira answered 503");
}
