//! `ServiceNow` on loopback, as far as channels use it: the Table API over one table of tasks, its audit, its journals and its users, and the Email API.
//! Written from its public contract (<https://www.servicenow.com/docs/bundle/api-reference/page/integrate/inbound-rest/concept/c_TableAPI.html>). It
//! does as the real one does, where that surprises too: texts that are too long are cut without a word, fields that it does not know are
//! left out, and a part of a query that it does not understand is ignored.

mod person;

use crate::{
    server::{Answer, Asked, Server, Troubles, json, lock},
    teams::person::moment,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json as object};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

/// The account that the gateway has there.
pub const USER: &str = "countersign";
pub const PASSWORD: &str = "planted-servicenow-password";
/// The one table.
pub const TABLE: &str = "change_request";
/// The state of records that are over.
pub const CLOSED: &str = "3";
/// How long the fields of a task are; whatever is longer is cut.
const FIELDS: [(&str, usize); 10] = [
    ("short_description", 160),
    ("description", 4_000),
    ("correlation_id", 100),
    ("correlation_display", 100),
    ("approval", 40),
    ("state", 40),
    ("close_code", 40),
    ("close_notes", 4_000),
    ("start_date", 40),
    ("end_date", 40),
];
const APPROVALS: [&str; 4] = ["not requested", "requested", "approved", "rejected"];
const JOURNALS: [&str; 2] = ["work_notes", "comments"];
/// Fields whose changes the audit keeps.
const AUDITED: [&str; 6] =
    ["approval", "state", "short_description", "description", "start_date", "end_date"];

/// A record of a table: its fields, each a text.
pub type Record = BTreeMap<String, String>;

/// A call that is not answered as asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    Error(u16),
    /// 429 with so many seconds in `Retry-After`.
    Later(u64),
    /// It is done, and the answer is lost.
    Lost,
}

/// Why changes of a field are not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// The audit does not keep them.
    Unkept,
    /// The account may not see them: they are counted all the same.
    Unseen,
}

