//! Tasks of a server's own (`io.modelcontextprotocol/tasks`): followed by the gateway to their end as a part of the call, under a
//! handle of its own, and ended with the call.

use crate::{
    stage::{Stage, until},
    tasks::{ask, ask_as, status_of},
};
use countersign_demo::person::Strength;
use countersign_e2e::{ledger::Entry, night::verified_entries};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PERMITTED: &str = r#"
@id("agents") permit (principal in Group::"agents", action in Action::"mcp", resource);
@id("readers") permit (principal in Group::"readers", action in Action::"mcp", resource);
"#;

/// People are asked before anything is computed.
const COMPUTED: &str = r#"
@id("compute") @gate("compute") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("it is dear")
forbid (principal, action in Action::"mcp.tool", resource) when { context has mcp && context.mcp.tool == "slow_compute" };
"#;

/// People are asked before an answer goes to the server.
const ANSWERED: &str = r#"
@id("words") @gate("words") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("a word of the user's")
forbid (principal, action in Action::"mcp.answer", resource)
when { context has mcp && context.mcp.tool == "confirm_delete" && context.mcp.asked_during == "tools/call" };
"#;

const REFUSED: &str = r#"
@id("silent") @reason("nobody is told")
forbid (principal, action in Action::"mcp.answer", resource);
"#;

fn compute(seconds: u64, label: &str) -> Value {
    json!({"name": "slow_compute", "arguments": {"seconds": seconds, "label": label}})
}

/// The result of a call, which is a task's beginning.
async fn begun(stage: &Stage, call: &Value) -> String {
    let (_, made) = ask(stage, "tools/call", call, true).await;
    let made = made.get("result").unwrap_or_else(|| panic!("{made}"));
    let is = |member: &str, value: &str| made.get(member) == Some(&json!(value));
    assert!(is("resultType", "task") && is("status", "working"), "{made}");
    made.get("taskId").and_then(Value::as_str).unwrap().to_owned()
}

