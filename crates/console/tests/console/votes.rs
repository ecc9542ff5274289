//! Votes through the API: who decides, how strongly, and that nobody on the requester's side does.

use crate::stage::{Browser, ORIGIN, Stage};
use countersign_core::Class;
use serde_json::{Value, json};
use std::time::Duration;

async fn ballot(stage: &Stage, who: &Browser, id: &str, decision: &str) -> Value {
    let path = format!("/api/v1/approvals/{id}/ballot");
    stage.as_person(who, "POST", &path, Some(json!({"decision": decision}))).await.ok()
}

async fn cast(stage: &Stage, who: &Browser, id: &str, vote: Value) -> crate::stage::Answer {
    stage.as_person(who, "POST", &format!("/api/v1/approvals/{id}/votes"), Some(vote)).await
}

#[tokio::test]
async fn two_passkeys_lift_a_gate_and_the_action_runs_once() {
    let stage = Stage::new().await;
    let (mut ana, mut ben) =
        (stage.reviewer("Ana", &["privacy"]).await, stage.reviewer("Ben", &["privacy"]).await);
    let id = stage.hold(Class::Export, b"{\"format\":\"csv\"}").await;
    let seen = stage.approve(&mut ana, &id).await.ok();
    assert_eq!((seen["state"].as_str(), seen["you"]["voted"].as_bool()), (Some("pending"), Some(true)));
    // One person is one voice, however often.
    let again = stage.approve(&mut ana, &id).await.ok();
    assert_eq!((again["state"].as_str(), again["gates"][0]["votes"].as_u64()), (Some("pending"), Some(1)));
    assert_eq!(stage.effects(), 0);
    stage.approve(&mut ben, &id).await.ok();
    stage.until(&id, "done").await;
    assert_eq!(stage.effects(), 1);
    let votes =
        &stage.operator("GET", &format!("/api/v1/approvals/{id}"), None).await.ok()["rounds"][0]["votes"];
    let voters: Vec<_> =
        votes.as_array().unwrap().iter().map(|vote| (&vote["voter"]["name"], &vote["assurance"])).collect();
    assert_eq!(voters.len(), 2);
    assert!(voters.iter().all(|(_, worth)| *worth == "passkey"), "{voters:?}");
}

#[tokio::test]
async fn a_session_is_enough_only_where_policy_says_so() {
    let stage = Stage::new().await;
    let mut ana = stage.person("Ana", &["privacy", "sre"], "reviewer").await;
    let export = stage.hold(Class::Export, b"x").await;
    let asked = ballot(&stage, &ana, &export, "approve").await;
    assert_eq!((asked["wanted"].as_str(), &asked["publicKey"]), (Some("passkey"), &Value::Null));
    let vote = json!({"statement": asked["statement"], "assertion": null, "reason": null});
    assert_eq!(cast(&stage, &ana, &export, vote).await.problem(), (409, "too-weak".into()));
    let change = stage.hold(Class::Configure, b"x").await;
    let seen = stage.approve(&mut ana, &change).await.ok();
    assert_eq!(seen["rounds"][0]["votes"][0]["assurance"], "session");
    stage.until(&change, "done").await;
}

#[tokio::test]
async fn nobody_on_the_requesters_side_decides() {
    let mut stage = Stage::new().await;
    let someone = stage.person("Someone", &[], "reviewer").await;
    let mut olga = std::mem::replace(&mut stage.olga, someone);
    stage.register(&mut olga).await;
    let invite = json!({"name": "Puppet", "email": "puppet@example.com", "groups": ["sre"]});
    let invited = stage.as_person(&olga, "POST", "/api/v1/people", Some(invite)).await.ok();
    let id = stage.hold(Class::Configure, b"x").await;
    assert_eq!(stage.approve(&mut olga, &id).await.problem(), (409, "requester-side".into()));
    // Somebody whom the owner has just brought in.
    let mut puppet = stage.open_link(invited["link"].as_str().unwrap()).await;
    stage.register(&mut puppet).await;
    assert_eq!(stage.approve(&mut puppet, &id).await.problem(), (409, "not-eligible".into()));
    let seen = stage.as_person(&puppet, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
    let names: Vec<&str> =
        seen["excluded"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"Olga") && names.contains(&"Puppet"), "{names:?}");
    assert_eq!(seen["you"]["can_vote"], false);
    assert_eq!((stage.count("approval.vote_refused").await, stage.effects()), (2, 0));
}

