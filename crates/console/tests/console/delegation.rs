//! Being away: somebody votes in another's place, between two moments, for nobody's own requests, and passes it on to nobody.

use crate::stage::{Answer, Browser, Stage};
use countersign_core::{Class, Timestamp};
use countersign_ledger::verify::verify;
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

/// `absent` is away from now on, for this long.
async fn away(stage: &Stage, by: &Browser, absent: &Browser, to: &Browser, span: Duration) -> Answer {
    let now = stage.gate.now();
    set(stage, by, absent, to, (now, now.plus(span))).await
}

async fn set(
    stage: &Stage,
    by: &Browser,
    absent: &Browser,
    to: &Browser,
    (from, until): (Timestamp, Timestamp),
) -> Answer {
    let asked = json!({"to": to.id, "from": from.to_string(), "until": until.to_string()});
    stage.as_person(by, "PUT", &format!("/api/v1/people/{}/delegation", absent.id), Some(asked)).await
}

async fn seen(stage: &Stage, who: &Browser, id: &str) -> Value {
    stage.as_person(who, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok()
}

async fn can_vote(stage: &Stage, who: &Browser, id: &str) -> bool {
    seen(stage, who, id).await["you"]["can_vote"].as_bool().unwrap()
}

#[tokio::test]
async fn a_stand_in_votes_in_anothers_place_and_the_record_says_so() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["privacy"]).await;
    let mut ben = stage.reviewer("Ben", &["privacy"]).await;
    let mut dora = stage.reviewer("Dora", &[]).await;
    let id = stage.hold(Class::Export, b"x").await;
    assert_eq!(stage.approve(&mut dora, &id).await.problem(), (409, "not-eligible".into()));
    away(&stage, &ana, &ana, &dora, HOUR).await.ok();
    assert_eq!(stage.count("delegation.set").await, 1);
    let page = stage.page(&dora, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("You stand in for <strong>Ana</strong>"), "{page}");
    let people = stage.page(&ben, "/people").await.text();
    assert!(people.contains("<strong>Dora</strong> votes in their place"), "{people}");
    assert!(stage.page(&dora, "/account").await.text().contains("You vote in place of <strong>Ana</strong>"));
    let voted = stage.approve(&mut dora, &id).await.ok();
    let vote = &voted["rounds"][0]["votes"][0];
    assert_eq!((&vote["voter"]["name"], &vote["on_behalf_of"]["name"]), (&json!("Dora"), &json!("Ana")));
    stage.approve(&mut ben, &id).await.ok();
    stage.until(&id, "done").await;
    let export = stage.operator("GET", "/api/v1/ledger/export", None).await;
    assert_eq!(verify(export.body.as_slice(), stage.keys.log().verifier()).unwrap().votes, 2);
}

#[tokio::test]
async fn one_say_is_had_once_whoever_has_it() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["privacy"]).await;
    let mut ben = stage.reviewer("Ben", &["privacy"]).await;
    let mut dora = stage.reviewer("Dora", &[]).await;
    // Back before its end, she finds that hers was had.
    let first = stage.hold(Class::Export, b"1").await;
    away(&stage, &ana, &ana, &dora, HOUR).await.ok();
    stage.approve(&mut dora, &first).await.ok();
    assert_eq!(stage.approve(&mut ana, &first).await.problem(), (409, "said-already".into()));
    assert_eq!(stage.state(&first).await, "pending");
    // And the other way round.
    let second = stage.hold(Class::Export, b"2").await;
    stage.approve(&mut ana, &second).await.ok();
    assert_eq!(stage.approve(&mut dora, &second).await.problem(), (409, "said-already".into()));
    // Who stands in for two, or has a say of their own, is one voice.
    let third = stage.hold(Class::Export, b"3").await;
    away(&stage, &ana, &ana, &ben, HOUR).await.ok();
    stage.approve(&mut ben, &third).await.ok();
    let again = stage.approve(&mut ben, &third).await.ok();
    assert_eq!((again["state"].as_str(), again["gates"][0]["votes"].as_u64()), (Some("pending"), Some(1)));
    assert_eq!(stage.effects(), 0);
}

