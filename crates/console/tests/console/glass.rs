//! Break-glass: one person alone, where policy names them; everybody else told; bound until somebody else has reviewed it.

use crate::stage::{Answer, Browser, POLICY, Stage};
use countersign_core::Class;
use countersign_ledger::verify::verify;
use serde_json::{Value, json};
use std::time::Duration;

async fn review(stage: &Stage, who: &Browser, id: &str, broken_by: &Browser) -> Answer {
    let path = format!("/api/v1/approvals/{id}/review");
    let said = json!({"broken_by": broken_by.id, "found": "justified", "note": "the disk was full"});
    stage.as_person(who, "POST", &path, Some(said)).await
}

async fn seen(stage: &Stage, who: &Browser, id: &str) -> Value {
    stage.as_person(who, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok()
}

async fn reviews(stage: &Stage) -> usize {
    stage.operator("GET", "/api/v1/reviews", None).await.ok().as_array().unwrap().len()
}

fn names(people: &Value) -> Vec<&str> {
    let mut names: Vec<_> =
        people.as_array().unwrap().iter().map(|person| person["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn one_person_lifts_everything_and_is_bound_until_somebody_else_has_reviewed_it() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let (ben, cy) =
        (stage.person("Ben", &["privacy"], "reviewer").await, stage.reviewer("Cy", &["privacy"]).await);
    let auditor = stage.person("Ada", &[], "auditor").await;
    let stranger = stage.person("Sid", &[], "reviewer").await;
    let mut news = stage.gate.changes();
    let id = stage.hold(Class::Delete, b"all of it").await;
    assert_eq!(stage.break_glass(&mut ana, &id, " ").await.problem(), (409, "reason-missing".into()));
    let done = stage.break_glass(&mut ana, &id, "the disk is full").await.ok();
    assert_eq!(names(&done["glass"][0]["told"]), ["Ben", "Cy"], "{done}");
    stage.until(&id, "done").await;
    assert_eq!((stage.effects(), stage.count("approval.glass_broken").await), (1, 1));
    let told = std::iter::from_fn(|| news.try_recv().ok());
    assert!(told.into_iter().any(|change| matches!(change, countersign_engine::Changed::Glass { .. })));
    // Everybody's inbox says so, and the approval's page.
    let inbox = stage.page(&ben, "/").await.text();
    assert!(inbox.contains("Break-glass to be reviewed") && inbox.contains("the disk is full"), "{inbox}");
    let page = stage.page(&ben, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("Ana broke the glass") && page.contains("Close the review"), "{page}");
    assert!(!stage.page(&ana, &format!("/approvals/{id}")).await.text().contains("Close the review"));
    // She breaks no other meanwhile.
    let other = stage.hold(Class::Delete, b"more of it").await;
    assert_eq!(stage.break_glass(&mut ana, &other, "again").await.problem(), (409, "review-open".into()));
    let shown = seen(&stage, &ana, &other).await;
    assert_eq!(shown["break_glass"]["can"], false, "{shown}");
    // Neither she, nor the requester's side, nor an auditor, nor the operator, nor whoever is not asked closes it.
    for (who, code) in [
        (&ana, "not-eligible"),
        (&stage.olga, "not-eligible"),
        (&stranger, "not-eligible"),
        (&auditor, "not-allowed"),
    ] {
        assert_eq!(review(&stage, who, &id, &ana).await.problem(), (403, code.into()));
    }
    let said = json!({"broken_by": ana.id, "found": "justified", "note": "x"});
    let operator = stage.operator("POST", &format!("/api/v1/approvals/{id}/review"), Some(said)).await;
    assert_eq!(operator.problem(), (403, "not-allowed".into()));
    assert_eq!((stage.count("approval.glass_reviewed").await, reviews(&stage).await), (0, 1));
    let closed = review(&stage, &ben, &id, &ana).await.ok();
    assert_eq!(closed["glass"][0]["review"]["by"]["name"], "Ben");
    assert_eq!((stage.count("approval.glass_reviewed").await, reviews(&stage).await), (1, 0));
    assert_eq!(review(&stage, &cy, &id, &ana).await.problem(), (409, "out-of-order".into()));
    stage.break_glass(&mut ana, &other, "again").await.ok();
    stage.until(&other, "done").await;
    let export = stage.operator("GET", "/api/v1/ledger/export", None).await;
    let report = verify(export.body.as_slice(), stage.keys.log().verifier()).unwrap();
    assert_eq!((report.votes, report.approvals), (2, 2));
}

#[tokio::test]
async fn only_where_policy_has_it_and_only_by_those_it_names() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let mut ben = stage.reviewer("Ben", &["privacy"]).await;
    let weak = &mut stage.person("Wim", &["sre"], "reviewer").await;
    let export = stage.hold(Class::Export, b"x").await;
    assert_eq!(stage.break_glass(&mut ana, &export, "now").await.problem(), (409, "no-break-glass".into()));
    assert_eq!(seen(&stage, &ana, &export).await["break_glass"], Value::Null);
    let id = stage.hold(Class::Delete, b"x").await;
    assert_eq!(stage.break_glass(&mut ben, &id, "now").await.problem(), (409, "not-eligible".into()));
    assert_eq!(seen(&stage, &ben, &id).await["break_glass"], Value::Null);
    // The owner of the agent, an administrator and in the very group: of the requester's side first of all.
    let mut olga = stage.olga.again();
    stage.register(&mut olga).await;
    assert_eq!(stage.break_glass(&mut olga, &id, "now").await.problem(), (409, "requester-side".into()));
    assert_eq!(stage.break_glass(weak, &id, "now").await.problem(), (409, "too-weak".into()));
    assert_eq!(stage.count("approval.vote_refused").await, 4, "each is an entry");
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("Break the glass and approve alone"), "{page}");
    assert!(!stage.page(&ben, &format!("/approvals/{id}")).await.text().contains("approve alone"));
    assert_eq!((stage.state(&id).await.as_str(), stage.effects()), ("pending", 0));
}

#[tokio::test]
async fn nobody_breaks_the_glass_unseen() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let id = stage.hold(Class::Delete, b"x").await;
    // Olga is in every group and of the requester's side: there is nobody who could be told.
    assert_eq!(stage.break_glass(&mut ana, &id, "now").await.problem(), (409, "nobody-told".into()));
    stage.person("Ben", &["privacy"], "reviewer").await;
    stage.break_glass(&mut ana, &id, "now").await.ok();
}

