//! The one message about an approval as a Jira issue. Pure. Its description says what is asked and stays as it is while people
//! decide; how it goes stands in comments. What does not fit is counted.

use super::sheet::{Sheet, cost, cut, link, ours, title};
use crate::{
    channel::Letter,
    desk::{self, Told},
    message::{Ask, Message, Offer, RUNS, Request, Shown, names},
    ticket::Reply,
    words::{self, Piece},
};
use countersign_core::visible;
use serde_json::Value;

/// An issue as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub summary: String,
    pub description: Value,
    /// All there is to see stands in it, and nothing hides.
    pub whole: bool,
}

/// The longest summary that Jira takes.
const SUMMARY: usize = 255;
const SENTENCE: usize = 1_000;
const FIELD: usize = 300;
/// Lists of facts and of evidence, each, as JSON.
const LIST: usize = 3_000;
const LISTED: usize = 200;
/// Gates that are drawn.
const ASKS: usize = 8;
/// A drift, a claim.
const SAID: usize = 600;
/// The least that is shown of bytes that do not fit, as JSON, and the most.
const LEAST: usize = 500;
const GLIMPSE: usize = 4_000;
/// Of [`super::sheet::MOST`], for what says that something is missing.
const KEPT: usize = 1_000;

/// How parts of it begin, by which a copy is known.
pub(super) const HEADINGS: [&str; 4] = [RUNS, ASKED, REVIEW, OPEN];
const ASKED: &str = "Why people are asked, and whom";
const REVIEW: &str = "Review in Countersign";
const OPEN: &str = "Open Countersign";

/// The issue about an approval.
pub fn issue(message: &Message) -> Issue {
    let mut top = Sheet::default();
    let sentence = top.theirs(&message.computed.sentence, SENTENCE);
    top.paragraph(&sentence);
    fields(&mut top, message);
    let mut rest = Sheet::default();
    found(&mut rest, message);
    asks(&mut rest, message);
    claimed(&mut rest, message);
    let left = top.left().saturating_sub(rest.used()).saturating_sub(KEPT);
    let shown = message.request.as_ref().is_some_and(|asked| request(&mut top, asked, left));
    top.append(rest);
    let whole = shown && !top.cut && message.offers == Offer::Decide;
    how(&mut top, message, whole);
    Issue { summary: summary(message), description: top.document(), whole }
}

/// Nothing but where to see it, for when Jira does not take the issue.
pub(super) fn brief(message: &Message) -> Issue {
    let mut sheet = Sheet::default();
    how(&mut sheet, message, false);
    // Nothing of the action: whatever Jira did not take may have been its words.
    Issue { summary: format!("Approval {}", message.code), description: sheet.document(), whole: false }
}

fn summary(message: &Message) -> String {
    const COUNT: usize = 30;
    let whole = format!("{} · {}", message.code, message.computed.sentence);
    // Jira counts in units of UTF-16: as many characters as fit even where each takes two.
    let wide = whole.chars().filter(|one| one.len_utf16() == 2).count();
    let (line, left_out) = cut(&whole, (SUMMARY - COUNT).saturating_sub(wide));
    if left_out == 0 { line } else { format!("{line}… {left_out} characters more") }
}

fn fields(sheet: &mut Sheet, message: &Message) {
    let seen = &message.computed;
    let Some(asked_by) = message.asked_by() else { return };
    let mut lines = Vec::new();
    let mut field = |name: &str, text: &str| {
        let runs = sheet.theirs(text, FIELD);
        lines.push([vec![title(name), ours(" ")], runs].concat());
    };
    field("Asked by", &asked_by);
    for (name, people) in [("Owned by", &seen.owners), ("For", &seen.on_behalf_of)] {
        if !people.is_empty() {
            field(name, &names(people));
        }
    }
    field("Target", &format!("{} in {}", seen.target, seen.environment));
    field("What", &seen.kind());
    if !seen.resources.is_empty() {
        field("On", &seen.resources.join(", "));
    }
    if let Some(deadline) = message.deadline {
        field("Until", &deadline.to_string());
    }
    sheet.lines("", &lines, usize::MAX);
}

/// Whether all bytes are shown.
fn request(sheet: &mut Sheet, asked: &Request, left: usize) -> bool {
    let (parts, whole) = asked.shown(left, GLIMPSE, LEAST, cost);
    for part in parts {
        match part {
            Shown::Title(title) => sheet.heading(&title),
            Shown::Text(text) => sheet.fence(&text),
            Shown::Gap(gap) => sheet.warning(&gap),
        }
    }
    whole
}

