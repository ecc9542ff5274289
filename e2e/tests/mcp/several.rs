//! Several servers behind one endpoint, with the official clients: tools under their servers' names, each call the action it is
//! at the server's own endpoint, and a server that is gone is said to be gone.

use crate::{
    rows,
    stage::{self, SECRET, Server, Stage},
};
use serde_json::{Value, json};

const FILES: [&str; 6] = ["count_rows", "search_web", "put_row", "drop_table", "mystery", "helper"];
const SHOP: [&str; 6] = ["count_rows", "slowly", "lingers", "asks_the_user", "fails", "delete_rows"];

/// `shop` and `files` together at `/all`, with a third that nobody ever reaches.
async fn open(files: &Server) -> (Stage, String) {
    let nowhere = countersign_testkit::ports::free().unwrap();
    let behind = format!(
        r#"[[mcp]]
name = "files"
environment = "prod"
listen = "127.0.0.1:WIRE"
path = "/files"
upstream = "{}"

[[mcp.tools]]
name = "drop_table"
class = "delete"

[[mcp]]
name = "gone"
environment = "prod"
listen = "127.0.0.1:WIRE"
path = "/gone"
upstream = "http://127.0.0.1:{nowhere}/mcp"

[[mcp_endpoint]]
name = "everything"
listen = "127.0.0.1:WIRE"
path = "/all"
targets = ["shop", "files", "gone"]
"#,
        files.url("/mcp")
    );
    let target = "credential = { profile = \"shop-app\", value_from = \"file:secret\" }";
    let stage = Stage::open_with(target, &behind, "50s").await;
    let names: Vec<&str> = ["mcp", "accept", "files"].into_iter().chain(FILES).collect();
    stage.command(&names).await;
    let url = format!("{}/all", stage.gateway.url);
    (stage, url)
}

fn all(shop: bool, files: bool) -> Value {
    let shop = SHOP.iter().filter(|_| shop).map(|tool| format!("shop__{tool}"));
    let files = FILES.iter().filter(|_| files).map(|tool| format!("files__{tool}"));
    let own = ["approval_wait", "approval_status", "countersign_servers"].map(str::to_owned);
    shop.chain(files).chain(own).collect()
}

