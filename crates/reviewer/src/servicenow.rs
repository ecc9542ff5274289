//! `ServiceNow`: the ticket of an approval is a record of a table that extends `task`, whose description says what is asked, whose work notes say
//! every step with the entry that proves it, and whose field `approval` people decide with. A record carries the approval's id as its
//! correlation. Who decided is read from the instance's own audit.

mod api;
mod beforehand;
mod draw;
mod history;

pub(crate) use api::Api;
pub(crate) use beforehand::Records;
use beforehand::UNAUDITED;
pub use draw::{Record, record};

use crate::{
    channel::Letter,
    desk::{Told, Who},
    ticket::{About, Change, History, Mail, Moved, Refusal, Reply, Stand, Tickets, Written, digest},
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

/// What the field that names us says in every record.
const OURS: &str = "Countersign";
/// Notes looked through when one may be there already: the newest.
const NOTES: usize = 50;
/// Records on one page of what people decided, newest first, and pages.
const MOVED: usize = 100;
const PAGES: usize = 5;
const STANDS: &str = "sys_id,approval,sys_created_by,sys_updated_on,sys_mod_count";
/// The longest note about the end.
const CLOSED_WITH: usize = 1_000;

/// One table of one instance.
#[derive(Clone, Debug)]
pub(crate) struct ServiceNow {
    pub(crate) api: Api,
    /// Such as `change_request`.
    pub(crate) table: String,
    /// The value of `state` of records that are over.
    pub(crate) closed: String,
}

#[async_trait]
impl Tickets for ServiceNow {
    fn called(&self) -> &'static str {
        "ServiceNow"
    }

    fn found_within(&self) -> Duration {
        Duration::from_secs(1)
    }

    async fn create(&self, letter: &Letter) -> Result<Written, Refusal> {
        let record = record(&letter.message);
        let fields = json!({
            "short_description": record.title, "description": record.text, "approval": "requested",
            "correlation_id": letter.approval, "correlation_display": OURS,
        });
        let created = self.api.create(&self.table, &fields).await?;
        let id =
            id_of(&created).ok_or_else(|| Refusal::channel("ServiceNow does not say what it created"))?;
        written(id, &record, &created)
    }

    async fn find(&self, letter: &Letter) -> Result<Option<String>, Refusal> {
        let ours = letter.approval.to_string();
        let query =
            format!("correlation_id={ours}^sys_created_by={}^ORDERBYDESCsys_created_on", self.api.0.user);
        let found =
            self.api.list(&self.table, &query, "sys_id,correlation_id,sys_created_by", (0, 5)).await?;
        // A query with a mistake in it finds everything: what is found is looked at.
        let is_ours = |record: &&Value| {
            text(record, "correlation_id") == ours && text(record, "sys_created_by") == self.api.0.user
        };
        Ok(found.iter().find(is_ours).and_then(id_of))
    }

    async fn describe(&self, letter: &Letter, id: &str) -> Result<Written, Refusal> {
        let record = record(&letter.message);
        let fields = json!({"short_description": record.title, "description": record.text});
        let changed = self.api.change(&self.table, id, &fields).await?;
        written(id.to_owned(), &record, &changed)
    }

    async fn note(&self, letter: &Letter, id: &str) -> Result<(), Refusal> {
        self.say(id, &draw::step(letter)).await
    }

    async fn has_said(&self, id: &str, mark: &str) -> Result<bool, Refusal> {
        let notes = self.notes(id, "work_notes", &self.api.0.user).await?;
        Ok(notes.iter().any(|note| text(note, "value").contains(mark)))
    }

    async fn put(&self, id: &str, stand: Stand, state: &str) -> Result<(), Refusal> {
        let wanted = match stand {
            Stand::Waiting => vec![("approval", "requested")],
            Stand::Approved => vec![("approval", "approved")],
            Stand::Rejected => vec![("approval", "rejected")],
            Stand::Closed => vec![("state", &*self.closed)],
        };
        let mut fields: Map<String, Value> =
            wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        if stand == Stand::Closed {
            let code = if state == "done" { "successful" } else { "unsuccessful" };
            fields.insert("close_code".into(), code.into());
            let why: String = crate::words::title(state).chars().take(CLOSED_WITH).collect();
            fields.insert("close_notes".into(), why.into());
        }
        let changed = self.api.change(&self.table, id, &Value::Object(fields)).await?;
        // A rule of the table may leave it as it was without a word.
        match wanted.iter().find(|(name, value)| text(&changed, name) != *value) {
            None => Ok(()),
            Some((name, value)) => {
                let why = format!("the record's `{name}` cannot be put to `{value}` as it is");
                Err(Refusal::news(About::Way, why))
            }
        }
    }

    async fn moved(&self, open: &[String]) -> Result<Vec<Moved>, Refusal> {
        let query = format!(
            "correlation_display={OURS}^sys_created_by={}^approvalINapproved,rejected^ORDERBYDESCsys_updated_on",
            self.api.0.user
        );
        let mut moved = Vec::new();
        for page in 0..PAGES {
            let found = self.api.list(&self.table, &query, STANDS, (page * MOVED, MOVED)).await?;
            let is_it = |record: &&Value| {
                matches!(text(record, "approval"), "approved" | "rejected")
                    && text(record, "sys_created_by") == self.api.0.user
            };
            moved.extend(found.iter().filter(is_it).filter_map(stands));
            if found.len() < MOVED {
                break;
            }
        }
        // Whatever somebody did to these is read, wherever they stand by now and whatever they say that they are about.
        for some in open.chunks(MOVED) {
            let known = moved.iter().map(|one: &Moved| one.ticket.clone()).collect::<BTreeSet<_>>();
            let ids: Vec<&str> = some.iter().map(String::as_str).filter(|id| is_id(id)).collect();
            if ids.is_empty() {
                continue;
            }
            let query = format!("sys_idIN{}", ids.join(","));
            let found = self.api.list(&self.table, &query, STANDS, (0, MOVED)).await?;
            let found = found.iter().filter_map(stands);
            moved.extend(found.filter(|one| ids.contains(&&*one.ticket) && !known.contains(&one.ticket)));
        }
        Ok(moved)
    }

    async fn history(&self, id: &str) -> Result<History, Refusal> {
        self.read_history(id).await
    }

    async fn reason(&self, id: &str, change: &Change) -> Result<Option<String>, Refusal> {
        self.read_reason(id, change).await
    }

    async fn reply(&self, id: &str, reply: &Reply) -> Result<(), Refusal> {
        self.say(id, &draw::reply(reply)).await
    }

    async fn keeps(&self) -> Result<(), Refusal> {
        if self.is_audited().await? { Ok(()) } else { Err(Refusal::channel(UNAUDITED)) }
    }

    async fn whisper(&self, _id: &str, to: &Who, told: &Told) -> Result<(), Refusal> {
        let user = self.api.read("sys_user", &to.id, "sys_id,email").await?;
        let address = text(&user, "email");
        if !address.contains('@') || address.contains([',', ';', '<']) {
            return Err(Refusal::news(About::Other, "the user has no address there that mail can go to"));
        }
        let mail = Mail::of(told);
        let body = json!({"to": [address], "subject": mail.subject, "text": mail.text, "html": mail.html});
        self.api.mail(&body).await
    }
}

