//! What Opsgenie is sent: an alert, and what is said when it changes (<https://docs.opsgenie.com/docs/alert-api>). Pure.

use crate::{
    channel::{Gathering, Letter},
    paging::text::{self, NAME, NOTE, shown, within},
    words,
};
use serde_json::{Map, Value, json};

/// What Opsgenie takes, in characters, and how many tags.
const MESSAGE: usize = 130;
const DESCRIPTION: usize = 15_000;
const SOURCE: usize = 100;
const TAG: usize = 50;
/// Who it is from.
const USER: &str = "Countersign";
/// What is left for the sentence in a description, so that the rest of it always has room.
const SENTENCE: usize = 6_000;

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    P1,
    P2,
    P3,
    P4,
    P5,
}

impl Priority {
    pub(crate) fn read(text: &str) -> Option<Self> {
        [Self::P1, Self::P2, Self::P3, Self::P4, Self::P5].into_iter().find(|one| one.as_str() == text)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
            Self::P5 => "P5",
        }
    }
}

/// Whom an alert is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Responder {
    kind: &'static str,
    /// By what Opsgenie finds it: a team by its name, or anything by its id.
    key: &'static str,
    name: String,
}

impl Responder {
    /// Such as `team:dba`, `user:ana@example.com`, `schedule:night`, `escalation:dba`, or `team:id:…`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let kind = ["team", "user", "schedule", "escalation"].into_iter().find(|known| *known == kind)?;
        let (key, name) = match name.strip_prefix("id:") {
            Some(id) => ("id", id),
            None if kind == "user" => ("username", name),
            None => ("name", name),
        };
        let fits =
            !name.trim().is_empty() && name.chars().count() <= NAME && !name.contains(char::is_control);
        fits.then(|| Self { kind, key, name: name.to_owned() })
    }

    fn as_json(&self) -> Value {
        json!({"type": self.kind, self.key: self.name})
    }
}

/// The alert about one approval. Sent again while it is open it counts once more.
pub(super) fn of(letter: &Letter, key: &str, priority: Priority, responders: &[Responder]) -> Value {
    let (message, seen) = (&letter.message, &letter.message.computed);
    let test = message.state == "test";
    let said = text::details(letter);
    let mut lines =
        vec![within(&shown(&seen.sentence), SENTENCE), format!("{}: {}", words::REVIEW, message.link)];
    let mut details = Map::new();
    if !test {
        lines.push(NOTE.to_owned());
        lines.extend(said.asked_by.map(|requester| format!("Asked by {requester}")));
        lines.extend(said.until.map(|until| format!("Until {until}")));
        lines.extend(said.asks);
        lines.extend((said.more > 0).then(|| format!("… and {} gates more", said.more)));
        details.insert("approval".into(), said.approval.into());
        details.insert("link".into(), within(&message.link, NAME).into());
        put(&mut details, &seen.target, &seen.environment, &seen.kind());
    }
    alert(&Alert {
        message: text::summary(letter, MESSAGE),
        key,
        lines,
        details,
        entity: &seen.target,
        environment: &seen.environment,
        source: &letter.source,
        priority,
        responders,
    })
}

/// The alert about several approvals.
pub(super) fn of_several(
    gathering: &Gathering,
    key: &str,
    priority: Priority,
    responders: &[Responder],
) -> Value {
    let mut lines = text::lines(gathering);
    lines.extend(words::unlisted(gathering, lines.len()));
    lines.push(format!("{}: {}", words::REVIEW, gathering.link));
    lines.push(text::note_of_several());
    let (mut details, common) = (Map::new(), gathering.common.as_ref());
    if let Some(common) = common {
        details.insert("asked by".into(), within(&shown(&common.requester), NAME).into());
        put(&mut details, &common.target, &common.environment, &common.kind);
    }
    alert(&Alert {
        message: text::summary_of_several(gathering, MESSAGE),
        key,
        lines,
        details,
        entity: common.map_or("", |common| &common.target),
        environment: common.map_or("", |common| &common.environment),
        source: &gathering.source,
        priority,
        responders,
    })
}

/// What is said of an alert that is there.
pub(super) fn note(text: &str) -> Value {
    json!({"user": USER, "source": USER, "note": text})
}

/// What every alert is made of.
struct Alert<'a> {
    message: String,
    key: &'a str,
    lines: Vec<String>,
    details: Map<String, Value>,
    entity: &'a str,
    environment: &'a str,
    source: &'a str,
    priority: Priority,
    responders: &'a [Responder],
}

fn alert(of: &Alert<'_>) -> Value {
    let tag = shown(of.environment);
    let fits = !tag.is_empty() && tag.chars().count() <= TAG && !tag.contains(',');
    let tags: Vec<String> = std::iter::once("countersign".to_owned()).chain(fits.then_some(tag)).collect();
    let responders: Vec<Value> = of.responders.iter().map(Responder::as_json).collect();
    json!({
        "message": of.message, "alias": of.key, "description": within(&of.lines.join("\n"), DESCRIPTION),
        "entity": within(&shown(of.entity), NAME), "source": within(of.source, SOURCE),
        "priority": of.priority.as_str(), "responders": responders, "tags": tags, "details": of.details,
        "user": USER,
    })
}

fn put(details: &mut Map<String, Value>, target: &str, environment: &str, kind: &str) {
    for (name, text) in [("target", target), ("environment", environment), ("class", kind)] {
        details.insert(name.into(), within(&shown(text), NAME).into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_responder_is_a_kind_and_a_name() {
        for (text, want) in [
            ("team:dba", Some(json!({"type": "team", "name": "dba"}))),
            ("team:id:4513b7ea", Some(json!({"type": "team", "id": "4513b7ea"}))),
            ("user:ana@example.com", Some(json!({"type": "user", "username": "ana@example.com"}))),
            ("schedule:a: b", Some(json!({"type": "schedule", "name": "a: b"}))),
            ("escalation:dba", Some(json!({"type": "escalation", "name": "dba"}))),
            ("group:dba", None),
            ("dba", None),
            ("team:", None),
            ("team:id:", None),
            ("team:a\nb", None),
        ] {
            assert_eq!(Responder::read(text).map(|one| one.as_json()), want, "{text}");
        }
    }
}
