//! What stands in the thread below a message: one line for each piece of news.

use super::{draw::title, sheet::Sheet};
use crate::channel::Letter;
use countersign_engine::outbox::News;
use serde_json::Value;

const NAME: usize = 200;
const SAID: usize = 1_000;

/// One line, as blocks and as plain text for notifications.
pub(super) fn reply(letter: &Letter) -> (String, Vec<Value>) {
    let mut sheet = Sheet::default();
    let by = letter.by.as_deref().map(|name| sheet.code(name, NAME));
    let by = by.as_deref().unwrap_or("Somebody");
    let rejected = letter.news.state == "rejected";
    let line = match &*letter.news.kind {
        "approval.requested" => "People are asked.".into(),
        "approval.round_opened" => "It waits for people again.".into(),
        "approval.voted" if rejected => format!("{by} rejected it."),
        "approval.voted" => format!("{by} approved: {}.", progress(&mut sheet, &letter.news)),
        "approval.votes_withdrawn" => {
            format!(
                "Votes of somebody who left do not count any more: {}.",
                progress(&mut sheet, &letter.news)
            )
        }
        "approval.reminded" => "Nobody has decided yet. It still waits for people.".into(),
        "approval.escalated" => "Nobody has decided yet. Further people are told now.".into(),
        "approval.glass_broken" => {
            format!("{by} broke the glass: lifted every gate alone. Somebody else has to look at it.")
        }
        "approval.glass_reviewed" => format!("{by} looked at the break-glass."),
        "approval.granted" => "Approved by everybody who had to. It may run now.".into(),
        "approval.revoked_while_running" => "Revoked while it runs: it is being stopped.".into(),
        "execution.authorized" => "It runs now.".into(),
        "execution.released" => {
            "It did not reach its target: nothing ran. It is tried again when it is asked for again.".into()
        }
        "execution.result" if letter.news.state == "done" => "It ran.".into(),
        "approval.closed" | "execution.result" => format!("{}.", title(&letter.news.state)),
        "execution.outcome_unknown" => {
            "Nobody knows whether it ran. It is not tried again; somebody has to look.".into()
        }
        "execution.resolved" => format!("{by} looked at what became of it."),
        "result.delivered" => "The requester has the answer.".into(),
        other => format!("{}.", sheet.code(other, NAME)),
    };
    let said = match (&*letter.news.kind, &letter.message.rejection, &letter.message.drifted) {
        ("approval.voted", Some(said), _) if rejected => Some(sheet.code(said, SAID)),
        ("approval.round_opened", _, Some(why)) => Some(sheet.code(why, SAID)),
        _ => None,
    };
    let markup = said.map_or_else(|| line.clone(), |said| format!("{line}\n{said}"));
    sheet.ours(&markup);
    (line, sheet.blocks())
}

/// How far the gates were then.
fn progress(sheet: &mut Sheet, news: &News) -> String {
    let line = |gate: &countersign_engine::outbox::Progress| {
        let name = sheet.code(gate.gate.as_str(), NAME);
        format!("{name} {} of {}", gate.votes, gate.quorum)
    };
    news.gates.iter().take(10).map(line).collect::<Vec<_>>().join(", ")
}
