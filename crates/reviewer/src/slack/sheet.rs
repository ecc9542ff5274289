//! The blocks of one message as they are put together: every text in its place, every limit of Slack kept, and a note of
//! whether anything had to be left out.
//!
//! Limits: <https://docs.slack.dev/reference/block-kit>. What all texts together may be is documented nowhere; messages are
//! refused with `msg_blocks_too_long` from about 11,300 characters on (slackapi/bolt-js, issues 2509 and 2867).

use super::escape::{Sink, cut, length, pieces};
use countersign_core::visible::label;
use serde_json::{Value, json};

/// All texts of one message together.
pub(super) const MOST_TEXT: usize = 9_000;
/// What a block may cost beside its text.
const BLOCK: usize = 40;
/// The text of one section.
const SECTION: usize = 3_000;
/// Pieces of a fence, with room for the fence itself.
const PIECE: usize = 2_900;
/// Fields of one section, and the text of each.
const FIELDS: usize = 10;
const FIELD: usize = 300;

/// Blocks under way.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    blocks: Vec<Value>,
    used: usize,
    /// Something was left out.
    pub(super) cut: bool,
}

impl Sheet {
    /// What is left for texts.
    pub(super) const fn left(&self) -> usize {
        MOST_TEXT.saturating_sub(self.used)
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Somebody else's text, escaped, at most so long, and beside it how much is left out, which is remembered.
    fn text(&mut self, text: &str, sink: Sink, most: usize) -> (String, String) {
        let (shown, left_out) = cut(text, sink, most);
        self.cut |= left_out > 0;
        let note = if left_out > 0 { format!(" … {left_out} characters more") } else { String::new() };
        (shown, note)
    }

    /// The same as inline code.
    pub(super) fn code(&mut self, text: &str, most: usize) -> String {
        let (shown, note) = self.text(text, Sink::Code, most);
        // Slack draws no code that is empty or begins or ends with a space.
        let inner = shown.trim_matches(' ');
        let before = shown.len() - shown.trim_start_matches(' ').len();
        let behind = shown.len() - before - inner.len();
        let space = label(' ');
        match inner {
            "" if shown.is_empty() => "–".into(),
            inner => format!("`{}{inner}{}`{note}", space.repeat(before), space.repeat(behind)),
        }
    }

    /// A heading of our own words.
    pub(super) fn header(&mut self, ours: &str) {
        self.add(
            json!({"type": "header", "text": {"type": "plain_text", "text": ours, "emoji": true}}),
            ours,
        );
    }

    /// A text in which nothing means anything.
    pub(super) fn plain(&mut self, text: &str, most: usize) {
        let (shown, note) = self.text(text, Sink::Plain, most);
        let shown = shown + &note;
        let shown = if shown.trim().is_empty() { "–".to_owned() } else { shown };
        let object = json!({"type": "plain_text", "text": shown, "emoji": false});
        self.add(json!({"type": "section", "text": object, "expand": true}), &shown);
    }

    /// Markup of our own, in which somebody else's text stands as code only.
    pub(super) fn ours(&mut self, markup: &str) {
        self.add(json!({"type": "section", "text": mrkdwn(markup), "expand": true}), markup);
    }

    /// Lines of our own markup, as many in a section as fit; those that find no room are counted.
    pub(super) fn lines(&mut self, title: &str, lines: &[String], most: usize) {
        if lines.is_empty() {
            return;
        }
        let mut text = title.to_owned();
        for (at, line) in lines.iter().enumerate() {
            if length(&text) + length(line) + 1 > most.min(SECTION - 100) {
                self.cut = true;
                text = format!("{text}\n… and {} more", lines.len() - at);
                break;
            }
            text.push('\n');
            text.push_str(line);
        }
        self.ours(&text);
    }

    /// Short answers under short titles, two beside each other.
    pub(super) fn fields(&mut self, fields: &[(&str, String)]) {
        for some in fields.chunks(FIELDS) {
            let texts: Vec<String> =
                some.iter().map(|(title, value)| format!("*{title}*\n{value}")).collect();
            let drawn: Vec<Value> = texts.iter().map(|text| mrkdwn(text)).collect();
            self.add(json!({"type": "section", "fields": drawn}), &texts.concat());
        }
    }

    /// At most so much of one field's value.
    pub(super) const FIELD: usize = FIELD;

    /// A text with its lines, whole.
    pub(super) fn fence(&mut self, text: &str) {
        for piece in pieces(text, Sink::Fence, PIECE) {
            self.ours(&format!("```\n{piece}\n```"));
        }
    }

    /// Small print of our own.
    pub(super) fn context(&mut self, ours: &str) {
        self.add(json!({"type": "context", "elements": [mrkdwn(ours)]}), ours);
    }

    pub(super) fn divider(&mut self) {
        self.add(json!({"type": "divider"}), "");
    }

    pub(super) fn actions(&mut self, elements: &[Value]) {
        self.add(json!({"type": "actions", "elements": elements}), "");
    }

    pub(super) fn append(&mut self, other: Self) {
        self.blocks.extend(other.blocks);
        self.used += other.used;
        self.cut |= other.cut;
    }

    pub(super) fn blocks(self) -> Vec<Value> {
        self.blocks
    }

    fn add(&mut self, block: Value, text: &str) {
        self.used += BLOCK + length(text);
        self.blocks.push(block);
    }
}

/// What such a fence costs.
pub(super) fn cost(text: &str) -> usize {
    pieces(text, Sink::Fence, PIECE).iter().map(|piece| length(piece) + 10 + BLOCK).sum()
}

/// Nothing in it is made into a link or a mention that is not written as one.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}
