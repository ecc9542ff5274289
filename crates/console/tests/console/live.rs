//! News for open pages.

use crate::stage::{Stage, signed};
use countersign_core::Class;
use http_body_util::BodyExt as _;
use serde_json::json;
use std::time::Duration;

async fn next(body: &mut axum::body::Body) -> Option<String> {
    let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.unwrap()?;
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
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
}
