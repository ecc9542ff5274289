//! What people, apps and rules do in Jira, and the webhooks that Jira sends of it: signed as those of its administration are.

use super::{ACCOUNT, Change, Comment, Issue, Item, Jira, PROJECT, STATUSES, document, now_ms, ways};
use crate::server::lock;
use aws_lc_rs::hmac;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What the webhook signs with.
pub const SECRET: &str = "planted-jira-webhook-secret";

/// A webhook as Jira sends it.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub signature: String,
    pub body: String,
}

/// What kind of account it is.
pub(super) fn kind(account: &str) -> &'static str {
    match account.split_once(':').map(|(_, name)| name) {
        Some("rule") => "app",
        Some("customer") => "customer",
        _ => "atlassian",
    }
}

impl Jira {
    /// Somebody takes the transition that leads to a status, and may say something with it: the change's id.
    pub fn transit(&self, who: &str, issue: &str, to: &str, says: Option<&str>) -> Result<String, String> {
        self.transit_through(who, issue, (to, says), None)
    }

    /// What an account calls itself from now on.
    pub fn calls_itself(&self, account: &str, name: &str) {
        lock(&self.shared).names.insert(account.to_owned(), name.to_owned());
    }

    /// The same, through an app that says so.
    pub fn transit_through(
        &self,
        who: &str,
        issue: &str,
        (to, says): (&str, Option<&str>),
        app: Option<&str>,
    ) -> Result<String, String> {
        let mut shared = lock(&self.shared);
        shared.count += 1;
        let id = shared.count;
        let issue = shared.named(issue).map_err(|_| format!("no issue {issue}"))?;
        let (_, to) = ways(&issue.status)
            .find(|(_, way)| way.eq_ignore_ascii_case(to))
            .ok_or_else(|| format!("no way from {} to {to}", issue.status))?;
        let from = std::mem::replace(&mut issue.status, to.to_owned());
        let items = vec![Item::of("status", &from, to)];
        let (who, at_ms, through) = (who.to_owned(), now_ms(), app.map(str::to_owned));
        issue.changes.push(Change { id, who: who.clone(), at_ms, items, through });
        if let Some(says) = says {
            let body = document::of(says);
            issue.comments.push(Comment { who, body, at_ms, role: None });
        }
        drop(shared);
        self.server.ring();
        Ok(id.to_string())
    }

    /// Somebody creates an issue of some type by hand, in the first status: its key.
    pub fn file(&self, who: &str, kind: &str, description: Value) -> String {
        let mut shared = lock(&self.shared);
        shared.count += 1;
        let key = format!("{PROJECT}-{}", shared.count);
        let issue = Issue {
            id: format!("{}", 10_000 + shared.count),
            key: key.clone(),
            kind: kind.to_owned(),
            creator: who.to_owned(),
            summary: "A change".into(),
            description,
            labels: Vec::new(),
            status: STATUSES[0].to_owned(),
            comments: Vec::new(),
            changes: Vec::new(),
        };
        shared.issues.push(issue);
        key
    }

    /// Somebody writes something else into an issue.
    pub fn edit(&self, who: &str, issue: &str, summary: Option<&str>, description: Option<Value>) {
        let mut shared = lock(&self.shared);
        shared.count += 1;
        let id = shared.count;
        let Ok(issue) = shared.named(issue) else { return };
        issue.rewrite(id, who, summary, description);
    }

    /// Somebody says something.
    pub fn say(&self, who: &str, issue: &str, text: &str) {
        let mut shared = lock(&self.shared);
        if let Ok(issue) = shared.named(issue) {
            let (who, body) = (who.to_owned(), document::of(text));
            issue.comments.push(Comment { who, body, at_ms: now_ms(), role: None });
        }
    }

    /// Whom Jira wrote mail to in our name, by account, and what.
    pub fn mails(&self) -> Vec<(String, String)> {
        lock(&self.shared).mails.clone()
    }

    /// What Jira sends of the newest change of an issue.
    pub fn webhook(&self, issue: &str) -> Webhook {
        let mut shared = lock(&self.shared);
        let change = shared.named(issue).ok().and_then(|issue| issue.changes.last().cloned());
        drop(shared);
        let who = change.as_ref().map_or(ACCOUNT, |change| &change.who).to_owned();
        let shown = change.map(|change| change.shown()).unwrap_or_default();
        let items = shown.get("items").cloned().unwrap_or_default();
        let body = json!({
            "timestamp": now_ms(), "webhookEvent": "jira:issue_updated", "issue_event_type_name": "issue_generic",
            "user": {"accountId": who, "accountType": kind(&who)},
            "issue": {"id": issue, "key": "OPS-0", "fields": {}}, "changelog": {"id": "0", "items": items},
        });
        let body = body.to_string();
        Webhook { signature: signature(SECRET, &body), body }
    }
}

/// As `X-Hub-Signature` says it.
pub fn signature(secret: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, body.as_bytes());
    tag.as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
