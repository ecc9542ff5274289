//! The one message about an approval as an Adaptive Card (schema 1.5). Pure. Every text that is not ours stands as a text
//! run, in which no markup counts; what does not fit is counted, and then nothing can be decided from the card.
//!
//! Elements and actions: <https://adaptivecards.io/explorer/>.

use super::{
    escape::escaped,
    sheet::{Sheet, cost, ours, title as bold},
};
use crate::{
    channel::{Gathering, Letter},
    desk::Told,
    message::{Ask, Computed, Message, Offer, Request, Shown, names},
    words,
};
use countersign_core::{Timestamp, visible};
use countersign_engine::inward::LONGEST_REASON;
use serde_json::{Value, json};

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// For notifications and for who hears it read out.
    pub summary: String,
    pub card: Value,
    /// It can be decided from the card itself: rejected at least.
    pub decides: bool,
}

/// What the verbs of its buttons are.
pub(super) const APPROVE: &str = "approve";
pub(super) const REJECT: &str = "reject";
/// The card is asked for as it stands now, for whoever looks at it.
pub(super) const LOOK: &str = "look";
/// What a button carries its target in, and the form its reason.
pub(super) const ON: &str = "on";
pub(super) const REASON: &str = "reason";

/// What the line for notifications says of the sentence.
const NOTIFIED: usize = 300;
const SENTENCE: usize = 1_000;
const FIELD: usize = 300;
/// Lists of facts and of evidence, each, as JSON.
const LIST: usize = 2_500;
const LISTED: usize = 200;
/// Gates that are drawn.
const ASKS: usize = 6;
/// A rejection, a drift, a claim.
const SAID: usize = 600;
/// The least that is shown of bytes that do not fit, as JSON: less would say nothing.
const LEAST: usize = 500;
/// And the most of them.
const GLIMPSE: usize = 4_000;
/// Of [`super::sheet::MOST`], for what says that something is missing.
const KEPT: usize = 600;

/// The card. `value` is what its buttons carry, where somebody listens to them; without, it carries a link alone.
pub fn card(message: &Message, value: Option<&str>) -> Card {
    aside(message, value, value, None)
}

/// The card for one person: with `buttons` only where they may decide, and with what they alone are told above.
pub(super) fn aside(
    message: &Message,
    value: Option<&str>,
    buttons: Option<&str>,
    told: Option<&Told>,
) -> Card {
    let mut top = Sheet::default();
    if let Some(told) = told {
        note(&mut top, told);
    }
    top.heading(&format!("{} · {}", words::title(&message.state), message.code));
    if told.is_some() {
        top.separator();
    }
    let sentence = top.theirs(&message.computed.sentence, SENTENCE);
    top.runs(&sentence);
    fields(&mut top, message);
    let mut rest = Sheet::default();
    found(&mut rest, &message.computed);
    asks(&mut rest, message);
    claimed(&mut rest, message);
    let left = top.left().saturating_sub(rest.used()).saturating_sub(KEPT);
    let whole = message.request.as_ref().is_none_or(|asked| request(&mut top, asked, left));
    top.append(rest);
    let whole = whole && !top.cut;
    let decides = message.offers == Offer::Decide && whole && buttons.is_some();
    missing(&mut top, message, whole);
    let actions = actions(message, buttons.filter(|_| decides), told);
    // What is open changes, and looks different to whoever decided: it is asked for again when it is looked at.
    let look = value.filter(|_| message.offers != Offer::Nothing);
    Card { summary: summary(message), card: whole_card(message, top, &actions, look), decides }
}

/// Nothing but where to see it, for when Teams does not take the message.
pub(super) fn brief(message: &Message) -> Card {
    let mut sheet = Sheet::default();
    sheet.heading(&format!("{} · {}", words::title(&message.state), message.code));
    missing(&mut sheet, message, false);
    let card = whole_card(message, sheet, &actions(message, None, None), None);
    Card { summary: summary(message), card, decides: false }
}

