//! Slack beside the real binary: one message for each approval, whatever dies in between.

mod socket;
pub(crate) mod speaks;

use crate::{Stage, driver, has_text};
use countersign_demo::person::Strength;
use countersign_e2e::client::python;
use countersign_testkit::slack::{CHANNEL, Message, Slack, TOKEN, person::SECRET};
use serde_json::Value;

/// Asks the verifier of Slack's own library about requests, and compares what it says with what was made of them.
const VERIFY: &str = r#"
import json, sys
sys.path.insert(0, sys.argv[1])
from slack_sdk.signature import SignatureVerifier
verifier = SignatureVerifier(sys.argv[3])
requests = json.load(open(sys.argv[2]))
for request in requests:
    headers = {"X-Slack-Request-Timestamp": None, "X-Slack-Signature": None}
    headers.update({name.title(): value for name, value in request["headers"].items()})
    fine = headers["X-Slack-Signature"] is not None and verifier.is_valid_request(request["body"], headers)
    assert fine == request["fine"], request
print(len(requests))
"#;

/// Has the library look at requests: each with what is thought of it here, as `fine`.
async fn library_agrees(stage: &Stage, requests: &[Value]) {
    let file = stage.gateway.folder().join("requests.json");
    std::fs::write(&file, Value::from(requests.to_vec()).to_string()).unwrap();
    let (library, file) = (driver("slack"), file.display().to_string());
    let said = python(VERIFY, &[&library, &file, SECRET]).await.unwrap();
    assert_eq!(String::from_utf8(said).unwrap().trim(), requests.len().to_string());
}

fn section(slack: &Slack, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"dba\"\nkind = \"slack\"\ntoken_from = \"file:token\"\nchannel = \"{CHANNEL}\"\n\
         api = \"{}\"\n{more}\n",
        slack.api()
    )
}

fn roots(messages: &[Message]) -> Vec<&Message> {
    messages.iter().filter(|message| message.thread.is_none()).collect()
}

fn lines(messages: &[Message], of: &Message) -> Vec<String> {
    let under = messages.iter().filter(|message| message.thread.as_ref() == Some(&of.ts));
    under.map(|message| message.text.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_lives_through_an_approval_and_a_kill_in_between_posts_no_second() {
    let slack = Slack::start().await.unwrap();
    let mut stage = Stage::open(&section(&slack, "")).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    let test = slack.messages();
    assert_eq!(test.len(), 1);
    slack.delete(&test[0].ts);

    // Slack takes the message and the answer is lost; then the gateway dies.
    slack.trouble(|trouble| trouble.lost = 1);
    stage.ask("DELETE", "logs").await;
    slack.until("the first message", |messages| roots(messages).len() == 1).await.unwrap();
    stage.gateway.kill().unwrap();
    stage.gateway.restart().await.unwrap();
    let waiting = stage.gateway.approvals("pending").await.unwrap();
    let id = waiting[0]["id"].as_str().unwrap().to_owned();
    assert!(ana.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    // The message may show how it stands before the lines say how it came there.
    let ran = |messages: &[Message], root: &Message| {
        lines(messages, root).iter().any(|line| line == "It runs now.")
    };
    let done = |messages: &[Message]| {
        let shown = roots(messages).into_iter().find(|root| has_text(&root.blocks, "Approved and done"));
        shown.is_some_and(|root| ran(messages, root))
    };
    let messages = slack.until("the end in the message", done).await.unwrap();
    let roots = roots(&messages);
    assert_eq!(roots.len(), 1, "posted once: {:?}", slack.calls());
    let root = roots[0];
    for text in [
        "Drop the table “logs” (prod).",
        "what is deleted is gone",
        "DELETE /tables/logs",
        "See it in Countersign",
    ] {
        assert!(has_text(&root.blocks, text), "{text}: {:?}", root.blocks);
    }
    assert!(
        root.before.iter().all(|(_, blocks)| has_text(blocks, "DELETE /tables/logs")),
        "nothing is taken out"
    );
    let lines = lines(&messages, root);
    assert!(lines.iter().any(|line| line.contains("approved: `deletes` 1 of 1.")), "{lines:?}");
    assert!(lines.iter().any(|line| line == "It runs now."), "{lines:?}");
    let shown = stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    let log = stage.gateway.log();
    assert!(!shown.contains(TOKEN) && !log.contains(TOKEN));
    assert!(shown.contains(&format!("{}, {CHANNEL}", slack.api().trim_end_matches("/api/"))), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_stands_in_the_message_and_a_wrong_token_is_told_to_whoever_tries_it() {
    let slack = Slack::start().await.unwrap();
    let stage = Stage::open(&section(&slack, "show = 0")).await;
    let mut ana = stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.ask("DELETE", "logs").await;
    let messages = slack.until("the message", |messages| messages.len() == 1).await.unwrap();
    assert!(has_text(&messages[0].blocks, "Not all of it is shown here"), "{:?}", messages[0].blocks);
    assert!(!has_text(&messages[0].blocks, "DELETE /tables/logs"));
    let waiting = stage.gateway.approvals("pending").await.unwrap();
    let id = waiting[0]["id"].as_str().unwrap();
    let why = "<!channel> not *tonight*";
    assert!(ana.vote(id, "reject", Strength::Session, Some(why)).await.unwrap().is_success());
    let rejected = |messages: &[Message]| has_text(&messages[0].blocks, "Rejected because");
    let messages = slack.until("the rejection", rejected).await.unwrap();
    assert!(has_text(&messages[0].blocks, "`&lt;!channel&gt; not *tonight*`"), "{:?}", messages[0].blocks);
    std::fs::write(stage.gateway.folder().join("token"), "xoxb-another").unwrap();
    let said = stage.gateway.command(&["channel", "test", "dba"]).await.unwrap_err().to_string();
    assert!(said.contains("`dba` was not told: Slack refused `auth.test`: the token is not valid"), "{said}");
    assert!(!said.contains("xoxb-another"), "{said}");
}