#[tokio::test]
async fn of_two_at_once_one_counts() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    stage.person("Ben", &["privacy"], "reviewer").await;
    let (one, two) = (stage.hold(Class::Delete, b"1").await, stage.hold(Class::Delete, b"2").await);
    let mut votes = Vec::new();
    for id in [&one, &two] {
        let path = format!("/api/v1/approvals/{id}");
        let asked = json!({"decision": "break-glass"});
        let ballot = stage.as_person(&ana, "POST", &format!("{path}/ballot"), Some(asked)).await.ok();
        let passkey = ana.passkey.as_mut().unwrap();
        let assertion = passkey.assert(&ballot["publicKey"], crate::stage::ORIGIN).unwrap();
        votes.push((
            format!("{path}/votes"),
            json!({"statement": ballot["statement"], "assertion": assertion, "reason": "now"}),
        ));
    }
    let cast = |(path, vote): &(String, Value)| {
        let (path, vote) = (path.clone(), vote.clone());
        let (stage, ana) = (&stage, &ana);
        async move { stage.as_person(ana, "POST", &path, Some(vote)).await }
    };
    let (first, second) = tokio::join!(cast(&votes[0]), cast(&votes[1]));
    let counted = [&first, &second].iter().filter(|answer| answer.status.is_success()).count();
    assert_eq!((counted, stage.count("approval.glass_broken").await), (1, 1));
    let refused = if first.status.is_success() { second } else { first };
    assert_eq!(refused.problem(), (409, "review-open".into()));
}

#[tokio::test]
async fn when_policy_takes_break_glass_back_before_it_runs_the_gates_are_shut_again() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    stage.person("Ben", &["privacy"], "reviewer").await;
    let id = stage.hold(Class::Delete, b"x").await;
    let freeze = json!({"scope": "target", "name": "cloud"});
    stage.operator("POST", "/api/v1/freezes", Some(freeze.clone())).await.ok();
    stage.break_glass(&mut ana, &id, "now").await.ok();
    stage.put_in_force(&POLICY.replace(r#"@break_glass("Group::\"sre\"")"#, "")).await;
    stage.operator("DELETE", "/api/v1/freezes", Some(freeze)).await.ok();
    stage.pass(Duration::from_secs(1));
    // Whoever comes back finds it waiting.
    stage.claim(Class::Delete, b"x").await;
    stage.until(&id, "pending").await;
    assert_eq!((stage.count("approval.round_opened").await, stage.effects()), (1, 0));
}