/// Several approvals, as many as find room. It decides on none.
pub(super) fn several(gathering: &Gathering) -> Card {
    let mut sheet = Sheet::default();
    let heading = words::several(gathering);
    sheet.heading(&heading);
    for (title, value) in words::common(gathering) {
        let mut runs = vec![bold(&format!("{title}\u{a0} "))];
        runs.extend(sheet.theirs(&value, FIELD));
        sheet.near(&runs);
    }
    let mut listed = 0;
    for item in &gathering.items {
        // A sentence may cost several bytes for each character.
        if sheet.left() < 4 * LISTED + 2 * KEPT {
            break;
        }
        let until = item.deadline.map(|deadline| format!(", until {}", moment(deadline))).unwrap_or_default();
        // A code is ours, eight hexadecimal digits, and so is the address.
        sheet.block(&format!("[{}]({}){until}", item.code, item.link));
        let sentence = sheet.theirs(&item.sentence, LISTED);
        sheet.near(&sentence);
        listed += 1;
    }
    if let Some(more) = words::unlisted(gathering, listed) {
        sheet.block(&more);
    }
    sheet.block(words::EACH);
    let actions = [open(words::REVIEW, &gathering.link)];
    let card = json!({"type": "AdaptiveCard", "version": "1.5", "msteams": {"width": "Full"}, "fallbackText": heading,
        "body": sheet.elements(), "actions": actions});
    Card { summary: heading, card, decides: false }
}

/// The same once none of them waits.
pub(super) fn over(link: &str) -> Card {
    let mut sheet = Sheet::default();
    sheet.heading(words::OVER);
    let actions = [open("See them in Countersign", link)];
    let card = json!({"type": "AdaptiveCard", "version": "1.5", "fallbackText": words::OVER, "body": sheet.elements(),
        "actions": actions});
    Card { summary: words::OVER.to_owned(), card, decides: false }
}

/// Something said to one user.
pub(super) fn said(told: &Told) -> Card {
    let mut sheet = Sheet::default();
    note(&mut sheet, told);
    let actions: Vec<Value> = link_of(told).into_iter().collect();
    let card =
        json!({"type": "AdaptiveCard", "version": "1.5", "body": sheet.elements(), "actions": actions});
    Card { summary: "Countersign".into(), card, decides: false }
}

fn whole_card(message: &Message, sheet: Sheet, actions: &[Value], look: Option<&str>) -> Value {
    let mut card = json!({
        "type": "AdaptiveCard", "version": "1.5", "msteams": {"width": "Full"}, "fallbackText": words::title(&message.state),
        "body": sheet.elements(), "actions": actions,
    });
    if let (Some(value), Some(card)) = (look, card.as_object_mut()) {
        card.insert("refresh".into(), json!({"action": execute("Refresh", LOOK, value)}));
    }
    card
}

fn summary(message: &Message) -> String {
    let sentence: String = message.computed.sentence.chars().take(NOTIFIED).collect();
    format!("{}: {}", words::title(&message.state), escaped(&sentence))
}

/// What one person alone is told, above all else.
fn note(sheet: &mut Sheet, told: &Told) {
    match told {
        Told::Plain(words) | Told::Linked { words, .. } => sheet.runs(&[bold(&escaped(words))]),
        Told::Status { state, sentence, .. } => {
            sheet.block(state);
            let sentence = sheet.theirs(&visible::escaped(sentence), SENTENCE);
            sheet.runs(&sentence);
        }
        Told::List { waiting, .. } if waiting.is_empty() => sheet.block("Nothing waits for you."),
        Told::List { waiting, more, .. } => {
            for (code, sentence, link) in waiting {
                // A code is ours, eight hexadecimal digits, and so is the address.
                sheet.block(&format!("[{code}]({link})"));
                let sentence = sheet.theirs(&visible::escaped(sentence), SENTENCE);
                sheet.near(&sentence);
            }
            if *more > 0 {
                sheet.block(&format!("{more} more"));
            }
        }
    }
}

fn fields(sheet: &mut Sheet, message: &Message) {
    let seen = &message.computed;
    let Some(asked_by) = message.asked_by() else { return };
    let mut field = |title: &str, text: &str| {
        let mut runs = vec![bold(&format!("{title}\u{a0} "))];
        runs.extend(sheet.theirs(text, FIELD));
        sheet.near(&runs);
    };
    field("Asked by", &asked_by);
    for (title, people) in [("Owned by", &seen.owners), ("For", &seen.on_behalf_of)] {
        if !people.is_empty() {
            field(title, &names(people));
        }
    }
    field("Target", &format!("{} in {}", seen.target, seen.environment));
    field("What", &seen.kind());
    if !seen.resources.is_empty() {
        field("On", &seen.resources.join(", "));
    }
    if let Some(deadline) = message.deadline {
        sheet.block(&format!("**Until** {}", moment(deadline)));
    }
}

