//! Both eras of the protocol on both sides, with the official SDK: what agents are served is the same, and so is what
//! reaches the server.

use crate::{
    named, rows,
    stage::{Stage, until},
};
use serde_json::{Value, json};

const LATER: &str = "2026-07-28";

/// What the steps of an agent that speaks the newest version came to.
async fn newest(stage: &Stage, steps: &Value) -> Vec<Value> {
    let mut said = stage.agent(&stage.token, "auto", steps).ended().await;
    assert_eq!(said.remove(0), json!({"version": LATER}));
    said
}

/// An agent of each era does the same work.
async fn all_the_same(protocol: &str) -> Stage {
    let mut stage = Stage::open_speaking(protocol, "50s").await;
    let steps = json!([
        {"do": "tools"}, {"do": "call", "tool": "count_rows", "arguments": {"table": "zähler"}},
        {"do": "call", "tool": "slowly", "progress": true}, {"do": "call", "tool": "fails"}, {"do": "read"},
        {"do": "prompt"}, {"do": "call", "tool": "delete_rows", "arguments": rows(100)}, {"do": "call", "tool": "nowhere"},
    ]);
    let earlier = stage.said(&stage.token, &steps).await;
    let later = newest(&stage, &steps).await;
    assert_eq!(earlier, later);
    assert_eq!(later.get(1), Some(&json!({"error": false, "text": "zähler: 100"})));
    assert!(later.contains(&json!({"progress": 3.0, "message": "step 3"})), "{later:?}");
    // Held on its stream, approved, and run.
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(3), "progress": true}]);
    for (mode, ran) in [("legacy", 1), ("auto", 2)] {
        let agent = stage.agent(&stage.token, mode, &steps);
        let approval = stage.approval("pending").await;
        stage.vote(&approval, "approve", None).await;
        let said = agent.ended().await;
        let told =
            said.get(1).and_then(|line| line.get("message")).and_then(Value::as_str).unwrap_or_default();
        assert!(told.starts_with("held until people approve it: Delete 3 rows"), "{said:?}");
        assert_eq!(
            said.last(),
            Some(&json!({"error": false, "text": "deleted 3 rows of orders"})),
            "{said:?}"
        );
        assert_eq!(stage.ran("delete_rows"), ran);
    }
    // A rejection carries its reason.
    let agent = stage.agent(&stage.token, "auto", &steps);
    let approval = stage.approval("pending").await;
    stage.vote(&approval, "reject", Some("ask for the archived ones only")).await;
    let said = agent.ended().await;
    assert!(said.last().unwrap().to_string().contains("ask for the archived ones only"), "{said:?}");
    assert_eq!(stage.ran("delete_rows"), 2);
    stage
}