#[tokio::test]
async fn auditors_and_the_operator_never_vote() {
    let stage = Stage::new().await;
    let mut audrey = stage.person("Audrey", &["sre"], "auditor").await;
    let id = stage.hold(Class::Configure, b"x").await;
    assert_eq!(stage.approve(&mut audrey, &id).await.problem(), (403, "not-allowed".into()));
    let path = format!("/api/v1/approvals/{id}");
    let asked = Some(json!({"decision": "approve"}));
    let operator = stage.operator("POST", &format!("{path}/ballot"), asked).await;
    assert_eq!(operator.problem(), (403, "not-allowed".into()));
    let revoke = Some(json!({"reason": "no"}));
    assert_eq!(stage.as_person(&audrey, "POST", &format!("{path}/revoke"), revoke).await.problem().0, 403);
    assert_eq!(stage.count("approval.vote_refused").await, 2);
}

#[tokio::test]
async fn a_ballot_counts_once_for_its_owner_and_as_it_was_handed_out() {
    let stage = Stage::new().await;
    let (mut ana, mut ben) =
        (stage.reviewer("Ana", &["privacy"]).await, stage.reviewer("Ben", &["privacy"]).await);
    let (id, other) = (stage.hold(Class::Export, b"x").await, stage.hold(Class::Export, b"y").await);
    let asked = ballot(&stage, &ana, &id, "approve").await;
    let assertion = ana.passkey.as_mut().unwrap().assert(&asked["publicKey"], ORIGIN).unwrap();
    let vote = json!({"statement": asked["statement"], "assertion": assertion, "reason": null});
    assert_eq!(cast(&stage, &ben, &id, vote.clone()).await.problem(), (409, "ballot".into()));
    assert_eq!(cast(&stage, &ana, &other, vote.clone()).await.problem(), (409, "ballot".into()));
    // A passkey of somebody else, and a signature over another statement.
    let stolen = ben.passkey.as_mut().unwrap().assert(&asked["publicKey"], ORIGIN).unwrap();
    let forged = json!({"statement": asked["statement"], "assertion": stolen, "reason": null});
    assert_eq!(cast(&stage, &ana, &id, forged).await.problem(), (409, "passkey-refused".into()));
    let mut changed = vote.clone();
    changed["statement"]["expires"] = json!("2027-01-01T00:00:00.000000Z");
    assert_eq!(cast(&stage, &ana, &id, changed).await.problem(), (409, "passkey-refused".into()));
    // On a page of another origin.
    let asked = ballot(&stage, &ana, &id, "approve").await;
    let phished = ana.passkey.as_mut().unwrap().assert(&asked["publicKey"], "http://localhost:7999").unwrap();
    let phished = json!({"statement": asked["statement"], "assertion": phished, "reason": null});
    assert_eq!(cast(&stage, &ana, &id, phished).await.problem(), (409, "passkey-refused".into()));
    assert!(cast(&stage, &ana, &id, vote.clone()).await.status.is_success());
    assert_eq!(cast(&stage, &ana, &id, vote).await.problem(), (409, "ballot".into()));
    assert_eq!(stage.effects(), 0);
}

#[tokio::test]
async fn a_rejection_says_why_and_the_reason_reaches_everybody() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let id = stage.hold(Class::Configure, b"x").await;
    let asked = ballot(&stage, &ana, &id, "reject").await;
    let silent = json!({"statement": asked["statement"], "assertion": null, "reason": " "});
    assert_eq!(cast(&stage, &ana, &id, silent).await.problem(), (409, "reason-missing".into()));
    let said = json!({"statement": asked["statement"], "assertion": null, "reason": "Wrong target"});
    let seen = cast(&stage, &ana, &id, said).await.ok();
    assert_eq!(
        (seen["state"].as_str(), seen["rejection"]["reason"].as_str()),
        (Some("rejected"), Some("Wrong target"))
    );
    assert_eq!(seen["rejection"]["by"]["name"], "Ana");
    let late = stage
        .as_person(&ana, "POST", &format!("/api/v1/approvals/{id}/revoke"), Some(json!({"reason": "x"})))
        .await;
    assert_eq!(late.problem(), (409, "out-of-order".into()));
}

