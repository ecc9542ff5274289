//! What policy wants kept of a result, from `psql` to an auditor who has nothing but an export and the key.

use crate::Stage;
use countersign_e2e::{ledger::Entry, night::verified_entries};
use countersign_testkit::pgclient::PgClient;
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

/// Killed while rows of a kept result are on their way: what the client saw is on no record, and the record says so.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_kept_result_streams_its_outcome_is_unknown_and_nothing_is_said_to_be_kept() {
    let mut stage = Stage::open_with(KEPT, "results_key_from = \"file:results\"").await;
    std::fs::write(stage.gateway.folder().join("results"), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
        .unwrap();
    let addr = format!("127.0.0.1:{}", stage.port).parse().unwrap();
    let mut client = PgClient::connect(addr, "bot", &stage.token, "shop").await.unwrap();
    // A row arrives, and then the client reads no further: the rest fills what is in between.
    client
        .ask("select id, repeat('x', 100000) from orders, generate_series(1, 20) order by id")
        .await
        .unwrap();
    while client.message().await.unwrap().0 != b'D' {}
    let waiting = "select count(*) from pg_stat_activity where wait_event = 'ClientWrite'";
    stage.cluster.comes_to("shop", waiting, "1").await.unwrap();
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    // What it left behind at the server is over as well.
    stage.cluster.comes_to("shop", waiting, "0").await.unwrap();
    let entries = verified_entries(&stage.gateway).await.unwrap();
    let of = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).collect::<Vec<_>>();
    let (authorized, unknown) = (of("execution.authorized"), of("execution.outcome_unknown"));
    assert_eq!((authorized.len(), unknown.len(), of("execution.result").len()), (1, 1, 0));
    assert_eq!(unknown[0].action, authorized[0].action);
    assert_eq!((unknown[0].data.get("kept"), unknown[0].disclosed.get("results")), (None, None));
    let read = ["log", "results", &unknown[0].action, "--key-from", "file:results"];
    let told = stage.gateway.command(&read).await.unwrap_err().to_string();
    assert!(told.contains("nothing is kept of its result"), "{told}");
    // The next one is kept again.
    assert_eq!(stage.said("select id from orders where id = 7").await.0, "7");
    assert_eq!(stage.said("select 1").await.0, "1");
    let entries = verified_entries(&stage.gateway).await.unwrap();
    let kept = entries.iter().find(|entry| entry.kind == "execution.result").unwrap();
    assert!(kept.data["kept"]["bytes"].as_u64().unwrap() > 0, "{}", kept.data);
}