/// Looks at a task until this holds of it.
async fn comes_to(stage: &Stage, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let task = status_of(stage, id).await;
        if holds(&task) {
            return task;
        }
        assert!(begun.elapsed() < Duration::from_mins(3), "{task}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn is_over(stage: &Stage, id: &str) -> Value {
    let goes_on = [Some(json!("working")), Some(json!("input_required"))];
    comes_to(stage, id, |task| !goes_on.contains(&task.get("status").cloned())).await
}

/// The server's own names of the tasks that it wrote of in this way.
fn written(stage: &Stage, what: &str) -> Vec<String> {
    let log = stage.log();
    let lines = log.iter().filter(|line| line.get(what).is_some());
    let names = lines.map(|line| line.get(if what == "cancelled" { what } else { "task" }));
    names.map(|name| name.and_then(Value::as_str).unwrap().to_owned()).collect()
}

/// The last entry of this kind.
async fn last(stage: &Stage, kind: &str) -> Entry {
    let mut entries = verified_entries(&stage.gateway).await.unwrap();
    entries.retain(|entry| entry.kind == kind);
    entries.pop().unwrap_or_else(|| panic!("there is no `{kind}`"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_servers_is_its_callers_alone_and_what_comes_of_it_is_what_comes_of_the_call() {
    let stage = Stage::open_suite("auto", PERMITTED, "50s").await;
    let id = begun(&stage, &compute(2, "sums")).await;
    let own = written(&stage, "made").pop().unwrap();
    assert!(id.starts_with("task_") && own.starts_with("job-"), "the server's name is told to nobody: {id}");
    let reader = stage.gateway.agent("reader", "olga@example.com", "readers").await.unwrap();
    for (token, task) in [(&reader, &id), (&reader, &own), (&stage.token, &own)] {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let params = json!({"taskId": task, "inputResponses": {"confirm": {"action": "accept"}}});
            let (status, told) = ask_as(&stage, token, method, &params, true).await;
            assert_eq!((status, &told["error"]["code"]), (400, &json!(-32602)), "{method}: {told}");
        }
    }
    assert_eq!(status_of(&stage, &id).await["statusMessage"], "The server works on it.");
    let over = is_over(&stage, &id).await;
    assert_eq!(over["status"], "completed", "{over}");
    assert_eq!(over["result"]["content"][0]["text"], "computed sums");
    let result = last(&stage, "execution.result").await;
    assert_eq!((result.text("/outcome"), result.text("/status")), ("done", "result"), "{:?}", result.data);
    assert!(written(&stage, "cancelled").is_empty());
    // What the server says before it makes a task of a call is told, and so is the task.
    let mut told = compute(0, "telling");
    told["_meta"] = json!({"progressToken": "p"});
    let id = begun(&stage, &told).await;
    assert_eq!(is_over(&stage, &id).await["result"]["content"][0]["text"], "computed telling");
    // Given up, it is over once its server says so.
    let id = begun(&stage, &compute(60, "too long")).await;
    let (_, acknowledged) = ask(&stage, "tasks/cancel", &json!({"taskId": id}), true).await;
    assert_eq!(acknowledged["result"], json!({"resultType": "complete"}));
    assert_eq!(is_over(&stage, &id).await["status"], "cancelled");
    assert_eq!(written(&stage, "cancelled"), written(&stage, "made").split_off(2));
    let result = last(&stage, "execution.result").await;
    let how = (result.text("/outcome"), result.text("/status"), result.text("/ended_by"));
    assert_eq!(how, ("cancelled", "task cancelled", "client"), "{:?}", result.data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_for_people_and_becomes_a_task_of_the_servers_is_one_task() {
    let mut stage = Stage::open_suite("auto", &format!("{PERMITTED}{COMPUTED}"), "50s").await;
    let id = begun(&stage, &compute(1, "held")).await;
    let waits = status_of(&stage, &id).await;
    assert!(waits["statusMessage"].as_str().unwrap().starts_with("Waits for people"), "{waits}");
    assert!(written(&stage, "made").is_empty());
    stage.vote(&id, "approve", None).await;
    // Whoever waits for the approval waits for the task, which alone runs it.
    let waits = json!({"name": "approval_wait", "arguments": {"approval": id}});
    let (_, told) = ask(&stage, "tools/call", &waits, false).await;
    assert!(told.to_string().contains("computed held"), "{told}");
    let over = is_over(&stage, &id).await;
    assert_eq!(over["result"]["content"][0]["text"], "computed held", "{over}");
    assert_eq!(written(&stage, "made").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_approval_cancels_the_servers_task_and_records_what_became_of_that() {
    let mut stage = Stage::open_suite("auto", &format!("{PERMITTED}{COMPUTED}"), "50s").await;
    let id = begun(&stage, &compute(600, "long")).await;
    stage.vote(&id, "approve", None).await;
    until("the server has made a task of it", || written(&stage, "made").len() == 1).await;
    comes_to(&stage, &id, |task| task["statusMessage"] == "The server works on it.").await;
    stage.command(&["approvals", "revoke", &id, "--reason", "not tonight"]).await;
    let over = is_over(&stage, &id).await;
    assert_eq!((&over["status"], &over["result"]["isError"]), (&json!("completed"), &json!(true)), "{over}");
    assert_eq!(written(&stage, "cancelled"), written(&stage, "made"));
    let result = last(&stage, "execution.result").await;
    let how = (result.text("/outcome"), result.text("/status"), result.text("/ended_by"));
    assert_eq!(how, ("cancelled", "task cancelled", "revoked"), "{:?}", result.data);

    // Of a server that does not cancel it the record says so.
    let id = begun(&stage, &compute(600, "stubborn")).await;
    stage.vote(&id, "approve", None).await;
    comes_to(&stage, &id, |task| task["statusMessage"] == "The server works on it.").await;
    stage.command(&["approvals", "revoke", &id, "--reason", "not tonight"]).await;
    let over = is_over(&stage, &id).await;
    assert_ne!(over["status"], "cancelled", "{over}");
    let result = last(&stage, "execution.result").await;
    let how = (result.text("/outcome"), result.text("/status"), result.text("/ended_by"));
    assert_eq!(how, ("cancelled", "task cancel refused", "revoked"), "{:?}", result.data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_its_server_forgets_or_its_gateway_lost_is_not_known_to_have_ended_and_not_run_again() {
    let mut stage = Stage::open_suite("auto", &format!("{PERMITTED}{COMPUTED}"), "50s").await;
    let id = begun(&stage, &compute(600, "forgotten")).await;
    stage.vote(&id, "approve", None).await;
    let over = is_over(&stage, &id).await;
    assert_eq!(over["result"]["isError"], true, "{over}");
    let unknown = last(&stage, "execution.outcome_unknown").await;
    assert!(unknown.data.to_string().contains("does not know its own task"), "{:?}", unknown.data);
    let id = begun(&stage, &compute(600, "long")).await;
    stage.vote(&id, "approve", None).await;
    comes_to(&stage, &id, |task| task["statusMessage"] == "The server works on it.").await;
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    let over = is_over(&stage, &id).await;
    assert_eq!(over["result"]["isError"], true, "{over}");
    assert_eq!(written(&stage, "made").len(), 2, "nothing ran again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_a_task_is_an_action_that_people_can_hold_and_ends_with_its_call() {
    let mut stage = Stage::open_suite("auto", &format!("{PERMITTED}{ANSWERED}"), "50s").await;
    let call = json!({"name": "confirm_delete", "arguments": {"filename": "a.txt"}});
    let id = begun(&stage, &call).await;
    let asks = comes_to(&stage, &id, |task| task["status"] == "input_required").await;
    let asked = &asks["inputRequests"]["confirm"];
    assert_eq!(asked["params"]["message"], "The MCP server “shop” asks: Delete a.txt?", "{asks}");
    let answer = json!({"taskId": id, "inputResponses": {
        "confirm": {"action": "accept", "content": {"confirm": true}}, "other": {"ignored": true},
    }});
    let (_, taken) = ask(&stage, "tasks/update", &answer, true).await;
    assert_eq!(taken["result"], json!({"resultType": "complete"}), "{taken}");
    let held = stage.approval("pending").await;
    let shown = stage.ana.approval(&held).await.unwrap().to_string();
    for part in ["during its call of “confirm_delete” (act_", "Delete a.txt?", "accept"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let waits = status_of(&stage, &id).await;
    assert_eq!(waits["status"], "working", "it is not asked twice: {waits}");
    assert!(waits["statusMessage"].as_str().unwrap().contains("waits for people"), "{waits}");
    assert!(written(&stage, "answered").is_empty());
    // Rejected, it goes nowhere, and the question is there as before.
    stage.vote(&held, "reject", Some("keep it")).await;
    let asks = comes_to(&stage, &id, |task| task["status"] == "input_required").await;
    assert!(asks["statusMessage"].as_str().unwrap().contains("keep it"), "{asks}");
    let other = json!({"taskId": id, "inputResponses": {"confirm": {"action": "accept", "content": {"confirm": false}}}});
    ask(&stage, "tasks/update", &other, true).await;
    let held = stage.approval("pending").await;
    stage.vote(&held, "approve", None).await;
    let over = is_over(&stage, &id).await;
    assert_eq!(over["result"]["content"][0]["text"], "deleted a.txt", "{over}");
    assert_eq!(written(&stage, "answered").len(), 1);

    // Whoever gives the call up takes its answer along.
    let id = begun(&stage, &call).await;
    comes_to(&stage, &id, |task| task["status"] == "input_required").await;
    let answer = json!({"taskId": id, "inputResponses": {"confirm": {"action": "accept", "content": {"confirm": true}}}});
    ask(&stage, "tasks/update", &answer, true).await;
    let held = stage.approval("pending").await;
    ask(&stage, "tasks/cancel", &json!({"taskId": id}), true).await;
    assert_eq!(is_over(&stage, &id).await["status"], "cancelled");
    stage.withdrawn(1).await;
    let late = stage.ana.vote(&held, "approve", Strength::Session, None).await;
    assert!(late.is_err() || late.is_ok_and(|vote| !vote.is_success()), "nobody approves it any more");
    assert_eq!(written(&stage, "answered").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_policy_refuses_leaves_the_question_as_it_was() {
    let stage = Stage::open_suite("auto", &format!("{PERMITTED}{REFUSED}"), "50s").await;
    let id = begun(&stage, &json!({"name": "multi_input", "arguments": {}})).await;
    comes_to(&stage, &id, |task| task["status"] == "input_required").await;
    let answer = json!({"taskId": id, "inputResponses": {"first": {"action": "accept", "content": {"confirm": true}}}});
    let (_, refused) = ask(&stage, "tasks/update", &answer, true).await;
    assert!(refused["error"]["message"].as_str().unwrap().contains("nobody is told"), "{refused}");
    let asks = status_of(&stage, &id).await;
    assert_eq!(asks["inputRequests"].as_object().unwrap().len(), 2, "{asks}");
    let answer = json!({"taskId": id, "inputResponses": {"first": 1}});
    let (_, refused) = ask(&stage, "tasks/update", &answer, true).await;
    assert_eq!(refused["error"]["code"], json!(-32602), "{refused}");
    assert!(written(&stage, "answered").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_task_may_not_ask_or_nobody_knows_ends_it_at_the_server() {
    let stage = Stage::open_silent(PERMITTED).await;
    let id = begun(&stage, &json!({"name": "confirm_delete", "arguments": {"filename": "a.txt"}})).await;
    let over = is_over(&stage, &id).await;
    assert_eq!(over["status"], "failed", "{over}");
    assert!(over["error"]["message"].as_str().unwrap().contains("is not passed on"), "{over}");
    assert_eq!(written(&stage, "cancelled"), written(&stage, "made"));
    let was_cancelled = async || {
        let result = last(&stage, "execution.result").await;
        let how = (result.text("/outcome"), result.text("/status"));
        assert_eq!(how, ("cancelled", "task cancelled"), "{:?}", result.data);
    };
    was_cancelled().await;
    // Its agent knows no tasks, and its server makes one all the same.
    let unasked = json!({"name": "unasked_job", "arguments": {"seconds": 600}});
    let (_, told) = ask(&stage, "tools/call", &unasked, false).await;
    assert!(told.to_string().contains("has not said that it knows tasks"), "{told}");
    assert_eq!(written(&stage, "cancelled"), written(&stage, "made"));
    was_cancelled().await;
    // One that had come to its end by then has an answer, which is that of the call.
    let quick = json!({"name": "unasked_job", "arguments": {"seconds": 0, "label": "quick"}});
    let (_, told) = ask(&stage, "tools/call", &quick, false).await;
    assert_eq!(told["result"]["content"][0]["text"], "computed quick", "{told}");
    let result = last(&stage, "execution.result").await;
    assert_eq!((result.text("/outcome"), result.text("/status")), ("done", "result"), "{:?}", result.data);
}
