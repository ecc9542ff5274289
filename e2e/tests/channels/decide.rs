//! From a message in a chat to the decision, with a browser and a passkey: where a word in a chat is not worth enough, its
//! button leads to the page on which one touch decides.

use crate::{
    Stage, picture,
    slack::speaks::{Room as SlackRoom, Way},
    teams,
};
use countersign_e2e::{browser::Browser, ledger, night};
use countersign_testkit::teams::cards::links;
use serde_json::Value;

const TITLE: &str = "Approve with a passkey";

/// Where the button leads in Slack, and whether a word in Slack is offered beside it.
fn in_slack(blocks: &[Value]) -> (String, bool) {
    let buttons: Vec<&Value> =
        blocks.iter().filter_map(|block| block["elements"].as_array()).flatten().collect();
    let led = buttons.iter().find(|button| button["text"]["text"] == TITLE).unwrap();
    let offered = buttons.iter().any(|button| button["action_id"] == "approve");
    (led["url"].as_str().unwrap().to_owned(), offered)
}

/// Follows the link signed in: all of what runs is there, and one touch of the passkey approves it.
async fn approves(browser: &Browser, stage: &Stage, link: &str) {
    let id = stage.gateway.approval("pending").await.unwrap();
    assert_eq!(link, format!("{}/approvals/{id}/decide", stage.gateway.console_url));
    browser.go(link).await.unwrap();
    touches(browser, stage, &id).await;
}

async fn touches(browser: &Browser, stage: &Stage, id: &str) {
    let shown = browser.until_text("main", "what is out is out").await.unwrap();
    for words in [
        "Export the table “logs” (prod).",
        "POST /tables/logs/export",
        "Who may decide this changed lately",
        "Approve with your passkey",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(browser.overflow().await.unwrap(), 0);
    picture(browser, "decide").await;
    browser.click("#approve").await.unwrap();
    // It runs, and the page stays where it is and says so.
    assert_eq!(stage.gateway.approval("done").await.unwrap(), id);
    browser.until_text("main", "Done").await.unwrap();
    let at = browser.page.current_url().await.unwrap();
    assert_eq!(at.path(), format!("/approvals/{id}/decide"));
    picture(browser, "decided").await;
    let entries = ledger::read(&night::export(&stage.gateway).await.unwrap()).unwrap();
    let vote = entries.iter().rev().find(|entry| entry.kind == "approval.voted").unwrap();
    assert_eq!(vote.text("/assurance"), "passkey");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_in_slack_leads_to_one_touch_of_a_passkey() {
    let room = SlackRoom::open(Way::Address).await;
    let browser = room.stage.browser("ana@example.com", 390).await;
    room.stage.ask("POST", "logs/export").await;
    let message = room.message(1).await;
    let (link, offered) = in_slack(&message.blocks);
    assert!(!offered, "{:?}", message.blocks);
    // Slack tells of the press on a link too: nothing is said to it, and nothing is decided.
    room.taken(&room.slack.click(&message, "U0000000001", "decide").unwrap()).await;
    approves(&browser, &room.stage, &link).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_signs_in_and_comes_back_to_the_decision() {
    let room = teams::Room::open().await;
    let browser = room.stage.browser("ana@example.com", 1280).await;
    room.stage.ask("POST", "logs/export").await;
    let message = room.message(1).await;
    let (_, link) = links(&message.card).into_iter().find(|(title, _)| title == TITLE).unwrap();
    let id = room.newest().await;
    // Away from pages that go to the sign-in by themselves.
    let console = &room.stage.gateway.console_url;
    browser.page.goto(&format!("{console}/assets/console.css")).await.unwrap();
    browser.page.delete_all_cookies().await.unwrap();
    browser.page.goto(&link).await.unwrap();
    let shown = browser.until_text("main", "Sign in with a passkey").await.unwrap();
    assert!(!shown.contains("logs"), "nobody sees what is asked who is nobody: {shown}");
    browser.click("#sign-in-button").await.unwrap();
    touches(&browser, &room.stage, &id).await;
}
