//! Jira Cloud: the ticket of an approval is an issue, whose description says what is asked, whose comments say every step with the entry
//! that proves it, and which takes transitions of its workflow. An issue carries the approval's id as a label, so that one that was created by a
//! gateway that died before it could remember it is found again. Who decided is read from the issue's changelog.

mod api;
mod beforehand;
mod door;
mod draw;
mod history;
mod sheet;

pub(crate) use api::Api;
pub(crate) use beforehand::Issues;
pub use door::Door;
pub use draw::{Issue, issue};

use crate::{
    channel::Letter,
    desk::{Told, Who},
    ticket::{About, Change, History, Mail, Moved, Refusal, Reply, Stand, Tickets, Written, digest},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// How soon Jira's search knows of an issue.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// Comments looked through when one may be there already: the newest.
const COMMENTS: &str = "50";
/// Issues on one page of what people moved, and pages.
const MOVED: usize = 100;
const PAGES: usize = 20;

/// One project of one site.
#[derive(Clone, Debug)]
pub(crate) struct Jira {
    pub(crate) api: Api,
    /// The project's key, such as `OPS`.
    pub(crate) project: String,
    /// What kind of issue is created, by name.
    pub(crate) issue_type: String,
    pub(crate) statuses: Statuses,
    /// Our own account's id, once Jira said it.
    pub(crate) account: Arc<OnceCell<String>>,
}

/// The statuses of the workflow, by name.
#[derive(Clone, Debug)]
pub(crate) struct Statuses {
    /// An issue is there while it waits; whoever moves it to one of the next two decides.
    pub(crate) waiting: String,
    pub(crate) approved: String,
    pub(crate) rejected: String,
    /// An issue is there when it is over.
    pub(crate) closed: String,
}

impl Statuses {
    fn name(&self, stand: Stand) -> &str {
        match stand {
            Stand::Waiting => &self.waiting,
            Stand::Approved => &self.approved,
            Stand::Rejected => &self.rejected,
            Stand::Closed => &self.closed,
        }
    }

    fn stand(&self, name: &str) -> Option<Stand> {
        let all = [Stand::Approved, Stand::Rejected, Stand::Waiting, Stand::Closed];
        all.into_iter().find(|stand| is(name, self.name(*stand)))
    }
}

#[async_trait]
impl Tickets for Jira {
    fn called(&self) -> &'static str {
        "Jira"
    }

    fn found_within(&self) -> Duration {
        FOUND_WITHIN
    }

    async fn create(&self, letter: &Letter) -> Result<Written, Refusal> {
        let create = async |issue: Issue| {
            let fields = json!({
                "project": {"key": self.project}, "issuetype": {"name": self.issue_type},
                "summary": issue.summary, "description": issue.description, "labels": [label(letter)],
            });
            let created = self.api.post("issue", &json!({"fields": fields})).await?;
            let id = id_of(&created);
            let id = id.ok_or_else(|| Refusal::channel("Jira does not say which issue it created"))?;
            Ok(written(id, &issue))
        };
        match create(issue(&letter.message)).await {
            Err(Refusal { about: About::Text, .. }) => create(draw::brief(&letter.message)).await,
            created => created,
        }
    }

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

    async fn describe(&self, letter: &Letter, id: &str) -> Result<Written, Refusal> {
        let describe = async |issue: Issue| {
            let fields = json!({"summary": issue.summary, "description": issue.description});
            self.api.put(&format!("issue/{id}"), &json!({"fields": fields})).await?;
            Ok(written(id.to_owned(), &issue))
        };
        match describe(issue(&letter.message)).await {
            Err(Refusal { about: About::Text, .. }) => describe(draw::brief(&letter.message)).await,
            described => described,
        }
    }

    async fn note(&self, letter: &Letter, id: &str) -> Result<(), Refusal> {
        self.comment(id, &draw::step(letter)).await
    }

    async fn has_said(&self, id: &str, mark: &str) -> Result<bool, Refusal> {
        let me = self.me().await?;
        let comments = self.comments(id).await?;
        // Whoever else writes it does not speak for us.
        let by_us = |comment: &&Value| text(comment, "/author/accountId") == me;
        let says = |comment: &Value| comment.get("body").is_some_and(|body| sheet::read(body).contains(mark));
        Ok(comments.iter().filter(by_us).any(says))
    }

    async fn put(&self, id: &str, stand: Stand, _state: &str) -> Result<(), Refusal> {
        let status = self.statuses.name(stand);
        let path = format!("issue/{id}/transitions");
        let offered = self.api.get(&path).await?;
        let mut offered = offered.get("transitions").and_then(Value::as_array).into_iter().flatten();
        let leads_there = |one: &&Value| is(text(one, "/to/name"), status);
        if let Some(transition) = offered.find(leads_there).and_then(id_of) {
            let body = json!({"transition": {"id": transition}});
            return self.api.post(&path, &body).await.map(drop);
        }
        let issue = self.api.get(&format!("issue/{id}?fields=status")).await?;
        if is(text(&issue, "/fields/status/name"), status) {
            return Ok(());
        }
        let why = format!("no transition leads the issue to the status `{status}`");
        Err(Refusal::news(About::Way, why))
    }

    async fn moved(&self, open: &[String]) -> Result<Vec<Moved>, Refusal> {
        let Statuses { approved, rejected, .. } = &self.statuses;
        let mut moved = self.found(&format!("status IN (\"{approved}\", \"{rejected}\")")).await?;
        if !open.is_empty() {
            // Somebody may have moved on what was rejected, wherever it stands by now.
            let lately = self.found("updated >= \"-1d\"").await?;
            let other = |one: &Moved| {
                open.contains(&one.ticket) && moved.iter().all(|known| known.ticket != one.ticket)
            };
            let others: Vec<Moved> = lately.into_iter().filter(other).collect();
            moved.extend(others);
        }
        Ok(moved)
    }

    async fn history(&self, id: &str) -> Result<History, Refusal> {
        self.read_history(id).await
    }

    async fn reason(&self, id: &str, change: &Change) -> Result<Option<String>, Refusal> {
        let comments = self.comments(id).await?;
        Ok(history::reason(&comments, change))
    }

    async fn reply(&self, id: &str, reply: &Reply) -> Result<(), Refusal> {
        self.comment(id, &draw::reply(reply)).await
    }

    /// By the mail that Jira itself sends its users.
    async fn whisper(&self, id: &str, to: &Who, told: &Told) -> Result<(), Refusal> {
        let mail = Mail::of(told);
        let to = json!({
            "reporter": false, "assignee": false, "watchers": false, "voters": false,
            "users": [{"accountId": to.id}], "groups": [],
        });
        let body = json!({"subject": mail.subject, "textBody": mail.text, "htmlBody": mail.html, "to": to});
        self.api.post(&format!("issue/{id}/notify"), &body).await.map(drop)
    }
}

