//! The one message about an approval as a record of `ServiceNow`: plain text, in which nothing is markup. Pure. Others' texts of several lines stand
//! behind a bar on every line, so that none of them is taken for a line of ours; what does not fit is counted.

use crate::{
    channel::Letter,
    desk::{self, Told},
    message::{Message, Offer, RUNS, Shown, names},
    ticket::Reply,
    words::{self, Piece},
};
use countersign_core::visible::{self, label};
use std::fmt::Write as _;

/// A record as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub title: String,
    pub text: String,
    /// All there is to see stands in it, and nothing hides.
    pub whole: bool,
}

/// The longest title, and the longest text, that the tables take: what is longer they cut without a word.
const TITLE: usize = 160;
const TEXT: usize = 4_000;
/// For what says that something is missing, and where all of it is.
const KEPT: usize = 500;
/// One text of somebody else's on a line.
const FIELD: usize = 300;
/// A claim, a drift.
const SAID: usize = 500;
/// The least that is shown of bytes that do not fit, and the most.
const LEAST: usize = 100;
const GLIMPSE: usize = 600;

/// How parts of it begin, by which a copy is known.
const ASKED: &str = "Why people are asked, and whom";
const REVIEW: &str = "Review in Countersign";
const OPEN: &str = "Open Countersign";

/// Whether a line is one of those that we write about an approval.
pub(super) fn is_heading(line: &str) -> bool {
    [RUNS, ASKED, REVIEW, OPEN].iter().any(|ours| line.trim().starts_with(ours))
}

/// The record about an approval.
pub fn record(message: &Message) -> Record {
    let (mut top, mut rest) = (Sheet::default(), Sheet::default());
    fields(&mut top, message);
    found(&mut rest, message);
    let left = TEXT.saturating_sub(KEPT).saturating_sub(top.used()).saturating_sub(rest.used());
    let shown = message.request.as_ref().is_some_and(|asked| {
        let (parts, whole) = asked.shown(left, GLIMPSE, LEAST, cost);
        for part in parts {
            match part {
                Shown::Title(words) | Shown::Gap(words) => top.ours(&format!("{words}:")),
                Shown::Text(text) => top.fence(&text),
            }
        }
        whole
    });
    let most = TEXT.saturating_sub(KEPT);
    let fits = top.used() + rest.used() <= most;
    let whole = shown && fits && !top.cut && !rest.cut && message.offers == Offer::Decide;
    let mut lines = top.lines;
    lines.extend(rest.lines);
    let all = lines.concat();
    let mut text: String = all.chars().take(most).collect();
    let left_out = all.chars().count().saturating_sub(most);
    if left_out > 0 {
        let _ = writeln!(text, "\n… {left_out} characters are not shown here");
    }
    text.push_str(&how(message, whole));
    Record { title: title(message), text, whole }
}

fn title(message: &Message) -> String {
    const COUNT: usize = 30;
    let whole = line(&format!("{} · {}", message.code, message.computed.sentence));
    let (count, most) = (whole.chars().count(), TITLE - COUNT);
    if count <= most {
        return whole;
    }
    let shown: String = whole.chars().take(most).collect();
    format!("{shown}… {} characters more", count - most)
}

fn fields(sheet: &mut Sheet, message: &Message) {
    let seen = &message.computed;
    sheet.theirs("", &seen.sentence, SAID);
    let Some(asked_by) = message.asked_by() else { return };
    sheet.theirs("Asked by", &asked_by, FIELD);
    for (name, people) in [("Owned by", &seen.owners), ("For", &seen.on_behalf_of)] {
        if !people.is_empty() {
            sheet.theirs(name, &names(people), FIELD);
        }
    }
    sheet.theirs("Target", &format!("{} in {}", seen.target, seen.environment), FIELD);
    sheet.theirs("What", &seen.kind(), FIELD);
    if !seen.resources.is_empty() {
        sheet.theirs("On", &seen.resources.join(", "), FIELD);
    }
    if let Some(deadline) = message.deadline {
        sheet.theirs("Until", &deadline.to_string(), FIELD);
    }
}

fn found(sheet: &mut Sheet, message: &Message) {
    for (name, value) in message.computed.facts_in_words() {
        sheet.theirs("Read from it", &format!("{name}: {value}"), FIELD);
    }
    for found in &message.computed.evidence {
        let text = format!("{}: {}, from {}", found.about, found.says, found.source);
        sheet.theirs("Found out beforehand", &text, FIELD);
    }
    for ask in &message.asks {
        let text = format!("{}: {} · {}", ask.gate, ask.reason, ask.approvers);
        sheet.theirs(ASKED, &text, FIELD);
    }
    if let Some(why) = &message.drifted {
        sheet.theirs("Why it waits again", why, SAID);
    }
    let claims = &message.claimed;
    if !claims.requester_name.is_empty() || claims.reason.is_some() {
        let reason = claims.reason.as_deref().unwrap_or("no reason");
        sheet.theirs(claims.marked, &format!("{} says: {reason}", claims.requester_name), SAID);
    }
}