fn found(sheet: &mut Sheet, message: &Message) {
    let mut lines = Vec::new();
    for (name, value) in message.computed.facts_in_words() {
        lines.push([sheet.theirs(name, LISTED), vec![ours(": ")], sheet.theirs(&value, LISTED)].concat());
    }
    sheet.lines("Read from it", &lines, LIST);
    let mut lines = Vec::new();
    for line in &message.computed.evidence {
        let (about, says) = (sheet.theirs(&line.about, LISTED), sheet.theirs(&line.says, LISTED));
        let source = sheet.theirs(&line.source, LISTED);
        lines.push([about, vec![ours(": ")], says, vec![ours(", from ")], source].concat());
    }
    sheet.lines("Found out beforehand", &lines, LIST);
}

/// Without how many have voted: that stands in comments, and the description stays the same.
fn asks(sheet: &mut Sheet, message: &Message) {
    let mut lines = Vec::new();
    for ask in message.asks.iter().take(ASKS) {
        lines.push(line_of(sheet, ask));
    }
    let more = message.asks.len().saturating_sub(ASKS);
    if more > 0 {
        sheet.cut = true;
        lines.push(vec![ours(&format!("… and {more} more"))]);
    }
    sheet.lines(ASKED, &lines, 2 * LIST);
    if let Some(why) = &message.drifted {
        sheet.heading("Why it waits again");
        let why = sheet.theirs(why, SAID);
        sheet.paragraph(&why);
    }
}

fn line_of(sheet: &mut Sheet, ask: &Ask) -> Vec<Value> {
    let (gate, reason) = (sheet.theirs(&ask.gate, LISTED), sheet.theirs(&ask.reason, LISTED));
    let approvers = sheet.theirs(&ask.approvers, LISTED);
    [gate, vec![ours(": ")], reason, vec![ours(" · ")], approvers].concat()
}

fn claimed(sheet: &mut Sheet, message: &Message) {
    let claims = &message.claimed;
    if claims.requester_name.is_empty() && claims.reason.is_none() {
        return;
    }
    let name = sheet.theirs(&claims.requester_name, FIELD);
    let reason =
        claims.reason.as_deref().map_or_else(|| vec![ours("no reason")], |said| sheet.theirs(said, SAID));
    let marked = vec![title(claims.marked)];
    sheet.panel("note", &[marked, [name, vec![ours(" says: ")], reason].concat()]);
}

/// Where to decide, and what is missing here.
fn how(sheet: &mut Sheet, message: &Message, whole: bool) {
    if message.hidden_characters {
        sheet.warning(
            "It hides characters, which are written out here as ⟨U+…⟩. Decide where all of it is shown.",
        );
    } else if !whole && message.state != "test" {
        sheet.warning("Not all of it is shown here. Decide where all of it is shown.");
    }
    let title = if message.state == "test" { OPEN } else { REVIEW };
    sheet.paragraph(&[link(title, &message.link)]);
}

/// The comment for one piece of news: what happened, and the entry of the ledger that proves it.
pub(super) fn step(letter: &Letter) -> Value {
    const NAME: usize = 200;
    const THEIRS: usize = 1_000;
    let mut sheet = Sheet::default();
    let step = words::step(letter);
    let mut runs = Vec::new();
    for piece in step.line {
        match piece {
            Piece::Ours(said) => runs.push(ours(&said)),
            Piece::Theirs(said) => runs.extend(sheet.theirs(&said, NAME)),
        }
    }
    sheet.paragraph(&runs);
    if let Some(said) = step.said {
        let said = sheet.theirs(&said, THEIRS);
        sheet.paragraph(&said);
    }
    let proof = format!(
        "Recorded as {} for action {} at {}. ",
        letter.news.entry, letter.message.code, letter.news.at
    );
    sheet.paragraph(&[ours(&proof), link("See it in Countersign", &letter.message.link)]);
    sheet.document()
}

/// The comment about something that somebody did.
pub(super) fn reply(reply: &Reply) -> Value {
    const NAME: usize = 200;
    let mut sheet = Sheet::default();
    let mut runs = Vec::new();
    if let Some(name) = &reply.to {
        runs.extend(sheet.theirs(&visible::name(name), NAME));
        runs.push(ours(": "));
    }
    let (words, linked) = said(&reply.told);
    runs.push(ours(&format!("{words} ")));
    runs.extend(linked.map(|(title, href)| link(title, href)));
    sheet.paragraph(&runs);
    sheet.paragraph(&[ours(&reply.mark)]);
    sheet.document()
}

/// What is told, and a link of ours under its title.
fn said(told: &Told) -> (&str, Option<(&str, &str)>) {
    match told {
        Told::Plain(words) => (words, None),
        Told::Linked { words, title, link } => (words, Some((title, link))),
        Told::Status { state, link, .. } => (state, Some((desk::PAGE, link))),
        Told::List { console, .. } => ("What waits for you", Some((desk::PAGE, console))),
    }
}
