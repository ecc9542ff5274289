//! What `PagerDuty` is sent: an event that opens an incident and one that resolves it
//! (<https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>). Pure. `PagerDuty` shows texts as they are, on pages, in e-mails and
//! short messages, whose readers make links of addresses: those that stand in others' texts are broken.

use crate::{
    channel::{Gathering, Letter},
    email::escape,
    message::Ask,
    words,
};
use serde_json::{Map, Value, json};

/// How urgent an event is. A service may ring for some and not for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Critical,
    Error,
    Warning,
    Info,
}

/// The longest summary that `PagerDuty` takes, in characters.
const SUMMARY: usize = 1024;
/// What names something: a target, an environment, a class.
const NAME: usize = 255;
/// Gates that are listed, and what each says at most.
const ASKS: usize = 10;
const ASK: usize = 500;
/// What is kept free to say how much is missing.
const COUNT: usize = 40;

impl Severity {
    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::Critical, Self::Error, Self::Warning, Self::Info].into_iter().find(|one| one.as_str() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// The event that pages, or says once more that it waits.
pub(super) fn trigger(letter: &Letter, routing: &str, key: &str, severity: Severity) -> Value {
    let (message, seen) = (&letter.message, &letter.message.computed);
    let test = message.state == "test";
    let begin = match &*letter.news.kind {
        "approval.reminded" | "approval.escalated" => "Nobody has decided yet",
        _ if test => "A test",
        _ => "An approval waits",
    };
    let mut payload = Map::new();
    let mut put = |name: &str, text: String| payload.insert(name.into(), text.into());
    put("summary", within(&format!("{begin} · {}: {}", message.code, shown(&seen.sentence)), SUMMARY));
    // Names the gateway that asks: what it is about stands beside it.
    put("source", within(&letter.source, NAME));
    put("severity", severity.as_str().into());
    put("timestamp", letter.news.at.to_string());
    for (name, text) in [("component", &seen.target), ("group", &seen.environment)] {
        if !text.is_empty() {
            put(name, within(&shown(text), NAME));
        }
    }
    if !test {
        put("class", within(&shown(&seen.kind()), NAME));
        payload.insert("custom_details".into(), details(letter));
    }
    let title = if test { "Open Countersign" } else { "Review in Countersign" };
    json!({
        "routing_key": routing, "event_action": "trigger", "dedup_key": key,
        "client": "Countersign", "client_url": message.link,
        "links": [{"href": message.link, "text": title}],
        "payload": payload,
    })
}

/// The event that pages once for several approvals.
pub(super) fn several(gathering: &Gathering, routing: &str, key: &str, severity: Severity) -> Value {
    let mut payload = Map::new();
    let mut put = |name: &str, text: String| payload.insert(name.into(), text.into());
    let first = gathering.items.first().map(|item| format!(". The first: {}", shown(&item.sentence)));
    let heading = words::several(gathering);
    put("summary", within(&format!("{heading}{}", first.unwrap_or_default()), SUMMARY));
    put("source", within(&gathering.source, NAME));
    put("severity", severity.as_str().into());
    put("timestamp", gathering.now.to_string());
    if let Some(common) = &gathering.common {
        put("component", within(&shown(&common.target), NAME));
        put("group", within(&shown(&common.environment), NAME));
        put("class", within(&shown(&common.kind), NAME));
    }
    let listed = gathering.items.iter().take(ASKS);
    let lines: Vec<String> =
        listed.map(|item| within(&format!("{}: {}", item.code, shown(&item.sentence)), ASK)).collect();
    let mut details = Map::new();
    let more = words::unlisted(gathering, lines.len());
    details.insert("approvals".into(), lines.into());
    details.extend(more.map(|more| ("and".into(), more.into())));
    let asked_by = gathering.common.as_ref().map(|common| common.requester.clone());
    details.extend(asked_by.map(|requester| ("asked by".into(), requester.into())));
    details.insert("note".into(), format!("To acknowledge is not to approve. {}", words::EACH).into());
    payload.insert("custom_details".into(), details.into());
    json!({
        "routing_key": routing, "event_action": "trigger", "dedup_key": key,
        "client": "Countersign", "client_url": gathering.link,
        "links": [{"href": gathering.link, "text": words::REVIEW}],
        "payload": payload,
    })
}

/// The event that ends it.
pub(super) fn resolve(routing: &str, key: &str) -> Value {
    json!({"routing_key": routing, "event_action": "resolve", "dedup_key": key})
}

fn details(letter: &Letter) -> Value {
    let message = &letter.message;
    let mut details = Map::new();
    let mut put = |name: &str, value: Value| details.insert(name.into(), value);
    put("approval", letter.approval.to_string().into());
    put("state", words::title(&message.state).into());
    // The id alone: what it is called is the requester's word.
    if let Some(requester) = message.computed.requester {
        put("asked by", requester.to_string().into());
    }
    if let Some(deadline) = message.deadline {
        put("until", deadline.to_string().into());
    }
    let asks: Vec<String> = message.asks.iter().take(ASKS).map(ask).collect();
    put("people are asked", asks.into());
    let more = message.asks.len().saturating_sub(ASKS);
    if more > 0 {
        put("and more", more.into());
    }
    put("note", "To acknowledge is not to approve: open the link to decide.".into());
    Value::Object(details)
}

fn ask(ask: &Ask) -> String {
    let mark = if ask.lifted { "lifted" } else { "waits" };
    let line = format!(
        "{} ({mark}): {} · {}, {} of {} so far",
        ask.gate, ask.reason, ask.approvers, ask.votes, ask.quorum
    );
    within(&shown(&line), ASK)
}

/// Somebody else's text on one line, without anything that a reader makes a link of. What hides in it was written out before.
fn shown(text: &str) -> String {
    escape::line(text)
}

/// At most so many characters of the text, with how many are missing.
fn within(text: &str, most: usize) -> String {
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
        for (length, want) in [(1024, None), (1025, Some("… 41 characters more")), (1 << 20, Some("more"))]
        {
            let cut = within(&"🎈".repeat(length), SUMMARY);
            assert!(cut.chars().count() <= SUMMARY, "{length}");
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
