//! Tasks: handles of calls that take longer than their agents wait, in the forms of both eras (2025-11-25,
//! basic/utilities/tasks; 2026-07-28, SEP-2663). A handle names a call and is no credential: it answers its own caller alone.
//! That of a call that waits for people is its approval's id, which outlives the gateway; the rest is kept in memory.

use crate::{
    session::UnderWay,
    upstream::{exchange::Form, served::Served},
};
use countersign_core::{ApprovalId, Caller, Requester, Timestamp, visible};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
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
/// How much of a failure's own words is in a status, in characters; all of it is in the result.
const FAILURE: usize = 2000;
/// What a task's first status holds for the model, so that its turn can go on (2025-11-25, "Model Immediate Response").
const IMMEDIATE: &str = "io.modelcontextprotocol/model-immediate-response";

/// What came of a task's call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) form: Form,
    /// The result or the error, as JSON.
    pub(crate) raw: String,
    /// Why it failed, where it did: of a result, because it says that it is an error.
    failure: Option<String>,
}

/// As much of a result or an error as says why it failed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(default)]
    is_error: bool,
    #[serde(default)]
    content: Vec<Part>,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
}

impl Outcome {
    pub(crate) fn new(form: Form, raw: String) -> Self {
        let told = serde_json::from_str::<Failure>(&raw).ok();
        let why = match form {
            Form::Result => told.filter(|told| told.is_error).map(|told| {
                let texts = told.content.into_iter().map(|part| part.text).filter(|text| !text.is_empty());
                texts.collect::<Vec<_>>().join("\n")
            }),
            Form::Error | Form::Asks => Some(told.map(|told| told.message).unwrap_or_default()),
        };
        let failure = why.map(|why| visible::told(&why.chars().take(FAILURE).collect::<String>()));
        Self { form, raw, failure }
    }

    fn too_large() -> Self {
        let text = "It ran, and its answer was too large to be kept. Look at what it changed.";
        Self::new(
            Form::Result,
            json!({"isError": true, "content": [{"type": "text", "text": text}]}).to_string(),
        )
    }
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
    caller: Caller,
    created: Timestamp,
    stage: watch::Sender<(Stage, Timestamp)>,
    /// The task that its server has made of the call.
    served: OnceLock<Arc<Served>>,
    /// Its agent does not want it any more.
    given_up: AtomicBool,
    /// Its agent was told what came of it.
    told: AtomicBool,
}

impl Task {
    pub(crate) fn new(
        id: String,
        approval: Option<ApprovalId>,
        under_way: Arc<UnderWay>,
        requester: &Requester,
        now: Timestamp,
    ) -> Self {
        let (stage, _) = watch::channel((Stage::Working(RUNS.into()), now));
        Self {
            id,
            approval,
            under_way,
            caller: requester.caller(),
            created: now,
            stage,
            served: OnceLock::new(),
            given_up: AtomicBool::new(false),
            told: AtomicBool::new(false),
        }
    }

    fn is_of(&self, requester: &Requester) -> bool {
        self.caller == requester.caller()
    }

    /// Its server works on it as a task of its own.
    pub(crate) fn is_served_by(&self, served: Arc<Served>) {
        // A call runs once, so there is no other.
        let _ = self.served.set(served);
    }

    pub(crate) fn is_given_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// What it came to with this answer: nothing, where that is what its server or its agent wanted.
    pub(crate) fn with(&self, outcome: Outcome) -> Stage {
        let given_up = self.given_up.load(Ordering::Relaxed);
        let is_cancelled = self.served().is_some_and(|served| served.is_cancelled(given_up));
        if is_cancelled { Stage::Cancelled } else { Stage::Over(outcome) }
    }

