//! The one message about an approval as Slack shows it (Block Kit). Pure. Every text that is not ours stands as plain text
//! or as code; what does not fit is counted, and then nothing can be decided from the message.

use super::{
    escape::{Sink, escaped},
    sheet::{Sheet, cost},
};
use crate::{
    channel::Gathering,
    message::{Ask, Computed, Message, Offer, Request, Shown, names},
    words::{self, title},
};
use countersign_core::Timestamp;
use serde_json::{Value, json};

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// For notifications and for who hears it read out.
    pub text: String,
    pub blocks: Vec<Value>,
    /// It can be decided from the message itself.
    pub decides: bool,
}

/// What the fallback says of the sentence.
const NOTIFIED: usize = 300;
const SENTENCE: usize = 1_000;
/// Lists of facts and of evidence, each.
const LIST: usize = 900;
const LISTED: usize = 200;
/// Gates that are drawn.
const ASKS: usize = 6;
/// A rejection, a drift, a claim.
const SAID: usize = 600;
/// The least that is shown of bytes that do not fit: less would say nothing.
const LEAST: usize = 200;
/// And the most of them.
const GLIMPSE: usize = 1_600;

/// The message. `value` is what its buttons carry, where somebody listens to them; without, it carries a link alone.
pub fn draw(message: &Message, value: Option<&str>) -> Drawn {
    let mut top = Sheet::default();
    top.header(&format!("{} · {}", title(&message.state), message.code));
    top.plain(&message.computed.sentence, SENTENCE);
    fields(&mut top, message);
    let mut rest = Sheet::default();
    found(&mut rest, &message.computed);
    asks(&mut rest, message);
    claimed(&mut rest, message);
    // The buttons, the last line, and what says that something is missing.
    let kept = 700;
    let left = top.left().saturating_sub(rest.used()).saturating_sub(kept);
    let whole = message.request.as_ref().is_none_or(|asked| request(&mut top, asked, left));
    top.append(rest);
    let whole = whole && !top.cut;
    let decides = message.offers == Offer::Decide && whole && value.is_some();
    ends(&mut top, message, whole, value.filter(|_| decides));
    Drawn { text: notified(message), blocks: top.blocks(), decides }
}

/// Nothing but where to see it, for when Slack does not take the message.
pub(super) fn brief(message: &Message) -> (String, Vec<Value>) {
    let mut sheet = Sheet::default();
    sheet.header(&format!("{} · {}", title(&message.state), message.code));
    ends(&mut sheet, message, false, None);
    (notified(message), sheet.blocks())
}

/// Several approvals, as many as find room. It decides on none.
pub(super) fn several(gathering: &Gathering) -> (String, Vec<Value>) {
    let mut sheet = Sheet::default();
    let heading = words::several(gathering);
    sheet.header(&heading);
    let mut fields = Vec::new();
    for (title, value) in words::common(gathering) {
        fields.push((title, sheet.code(&value, Sheet::FIELD)));
    }
    if !fields.is_empty() {
        sheet.fields(&fields);
    }
    let mut listed = 0;
    for item in &gathering.items {
        let sentence = sheet.code(&item.sentence, LISTED);
        let until = item.deadline.map(|deadline| format!(", until {}", moment(deadline))).unwrap_or_default();
        let line = format!("*<{}|{}>* {sentence}{until}", target(&item.link), item.code);
        // The link, and how many more there are.
        if sheet.left() < line.len() + 700 {
            break;
        }
        sheet.ours(&line);
        listed += 1;
    }
    if let Some(more) = words::unlisted(gathering, listed) {
        sheet.context(&more);
    }
    sheet.ours(&format!("*<{}|{}>*\n{}", target(&gathering.link), words::REVIEW, words::EACH));
    (heading, sheet.blocks())
}

/// The same once none of them waits.
pub(super) fn over(link: &str) -> (String, Vec<Value>) {
    let mut sheet = Sheet::default();
    sheet.header(words::OVER);
    sheet.context(&format!("<{}|See them in Countersign>", target(link)));
    (words::OVER.to_owned(), sheet.blocks())
}

/// An address of ours, in a link: that ends at `|` and `>`.
fn target(link: &str) -> String {
    escaped(link, Sink::Plain).replace('|', "%7C")
}

/// A moment in the reader's zone; where that cannot be shown, in UTC.
pub(super) fn moment(at: Timestamp) -> String {
    let seconds = at.unix_ms() / 1000;
    format!("<!date^{seconds}^{{date_short_pretty}} at {{time}}|{at}>")
}

fn notified(message: &Message) -> String {
    let sentence: String = message.computed.sentence.chars().take(NOTIFIED).collect();
    format!("{}: {}", title(&message.state), escaped(&sentence, Sink::Plain))
}

fn fields(sheet: &mut Sheet, message: &Message) {
    let seen = &message.computed;
    let Some(asked_by) = message.asked_by() else { return };
    let by = sheet.code(&asked_by, Sheet::FIELD);
    let mut fields = vec![("Asked by", by)];
    for (title, people) in [("Owned by", &seen.owners), ("For", &seen.on_behalf_of)] {
        if !people.is_empty() {
            let names = names(people);
            fields.push((title, sheet.code(&names, Sheet::FIELD)));
        }
    }
    let target = sheet.code(&seen.target, 150);
    let environment = sheet.code(&seen.environment, 100);
    fields.push(("Target", format!("{target} in {environment}")));
    fields.push(("What", sheet.code(&seen.kind(), Sheet::FIELD)));
    if !seen.resources.is_empty() {
        fields.push(("On", sheet.code(&seen.resources.join(", "), Sheet::FIELD)));
    }
    if let Some(deadline) = message.deadline {
        fields.push(("Until", moment(deadline)));
    }
    sheet.fields(&fields);
}

