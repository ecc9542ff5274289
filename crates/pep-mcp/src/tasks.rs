//! Tasks: handles of calls that take longer than their agents wait, in the forms of both eras (2025-11-25,
//! basic/utilities/tasks; 2026-07-28, SEP-2663). A handle names a call and is no credential: it answers its own caller alone.
//! That of a call that waits for people is its approval's id, which outlives the gateway; the rest is kept in memory.

use crate::{session::UnderWay, upstream::exchange::Form};
use countersign_core::{ApprovalId, PersonId, PrincipalId, Requester, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The capability of the later era, in `extensions`.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// How long a task is kept after it was made.
const KEPT: Duration = Duration::from_hours(24);
/// How often a client is asked to look.
const POLL: Duration = Duration::from_secs(2);
/// Tasks of one caller at the same time.
const MOST: usize = 128;
/// Larger results are not kept.
const LARGEST: usize = 1 << 20;

/// What came of a task's call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) form: Form,
    /// The result or the error, as JSON.
    pub(crate) raw: String,
}

/// Where a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Why nothing has come of it yet, for the model.
    Working(String),
    Over(Outcome),
    Cancelled,
}

/// One call behind a handle.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) approval: Option<ApprovalId>,
    pub(crate) under_way: Arc<UnderWay>,
    principal: PrincipalId,
    on_behalf_of: Vec<PersonId>,
    created: Timestamp,
    stage: watch::Sender<(Stage, Timestamp)>,
}

impl Task {
    pub(crate) fn new(
        id: String,
        approval: Option<ApprovalId>,
        under_way: Arc<UnderWay>,
        requester: &Requester,
        now: Timestamp,
    ) -> Self {
        let (stage, _) = watch::channel((Stage::Working("It runs.".into()), now));
        let (principal, on_behalf_of) = (requester.principal, requester.on_behalf_of.clone());
        Self { id, approval, under_way, principal, on_behalf_of, created: now, stage }
    }

    fn is_of(&self, requester: &Requester) -> bool {
        self.principal == requester.principal && self.on_behalf_of == requester.on_behalf_of
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.borrow().0.clone()
    }

    /// Goes on to this stage, unless it is over already: whether it was not.
    pub(crate) fn goes_on(&self, stage: Stage, now: Timestamp) -> bool {
        let stage = match stage {
            Stage::Over(outcome) if outcome.raw.len() > LARGEST => Stage::Over(Outcome {
                form: Form::Result,
                raw: json!({"isError": true, "content": [{"type": "text",
                    "text": "It ran, and its answer was too large to be kept. Look at what it changed."}]})
                .to_string(),
            }),
            other @ (Stage::Working(_) | Stage::Over(_) | Stage::Cancelled) => other,
        };
        self.stage.send_if_modified(|(known, at)| {
            let open = matches!(known, Stage::Working(_));
            if open {
                (*known, *at) = (stage, now);
            }
            open
        })
    }

    /// Waits until something came of it.
    pub(crate) async fn over(&self) -> Stage {
        let mut stage = self.stage.subscribe();
        let over = stage.wait_for(|(stage, _)| !matches!(stage, Stage::Working(_))).await;
        over.map_or(Stage::Cancelled, |over| over.0.clone())
    }

    /// What the protocol says of it; `ttl` and `poll` are what its era calls them.
    fn told(&self, ttl: &str, poll: &str) -> Value {
        let (stage, at) = self.stage.borrow().clone();
        let (status, message) = match &stage {
            Stage::Working(why) => ("working", why.as_str()),
            Stage::Over(Outcome { form: Form::Result, .. }) => ("completed", "It has an answer."),
            Stage::Over(Outcome { form: Form::Error, .. }) => ("failed", "It ended with an error."),
            Stage::Cancelled => ("cancelled", "It was cancelled."),
        };
        json!({
            "taskId": self.id, "status": status, "statusMessage": message, "createdAt": self.created.to_string(),
            "lastUpdatedAt": at.to_string(), ttl: millis(KEPT), poll: millis(POLL),
        })
    }