impl ServiceNow {
    async fn say(&self, id: &str, note: &str) -> Result<(), Refusal> {
        self.api.change(&self.table, id, &json!({"work_notes": note})).await.map(drop)
    }

    /// The newest of what a user wrote into a journal of a record, newest first.
    async fn notes(&self, id: &str, journal: &str, user: &str) -> Result<Vec<Value>, Refusal> {
        let query =
            format!("element_id={id}^element={journal}^sys_created_by={user}^ORDERBYDESCsys_created_on");
        let fields = "element_id,element,sys_created_by,sys_created_on,value";
        let mut notes = self.api.list("sys_journal_field", &query, fields, (0, NOTES)).await?;
        notes.retain(|note| {
            text(note, "element_id") == id
                && text(note, "element") == journal
                && text(note, "sys_created_by") == user
        });
        Ok(notes)
    }
}

/// What was written, by what the instance says it holds now: it cuts texts that are too long without a word.
fn written(ticket: String, record: &Record, held: &Value) -> Result<Written, Refusal> {
    let words = digest(&record.title, &record.text);
    let is_whole = digest(text(held, "short_description"), text(held, "description")) == words;
    if !is_whole && text(held, "short_description").is_empty() {
        return Err(Refusal::channel("ServiceNow does not say what it holds"));
    }
    Ok(Written { ticket, whole: record.whole && is_whole, words })
}

fn stands(record: &Value) -> Option<Moved> {
    let version = format!("{} {}", text(record, "sys_updated_on"), text(record, "sys_mod_count"));
    Some(Moved { ticket: id_of(record)?, version })
}

/// The id of a record: 32 hexadecimal digits, as it stands in a path and in queries.
fn id_of(record: &Value) -> Option<String> {
    let id = record.get("sys_id")?.as_str()?;
    is_id(id).then(|| id.to_owned())
}

fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn text<'v>(record: &'v Value, field: &str) -> &'v str {
    record.get(field).and_then(Value::as_str).unwrap_or_default()
}