/// The versions that the messages to the server were of.
fn spoken(stage: &Stage) -> Vec<String> {
    let mut versions: Vec<String> = stage
        .log()
        .iter()
        .filter(|line| line.pointer("/headers/user-agent") == Some(&json!("countersign")))
        .filter_map(|line| Some(line.pointer("/headers/mcp-protocol-version")?.as_str()?.to_owned()))
        .collect();
    versions.sort();
    versions.dedup();
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_both_eras_work_with_a_server_of_the_earlier() {
    let stage = all_the_same("earlier").await;
    assert_eq!(spoken(&stage), ["2025-11-25"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_both_eras_work_with_a_server_of_the_later() {
    let stage = all_the_same("auto").await;
    assert_eq!(spoken(&stage), [LATER]);
    let bodies: Vec<String> =
        stage.log().iter().filter_map(|line| Some(line.get("body")?.as_str()?.to_owned())).collect();
    let calls: Vec<&String> = bodies.iter().filter(|body| body.contains("tools/call")).collect();
    assert!(!calls.is_empty());
    for call in calls {
        // Servers are told that they can ask for nothing.
        assert!(call.contains(r#""io.modelcontextprotocol/clientCapabilities":{}"#), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_later_era_is_held_in_legs_and_ends_in_a_handle() {
    let mut stage = Stage::open_speaking("auto", "1s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(3)}]);
    let agent = stage.agent(&stage.token, "auto", &steps);
    let approval = stage.approval("pending").await;
    // Nobody decides: the client's rounds are not used up, and it is told what to do.
    let said = agent.ended().await;
    let text = said.last().and_then(|line| line.get("text")).and_then(Value::as_str).unwrap().to_owned();
    assert!(text.contains("waits for people and has not run"), "{text}");
    assert_eq!(named(&text), approval);
    // The same call attaches, in legs again, until somebody has decided.
    let agent = stage.agent(&stage.token, "auto", &steps);
    stage.vote(&approval, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "deleted 3 rows of orders"})), "{said:?}");
    assert_eq!(stage.ran("delete_rows"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_the_later_era_that_leaves_has_cancelled() {
    let stage = Stage::open_speaking("auto", "50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(5)}]);
    for mode in ["killed", "cancelled", "through the shim"] {
        let leaving = json!([{"do": "leave", "tool": "delete_rows", "arguments": rows(5)}, {"do": "stay"}]);
        let agent = match mode {
            "killed" => stage.agent(&stage.token, "auto", &steps),
            "cancelled" => stage.agent(&stage.token, "auto", &leaving),
            _ => stage.desktop_speaking("stdio-auto", &leaving),
        };
        if mode == "killed" {
            stage.approval("pending").await;
            agent.kill();
            stage.withdrawn(1).await;
        } else {
            stage.withdrawn(if mode == "cancelled" { 2 } else { 3 }).await;
            agent.kill();
        }
    }
    assert_eq!(stage.ran("delete_rows"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shim_serves_clients_of_the_later_era() {
    let mut stage = Stage::open_speaking("auto", "50s").await;
    let steps = json!([
        {"do": "call", "tool": "slowly", "progress": true},
        {"do": "call", "tool": "delete_rows", "arguments": rows(3)},
    ]);
    let agent = stage.desktop_speaking("stdio-auto", &steps);
    let approval = stage.approval("pending").await;
    stage.vote(&approval, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(said.first(), Some(&json!({"version": LATER})), "{said:?}");
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "deleted 3 rows of orders"})), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_takes_no_call_of_the_later_era_with_it() {
    let mut stage = Stage::open_speaking("auto", "50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(7)}]);
    let agent = stage.agent(&stage.token, "auto", &steps);
    let approval = stage.approval("pending").await;
    stage.gateway.kill().unwrap();
    agent.ended().await;
    stage.gateway.restart().await.unwrap();
    // The same call attaches to what waited; that its stream closes with the gateway cancels nothing.
    let waits = stage.beside("waits");
    let mut marked = steps.clone();
    marked[0]["progress"] = true.into();
    marked[0]["mark"] = waits.to_str().into();
    let agent = stage.agent(&stage.token, "auto", &marked);
    until("the agent waits", || waits.exists()).await;
    assert_eq!(stage.gateway.stop().unwrap(), Some(0));
    agent.ended().await;
    stage.gateway.restart().await.unwrap();
    assert_eq!(stage.approval("pending").await, approval);
    stage.vote(&approval, "approve", None).await;
    assert_eq!(stage.ran("delete_rows"), 0, "nothing runs without its agent");
    let said = newest(&stage, &steps).await;
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "deleted 7 rows of orders"})), "{said:?}");
    assert_eq!(stage.ran("delete_rows"), 1);
}

/// What a request of the later era comes to, with these headers beside its own.
async fn sent(stage: &Stage, arguments: &Value, more: &[(&str, &str)]) -> (u16, Value) {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": LATER, "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "in_region", "arguments": arguments, "_meta": meta},
    });
    let mut request = reqwest::Client::new()
        .post(&stage.url)
        .bearer_auth(&stage.token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", LATER)
        .header("mcp-method", "tools/call")
        .header("mcp-name", "in_region");
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let answer = request.json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let text =
        text.lines().find_map(|line| line.strip_prefix("data: ").or(line.strip_prefix('{').map(|_| line)));
    (status, serde_json::from_str(text.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_head_says_of_arguments_is_what_they_are_on_both_sides() {
    let stage = Stage::open_regions().await;
    let call = json!({"do": "call", "tool": "in_region", "arguments": {"region": "zürich", "count": 3}});
    let steps = json!([{"do": "tools"}, call]);
    let done = json!({"error": false, "text": "3 in zürich"});
    // The official SDKs say it, and the server, which checks it, is told the same by the gateway.
    assert_eq!(newest(&stage, &steps).await.last(), Some(&done));
    let said = stage.agent_typescript("auto", &steps).ended().await;
    assert_eq!(said.last(), Some(&done), "{said:?}");
    // An agent of the earlier era says nothing of the kind.
    assert_eq!(stage.said(&stage.token, &steps).await.last(), Some(&done));
    // A client that starts the shim has no head: the shim says it.
    let said = stage.desktop_speaking("stdio-auto", &steps).ended().await;
    assert_eq!(said.last(), Some(&done), "{said:?}");
    let of_calls = stage.log().into_iter().filter(|line| {
        line.pointer("/headers/mcp-method") == Some(&json!("tools/call"))
            && line.pointer("/headers/user-agent") == Some(&json!("countersign"))
    });
    let told: Vec<Value> = of_calls.map(|line| line["headers"].clone()).collect();
    assert_eq!(told.len(), 4);
    for head in told {
        assert_eq!(head["mcp-param-region"], json!("=?base64?esO8cmljaA==?="), "{head}");
        assert_eq!(head["mcp-param-count"], json!("3"), "{head}");
    }

    // A head that says something else, or nothing, is not taken.
    let eu = json!({"region": "eu"});
    let fine = sent(&stage, &eu, &[("mcp-param-region", "eu")]).await;
    assert_eq!((fine.0, &fine.1["result"]["content"][0]["text"]), (200, &json!("1 in eu")), "{fine:?}");
    for more in [
        &[][..],
        &[("mcp-param-region", "us")],
        &[("mcp-param-region", "eu"), ("mcp-param-region", "eu")],
        &[("mcp-param-region", "eu"), ("mcp-param-count", "1")],
        &[("mcp-param-region", "=?base64?***?=")],
    ] {
        let (status, answer) = sent(&stage, &eu, more).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32020)), "{more:?}: {answer}");
    }
    assert_eq!(stage.ran("in_region"), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_calls_headers_follow_the_definition_that_was_decided_on() {
    let stage = Stage::open_regions().await;
    let eu = json!({"region": "eu"});
    let head = [("mcp-param-region", "eu")];
    assert_eq!(sent(&stage, &eu, &head).await.0, 200);
    // Nobody is told that the server wants the same argument under another name now.
    stage.change_the_tool().await;
    let before = stage.ran("in_region");
    let (_, answer) = sent(&stage, &eu, &head).await;
    assert!(answer.get("error").is_some(), "the server wants it elsewhere: {answer}");
    let last = stage.log().into_iter().rfind(|line| {
        line.pointer("/headers/mcp-method") == Some(&json!("tools/call"))
            && line.pointer("/headers/user-agent") == Some(&json!("countersign"))
    });
    let told = last.unwrap()["headers"].clone();
    assert_eq!((&told["mcp-param-region"], told.get("mcp-param-zone")), (&json!("eu"), None), "{told}");
    // What it wants now is another definition, which nobody has accepted.
    let (_, answer) = sent(&stage, &eu, &[("mcp-param-zone", "eu")]).await;
    assert!(answer.to_string().contains("describes it otherwise than people have accepted it"), "{answer}");
    assert_eq!(stage.ran("in_region"), before);
}
