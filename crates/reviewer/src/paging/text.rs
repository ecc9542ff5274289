//! What every page says in the same words. Pure. Pagers show texts as they are, in apps, e-mails and short messages, whose readers
//! make links of addresses: those that stand in others' texts are broken.

use crate::{
    channel::{Gathering, Letter},
    email::escape,
    message::Ask,
    words::{self, Piece},
};

/// What names something: a target, an environment, a class.
pub(super) const NAME: usize = 255;
/// Gates or approvals that are listed, and what each says at most.
const LISTED: usize = 10;
const LINE: usize = 500;
/// What is kept free to say how much is missing.
const COUNT: usize = 40;
/// What has to be said of a page.
pub(super) const NOTE: &str = "To acknowledge is not to approve: open the link to decide.";

/// What stands behind the summary of a page about one approval.
pub(super) struct Details {
    pub(super) approval: String,
    pub(super) state: &'static str,
    /// The id alone: what it is called is the requester's word.
    pub(super) asked_by: Option<String>,
    pub(super) until: Option<String>,
    pub(super) asks: Vec<String>,
    /// Gates that are not listed.
    pub(super) more: usize,
}

/// The one line that is read first.
pub(super) fn summary(letter: &Letter, most: usize) -> String {
    let message = &letter.message;
    let begin = match &*letter.news.kind {
        "approval.reminded" | "approval.escalated" => "Nobody has decided yet",
        _ if message.state == "test" => "A test",
        _ => "An approval waits",
    };
    within(&format!("{begin} · {}: {}", message.code, shown(&message.computed.sentence)), most)
}

/// The same of several approvals.
pub(super) fn summary_of_several(gathering: &Gathering, most: usize) -> String {
    let first = gathering.items.first().map(|item| format!(". The first: {}", shown(&item.sentence)));
    within(&format!("{}{}", words::several(gathering), first.unwrap_or_default()), most)
}

/// A line for each of several approvals, as many as are listed.
pub(super) fn lines(gathering: &Gathering) -> Vec<String> {
    let listed = gathering.items.iter().take(LISTED);
    listed.map(|item| within(&format!("{}: {}", item.code, shown(&item.sentence)), LINE)).collect()
}

/// What has to be said of a page about several.
pub(super) fn note_of_several() -> String {
    format!("To acknowledge is not to approve. {}", words::EACH)
}

pub(super) fn details(letter: &Letter) -> Details {
    let message = &letter.message;
    Details {
        approval: letter.approval.to_string(),
        state: words::title(&message.state),
        asked_by: message.computed.requester.map(|requester| requester.to_string()),
        until: message.deadline.map(|deadline| deadline.to_string()),
        asks: message.asks.iter().take(LISTED).map(ask).collect(),
        more: message.asks.len().saturating_sub(LISTED),
    }
}

/// What happened, in one line.
pub(super) fn step(letter: &Letter) -> String {
    let pieces = words::step(letter).line;
    let said = pieces.into_iter().map(|piece| match piece {
        Piece::Ours(text) => text,
        Piece::Theirs(text) => shown(&text),
    });
    within(&said.collect::<String>(), LINE)
}

fn ask(ask: &Ask) -> String {
    let mark = if ask.lifted { "lifted" } else { "waits" };
    let line = format!(
        "{} ({mark}): {} · {}, {} of {} so far",
        ask.gate, ask.reason, ask.approvers, ask.votes, ask.quorum
    );
    within(&shown(&line), LINE)
}

/// Somebody else's text on one line, without anything that a reader makes a link of. What hides in it was written out before.
pub(super) fn shown(text: &str) -> String {
    escape::line(text)
}

/// At most so many characters of the text, with how many are missing.
pub(super) fn within(text: &str, most: usize) -> String {
    let characters = text.chars().count();
    if characters <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(COUNT);
    let begin: String = text.chars().take(kept).collect();
    format!("{begin}… {} characters more", characters - kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_counted_and_stays_within_its_limit() {
        for (length, most, want) in [
            (1024, 1024, None),
            (1025, 1024, Some("… 41 characters more")),
            (1 << 20, 1024, Some("more")),
            (131, 130, Some("… 41 characters more")),
            (1 << 20, 130, Some("more")),
        ] {
            let cut = within(&"🎈".repeat(length), most);
            assert!(cut.chars().count() <= most, "{length}");
            assert_eq!(want.is_none(), !cut.contains('…'), "{length}");
            assert!(want.is_none_or(|end| cut.ends_with(end)), "{length}");
        }
    }

    #[test]
    fn nothing_in_it_is_made_a_link() {
        assert_eq!(shown("see https://evil.example/a\nb"), "see https⟨U+003A⟩//evil.example/a⟨U+000A⟩b");
        assert_eq!(shown("www.evil.example, mailto:x@y"), "www⟨U+002E⟩evil.example, mailto⟨U+003A⟩x@y");
    }
}
