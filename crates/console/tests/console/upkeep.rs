//! Tiles and erasure: for the operator alone, recorded, and without harm to any proof.

use crate::stage::Stage;
use countersign_core::Class;
use countersign_ledger::{VerifierKey, verify::verify};
use serde_json::{Value, json};

const SECRET: &str = "card-4111-1111";

/// The id of the entry of this type in an action's story.
async fn entry(stage: &Stage, action: &str, kind: &str) -> String {
    let story = stage.operator("GET", &format!("/api/v1/actions/{action}"), None).await.ok();
    let entries = story["entries"].as_array().unwrap();
    entries.iter().find(|entry| entry["type"] == kind).unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_erased_is_nowhere_and_every_proof_stands() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let sentence = format!("Configure {SECRET} of cloud (prod).");
    let id = stage.hold_as(Class::Configure, SECRET.as_bytes(), &sentence, Some(SECRET)).await;
    let approval = format!("/api/v1/approvals/{id}");
    let action = stage.operator("GET", &approval, None).await.ok()["action"].as_str().unwrap().to_owned();
    let entry = entry(&stage, &action, "approval.requested").await;
    let paths = ["claimed_reason", "request_body", "sentence"];
    let asked =
        |paths: &[&str]| Some(json!({"entry": entry, "paths": paths, "reason": "asked to be forgotten"}));
    let path = "/api/v1/ledger/redact";
    // What still waits must stay as it is; nobody but the operator erases.
    assert_eq!(stage.operator("POST", path, asked(&paths)).await.problem(), (409, "open".into()));
    assert_eq!(
        stage.as_person(&stage.olga, "POST", path, asked(&paths)).await.problem(),
        (403, "not-allowed".into())
    );
    stage.approve(&mut ana, &id).await.ok();
    stage.until(&id, "done").await;
    for bad in [
        asked(&[]),
        asked(&["request_body", "no_such_path"]),
        Some(json!({"entry": entry, "paths": paths, "reason": " "})),
        Some(json!({"entry": "x", "paths": paths, "reason": "x"})),
        Some(json!({"entry": "ent_01ARZ3NDEKTSV4RRFFQ69G5FAV", "paths": paths, "reason": "x"})),
    ] {
        let answer = stage.operator("POST", path, bad.clone()).await;
        assert!([404, 422].contains(&answer.problem().0), "{bad:?}");
    }
    assert_eq!(stage.count("ledger.redacted").await, 0);
    let pages =
        [format!("/approvals/{id}"), format!("/actions/{action}"), "/history".to_owned(), "/".to_owned()];
    assert!(stage.page(&ana, &pages[0]).await.text().contains(SECRET));
    let done = stage.operator("POST", path, asked(&paths)).await.ok();
    assert_eq!(done["erased"], json!(paths));
    for page in &pages {
        let answer = stage.page(&ana, page).await;
        assert_eq!(answer.status, 200, "{page}: {}", answer.text());
        assert!(!answer.text().contains(SECRET), "{page}: {}", answer.text());
    }
    let seen = stage.operator("GET", &approval, None).await.ok();
    assert_eq!((&seen["erased"], &seen["state"]), (&true.into(), &"done".into()));
    assert_eq!(seen["class"], "configure", "what the ledger says in public stays");
    assert!(!seen.to_string().contains(SECRET), "{seen}");
    assert!(!stage.holds_on_disk(SECRET), "the bytes are still on disk");
    assert_eq!(
        stage.operator("POST", path, asked(&["sentence"])).await.problem().0,
        404,
        "it is erased already"
    );
    // The rest of the entry can still be disclosed, and the export holds.
    let export = stage.operator("GET", "/api/v1/ledger/export?disclose=all", None).await;
    let key: VerifierKey = stage.keys.log().verifier().to_string().parse().unwrap();
    let report = verify(export.body.as_slice(), &key).unwrap();
    assert_eq!((report.erased, report.executed), (3, 1));
    assert!(report.to_string().contains("3 private values were erased"), "{report}");
}

#[tokio::test]
async fn tiles_grow_with_the_log_in_a_folder_of_their_own() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().unwrap();
    let to = |folder: &std::path::Path| Some(json!({"folder": folder}));
    let path = "/api/v1/ledger/tiles";
    let number = |value: &Value, name: &str| value[name].as_u64().unwrap();
    let first = stage.operator("POST", path, to(folder.path())).await.ok();
    assert_eq!(number(&first, "from"), 0);
    stage.hold(Class::Configure, b"x").await;
    let second = stage.operator("POST", path, to(folder.path())).await.ok();
    assert_eq!(number(&second, "from"), number(&first, "size"));
    assert!(number(&second, "size") > number(&first, "size"));
    let note = std::fs::read_to_string(folder.path().join("checkpoint")).unwrap();
    assert_eq!(note.lines().nth(1).unwrap(), number(&second, "size").to_string());
    let leaves = folder.path().join(format!("tile/0/000.p/{}", number(&second, "size")));
    assert_eq!(std::fs::metadata(leaves).unwrap().len(), number(&second, "size") * 32);
    assert_eq!(stage.count("ledger.exported").await, 2);
    // Another log's folder is left alone; a relative one, and anybody but the operator, is refused.
    let other = Stage::new().await;
    other.hold(Class::Configure, b"other").await;
    assert_eq!(other.operator("POST", path, to(folder.path())).await.problem(), (409, "tiles".into()));
    assert_eq!(std::fs::read_to_string(folder.path().join("checkpoint")).unwrap(), note);
    assert_eq!(stage.operator("POST", path, Some(json!({"folder": "tiles"}))).await.problem().0, 422);
    assert_eq!(stage.as_person(&stage.olga, "POST", path, to(folder.path())).await.problem().0, 403);
}
