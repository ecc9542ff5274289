//! Messages as cards: within the size of a message, whole or not to be decided, and nothing in them that anybody else wrote
//! means anything to Teams.

use crate::{
    corpus::hides,
    stage::{CORPUS, asks_for, held, message},
};
use countersign_core::Assurance;
use countersign_reviewer::{
    Card, card,
    message::{Message, Offer},
};
use countersign_testkit::teams::{
    LARGEST,
    cards::{button, check, fenced, links, says, texts_of},
};
use serde_json::Value;

/// What the buttons carry here.
const VALUE: &str = "opaque";

/// As held, with a gate that accepts a word in a chat.
pub(super) fn chat(text: &str, body: &str) -> Message {
    let (hold, action) = held(text, body);
    let mut message = message(&hold, Some(&action), Some(8192));
    asks_for(&mut message, Assurance::Chat);
    message
}

fn drawn(text: &str, body: &str) -> Card {
    card(&chat(text, body), Some(VALUE))
}

/// Markup of the cards' Markdown, of mentions, and of dates.
pub(crate) const MARKS: [&str; 8] = [
    "**bold** _it_ [Review in Countersign](https://evil.example) - list\r1. one",
    "<at>everybody</at> <b>x</b> &lt;b&gt; &amp;lt;",
    "{{DATE(2017-02-14T06:08:39Z, SHORT)}} {{{TIME(2017-02-14T06:08:39Z)}}}",
    "${$root.x} ${if(true, 'x', 'y')}",
    "line\n✅ deletes approved by everybody",
    "  spaced  out  ",
    "\"},{\"type\":\"TextBlock\",\"text\":\"x\"}",
    "",
];

/// That nothing between the two marks `zqz`, as somebody wrote it, means anything, or hides.
pub(crate) fn means_nothing(card: &Value, summary: &str, hostile: &str) {
    assert_eq!(check(card), Ok(()), "{hostile:?}");
    for text in texts_of(card, "TextBlock") {
        assert!(!text.contains("zqz"), "{hostile:?} stands where Markdown counts: {text}");
    }
    for run in texts_of(card, "TextRun") {
        assert!(!run.contains("{{") && !run.contains(['\n', '\r', '\t']), "{hostile:?} in {run:?}");
        assert!(!run.contains("  ") || !run.contains("zqz"), "spaces are lost: {run:?}");
        assert!(!hides(&run), "{hostile:?} in {run:?}");
    }
    for (title, url) in links(card) {
        let ours = ["Review in Countersign", "See it in Countersign"].contains(&&*title);
        assert!(ours && url == "https://sign.example/approvals/x", "{hostile:?}: {title} {url}");
    }
    assert!(!summary.contains(['\n', '\r', '\t']) && !hides(summary), "{summary:?}");
}

#[test]
fn whatever_anybody_wrote_means_nothing_to_teams() {
    for hostile in CORPUS.into_iter().chain(MARKS) {
        let hostile = format!("zqz{hostile}zqz");
        let drawn = drawn(&hostile, &hostile);
        means_nothing(&drawn.card, &drawn.summary, &hostile);
        assert!(texts_of(&drawn.card, "TextRun").iter().any(|run| run.contains("zqz")));
    }
}

