//! The official TypeScript SDK on both sides, in both eras of the protocol.

use crate::{rows, stage::Stage};
use serde_json::json;

async fn works(protocol: &str) {
    let mut stage = Stage::open_typescript(protocol).await;
    let steps = json!([
        {"do": "tools"}, {"do": "call", "tool": "count_rows", "arguments": {"table": "orders"}}, {"do": "call", "tool": "fails"},
        {"do": "call", "tool": "delete_rows", "arguments": rows(3), "progress": true},
    ]);
    for (mode, version, ran) in [("legacy", "2025-11-25", 1), ("auto", "2026-07-28", 2)] {
        let agent = stage.agent_typescript(mode, &steps);
        let approval = stage.approval("pending").await;
        stage.vote(&approval, "approve", None).await;
        let said = agent.ended().await;
        assert_eq!(said.first(), Some(&json!({"version": version})), "{said:?}");
        let tools = ["count_rows", "delete_rows", "fails", "approval_wait", "approval_status"];
        assert_eq!(said.get(1), Some(&json!({"tools": tools})), "{said:?}");
        assert_eq!(said.get(2), Some(&json!({"error": false, "text": "orders: 100"})), "{said:?}");
        assert_eq!(said.get(3), Some(&json!({"error": true, "text": "out of paper"})), "{said:?}");
        let told = said.get(4).map(ToString::to_string).unwrap_or_default();
        assert!(told.contains("held until people approve it: Delete 3 rows"), "{said:?}");
        assert_eq!(
            said.last(),
            Some(&json!({"error": false, "text": "deleted 3 rows of orders"})),
            "{said:?}"
        );
        assert_eq!(stage.ran("delete_rows"), ran);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_eras_work_with_a_server_of_the_earlier() {
    works("earlier").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_eras_work_with_a_server_of_the_later() {
    works("auto").await;
}
