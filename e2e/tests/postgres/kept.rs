//! What policy wants kept of a result, from `psql` to an auditor who has nothing but an export and the key.

use crate::Stage;
use countersign_e2e::{ledger::Entry, night::verified_entries};
use serde_json::json;

const KEPT: &str = r#"
@id("kept") @keep_results("4KiB")
permit (principal in Group::"agents", action in Action::"read", resource in Environment::"prod");
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_result_is_read_with_its_key_here_and_from_an_export_until_it_is_erased() {
    let stage = Stage::open_with(KEPT, "results_key_from = \"file:results\"").await;
    let gateway = &stage.gateway;
    let key = |name: &str, text: &str| std::fs::write(gateway.folder().join(name), text).unwrap();
    key("results", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    key("other", "//ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert_eq!(stage.said("select id from orders where id in (7, 8) order by id").await.0, "7\n8");
    // The next statement waits for its end to be recorded.
    assert_eq!(stage.said("select 1").await.0, "1");
    // The export verifies, what it discloses is bound to its entry, and the key opens it without a gateway.
    let entries = verified_entries(gateway).await.unwrap();
    let of_results = |entry: &&Entry| entry.kind == "execution.result";
    let result = entries.iter().find(of_results).unwrap();
    let rows = json!([{"columns": ["id"]}, {"row": ["7"]}, {"row": ["8"]}]);
    let from = |key_from: &'static str, more: &'static [&'static str]| {
        let arguments = [&["log", "results", &result.action, "--key-from", key_from], more].concat();
        async move { gateway.command(&arguments).await }
    };
    for more in [&[][..], &["--from-export", "all.jsonl"]] {
        let read = from("file:results", more).await.unwrap();
        assert_eq!((&read["rows"], &read["cut"]), (&rows, &json!(false)));
        assert!(from("file:other", more).await.unwrap_err().to_string().contains("another key"));
    }
    let kept = result.data["kept"]["bytes"].as_u64().unwrap();
    assert!(kept > 0 && result.data["kept"]["of"] == kept, "{}", result.data);
    // Erased, it is gone, and everything still verifies. The export in other hands is not touched.
    let id = result.leaf["id"].as_str().unwrap();
    gateway.command(&["log", "redact", id, "results", "--reason", "asked to"]).await.unwrap();
    let told = from("file:results", &[]).await.unwrap_err().to_string();
    assert!(told.contains("nothing is kept of its result"), "{told}");
    let entries = verified_entries(gateway).await.unwrap();
    let erased = entries.iter().find(of_results).unwrap();
    assert_eq!((&erased.leaf, erased.disclosed.get("results")), (&result.leaf, None));
}
