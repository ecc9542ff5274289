//! Writes with an idempotency key are done once; edits name what they saw.

use crate::stage::{Answer, Browser, Stage, request, signed};
use countersign_core::Class;
use serde_json::{Value, json};

async fn keyed(stage: &Stage, who: &Browser, key: &str, method: &str, path: &str, body: Value) -> Answer {
    let mut asked = signed(who, method, path, Some(body));
    asked.headers_mut().insert("idempotency-key", key.parse().unwrap());
    stage.call(asked).await
}

async fn seeing(stage: &Stage, tag: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let mut asked = signed(&stage.olga, method, path, body);
    asked.headers_mut().insert("if-match", tag.parse().unwrap());
    stage.call(asked).await
}

fn invite(name: &str) -> Value {
    json!({"name": name, "email": format!("{name}@example.com")})
}

#[tokio::test]
async fn the_same_key_does_a_thing_once_and_answers_the_same() {
    let stage = Stage::new().await;
    let people = "/api/v1/people";
    let first = keyed(&stage, &stage.olga, "k1", "POST", people, invite("eve")).await;
    assert!(first.headers.get("idempotency-replayed").is_none());
    let again = keyed(&stage, &stage.olga, "k1", "POST", people, invite("eve")).await;
    assert_eq!((first.status.as_u16(), again.status), (201, first.status));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    assert_eq!(again.body, first.body);
    // Olga herself, and Eve once.
    assert_eq!(stage.count("person.invited").await, 2);
    // The key stands for this request and no other: not another body, path, method or version.
    for (method, path, body) in [
        ("POST", people, invite("eva")),
        ("POST", "/api/v1/freezes", invite("eve")),
        ("DELETE", people, invite("eve")),
    ] {
        let other = keyed(&stage, &stage.olga, "k1", method, path, body).await;
        assert_eq!(other.problem(), (422, "idempotency-key-reused".into()), "{method} {path}");
    }
    // A refusal is an answer too.
    let taken = keyed(&stage, &stage.olga, "k2", "POST", people, invite("eve")).await;
    assert_eq!(taken.problem(), (409, "taken".into()));
    assert_eq!(keyed(&stage, &stage.olga, "k2", "POST", people, invite("eve")).await.body, taken.body);
    for bad in ["", &"x".repeat(256)] {
        let refused = keyed(&stage, &stage.olga, bad, "POST", people, invite("x")).await;
        assert_eq!(refused.problem(), (400, "idempotency-key".into()));
    }
    let mut twice = signed(&stage.olga, "POST", people, Some(invite("x")));
    twice.headers_mut().append("idempotency-key", "a".parse().unwrap());
    twice.headers_mut().append("idempotency-key", "b".parse().unwrap());
    assert_eq!(stage.call(twice).await.problem(), (400, "idempotency-key".into()));
    assert_eq!(stage.count("person.invited").await, 2);
}

#[tokio::test]
async fn a_key_belongs_to_its_session_and_lets_nobody_in() {
    let stage = Stage::new().await;
    let path = format!("/api/v1/agents/{}/tokens", stage.agent);
    let label = json!({"label": "laptop"});
    let made = keyed(&stage, &stage.olga, "k", "POST", &path, label.clone()).await;
    let token = made.json()["token"].as_str().unwrap().to_owned();
    // Somebody else with the key, nobody with the key, the owner without the page's proof: none sees the token.
    let ana = stage.person("Ana", &[], "reviewer").await;
    let other = keyed(&stage, &ana, "k", "POST", &path, label.clone()).await;
    assert_eq!(other.problem(), (403, "not-allowed".into()));
    let mut stranger = request("POST", &path, Some(label.clone()));
    stranger.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(stage.call(stranger).await.problem(), (401, "not-signed-in".into()));
    let mut unproven = signed(&stage.olga, "POST", &path, Some(label.clone()));
    unproven.headers_mut().insert("idempotency-key", "k".parse().unwrap());
    unproven.headers_mut().remove("x-countersign-csrf");
    assert_eq!(stage.call(unproven).await.problem(), (403, "csrf".into()));
    let again = keyed(&stage, &stage.olga, "k", "POST", &path, label.clone()).await;
    assert_eq!(again.json()["token"], token);
    // What was refused because of who asked is asked again.
    stage.pass(std::time::Duration::from_hours(1));
    let later = keyed(&stage, &stage.olga, "k", "POST", &path, label).await;
    assert_ne!(later.json()["token"], token, "a key is forgotten after an hour");
}