#[tokio::test]
async fn an_approval_is_revoked_before_it_runs_by_those_who_may() {
    let stage = Stage::new().await;
    let (mut ana, ben) = (stage.reviewer("Ana", &["privacy"]).await, stage.reviewer("Ben", &["sre"]).await);
    let id = stage.hold(Class::Export, b"x").await;
    stage.approve(&mut ana, &id).await.ok();
    let path = format!("/api/v1/approvals/{id}/revoke");
    let why = || Some(json!({"reason": "changed my mind"}));
    assert_eq!(stage.as_person(&ben, "POST", &path, why()).await.problem(), (403, "not-allowed".into()));
    assert_eq!(stage.as_person(&ana, "POST", &path, Some(json!({"reason": ""}))).await.problem().0, 422);
    let seen = stage.as_person(&ana, "POST", &path, why()).await.ok();
    assert_eq!((seen["state"].as_str(), seen["revoked_by"]["name"].as_str()), (Some("revoked"), Some("Ana")));
    let other = stage.hold(Class::Export, b"y").await;
    let seen = stage.operator("POST", &format!("/api/v1/approvals/{other}/revoke"), why()).await.ok();
    assert_eq!(seen["revoked_by"]["kind"], "operator");
    assert_eq!(stage.effects(), 0);
}

#[tokio::test]
async fn after_the_deadline_no_vote_counts() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let id = stage.hold(Class::Configure, b"x").await;
    stage.pass(Duration::from_mins(31));
    let (status, code) = stage.approve(&mut ana, &id).await.problem();
    assert_eq!(status, 409);
    assert!(["too-late", "out-of-order", "ballot"].contains(&code.as_str()), "{code}");
    stage.until(&id, "lapsed").await;
    assert_eq!(stage.effects(), 0);
}

#[tokio::test]
async fn lists_say_what_waits_for_whom_and_page_without_repeating() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["privacy"]).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(stage.hold(Class::Export, format!("{n}").as_bytes()).await);
        stage.pass(Duration::from_millis(1));
    }
    ids.push(stage.hold(Class::Configure, b"x").await);
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/approvals?open=yes&limit=2{before}");
        let page = stage.as_person(&ana, "GET", &path, None).await.ok();
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["you"]["can_vote"], item["class"] == "export", "{item}");
            assert_eq!(item["requester"]["name"], "night-agent");
            seen.push(item["id"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    ids.reverse();
    assert_eq!(seen, ids);
    let one =
        stage.as_person(&ana, "GET", "/api/v1/approvals?class=configure&status=pending", None).await.ok();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    assert_eq!(one["items"][0]["gates"][0]["approvers"], "one person of sre, signed in");
}

#[tokio::test]
async fn a_gate_that_asks_for_a_fresh_sign_in_says_so_and_takes_nothing_less() {
    let stage = Stage::new().await;
    let mut ana = stage.person("Ana", &["sre"], "reviewer").await;
    let id = stage.hold(Class::Connect, b"x").await;
    let shown = stage.as_person(&ana, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
    assert_eq!(shown["you"]["sign_in_again"]["terms"]["within_s"], 300, "{shown}");
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("This gate wants you to have proven who you are more recently."), "{page}");
    assert_eq!(stage.approve(&mut ana, &id).await.problem(), (409, "sign-in-again".into()));
    assert_eq!((stage.count("approval.vote_refused").await, stage.state(&id).await.as_str()), (1, "pending"));
    // A vote by passkey proves it with the vote itself.
    stage.register(&mut ana).await;
    let shown = stage.as_person(&ana, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
    assert_eq!(shown["you"]["sign_in_again"], Value::Null);
    stage.approve(&mut ana, &id).await.ok();
    stage.until(&id, "done").await;
    // Whoever says no is asked nothing.
    let ben = stage.person("Ben", &["sre"], "reviewer").await;
    let other = stage.hold(Class::Connect, b"y").await;
    let asked = ballot(&stage, &ben, &other, "reject").await;
    let said = json!({"statement": asked["statement"], "assertion": null, "reason": "no"});
    assert_eq!(cast(&stage, &ben, &other, said).await.ok()["state"], "rejected");
    let export = stage.operator("GET", "/api/v1/ledger/export", None).await;
    countersign_ledger::verify::verify(export.body.as_slice(), stage.keys.log().verifier()).unwrap();
}
