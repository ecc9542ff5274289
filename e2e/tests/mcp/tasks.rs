//! Held calls as tasks, in the forms of both eras: made at once, looked at, waited for, given up, and run by themselves once they
//! are approved.

use crate::{
    rows,
    stage::{self, Agent, Stage, until},
};
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// An agent whose client has the tasks of the earlier era.
fn agent(stage: &Stage, steps: &Value) -> Agent {
    stage::agent_with_tasks(&stage.url, &stage.token, steps)
}

fn at(said: &[Value], line: usize) -> &Value {
    said.get(line).unwrap_or_else(|| panic!("{said:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_earlier_era_becomes_a_task_that_runs_once_it_is_approved() {
    let mut stage = Stage::open("300ms").await;
    let [made, approved, over] = ["made", "approved", "over"].map(|name| stage.beside(name));
    let call = json!({"do": "task", "tool": "delete_rows", "arguments": rows(14)});
    let steps = json!([
        call, {"do": "task-get"}, call, {"do": "task-list"}, {"do": "mark", "file": made}, {"do": "await", "file": approved}, {"do": "task-result"},
        {"do": "task-get"}, {"do": "task-result"}, {"do": "await", "file": over},
        {"do": "task", "tool": "count_rows", "arguments": {"table": "orders"}}, {"do": "task-result"}, {"do": "task-cancel"},
    ]);
    let agent = agent(&stage, &steps);
    let id = stage.approval("pending").await;
    until("it has asked for all of it", || made.exists()).await;
    std::fs::write(&approved, "").unwrap();
    stage.vote(&id, "approve", None).await;
    // It does not wait for its agent: that may be doing something else.
    stage.runs("delete_rows").await;
    std::fs::write(&over, "").unwrap();
    let said = agent.ended().await;
    let made = at(&said, 1);
    assert_eq!((&made["task"], &made["status"]), (&json!(id), &json!("working")), "{said:?}");
    let told = made["message"].as_str().unwrap();
    assert!(told.starts_with("Waits for people and has not run: Delete 14 rows of “orders”"), "{told}");
    assert!(told.contains("do not call the tool again"), "{told}");
    assert_eq!(made["immediate"], made["message"], "the model is told at once");
    assert_eq!(at(&said, 2)["status"], "working");
    assert_eq!(at(&said, 3)["task"], json!(id), "the identical call is the same task");
    assert_eq!(at(&said, 4), &json!({"tasks": [[id, "working"]]}));
    let result = json!({
        "error": false, "text": "deleted 14 rows of orders",
        "meta": {"io.modelcontextprotocol/related-task": {"taskId": id}},
    });
    assert_eq!((at(&said, 6), at(&said, 8)), (&result, &result), "it is there as often as it is asked for");
    assert_eq!(at(&said, 7)["status"], "completed");
    assert_eq!(stage.ran("delete_rows"), 1);
    // What policy permits is a task as well, where its agent asks for one.
    assert_eq!(at(&said, 10)["status"], "working", "{said:?}");
    assert_eq!(at(&said, 10).get("immediate"), None, "nobody is waited for");
    assert_eq!(at(&said, 11)["text"], "orders: 100");
    assert!(at(&said, 12).to_string().contains("cannot be cancelled any more"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_follows_a_task_from_its_call_to_its_result() {
    let mut stage = Stage::open("300ms").await;
    let steps = json!([
        {"do": "tools"}, {"do": "stream", "tool": "delete_rows", "arguments": rows(9)},
        {"do": "task", "tool": "approval_status", "arguments": {"approval": "apr_01ARZ3NDEKTSV4RRFFQ69G5FAV"}},
        {"do": "task", "tool": "delete_rows", "arguments": {"table": 1}},
    ]);
    let agent = agent(&stage, &steps);
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    let support = &at(&said, 1)["tools"];
    assert_eq!(
        (&support["delete_rows"], &support["approval_wait"]),
        (&json!("optional"), &json!(null)),
        "{said:?}"
    );
    assert_eq!(at(&said, 2), &json!({"made": id}));
    assert_eq!(at(&said, 3)["text"], "deleted 9 rows of orders", "{said:?}");
    // What becomes no task is answered as such, not with a result that nobody can read in its place.
    assert!(at(&said, 4).to_string().contains("no call of it is a task"), "{said:?}");
    assert!(at(&said, 5).to_string().contains("-32080"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_given_up_rejected_or_taken_up_again_and_is_nobody_elses() {
    let mut stage = Stage::open("300ms").await;
    let call = |count: u64| json!({"do": "task", "tool": "delete_rows", "arguments": rows(count)});
    let steps = json!([call(1), {"do": "task-cancel"}, {"do": "task-result"}]);
    let said = agent(&stage, &steps).ended().await;
    stage.withdrawn(1).await;
    assert_eq!(at(&said, 2)["status"], "cancelled", "{said:?}");
    assert_eq!(
        (&at(&said, 3)["error"], &at(&said, 3)["text"]),
        (&json!(true), &json!("The call was cancelled."))
    );

    let rejected = agent(&stage, &json!([call(2), {"do": "task-result"}, {"do": "task-get"}]));
    let id = stage.approval("pending").await;
    stage.vote(&id, "reject", Some("ask for the archived ones only")).await;
    let said = rejected.ended().await;
    let why = "ask for the archived ones only";
    assert!(at(&said, 2)["text"].as_str().unwrap().contains(why), "{said:?}");
    // As that era has it: a tool that says it failed has failed, and the status says why.
    assert_eq!(at(&said, 3)["status"], "failed", "{said:?}");
    assert!(at(&said, 3)["message"].as_str().unwrap().contains(why), "{said:?}");

    // A task outlives its agent and the gateway: its handle is the approval's.
    let said = agent(&stage, &json!([call(3)])).ended().await;
    let id = at(&said, 1)["task"].as_str().unwrap().to_owned();
    let look = json!([{"do": "task-get", "task": id}]);
    let rogue = stage::agent_with_tasks(&stage.url, &stage.rogue, &look).ended().await;
    assert!(at(&rogue, 1).to_string().contains("you have no such task here"), "{rogue:?}");
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    let steps = json!([{"do": "task-get", "task": id}, {"do": "task-result", "task": id}]);
    let back = agent(&stage, &steps);
    stage.vote(&id, "approve", None).await;
    let said = back.ended().await;
    assert_eq!(at(&said, 2)["text"], "deleted 3 rows of orders", "{said:?}");
    assert_eq!(stage.ran("delete_rows"), 1);
}

/// A session without tasks: what was agreed on has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_version_without_tasks_has_none() {
    let stage = Stage::open("300ms").await;
    let post = |session: Option<String>, message: Value| {
        let asked = reqwest::Client::new().post(&stage.url).bearer_auth(&stage.token);
        let asked = asked.header("accept", "application/json, text/event-stream").json(&message);
        let asked = match session {
            Some(session) => asked.header("mcp-session-id", session),
            None => asked,
        };
        async { asked.send().await.unwrap() }
    };
    let client = json!({"name": "agent", "version": "1"});
    let opening = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let opened =
        post(None, json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening})).await;
    let session = opened.headers().get("mcp-session-id").unwrap().to_str().unwrap().to_owned();
    let opened: Value = opened.json().await.unwrap();
    assert_eq!(opened["result"]["capabilities"].get("tasks"), None, "{opened}");
    post(Some(session.clone()), json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    let call = json!({"name": "count_rows", "arguments": {"table": "orders"}, "task": {"ttl": 1000}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call});
    let called: Value = post(Some(session.clone()), call).await.json().await.unwrap();
    assert_eq!(called["result"]["content"][0]["text"], "orders: 100", "the wish is ignored: {called}");
    let list = json!({"jsonrpc": "2.0", "id": 3, "method": "tasks/list"});
    let listed: Value = post(Some(session), list).await.json().await.unwrap();
    assert_eq!(listed["error"]["code"], json!(-32601), "{listed}");
}

/// Asks as a client of the later era that knows tasks, or does not: status and answer.
pub(crate) async fn ask(stage: &Stage, method: &str, params: &Value, knows: bool) -> (u16, Value) {
    ask_as(stage, &stage.token, method, params, knows).await
}

/// The same with this token.
pub(crate) async fn ask_as(
    stage: &Stage,
    token: &str,
    method: &str,
    params: &Value,
    knows: bool,
) -> (u16, Value) {
    let extensions = if knows { json!({EXTENSION: {}}) } else { json!({}) };
    let mut params = params.clone();
    let params = params.as_object_mut().unwrap();
    let meta = params.entry("_meta").or_insert_with(|| json!({})).as_object_mut().unwrap();
    meta.insert("io.modelcontextprotocol/protocolVersion".into(), "2026-07-28".into());
    let capabilities = json!({"extensions": extensions, "elicitation": {}});
    meta.insert("io.modelcontextprotocol/clientCapabilities".into(), capabilities);
    let name =
        params.get("name").or_else(|| params.get("taskId")).and_then(Value::as_str).unwrap_or_default();
    let asked = reqwest::Client::new()
        .post(&stage.url)
        .bearer_auth(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method)
        .header("mcp-name", name)
        .json(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
    let answer = asked.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    // One message, or the last of a stream.
    let message = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap_or(&text);
    (status, serde_json::from_str(message).unwrap_or_else(|_| panic!("{text}")))
}

pub(crate) async fn status_of(stage: &Stage, id: &str) -> Value {
    let (status, got) = ask(stage, "tasks/get", &json!({"taskId": id}), true).await;
    assert_eq!(status, 200, "{got}");
    got.get("result").unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_of_the_later_era_is_a_task_where_its_client_knows_them() {
    let mut stage = Stage::open("300ms").await;
    let (_, discovered) = ask(&stage, "server/discover", &json!({}), true).await;
    assert_eq!(discovered["result"]["capabilities"]["extensions"], json!({EXTENSION: {}}), "{discovered}");
    let call = |count: u64| json!({"name": "delete_rows", "arguments": rows(count)});
    let (_, made) = ask(&stage, "tools/call", &call(4), true).await;
    let task = made["result"].clone();
    let id = task["taskId"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!((&task["resultType"], &task["status"]), (&json!("task"), &json!("working")), "{task}");
    assert!(
        task["ttlMs"].is_u64() && task["pollIntervalMs"].is_u64() && task.get("result").is_none(),
        "{task}"
    );
    let (_, again) = ask(&stage, "tools/call", &call(4), true).await;
    assert_eq!(again["result"]["taskId"], json!(id), "the identical call is the same task");
    assert_eq!(status_of(&stage, &id).await["status"], "working");
    // Nobody holds a connection, and it runs all the same.
    stage.vote(&id, "approve", None).await;
    stage.runs("delete_rows").await;
    let mut got = status_of(&stage, &id).await;
    let begun = std::time::Instant::now();
    while got["status"] == "working" && begun.elapsed().as_secs() < 180 {
        tokio::task::yield_now().await;
        got = status_of(&stage, &id).await;
    }
    assert_eq!((&got["status"], &got["resultType"]), (&json!("completed"), &json!("complete")), "{got}");
    assert_eq!(got["result"]["content"][0]["text"], "deleted 4 rows of orders");
    assert_eq!(status_of(&stage, &id).await, got, "it stays as it is");
    assert_eq!(stage.ran("delete_rows"), 1);

    // What nobody has to be asked about is answered at once.
    let counts = json!({"name": "count_rows", "arguments": {"table": "orders"}});
    let (_, counted) = ask(&stage, "tools/call", &counts, true).await;
    assert_eq!(counted["result"]["resultType"], "complete", "{counted}");
    // Given up, it is withdrawn, and saying so twice is as saying it once.
    let (_, made) = ask(&stage, "tools/call", &call(5), true).await;
    let other = made["result"]["taskId"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let (_, acknowledged) = ask(&stage, "tasks/cancel", &json!({"taskId": other}), true).await;
        assert_eq!(acknowledged["result"], json!({"resultType": "complete"}));
    }
    stage.withdrawn(1).await;
    assert_eq!(status_of(&stage, &other).await["status"], "cancelled");
    // Unknown tasks, and clients that do not know any.
    let (status, unknown) = ask(&stage, "tasks/get", &json!({"taskId": "task_0"}), true).await;
    assert_eq!((status, &unknown["error"]["code"]), (400, &json!(-32602)), "{unknown}");
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let (status, refused) = ask(&stage, method, &json!({"taskId": id}), false).await;
        assert_eq!((status, &refused["error"]["code"]), (400, &json!(-32021)), "{refused}");
    }
    let (status, refused) = ask(&stage, "tasks/list", &json!({}), true).await;
    assert_eq!((status, &refused["error"]["code"]), (404, &json!(-32601)), "{refused}");
    let (_, held) = ask(&stage, "tools/call", &call(6), false).await;
    assert_eq!(held["result"]["resultType"], "input_required", "held in legs as before: {held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_work_where_several_servers_are_behind_one_endpoint() {
    let endpoint = "[[mcp_endpoint]]\nname = \"all\"\nlisten = \"127.0.0.1:WIRE\"\npath = \"/all\"\ntargets = [\"shop\"]";
    let mut stage = Stage::open_with("protocol = \"earlier\"", endpoint, "50s").await;
    let url = format!("{}/all", stage.gateway.url);
    let steps = json!([
        {"do": "task", "tool": "shop__delete_rows", "arguments": rows(8)}, {"do": "task-list"}, {"do": "task-result"},
    ]);
    let agent = stage::agent_with_tasks(&url, &stage.token, &steps);
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    assert_eq!(at(&said, 1)["task"], json!(id), "{said:?}");
    assert_eq!(at(&said, 3)["text"], "deleted 8 rows of orders", "{said:?}");
    until("it ran once", || stage.ran("delete_rows") == 1).await;
}
