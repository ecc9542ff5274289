//! Whoever asks for a change and is gone before its answer has asked for it: it is in the store and in force.

use crate::stage::{Stage, signed};
use countersign_engine::port::identity::Presented;
use serde_json::json;
use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

/// Lets a request go on for so many steps, and drops it right behind the last.
async fn left_after(steps: usize, work: impl Future) {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    for step in 0..steps {
        if step > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if work.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_whose_revocation_was_asked_for_is_worth_nothing_whoever_stays() {
    let stage = Stage::new().await;
    let path = format!("/api/v1/agents/{}/tokens", stage.agent);
    for steps in 1..9 {
        let made = stage.as_person(&stage.olga, "POST", &path, Some(json!({"label": "laptop"}))).await.ok();
        let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
        assert!(stage.gate.authenticate(Presented::Bearer(token)).await.is_ok());
        let revoke = signed(&stage.olga, "DELETE", &format!("/api/v1/tokens/{id}"), None);
        left_after(steps, stage.stream(revoke)).await;
        let ends = async {
            while stage.gate.authenticate(Presented::Bearer(token)).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_mins(1), ends).await;
        assert!(ended.is_ok(), "left after {steps}: the token still lets in");
        assert_eq!(stage.count("token.revoked").await, steps);
    }
}
