//! What channels deliver: believed only when it is signed, just now, and taken in once.

use crate::stage::{POLICY, Stage, seal};
use countersign_core::Class;
use serde_json::{Value, json};
use std::time::Duration;

/// A gate that accepts a word in a channel.
const CHAT: &str = r#"
@id("tidy") @gate("tidy") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("chat")
@reason("what runs is watched") forbid (principal, action in Action::"execute", resource);
"#;

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.put_in_force(&format!("{POLICY}{CHAT}")).await;
    stage
}

async fn yes(stage: &Stage, user: &str, id: &str) -> Value {
    json!({"type": "approve", "user": user, "approval": id, "shown": stage.shown(id).await})
}

#[tokio::test]
async fn two_users_of_a_channel_lift_a_gate_that_accepts_their_word() {
    let stage = stage().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let mut ben = stage.person("Ben", &["sre"], "reviewer").await;
    stage.bind(&mut ana, "U1").await;
    stage.bind(&mut ben, "U2").await;
    let id = stage.hold(Class::Execute, b"x").await;
    let first = stage.deliver("d1", &yes(&stage, "U1", &id).await).await.ok();
    assert_eq!((&first["outcome"], &first["code"]), (&json!("done"), &json!("counted")));
    let second = stage.deliver("d2", &yes(&stage, "U2", &id).await).await.ok();
    assert_eq!(second["code"], "granted");
    stage.until(&id, "done").await;
    assert_eq!(stage.effects(), 1);
    let seen = stage.operator("GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
    assert_eq!(seen["rounds"][0]["votes"][0]["assurance"], "chat");
}

#[tokio::test]
async fn a_gate_that_asks_for_more_leads_to_its_page_and_a_no_needs_no_more() {
    let stage = stage().await;
    let mut ana = stage.reviewer("Ana", &["privacy", "sre"]).await;
    stage.bind(&mut ana, "U1").await;
    for (class, n) in [(Class::Export, 1), (Class::Configure, 2)] {
        let id = stage.hold(class, b"x").await;
        let answer = stage.deliver(&format!("y{n}"), &yes(&stage, "U1", &id).await).await.ok();
        assert_eq!((&answer["outcome"], &answer["code"]), (&json!("refused"), &json!("open-page")));
        assert!(answer["link"].as_str().unwrap().ends_with(&format!("/approvals/{id}/decide")), "{answer}");
        assert_eq!(stage.state(&id).await, "pending");
        let mut no = yes(&stage, "U1", &id).await;
        no["type"] = json!("reject");
        no["reason"] = json!("\u{202e}<b>no</b>");
        assert_eq!(stage.deliver(&format!("n{n}"), &no).await.ok()["code"], "rejected");
        assert_eq!(stage.state(&id).await, "rejected");
        let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
        assert!(!page.contains("<b>no</b>") && !page.contains('\u{202e}'), "{page}");
    }
    assert_eq!(stage.effects(), 0);
}

#[tokio::test]
async fn what_is_forged_late_or_not_as_it_must_be_changes_nothing() {
    let stage = stage().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    stage.bind(&mut ana, "U1").await;
    let id = stage.hold(Class::Execute, b"x").await;
    let body = yes(&stage, "U1", &id).await.to_string();
    let now = stage.gate.now().unix_ms() / 1000;
    let at = now.to_string();
    let good = seal("d", &at, body.as_bytes());
    for (what, channel, signed, body, want) in [
        ("unsigned", "team", ("d", &*at, ""), &*body, (401, "not-signed")),
        ("another body", "team", ("d", &*at, &*good), "{}", (401, "not-signed")),
        ("another id", "team", ("e", &*at, &*good), &*body, (401, "not-signed")),
        ("no id", "team", ("", &*at, &*good), &*body, (401, "not-signed")),
        ("no such channel", "other", ("d", &*at, &*good), &*body, (404, "not-found")),
        ("no name of a channel", "%20", ("d", &*at, &*good), &*body, (404, "not-found")),
    ] {
        let answer = stage.delivered(channel, signed, body.to_owned()).await;
        let (status, code) = answer.problem();
        assert_eq!((status, &*code), want, "{what}");
    }
    for (what, at) in [("late", now - 301), ("early", now + 301)] {
        let at = at.to_string();
        let sealed = seal("d", &at, body.as_bytes());
        let answer = stage.delivered("team", ("d", &at, &sealed), body.clone()).await;
        assert_eq!(answer.problem(), (401, "not-signed".into()), "{what}");
    }
    for (n, (what, body, want)) in [
        ("no JSON", "approve it".to_owned(), (422, "invalid")),
        ("another type", json!({"type": "grant", "user": "U1"}).to_string(), (422, "invalid")),
        ("more than is known", body.replace("\"type\"", "\"voter\":\"Ana\",\"type\""), (422, "invalid")),
        ("no approval's id", body.replace(&id, "apr_x"), (422, "invalid")),
        ("no reason", body.replace("approve", "reject"), (422, "invalid")),
        ("nobody", body.replace("U1", ""), (422, "invalid")),
        ("too large", format!("{}{body}", " ".repeat(64 << 10)), (413, "too-large")),
        ("no approval there is", body.replace(&id, "apr_01K9ZZZZZZZZZZZZZZZZZZZZZZ"), (404, "not-found")),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("bad{n}");
        let sealed = seal(&name, &at, body.as_bytes());
        let answer = stage.delivered("team", (&name, &at, &sealed), body).await;
        let (status, code) = answer.problem();
        assert_eq!((status, &*code), want, "{what}");
    }
    assert_eq!((stage.count("approval.voted").await, stage.state(&id).await), (0, "pending".into()));
    assert_eq!(stage.deliver("d", &serde_json::from_str(&body).unwrap()).await.ok()["code"], "counted");
}

#[tokio::test]
async fn a_delivery_that_comes_again_is_answered_the_same_and_stands_for_nothing_else() {
    let stage = stage().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    stage.bind(&mut ana, "U1").await;
    let id = stage.hold(Class::Execute, b"x").await;
    let other = stage.hold(Class::Execute, b"y").await;
    let event = yes(&stage, "U1", &id).await;
    let first = stage.deliver("d1", &event).await.ok();
    stage.pass(Duration::from_mins(2));
    assert_eq!(stage.deliver("d1", &event).await.ok(), first);
    assert_eq!(stage.count("approval.voted").await, 1);
    let another = yes(&stage, "U1", &other).await;
    assert_eq!(stage.deliver("d1", &another).await.problem(), (422, "delivery-reused".into()));
    assert_eq!(stage.state(&other).await, "pending");
    // A link is made once: the same delivery gives the same one, and another makes the first worthless.
    let bind = json!({"type": "bind", "user": "U9", "user_name": "Nina"});
    let link = stage.deliver("b1", &bind).await.ok();
    assert_eq!(link["code"], "link");
    assert_eq!(stage.deliver("b1", &bind).await.ok(), link);
    assert_ne!(stage.deliver("b2", &bind).await.ok()["link"], link["link"]);
    let code = link["link"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let spent = stage.as_person(&ana, "POST", "/api/v1/bindings/look", Some(json!({"code": code}))).await;
    assert_eq!(spent.problem(), (410, "binding-spent".into()));
}

#[tokio::test]
async fn no_page_and_no_agent_speaks_at_the_door_of_channels() {
    let stage = stage().await;
    let id = stage.hold(Class::Execute, b"x").await;
    let event = yes(&stage, "U1", &id).await;
    let path = "/api/v1/channels/team/events";
    // A signed-in person's own request is no channel's word.
    let asked = stage.as_person(&stage.olga, "POST", path, Some(event.clone())).await;
    assert_eq!(asked.problem(), (401, "not-signed".into()));
    let mut asked = crate::stage::request("POST", path, Some(event));
    asked
        .headers_mut()
        .insert(http::header::AUTHORIZATION, format!("Bearer {}", stage.token).parse().unwrap());
    assert_eq!(stage.call(asked).await.problem(), (403, "agent-credential".into()));
    assert_eq!(stage.state(&id).await, "pending");
}
