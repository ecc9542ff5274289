//! What a mail says, before either of its parts is written: our words and others' apart, every text bounded, and a note of
//! whether anything had to be left out.

use super::Ours;
use crate::{
    channel::{Gathering, Letter},
    message::{Computed, Message, Offer, Request, Shown, names},
    words::{self, Piece, title},
};
use countersign_core::Timestamp;

/// One text, in characters; more of it is counted.
const TEXT: usize = 2_000;
/// Lines of one list.
const LINES: usize = 40;

/// A mail as a list of things to show.
#[derive(Debug)]
pub(super) struct Page {
    /// State and code: ours.
    pub(super) title: String,
    /// What happened, where it is not the first that is told.
    pub(super) step: Vec<Piece>,
    pub(super) sentence: String,
    /// Short answers under short titles; the answers are others'.
    pub(super) rows: Vec<(&'static str, String)>,
    /// Bytes under a title of ours.
    pub(super) bytes: Vec<(String, String)>,
    pub(super) lists: Vec<(&'static str, Vec<Vec<Piece>>)>,
    /// What others said, under a title of ours, after what was computed.
    pub(super) said: Vec<(&'static str, String)>,
    /// Under the mark, who claims it and what.
    pub(super) claimed: Option<(&'static str, String, String)>,
    pub(super) warning: Option<&'static str>,
    /// What the link is called, and its address: ours.
    pub(super) link: (&'static str, String),
    pub(super) note: &'static str,
}

/// Texts as they are put in, and whether one of them was cut.
#[derive(Debug, Default)]
struct Clip {
    cut: bool,
}

impl Clip {
    fn text(&mut self, text: &str) -> String {
        let left_out = text.chars().count().saturating_sub(TEXT);
        if left_out == 0 {
            return text.to_owned();
        }
        self.cut = true;
        let shown: String = text.chars().take(TEXT).collect();
        format!("{shown} … {left_out} characters more")
    }

    fn theirs(&mut self, text: &str) -> Piece {
        Piece::Theirs(self.text(text))
    }

    fn lines(&mut self, mut lines: Vec<Vec<Piece>>) -> Vec<Vec<Piece>> {
        let more = lines.len().saturating_sub(LINES);
        if more > 0 {
            self.cut = true;
            lines.truncate(LINES);
            lines.push(vec![ours(&format!("… and {more} more"))]);
        }
        lines
    }
}

pub(super) fn page(letter: &Letter, what: Ours, link: &str) -> Page {
    let message = &letter.message;
    let mut clip = Clip::default();
    let mut page = Page {
        title: format!("{} · {}", title(&message.state), message.code),
        step: if letter.news.kind == "approval.requested" { Vec::new() } else { words::step(letter).line },
        sentence: clip.text(&message.computed.sentence),
        rows: rows(&mut clip, message),
        bytes: Vec::new(),
        lists: lists(&mut clip, message),
        said: Vec::new(),
        claimed: claimed(&mut clip, message),
        warning: None,
        link: ("See it in Countersign", link.to_owned()),
        note: what.note(),
    };
    for (title, said) in [("Why it waits again", &message.drifted), ("Rejected because", &message.rejection)]
    {
        page.said.extend(said.iter().map(|said| (title, clip.text(said))));
    }
    let whole = message.request.as_ref().is_none_or(|asked| request(&mut page, asked)) && !clip.cut;
    let open = message.offers != Offer::Nothing;
    if message.state == "test" {
        page.link.0 = "Open Countersign";
        page.step.clear();
    } else if open && message.hidden_characters {
        page.warning = Some(
            "It hides characters, which are written out here as ⟨U+…⟩. Decide where all of it is shown.",
        );
    } else if open && (!whole || message.offers == Offer::Review) {
        page.warning = Some("Not all of it is shown here. Decide where all of it is shown.");
    }
    if open {
        page.link.0 = if page.warning.is_some() { "Review in Countersign" } else { "Decide in Countersign" };
    }
    page
}

/// State, code and link alone, for a server that does not take more.
pub(super) fn brief(letter: &Letter, what: Ours, link: &str) -> Page {
    let open = letter.message.offers != Offer::Nothing;
    Page {
        title: format!("{} · {}", title(&letter.message.state), letter.message.code),
        step: Vec::new(),
        sentence: "The mail server takes no mail with all of it.".into(),
        rows: Vec::new(),
        bytes: Vec::new(),
        lists: Vec::new(),
        said: Vec::new(),
        claimed: None,
        warning: open.then_some("Not all of it is shown here. Decide where all of it is shown."),
        link: (if open { "Review in Countersign" } else { "See it in Countersign" }, link.to_owned()),
        note: what.note(),
    }
}

/// Several approvals. It decides on none.
pub(super) fn several(gathering: &Gathering, what: Ours) -> Page {
    let mut clip = Clip::default();
    let line = |item: &crate::channel::Item| {
        let until = item.deadline.map(|deadline| format!(", until {}", moment(deadline))).unwrap_or_default();
        vec![ours(&format!("{} ", item.code)), clip.theirs(&item.sentence), ours(&until)]
    };
    let mut lines: Vec<Vec<Piece>> = gathering.items.iter().map(line).collect();
    lines.extend(words::unlisted(gathering, gathering.items.len()).map(|more| vec![ours(&more)]));
    Page {
        title: words::several(gathering),
        step: Vec::new(),
        sentence: words::EACH.to_owned(),
        rows: words::common(gathering),
        bytes: Vec::new(),
        lists: vec![("What waits", lines)],
        said: Vec::new(),
        claimed: None,
        warning: None,
        link: (words::REVIEW, gathering.link.clone()),
        note: what.note(),
    }
}

/// The same in a few words, for a server that does not take more.
pub(super) fn few(gathering: &Gathering, what: Ours) -> Page {
    Page { lists: Vec::new(), ..several(gathering, what) }
}

fn rows(clip: &mut Clip, message: &Message) -> Vec<(&'static str, String)> {
    let seen = &message.computed;
    let Some(asked_by) = message.asked_by() else { return Vec::new() };
    let mut rows = vec![("Asked by", clip.text(&asked_by))];
    for (title, people) in [("Owned by", &seen.owners), ("For", &seen.on_behalf_of)] {
        if !people.is_empty() {
            rows.push((title, clip.text(&names(people))));
        }
    }
    rows.push(("Target", clip.text(&format!("{} in {}", seen.target, seen.environment))));
    rows.push(("What", clip.text(&seen.kind())));
    if !seen.resources.is_empty() {
        rows.push(("On", clip.text(&seen.resources.join(", "))));
    }
    rows.extend(message.deadline.map(|deadline| ("Until", moment(deadline))));
    rows
}

/// A moment in UTC, to the second: no mail program shows it in its reader's own zone.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, rest) = text.split_once('T').unwrap_or((&text, ""));
    format!("{day} {} UTC", rest.chars().take(8).collect::<String>())
}

/// Whether all bytes are shown. A mail has room for whatever the message holds.
fn request(page: &mut Page, asked: &Request) -> bool {
    let (parts, whole) = asked.shown(usize::MAX, usize::MAX, 0, str::len);
    let mut over = String::new();
    for part in parts {
        match part {
            Shown::Title(words) | Shown::Gap(words) => over = words,
            Shown::Text(text) => page.bytes.push((std::mem::take(&mut over), text)),
        }
    }
    whole
}

fn lists(clip: &mut Clip, message: &Message) -> Vec<(&'static str, Vec<Vec<Piece>>)> {
    let facts = facts(clip, &message.computed);
    let evidence = message.computed.evidence.iter().map(|line| {
        vec![
            clip.theirs(&line.about),
            ours(": "),
            clip.theirs(&line.says),
            ours(", from "),
            clip.theirs(&line.source),
        ]
    });
    let evidence = evidence.collect();
    let asks = message.asks.iter().map(|ask| {
        let so_far = format!(", {} of {} so far", ask.votes, ask.quorum);
        let mark = if ask.lifted { "✅ " } else { "" };
        let (gate, reason, approvers) =
            (clip.theirs(&ask.gate), clip.theirs(&ask.reason), clip.theirs(&ask.approvers));
        vec![ours(mark), gate, ours(", "), reason, ours(": "), approvers, ours(&so_far)]
    });
    let asks = asks.collect();
    let all = [
        ("Read from it", facts),
        ("Found out beforehand", evidence),
        ("Why people are asked, and whom", asks),
    ];
    let all = all.map(|(title, lines): (_, Vec<Vec<Piece>>)| (title, clip.lines(lines)));
    all.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
}

fn facts(clip: &mut Clip, seen: &Computed) -> Vec<Vec<Piece>> {
    let facts = seen.facts_in_words();
    facts.map(|(name, value)| vec![clip.theirs(name), ours(": "), clip.theirs(&value)]).collect()
}

fn claimed(clip: &mut Clip, message: &Message) -> Option<(&'static str, String, String)> {
    let claims = &message.claimed;
    if claims.requester_name.is_empty() && claims.reason.is_none() {
        return None;
    }
    let reason = claims.reason.as_deref().map_or_else(|| "no reason".into(), |said| clip.text(said));
    Some((claims.marked, clip.text(&claims.requester_name), reason))
}

fn ours(text: &str) -> Piece {
    Piece::Ours(text.to_owned())
}
