//! What servers ask of agents while they answer: passed on where the configuration says so, in the way of each era, and
//! answered as an action of its own.

use crate::{
    hostile,
    stage::{self, Stage, until},
    tasks,
};
use countersign_demo::person::Strength;
use reqwest::Method;
use serde_json::{Value, json};

const PASSES: &str = r#"server_requests = { elicitation = "pass", sampling = "pass", roots = "pass" }"#;

/// Agents may do everything but have a word of their model's told without people, and empty a table so.
const GATED: &str = r#"
@id("agents") permit (principal in Group::"agents", action in Action::"mcp", resource);
@id("readers") permit (principal in Group::"readers", action in Action::"mcp", resource);
@id("confirm") @gate("confirm") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("a table is emptied")
forbid (principal, action == Action::"shop/confirm", resource);
@id("words") @gate("words") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("the model's words leave")
forbid (principal, action in Action::"mcp.answer", resource) when { context has mcp && context.mcp.method == "sampling/createMessage" };
@id("unsure") @reason("whoever is not sure says nothing")
forbid (principal, action in Action::"mcp.answer", resource)
when {
  context has mcp && context.mcp.answers.contains("roots/list") && principal in Group::"readers"
  && context.mcp.tool == "where" && context.mcp.asked_during == "tools/call" && resource == Resource::"shop/tool/where"
};
"#;

/// A rule that holds a tool whose server asks something while it runs.
const PONDERED: &str = r#"
@id("ponder") @gate("ponder") @approvers("Group::\"sre\"") @quorum("1") @step_up("session") @reason("it thinks")
forbid (principal, action == Action::"shop/ponder", resource);
"#;

/// What an agent's user, model and folders answer.
fn takes() -> Value {
    json!({
        "do": "takes", "elicitation": {"action": "accept", "content": {"sure": true}}, "sampling": "blue",
        "roots": ["file:///srv"],
    })
}

fn confirm() -> Value {
    json!({"do": "call", "tool": "confirm", "arguments": {"table": "orders"}})
}

const QUESTION: &str = "The MCP server “shop” asks: Empty orders?";

