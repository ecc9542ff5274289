//! Users of channels who speak for people: who may have whom speak for them, who sees it, and what ends it.

use crate::stage::{Browser, POLICY, Stage};
use countersign_core::Class;
use serde_json::{Value, json};
use std::time::Duration;

const CHAT: &str = r#"
@id("tidy") @gate("tidy") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("chat")
@reason("what runs is watched") forbid (principal, action in Action::"execute", resource);
"#;

async fn code(stage: &Stage, delivery: &str, user: &str) -> String {
    let bind = json!({"type": "bind", "user": user, "user_name": "Ana \u{202e}<i>"});
    let answer = stage.deliver(delivery, &bind).await.ok();
    answer["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned()
}

async fn post(stage: &Stage, who: &Browser, path: &str, code: &str) -> crate::stage::Answer {
    stage.as_person(who, "POST", path, Some(json!({"code": code}))).await
}

async fn word(stage: &Stage, delivery: &str, user: &str, id: &str) -> Value {
    let event = json!({"type": "approve", "user": user, "approval": id, "shown": stage.shown(id).await});
    stage.deliver(delivery, &event).await.ok()["code"].clone()
}

#[tokio::test]
async fn a_person_sees_who_would_speak_for_them_and_says_so_once() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    let code = code(&stage, "b1", "U\u{202e}1").await;
    assert!(stage.page(&ana, "/bind").await.text().contains("id=\"bind\""));
    let seen = post(&stage, &ana, "/api/v1/bindings/look", &code).await.ok();
    assert_eq!((&seen["channel"], &seen["user"]), (&json!("team"), &json!("U⟨U+202E⟩1")));
    assert_eq!(seen["user_name"], "Ana ⟨U+202E⟩<i>");
    let bound = post(&stage, &ana, "/api/v1/bindings", &code).await;
    assert_eq!(bound.status, 201);
    let spent = post(&stage, &ana, "/api/v1/bindings", &code).await.problem();
    assert_eq!(spent, (410, "binding-spent".into()));
    assert_eq!(stage.count("channel.bound").await, 1);
    let page = stage.page(&ana, "/account").await.text();
    assert!(
        page.contains("Who speaks for you") && !page.contains("<i>") && !page.contains('\u{202e}'),
        "{page}"
    );
    // Administrators see who speaks for whom; nobody else does.
    let admin = stage.person("Adm", &[], "administrator").await;
    let all = stage.as_person(&admin, "GET", "/api/v1/bindings", None).await.ok();
    assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
    assert_eq!((&all[0]["email"], &all[0]["channel"]), (&json!("ana@example.com"), &json!("team")));
    assert_eq!(all[0]["id"], bound.ok()["id"]);
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/bindings", None).await.status, 403);
    // Neither the link nor what the user is called stands in the ledger's public part.
    let again = stage.deliver("b2", &json!({"type": "bind", "user": "U\u{202e}1"})).await.ok();
    assert_eq!((&again["outcome"], &again["code"]), (&json!("refused"), &json!("bound-already")));
    assert!(!stage.holds_on_disk(&code), "the code is kept nowhere");
}

#[tokio::test]
async fn nobody_else_comes_by_a_link_and_it_is_short_lived() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let auditor = stage.person("Aud", &[], "auditor").await;
    let first = code(&stage, "b1", "U1").await;
    // By link, with a passkey of their own: they have to prove who they are first.
    assert_eq!(post(&stage, &ana, "/api/v1/bindings", &first).await.problem(), (403, "not-fresh".into()));
    assert_eq!(
        post(&stage, &auditor, "/api/v1/bindings", &first).await.problem(),
        (403, "not-allowed".into())
    );
    let mut nobody = crate::stage::request("POST", "/api/v1/bindings", Some(json!({"code": first})));
    assert_eq!(stage.call(nobody).await.problem(), (401, "not-signed-in".into()));
    stage.sign_in(&mut ana).await;
    nobody = crate::stage::signed(&ana, "POST", "/api/v1/bindings", Some(json!({"code": first})));
    nobody.headers_mut().insert("x-countersign-csrf", "x".parse().unwrap());
    assert_eq!(stage.call(nobody).await.problem(), (403, "csrf".into()));
    nobody = crate::stage::signed(&ana, "POST", "/api/v1/bindings", Some(json!({"code": first})));
    nobody.headers_mut().insert(http::header::ORIGIN, "https://evil.example".parse().unwrap());
    assert_eq!(stage.call(nobody).await.problem(), (403, "origin".into()));
    stage.pass(Duration::from_mins(11));
    stage.sign_in(&mut ana).await;
    assert_eq!(post(&stage, &ana, "/api/v1/bindings", &first).await.problem(), (410, "binding-spent".into()));
    // Guessing slows down its source, and a right link works all the same.
    let good = code(&stage, "b2", "U1").await;
    let mut last = (0, String::new());
    for n in 0..30 {
        let guess = format!("{n:043}");
        last = post(&stage, &ana, "/api/v1/bindings/look", &guess).await.problem();
    }
    assert_eq!(last, (429, "too-many-attempts".into()));
    post(&stage, &ana, "/api/v1/bindings", &good).await.ok();
}

