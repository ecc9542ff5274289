//! Messages as blocks: within every limit, whole or not to be decided, and nothing in them that anybody else wrote means
//! anything to Slack.

use crate::{
    corpus::hides,
    stage::{CORPUS, asks_for, held, message},
};
use countersign_core::Assurance;
use countersign_reviewer::{Drawn, draw, message::Message};
use countersign_testkit::slack::blocks::{self, MOST_IN_MESSAGE, controls, texts_of};
use serde_json::Value;

/// What the buttons carry here.
const VALUE: &str = "opaque";

fn drawn(text: &str, body: &str) -> (Message, Drawn) {
    let (hold, action) = held(text, body);
    let mut message = message(&hold, Some(&action), Some(8192));
    asks_for(&mut message, Assurance::Chat);
    let drawn = draw(&message, Some(VALUE));
    (message, drawn)
}

/// The texts in which Slack reads marks, without what stands in code.
fn outside_code(blocks: &[Value]) -> String {
    let mut outside = String::new();
    for text in texts_of(blocks, "mrkdwn") {
        for (at, part) in text.split("```").enumerate() {
            if at % 2 == 1 {
                continue;
            }
            outside.extend(part.split('`').step_by(2));
            assert_eq!(part.matches('`').count() % 2, 0, "code that does not end: {text}");
        }
        assert_eq!(text.matches("```").count() % 2, 0, "a fence that does not end: {text}");
    }
    outside
}

/// What stands in fences: the bytes.
fn fenced(drawn: &Drawn) -> String {
    let texts = texts_of(&drawn.blocks, "mrkdwn");
    let inner = texts.iter().filter_map(|text| text.strip_prefix("```\n")?.strip_suffix("\n```"));
    let text = inner.collect::<String>();
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("⟨U+0060⟩", "`")
}

fn has_button(drawn: &Drawn, action: &str) -> bool {
    drawn
        .blocks
        .iter()
        .flat_map(|block| block["elements"].as_array().into_iter().flatten())
        .any(|element| element["action_id"] == action)
}

/// Marks of Slack's own.
pub(crate) const MARKS: [&str; 8] = [
    "*bold* _it_ ~gone~ :white_check_mark: > quoted",
    "`code` and ```fence``` and `",
    "<!channel> <!here> <@U0123456789> <#C0123456789> <!subteam^S1>",
    "<https://evil.example|Review in Countersign> https://evil.example",
    "<!date^1^{date}|x> &lt;!channel&gt; &amp;lt;",
    "line\n*Approved by everybody*\n✅ `deletes`",
    " spaced ",
    "",
];

/// That nothing between the two marks `zqz`, as somebody wrote it, means anything, or hides.
pub(crate) fn means_nothing(text: &str, blocks: &[Value], hostile: &str) {
    assert_eq!(blocks::check(blocks, MOST_IN_MESSAGE), Ok(()), "{hostile:?}");
    for control in controls(blocks) {
        let ours =
            control.starts_with("!date^60^") || control.starts_with("https://sign.example/approvals/x|");
        assert!(ours, "{hostile:?} made `{control}`");
    }
    let outside = outside_code(blocks);
    assert!(!outside.contains("zqz"), "{hostile:?} stands in {outside}");
    let text = text.to_owned();
    for text in texts_of(blocks, "plain_text").iter().chain([&text]) {
        assert!(!text.contains(['<', '>', '\n']), "{hostile:?} in {text}");
    }
    for text in ["plain_text", "mrkdwn"].into_iter().flat_map(|kind| texts_of(blocks, kind)).chain([text]) {
        assert!(!hides(&text), "{hostile:?} in {text:?}");
    }
}

#[test]
fn whatever_anybody_wrote_means_nothing_to_slack() {
    for hostile in CORPUS.into_iter().chain(MARKS) {
        let hostile = format!("zqz{hostile}zqz");
        let (_, drawn) = drawn(&hostile, &hostile);
        means_nothing(&drawn.text, &drawn.blocks, &hostile);
    }
}