#[test]
fn it_offers_to_decide_only_where_all_of_it_is_shown() {
    for (body, whole) in [
        ("drop table logs".to_owned(), true),
        ("  line \"quoted\"\n".repeat(60), true),
        ("🎈".repeat(1500), true),
        ("x".repeat(8000), true),
        ("\n".repeat(300), false),
        ("x".repeat(8193), false),
        ("🎈".repeat(8000), false),
        ("{{\u{202e}".repeat(2000), false),
        ("drop table lo\u{200b}gs".to_owned(), false),
    ] {
        let message = chat("logs", &body);
        let drawn = card(&message, Some(VALUE));
        assert_eq!(check(&drawn.card), Ok(()), "{} bytes", body.len());
        let size = drawn.card.to_string().len() + drawn.summary.len() + 600;
        assert!(size <= LARGEST, "{size} of {} bytes", body.len());
        assert_eq!(drawn.decides, whole, "{} bytes", body.len());
        for verb in ["approve", "reject"] {
            assert_eq!(button(&drawn.card, verb).is_some(), whole, "{} bytes", body.len());
        }
        if whole {
            let shown = fenced(&drawn.card).concat().replace('\u{a0}', " ");
            assert_eq!(shown, format!("DELETE /x{}", body.trim_end_matches('\n')), "{} bytes", body.len());
        } else {
            assert!(says(&drawn.card, "Decide where all of it is shown"), "{}", drawn.card);
        }
        let link = card(&message, None);
        assert!(!link.decides && button(&link.card, "approve").is_none(), "nobody listens to buttons");
        assert!(link.card["refresh"].is_null());
        assert_eq!(links(&link.card)[0].0, "Review in Countersign");
    }
}

#[test]
fn what_asks_for_more_than_a_word_in_a_chat_can_only_be_rejected_here() {
    for assurance in [Assurance::Session, Assurance::Passkey] {
        let mut message = chat("logs", "drop");
        asks_for(&mut message, assurance);
        let drawn = card(&message, Some(VALUE));
        assert!(button(&drawn.card, "approve").is_none(), "{assurance:?}");
        let reject = button(&drawn.card, "reject").unwrap();
        assert_eq!(reject["data"]["on"], VALUE);
        let title =
            if assurance == Assurance::Passkey { "Approve with a passkey" } else { "Approve in Countersign" };
        let page = "https://sign.example/approvals/x";
        let led = links(&drawn.card).into_iter().take(2).collect::<Vec<_>>();
        let leads = [(title, format!("{page}/decide")), ("Review in Countersign", page.to_owned())];
        assert_eq!(led, leads.map(|(title, link)| (title.to_owned(), link)));
        // A gate that was lifted asks for nothing any more.
        let mut lifted = message.asks[0].clone();
        (lifted.assurance, lifted.in_chat, lifted.lifted) = (Assurance::Chat, true, true);
        message.asks.push(lifted);
        assert!(button(&card(&message, Some(VALUE)).card, "approve").is_none(), "{assurance:?}");
        message.asks[1].lifted = false;
        assert!(button(&card(&message, Some(VALUE)).card, "approve").is_some(), "{assurance:?}");
    }
}

#[test]
fn whatever_is_too_long_is_counted_and_then_nothing_is_decided_here() {
    let long = "a".repeat(3_000);
    for which in 0..9 {
        let mut message = chat("logs", "drop");
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
        let drawn = card(&message, Some(VALUE));
        assert_eq!(check(&drawn.card), Ok(()), "{which}");
        assert!(drawn.card.to_string().len() < LARGEST, "{which}");
        assert!(!drawn.decides, "{which}");
        let said = says(&drawn.card, "characters more") || says(&drawn.card, "… and");
        assert!(said, "{which}: {}", drawn.card);
    }
}

#[test]
fn a_state_is_told_in_words_and_what_is_decided_offers_nothing() {
    let mut message = chat("logs", "drop");
    message.offers = Offer::Nothing;
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
        let drawn = card(&message, Some(VALUE));
        assert_eq!(check(&drawn.card), Ok(()));
        assert!(says(&drawn.card, words) && drawn.summary.contains(words), "{state}");
        assert!(!drawn.decides && button(&drawn.card, "reject").is_none(), "{state}");
        assert!(drawn.card["refresh"].is_null(), "{state}");
        assert_eq!(links(&drawn.card)[0].0, "See it in Countersign");
        // Keeps what it was about.
        assert!(fenced(&drawn.card).concat().contains("DELETE /x"), "{state}");
    }
}
