//! What `PagerDuty` is sent: an event that opens an incident and one that resolves it
//! (<https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>). Pure.

use crate::{
    channel::{Gathering, Letter},
    paging::text::{self, NAME, NOTE, shown, within},
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
    let mut payload = Map::new();
    let mut put = |name: &str, text: String| payload.insert(name.into(), text.into());
    put("summary", text::summary(letter, SUMMARY));
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
    put("summary", text::summary_of_several(gathering, SUMMARY));
    put("source", within(&gathering.source, NAME));
    put("severity", severity.as_str().into());
    put("timestamp", gathering.now.to_string());
    if let Some(common) = &gathering.common {
        put("component", within(&shown(&common.target), NAME));
        put("group", within(&shown(&common.environment), NAME));
        put("class", within(&shown(&common.kind), NAME));
    }
    let lines = text::lines(gathering);
    let mut details = Map::new();
    let more = words::unlisted(gathering, lines.len());
    details.insert("approvals".into(), lines.into());
    details.extend(more.map(|more| ("and".into(), more.into())));
    let asked_by = gathering.common.as_ref().map(|common| common.requester.clone());
    details.extend(asked_by.map(|requester| ("asked by".into(), requester.into())));
    details.insert("note".into(), text::note_of_several().into());
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
    let said = text::details(letter);
    let mut details = Map::new();
    let mut put = |name: &str, value: Value| details.insert(name.into(), value);
    put("approval", said.approval.into());
    put("state", said.state.into());
    if let Some(requester) = said.asked_by {
        put("asked by", requester.into());
    }
    if let Some(until) = said.until {
        put("until", until.into());
    }
    put("people are asked", said.asks.into());
    if said.more > 0 {
        put("and more", said.more.into());
    }
    put("note", NOTE.into());
    Value::Object(details)
}