#[tokio::test]
async fn one_user_speaks_for_one_person_and_one_person_has_one_user_there() {
    let stage = Stage::new().await;
    let (mut ana, mut ben) =
        (stage.person("Ana", &["sre"], "reviewer").await, stage.person("Ben", &["sre"], "reviewer").await);
    let raced = code(&stage, "b0", "U1").await;
    assert_eq!(post(&stage, &ben, "/api/v1/bindings/look", &raced).await.status, 200);
    let (one, two) = tokio::join!(
        post(&stage, &ana, "/api/v1/bindings", &raced),
        post(&stage, &ben, "/api/v1/bindings", &raced)
    );
    let won = [one.status, two.status].iter().filter(|status| status.is_success()).count();
    assert_eq!((won, stage.count("channel.bound").await), (1, 1), "a link is good once");
    let (has, other) = if one.status.is_success() { (&mut ana, &mut ben) } else { (&mut ben, &mut ana) };
    let second = code(&stage, "b1", "U2").await;
    assert_eq!(post(&stage, has, "/api/v1/bindings", &second).await.problem(), (409, "bound-already".into()));
    post(&stage, other, "/api/v1/bindings", &second).await.ok();
}

#[tokio::test]
async fn ended_by_its_person_an_administrator_or_leaving_it_speaks_for_nobody() {
    let stage = Stage::new().await;
    stage.put_in_force(&format!("{POLICY}{CHAT}")).await;
    let mut people = Vec::new();
    for (n, name) in ["Ana", "Ben", "Cyd", "Dan"].iter().enumerate() {
        let mut who = stage.person(name, &["sre"], "reviewer").await;
        let binding = stage.bind(&mut who, &format!("U{n}")).await;
        people.push((who, binding));
    }
    let path = |n: usize| format!("/api/v1/people/{}/bindings", people[n].0.id);
    let one = |n: usize| format!("{}/{}", path(n), people[n].1);
    let ana = &people[0].0;
    // Others' are nobody's business but administrators'.
    assert_eq!(stage.as_person(ana, "GET", &path(1), None).await.problem(), (403, "not-allowed".into()));
    assert_eq!(stage.as_person(ana, "DELETE", &one(1), None).await.problem(), (403, "not-allowed".into()));
    let wrong = format!("{}/{}", path(0), people[1].1);
    assert_eq!(stage.as_person(ana, "DELETE", &wrong, None).await.problem(), (404, "not-found".into()));
    let listed = stage.as_person(ana, "GET", &path(0), None).await.ok();
    assert_eq!((&listed[0]["user"], &listed[0]["channel"]), (&json!("U0"), &json!("team")));
    let page = stage.page(&stage.olga, "/people").await.text();
    assert!(page.contains("speaks for them"), "{page}");
    assert!(!stage.page(ana, "/people").await.text().contains("speaks for them"));

    stage.as_person(ana, "DELETE", &one(0), None).await.ok();
    stage.as_person(&stage.olga, "DELETE", &one(1), None).await.ok();
    let id = format!("/api/v1/people/{}", people[2].0.id);
    stage.as_person(&stage.olga, "DELETE", &id, None).await.ok();
    stage.operator("DELETE", &one(3), None).await.ok();
    assert_eq!(stage.count("channel.unbound").await, 4);
    let held = stage.hold(Class::Execute, b"x").await;
    for n in 0..4 {
        assert_eq!(word(&stage, &format!("d{n}"), &format!("U{n}"), &held).await, "not-bound", "{n}");
    }
    // Whose binding ended can be bound anew, to somebody else too.
    let code = code(&stage, "b9", "U0").await;
    post(&stage, &people[1].0, "/api/v1/bindings", &code).await.ok();
    assert_eq!(word(&stage, "d9", "U0", &held).await, "counted");
}
