//! A tool that makes HTTP requests: its calls are decided on by the requests, as they would be at their target.

use super::Stage;
use serde_json::{Value, json};

fn request(stage: &Stage, method: &str, path: &str, body: &Value) -> Value {
    json!({"method": method, "url": stage.server_url(path), "body": body})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tools_request_is_decided_on_by_what_it_does() {
    let mut stage = Stage::open_requests().await;
    let read = request(&stage, "GET", "/settings/queue", &json!(""));
    assert_eq!(stage.call("http_request", &read).await, (false, "200 100".into()));

    // What its target does not declare, whose path has two readings, or that goes elsewhere.
    let with = |name: &str, value: Value| {
        let mut call = read.clone();
        call[name] = value;
        call
    };
    let set = |value: &str| request(&stage, "PUT", "/settings/queue", &json!({"value": value}));
    for (call, why) in [
        (with("method", json!("DELETE")), "nobody can say what it does"),
        (with("url", json!(stage.server_url("/change"))), "nobody can say what it does"),
        (with("url", json!(stage.server_url("/settings/../change"))), "segment that ends in a dot"),
        (with("url", json!("http://127.0.0.1:1/settings/queue")), "the tool may only call"),
        (with("headers", json!({"authorization": "Bearer x"})), "not for an agent to give"),
        (with("headers", json!({"x-http-method-override": "PUT"})), "something else than the request line"),
        (with("proxy", json!("http://127.0.0.1:1")), "and this call says more"),
        (json!({"method": "GET"}), "url"),
        (set(""), "nothing is no setting"),
        (request(&stage, "PUT", "/settings/queue", &json!("{\"value\":1}")), "`value` is not"),
    ] {
        let (failed, said) = stage.call("http_request", &call).await;
        assert!(failed && said.contains(why), "{call}: {said}");
    }
    assert_eq!(stage.ran("http_request"), 1);
    assert_eq!(stage.call("http_request", &with("timeout", json!(3))).await, (false, "200 100".into()));

    // A gate of the target's operation holds for the tool.
    let steps = json!([{"do": "call", "tool": "http_request", "arguments": set("200")}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    let shown = stage.command(&["approvals", "show", &id]).await;
    let sentence = shown.pointer("/sentence").and_then(Value::as_str).unwrap();
    assert_eq!(sentence, "Set “queue” to “200” (prod). Asked of the tool “http_request” on shop.");
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "200 200"})), "{said:?}");
    let sets = stage.log().iter().filter(|line| line.get("set").is_some()).count();
    assert_eq!((sets, stage.ran("http_request")), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_is_listed_for_whom_some_request_could_be_permitted() {
    let stage = Stage::open_requests().await;
    let reader = stage.gateway.agent("reader", "olga@example.com", "readers").await.unwrap();
    let said = stage.said(&reader, &json!([{"do": "tools"}])).await;
    assert_eq!(said.last().unwrap()["tools"], json!(["http_request", "approval_wait", "approval_status"]));
    let read = request(&stage, "GET", "/settings/queue", &json!(""));
    assert_eq!(stage.call_as(&reader, "http_request", &read).await, (false, "200 100".into()));
    let set = request(&stage, "PUT", "/settings/queue", &json!({"value": "1"}));
    let (failed, said) = stage.call_as(&reader, "http_request", &set).await;
    assert!(failed, "{said}");
    let listing = stage.command(&["mcp", "inspect", "shop", "--agent", "reader"]).await;
    let tools = listing["items"].as_array().unwrap();
    let of_tool = tools.iter().find(|tool| tool["tool"] == "http_request").unwrap();
    assert_eq!(of_tool["agent"], "by its `url`, `method`, `headers`, `body`");
}
