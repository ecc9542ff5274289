//! Servers that are shell scripts, started as configured ones are.

use super::*;
use crate::{config::McpSection, upstream::Reach};
use serde_json::{Value, json};
use std::path::Path;

const WITHIN: Duration = Duration::from_mins(1);

/// How a script is started, with more of a `run` section.
fn launch(script: &str, more: &Value) -> Launch {
    let mut run = json!({"command": ["sh", "-c", script]});
    for (key, value) in more.as_object().into_iter().flatten() {
        run[key] = value.clone();
    }
    let section = json!({"name": "files", "environment": "prod", "listen": "127.0.0.1:0", "run": run});
    let target = serde_json::from_value::<McpSection>(section).unwrap().check(Path::new(".")).unwrap();
    match Arc::into_inner(target.way).unwrap().reach {
        Reach::Process(launch) => launch,
        Reach::Http(_) => panic!("it is started here"),
    }
}

async fn started(script: &str) -> Arc<Process> {
    launch(script, &json!({})).start(1 << 20).await.unwrap()
}

/// All that comes for one request, the answer last.
async fn asked(process: &Arc<Process>, message: &'static str) -> Result<Vec<String>, Failed> {
    let mut talk = Process::post(Arc::clone(process), message.into()).await?;
    let mut all = Vec::new();
    loop {
        let message = talk.next(WITHIN).await?.unwrap();
        all.push(String::from_utf8(message.to_vec()).unwrap());
        if matches!(frame::read(&message), Ok(Message::Response { .. })) {
            return Ok(all);
        }
    }
}

const ASK: &str = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":7}}}"#;

#[tokio::test]
async fn a_server_has_the_environment_and_the_limits_that_are_written_and_no_others() {
    let script = r#"read -r line
        names=$(env | cut -d= -f1 | grep -v '^_$' | grep -v '^OLDPWD$' | sort | tr '\n' ' ')
        printf '{"jsonrpc":"2.0","id":1,"result":"%s%s %s %s"}\n' "$names" "$GREETING" "$TOKEN" "$(ulimit -n)"
        cat >/dev/null"#;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let more = json!({
        "environment": {"GREETING": "hello"}, "secrets": {"TOKEN": format!("file:{}", secret.display())}, "open_files": 77,
    });
    let launch = launch(script, &more);
    assert!(!format!("{launch:?} {launch}").contains("hunter2"));
    let process = launch.start(1 << 20).await.unwrap();
    let answer = asked(&process, ASK).await.unwrap().remove(0);
    assert_eq!(answer, r#"{"jsonrpc":"2.0","id":1,"result":"GREETING PATH PWD TOKEN hello hunter2 77"}"#);
}

#[tokio::test]
async fn answers_find_their_requests_and_a_server_may_ask_only_whether_the_gateway_is_there() {
    let script = r#"read -r line
        echo 'a banner'
        echo '{"jsonrpc":"2.0","id":"p","method":"ping"}'
        read -r pong
        echo '{"jsonrpc":"2.0","id":"e","method":"elicitation/create","params":{}}'
        read -r no
        echo '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":8,"progress":1}}'
        echo '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":2}}'
        echo '{"jsonrpc":"2.0","id":2,"result":{}}'
        printf '{"jsonrpc":"2.0","id":1,"result":[%s,%s]}\n' "$pong" "$no"
        cat >/dev/null"#;
    let process = started(script).await;
    let all = asked(&process, ASK).await.unwrap();
    assert_eq!(
        all,
        [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":2}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[{"jsonrpc":"2.0","id":"p","result":{}},{"jsonrpc":"2.0","id":"e","error":{"code":-32601,"message":"nobody is here who could be asked"}}]}"#,
        ]
    );
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#;
const OTHER: &str = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"b"}}"#;

