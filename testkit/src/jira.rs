//! Jira Cloud on loopback, as far as channels use it: issues, comments, transitions, changes, mail and the search, written from its public
//! contract (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/>). It refuses what the real one refuses, keeps every
//! issue with every change, and can be made to fail.

pub mod document;
pub mod person;

use crate::{
    server::{Answer, Asked, Server, Troubles, json, lock},
    teams::person::moment,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json as object};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// The account that the gateway has there, by address and by id, and its token.
pub const USER: &str = "countersign@example.com";
pub const ACCOUNT: &str = "557058:planted-gateway";
pub const TOKEN: &str = "planted-jira-api-token";
/// The one project, and what kind of issue it has.
pub const PROJECT: &str = "OPS";
pub const TYPE: &str = "Task";
/// The statuses of its workflow: each but the last leads to every other, and nothing leads out of the last.
pub const STATUSES: [&str; 4] = ["Waiting", "Approved", "Rejected", "Done"];
/// Characters of a summary, and of a text.
const SUMMARY: usize = 255;
const TEXT: usize = 32_767;

/// An issue as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    pub id: String,
    pub key: String,
    /// What kind of issue it is, by name.
    pub kind: String,
    pub creator: String,
    pub summary: String,
    pub description: Value,
    pub labels: Vec<String>,
    pub status: String,
    /// Who said what, oldest first.
    pub comments: Vec<Comment>,
    /// Every change, oldest first.
    pub changes: Vec<Change>,
}

/// Something that somebody said.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    pub who: String,
    pub body: Value,
    pub at_ms: u64,
    /// Only whoever has this role reads it.
    pub role: Option<String>,
}

/// Something that somebody changed at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: u64,
    pub who: String,
    pub at_ms: u64,
    pub items: Vec<Item>,
    /// An app did it, and says so.
    pub through: Option<String>,
}

/// A field that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub field: &'static str,
    pub from: String,
    pub to: String,
}

/// A call that is not answered as asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// A status, with the name of the field that it is about.
    Error(u16, &'static str),
    /// 429 with so many seconds in `Retry-After`.
    Later(u64),
    /// It is done, and the answer is lost.
    Lost,
}

/// Jira, running.
pub struct Jira {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for Jira {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Jira").field("site", &self.site()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    issues: Vec<Issue>,
    /// Every call with the status that was answered.
    calls: Vec<(String, u16)>,
    troubles: Troubles<Refusal>,
    count: u64,
    mails: Vec<(String, String)>,
    /// What accounts call themselves, where that is not in their id.
    names: BTreeMap<String, String>,
}

type Said = Result<(StatusCode, Value), (u16, &'static str)>;

impl Jira {
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        Ok(Self { server: Server::start(answer).await?, shared })
    }

    pub fn site(&self) -> String {
        self.server.url()
    }

    /// The next calls are answered like this.
    pub fn refuse(&self, refusals: &[Refusal]) {
        lock(&self.shared).troubles.next.extend(refusals);
    }

    /// Every call is, until it is said otherwise.
    pub fn down(&self, refusal: Option<Refusal>) {
        lock(&self.shared).troubles.down = refusal;
    }

    /// The next calls that have this in their method, path or body are.
    pub fn refuse_on(&self, part: &'static str, refusal: Refusal, times: usize) {
        lock(&self.shared).troubles.on = Some((part, refusal, times));
    }

    pub fn issues(&self) -> Vec<Issue> {
        lock(&self.shared).issues.clone()
    }

    /// Method and path of every call, and the status that was answered.
    pub fn calls(&self) -> Vec<(String, u16)> {
        lock(&self.shared).calls.clone()
    }

    /// Somebody changes what Jira holds by hand.
    pub fn by_hand(&self, change: impl FnOnce(&mut Vec<Issue>)) {
        change(&mut lock(&self.shared).issues);
    }

    /// Waits until it is as it should be.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Issue]) -> bool) -> Result<Vec<Issue>, String> {
        let found = self.server.comes(|| Some(self.issues()).filter(|issues| enough(issues))).await;
        found.ok_or_else(|| format!("{what} never came; {:?}", self.calls()))
    }
}