/// `ServiceNow`, running.
pub struct ServiceNow {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for ServiceNow {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("ServiceNow").field("site", &self.site()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    tables: BTreeMap<&'static str, Vec<Record>>,
    mails: Vec<(String, String)>,
    calls: Vec<(String, u16)>,
    troubles: Troubles<Refusal>,
    /// The field whose changes the account may not see, or the audit does not keep.
    hidden: Option<(&'static str, Hidden)>,
    /// Nothing is closed: a rule of the table's undoes it.
    keeps_open: bool,
    count: u64,
}

type Said = Result<(StatusCode, Value), u16>;

impl ServiceNow {
    pub async fn start() -> io::Result<Self> {
        let mut first = Shared::default();
        for (name, machine) in [
            (USER, true),
            ("ana", false),
            ("bob", false),
            ("olga", false),
            ("mallory", false),
            ("rule", true),
        ] {
            let id = first.next_id();
            let fields = [
                ("sys_id", id),
                ("user_name", name.to_owned()),
                ("name", name.to_owned()),
                ("email", format!("{name}@example.com")),
                ("active", "true".into()),
                ("sys_created_on", "2020-01-01 00:00:00".into()),
                ("web_service_access_only", machine.to_string()),
                ("internal_integration_user", "false".into()),
            ];
            let user = fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect();
            first.tables.entry("sys_user").or_default().push(user);
        }
        let shared = Arc::new(Mutex::new(first));
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

    /// Changes of a field are not found from now on.
    pub fn hide(&self, hidden: Option<(&'static str, Hidden)>) {
        lock(&self.shared).hidden = hidden;
    }

    /// Whether a rule of the table's undoes that a record is closed.
    pub fn keeps_open(&self, keeps: bool) {
        lock(&self.shared).keeps_open = keeps;
    }

    /// The records of the one table.
    pub fn records(&self) -> Vec<Record> {
        lock(&self.shared).tables.get(TABLE).cloned().unwrap_or_default()
    }

    pub fn calls(&self) -> Vec<(String, u16)> {
        lock(&self.shared).calls.clone()
    }

    /// Waits until it is as it should be.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Record]) -> bool) -> Result<Vec<Record>, String> {
        let found = self.server.comes(|| Some(self.records()).filter(|records| enough(records))).await;
        found.ok_or_else(|| format!("{what} never came; {:?}", self.calls()))
    }
}

impl Shared {
    fn next_id(&mut self) -> String {
        self.count += 1;
        format!("{:032x}", self.count)
    }

    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let call = format!("{} {}", asked.method(), asked.uri().path());
        let response = match self.troubles.of(asked) {
            Some(refusal @ (Refusal::Error(_) | Refusal::Later(_))) => refusal.response(),
            None => match self.call(asked) {
                Ok((status, mut said)) => {
                    let count = said.as_object_mut().and_then(|said| said.remove("count"));
                    let mut response = json(status, &said);
                    if let Some(count) = count.and_then(|count| count.as_u64()) {
                        response.headers_mut().insert("X-Total-Count", HeaderValue::from(count));
                    }
                    response
                }
                Err(status) => Refusal::Error(status).response(),
            },
            Some(Refusal::Lost) => {
                let _ = self.call(asked);
                Refusal::Error(502).response()
            }
        };
        self.calls.push((call, response.status().as_u16()));
        response
    }

    fn call(&mut self, asked: &Asked) -> Said {
        let sent = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let pair = sent.and_then(|sent| STANDARD.decode(sent.strip_prefix("Basic ")?).ok());
        if pair.as_deref() != Some(format!("{USER}:{PASSWORD}").as_bytes()) {
            return Err(401);
        }
        let rest = asked.uri().path().strip_prefix("/api/now/").ok_or(400_u16)?.to_owned();
        let parts: Vec<&str> = rest.split('/').collect();
        let body: Map<String, Value> = if *asked.method() == Method::GET {
            Map::new()
        } else {
            let kind = asked.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            if kind != Some("application/json") {
                return Err(415);
            }
            serde_json::from_slice(asked.body()).map_err(|_| 400_u16)?
        };
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(asked.uri().query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let fields = query.get("sysparm_fields").map(String::as_str).unwrap_or_default();
        match (asked.method().as_str(), parts.as_slice()) {
            ("POST", ["v1", "email"]) => self.mail(&body),
            ("POST", ["table", table]) if *table == TABLE => {
                let record = self.create(USER, &body);
                Ok((StatusCode::CREATED, object!({"result": shown(&record, fields)})))
            }
            ("PATCH", ["table", table, id]) if *table == TABLE => {
                let record = self.change(USER, id, &body)?;
                Ok((StatusCode::OK, object!({"result": shown(&record, fields)})))
            }
            ("GET", ["table", table]) => self.list(table, &query, fields),
            ("GET", ["table", table, id]) => {
                let records = self.tables.get(table).map(Vec::as_slice).unwrap_or_default();
                let record = records.iter().find(|record| record.get("sys_id").is_some_and(|own| own == id));
                let record = record.ok_or(404_u16)?;
                Ok((StatusCode::OK, object!({"result": shown(record, fields)})))
            }
            _ => Err(400),
        }
    }

    fn create(&mut self, user: &str, body: &Map<String, Value>) -> Record {
        let mut record = Record::new();
        for (field, value) in [
            ("sys_id", self.next_id()),
            ("number", format!("CHG{:07}", 30_000 + self.count)),
            ("sys_created_by", user.to_owned()),
            ("sys_created_on", stamp()),
            ("sys_updated_on", stamp()),
            ("sys_mod_count", "0".into()),
            ("approval", "not requested".into()),
            ("state", "-5".into()),
        ] {
            record.insert(field.into(), value);
        }
        for (field, value) in taken(body) {
            record.insert(field.into(), value);
        }
        self.tables.entry(TABLE).or_default().push(record.clone());
        record
    }

    /// Changes a record as a user, with what the audit and the journals keep of it.
    fn change(&mut self, user: &str, id: &str, body: &Map<String, Value>) -> Result<Record, u16> {
        let keeps_open = self.keeps_open;
        let records = self.tables.entry(TABLE).or_default();
        let own = |record: &&mut Record| record.get("sys_id").is_some_and(|own| own == id);
        let record = records.iter_mut().find(own).ok_or(404_u16)?;
        let count = record["sys_mod_count"].parse::<u64>().unwrap_or_default() + 1;
        let mut audit = Vec::new();
        for (field, value) in taken(body) {
            let undone = field == "state" && keeps_open;
            let unknown = field == "approval" && !APPROVALS.contains(&&*value);
            let before = record.get(field).cloned().unwrap_or_default();
            if undone || unknown || before == value {
                continue;
            }
            record.insert(field.into(), value.clone());
            let kept = self.hidden != Some((field, Hidden::Unkept));
            if AUDITED.contains(&field) && kept {
                audit.push((field, before, value));
            }
        }
        record.insert("sys_mod_count".into(), count.to_string());
        record.insert("sys_updated_on".into(), stamp());
        let changed = record.clone();
        for (field, old, new) in audit {
            self.keep(
                "sys_audit",
                &[
                    ("tablename", TABLE),
                    ("documentkey", id),
                    ("fieldname", field),
                    ("oldvalue", &old),
                    ("newvalue", &new),
                    ("user", user),
                    ("record_checkpoint", &format!("{count:08}")),
                ],
            );
        }
        for journal in JOURNALS {
            let said = body.get(journal).and_then(Value::as_str).filter(|said| !said.is_empty());
            if let Some(said) = said {
                self.keep(
                    "sys_journal_field",
                    &[("element_id", id), ("element", journal), ("sys_created_by", user), ("value", said)],
                );
            }
        }
        Ok(changed)
    }

    fn keep(&mut self, table: &'static str, fields: &[(&str, &str)]) {
        let mut record: Record =
            fields.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect();
        record.insert("sys_id".into(), self.next_id());
        record.insert("sys_created_on".into(), stamp());
        self.tables.entry(table).or_default().push(record);
    }

    /// How the table is kept, by the instance's dictionary: it stands on that of tasks.
    fn dictionary(&self) -> Vec<Record> {
        let unkept = |field: &str| {
            self.hidden == Some((TABLE, Hidden::Unkept)) && field.is_empty()
                || self.hidden.is_some_and(|(hidden, how)| hidden == field && how == Hidden::Unkept)
        };
        let row = |name: &str, field: &str| -> Record {
            let kind = if field.is_empty() { "collection" } else { "string" };
            let audit = field.is_empty() && !unkept(field);
            let attributes = if unkept(field) { "edge_encryption_enabled=true,no_audit=true" } else { "" };
            let audit = audit.to_string();
            let fields = [
                ("name", name),
                ("element", field),
                ("internal_type", kind),
                ("audit", audit.as_str()),
                ("attributes", attributes),
            ];
            fields.into_iter().map(|(field, value)| (field.to_owned(), value.to_owned())).collect()
        };
        let own = ["", "start_date", "end_date"].map(|field| row(TABLE, field));
        let of_tasks = ["", "number", "approval", "short_description", "description", "state"];
        own.into_iter().chain(of_tasks.map(|field| row("task", field))).collect()
    }

    /// What a query finds. What of it is not understood is ignored, as it is there.
    fn list(&self, table: &str, query: &BTreeMap<String, String>, fields: &str) -> Said {
        let dictionary = self.dictionary();
        let records = match table {
            "sys_dictionary" => dictionary.as_slice(),
            TABLE | "sys_user" | "sys_audit" | "sys_journal_field" => {
                self.tables.get(table).map(Vec::as_slice).unwrap_or_default()
            }
            _ => return Err(400),
        };
        let wanted = query.get("sysparm_query").map(String::as_str).unwrap_or_default();
        let mut found: Vec<&Record> = records.iter().collect();
        // What is sorted by first counts most, so that it is sorted by last.
        let (orders, filters): (Vec<&str>, Vec<&str>) =
            wanted.split('^').partition(|part| part.starts_with("ORDERBY"));
        for part in filters.into_iter().chain(orders.into_iter().rev()) {
            if let Some(field) = part.strip_prefix("ORDERBYDESC") {
                // Of those of the same second the newest was made last.
                found.reverse();
                found.sort_by(|left, right| right.get(field).cmp(&left.get(field)));
            } else if let Some(field) = part.strip_prefix("ORDERBY") {
                found.sort_by(|left, right| left.get(field).cmp(&right.get(field)));
            } else if let Some((field, values)) = part.split_once("IN") {
                let values: Vec<&str> = values.split(',').collect();
                found.retain(|record| record.get(field).is_some_and(|value| values.contains(&&**value)));
            } else if let Some((field, value)) = part.split_once("!=") {
                found.retain(|record| record.get(field).is_none_or(|own| own != value));
            } else if let Some((field, value)) = part.split_once('=') {
                found.retain(|record| record.get(field).is_some_and(|own| own == value));
            }
        }
        let number = |name: &str| query.get(name).and_then(|number| number.parse::<usize>().ok());
        let (offset, limit) =
            (number("sysparm_offset").unwrap_or(0), number("sysparm_limit").unwrap_or(10_000));
        let count = found.len();
        // What may not be seen is left out of the page, and nothing comes in its place.
        let unseen = |record: &&Record| {
            self.hidden.is_some_and(|(field, hidden)| {
                table == "sys_audit" && hidden == Hidden::Unseen && record["fieldname"] == field
            })
        };
        let page = found.into_iter().skip(offset).take(limit).filter(|record| !unseen(record));
        let page: Vec<Value> = page.map(|record| shown(record, fields)).collect();
        Ok((StatusCode::OK, object!({"result": page, "count": count})))
    }

    fn mail(&mut self, body: &Map<String, Value>) -> Said {
        let known = ["to", "subject", "text", "html"];
        if body.keys().any(|key| !known.contains(&key.as_str())) {
            return Err(400);
        }
        let to: Vec<&str> = body
            .get("to")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let text = body.get("text").and_then(Value::as_str).unwrap_or_default();
        if to.is_empty() || text.is_empty() || !body.get("subject").is_some_and(Value::is_string) {
            return Err(400);
        }
        self.mails.extend(to.into_iter().map(|to| (to.to_owned(), text.to_owned())));
        Ok((StatusCode::OK, object!({"result": {"id": "planted"}})))
    }
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, after) = match self {
            Self::Error(status) => (StatusCode::from_u16(status).unwrap_or_default(), None),
            Self::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, Some(seconds)),
            Self::Lost => (StatusCode::BAD_GATEWAY, None),
        };
        let body = object!({"error": {"message": "planted words", "detail": "planted"}, "status": "failure"});
        let mut response = json(status, &body);
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What of a body a record takes: known fields, cut to their length.
fn taken(body: &Map<String, Value>) -> Vec<(&'static str, String)> {
    let one = |(field, most): (&'static str, usize)| {
        let value = body.get(field)?.as_str()?;
        Some((field, value.chars().take(most).collect()))
    };
    FIELDS.into_iter().filter_map(one).collect()
}

fn shown(record: &Record, fields: &str) -> Value {
    let all =
        record.iter().filter(|(field, _)| fields.is_empty() || fields.split(',').any(|one| one == *field));
    Value::Object(all.map(|(field, value)| (field.clone(), value.clone().into())).collect())
}

/// The present as the Table API writes it: whole seconds, UTC.
fn stamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let moment = moment(now);
    moment.split('.').next().unwrap_or_default().replacen('T', " ", 1)
}
