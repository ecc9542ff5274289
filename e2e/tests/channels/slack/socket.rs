//! Socket Mode beside the real binary: a gateway that Slack cannot reach, and Slack's own client beside the server of the tests.

use super::speaks::{Room, Way, newest};
use crate::{driver, has_text};
use countersign_testkit::slack::{
    Slack, TOKEN,
    person::{Request, SECRET, now},
    socket::{APP_TOKEN, Link},
};
use serde_json::json;
use std::process::Stdio;
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_an_address_is_heard_over_a_kill_and_says_whether_its_connection_stands() {
    let mut room = Room::open(Way::Socket).await;
    let mut ana = room.person("ana@example.com").await;
    room.bind(&mut ana, "U0000000001").await;
    let standing = room.stage.until("the connection", |channel| channel["listening_since"].is_string()).await;
    assert!(standing["unread_error"].is_null(), "{standing}");
    let tested = room.stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    assert_eq!(tested["listening_since"], standing["listening_since"]);
    assert_eq!(room.slack.greeted(), 1, "a test opens no connection of its own");
    // Nothing is taken in at an address, whoever signed it.
    let hello = json!({"type": "url_verification", "challenge": "c4l1"}).to_string();
    let signed = Request::signed(SECRET, now(), "application/json", hello);
    let (status, body) = room.post(&signed).await;
    assert!(status == 404 && !body.contains("c4l1"), "{status} {body}");

    // Posted by one gateway, decided at the next.
    room.stage.ask("PATCH", "logs").await;
    let message = room.message(2).await;
    let id = newest(&room).await;
    room.stage.gateway.kill().unwrap();
    room.slack.comes("the end of it", |slack| (slack.connections() == 0).then_some(())).await.unwrap();
    room.stage.gateway.restart().await.unwrap();
    room.slack.comes("a connection", |slack| (slack.greeted() >= 2).then_some(())).await.unwrap();
    let before = room.slack.told().len();
    room.taken(&room.slack.click(&message, "U0000000001", "approve").unwrap()).await;
    let told = room.told(before).await;
    assert!(told.contains("Your approval counts"), "{told}");
    let ended = |slack: &Slack| {
        let ends =
            |message: &countersign_testkit::slack::Message| has_text(&message.blocks, "Approved and done");
        slack.messages().iter().any(ends).then_some(())
    };
    room.slack.comes("the end in the message", ended).await.unwrap();
    assert!(!room.is(&id, "pending").await);
    // Somebody else has the app's token: whoever lists the channels sees that, on the page as well.
    room.slack.others(1);
    room.slack.asks_to_leave("refresh_requested", Link::Newest).unwrap();
    let warned = room.stage.until("the warning", |channel| channel["warning"].is_string()).await;
    assert!(warned["warning"].as_str().unwrap().contains("somebody else may hold"), "{warned}");
    let page = String::from_utf8(ana.page("/channels").await.unwrap().body).unwrap();
    assert!(page.contains("Not alone") && page.contains("somebody else may hold"), "{page}");
    room.slack.others(0);
    // While nobody is heard the gateway says so, and posts go on.
    room.slack.socket_mode(false);
    let deaf = room.stage.until("it is said", |channel| channel["unread_error"].is_string()).await;
    assert!(deaf["listening_since"].is_null(), "{deaf}");
    // The gateway may just have posted, and Slack takes a message a second.
    let said = loop {
        let said = room.stage.gateway.command(&["channel", "test", "dba"]).await.unwrap_err().to_string();
        if !said.contains("asks for fewer calls") {
            break said;
        }
    };
    assert!(said.contains("nobody is heard there") && said.contains("link_disabled"), "{said}");
    assert_eq!(room.slack.faults(), Vec::<String>::new());
    let shown = room.stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    let log = room.stage.gateway.log();
    for secret in [TOKEN, APP_TOKEN, "ticket-"] {
        assert!(!shown.contains(secret) && !log.contains(secret), "{secret}");
    }
}

/// Connects as Slack's own client does, acknowledges what comes, and says what it saw line by line.
const CLIENT: &str = r"
const { SocketModeClient } = require(process.argv[1] + '/node_modules/@slack/socket-mode');
const quiet = { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel: () => 'error', setName() {} };
const client = new SocketModeClient({
  appToken: process.argv[3], logger: quiet, clientPingTimeout: 10000,
  clientOptions: { slackApiUrl: process.argv[2], retryConfig: { retries: 0 }, logger: quiet },
});
const say = (line) => process.stdout.write(line + '\n');
client.on('connected', () => say('connected'));
client.on('interactive', async ({ body, ack }) => { await ack(); say('interactive ' + body.type); });
client.on('slash_commands', async ({ body, ack }) => { await ack({ text: 'heard' }); say('command ' + body.text); });
client.start().catch((error) => { say('refused ' + (error.data?.error ?? error.message)); process.exit(0); });
process.stdin.on('end', () => process.exit(0)).resume();
";

/// Runs Slack's client; it ends when its input does.
fn client(slack: &Slack, token: &str) -> tokio::process::Child {
    let arguments = ["-e", CLIENT, &driver("socket"), &slack.api(), token];
    let mut command = Command::new("node");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn output(mut client: tokio::process::Child) -> String {
    drop(client.stdin.take());
    String::from_utf8(client.wait_with_output().await.unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn slacks_own_client_takes_the_server_of_these_tests_for_slack() {
    let slack = Slack::start().await.unwrap();
    let connected = client(&slack, APP_TOKEN);
    slack.comes("a connection", |slack| (slack.connections() == 1).then_some(())).await.unwrap();
    for request in [slack.command("U0000000001", "status x"), slack.command("U0000000001", "bind")] {
        let envelope = slack.hand_in(&request, Link::Newest).unwrap();
        let payload = slack.comes("what it says", |slack| slack.acknowledged(&envelope)).await.unwrap();
        assert_eq!(payload["text"], "heard");
    }
    // It leaves when it is asked to, and comes back.
    for (greeted, reason) in [(2, "warning"), (3, "refresh_requested")] {
        slack.asks_to_leave(reason, Link::Newest).unwrap();
        slack.comes("another", |slack| (slack.greeted() >= greeted).then_some(())).await.unwrap();
        let request = slack.command("U0000000001", reason);
        let envelope = slack.hand_in(&request, Link::Newest).unwrap();
        slack.comes("what it says", |slack| slack.acknowledged(&envelope)).await.unwrap();
    }
    assert_eq!(slack.faults(), Vec::<String>::new());
    let said = output(connected).await;
    assert!(said.lines().filter(|line| *line == "connected").count() >= 3, "{said}");
    assert!(said.contains("command status x") && said.contains("command warning"), "{said}");
    // It is refused as Slack refuses it.
    let mut refused = client(&slack, "xapp-another");
    let open = refused.stdin.take();
    let said = tokio::time::timeout(crate::COMES_WITHIN, refused.wait_with_output()).await;
    drop(open);
    let said = said.unwrap().unwrap().stdout;
    assert_eq!(String::from_utf8(said).unwrap().trim(), "refused invalid_auth");
}