impl Issue {
    /// What its comments say, oldest first.
    pub fn said(&self) -> Vec<String> {
        self.comments.iter().map(|comment| document::text(&comment.body)).collect()
    }

    /// What stays as it is is no change.
    fn rewrite(&mut self, change: u64, who: &str, summary: Option<&str>, description: Option<Value>) {
        let mut items = Vec::new();
        if let Some(summary) = summary.filter(|summary| *summary != self.summary) {
            items.push(Item::of("summary", &self.summary, summary));
            summary.clone_into(&mut self.summary);
        }
        if let Some(description) = description.filter(|description| *description != self.description) {
            let [from, to] = [&self.description, &description].map(document::text);
            items.push(Item::of("description", &from, &to));
            self.description = description;
        }
        if !items.is_empty() {
            self.changes.push(Change { id: change, who: who.into(), at_ms: now_ms(), items, through: None });
        }
    }

    /// The key of an issue that was moved begins with another project's.
    fn project(&self) -> &str {
        self.key.rsplit_once('-').map_or("", |(project, _)| project)
    }

    fn updated(&self) -> u64 {
        let changed = self.changes.iter().map(|change| change.at_ms);
        changed.chain(self.comments.iter().map(|comment| comment.at_ms)).max().unwrap_or_default()
    }

    fn shown(&self) -> Value {
        object!({
            "id": self.id, "key": self.key,
            "fields": {
                "status": {"name": self.status}, "labels": self.labels, "summary": self.summary,
                "description": self.description, "project": {"key": self.project()}, "issuetype": {"name": self.kind}, "creator": {"accountId": self.creator},
                "updated": stamp(self.updated()),
            },
        })
    }
}

impl Item {
    fn of(field: &'static str, from: &str, to: &str) -> Self {
        Self { field, from: from.to_owned(), to: to.to_owned() }
    }
}

impl Change {
    fn shown(&self) -> Value {
        let item = |item: &Item| {
            object!({
                "field": item.field, "fieldtype": "jira", "fieldId": item.field, "from": null, "fromString": item.from,
                "to": null, "toString": item.to,
            })
        };
        let items: Vec<Value> = self.items.iter().map(item).collect();
        let mut shown = object!({
            "id": self.id.to_string(), "created": stamp(self.at_ms), "author": account(&self.who), "items": items,
        });
        if let Some(app) = &self.through {
            let metadata = object!({"type": app, "activityDescription": "planted"});
            put(&mut shown, "historyMetadata", metadata);
        }
        shown
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let call = format!("{} {}", asked.method(), asked.uri().path());
        let response = match self.troubles.of(asked) {
            Some(refusal @ (Refusal::Error(..) | Refusal::Later(_))) => refusal.response(),
            None => match self.call(asked) {
                Ok((StatusCode::NO_CONTENT, _)) => crate::server::empty(StatusCode::NO_CONTENT),
                Ok((status, mut said)) => {
                    call_by(&mut said, &self.names);
                    json(status, &said)
                }
                Err((status, field)) => Refusal::Error(status, field).response(),
            },
            Some(Refusal::Lost) => {
                let _ = self.call(asked);
                Refusal::Error(502, "").response()
            }
        };
        self.calls.push((call, response.status().as_u16()));
        response
    }

