//! Where the ticket about an approval is, and what it showed when it was written: kept with the approval, where nobody else can write.

use countersign_core::Digest;
use std::fmt;

/// A ticket, and what was written into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) ticket: String,
    /// What a decision made on it comes back with; empty where nobody remembers what it showed.
    pub(crate) shown: String,
    /// Everything there is to see stood in it.
    pub(crate) whole: bool,
    /// [`digest`] of it.
    pub(crate) words: String,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticket, shown, whole, words } = self;
        let shown = if shown.is_empty() { "-" } else { shown };
        write!(out, "{ticket} {shown} {} {words}", if *whole { "whole" } else { "part" })
    }
}

impl Place {
    /// Where nobody decides it is the ticket alone.
    pub(crate) fn read(posted: &str) -> Self {
        let mut parts = posted.split(' ');
        let mut next = || parts.next().unwrap_or_default().to_owned();
        let (ticket, shown, whole, words) = (next(), next(), next(), next());
        let shown = if shown == "-" { String::new() } else { shown };
        Self { ticket, shown, whole: whole == "whole", words }
    }
}

/// What a ticket says, word for word, hashed. Spaces at the ends of lines and empty lines do not count: ticket systems take them out as
/// they like.
pub(crate) fn digest(title: &str, text: &str) -> String {
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join("\n");
    Digest::of_parts("countersign/ticket/v1", &[title.trim().as_bytes(), text.as_bytes()]).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        for (shown, whole, words) in [("ab", true, "cd"), ("", false, "cd")] {
            let place = Place { ticket: "10001".into(), shown: shown.into(), whole, words: words.into() };
            assert_eq!(Place::read(&place.to_string()), place);
        }
        let bare = Place::read("10001");
        assert_eq!((&*bare.ticket, &*bare.shown, bare.whole, &*bare.words), ("10001", "", false, ""));
    }

    #[test]
    fn one_word_more_is_another_text() {
        let same = digest("Drop logs", "one\ntwo");
        assert_eq!(digest(" Drop logs ", "one  \n\ntwo\n"), same);
        for (title, text) in [("Drop log", "one\ntwo"), ("Drop logs", "one two"), ("Drop logs", " one\ntwo")]
        {
            assert_ne!(digest(title, text), same, "{title} {text}");
        }
    }
}
