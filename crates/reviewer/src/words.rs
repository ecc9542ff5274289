//! What every chat says in the same words: how an approval stands, and what a piece of news means. What somebody else
//! wrote stands apart from our own words, so that each chat escapes it in its own way.

use crate::channel::{Gathering, Letter, Why};
use countersign_core::visible;
use countersign_engine::outbox::News;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Ours(String),
    /// Escaped, or shown as code, by whoever draws it.
    Theirs(String),
}

/// What a piece of news says: one line, and what somebody said with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: Vec<Piece>,
    /// Somebody's reason, or why it waits again.
    pub(crate) said: Option<String>,
}

/// How the state reads.
pub(crate) fn title(state: &str) -> &'static str {
    match state {
        "pending" => "⏳ Waiting for people",
        "granted" => "✅ Approved, not run yet",
        "executing" => "▶️ Approved, running",
        "done" => "✅ Approved and done",
        "cancelled" => "⚠️ Stopped while it ran",
        "unknown" => "⚠️ Outcome unknown",
        "rejected" => "⛔ Rejected",
        "withdrawn" => "⛔ Withdrawn",
        "lapsed" => "⛔ Lapsed: nobody decided in time",
        "revoked" => "⛔ Approval revoked",
        "test" => "👋 A test",
        _ => "Changed",
    }
}

/// Whether this news calls people who were called before.
pub(crate) fn calls(kind: &str) -> bool {
    matches!(
        kind,
        "approval.requested" | "approval.round_opened" | "approval.escalated" | "approval.reminded"
    )
}

/// A message of the engine as a sentence.
pub(crate) fn sentence(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str())
}

/// The heading of a message about several approvals.
pub(crate) fn several(gathering: &Gathering) -> String {
    match gathering.why {
        Why::Similar => format!("⏳ {} similar approvals wait for people", gathering.count),
        Why::Waited => format!("⏳ {} approvals wait for people", gathering.count),
    }
}

/// What a reader has to know about it.
pub(crate) const EACH: &str =
    "Each is decided by itself: open the list, look at them, and sign one after the other.";
/// What its link is called.
pub(crate) const REVIEW: &str = "Review in Countersign";
/// What such a message says once nothing in it waits.
pub(crate) const OVER: &str = "✅ None of these approvals waits for people any more";

/// What similar approvals have in common, each answer under its title. The answers are others'.
pub(crate) fn common(gathering: &Gathering) -> Vec<(&'static str, String)> {
    let Some(common) = &gathering.common else { return Vec::new() };
    vec![
        ("Asked by", common.requester.clone()),
        ("Target", format!("{} in {}", common.target, common.environment)),
        ("What", common.kind.clone()),
        ("Gates", common.gates.clone()),
    ]
}

/// Says how many are not listed.
pub(crate) fn unlisted(gathering: &Gathering, listed: usize) -> Option<String> {
    let more = gathering.count.saturating_sub(listed);
    (more > 0).then(|| format!("… and {more} more"))
}

/// What stands in the thread below a message.
pub(crate) fn step(letter: &Letter) -> Step {
    let by = letter.by.clone().map_or_else(|| ours("Somebody"), Piece::Theirs);
    let rejected = letter.news.state == "rejected";
    let line = match &*letter.news.kind {
        "approval.requested" => vec![ours("People are asked.")],
        "approval.round_opened" => vec![ours("It waits for people again.")],
        "approval.voted" if rejected => vec![by, ours(" rejected it.")],
        "approval.voted" => [vec![by, ours(" approved: ")], progress(&letter.news)].concat(),
        "approval.votes_withdrawn" => {
            let before = ours("Votes of somebody who left do not count any more: ");
            [vec![before], progress(&letter.news)].concat()
        }
        "approval.reminded" => vec![ours("Nobody has decided yet. It still waits for people.")],
        "approval.escalated" => vec![ours("Nobody has decided yet. Further people are told now.")],
        "approval.glass_broken" => {
            vec![by, ours(" broke the glass: lifted every gate alone. Somebody else has to look at it.")]
        }
        "approval.glass_reviewed" => vec![by, ours(" looked at the break-glass.")],
        "approval.granted" => vec![ours("Approved by everybody who had to. It may run now.")],
        "approval.revoked_while_running" => vec![ours("Revoked while it runs: it is being stopped.")],
        "execution.authorized" => vec![ours("It runs now.")],
        "execution.released" => vec![ours(
            "It did not reach its target: nothing ran. It is tried again when it is asked for again.",
        )],
        "execution.result" if letter.news.state == "done" => vec![ours("It ran.")],
        "approval.closed" | "execution.result" => vec![ours(&format!("{}.", title(&letter.news.state)))],
        "execution.outcome_unknown" => {
            vec![ours("Nobody knows whether it ran. It is not tried again; somebody has to look.")]
        }
        "execution.resolved" => vec![by, ours(" looked at what became of it.")],
        "result.delivered" => vec![ours("The requester has the answer.")],
        other => vec![Piece::Theirs(visible::one_line(other)), ours(".")],
    };
    let said = match (&*letter.news.kind, &letter.message.rejection, &letter.message.drifted) {
        ("approval.voted", Some(said), _) if rejected => Some(said.clone()),
        ("approval.round_opened", _, Some(why)) => Some(why.clone()),
        _ => None,
    };
    Step { line, said }
}

/// How far the gates were then.
fn progress(news: &News) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, gate) in news.gates.iter().take(10).enumerate() {
        if at > 0 {
            pieces.push(ours(", "));
        }
        pieces.push(Piece::Theirs(gate.gate.to_string()));
        pieces.push(ours(&format!(" {} of {}", gate.votes, gate.quorum)));
    }
    pieces.push(ours("."));
    pieces
}

fn ours(text: &str) -> Piece {
    Piece::Ours(text.to_owned())
}
