//! Jira Cloud: one issue for each approval, whose description says what is asked, whose comments say every step with the entry
//! that proves it, and which is closed when the approval is over. Nothing is deleted. An issue carries the approval's id as a label, so
//! that one that was created by a gateway that died before it could remember it is found again.

mod api;
mod draw;
mod sheet;

pub(crate) use api::Api;
pub use draw::{Issue, issue};

use crate::{
    channel::{Again, Before, Failed, Letter, Tell},
    message::Room,
};
use api::{About, Refusal};
use async_trait::async_trait;
use countersign_engine::outbox::News;
use serde_json::{Value, json};
use std::time::Duration;

/// How soon Jira's search knows of an issue.
const SEARCHED_WITHIN: Duration = Duration::from_secs(30);
/// Comments looked through when one may be there already: the newest.
const COMMENTS: &str = "50";

/// One project of one site.
#[derive(Clone, Debug)]
pub(crate) struct Jira {
    pub(crate) api: Api,
    /// The project's key, such as `OPS`.
    pub(crate) project: String,
    /// What kind of issue is created, by name.
    pub(crate) issue_type: String,
    /// The status that an issue is in when it is over.
    pub(crate) closed: String,
    pub(crate) room: Room,
    pub(crate) give_up_after: Duration,
}

#[async_trait]
impl Tell for Jira {
    fn room(&self, _news: &News) -> Room {
        // The description is written anew for each round: it always shows what it showed.
        self.room
    }

    fn give_up_after(&self) -> Duration {
        self.give_up_after
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let Some(id) = &letter.posted else { return self.open(letter).await.map(Some) };
        match self.step(letter, id).await {
            Err(refusal) if refusal.about == About::Gone => self.open(letter).await.map(Some),
            Err(refusal) => Err(refusal.failed),
            Ok(()) => Ok(None),
        }
    }
}

impl Jira {
    /// Creates the issue about an approval, or finds it: its id.
    async fn open(&self, letter: &Letter) -> Result<String, Failed> {
        let found = match letter.before {
            Before::Perhaps => self.find(letter).await.map_err(|refusal| refusal.failed)?,
            Before::Never => None,
        };
        if let Some(id) = found {
            // Whatever it shows, it is about this from now on.
            self.describe(letter, &id).await.map_err(|refusal| refusal.failed)?;
            self.begin(letter, &id).await.map_err(|refusal| refusal.failed)?;
            return Ok(id);
        }
        let id = self.create(letter).await.map_err(|refusal| refusal.failed)?;
        // Tried again at once, Jira's search would not find what was created a moment ago.
        self.begin(letter, &id).await.map_err(|refusal| Failed {
            again: match refusal.failed.again {
                Again::Yes => Again::After(SEARCHED_WITHIN),
                again @ (Again::After(_) | Again::No) => again,
            },
            ..refusal.failed
        })?;
        Ok(id)
    }

    /// What an issue that is opened late has to say and to be besides.
    async fn begin(&self, letter: &Letter, id: &str) -> Result<(), Refusal> {
        if !matches!(letter.news.kind.as_str(), "approval.requested" | "channel.test") {
            self.comment(letter, id).await?;
        }
        if !is_over(&letter.news.state) {
            return Ok(());
        }
        match self.move_to(id, &self.closed).await {
            // Tried again it would not be closed either; a test is there to find this out.
            Err(refusal) if refusal.about == About::Way && letter.news.kind != "channel.test" => {
                tracing::warn!(why = %refusal.failed.why, "an issue stays open");
                Ok(())
            }
            moved => moved,
        }
    }

    async fn create(&self, letter: &Letter) -> Result<String, Refusal> {
        let create = async |issue: Issue| {
            let fields = json!({
                "project": {"key": self.project}, "issuetype": {"name": self.issue_type},
                "summary": issue.summary, "description": issue.description, "labels": [label(letter)],
            });
            self.api.post("issue", &json!({"fields": fields})).await
        };
        let created = match create(issue(&letter.message)).await {
            Err(refusal) if refusal.about == About::Text => create(draw::brief(&letter.message)).await,
            created => created,
        }?;
        id_of(&created).ok_or_else(|| Refusal::channel("Jira does not say which issue it created"))
    }