    /// Its agent is told how it stands.
    fn is_told(&self, stage: &Stage) {
        if !matches!(stage, Stage::Working(_)) {
            self.told.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn served(&self) -> Option<&Arc<Served>> {
        self.served.get()
    }

    pub(crate) fn is_at_work(&self) -> bool {
        matches!(self.stage.borrow().0, Stage::Working(_))
    }

    #[cfg(test)]
    pub(crate) fn stage(&self) -> Stage {
        self.stage.borrow().0.clone()
    }

    /// Goes on to this stage, unless it is over already: whether it was not.
    pub(crate) fn goes_on(&self, stage: Stage, now: Timestamp) -> bool {
        let stage = match stage {
            Stage::Over(outcome) if outcome.raw.len() > LARGEST => Stage::Over(Outcome::too_large()),
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
        let over = over.map_or(Stage::Cancelled, |over| over.0.clone());
        self.is_told(&over);
        over
    }

    /// What the protocol says of it in this status; `ttl` and `poll` are what its era calls them.
    fn told(&self, status: &str, message: &str, at: Timestamp, (ttl, poll): (&str, &str)) -> Value {
        json!({
            "taskId": self.id, "status": status, "statusMessage": message, "createdAt": self.created.to_string(),
            "lastUpdatedAt": at.to_string(), ttl: millis(KEPT), poll: millis(POLL),
        })
    }

    /// Its status in this era: a tool that says it failed has failed in the earlier one, and has completed in the later.
    fn status(&self, stage: &(Stage, Timestamp), names: (&str, &str)) -> Value {
        let (status, message) = match &stage.0 {
            Stage::Working(why) => ("working", why.as_str()),
            Stage::Over(Outcome { form: Form::Result, failure: Some(why), .. }) if names == EARLIER => {
                ("failed", why.as_str())
            }
            Stage::Over(Outcome { form: Form::Result, .. }) => ("completed", "It has an answer."),
            Stage::Over(Outcome { form: Form::Error | Form::Asks, failure, .. }) => {
                ("failed", failure.as_deref().unwrap_or_default())
            }
            Stage::Cancelled => ("cancelled", "It was cancelled."),
        };
        self.told(status, message, stage.1, names)
    }

    /// The status it begins in, whatever has come of it since, and what it waits for.
    fn begins(&self, names: (&str, &str)) -> Value {
        let stage = self.stage.borrow();
        let why = match &stage.0 {
            Stage::Working(why) => why,
            Stage::Over(_) | Stage::Cancelled => RUNS,
        };
        self.told("working", why, self.created, names)
    }

    /// As the earlier era has it.
    pub(crate) fn earlier(&self) -> Value {
        let stage = self.stage.borrow().clone();
        self.status(&stage, EARLIER)
    }

    /// The answer to the call that became a task, as the earlier era has it.
    pub(crate) fn made_earlier(&self) -> String {
        let task = self.begins(EARLIER);
        if self.approval.is_none() {
            return json!({"task": task}).to_string();
        }
        let why = task.get("statusMessage").cloned();
        json!({"_meta": {IMMEDIATE: why}, "task": task}).to_string()
    }

    /// As the later era has it, with its result where there is one, or with what the server asks. `server` is what people call
    /// that.
    pub(crate) fn later(&self, server: &str) -> String {
        // All of it is of one moment.
        let stage = self.stage.borrow().clone();
        let mut status = self.status(&stage, LATER);
        let asks = self.served().filter(|_| matches!(stage.0, Stage::Working(_)));
        let asks = asks.and_then(|served| served.questions(server));
        if let (Some(_), Some(told)) = (&asks, status.as_object_mut()) {
            told.insert("status".into(), "input_required".into());
        }
        let told = of_kind("complete", status);
        self.is_told(&stage.0);
        match (&stage.0, told.strip_suffix('}')) {
            (Stage::Working(_), Some(rest)) if let Some(asks) = asks => {
                format!(r#"{rest},"inputRequests":{asks}}}"#)
            }
            // In the bytes the server wrote it in.
            (Stage::Over(Outcome { form, raw, .. }), Some(rest)) => {
                format!(r#"{rest},"{}":{raw}}}"#, form.as_str())
            }
            _ => told,
        }
    }

    /// The answer to the call that became a task, as the later era has it.
    pub(crate) fn made_later(&self) -> String {
        of_kind("task", self.begins(LATER))
    }
}

/// What each era calls how long a task is kept, and how often it is asked for.
const EARLIER: (&str, &str) = ("ttl", "pollInterval");
const LATER: (&str, &str) = ("ttlMs", "pollIntervalMs");

/// What is said of a task that waits for nobody.
const RUNS: &str = "It runs.";

fn of_kind(kind: &str, mut told: Value) -> String {
    if let Some(told) = told.as_object_mut() {
        told.insert("resultType".into(), kind.into());
    }
    told.to_string()
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
        // What is at work still can be given up.
        all.retain(|_, task| task.is_at_work() || now.since(task.created) < KEPT);
        if all.values().filter(|task| task.is_of(requester)).count() < MOST {
            return true;
        }
        // Its agent knows what came of it, so that it can be forgotten.
        let done = all.values().filter(|task| task.is_of(requester) && task.told.load(Ordering::Relaxed));
        let oldest = done.min_by_key(|task| task.created).map(|task| task.id.clone());
        oldest.is_some_and(|oldest| all.remove(&oldest).is_some())
    }

    /// Takes a task in; the one of that id that is there already, if one is.
    pub(crate) fn insert(&self, task: Arc<Task>) -> Result<(), Arc<Task>> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(&task.id).filter(|known| known.is_at_work()) {
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
        let outcome = Outcome::new(Form::Result, r#"{"n": 1.50}"#.into());
        assert!(own.goes_on(Stage::Over(outcome.clone()), own.created));
        assert!(!own.goes_on(Stage::Cancelled, own.created));
        assert_eq!(own.stage(), Stage::Over(outcome));
        assert!(own.later("shop").ends_with(r#","result":{"n": 1.50}}"#), "{}", own.later("shop"));
        assert_eq!(own.earlier()["status"], "completed");
        let made: Value = serde_json::from_str(&own.made_earlier()).unwrap();
        assert_eq!(made["task"]["status"], "working", "every task begins so");
        assert!(tasks.has_room(&requester(1), own.created));
        assert!(tasks.has_room(&requester(1), own.created.plus(KEPT)));
        assert!(tasks.find("a", &requester(1)).is_none(), "it was kept for long enough");
        let long = task("b", 1);
        tasks.insert(Arc::clone(&long)).unwrap();
        assert!(tasks.has_room(&requester(1), long.created.plus(KEPT)));
        assert!(tasks.find("b", &requester(1)).is_some(), "it is at work still");
    }

    #[test]
    fn the_oldest_task_makes_room_whose_end_its_agent_was_told_of() {
        let tasks = Tasks::default();
        let all: Vec<_> = (0..MOST).map(|number| task(&format!("{number:03}"), 1)).collect();
        for task in &all {
            assert!(tasks.has_room(&requester(1), task.created));
            tasks.insert(Arc::clone(task)).unwrap();
        }
        let (now, over) = (all[0].created, Outcome::new(Form::Result, "{}".into()));
        assert!(!tasks.has_room(&requester(1), now), "all are at work");
        assert!(tasks.has_room(&requester(2), now));
        all[5].goes_on(Stage::Over(over), now);
        assert!(!tasks.has_room(&requester(1), now), "nobody knows yet what came of it");
        let _told = all[5].later("shop");
        assert!(tasks.has_room(&requester(1), now));
        assert!(tasks.find("005", &requester(1)).is_none() && tasks.find("004", &requester(1)).is_some());
    }

    #[test]
    #[rustfmt::skip]
    fn what_failed_has_failed_in_the_earlier_era_and_says_why() {
        for (form, raw, earlier, later, why) in [
            (Form::Result, r#"{"content":[]}"#, "completed", "completed", "It has an answer."),
            (Form::Result, r#"{"content":[{"type":"text","text":"no"},{"type":"image","data":""}],"isError":true}"#, "failed", "completed", "no"),
            (Form::Error, r#"{"code":-32000,"message":"gone"}"#, "failed", "failed", "gone"),
            (Form::Error, "{}", "failed", "failed", ""),
        ] {
            let task = task("a", 1);
            assert!(task.goes_on(Stage::Over(Outcome::new(form, raw.into())), task.created));
            let own: Value = serde_json::from_str(&task.later("shop")).unwrap();
            assert_eq!((&task.earlier()["status"], &own["status"]), (&json!(earlier), &json!(later)), "{raw}");
            assert_eq!(task.earlier()["statusMessage"], why);
        }
    }

    #[test]
    fn what_is_too_large_to_keep_is_said_to_have_run() {
        let task = task("a", 1);
        let outcome = Outcome::new(Form::Result, "x".repeat(LARGEST + 1));
        assert!(task.goes_on(Stage::Over(outcome), task.created));
        let Stage::Over(kept) = task.stage() else { unreachable!() };
        assert!(kept.raw.contains("too large to be kept") && kept.raw.contains(r#""isError":true"#));
    }
}
