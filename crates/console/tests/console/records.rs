//! History, proofs, exports and outcomes nobody knows.

use crate::stage::Stage;
use countersign_core::Class;
use countersign_ledger::{checkpoint::Checkpoint, proof::TlogProof, verify::verify};
use serde_json::{Value, json};

#[tokio::test]
async fn the_story_of_an_action_is_found_and_told_with_proofs() {
    let stage = Stage::new().await;
    let mut ana = stage.person("Ana", &["sre"], "reviewer").await;
    let id = stage
        .hold_as(Class::Configure, b"x", "Set checkout-timeout of cloud to 30.", Some("it is slow"))
        .await;
    stage.approve(&mut ana, &id).await.ok();
    stage.until(&id, "done").await;
    let found = stage.as_person(&ana, "GET", "/api/v1/actions?q=checkout-timeout", None).await.ok();
    let items = found["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["sentence"] == "Set checkout-timeout of cloud to 30."), "{items:?}");
    let action = items[0]["action"].as_str().unwrap();
    let story = stage.as_person(&ana, "GET", &format!("/api/v1/actions/{action}"), None).await.ok();
    let kinds: Vec<&str> =
        story["entries"].as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "approval.requested",
            "approval.voted",
            "approval.granted",
            "execution.authorized",
            "execution.result"
        ]
    );
    assert_eq!(story["entries"][0]["private"]["claimed_reason"], "it is slow");
    assert_eq!((story["state"].as_str(), story["unresolved"].as_bool()), (Some("done"), Some(false)));
    for entry in story["entries"].as_array().unwrap() {
        let path = format!("/api/v1/actions/{action}/proof?entry={}", entry["index"]);
        let proof = stage.as_person(&ana, "GET", &path, None).await.ok();
        let parsed = TlogProof::parse(proof["text"].as_str().unwrap()).unwrap();
        assert_eq!(parsed.index, entry["index"].as_u64().unwrap());
        let checkpoint = Checkpoint::open(&parsed.checkpoint, stage.keys.log().verifier()).unwrap();
        assert_eq!(checkpoint.size, proof["size"].as_u64().unwrap());
        let page = stage.page(&ana, &format!("/actions/{action}/proof/{}", entry["index"])).await;
        assert!(page.text().starts_with("c2sp.org/tlog-proof@v1\n"), "{}", page.text());
    }
    let other = stage.as_person(&ana, "GET", &format!("/api/v1/actions/{action}/proof?entry=0"), None).await;
    assert_eq!(other.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn looking_at_records_is_recorded_once_in_a_while() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    for _ in 0..3 {
        stage.as_person(&ana, "GET", "/api/v1/actions", None).await.ok();
    }
    assert_eq!(stage.count("ledger.read").await, 1);
}

#[tokio::test]
async fn an_export_is_recorded_and_verifies_with_the_key_alone() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let id = stage.hold(Class::Configure, b"secret body").await;
    stage.approve(&mut ana, &id).await.ok();
    stage.until(&id, "done").await;
    let status = stage.as_person(&ana, "GET", "/api/v1/ledger", None).await.ok();
    assert_eq!(status["health"], "ready");
    let file = stage.as_person(&ana, "GET", "/api/v1/ledger/export", None).await;
    assert_eq!(file.headers["content-type"], "application/octet-stream");
    let report = verify(file.body.as_slice(), &status["log_key"].as_str().unwrap().parse().unwrap());
    let report = report.unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!((report.executed, report.votes), (1, 1));
    assert!(!file.text().contains("secret body") && !file.text().contains("\"disclosure\""));
    let all = "/api/v1/ledger/export?disclose=all";
    assert_eq!(stage.as_person(&ana, "GET", all, None).await.problem(), (403, "not-allowed".into()));
    let audrey = stage.person("Audrey", &[], "auditor").await;
    let disclosed = stage.as_person(&audrey, "GET", all, None).await;
    assert!(disclosed.text().contains("\"disclosure\""));
    let wrong = stage.as_person(&audrey, "GET", "/api/v1/ledger/export?from=9&to=1", None).await;
    assert_eq!(wrong.problem(), (422, "invalid".into()));
    assert_eq!(stage.count("ledger.exported").await, 2);
}

#[tokio::test]
async fn an_unknown_outcome_waits_for_a_person_who_is_not_on_the_requesters_side() {
    let stage = Stage::new().await;
    let mut ana = stage.person("Ana", &["sre"], "reviewer").await;
    let id = stage.hold(Class::Configure, b"lose sight").await;
    stage.approve(&mut ana, &id).await.ok();
    stage.until(&id, "unknown").await;
    let open = stage.as_person(&ana, "GET", "/api/v1/unresolved", None).await.ok();
    let action = open[0]["action"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/actions/{action}/resolve");
    let found = |note: &str| Some(json!({"found": "ran", "note": note}));
    assert_eq!(
        stage.as_person(&stage.olga, "POST", &path, found("I know")).await.problem(),
        (403, "not-allowed".into())
    );
    assert_eq!(stage.as_person(&ana, "POST", &path, found("")).await.problem(), (422, "invalid".into()));
    let page = stage.page(&ana, "/").await.text();
    assert!(page.contains("1 outcome is unknown."), "{page}");
    stage.as_person(&ana, "POST", &path, found("looked at the target")).await.ok();
    assert_eq!(
        stage.as_person(&ana, "POST", &path, found("again")).await.problem(),
        (409, "out-of-order".into())
    );
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/unresolved", None).await.ok(), Value::Array(vec![]));
    assert_eq!(stage.effects(), 1);
}