#[tokio::test]
async fn a_question_goes_to_the_only_call_it_can_be_asked_in_and_to_no_other() {
    // It asks while two calls are under way, and once more when one is left.
    let script = r#"read -r first; read -r second
        echo '{"jsonrpc":"2.0","id":"x","method":"elicitation/create","params":{"n":1}}'
        read -r whose
        printf '{"jsonrpc":"2.0","id":2,"result":%s}
' "$whose"
        echo '{"jsonrpc":"2.0","id":"y","method":"elicitation/create","params":{"n":2}}'
        echo '{"jsonrpc":"2.0","id":1,"result":{}}'
        cat >/dev/null"#;
    let process = started(script).await;
    let mut first = Process::post(Arc::clone(&process), CALL.into()).await.unwrap();
    let second = asked(&process, OTHER).await.unwrap();
    let refused = method::refusal("\"x\"", WHOSE);
    assert_eq!(second, [format!(r#"{{"jsonrpc":"2.0","id":2,"result":{refused}}}"#)]);
    let question = first.next(WITHIN).await.unwrap().unwrap();
    assert_eq!(question, r#"{"jsonrpc":"2.0","id":"y","method":"elicitation/create","params":{"n":2}}"#);
}

#[tokio::test]
async fn a_question_that_its_call_does_not_stay_for_is_refused_and_goes_to_no_other_call() {
    let script = r#"read -r first
        echo '{"jsonrpc":"2.0","id":"x","method":"elicitation/create","params":{}}'
        read -r unread
        read -r second
        echo '{"jsonrpc":"2.0","id":"y","method":"elicitation/create","params":{}}'
        read -r whose
        printf '{"jsonrpc":"2.0","id":2,"result":[%s,%s]}
' "$unread" "$whose"
        cat >/dev/null"#;
    let process = started(script).await;
    let first = Process::post(Arc::clone(&process), CALL.into()).await.unwrap();
    // It stays until the question has come, and reads nothing.
    let begun = Instant::now();
    while process.shared.waiting.lock().iter().all(|waiting| waiting.told.capacity() == AHEAD) {
        assert!(begun.elapsed() < WITHIN);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(first);
    let second = asked(&process, OTHER).await.unwrap();
    let (unread, whose) = (method::refusal("\"x\"", OVER), method::refusal("\"y\"", WHOSE));
    assert_eq!(second, [format!(r#"{{"jsonrpc":"2.0","id":2,"result":[{unread},{whose}]}}"#)]);
}

#[tokio::test]
async fn more_calls_given_up_than_are_remembered_let_no_question_through() {
    // It is still at work for the first, and answers all the others late.
    let script = r#"for each in $(seq 70); do read -r line; done
        for each in $(seq 2 70); do printf '{"jsonrpc":"2.0","id":%s,"result":{}}\n' "$each"; done
        read -r call
        echo '{"jsonrpc":"2.0","id":"x","method":"elicitation/create","params":{}}'
        read -r whose
        printf '{"jsonrpc":"2.0","id":71,"result":%s}\n' "$whose"
        cat >/dev/null"#;
    let process = started(script).await;
    let call =
        |id: u32| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a"}}}}"#);
    for id in 1..=70 {
        drop(Process::post(Arc::clone(&process), call(id).into()).await.unwrap());
    }
    let mut talk = Process::post(Arc::clone(&process), call(71).into()).await.unwrap();
    let answer = talk.next(WITHIN).await.unwrap().unwrap();
    assert_eq!(
        answer,
        format!(r#"{{"jsonrpc":"2.0","id":71,"result":{}}}"#, method::refusal("\"x\"", WHOSE))
    );
}

#[tokio::test]
async fn a_line_that_is_too_long_for_a_listener_is_known_to_be_missing_at_once() {
    let script = r#"read -r line
        printf '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%0300000d"}}\n' 0
        printf '{"jsonrpc":"2.0","id":"x","method":"elicitation/create","params":{"message":"%0300000d"}}\n' 0
        read -r refused
        printf '{"jsonrpc":"2.0","id":1,"result":%s}\n' "$refused"
        cat >/dev/null"#;
    let process = started(script).await;
    let mut coming = process.listen();
    let answer = asked(&process, ASK).await.unwrap().remove(0);
    assert!(answer.contains("longer than is passed on"), "a question as long is refused: {answer}");
    assert!(coming.recv().await.is_some_and(|line| line.is_empty()));
    assert!(process.has_left_out());
}

#[tokio::test]
async fn what_is_too_much_for_a_listener_is_known_to_be_missing() {
    let script = r#"read -r line
        for each in $(seq 33); do echo '{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'; done
        echo '{"jsonrpc":"2.0","id":1,"result":{}}'
        cat >/dev/null"#;
    let process = started(script).await;
    let mut coming = process.listen();
    asked(&process, ASK).await.unwrap();
    assert_eq!(coming.lines.len(), UNHEARD);
    assert!(coming.recv().await.is_some());
    assert!(process.has_left_out() && !process.has_left_out());
}

#[tokio::test]
async fn a_server_that_ends_is_lost_from_sight_and_the_next_one_waits_its_turn() {
    let launch = launch("read -r line; exit 3", &json!({}));
    assert!(!launch.pauses.lock().is_earned());
    let process = launch.start(1 << 20).await.unwrap();
    let failed = asked(&process, ASK).await.unwrap_err();
    assert_eq!(
        (failed.sent, failed.why.as_str()),
        (Sent::Maybe, "the server's process ended before it answered")
    );
    process.shared.ended.cancelled().await;
    let failed = asked(&process, ASK).await.unwrap_err();
    assert_eq!(failed.sent, Sent::No);
    assert!(process.has_ended());
    assert!(launch.pauses.lock().is_earned());
}

#[tokio::test]
async fn a_line_that_is_longer_than_is_read_ends_the_server() {
    let process =
        launch("read -r line; head -c 100000 /dev/zero; cat", &json!({})).start(1000).await.unwrap();
    assert_eq!(asked(&process, ASK).await.unwrap_err().sent, Sent::Maybe);
}

#[tokio::test]
async fn no_more_processes_run_than_may() {
    let launch = launch("cat >/dev/null", &json!({"processes": 1}));
    let first = launch.start(1 << 20).await.unwrap();
    let failed = launch.start(1 << 20).await.unwrap_err();
    assert_eq!(failed.why, "as many of the server's processes run as may");
    let shared = Arc::clone(&first.shared);
    drop(first);
    shared.ended.cancelled().await;
}

/// Whether a process is there and at work.
fn lives(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[tokio::test]
async fn whatever_a_server_started_ends_with_it() {
    // Neither the end of its input nor a request to end impresses what it started.
    let script = r#"(trap '' TERM HUP; while :; do sleep 1000; done) </dev/null >/dev/null 2>&1 &
        read -r line
        printf '{"jsonrpc":"2.0","id":1,"result":"%s %s"}\n' "$$" "$!"
        cat >/dev/null"#;
    let process = started(script).await;
    let answer: Value = serde_json::from_str(&asked(&process, ASK).await.unwrap().remove(0)).unwrap();
    let ids: Vec<String> = answer["result"].as_str().unwrap().split(' ').map(str::to_owned).collect();
    assert!(ids.iter().all(|id| lives(id)), "{ids:?}");
    process.stop();
    process.shared.ended.cancelled().await;
    let begun = Instant::now();
    while ids.iter().any(|id| lives(id)) {
        assert!(begun.elapsed() < WITHIN, "{ids:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