    /// Looks for an issue that an earlier try may have left. Others may label issues as they like, but not create them in our name.
    async fn find(&self, letter: &Letter) -> Result<Option<String>, Refusal> {
        let jql = format!(
            "project = \"{}\" AND labels = \"{}\" AND creator = currentUser() ORDER BY created DESC",
            self.project,
            label(letter)
        );
        let asked = json!({"jql": jql, "fields": ["labels"], "maxResults": 5});
        let found = self.api.post("search/jql", &asked).await?;
        let ours = label(letter);
        // One that carries another approval's label as well is that one's, and somebody put ours on it.
        let is_ours = |issue: &&Value| {
            let labels = issue.pointer("/fields/labels").and_then(Value::as_array).into_iter().flatten();
            let mut approvals =
                labels.filter_map(Value::as_str).filter(|label| label.starts_with("apr_")).peekable();
            approvals.peek().is_some() && approvals.all(|label| label == ours)
        };
        let mut issues = found.get("issues").and_then(Value::as_array).into_iter().flatten();
        Ok(issues.find(is_ours).and_then(id_of))
    }

    /// Shows what a piece of news changes, and says it in a comment.
    async fn step(&self, letter: &Letter, id: &str) -> Result<(), Refusal> {
        if letter.news.kind == "approval.round_opened" {
            self.describe(letter, id).await?;
        }
        if is_over(&letter.news.state) {
            self.move_to(id, &self.closed).await?;
        }
        self.comment(letter, id).await
    }

    /// Says it in a comment, where none says it yet.
    async fn comment(&self, letter: &Letter, id: &str) -> Result<(), Refusal> {
        if letter.before == Before::Perhaps && self.is_said(letter, id).await? {
            return Ok(());
        }
        self.api.post(&format!("issue/{id}/comment"), &json!({"body": draw::step(letter)})).await.map(drop)
    }

    /// Writes down what is asked now.
    async fn describe(&self, letter: &Letter, id: &str) -> Result<(), Refusal> {
        let describe = async |issue: Issue| {
            let fields = json!({"summary": issue.summary, "description": issue.description});
            self.api.put(&format!("issue/{id}"), &json!({"fields": fields})).await.map(drop)
        };
        match describe(issue(&letter.message)).await {
            Err(refusal) if refusal.about == About::Text => describe(draw::brief(&letter.message)).await,
            described => described,
        }
    }

    /// Whether the comment of this news is there already.
    async fn is_said(&self, letter: &Letter, id: &str) -> Result<bool, Refusal> {
        let path = format!("issue/{id}/comment?orderBy=-created&maxResults={COMMENTS}");
        let page = self.api.get(&path).await?;
        let entry = letter.news.entry.to_string();
        let says =
            |comment: &Value| comment.get("body").is_some_and(|body| sheet::read(body).contains(&entry));
        Ok(page.get("comments").and_then(Value::as_array).into_iter().flatten().any(says))
    }

    /// Takes the transition that leads to a status, where the issue is not in it already.
    async fn move_to(&self, id: &str, status: &str) -> Result<(), Refusal> {
        let path = format!("issue/{id}/transitions");
        let offered = self.api.get(&path).await?;
        let mut offered = offered.get("transitions").and_then(Value::as_array).into_iter().flatten();
        let leads_there = |one: &&Value| {
            one.pointer("/to/name").and_then(Value::as_str).is_some_and(|name| is(name, status))
        };
        if let Some(transition) = offered.find(leads_there).and_then(id_of) {
            let body = json!({"transition": {"id": transition}});
            return self.api.post(&path, &body).await.map(drop);
        }
        let issue = self.api.get(&format!("issue/{id}?fields=status")).await?;
        let now = issue.pointer("/fields/status/name").and_then(Value::as_str).unwrap_or_default();
        if is(now, status) {
            return Ok(());
        }
        let mut refusal = Refusal::news(format!("no transition leads the issue to the status `{status}`"));
        refusal.about = About::Way;
        Err(refusal)
    }
}

/// Jira tells statuses apart without regard to case.
fn is(name: &str, status: &str) -> bool {
    name.to_lowercase() == status.to_lowercase()
}

fn label(letter: &Letter) -> String {
    letter.approval.to_string()
}

/// The id of an issue or of a transition: digits, as it stands in a path.
fn id_of(value: &Value) -> Option<String> {
    let id = value.get("id")?.as_str()?;
    let fine = !id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit());
    fine.then(|| id.to_owned())
}

/// Whether nothing more can become of it.
fn is_over(state: &str) -> bool {
    !matches!(state, "pending" | "granted" | "executing")
}
