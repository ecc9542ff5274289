//! The elements of one card as they are put together: every text in its place, the size of a message kept, and a note of
//! whether anything had to be left out. Our own words may stand in text blocks, which know Markdown; what anybody else wrote
//! stands in text runs.

use super::escape::cut;
use serde_json::{Value, json};

/// What all elements of one card may take as JSON. A message of 28 KB is taken everywhere in Teams; the rest of it is for
/// buttons, the line for notifications and what the connector adds.
pub(super) const MOST: usize = 24_000;

/// Elements under way.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    elements: Vec<Value>,
    used: usize,
    /// Something was left out.
    pub(super) cut: bool,
}

/// A run of our own words.
pub(super) fn ours(text: &str) -> Value {
    json!({"type": "TextRun", "text": text})
}

/// The same, as a title.
pub(super) fn title(text: &str) -> Value {
    json!({"type": "TextRun", "text": text, "weight": "Bolder"})
}

impl Sheet {
    /// What is left, as JSON.
    pub(super) const fn left(&self) -> usize {
        MOST.saturating_sub(self.used)
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Somebody else's text on one line, at most so long, with how much is left out, which is remembered.
    pub(super) fn theirs(&mut self, text: &str, most: usize) -> Vec<Value> {
        let (shown, left_out) = cut(text, most);
        let shown = if shown.is_empty() && left_out == 0 { "–".to_owned() } else { shown };
        let mut runs = vec![code(&shown)];
        if left_out > 0 {
            self.cut = true;
            runs.push(ours(&format!(" … {left_out} characters more")));
        }
        runs
    }

    /// A heading of our own words.
    pub(super) fn heading(&mut self, ours: &str) {
        self.add(
            json!({"type": "TextBlock", "style": "heading", "size": "Large", "weight": "Bolder", "wrap": true,
            "text": ours}),
        );
    }

    /// Our own words, in which Markdown counts.
    pub(super) fn block(&mut self, ours: &str) {
        self.add(json!({"type": "TextBlock", "wrap": true, "text": ours}));
    }

    /// Our own words that must not be missed.
    pub(super) fn warning(&mut self, ours: &str) {
        self.add(json!({"type": "TextBlock", "wrap": true, "color": "Attention", "weight": "Bolder", "text": ours}));
    }

    /// A title over what follows.
    pub(super) fn caption(&mut self, ours: &str) {
        self.add(
            json!({"type": "TextBlock", "wrap": true, "weight": "Bolder", "spacing": "Medium", "text": ours}),
        );
    }

    /// One paragraph.
    pub(super) fn runs(&mut self, runs: &[Value]) {
        self.add(json!({"type": "RichTextBlock", "inlines": runs}));
    }

    /// A paragraph close to what stands before it.
    pub(super) fn near(&mut self, runs: &[Value]) {
        self.add(near(runs));
    }

    /// Lines under a title, as many as fit; those that find no room are counted.
    pub(super) fn lines(&mut self, title: &str, lines: &[Vec<Value>], most: usize) {
        if lines.is_empty() {
            return;
        }
        self.caption(title);
        let end = self.used + most;
        for (at, line) in lines.iter().enumerate() {
            if self.used + size(&near(line)) > end {
                self.cut = true;
                self.near(&[ours(&format!("… and {} more", lines.len() - at))]);
                return;
            }
            self.near(line);
        }
    }

    /// A text with its lines, whole.
    pub(super) fn fence(&mut self, text: &str) {
        self.add(fence(text));
    }

    pub(super) fn separator(&mut self) {
        if let Some(Value::Object(last)) = self.elements.last_mut() {
            last.insert("separator".into(), true.into());
            self.used += ",\"separator\":true".len();
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.elements.extend(other.elements);
        self.used += other.used;
        self.cut |= other.cut;
    }

    pub(super) fn elements(self) -> Vec<Value> {
        self.elements
    }

    pub(super) fn add(&mut self, element: Value) {
        self.used += size(&element);
        self.elements.push(element);
    }
}

/// What such a fence costs.
pub(super) fn cost(text: &str) -> usize {
    size(&fence(text))
}

/// As JSON, with the comma behind it.
fn size(element: &Value) -> usize {
    element.to_string().len() + 1
}

fn code(shown: &str) -> Value {
    json!({"type": "TextRun", "fontType": "Monospace", "text": shown})
}

fn near(runs: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "spacing": "None", "inlines": runs})
}

/// A paragraph for each line: not every client ends a line inside of one.
fn fence(text: &str) -> Value {
    let line = |line: &str| {
        let (shown, _) = cut(line, usize::MAX);
        // A paragraph without any text is not drawn.
        near(&[code(if shown.is_empty() { "\u{a0}" } else { &shown })])
    };
    let lines: Vec<Value> = text.strip_suffix('\n').unwrap_or(text).split('\n').map(line).collect();
    json!({"type": "Container", "style": "emphasis", "spacing": "Small", "items": lines})
}