    /// As the earlier era has it.
    pub(crate) fn earlier(&self) -> Value {
        self.told("ttl", "pollInterval")
    }

    /// As the later era has it, with its result where there is one.
    pub(crate) fn later(&self, kind: &str) -> String {
        let mut told = self.told("ttlMs", "pollIntervalMs");
        if let Some(told) = told.as_object_mut() {
            told.insert("resultType".into(), kind.into());
        }
        let told = told.to_string();
        match (self.stage(), told.strip_suffix('}')) {
            // In the bytes the server wrote it in.
            (Stage::Over(Outcome { form, raw }), Some(rest)) => {
                format!(r#"{rest},"{}":{raw}}}"#, form.as_str())
            }
            _ => told,
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The tasks of one target.
#[derive(Debug, Default)]
pub(crate) struct Tasks(Mutex<HashMap<String, Arc<Task>>>);

impl Tasks {
    /// Whether this caller may have one more, after those that were kept long enough are forgotten.
    pub(crate) fn has_room(&self, requester: &Requester, now: Timestamp) -> bool {
        let mut all = self.0.lock();
        all.retain(|_, task| now.since(task.created) < KEPT);
        all.values().filter(|task| task.is_of(requester)).count() < MOST
    }

    /// Takes a task in; the one of that id that is there already, if one is.
    pub(crate) fn insert(&self, task: Arc<Task>) -> Result<(), Arc<Task>> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(&task.id).filter(|known| matches!(known.stage(), Stage::Working(_))) {
            return Err(Arc::clone(known));
        }
        all.insert(task.id.clone(), task);
        Ok(())
    }

    /// This caller's task; somebody else's is as unknown as one that never was.
    pub(crate) fn find(&self, id: &str, requester: &Requester) -> Option<Arc<Task>> {
        self.0.lock().get(id).filter(|task| task.is_of(requester)).cloned()
    }

    /// All of this caller's, the oldest first.
    pub(crate) fn of(&self, requester: &Requester) -> Vec<Arc<Task>> {
        let mut own: Vec<_> = self.0.lock().values().filter(|task| task.is_of(requester)).cloned().collect();
        own.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::requester;

    fn task(id: &str, number: u128) -> Arc<Task> {
        let now = Timestamp::parse("2026-11-27T00:00:00Z").unwrap();
        Arc::new(Task::new(id.into(), None, Arc::new(UnderWay::new(1)), &requester(number), now))
    }

    #[test]
    fn a_task_answers_its_own_caller_and_what_is_over_stays_as_it_is() {
        let (tasks, own) = (Tasks::default(), task("a", 1));
        tasks.insert(Arc::clone(&own)).unwrap();
        assert!(tasks.find("a", &requester(1)).is_some() && tasks.find("a", &requester(2)).is_none());
        assert!(tasks.insert(task("a", 1)).is_err(), "one that is at work is not replaced");
        let outcome = Outcome { form: Form::Result, raw: r#"{"n": 1.50}"#.into() };
        assert!(own.goes_on(Stage::Over(outcome.clone()), own.created));
        assert!(!own.goes_on(Stage::Cancelled, own.created));
        assert_eq!(own.stage(), Stage::Over(outcome));
        assert!(own.later("complete").ends_with(r#","result":{"n": 1.50}}"#), "{}", own.later("complete"));
        assert_eq!(own.earlier()["status"], "completed");
        assert!(tasks.has_room(&requester(1), own.created));
        assert!(tasks.has_room(&requester(1), own.created.plus(KEPT)));
        assert!(tasks.find("a", &requester(1)).is_none(), "it was kept for long enough");
    }

    #[test]
    fn what_is_too_large_to_keep_is_said_to_have_run() {
        let task = task("a", 1);
        let outcome = Outcome { form: Form::Result, raw: "x".repeat(LARGEST + 1) };
        assert!(task.goes_on(Stage::Over(outcome), task.created));
        let Stage::Over(kept) = task.stage() else { unreachable!() };
        assert!(kept.raw.contains("too large to be kept") && kept.raw.contains(r#""isError":true"#));
    }
}