#[tokio::test]
async fn it_holds_between_two_moments_and_not_after_it_was_ended() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["privacy"]).await;
    let dora = stage.reviewer("Dora", &[]).await;
    let now = stage.gate.now();
    set(&stage, &ana, &ana, &dora, (now.plus(Duration::from_mins(5)), now.plus(Duration::from_mins(10))))
        .await
        .ok();
    let id = stage.hold(Class::Export, b"x").await;
    assert!(!can_vote(&stage, &dora, &id).await, "not yet");
    stage.pass(Duration::from_mins(5));
    assert!(can_vote(&stage, &dora, &id).await);
    // A ballot taken while it held is worth nothing afterwards.
    let asked = Some(json!({"decision": "reject"}));
    let ballot = stage.as_person(&dora, "POST", &format!("/api/v1/approvals/{id}/ballot"), asked).await.ok();
    stage.pass(Duration::from_mins(5));
    assert!(!can_vote(&stage, &dora, &id).await, "not any more");
    let vote = json!({"statement": ballot["statement"], "assertion": null, "reason": "no"});
    let late = stage.as_person(&dora, "POST", &format!("/api/v1/approvals/{id}/votes"), Some(vote)).await;
    assert_eq!(late.problem(), (409, "not-eligible".into()));
    away(&stage, &ana, &ana, &dora, HOUR).await.ok();
    assert!(can_vote(&stage, &dora, &id).await);
    let path = format!("/api/v1/people/{}/delegation", ana.id);
    let other = stage.as_person(&dora, "DELETE", &path, None).await;
    assert_eq!(other.problem(), (403, "not-allowed".into()), "whoever stands in does not end it for her");
    stage.as_person(&ana, "DELETE", &path, None).await.ok();
    assert!(!can_vote(&stage, &dora, &id).await);
    assert_eq!(stage.count("delegation.ended").await, 1);
}

#[tokio::test]
async fn never_on_what_the_absent_one_asks_for_and_not_through_another() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["privacy"]).await;
    let mut ben = stage.reviewer("Ben", &["privacy"]).await;
    let eve = stage.reviewer("Eve", &[]).await;
    // Olga owns the agent: whoever stands in for her is out for it, by a right of their own as well.
    away(&stage, &stage.olga, &stage.olga, &ben, HOUR).await.ok();
    let id = stage.hold(Class::Export, b"x").await;
    assert_eq!(stage.approve(&mut ben, &id).await.problem(), (409, "not-eligible".into()));
    let told = seen(&stage, &ben, &id).await["you"]["why_not"].to_string();
    assert!(told.contains("stands in for somebody on the requester's side"), "{told}");
    // Not for longer, or somebody on that side could name one reviewer after the other and choose who is left.
    let other = stage.reviewer("Cy", &["privacy"]).await;
    let first = seen(&stage, &other, &id).await;
    stage.operator("DELETE", &format!("/api/v1/people/{}/delegation", stage.olga.id), None).await.ok();
    stage.pass(Duration::from_mins(1));
    assert!(!can_vote(&stage, &ben, &id).await, "what was so when it was asked stays so for that");
    let later = stage.hold(Class::Export, b"later").await;
    assert!(can_vote(&stage, &ben, &later).await);
    // And while something waits, the side takes nobody out of those who decide.
    let before = stage.count("approval.vote_refused").await;
    let gone = away(&stage, &stage.olga, &stage.olga, &other, HOUR).await;
    assert_eq!(gone.problem(), (403, "requester-side".into()));
    assert_eq!(stage.count("approval.vote_refused").await, before + 1);
    assert_eq!((first["you"]["can_vote"].as_bool(), can_vote(&stage, &other, &id).await), (Some(true), true));
    // No chains: Eve stands in for Dora, who stands in for Ana.
    let dora = stage.reviewer("Dora", &[]).await;
    away(&stage, &ana, &ana, &dora, HOUR).await.ok();
    away(&stage, &dora, &dora, &eve, HOUR).await.ok();
    assert!(can_vote(&stage, &dora, &id).await && !can_vote(&stage, &eve, &id).await);
    let gone = away(&stage, &ben, &ben, &dora, HOUR).await;
    assert_eq!(gone.problem(), (409, "cannot-stand-in".into()), "nobody stands in who is away");
}

#[tokio::test]
async fn who_may_set_it_for_whom_and_how_long() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["privacy"]).await;
    let dora = stage.reviewer("Dora", &["sre"]).await;
    let auditor = stage.person("Ada", &[], "auditor").await;
    let now = stage.gate.now();
    assert_eq!(away(&stage, &dora, &ana, &dora, HOUR).await.problem(), (403, "not-allowed".into()));
    assert_eq!(away(&stage, &ana, &ana, &ana, HOUR).await.problem(), (409, "cannot-stand-in".into()));
    assert_eq!(away(&stage, &ana, &ana, &auditor, HOUR).await.problem(), (409, "cannot-stand-in".into()));
    let day = Duration::from_hours(24);
    for (from, until) in
        [(now, now), (now.plus(HOUR), now), (now, now.plus(91 * day)), (now.minus(2 * day), now.minus(day))]
    {
        assert_eq!(set(&stage, &ana, &ana, &dora, (from, until)).await.problem().0, 422, "{from} {until}");
    }
    assert_eq!(stage.count("delegation.set").await, 0);
    // An administrator may, and counts as having brought the stand-in in: out for what the administrator's side asks.
    away(&stage, &stage.olga, &ana, &dora, HOUR).await.ok();
    let id = stage.hold(Class::Export, b"x").await;
    assert!(!can_vote(&stage, &dora, &id).await);
    assert!(can_vote(&stage, &ana, &id).await);
}