/// A moment in the reader's zone, and in UTC.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    let minute = time.get(..5).unwrap_or_default();
    format!("{{{{DATE({date}T{time}Z, SHORT)}}}} at {{{{TIME({date}T{time}Z)}}}} ({date} {minute} UTC)")
}

/// Whether all bytes are shown.
fn request(sheet: &mut Sheet, asked: &Request, left: usize) -> bool {
    let (parts, whole) = asked.shown(left, GLIMPSE, LEAST, cost);
    for part in parts {
        match part {
            Shown::Title(title) => sheet.caption(&title),
            Shown::Text(text) => sheet.fence(&text),
            Shown::Gap(gap) => sheet.warning(&format!("⚠️ {gap}")),
        }
    }
    whole
}

fn found(sheet: &mut Sheet, seen: &Computed) {
    let mut lines = Vec::new();
    for (name, value) in seen.facts_in_words() {
        lines.push([sheet.theirs(name, LISTED), vec![ours(": ")], sheet.theirs(&value, LISTED)].concat());
    }
    sheet.lines("Read from it", &lines, LIST);
    let mut lines = Vec::new();
    for line in &seen.evidence {
        let (about, says) = (sheet.theirs(&line.about, LISTED), sheet.theirs(&line.says, LISTED));
        let source = sheet.theirs(&line.source, LISTED);
        lines.push([about, vec![ours(": ")], says, vec![ours(", from ")], source].concat());
    }
    sheet.lines("Found out beforehand", &lines, LIST);
}

fn asks(sheet: &mut Sheet, message: &Message) {
    let mut lines = Vec::new();
    for ask in message.asks.iter().take(ASKS) {
        lines.push(line_of(sheet, ask));
    }
    let more = message.asks.len().saturating_sub(ASKS);
    if more > 0 {
        sheet.cut = true;
        lines.push(vec![ours(&format!("… and {more} more"))]);
    }
    sheet.lines("Why people are asked, and whom", &lines, 2 * LIST);
    for (title, said) in [("Why it waits again", &message.drifted), ("Rejected because", &message.rejection)]
    {
        if let Some(said) = said {
            sheet.caption(title);
            let said = sheet.theirs(said, SAID);
            sheet.near(&said);
        }
    }
}

fn line_of(sheet: &mut Sheet, ask: &Ask) -> Vec<Value> {
    let mark = if ask.lifted { "✅ " } else { "⬜ " };
    let (gate, reason) = (sheet.theirs(&ask.gate, LISTED), sheet.theirs(&ask.reason, LISTED));
    let approvers = sheet.theirs(&ask.approvers, LISTED);
    let so_far = ours(&format!(", {} of {} so far", ask.votes, ask.quorum));
    [vec![ours(mark)], gate, vec![ours(": ")], reason, vec![ours(" · ")], approvers, vec![so_far]].concat()
}

fn claimed(sheet: &mut Sheet, message: &Message) {
    let claims = &message.claimed;
    if claims.requester_name.is_empty() && claims.reason.is_none() {
        return;
    }
    sheet.block(&format!("🗣️ _{}_", claims.marked));
    sheet.separator();
    let name = sheet.theirs(&claims.requester_name, FIELD);
    let reason =
        claims.reason.as_deref().map_or_else(|| vec![ours("no reason")], |said| sheet.theirs(said, SAID));
    sheet.near(&[name, vec![ours(" says: ")], reason].concat());
}

/// Says that something is missing.
fn missing(sheet: &mut Sheet, message: &Message, whole: bool) {
    let open = message.offers != Offer::Nothing;
    if open && message.hidden_characters {
        sheet.warning(
            "⚠️ It hides characters, which are written out here as ⟨U+…⟩. Decide where all of it is shown.",
        );
    } else if open && (!whole || message.offers == Offer::Review) {
        sheet.warning("⚠️ Not all of it is shown here. Decide where all of it is shown.");
    }
}

