//! What a device shows: that something waits, in the computed sentence, and where. Phones show it to whoever looks at them, and
//! show as much of it as they like: a sentence that is not shown whole for certain is not sent at all. Pure.

use crate::{
    channel::{Gathering, Letter, Over},
    words,
};
use countersign_core::{Timestamp, visible};
use serde::Serialize;
use std::time::Duration;

/// How long a push service keeps it for a device that cannot be reached, where no deadline says it.
const A_DAY: Duration = Duration::from_hours(24);
/// The longest that every push service keeps anything.
const LONGEST: Duration = Duration::from_hours(28 * 24);
const SHORTEST: Duration = Duration::from_mins(1);

/// What a notification is for. The names are those that the console's script reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// Somebody is to decide.
    Ask,
    /// Somebody is to look at what became of it.
    Look,
    /// It does not wait any more: it takes the place of what is shown, without a sound.
    Over,
    /// It was asked for on their side, and this is what became of it.
    Ended,
    Test,
}

/// What the console's own script on the device is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    pub(crate) what: What,
    /// What is shown under the same tag takes the place of what was.
    pub(crate) tag: String,
    /// Where a tap leads, on the console.
    pub(crate) path: String,
    pub(crate) title: String,
    pub(crate) lines: Vec<String>,
    /// Shown in the device's own time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<String>,
    #[serde(skip)]
    pub(crate) kept: Duration,
}

impl What {
    /// What a piece of news is to a device; `None`: nothing. `posted` is what was remembered of the approval.
    pub(crate) fn of(letter: &Letter) -> Option<Self> {
        let waits = letter.message.state == "pending";
        let asked = letter.posted.as_deref() == Some(ASKED);
        match &*letter.news.kind {
            "channel.test" => Some(Self::Test),
            "approval.requested" | "approval.round_opened" | "approval.reminded" => {
                waits.then_some(Self::Ask)
            }
            // Others are called then; who was asked before was reminded, or will be.
            "approval.escalated" => (waits && letter.posted.is_none()).then_some(Self::Ask),
            "approval.glass_broken" | "execution.outcome_unknown" => Some(Self::Look),
            // The first that says it is over: what is shown is replaced once.
            _ => (!waits && asked).then_some(Self::Over),
        }
    }

    /// What is remembered once it was told.
    pub(crate) const fn posted(self) -> &'static str {
        match self {
            Self::Ask => ASKED,
            Self::Look | Self::Over | Self::Ended | Self::Test => "over",
        }
    }

    /// How soon the device is to be woken (RFC 8030, section 5.3).
    pub(crate) const fn urgency(self) -> &'static str {
        match self {
            Self::Ask | Self::Look | Self::Test => "high",
            Self::Over | Self::Ended => "normal",
        }
    }
}

const ASKED: &str = "asked";
const WAITS: &str = "An approval waits";
const OPEN_IT: &str = "Open it to see what is asked.";

impl Note {
    /// What is said of one approval. A sentence of more than `show` characters, or one that hides some, is left out.
    pub(crate) fn letter(letter: &Letter, what: What, show: usize) -> Self {
        let (message, seen) = (&letter.message, &letter.message.computed);
        let whole = seen.sentence.chars().count() <= show
            && !message.hidden_characters
            && visible::one_line(&seen.sentence) == seen.sentence;
        let about = || vec![seen.sentence.clone(), format!("{} in {}", seen.target, seen.environment)];
        let (title, lines) = match what {
            What::Test => ("A test".to_owned(), vec!["This device is told of approvals.".to_owned()]),
            What::Ask => {
                let title = match &*letter.news.kind {
                    "approval.reminded" | "approval.escalated" => "Nobody has decided yet",
                    "approval.round_opened" => "An approval waits again",
                    _ => WAITS,
                };
                (title.to_owned(), if whole { about() } else { vec![OPEN_IT.to_owned()] })
            }
            What::Look => {
                let title = match &*letter.news.kind {
                    "approval.glass_broken" => "⚠️ The glass was broken",
                    _ => words::title("unknown"),
                };
                let mut lines = if whole { about() } else { Vec::new() };
                lines.push("Somebody has to look at it.".to_owned());
                (title.to_owned(), lines)
            }
            What::Ended => {
                let lines = if whole { about() } else { vec!["Open it to see what was asked.".to_owned()] };
                (words::title(&message.state).to_owned(), lines)
            }
            What::Over => {
                (words::title(&message.state).to_owned(), vec!["It waits for nobody now.".to_owned()])
            }
        };
        let until = message.deadline.filter(|_| what == What::Ask);
        let path = message.link.strip_prefix(&letter.source).unwrap_or("/");
        Self {
            what,
            tag: letter.approval.to_string(),
            path: if path.is_empty() { "/".into() } else { path.into() },
            title: if what == What::Test { title } else { format!("{title} · {}", message.code) },
            lines,
            until: until.map(|until| until.to_string()),
            kept: kept(until, letter.now),
        }
    }

    /// The same with nothing but that something waits, for a service that takes no more.
    pub(crate) fn brief(&self) -> Self {
        let lines = if self.what == What::Ask { vec![OPEN_IT.to_owned()] } else { Vec::new() };
        Self { lines, ..self.clone() }
    }

    pub(crate) fn several(gathering: &Gathering) -> Self {
        let path = gathering.link.strip_prefix(&gathering.source).unwrap_or("/approvals?status=pending");
        let common = gathering.common.as_ref();
        let target = common.map(|common| format!("{} in {}", common.target, common.environment));
        Self {
            what: What::Ask,
            tag: together(&gathering.id),
            path: path.to_owned(),
            title: words::several(gathering),
            lines: target.into_iter().chain(["Open the list to see them.".to_owned()]).collect(),
            until: None,
            kept: A_DAY,
        }
    }

    pub(crate) fn over(over: &Over) -> Self {
        Self {
            what: What::Over,
            tag: together(&over.id),
            path: "/approvals".into(),
            title: words::OVER.to_owned(),
            lines: Vec::new(),
            until: None,
            kept: A_DAY,
        }
    }

    /// A device is tried.
    pub(crate) fn test() -> Self {
        Self {
            what: What::Test,
            tag: "test".into(),
            path: "/account".into(),
            title: "A test".into(),
            lines: vec!["This device is told of approvals.".into()],
            until: None,
            kept: SHORTEST,
        }
    }
}

fn together(id: &str) -> String {
    format!("together {id}")
}

/// Until the deadline, as services count it.
fn kept(until: Option<Timestamp>, now: Timestamp) -> Duration {
    until.map_or(A_DAY, |until| until.since(now)).clamp(SHORTEST, LONGEST)
}
