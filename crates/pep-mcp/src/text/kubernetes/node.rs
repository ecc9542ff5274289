//! A text of YAML, and so of JSON, as its documents, where every reader of either version of YAML reads the same in it: nothing is
//! named to be repeated, tagged or merged, no member is there twice, and what could be a number or a word for yes is no text.

use countersign_core::visible;
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::collections::BTreeMap;

/// The largest text that is read, in bytes.
const LARGEST: usize = 256 << 10;
const DEEPEST: usize = 64;

/// Why a text is not read, as policies find it in `context.kubernetes.reasons`.
pub(super) type Why = &'static str;

/// A value, as far as all readers agree on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Flag(bool),
    /// Nothing, a number, or what one reader takes for another value than the next.
    Other,
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// The documents of a text.
pub(super) fn read(text: &str) -> Result<Vec<Node>, Why> {
    if text.len() > LARGEST {
        return Err("too-long");
    }
    if visible::has_hidden(text) {
        return Err("hidden-characters");
    }
    let marks = |line: &str| {
        line.starts_with('%')
            || line.starts_with("...")
            || line.starts_with("---") && line.trim_end() != "---"
    };
    if text.lines().any(marks) {
        return Err("directive");
    }
    let mut reading = Reading::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|_| "syntax")?;
        reading.event(event)?;
    }
    Ok(reading.documents)
}

#[derive(Default)]
struct Reading {
    documents: Vec<Node>,
    open: Vec<Open>,
}

enum Open {
    List(Vec<Node>),
    /// The members so far, and the name of the one that comes next.
    Map(BTreeMap<String, Node>, Option<String>),
}

impl Reading {
    fn event(&mut self, event: Event<'_>) -> Result<(), Why> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => Err("anchor"),
            Event::Scalar(text, style, anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.scalar(&text, style == ScalarStyle::Plain)
            }
            Event::SequenceStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.begin(Open::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                plain(anchor, tag.is_some())?;
                self.begin(Open::Map(BTreeMap::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(items)) => self.put(Node::List(items)),
                Some(Open::Map(members, None)) => self.put(Node::Map(members)),
                Some(Open::Map(_, Some(_))) | None => Err("syntax"),
            },
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), Why> {
        // What stands where a name should is a value with a name of several values.
        if matches!(self.open.last(), Some(Open::Map(_, None))) {
            return Err("key");
        }
        if self.open.len() == DEEPEST {
            return Err("depth");
        }
        self.open.push(open);
        Ok(())
    }

    fn scalar(&mut self, text: &str, is_plain: bool) -> Result<(), Why> {
        if let Some(Open::Map(members, name @ None)) = self.open.last_mut() {
            if is_plain && text == "<<" {
                return Err("merge");
            }
            // Readers that do not mind capitals take these for `k` and `s`.
            if text.contains(['\u{212a}', '\u{17f}']) {
                return Err("capitals");
            }
            if members.contains_key(text) {
                return Err("twice");
            }
            *name = Some(text.to_owned());
            return Ok(());
        }
        self.put(if is_plain { meant(text) } else { Node::Text(text.to_owned()) })
    }

    fn put(&mut self, node: Node) -> Result<(), Why> {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::List(items)) => items.push(node),
            Some(Open::Map(members, name)) => {
                members.insert(name.take().ok_or("key")?, node);
            }
        }
        Ok(())
    }
}

fn plain(anchor: usize, is_tagged: bool) -> Result<(), Why> {
    match (anchor, is_tagged) {
        (0, false) => Ok(()),
        (0, true) => Err("tag"),
        _ => Err("anchor"),
    }
}

/// What a word without quotes stands for.
fn meant(text: &str) -> Node {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    match text {
        "true" => Node::Flag(true),
        "false" => Node::Flag(false),
        text if text.starts_with(|first: char| first.is_ascii_alphabetic())
            && !WORDS.contains(&text.to_ascii_lowercase().as_str()) =>
        {
            Node::Text(text.to_owned())
        }
        _ => Node::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn no_text_is_too_odd(text in "[\\[\\]{}:,a&*!|>'\"%?#<\n -]{0,60}|\\PC{0,40}") {
            let _ = read(&text);
        }
    }

    fn text(text: &str) -> Node {
        Node::Text(text.into())
    }

    #[test]
    fn documents_are_read_as_they_stand() {
        let read = read("a: x\nb: [z, 'no', no, 1, true, y]\n---\n{\"c\": {\"d\": \"\\u0065\"}}\n").unwrap();
        let first = Node::Map(BTreeMap::from([
            ("a".to_owned(), text("x")),
            (
                "b".to_owned(),
                Node::List(vec![
                    text("z"),
                    text("no"),
                    Node::Other,
                    Node::Other,
                    Node::Flag(true),
                    Node::Other,
                ]),
            ),
        ]));
        let inner = Node::Map(BTreeMap::from([("d".to_owned(), text("e"))]));
        assert_eq!(read, [first, Node::Map(BTreeMap::from([("c".to_owned(), inner)]))]);
    }

    #[test]
    #[rustfmt::skip]
    fn what_readers_could_differ_about_is_not_read() {
        for (text, why) in [
            ("a: 1\na: 2", "twice"), ("{\"a\": 1, \"a\": 2}", "twice"), ("'a': 1\na: 2", "twice"),
            ("{\"kind\": 1, \"\\u006bind\": 2}", "twice"), ("a: &x 1\nb: *x", "anchor"), ("a: &x {b: 1}", "anchor"),
            ("<<: {a: 1}", "merge"), ("a: !!str 1", "tag"), ("!x {a: 1}", "tag"), ("? [a]\n: b", "key"), ("{[a]: b}", "key"),
            ("%YAML 1.1\n---\na: 1", "directive"), ("a: 1\n...\nb: 1", "directive"), ("--- {a: 1}", "directive"),
            ("a: [", "syntax"), ("a: b: c", "syntax"), ("{\"a\": 1}{\"b\": 2}", "syntax"), ("a: \"\u{202e}\"", "hidden-characters"),
            ("\u{212a}ind: a", "capitals"), ("{\"ho\u{17f}tPID\": true}", "capitals"), ("{\"\\u212aind\": a}", "capitals"),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
        assert_eq!(read(&"[".repeat(DEEPEST + 1)), Err("depth"));
        assert_eq!(read(&"a".repeat(LARGEST + 1)), Err("too-long"));
    }
}
