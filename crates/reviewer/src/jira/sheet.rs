//! The nodes of one document in the Atlassian Document Format as they are put together: every text in its place, the size kept, and
//! a note of whether anything had to be left out. No text in it is markup: nodes and marks alone are. What anybody else wrote stands
//! marked as code, so that it is never taken for ours.
//!
//! <https://developer.atlassian.com/cloud/jira/platform/apis/document/structure/>

use countersign_core::visible::label;
use serde_json::{Value, json};

/// What all nodes of one document may take as JSON. Jira takes 32,767 characters in a field.
pub(super) const MOST: usize = 30_000;

/// Nodes under way.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    nodes: Vec<Value>,
    used: usize,
    /// Something was left out.
    pub(super) cut: bool,
}

/// Our own words.
pub(super) fn ours(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// The same, to be seen first.
pub(super) fn title(text: &str) -> Value {
    json!({"type": "text", "text": text, "marks": [{"type": "strong"}]})
}

/// An address of ours.
pub(super) fn link(title: &str, href: &str) -> Value {
    json!({"type": "text", "text": title, "marks": [{"type": "link", "attrs": {"href": href}}]})
}

/// As much of the text as fits into `most` characters on one line, and how many were left out.
pub(super) fn cut(text: &str, most: usize) -> (String, usize) {
    let (mut out, mut used) = (String::new(), 0);
    let mut left = text.chars();
    while let Some(character) = left.clone().next() {
        let piece = match character {
            '\n' | '\r' | '\t' => label(character),
            other => other.to_string(),
        };
        used += piece.chars().count();
        if used > most {
            break;
        }
        out.push_str(&piece);
        left.next();
    }
    (out, left.count())
}

impl Sheet {
    pub(super) const fn left(&self) -> usize {
        MOST.saturating_sub(self.used)
    }

    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Somebody else's text on one line, at most so long, with how much is left out, which is remembered.
    pub(super) fn theirs(&mut self, text: &str, most: usize) -> Vec<Value> {
        let (shown, left_out) = cut(text, most);
        // A text node without any text is refused.
        let shown = if shown.is_empty() { "–".to_owned() } else { shown };
        let mut runs = vec![json!({"type": "text", "text": shown, "marks": [{"type": "code"}]})];
        if left_out > 0 {
            self.cut = true;
            runs.push(ours(&format!(" … {left_out} characters more")));
        }
        runs
    }

    pub(super) fn paragraph(&mut self, runs: &[Value]) {
        self.add(paragraph(runs));
    }

    /// A title over what follows.
    pub(super) fn heading(&mut self, ours: &str) {
        self.add(json!({"type": "heading", "attrs": {"level": 4}, "content": [self::ours(ours)]}));
    }

    /// Our own words that must not be missed.
    pub(super) fn warning(&mut self, ours: &str) {
        self.panel("warning", &[vec![self::ours(ours)]]);
    }

    /// Paragraphs that stand apart.
    pub(super) fn panel(&mut self, kind: &str, paragraphs: &[Vec<Value>]) {
        let content: Vec<Value> = paragraphs.iter().map(|runs| paragraph(runs)).collect();
        self.add(json!({"type": "panel", "attrs": {"panelType": kind}, "content": content}));
    }

    /// Lines under a title, as many as fit; those that find no room are counted.
    pub(super) fn lines(&mut self, title: &str, lines: &[Vec<Value>], most: usize) {
        if lines.is_empty() {
            return;
        }
        if !title.is_empty() {
            self.heading(title);
        }
        let (mut items, mut used) = (Vec::new(), 0);
        for (at, line) in lines.iter().enumerate() {
            let item = json!({"type": "listItem", "content": [paragraph(line)]});
            used += size(&item);
            if used > most {
                self.cut = true;
                let more = [ours(&format!("… and {} more", lines.len() - at))];
                items.push(json!({"type": "listItem", "content": [paragraph(&more)]}));
                break;
            }
            items.push(item);
        }
        self.add(json!({"type": "bulletList", "content": items}));
    }

    /// A text with its lines, whole.
    pub(super) fn fence(&mut self, text: &str) {
        self.add(fence(text));
    }

    pub(super) fn append(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.used += other.used;
        self.cut |= other.cut;
    }

    pub(super) fn document(self) -> Value {
        json!({"type": "doc", "version": 1, "content": self.nodes})
    }

    fn add(&mut self, node: Value) {
        self.used += size(&node);
        self.nodes.push(node);
    }
}

/// What such a fence costs.
pub(super) fn cost(text: &str) -> usize {
    size(&fence(text))
}

/// All texts of a document, in order, with a line's end behind each node that holds some.
pub(super) fn read(document: &Value) -> String {
    let mut text = document.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let nodes = document.get("content").and_then(Value::as_array).into_iter().flatten();
    text.extend(nodes.map(read));
    if document.get("type").and_then(Value::as_str) != Some("text") {
        text.push('\n');
    }
    text
}

fn size(node: &Value) -> usize {
    node.to_string().len() + 1
}

fn paragraph(runs: &[Value]) -> Value {
    json!({"type": "paragraph", "content": runs})
}

/// Lines end as they end; a carriage return is written out, as nobody would see it.
fn fence(text: &str) -> Value {
    let text = &text.replace('\r', &label('\r'));
    let content: Vec<Value> = if text.is_empty() { Vec::new() } else { vec![ours(text)] };
    json!({"type": "codeBlock", "content": content})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_counted_and_stays_on_its_line() {
        assert_eq!(cut("abc", 3), ("abc".into(), 0));
        assert_eq!(cut("abc", 2), ("ab".into(), 1));
        assert_eq!(cut("a\nb", 4), ("a".into(), 2));
        assert_eq!(cut("a\r\n\t", 99), ("a⟨U+000D⟩⟨U+000A⟩⟨U+0009⟩".into(), 0));
        assert_eq!(cut("🎈🎈", 1), ("🎈".into(), 1));
    }
}
