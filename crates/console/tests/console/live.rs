//! News for open pages.

use crate::stage::{Stage, signed};
use countersign_core::Class;
use http_body_util::BodyExt as _;
use serde_json::json;
use std::time::Duration;

const COMES_WITHIN: Duration = Duration::from_mins(2);

async fn next(body: &mut axum::body::Body) -> Option<String> {
    let frame = tokio::time::timeout(COMES_WITHIN, body.frame()).await.unwrap()?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_stream_tells_of_changes_and_ends_with_its_session() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    let response = stage.stream(signed(&ana, "GET", "/api/v1/events", None)).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await.as_deref(), Some(": here\n\n"));
    let id = stage.hold(Class::Configure, b"x").await;
    let mut told = next(&mut body).await.unwrap();
    while told.starts_with(':') {
        told = next(&mut body).await.unwrap();
    }
    assert!(told.contains("event: approval") && told.contains(&id) && told.contains("pending"), "{told}");
    stage.as_person(&ana, "DELETE", "/api/v1/session", Some(json!({}))).await;
    stage.hold(Class::Configure, b"y").await;
    // What was said before the session ended may still arrive; then nothing more does.
    let ended = async { while next(&mut body).await.is_some() {} };
    tokio::time::timeout(COMES_WITHIN, ended).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_names_an_old_version_begins_with_the_news() {
    let stage = Stage::new().await;
    let (mut ana, ben) =
        (stage.reviewer("Ana", &["privacy"]).await, stage.reviewer("Ben", &["privacy"]).await);
    let id = stage.hold(Class::Export, b"x").await;
    let path = format!("/api/v1/approvals/{id}");
    let version = async |path: &str| stage.as_person(&ben, "GET", path, None).await.ok()["version"].as_u64();
    let drawn = version(&path).await.unwrap();
    let page = stage.page(&ben, &format!("/approvals/{id}")).await.text();
    assert!(page.contains(&format!("data-version=\"{drawn}\"")), "{page}");
    let begins = async |version: u64| {
        let asked = format!("/api/v1/events?approval={id}&version={version}");
        let mut body = stage.stream(signed(&ben, "GET", &asked, None)).await.into_body();
        next(&mut body).await.unwrap()
    };
    // What is shown is present: nothing to tell.
    assert_eq!(begins(drawn).await, ": here\n\n");
    // It changes while no stream is open; the first connection and every later one hear of it at once.
    stage.approve(&mut ana, &id).await.ok();
    for _ in 0..2 {
        let told = begins(drawn).await;
        assert!(told.contains("event: approval") && told.contains(&id) && told.contains("pending"), "{told}");
    }
    let voted = version(&path).await.unwrap();
    assert!(voted > drawn, "{voted} {drawn}");
    assert_eq!(begins(voted).await, ": here\n\n");
    stage.operator("POST", &format!("{path}/revoke"), Some(json!({"reason": "no"}))).await.ok();
    assert!(begins(voted).await.contains("revoked"));
    for (query, problem) in [
        (format!("approval={id}"), (422, "invalid".to_owned())),
        ("version=1".to_owned(), (422, "invalid".to_owned())),
        ("approval=x&version=1".to_owned(), (422, "invalid".to_owned())),
        (format!("approval={id}&version=x"), (400, "query".to_owned())),
        ("approval=apr_01ARZ3NDEKTSV4RRFFQ69G5FAV&version=1".to_owned(), (404, "not-found".to_owned())),
    ] {
        let answer = stage.as_person(&ben, "GET", &format!("/api/v1/events?{query}"), None).await;
        assert_eq!(answer.problem(), problem, "{query}");
    }
}

#[tokio::test]
async fn one_session_does_not_shut_the_others_out() {
    let stage = Stage::new().await;
    let (ana, ben) = (stage.person("Ana", &[], "reviewer").await, stage.person("Ben", &[], "reviewer").await);
    let watch = async |who| stage.stream(signed(who, "GET", "/api/v1/events", None)).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        let stream = watch(&ana).await;
        assert!(stream.status().is_success());
        open.push(stream);
    }
    let refused = stage.as_person(&ana, "GET", "/api/v1/events", None).await;
    assert_eq!(refused.problem(), (429, "too-many".into()));
    assert!(watch(&ben).await.status().is_success());
    open.pop();
    assert!(watch(&ana).await.status().is_success());
}
