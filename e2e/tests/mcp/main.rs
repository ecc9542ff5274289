//! Tool calls through the real binary, with the official SDK on both sides: permitted, refused, or held and run exactly
//! once, whatever happens to the agent, the gateway or the server meanwhile.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod asking;
mod eras;
mod first;
mod hostile;
mod listening;
mod oauth;
mod requests;
mod served;
mod several;
mod sql;
mod stage;
mod stdio;
mod suite;
mod tasks;
mod texts;
mod tools;
mod typescript;

use serde_json::{Value, json};
use stage::{SECRET, Stage, until};

fn rows(count: u64) -> Value {
    json!({"table": "orders", "count": count})
}

/// The approval a refusal or a handle names.
fn named(text: &str) -> String {
    let at = text.find("apr_").unwrap_or_else(|| panic!("{text}"));
    text.get(at..at + 30).unwrap().to_owned()
}

/// What a program printed, once it has ended, and whether it ended well.
async fn printed(child: std::process::Child) -> (bool, String) {
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.success(), text(&ended.stdout) + &text(&ended.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_of_the_documents_hears_that_people_are_asked_and_gets_its_result() {
    let mut stage = Stage::open("50s").await;
    let (fine, listed) = printed(stage.example(&[])).await;
    assert!(fine && listed.contains("delete_rows - Deletes rows."), "{listed}");
    let asks = stage.example(&["delete_rows", r#"{"table": "orders", "count": 14}"#]);
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    let (fine, said) = printed(asks).await;
    assert!(fine && said.starts_with(".. ") && said.contains(&id), "{said}");
    assert!(said.ends_with("deleted 14 rows of orders\n"), "{said}");
    let (fine, said) = printed(stage.example(&["delete_rows", r#"{"table": "orders", "count": 100}"#])).await;
    assert!(!fine && said.contains("a hundred rows at once are too many"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_uses_the_server_as_if_it_were_there_itself() {
    let stage = Stage::open("50s").await;
    let steps = json!([
        {"do": "tools"}, {"do": "call", "tool": "count_rows", "arguments": {"table": "orders"}},
        {"do": "call", "tool": "slowly", "progress": true}, {"do": "call", "tool": "fails"}, {"do": "read"},
        {"do": "prompt"}, {"do": "ping"}, {"do": "call", "tool": "asks_the_user"},
        {"do": "call", "tool": "delete_rows", "arguments": rows(100)},
        {"do": "call", "tool": "nowhere"}, {"do": "call", "tool": "approval_wait", "arguments": {"approval": "all"}},
    ]);
    let said = stage.said(&stage.token, &steps).await;
    let want = json!([
        // The server's own `approval_wait` is not among them.
        {"tools": ["count_rows", "slowly", "lingers", "asks_the_user", "fails", "delete_rows", "approval_wait", "approval_status"]},
        {"error": false, "text": "orders: 100"},
        {"progress": 1.0, "message": "step 1"}, {"progress": 2.0, "message": "step 2"}, {"progress": 3.0, "message": "step 3"},
        {"error": false, "text": "done"},
        {"error": true, "text": "Error executing tool fails"},
        {"text": "plenty"}, {"text": "hello"}, {"text": "pong"},
        {"error": false, "text": "refused: it is not passed on here, or the agent's client does not take it"},
        {"error": true, "text": "This call was refused: policy `many` forbids this: a hundred rows at once are too many.\n\
            What to do: no approval lifts this; ask for something the policy allows."},
        {"raised": "the server lists no such tool, or lists it twice"},
        {"raised": "give the approval's id as `approval`, and nothing else"},
    ]);
    assert_eq!(Value::from(said), want);
    let log = stage.log();
    let sent = log.iter().filter(|line| line.pointer("/headers/user-agent") == Some(&json!("countersign")));
    let sent: Vec<_> = sent.collect();
    assert!(sent.len() > 10);
    for line in sent {
        assert_eq!(line.pointer("/headers/authorization"), Some(&json!(format!("Bearer {SECRET}"))));
    }
    let all = log.iter().map(Value::to_string).collect::<String>() + &stage.gateway.log();
    assert!(!all.contains(&stage.token), "the agent's token went somewhere");
    assert!(!stage.gateway.log().contains(SECRET));
    assert_eq!(stage.ran("shadow"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_tells_of_its_progress_and_runs_when_it_is_approved() {
    let mut stage = Stage::open("50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(14), "progress": true}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    let shown = stage.ana.approval(&id).await.unwrap();
    assert!(shown.to_string().contains("Delete 14 rows of “orders” on shop (prod)."), "{shown}");
    assert_eq!(stage.ran("delete_rows"), 0);
    stage.vote(&id, "approve", None).await;
    let said = agent.ended().await;
    let told = said.get(1).and_then(|line| line.get("message")).and_then(Value::as_str).unwrap();
    assert!(told.starts_with("held until people approve it: Delete 14 rows"), "{told}");
    assert_eq!(said.last(), Some(&json!({"error": false, "text": "deleted 14 rows of orders"})));
    assert_eq!(stage.ran("delete_rows"), 1);
    // What was delivered is over: the same call is a new request.
    let again = stage.agent(&stage.token, "legacy", &steps);
    let other = stage.approval("pending").await;
    assert_ne!(other, id);
    stage.vote(&other, "reject", Some("ask for the archived ones only")).await;
    let said = again.ended().await;
    let text = said.last().unwrap().to_string();
    assert!(text.contains("ask for the archived ones only") && text.contains(r#""error":true"#), "{text}");
    assert_eq!(stage.ran("delete_rows"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_cannot_wait_so_long_comes_back_for_its_call_and_nobody_else_can() {
    let mut stage = Stage::open("300ms").await;
    let (held, text) = stage.call("delete_rows", &rows(3)).await;
    assert!(held && text.contains("waits for people and has not run"), "{text}");
    let (id, by_id) = (named(&text), json!({"approval": named(&text)}));
    // The identical call attaches; a changed one would be another request.
    let (_, again) = stage.call("delete_rows", &rows(3)).await;
    assert_eq!(named(&again), id);
    let (_, text) = stage.call("approval_status", &by_id).await;
    assert!(text.contains("waits for people"), "{text}");
    stage.vote(&id, "approve", None).await;
    let (_, text) = stage.call("approval_status", &by_id).await;
    assert!(text.contains("is approved and has not run yet"), "{text}");
    for tool in ["approval_wait", "approval_status"] {
        let rogue = stage.rogue.clone();
        let (refused, text) = stage.call_as(&rogue, tool, &by_id).await;
        assert!(refused && text.contains("you have no such approval on this server"), "{text}");
    }
    assert_eq!(stage.ran("delete_rows"), 0);
    assert_eq!(stage.call("approval_wait", &by_id).await, (false, "deleted 3 rows of orders".into()));
    let (spent, text) = stage.call("approval_wait", &by_id).await;
    assert!(spent, "{text}");
    assert_eq!(stage.ran("delete_rows"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_detaches_and_one_that_cancels_withdraws() {
    let stage = Stage::open("50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(5)}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    agent.kill();
    let leaving = json!([{"do": "leave", "tool": "delete_rows", "arguments": rows(5)}, {"do": "stay"}]);
    let agent = stage.agent(&stage.token, "legacy", &leaving);
    assert_eq!(stage.approval("withdrawn").await, id, "the second call attached to the first one's approval");
    agent.kill();
    assert_eq!(stage.ran("delete_rows"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_survives_the_gateways_death_and_runs_once() {
    let mut stage = Stage::open("50s").await;
    let steps = json!([{"do": "call", "tool": "delete_rows", "arguments": rows(7)}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    stage.gateway.kill().unwrap();
    agent.ended().await;
    stage.gateway.restart().await.unwrap();
    stage.vote(&id, "approve", None).await;
    assert_eq!(stage.ran("delete_rows"), 0, "nothing runs without its agent");
    assert_eq!(stage.call("delete_rows", &rows(7)).await, (false, "deleted 7 rows of orders".into()));
    assert_eq!(stage.ran("delete_rows"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_when_the_gateway_died_is_unknown_and_what_ran_when_the_agent_died_is_kept() {
    let mut stage = Stage::open("50s").await;
    let steps = json!([{"do": "call", "tool": "lingers"}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    stage.runs("lingers").await;
    agent.kill();
    assert_eq!(stage.approval("done").await, id);
    assert_eq!(stage.call("lingers", &json!({})).await, (false, "late".into()));
    assert_eq!(stage.ran("lingers"), 1, "its answer was kept, and given once");

    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    until("it runs again", || stage.ran("lingers") > 1).await;
    stage.gateway.kill().unwrap();
    agent.ended().await;
    stage.gateway.restart().await.unwrap();
    assert_eq!(stage.approval("unknown").await, id);
    let (refused, text) = stage.call("lingers", &json!({})).await;
    assert!(refused && text.contains("it is not known whether the action ran"), "{text}");
    assert_eq!(stage.ran("lingers"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_changed_since_people_saw_it_does_not_run_on_their_word() {
    let mut stage = Stage::open("300ms").await;
    let (_, text) = stage.call("delete_rows", &rows(9)).await;
    let id = named(&text);
    stage.vote(&id, "approve", None).await;
    stage.change_the_tool().await;
    let (refused, text) = stage.call("approval_wait", &json!({"approval": id})).await;
    assert!(refused && text.contains("has changed the tool since people saw it"), "{text}");
    assert_eq!(stage.ran("delete_rows"), 0);
    // Called again it is refused, until somebody has looked at the tool as it is now; then it is another request.
    let (refused, text) = stage.call("delete_rows", &rows(9)).await;
    assert!(refused && text.contains("describes it otherwise than people have accepted it"), "{text}");
    stage.command(&["mcp", "accept", "shop", "delete_rows"]).await;
    let (_, text) = stage.call("delete_rows", &rows(9)).await;
    assert_ne!(named(&text), id);
    assert_eq!(stage.ran("delete_rows"), 0);
}