/// What can be done. The page is offered always: it can do whatever the card cannot.
fn actions(message: &Message, value: Option<&str>, told: Option<&Told>) -> Vec<Value> {
    let mut actions: Vec<Value> = told.and_then(link_of).into_iter().collect();
    if let Some(value) = value {
        // Where no gate is lifted by a word in a chat, that word is not offered.
        actions.push(match message.approves_on_its_page() {
            None => approve(value),
            Some(title) => open(title, &message.decide_link),
        });
        actions.push(reject(value));
    }
    let title = match message.offers {
        _ if message.state == "test" => "Open Countersign",
        Offer::Decide | Offer::Review => "Review in Countersign",
        Offer::Nothing => "See it in Countersign",
    };
    let page =
        told.and_then(link_of).is_some_and(|link| link.get("url") == Some(&message.link.as_str().into()));
    if !page {
        actions.push(open(title, &message.link));
    }
    actions
}

fn link_of(told: &Told) -> Option<Value> {
    match told {
        Told::Plain(_) => None,
        Told::Linked { title, link, .. } => Some(open(title, link)),
        Told::Status { link, .. } => Some(open(crate::desk::PAGE, link)),
        Told::List { console, .. } => Some(open("Open Countersign", console)),
    }
}

fn open(title: &str, link: &str) -> Value {
    json!({"type": "Action.OpenUrl", "title": title, "url": link})
}

fn execute(title: &str, verb: &str, value: &str) -> Value {
    json!({"type": "Action.Execute", "title": title, "verb": verb, "data": {ON: value}})
}

/// Once more before it counts: a thumb slips.
fn approve(value: &str) -> Value {
    let sure =
        json!({"type": "TextBlock", "wrap": true, "text": "It runs exactly as it is shown here, once."});
    let mut button = execute("Approve", APPROVE, value);
    style(&mut button, "positive");
    json!({"type": "Action.ShowCard", "title": "Approve…",
        "card": {"type": "AdaptiveCard", "body": [sure], "actions": [button]}})
}

fn reject(value: &str) -> Value {
    let why = json!({"type": "Input.Text", "id": REASON, "label": "Why? It reaches the requester.", "isMultiline": true,
        "isRequired": true, "errorMessage": "Say why: it reaches the requester.", "maxLength": LONGEST_REASON});
    let mut button = execute("Reject", REJECT, value);
    style(&mut button, "destructive");
    json!({"type": "Action.ShowCard", "title": "Reject…",
        "card": {"type": "AdaptiveCard", "body": [why], "actions": [button]}})
}

fn style(button: &mut Value, style: &str) {
    if let Some(button) = button.as_object_mut() {
        button.insert("style".into(), style.into());
    }
}

/// One line for the thread below, and for notifications as plain text.
pub(super) fn line(letter: &Letter) -> Card {
    const NAME: usize = 200;
    const THEIRS: usize = 1_000;
    let mut sheet = Sheet::default();
    let step = words::step(letter);
    let (mut runs, mut text) = (Vec::new(), String::new());
    for piece in step.line {
        match piece {
            words::Piece::Ours(said) => {
                text.push_str(&said);
                runs.push(ours(&said));
            }
            words::Piece::Theirs(said) => {
                let (shown, _) = super::escape::cut(&said, NAME);
                text.push_str(&shown);
                runs.extend(sheet.theirs(&said, NAME));
            }
        }
    }
    sheet.runs(&runs);
    if let Some(said) = step.said {
        let said = sheet.theirs(&said, THEIRS);
        sheet.runs(&said);
    }
    let card = json!({"type": "AdaptiveCard", "version": "1.5", "fallbackText": escaped(&text), "body": sheet.elements()});
    Card { summary: text, card, decides: false }
}

/// What calls people once more where there are no threads: which approval it is, what it is about, and where to decide.
pub(super) fn call(letter: &Letter) -> Card {
    let message = &letter.message;
    let Card { summary: said, .. } = line(letter);
    let mut sheet = Sheet::default();
    sheet.heading(&format!("{} · {}", words::title(&message.state), message.code));
    let step = sheet.theirs(&said, FIELD);
    sheet.runs(&step);
    let sentence = sheet.theirs(&message.computed.sentence, NOTIFIED);
    sheet.near(&sentence);
    let card = whole_card(message, sheet, &actions(message, None, None), None);
    Card { summary: format!("{said} {}", summary(message)), card, decides: false }
}