/// Where to decide, and what is missing here.
fn how(message: &Message, whole: bool) -> String {
    let missing = if message.hidden_characters {
        "It hides characters, which are written out here as ⟨U+…⟩. Decide where all of it is shown.\n"
    } else if !whole && message.state != "test" {
        "Not all of it is shown here. Decide where all of it is shown.\n"
    } else {
        ""
    };
    let title = if message.state == "test" { OPEN } else { REVIEW };
    format!("{missing}{title}: {}\n", message.link)
}

/// The work note for one piece of news: what happened, and the entry of the ledger that proves it.
pub(super) fn step(letter: &Letter) -> String {
    const THEIRS: usize = 1_000;
    let mut sheet = Sheet::default();
    let step = words::step(letter);
    // Whoever did it stands first: their name begins no line.
    let mut text = "Now: ".to_owned();
    for piece in step.line {
        match piece {
            Piece::Ours(said) => text.push_str(&said),
            Piece::Theirs(said) => text.push_str(&sheet.cut(&said, FIELD)),
        }
    }
    sheet.ours(&text);
    if let Some(said) = step.said {
        sheet.theirs("It was said", &said, THEIRS);
    }
    let (entry, code, at) = (letter.news.entry, &letter.message.code, letter.news.at);
    sheet.ours(&format!("Recorded as {entry} for action {code} at {at}."));
    sheet.ours(&format!("See it in Countersign: {}", letter.message.link));
    sheet.lines.concat()
}

/// The work note about something that somebody did.
pub(super) fn reply(reply: &Reply) -> String {
    let mut sheet = Sheet::default();
    let to = reply.to.as_deref().map(visible::name).map(|name| sheet.cut(&name, FIELD));
    let (words, link) = match &reply.told {
        Told::Plain(words) => (words.as_str(), None),
        Told::Linked { words, title, link } => (words.as_str(), Some((*title, link))),
        Told::Status { state, link, .. } => (*state, Some((desk::PAGE, link))),
        Told::List { console, .. } => ("What waits for you", Some((desk::PAGE, console))),
    };
    sheet.ours(&to.map_or_else(|| words.to_owned(), |to| format!("To {to}: {words}")));
    if let Some((title, link)) = link {
        sheet.ours(&format!("{title}: {link}"));
    }
    sheet.ours(&reply.mark);
    sheet.lines.concat()
}

/// Lines of one text as they are put together.
#[derive(Debug, Default)]
struct Sheet {
    lines: Vec<String>,
    /// Something was left out.
    cut: bool,
}

impl Sheet {
    fn used(&self) -> usize {
        self.lines.iter().map(|line| line.chars().count()).sum()
    }

    fn ours(&mut self, text: &str) {
        self.lines.push(format!("{text}\n"));
    }

    /// Somebody else's text on one line of its own, under a title of ours.
    fn theirs(&mut self, title: &str, text: &str, most: usize) {
        let text = self.cut(text, most);
        self.lines.push(if title.is_empty() {
            format!("| {text}\n")
        } else {
            format!("{title}: | {text}\n")
        });
    }

    fn cut(&mut self, text: &str, most: usize) -> String {
        let text = line(text);
        let count = text.chars().count();
        if count <= most {
            return text;
        }
        self.cut = true;
        let shown: String = text.chars().take(most).collect();
        format!("{shown} … {} characters more", count - most)
    }

    /// A text with its lines, whole.
    fn fence(&mut self, text: &str) {
        self.lines.push(fence(text));
    }
}

/// What such a fence costs.
fn cost(text: &str) -> usize {
    fence(text).chars().count()
}

fn fence(text: &str) -> String {
    let lines =
        text.split('\n').map(|line| format!("| {}\n", written_out(&line.replace('\r', &label('\r')))));
    lines.collect()
}

/// On one line.
fn line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|one| if matches!(one, '\n' | '\r' | '\t') { label(one) } else { one.to_string() })
        .collect();
    written_out(&text)
}

/// Journals make markup of `[code]`: no bracket of somebody else's opens one.
fn written_out(text: &str) -> String {
    text.replace('[', &label('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_begins_a_line_or_opens_markup() {
        let mut sheet = Sheet::default();
        sheet.theirs("Target", "a\r\nState: approved [code]<b>x</b>[/code]", 99);
        sheet.fence("one\r\n[CODE]two");
        let text = sheet.lines.concat();
        assert!(text.lines().all(|line| line.starts_with("Target: | a") || line.starts_with("| ")), "{text}");
        assert!(!text.contains('[') && text.contains("⟨U+005B⟩CODE]two"), "{text}");
        assert!(!sheet.cut);
        sheet.theirs("Target", "abcdef", 3);
        assert!(sheet.cut && sheet.lines.concat().ends_with("abc … 3 characters more\n"));
    }
}