#[tokio::test]
async fn many_at_once_with_one_key_are_one() {
    let stage = Stage::new().await;
    let invite = || keyed(&stage, &stage.olga, "k", "POST", "/api/v1/people", invite("eve"));
    let answers = tokio::join!(invite(), invite(), invite(), invite(), invite());
    let bodies = [answers.0, answers.1, answers.2, answers.3, answers.4].map(|answer| {
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.body
    });
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(stage.count("person.invited").await, 2);
}

#[tokio::test]
async fn a_vote_repeated_after_a_lost_answer_counts_once_and_is_told_so() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["privacy"]).await;
    let id = stage.hold(Class::Export, b"x").await;
    let path = format!("/api/v1/approvals/{id}");
    let asked = json!({"decision": "approve"});
    let ballot = stage.as_person(&ana, "POST", &format!("{path}/ballot"), Some(asked)).await.ok();
    let assertion = ana.passkey.as_mut().unwrap().assert(&ballot["publicKey"], crate::stage::ORIGIN).unwrap();
    let vote = json!({"statement": ballot["statement"], "assertion": assertion, "reason": null});
    let votes = format!("{path}/votes");
    let first = keyed(&stage, &ana, "k", "POST", &votes, vote.clone()).await;
    let again = keyed(&stage, &ana, "k", "POST", &votes, vote.clone()).await;
    assert_eq!((again.status.as_u16(), again.body), (200, first.body));
    assert_eq!(stage.count("approval.voted").await, 1);
    // Without the key the ballot is spent.
    assert_eq!(stage.as_person(&ana, "POST", &votes, Some(vote)).await.problem(), (409, "ballot".into()));
}

#[tokio::test]
async fn an_edit_that_names_what_it_saw_changes_nothing_else() {
    let mut stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    // Somebody who does not stand behind the agent.
    stage.olga = stage.person("Tom", &[], "administrator").await;
    let (person, agent) = (format!("/api/v1/people/{}", ana.id), format!("/api/v1/agents/{}", stage.agent));
    for (path, one, other) in [
        (&person, json!({"add": ["privacy"]}), json!({"remove": ["sre"]})),
        (&agent, json!({"groups": ["agents", "sre"]}), json!({"groups": []})),
    ] {
        let seen = stage.as_person(&stage.olga, "GET", path, None).await;
        let tag = seen.headers["etag"].to_str().unwrap().to_owned();
        assert_eq!(tag, format!("\"{}\"", seen.json()["version"]));
        let changed = seeing(&stage, &tag, "PATCH", path, Some(one)).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
        let fresh = changed.headers["etag"].to_str().unwrap().to_owned();
        assert_ne!(fresh, tag);
        // Two editors saw the same; the second is told, and nothing of theirs is done.
        let late = seeing(&stage, &tag, "PATCH", path, Some(other.clone())).await;
        assert_eq!(late.problem(), (412, "changed-since".into()));
        assert_eq!(seeing(&stage, &tag, "DELETE", path, None).await.problem().0, 412);
        assert_eq!(seeing(&stage, "\"elsewhere\"", "DELETE", path, None).await.problem().0, 412);
        assert_eq!(stage.as_person(&stage.olga, "GET", path, None).await.headers["etag"], fresh.as_str());
        for bad in ["7", "\"7", "W/\"7\"", "\"6\", \"7\""] {
            let refused = seeing(&stage, bad, "PATCH", path, Some(other.clone())).await;
            assert!([400, 412].contains(&refused.problem().0), "{bad}");
        }
        assert_eq!(seeing(&stage, "*", "PATCH", path, Some(other)).await.status, 200);
        let tag = stage.as_person(&stage.olga, "GET", path, None).await.headers["etag"].clone();
        assert_eq!(seeing(&stage, tag.to_str().unwrap(), "DELETE", path, None).await.status, 204);
    }
    let nobody = "/api/v1/people/per_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    assert_eq!(stage.as_person(&stage.olga, "GET", nobody, None).await.problem().0, 404);
    let page = stage.page(&stage.olga, "/people").await.text();
    assert!(page.contains(&format!("PATCH /api/v1/people/{}\" data-seen=", stage.olga.id)), "{page}");
}

#[test]
fn the_description_names_keys_and_tags() {
    let document = serde_json::to_value(countersign_console::openapi()).unwrap();
    let named = |operation: &Value, name: &str| {
        operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == name))
    };
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let knocks = path.starts_with("/api/v1/session/");
            assert_eq!(named(operation, "Idempotency-Key"), method != "get" && !knocks, "{method} {path}");
            let edited = ["/api/v1/people/{id}", "/api/v1/people/{id}/role", "/api/v1/agents/{id}"];
            let edits = edited.contains(&path.as_str()) && method != "get";
            assert_eq!(named(operation, "If-Match"), edits, "{method} {path}");
        }
    }
}