/// What an agent printed, without the line that says what it speaks.
async fn said(stage: &Stage, mode: &str, steps: &Value) -> Vec<Value> {
    let mut said = stage.agent(&stage.token, mode, steps).ended().await;
    said.remove(0);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_the_earlier_era_reaches_the_agent_and_its_answer_the_server() {
    let mut stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let steps = json!([takes(), {"do": "call", "tool": "where"}, {"do": "call", "tool": "pay"}]);
    let asked = said(&stage, "legacy", &steps).await;
    assert_eq!(asked[0], json!({"error": false, "text": "file:///srv"}), "{asked:?}");
    let text = asked[1]["text"].as_str().unwrap();
    assert!(text.contains("refused"), "pages are not passed on: {asked:?}");
    // What people are asked about is the call; its question comes while it runs, and is answered within it.
    let agent = stage.agent(&stage.token, "legacy", &json!([takes(), confirm()]));
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    let ended = agent.ended().await;
    assert_eq!(ended[1], json!({"asked": QUESTION, "url": null}), "{ended:?}");
    assert_eq!(ended[2], json!({"error": false, "text": "orders: True"}), "{ended:?}");
    assert_eq!(stage.ran("confirm"), 1);
    // An answer is an action: a rule can have people look at it first.
    let steps = json!([takes(), {"do": "call", "tool": "ponder"}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let id = stage.approval("pending").await;
    let shown = stage.ana.approval(&id).await.unwrap();
    let whole = shown.to_string();
    for part in
        ["Tell the server what was asked of the agent's model during its call of “ponder” (act_", "A colour?"]
    {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    assert_eq!(stage.ran("ponder"), 0);
    stage.vote(&id, "approve", None).await;
    let ended = agent.ended().await;
    assert_eq!(ended.last(), Some(&json!({"error": false, "text": "blue"})), "{ended:?}");
    let log = stage.log();
    assert!(log.contains(&json!({"ran": "ponder", "word": "blue"})), "{log:?}");
}

/// Whether anything that the agent's model said has reached the server.
fn is_told(stage: &Stage) -> bool {
    stage.log().iter().any(|line| line.to_string().contains("blue"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_people_hold_ends_with_its_call_when_that_is_revoked() {
    let mut stage = Stage::open_asking("earlier", &format!("{GATED}{PONDERED}"), PASSES).await;
    let agent = stage.agent(&stage.token, "legacy", &json!([takes(), {"do": "call", "tool": "ponder"}]));
    let call = stage.approval("pending").await;
    stage.vote(&call, "approve", None).await;
    let mut answer = stage.approval("pending").await;
    while answer == call {
        answer = stage.approval("pending").await;
    }
    stage.command(&["approvals", "revoke", &call, "--reason", "not tonight"]).await;
    stage.withdrawn(1).await;
    assert_eq!(stage.approval("withdrawn").await, answer);
    let late = stage.ana.vote(&answer, "approve", Strength::Session, None).await;
    assert!(late.is_err() || late.is_ok_and(|vote| !vote.is_success()), "nobody approves it any more");
    agent.ended().await;
    assert!(!is_told(&stage), "{:?}", stage.log());
    assert_eq!(stage.ran("ponder"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_people_hold_ends_with_its_call_when_the_agent_gives_that_up() {
    let stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let held = stage.beside("held");
    let steps =
        json!([takes(), {"do": "leave", "tool": "ponder", "arguments": {}, "once": held}, {"do": "stay"}]);
    let agent = stage.agent(&stage.token, "legacy", &steps);
    let answer = stage.approval("pending").await;
    std::fs::write(&held, "").unwrap();
    stage.withdrawn(1).await;
    assert_eq!(stage.approval("withdrawn").await, answer);
    agent.kill();
    assert!(!is_told(&stage), "{:?}", stage.log());
    assert_eq!(stage.ran("ponder"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_people_hold_ends_with_its_gateway() {
    let mut stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let agent = stage.agent(&stage.token, "legacy", &json!([takes(), {"do": "call", "tool": "ponder"}]));
    let answer = stage.approval("pending").await;
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    assert_eq!(stage.approval("withdrawn").await, answer, "nothing can come of it any more");
    agent.kill();
    let entries = countersign_e2e::night::verified_entries(&stage.gateway).await.unwrap();
    let closed = entries.iter().rfind(|entry| entry.kind == "approval.closed").unwrap();
    assert!(closed.disclosed["reason"].contains("ended with the gateway"), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_asks_reaches_agents_at_an_endpoint_that_several_share() {
    let asks = |tool: &str| json!([takes(), {"do": "call", "tool": tool}]);
    let confirm = json!({"do": "call", "tool": "shop__confirm", "arguments": {"table": "orders"}});
    for (protocol, mode) in [("earlier", "legacy"), ("auto", "auto")] {
        let mut stage = Stage::open_asking_together(protocol, GATED, PASSES).await;
        let url = format!("{}/all", stage.gateway.url);
        let ended = stage::agent(&url, &stage.token, mode, &asks("shop__where")).ended().await;
        assert_eq!(ended.last(), Some(&json!({"error": false, "text": "file:///srv"})), "{mode}: {ended:?}");
        // An answer is held as at the server's own endpoint.
        let agent = stage::agent(&url, &stage.token, mode, &json!([takes(), confirm]));
        let id = stage.approval("pending").await;
        stage.vote(&id, "approve", None).await;
        if mode == "auto" {
            // In the later era people see the call once more, with its answer.
            let mut second = stage.approval("pending").await;
            while second == id {
                second = stage.approval("pending").await;
            }
            stage.vote(&second, "approve", None).await;
        }
        let ended = agent.ended().await;
        assert!(ended.contains(&json!({"asked": QUESTION, "url": null})), "{mode}: {ended:?}");
        assert_eq!(ended.last(), Some(&json!({"error": false, "text": "orders: True"})), "{mode}: {ended:?}");
        // Whoever takes no questions is asked none.
        let none = json!([{"do": "call", "tool": "shop__where"}]);
        let ended = stage::agent(&url, &stage.token, mode, &none).ended().await;
        assert_ne!(ended.last(), Some(&json!({"error": false, "text": "file:///srv"})), "{mode}: {ended:?}");
    }
    // What its target does not pass is not asked there either.
    let stage = Stage::open_asking_together("earlier", GATED, "").await;
    let url = format!("{}/all", stage.gateway.url);
    let ended = stage::agent(&url, &stage.token, "legacy", &asks("shop__where")).ended().await;
    assert_ne!(ended.last(), Some(&json!({"error": false, "text": "file:///srv"})), "{ended:?}");
    assert_eq!(stage.ran("where"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_people_hold_ends_when_its_gateway_is_stopped() {
    let mut stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let agent = stage.agent(&stage.token, "legacy", &json!([takes(), {"do": "call", "tool": "ponder"}]));
    let answer = stage.approval("pending").await;
    assert_eq!(stage.gateway.stop().unwrap(), Some(0), "{}", stage.gateway.log());
    agent.kill();
    stage.gateway.restart().await.unwrap();
    assert_eq!(stage.approval("withdrawn").await, answer);
    let entries = countersign_e2e::night::verified_entries(&stage.gateway).await.unwrap();
    let closed = entries.iter().rfind(|entry| entry.kind == "approval.closed").unwrap();
    let why = &closed.disclosed["reason"];
    assert!(why.contains("the call that it was asked in is over"), "by the one that stops: {closed:?}");
    assert!(!is_told(&stage), "{:?}", stage.log());
}

/// A call that waits for people is held for as many legs as leave room for what its server may ask, which one of the earlier era
/// may not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_later_era_waits_in_all_its_legs_where_its_server_can_ask_nothing() {
    for (protocol, want) in [("earlier", 10), ("auto", 6)] {
        let stage = Stage::open_with(&format!("protocol = \"{protocol}\"\n{PASSES}"), "", "300ms").await;
        let mut call = json!({"name": "delete_rows", "arguments": {"table": "orders", "count": 3}});
        let mut legs = 0;
        let handle = loop {
            let (_, answer) = tasks::ask(&stage, "tools/call", &call, false).await;
            let result = &answer["result"];
            if result["resultType"] != "input_required" {
                break answer;
            }
            legs += 1;
            call["requestState"] = result["requestState"].clone();
        };
        assert!(handle.to_string().contains("approval_wait"), "{handle}");
        assert_eq!(legs, want, "{protocol}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_policy_refuses_does_not_reach_the_server() {
    let stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let reader = stage.gateway.agent("reader", "olga@example.com", "readers").await.unwrap();
    let steps = json!([takes(), {"do": "call", "tool": "where"}]);
    let ended = stage.agent(&reader, "legacy", &steps).ended().await;
    assert!(ended[1].to_string().contains("the agent's answer was refused"), "{ended:?}");
    assert_eq!(stage.ran("where"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_questions_is_asked_none_and_nothing_is_passed_on_without_a_rule() {
    let stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let none = said(&stage, "legacy", &json!([{"do": "call", "tool": "where"}])).await;
    assert_ne!(none[0]["error"], json!(false), "{none:?}");
    let stage = Stage::open_asking("auto", GATED, "").await;
    for mode in ["legacy", "auto"] {
        let steps = json!([takes(), {"do": "call", "tool": "where"}]);
        let none = said(&stage, mode, &steps).await;
        assert!(none.iter().all(|line| line.get("asked").is_none()), "{none:?}");
        assert_ne!(none[0]["error"], json!(false), "{none:?}");
    }
    assert_eq!(stage.ran("where"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_passed_on_where_the_configuration_says_so() {
    let rule = r#"server_requests = { elicitation_url = "pass" }"#;
    let stage = Stage::open_asking("earlier", GATED, rule).await;
    let accepts = json!({"do": "takes", "elicitation": {"action": "accept"}});
    let asked = said(&stage, "legacy", &json!([accepts, {"do": "call", "tool": "pay"}])).await;
    let question = "The MCP server “shop” asks: Pay here";
    assert_eq!(asked[0], json!({"asked": question, "url": "https://pay.example/1"}), "{asked:?}");
    assert_eq!(asked[1], json!({"error": false, "text": "accept"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_approved_before_a_question_is_asked_about_again_with_its_answer() {
    let mut stage = Stage::open_asking("auto", GATED, PASSES).await;
    let agent = stage.agent(&stage.token, "auto", &json!([takes(), confirm()]));
    let first = stage.approval("pending").await;
    stage.vote(&first, "approve", None).await;
    let second = stage.approval("pending").await;
    assert_ne!(first, second);
    assert_eq!(stage.ran("confirm"), 0, "an approval is for the call that people saw");
    let shown = stage.ana.approval(&second).await.unwrap().to_string();
    for part in [
        "It answers what the server asked first (elicitation/create). That was at 2",
        ", by the tool's definition sha256:",
        "Empty orders?",
        "sure",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    stage.vote(&second, "approve", None).await;
    let ended = agent.ended().await;
    assert!(ended.contains(&json!({"asked": QUESTION, "url": null})), "{ended:?}");
    assert_eq!(ended.last(), Some(&json!({"error": false, "text": "orders: True"})), "{ended:?}");
    assert!(stage.log().contains(&json!({"ran": "confirm", "table": "orders", "sure": true})));
    assert_eq!(stage.ran("confirm"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_the_later_era_are_asked_by_the_answer() {
    let stage = Stage::open_asking("auto", GATED, PASSES).await;
    let steps = json!([takes(), {"do": "call", "tool": "where"}, {"do": "call", "tool": "ponder"}]);
    let asked = said(&stage, "auto", &steps).await;
    let want = [
        json!({"error": false, "text": "file:///srv"}),
        json!({"asked": "A colour?"}),
        json!({"error": false, "text": "blue"}),
    ];
    assert_eq!(asked, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn between_the_eras_nothing_is_asked_and_the_agent_is_told() {
    for (protocol, mode) in [("auto", "legacy"), ("earlier", "auto")] {
        let stage = Stage::open_asking(protocol, GATED, PASSES).await;
        let steps = json!([takes(), {"do": "call", "tool": "where"}]);
        let told = said(&stage, mode, &steps).await;
        assert_ne!(told[0]["error"], json!(false), "{told:?}");
        assert_eq!(stage.ran("where"), 0, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_started_the_shim_answers_a_server_that_the_gateway_started() {
    let stage = Stage::open_started_asking(GATED, PASSES).await;
    let steps = json!([takes(), {"do": "call", "tool": "where"}]);
    let ended = stage.desktop(&steps).ended().await;
    assert_eq!(ended.last(), Some(&json!({"error": false, "text": "file:///srv"})), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_sdk_is_asked_in_both_eras() {
    let mut stage = Stage::open_asking_typescript("auto", GATED, PASSES).await;
    let agent = stage.agent_typescript("auto", &json!([takes(), confirm()]));
    let mut before = String::new();
    for _ in 0..2 {
        let mut id = stage.approval("pending").await;
        while id == before {
            id = stage.approval("pending").await;
        }
        stage.vote(&id, "approve", None).await;
        before = id;
    }
    let ended = agent.ended().await;
    assert!(ended.contains(&json!({"asked": QUESTION, "url": null})), "{ended:?}");
    assert_eq!(ended.last(), Some(&json!({"error": false, "text": "orders: True"})), "{ended:?}");
    // A client of one SDK and a server of the other, in the era before.
    let mut stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let agent = stage.agent_typescript("legacy", &json!([takes(), confirm()]));
    let id = stage.approval("pending").await;
    stage.vote(&id, "approve", None).await;
    let ended = agent.ended().await;
    assert!(ended.contains(&json!({"asked": QUESTION, "url": null})), "{ended:?}");
    assert_eq!(ended.last(), Some(&json!({"error": false, "text": "orders: True"})), "{ended:?}");
}

/// A call of the later era of an agent's own making.
async fn asks(stage: &Stage, more: &Value) -> Value {
    let raw = hostile::raw(stage).await;
    let mut params = json!({
        "name": "confirm", "arguments": {"table": "orders"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        },
    });
    for (name, value) in more.as_object().unwrap() {
        params.as_object_mut().unwrap().insert(name.clone(), value.clone());
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let head = [
        ("mcp-session-id", None),
        ("mcp-protocol-version", Some("2026-07-28")),
        ("mcp-method", Some("tools/call")),
        ("mcp-name", Some("confirm")),
    ];
    let text = raw.send(Method::POST, &stage.token, body, &head).await.text().await.unwrap();
    let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
    serde_json::from_str(last.unwrap_or(&text)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_good_for_its_own_question_and_call() {
    const PERMITTED: &str =
        r#"@id("agents") permit (principal in Group::"agents", action in Action::"mcp", resource);"#;
    let stage = Stage::open_asking("auto", PERMITTED, PASSES).await;
    let asked = asks(&stage, &json!({})).await;
    assert_eq!(asked.pointer("/result/resultType"), Some(&json!("input_required")), "{asked}");
    let state = asked.pointer("/result/requestState").unwrap();
    let questions = asked.pointer("/result/inputRequests").and_then(Value::as_object).unwrap();
    let (key, question) = questions.iter().next().unwrap();
    assert_eq!(question.pointer("/params/message"), Some(&json!(QUESTION)));
    let yes = json!({key: {"action": "accept", "content": {"sure": true}}});
    for (what, more) in [
        (
            "another call",
            json!({"inputResponses": yes, "requestState": state, "arguments": {"table": "customers"}}),
        ),
        ("another state", json!({"inputResponses": yes, "requestState": "round.e30.AAAA"})),
        ("no answer", json!({"inputResponses": {key: true}, "requestState": state})),
    ] {
        let told = asks(&stage, &more).await;
        assert_eq!(told.pointer("/error/code"), Some(&json!(-32602)), "{what}: {told}");
    }
    // Without what was carried nobody has asked: the server is not told, and asks.
    let again = asks(&stage, &json!({"inputResponses": yes})).await;
    assert_eq!(again.pointer("/result/resultType"), Some(&json!("input_required")), "{again}");
    assert_eq!(stage.ran("confirm"), 0);
    let extra =
        json!({key: {"action": "accept", "content": {"sure": true}}, "unasked": {"action": "accept"}});
    let done = asks(&stage, &json!({"inputResponses": extra, "requestState": state})).await;
    assert!(done.to_string().contains("orders: True"), "{done}");
    until("it ran", || stage.ran("confirm") == 1).await;
    let sent =
        stage.log().iter().filter_map(|line| line.get("body")?.as_str().map(str::to_owned)).next_back();
    assert!(!sent.unwrap().contains("unasked"), "what nobody asked for goes nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_nothing_is_refused() {
    let stage = Stage::open_asking("earlier", GATED, PASSES).await;
    let raw = hostile::raw(&stage).await;
    for id in [json!(1), json!("ask-0-0")] {
        let body = json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept"}}).to_string();
        assert_eq!(raw.status(&body, &[]).await, 400, "{id}");
    }
}