/// What an agent's steps came to at this endpoint, after the line in which it says what it speaks.
async fn said(url: &str, token: &str, steps: &Value) -> Vec<Value> {
    let mut said = stage::agent(url, token, "legacy", steps).ended().await;
    assert_eq!(said.remove(0), json!({"version": "2025-11-25", "server": "everything"}));
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_several_servers_are_called_as_at_their_own_endpoints() {
    let files = Server::start("mcp_hints.py").await;
    let (mut stage, url) = open(&files).await;
    let table = json!({"table": "orders"});
    let steps = json!([
        {"do": "tools"}, {"do": "call", "tool": "shop__count_rows", "arguments": table},
        {"do": "call", "tool": "files__count_rows", "arguments": table}, {"do": "call", "tool": "count_rows", "arguments": table},
        {"do": "call", "tool": "shop__slowly", "progress": true}, {"do": "read"}, {"do": "ping"},
        {"do": "call", "tool": "gone__anything"}, {"do": "call", "tool": "countersign_servers"},
    ]);
    let told = said(&url, &stage.token, &steps).await;
    let text = |at: usize| told.get(at).unwrap().to_string();
    assert_eq!(told.first().unwrap(), &json!({"tools": all(true, true)}));
    assert_eq!(told.get(1), Some(&json!({"error": false, "text": "orders: 100"})));
    assert_eq!(told.get(2), Some(&json!({"error": false, "text": "count_rows orders"})));
    assert!(text(3).contains("there is no such tool"), "{told:?}");
    assert_eq!(told.get(4), Some(&json!({"progress": 1.0, "message": "step 1"})));
    assert_eq!(told.get(7), Some(&json!({"error": false, "text": "done"})));
    assert!(text(8).contains("offers their tools alone"), "{told:?}");
    assert!(text(10).contains("could not be reached"), "{told:?}");
    let servers = "shop: answers, 6 of its tools are shown\nfiles: answers, 6 of its tools are shown\ngone: none of its tools \
                   are shown: the server could not be reached";
    assert!(told.get(11).unwrap()["text"].as_str().unwrap().starts_with(servers), "{told:?}");
    // Each server got its own credential and nobody else's.
    let given = files.log().into_iter().filter_map(|line| line.get("authorization").cloned());
    assert!(given.into_iter().all(|given| given == json!("")), "a credential went to the wrong server");
    assert!(stage.log().iter().any(|line| line.to_string().contains(SECRET)));

    // A held call is the very same action as at the server's own endpoint, so that it attaches there.
    let call = |tool: &str| json!([{"do": "call", "tool": tool, "arguments": rows(14)}]);
    let here = stage::agent(&url, &stage.token, "legacy", &call("shop__delete_rows"));
    let id = stage.approval("pending").await;
    let shown = stage.ana.approval(&id).await.unwrap();
    assert!(shown.to_string().contains("Delete 14 rows of “orders” on shop (prod)."), "{shown}");
    here.kill();
    let there = stage.agent(&stage.token, "legacy", &call("delete_rows"));
    stage.vote(&id, "approve", None).await;
    assert_eq!(
        there.ended().await.last(),
        Some(&json!({"error": false, "text": "deleted 14 rows of orders"}))
    );
    assert_eq!(stage.ran("delete_rows"), 1);
    // One that is given up is withdrawn, whichever server it went to.
    let leaving = json!([{"do": "leave", "tool": "files__drop_table", "arguments": table}, {"do": "stay"}]);
    let agent = stage::agent(&url, &stage.token, "legacy", &leaving);
    stage.withdrawn(1).await;
    agent.kill();
    assert_eq!(files.ran("drop_table"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_is_come_back_for_at_the_endpoint_that_all_share() {
    let files = Server::start("mcp_hints.py").await;
    let (mut stage, url) = open(&files).await;
    let steps = json!([
        {"do": "tools"}, {"do": "call", "tool": "files__drop_table", "arguments": {"table": "orders"}, "progress": true},
    ]);
    for (mode, version) in [("legacy", "2025-11-25"), ("auto", "2026-07-28")] {
        let agent = stage.agent_typescript_at(&url, mode, &steps);
        let id = stage.approval("pending").await;
        let status = json!([{"do": "call", "tool": "approval_status", "arguments": {"approval": id}}]);
        let stands = said(&url, &stage.token, &status).await;
        assert!(stands.first().unwrap().to_string().contains("waits for people"), "{stands:?}");
        let rogue = said(&url, &stage.rogue, &status).await;
        assert!(rogue.first().unwrap().to_string().contains("you have no such approval"), "{rogue:?}");
        stage.vote(&id, "approve", None).await;
        let told = agent.ended().await;
        assert_eq!(told.first(), Some(&json!({"version": version})), "{told:?}");
        assert_eq!(told.get(1), Some(&json!({"tools": all(true, true)})), "{told:?}");
        assert_eq!(told.last(), Some(&json!({"error": false, "text": "drop_table orders"})), "{told:?}");
    }
    assert_eq!(files.ran("drop_table"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_takes_its_own_tools_along_and_the_list_says_so() {
    let mut files = Server::start_with("mcp_hints.py", &["grows"]).await;
    let (stage, url) = open(&files).await;
    stage.command(&["mcp", "accept", "files", "grows"]).await;
    let told = said(&url, &stage.token, &json!([{"do": "call", "tool": "files__grows"}])).await;
    let heard = json!({"heard": "notifications/tools/list_changed"});
    assert!(told.contains(&heard), "the server's word that its tools changed is passed on: {told:?}");
    let (listed, gone) = (stage.beside("listed"), stage.beside("gone"));
    let steps = json!([
        {"do": "tools"}, {"do": "mark", "file": listed}, {"do": "await", "file": gone}, {"do": "described"},
    ]);
    let agent = stage::agent(&url, &stage.token, "legacy", &steps);
    stage::until("it has its first list", || listed.exists()).await;
    files.kill();
    std::fs::write(gone, "").unwrap();
    let told = agent.ended().await;
    let described = told.last().unwrap()["described"].as_object().unwrap();
    let names: Vec<&str> = described.keys().map(String::as_str).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("shop__")).count(), SHOP.len(), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("files__")), "{names:?}");
    let says = described["countersign_servers"].as_str().unwrap();
    assert!(says.contains("The tools of these are not in this list: files ("), "{says}");
    let again = json!([{"do": "call", "tool": "files__count_rows", "arguments": {"table": "orders"}},
        {"do": "call", "tool": "shop__count_rows", "arguments": {"table": "orders"}}]);
    let told = said(&url, &stage.token, &again).await;
    assert!(told.first().unwrap().to_string().contains("error\":true"), "{told:?}");
    assert_eq!(told.last(), Some(&json!({"error": false, "text": "orders: 100"})));
}