/// Whether all bytes are shown.
fn request(sheet: &mut Sheet, asked: &Request, left: usize) -> bool {
    let (parts, whole) = asked.shown(left, GLIMPSE, LEAST, cost);
    for part in parts {
        match part {
            Shown::Title(title) => sheet.context(&format!("*{title}*")),
            Shown::Text(text) => sheet.fence(&text),
            Shown::Gap(gap) => sheet.context(&format!("⚠️ *{gap}*")),
        }
    }
    whole
}

fn found(sheet: &mut Sheet, seen: &Computed) {
    let mut lines = Vec::new();
    for (name, value) in seen.facts_in_words() {
        lines.push(format!("{} {}", sheet.code(name, LISTED), sheet.code(&value, LISTED)));
    }
    sheet.lines("*Read from it*", &lines, LIST);
    let mut lines = Vec::new();
    for line in &seen.evidence {
        let (about, says) = (sheet.code(&line.about, LISTED), sheet.code(&line.says, LISTED));
        lines.push(format!("{about} {says}, from {}", sheet.code(&line.source, LISTED)));
    }
    sheet.lines("*Found out beforehand*", &lines, LIST);
}

fn asks(sheet: &mut Sheet, message: &Message) {
    let mut lines = Vec::new();
    for ask in message.asks.iter().take(ASKS) {
        lines.push(line_of(sheet, ask));
    }
    let more = message.asks.len().saturating_sub(ASKS);
    if more > 0 {
        sheet.cut = true;
        lines.push(format!("… and {more} more"));
    }
    sheet.lines("*Why people are asked, and whom*", &lines, 2 * LIST);
    for (title, said) in
        [("*Why it waits again*", &message.drifted), ("*Rejected because*", &message.rejection)]
    {
        if let Some(said) = said {
            let said = sheet.code(said, SAID);
            sheet.ours(&format!("{title}\n{said}"));
        }
    }
}

fn line_of(sheet: &mut Sheet, ask: &Ask) -> String {
    let mark = if ask.lifted { "✅" } else { "⬜" };
    let (gate, reason) = (sheet.code(&ask.gate, LISTED), sheet.code(&ask.reason, LISTED));
    let approvers = sheet.code(&ask.approvers, LISTED);
    format!("{mark} {gate} {reason}: {approvers}, {} of {} so far", ask.votes, ask.quorum)
}

fn claimed(sheet: &mut Sheet, message: &Message) {
    let claims = &message.claimed;
    if claims.requester_name.is_empty() && claims.reason.is_none() {
        return;
    }
    sheet.divider();
    let name = sheet.code(&claims.requester_name, Sheet::FIELD);
    let reason = claims.reason.as_deref().map_or_else(|| "no reason".into(), |said| sheet.code(said, SAID));
    sheet.ours(&format!("🗣️ _{}_\n{name} says: {reason}", claims.marked));
}

/// The end of it: what is missing, and what can be done.
fn ends(sheet: &mut Sheet, message: &Message, whole: bool, value: Option<&str>) {
    let open = message.offers != Offer::Nothing;
    if open && message.hidden_characters {
        sheet.ours(
            "⚠️ *It hides characters,* which are written out here as ⟨U+…⟩. Decide where all of it is shown.",
        );
    } else if open && (!whole || message.offers == Offer::Review) {
        sheet.ours("⚠️ *Not all of it is shown here.* Decide where all of it is shown.");
    }
    // An address of ours; a link's address ends at `|` and `>`.
    let link = escaped(&message.link, Sink::Plain).replace('|', "%7C");
    match value {
        Some(value) => sheet.actions(&[
            // Where no gate is lifted by a word in a chat, that word is not offered.
            match message.approves_on_its_page() {
                None => json!({"type": "button", "action_id": "approve", "text": plain("Approve"), "style": "primary",
                    "value": value, "confirm": confirm(&message.code)}),
                Some(title) => json!({"type": "button", "action_id": "decide", "text": plain(title), "style": "primary",
                    "url": message.decide_link}),
            },
            json!({"type": "button", "action_id": "reject", "text": plain("Reject…"), "style": "danger", "value": value}),
            json!({"type": "button", "action_id": "review", "text": plain("Review in Countersign"), "url": message.link}),
        ]),
        None if message.state == "test" => sheet.context(&format!("<{link}|Open Countersign>")),
        None if open => sheet.ours(&format!("*<{link}|Review in Countersign>*")),
        None => sheet.context(&format!("<{link}|See it in Countersign>")),
    }
}

/// Once more before it counts: a thumb slips.
fn confirm(code: &str) -> Value {
    json!({
        "title": plain(&format!("Approve {code}?")),
        "text": plain("It runs exactly as it is shown in the message, once."),
        "confirm": plain("Approve"), "deny": plain("Not yet"),
    })
}

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}