#[test]
fn it_offers_to_decide_only_where_all_of_it_is_shown() {
    for (body, whole) in [
        ("drop table logs".to_owned(), true),
        ("line & `line` <b>\n".repeat(60), true),
        ("🎈".repeat(1500), true),
        ("x".repeat(5000), true),
        ("x".repeat(8000), false),
        ("x".repeat(8193), false),
        ("&`\u{202e}".repeat(4000), false),
        ("drop table lo\u{200b}gs".to_owned(), false),
    ] {
        let (message, drawn) = drawn("logs", &body);
        assert_eq!(blocks::check(&drawn.blocks, MOST_IN_MESSAGE), Ok(()), "{} bytes", body.len());
        assert_eq!(drawn.decides, whole, "{} bytes", body.len());
        for button in ["approve", "reject"] {
            assert_eq!(has_button(&drawn, button), whole, "{} bytes", body.len());
        }
        if whole {
            assert_eq!(fenced(&drawn), format!("DELETE /x{body}"));
        } else {
            let said = texts_of(&drawn.blocks, "mrkdwn").concat();
            assert!(said.contains("Review in Countersign"), "{said}");
        }
        let link = draw(&message, None);
        assert!(!link.decides && !has_button(&link, "approve"), "nobody listens to buttons");
        assert!(controls(&link.blocks).iter().any(|control| control.ends_with("|Review in Countersign")));
    }
}

#[test]
fn what_asks_for_more_than_a_word_in_a_chat_is_approved_on_its_page_and_rejected_here() {
    for (assurance, title) in
        [(Assurance::Passkey, "Approve with a passkey"), (Assurance::Session, "Approve in Countersign")]
    {
        let (mut message, _) = drawn("logs", "drop");
        asks_for(&mut message, assurance);
        let leads = draw(&message, Some(VALUE));
        assert_eq!(blocks::check(&leads.blocks, MOST_IN_MESSAGE), Ok(()));
        assert!(leads.decides && has_button(&leads, "reject") && !has_button(&leads, "approve"));
        let buttons = leads.blocks.iter().filter_map(|block| block["elements"].as_array()).flatten();
        let leads: Vec<_> =
            buttons.filter(|button| button["text"]["text"] == title).map(|button| &button["url"]).collect();
        assert_eq!(leads, ["https://sign.example/approvals/x/decide"]);
        // One gate that a word lifts: then the word is offered.
        let mut word = message.asks[0].clone();
        (word.assurance, word.in_chat) = (Assurance::Chat, true);
        message.asks.push(word);
        assert!(has_button(&draw(&message, Some(VALUE)), "approve"));
        // A sign-in that is asked for beside it is more than a word.
        message.asks[1].in_chat = false;
        assert!(!has_button(&draw(&message, Some(VALUE)), "approve"));
    }
}

#[test]
fn whatever_is_too_long_is_counted_and_then_nothing_is_decided_here() {
    let long = "a".repeat(3_000);
    for which in 0..9 {
        let (hold, action) = held("logs", "drop");
        let mut message = message(&hold, Some(&action), Some(8192));
        let ask = message.asks[0].clone();
        match which {
            0 => message.computed.sentence.clone_from(&long),
            1 => message.claimed.reason = Some(long.clone()),
            2 => message.rejection = Some(long.clone()),
            3 => message.drifted = Some(long.clone()),
            4 => message.computed.resources = vec![long.clone()],
            5 => message.asks[0].reason.clone_from(&long),
            6 => message.asks = vec![ask; 60],
            7 => message.computed.facts = (0..60).map(|at| (format!("f{at}"), long.clone().into())).collect(),
            _ => message.computed.operation = Some(long.clone()),
        }
        let drawn = draw(&message, Some(VALUE));
        assert_eq!(blocks::check(&drawn.blocks, MOST_IN_MESSAGE), Ok(()), "{which}");
        assert!(!drawn.decides, "{which}");
        let said =
            [texts_of(&drawn.blocks, "mrkdwn"), texts_of(&drawn.blocks, "plain_text")].concat().concat();
        assert!(said.contains("characters more") || said.contains("… and"), "{which}: {said}");
    }
}

#[test]
fn a_state_is_told_in_words_and_what_is_decided_offers_nothing() {
    let (hold, action) = held("logs", "drop");
    let mut message = message(&hold, Some(&action), Some(8192));
    message.offers = countersign_reviewer::message::Offer::Nothing;
    for (state, words) in [
        ("granted", "Approved, not run yet"),
        ("executing", "running"),
        ("done", "done"),
        ("cancelled", "Stopped"),
        ("unknown", "unknown"),
        ("rejected", "Rejected"),
        ("withdrawn", "Withdrawn"),
        ("lapsed", "Lapsed"),
        ("revoked", "revoked"),
    ] {
        message.state = state.into();
        let drawn = draw(&message, Some(VALUE));
        assert_eq!(blocks::check(&drawn.blocks, MOST_IN_MESSAGE), Ok(()));
        assert!(drawn.blocks[0]["text"]["text"].as_str().unwrap().contains(words), "{state}");
        assert!(!drawn.decides && !has_button(&drawn, "approve"), "{state}");
        // Keeps what it was about.
        assert!(fenced(&drawn).contains("DELETE /x"), "{state}");
    }
}