impl Jira {
    /// Our issues of the project for which this holds, the last changed first; as many as are read at once.
    async fn found(&self, holds: &str) -> Result<Vec<Moved>, Refusal> {
        let project = &self.project;
        let jql =
            format!("project = \"{project}\" AND {holds} AND creator = currentUser() ORDER BY updated DESC");
        let (mut moved, mut next) = (Vec::new(), None);
        for _ in 0..PAGES {
            let mut asked = json!({"jql": jql, "fields": ["updated"], "maxResults": MOVED});
            if let (Some(next), Some(asked)) = (next.take(), asked.as_object_mut()) {
                asked.insert("nextPageToken".into(), next);
            }
            let page = self.api.post("search/jql", &asked).await?;
            let issues = page.get("issues").and_then(Value::as_array).into_iter().flatten();
            moved.extend(issues.filter_map(|issue| {
                Some(Moved { ticket: id_of(issue)?, version: text(issue, "/fields/updated").to_owned() })
            }));
            next = page.get("nextPageToken").filter(|token| token.is_string()).cloned();
            if next.is_none() {
                break;
            }
        }
        Ok(moved)
    }

    /// Our own account's id.
    async fn me(&self) -> Result<&str, Refusal> {
        let ask = async || {
            let me = self.api.get("myself").await?;
            let id = text(&me, "/accountId").to_owned();
            if id.is_empty() { Err(Refusal::channel("Jira does not say who we are")) } else { Ok(id) }
        };
        self.account.get_or_try_init(ask).await.map(String::as_str)
    }

    async fn comment(&self, id: &str, body: &Value) -> Result<(), Refusal> {
        self.api.post(&format!("issue/{id}/comment"), &json!({"body": body})).await.map(drop)
    }

    /// The newest comments, newest first.
    async fn comments(&self, id: &str) -> Result<Vec<Value>, Refusal> {
        let path = format!("issue/{id}/comment?orderBy=-created&maxResults={COMMENTS}");
        let mut page = self.api.get(&path).await?;
        Ok(page.get_mut("comments").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default())
    }
}

fn written(ticket: String, issue: &Issue) -> Written {
    let words = digest(&issue.summary, &sheet::read(&issue.description));
    Written { ticket, whole: issue.whole, words }
}

/// Jira tells statuses apart without regard to case.
fn is(name: &str, status: &str) -> bool {
    name.to_lowercase() == status.to_lowercase()
}

fn label(letter: &Letter) -> String {
    letter.approval.to_string()
}

/// The id of an issue, a change or a transition: digits, as it stands in a path.
fn id_of(value: &Value) -> Option<String> {
    let id = value.get("id")?.as_str()?;
    is_id(id).then(|| id.to_owned())
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 20 && id.bytes().all(|byte| byte.is_ascii_digit())
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