    fn call(&mut self, asked: &Asked) -> Said {
        let sent = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let pair = sent.and_then(|sent| STANDARD.decode(sent.strip_prefix("Basic ")?).ok());
        if pair.as_deref() != Some(format!("{USER}:{TOKEN}").as_bytes()) {
            return Err((401, ""));
        }
        let rest = asked.uri().path().strip_prefix("/rest/api/3/").ok_or((404, ""))?.to_owned();
        let parts: Vec<&str> = rest.split('/').collect();
        let body = if *asked.method() == Method::GET {
            Value::Null
        } else {
            let kind = asked.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            if kind != Some("application/json") {
                return Err((415, ""));
            }
            serde_json::from_slice(asked.body()).map_err(|_| (400, ""))?
        };
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(asked.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        match (asked.method().as_str(), parts.as_slice()) {
            ("POST", ["issue"]) => self.create(&body),
            ("POST", ["search", "jql"]) => self.search(&body),
            ("GET", ["myself"]) => Ok((StatusCode::OK, account(ACCOUNT))),
            ("GET", ["issue", id, "changelog"]) => self.changelog(id, &query),
            ("POST", ["issue", id, "notify"]) => self.notify(id, &body),
            ("GET", ["issue", id]) => Ok((StatusCode::OK, self.named(id)?.shown())),
            ("PUT", ["issue", id]) => self.edit(id, &body),
            ("POST", ["issue", id, "comment"]) => self.comment(id, &body),
            ("GET", ["issue", id, "comment"]) => self.comments(id, &query),
            ("GET", ["issue", id, "transitions"]) => self.transitions(id),
            ("POST", ["issue", id, "transitions"]) => self.transit(id, &body),
            _ => Err((404, "")),
        }
    }

    fn named(&mut self, id: &str) -> Result<&mut Issue, (u16, &'static str)> {
        self.issues.iter_mut().find(|issue| issue.id == id || issue.key == id).ok_or((404, ""))
    }

    fn create(&mut self, body: &Value) -> Said {
        let fields = only(body, &["fields"])?.get("fields").ok_or((400, ""))?;
        only(fields, &["project", "issuetype", "summary", "description", "labels"])?;
        let text = |pointer: &str| fields.pointer(pointer).and_then(Value::as_str);
        if text("/project/key") != Some(PROJECT) {
            return Err((400, "project"));
        }
        if text("/issuetype/name") != Some(TYPE) {
            return Err((400, "issuetype"));
        }
        let (summary, description) = texts(fields)?;
        let labels: Vec<String> =
            serde_json::from_value(fields["labels"].clone()).map_err(|_| (400, "labels"))?;
        if labels
            .iter()
            .any(|label| label.is_empty() || label.contains(char::is_whitespace) || label.len() > 255)
        {
            return Err((400, "labels"));
        }
        self.count += 1;
        let (id, key) = (format!("{}", 10_000 + self.count), format!("{PROJECT}-{}", self.count));
        let answer = object!({"id": id, "key": key, "self": "planted"});
        let (creator, status) = (ACCOUNT.to_owned(), STATUSES[0].to_owned());
        let (comments, changes) = (Vec::new(), Vec::new());
        let kind = TYPE.to_owned();
        self.issues.push(Issue {
            id,
            key,
            kind,
            creator,
            summary,
            description,
            labels,
            status,
            comments,
            changes,
        });
        Ok((StatusCode::CREATED, answer))
    }

    /// Of the query language, what finds issues of a project that whoever asks created, by a label, by where they stand, or by whether
    /// they changed within a day.
    fn search(&self, body: &Value) -> Said {
        only(body, &["jql", "fields", "maxResults", "nextPageToken"])?;
        let jql = body["jql"].as_str().unwrap_or_default();
        let rest = jql.strip_prefix(&format!("project = \"{PROJECT}\" AND ")).ok_or((400, ""))?;
        let (wanted, order) = rest.split_once(" AND creator = currentUser() ORDER BY ").ok_or((400, ""))?;
        let label = wanted.strip_prefix("labels = \"").and_then(|label| label.strip_suffix('"'));
        let names = wanted.strip_prefix("status IN (\"").and_then(|names| names.strip_suffix("\")"));
        let names: Option<Vec<&str>> = names.map(|names| names.split("\", \"").collect());
        let is_status = |name: &&str| STATUSES.iter().any(|status| status.eq_ignore_ascii_case(name));
        let lately = wanted == "updated >= \"-1d\"";
        let fits = |issue: &&Issue| match (label, &names) {
            (None, None) if lately => issue.updated() + 24 * 60 * 60 * 1_000 >= now_ms(),
            (Some(label), _) => issue.labels.iter().any(|one| one == label),
            (None, Some(names)) => names.iter().any(|name| issue.status.eq_ignore_ascii_case(name)),
            (None, None) => false,
        };
        let sound = match (label, &names) {
            (Some(label), _) => !label.contains('"') && order == "created DESC",
            // A status that the site does not have is refused.
            (None, Some(names)) => names.iter().all(is_status) && order == "updated DESC",
            (None, None) => lately && order == "updated DESC",
        };
        if !sound {
            return Err((400, ""));
        }
        let most = body["maxResults"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(50);
        let start = body["nextPageToken"].as_str().map_or(Ok(0), str::parse).map_err(|_| (400, ""))?;
        let found: Vec<&Issue> =
            self.issues.iter().filter(|issue| issue.creator == ACCOUNT).filter(fits).collect();
        let page: Vec<Value> = found.iter().skip(start).take(most).map(|issue| issue.shown()).collect();
        let end = start + page.len();
        let mut answer = object!({"issues": page, "isLast": end >= found.len()});
        if end < found.len() {
            put(&mut answer, "nextPageToken", object!(end.to_string()));
        }
        Ok((StatusCode::OK, answer))
    }

    /// The changes of an issue, oldest first, a hundred at most at once.
    fn changelog(&mut self, id: &str, query: &BTreeMap<String, String>) -> Said {
        let number = |name: &str| query.get(name).and_then(|number| number.parse::<usize>().ok());
        let (start, most) = (number("startAt").unwrap_or(0), number("maxResults").unwrap_or(100).min(100));
        let changes = &self.named(id)?.changes;
        let values: Vec<Value> = changes.iter().skip(start).take(most).map(Change::shown).collect();
        let last = start + values.len() >= changes.len();
        let page = object!({
            "startAt": start, "maxResults": most, "total": changes.len(), "isLast": last, "values": values,
        });
        Ok((StatusCode::OK, page))
    }

    /// Writes mail to users of the site.
    fn notify(&mut self, id: &str, body: &Value) -> Said {
        self.named(id)?;
        only(body, &["subject", "textBody", "htmlBody", "to"])?;
        let to = only(&body["to"], &["reporter", "assignee", "watchers", "voters", "users", "groups"])?;
        let users: Vec<&str> = to["users"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|user| user["accountId"].as_str())
            .collect();
        let text = body["textBody"].as_str().unwrap_or_default().to_owned();
        if users.is_empty() || text.is_empty() || body["subject"].as_str().is_none_or(str::is_empty) {
            return Err((400, ""));
        }
        self.mails.extend(users.iter().map(|user| ((*user).to_owned(), text.clone())));
        Ok((StatusCode::NO_CONTENT, Value::Null))
    }

    fn edit(&mut self, id: &str, body: &Value) -> Said {
        let fields = only(body, &["fields"])?.get("fields").ok_or((400, ""))?;
        let (summary, description) = texts(only(fields, &["summary", "description"])?)?;
        self.count += 1;
        let id_of_change = self.count;
        let issue = self.named(id)?;
        issue.rewrite(id_of_change, ACCOUNT, Some(&summary), Some(description));
        Ok((StatusCode::NO_CONTENT, Value::Null))
    }

    fn comment(&mut self, id: &str, body: &Value) -> Said {
        let said = only(body, &["body"])?.get("body").ok_or((400, "comment"))?;
        checked(said).map_err(|()| (400, "comment"))?;
        self.count += 1;
        let number = self.count;
        let (who, body) = (ACCOUNT.to_owned(), said.clone());
        self.named(id)?.comments.push(Comment { who, body, at_ms: now_ms(), role: None });
        Ok((StatusCode::CREATED, object!({"id": number.to_string()})))
    }

    fn comments(&mut self, id: &str, query: &BTreeMap<String, String>) -> Said {
        if query.get("orderBy").is_some_and(|order| order != "-created") {
            return Err((400, ""));
        }
        let most = query.get("maxResults").and_then(|most| most.parse().ok()).unwrap_or(100);
        let newest = self.named(id)?.comments.iter().rev().take(most);
        let comment = |comment: &Comment| {
            let mut shown = object!({
                "author": account(&comment.who), "body": comment.body, "created": stamp(comment.at_ms),
            });
            if let Some(role) = &comment.role {
                put(&mut shown, "visibility", object!({"type": "role", "value": role}));
            }
            shown
        };
        let comments: Vec<Value> = newest.map(comment).collect();
        Ok((StatusCode::OK, object!({"comments": comments})))
    }

    fn transitions(&mut self, id: &str) -> Said {
        let offered: Vec<Value> = ways(&self.named(id)?.status)
            .map(|(number, to)| object!({"id": number.to_string(), "name": format!("To {to}"), "to": {"name": to}}))
            .collect();
        Ok((StatusCode::OK, object!({"transitions": offered})))
    }

    fn transit(&mut self, id: &str, body: &Value) -> Said {
        let wanted = only(body, &["transition"])?.pointer("/transition/id").and_then(Value::as_str);
        let wanted = wanted.unwrap_or_default().to_owned();
        self.count += 1;
        let count = self.count;
        let issue = self.named(id)?;
        let way = ways(&issue.status).find(|(number, _)| number.to_string() == wanted);
        let (_, to) = way.ok_or((400, "transition"))?;
        let items = vec![Item::of("status", &issue.status, to)];
        let (who, at_ms) = (ACCOUNT.to_owned(), now_ms());
        issue.changes.push(Change { id: count, who, at_ms, items, through: None });
        issue.status = to.into();
        Ok((StatusCode::NO_CONTENT, Value::Null))
    }
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, field, after) = match self {
            Self::Error(status, field) => (StatusCode::from_u16(status).unwrap_or_default(), field, None),
            Self::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, "", Some(seconds)),
            Self::Lost => (StatusCode::BAD_GATEWAY, "", None),
        };
        let errors = if field.is_empty() { object!({}) } else { object!({field: "planted words"}) };
        let mut response = json(status, &object!({"errorMessages": [], "errors": errors}));
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn put(object: &mut Value, key: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(key.to_owned(), value);
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

/// A moment as Jira writes it.
fn stamp(at_ms: u64) -> String {
    let moment = moment(at_ms / 1000);
    let seconds = moment.split('.').next().unwrap_or_default();
    format!("{seconds}.{:03}+0000", at_ms % 1000)
}

/// Every account under the name it goes by.
fn call_by(said: &mut Value, names: &BTreeMap<String, String>) {
    match said {
        Value::Array(items) => items.iter_mut().for_each(|item| call_by(item, names)),
        Value::Object(members) => {
            let name = members.get("accountId").and_then(Value::as_str).and_then(|id| names.get(id)).cloned();
            if let Some(name) = name {
                members.insert("displayName".into(), name.into());
            }
            members.values_mut().for_each(|member| call_by(member, names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn account(who: &str) -> Value {
    let name = who.split_once(':').map_or(who, |(_, name)| name);
    object!({"accountId": who, "accountType": person::kind(who), "displayName": name, "active": true})
}

/// Where the workflow leads from a status.
fn ways(status: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let over = STATUSES.last().is_some_and(|last| *last == status);
    let others = STATUSES.into_iter().enumerate().map(|(at, to)| (10 * at + 1, to));
    let from = status.to_owned();
    others.filter(move |(_, to)| !over && *to != from)
}

/// What an issue says, where Jira would take it.
fn texts(fields: &Value) -> Result<(String, Value), (u16, &'static str)> {
    let summary = fields["summary"].as_str().unwrap_or_default();
    if summary.trim().is_empty() || summary.contains(['\n', '\r']) || summary.chars().count() > SUMMARY {
        return Err((400, "summary"));
    }
    let description = &fields["description"];
    checked(description).map_err(|()| (400, "description"))?;
    Ok((summary.to_owned(), description.clone()))
}

fn checked(text: &Value) -> Result<(), ()> {
    if text.to_string().chars().count() > TEXT || document::check(text).is_err() { Err(()) } else { Ok(()) }
}

fn only<'v>(sent: &'v Value, keys: &[&str]) -> Result<&'v Value, (u16, &'static str)> {
    let members = sent.as_object().ok_or((400, ""))?;
    if members.keys().any(|key| !keys.contains(&key.as_str())) { Err((400, "unknown")) } else { Ok(sent) }
}
