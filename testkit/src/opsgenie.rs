//! Opsgenie on loopback, as far as channels and rosters use it: the Alert API and who is on call, written from its public contract
//! (<https://docs.opsgenie.com/docs/alert-api>, <https://docs.opsgenie.com/docs/who-is-on-call-api>, and the description in the
//! official library). It refuses what the real one refuses, works on requests later, keeps every alert, and can be made to fail.

use crate::server::{Answer, Asked, Server, Troubles, json, lock};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json as object};
use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

/// The key of the one API integration there is.
pub const API_KEY: &str = "planted0-0000-4000-8000-00000000geni";
/// The one schedule.
pub const SCHEDULE: &str = "d875e654-9b4e-4219-a803-0c26936d18de";
/// What is taken, in characters; how many tags and responders.
const MESSAGE: usize = 130;
const ALIAS: usize = 512;
const DESCRIPTION: usize = 15_000;
const ENTITY: usize = 512;
const SOURCE: usize = 100;
const NOTE: usize = 25_000;
const DETAILS: usize = 8_000;
const TAGS: usize = 20;
const TAG: usize = 50;
const RESPONDERS: usize = 50;
/// What it names requests by begins so.
const REQUEST: &str = "00000000-0000-4000-8000-";

/// How an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Open,
    Acknowledged,
    Closed,
}

/// Something that somebody was called for.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub alias: String,
    pub status: Status,
    /// How often it was asked for while it was open.
    pub count: usize,
    /// As it was first asked for.
    pub payload: Value,
    pub notes: Vec<String>,
}

/// A call that is not answered as asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// A status, without anything said.
    Status(u16),
    /// 429 with so many seconds in the header that it has for that.
    Later(u64),
    /// It is done, and the answer is lost.
    Lost,
    /// It is taken, and then not done.
    Filtered,
}

/// Opsgenie, running.
pub struct Opsgenie {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for Opsgenie {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Opsgenie").field("url", &self.url()).finish_non_exhaustive()
    }
}

/// What became of a request.
#[derive(Debug)]
struct Request {
    action: &'static str,
    done: bool,
    /// So often it is not known yet.
    later: usize,
}

#[derive(Debug, Default)]
struct Shared {
    alerts: Vec<Alert>,
    requests: BTreeMap<String, Request>,
    /// How often a request is not known before it is.
    later: usize,
    /// Whether the key may read.
    reads_nothing: bool,
    on_call: Vec<String>,
    /// What was asked for, with the status that was answered.
    calls: Vec<(String, u16)>,
    troubles: Troubles<Refusal>,
}

impl Opsgenie {
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        Ok(Self { server: Server::start(answer).await?, shared })
    }

    /// Where its API begins.
    pub fn url(&self) -> String {
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

    /// It works on requests only after it was asked so often what became of them.
    pub fn works_later(&self, looks: usize) {
        lock(&self.shared).later = looks;
    }

    /// The key may create and change, and not read.
    pub fn reads_nothing(&self) {
        lock(&self.shared).reads_nothing = true;
    }

    /// Who is on call from now on.
    pub fn on_call(&self, people: &[&str]) {
        lock(&self.shared).on_call = people.iter().map(|one| (*one).to_owned()).collect();
    }

    pub fn alerts(&self) -> Vec<Alert> {
        lock(&self.shared).alerts.clone()
    }

    /// What was asked for, such as `create`, and the status that was answered.
    pub fn calls(&self) -> Vec<(String, u16)> {
        lock(&self.shared).calls.clone()
    }

    /// Whoever is on call takes note of every open alert.
    pub fn acknowledge(&self) {
        for alert in &mut lock(&self.shared).alerts {
            if alert.status == Status::Open {
                alert.status = Status::Acknowledged;
            }
        }
    }

    /// Somebody closes every alert there.
    pub fn close_by_hand(&self) {
        lock(&self.shared).alerts.iter_mut().for_each(|alert| alert.status = Status::Closed);
    }

    /// Waits until it is as it should be.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Alert]) -> bool) -> Result<Vec<Alert>, String> {
        let found = self.server.comes(|| Some(self.alerts()).filter(|alerts| enough(alerts))).await;
        found.ok_or_else(|| format!("{what} never came; {:?}", self.calls()))
    }
}

/// What a call asks for.
enum Asks {
    Create,
    Close(String),
    Note(String),
    Read(String),
    Became(String),
    OnCall(String),
}

impl Asks {
    const fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Close(_) => "close",
            Self::Note(_) => "note",
            Self::Read(_) => "read",
            Self::Became(_) => "became",
            Self::OnCall(_) => "on-call",
        }
    }

    const fn changes(&self) -> bool {
        matches!(self, Self::Create | Self::Close(_) | Self::Note(_))
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let asks = asks(asked);
        let name = asks.as_ref().map_or("?", Asks::name).to_owned();
        let refusal = self.troubles.of(asked);
        let response = match (refusal, asks) {
            (Some(Refusal::Status(status)), _) => said(StatusCode::from_u16(status).unwrap_or_default()),
            (Some(Refusal::Later(seconds)), _) => throttled(seconds),
            (Some(Refusal::Lost), Ok(asks)) => {
                self.answer_to(&asks, asked, true);
                said(StatusCode::BAD_GATEWAY)
            }
            (Some(Refusal::Filtered), Ok(asks)) => self.answer_to(&asks, asked, false),
            (None, Ok(asks)) => self.answer_to(&asks, asked, true),
            (_, Err(status)) => said(status),
        };
        self.calls.push((name, response.status().as_u16()));
        response
    }

    fn answer_to(&mut self, asks: &Asks, asked: &Asked, done: bool) -> Response<Bytes> {
        if let Err(response) = may(asked, self.reads_nothing && !asks.changes()) {
            return *response;
        }
        let body: Value = serde_json::from_slice(asked.body()).unwrap_or_default();
        if asks.changes() {
            if !body.is_object() {
                return json(StatusCode::BAD_REQUEST, &object!({"message": "Could not parse request body"}));
            }
            let errors = mistakes(asks, &body);
            if !errors.is_empty() {
                let why = "Request body is not processable. Please check the errors.";
                return json(StatusCode::UNPROCESSABLE_ENTITY, &object!({"message": why, "errors": errors}));
            }
        }
        match asks {
            Asks::Create => {
                let made = done && self.create(&body);
                self.taken("Create", made)
            }
            Asks::Close(alias) => {
                let open = done.then(|| self.open(alias)).flatten();
                let closed = open.map(|alert| alert.status = Status::Closed).is_some();
                self.taken("Close", closed)
            }
            Asks::Note(alias) => {
                let note = body.get("note").and_then(Value::as_str).unwrap_or_default().to_owned();
                let noted = self.newest(alias).map(|alert| alert.notes.push(note)).is_some();
                self.taken("AddNote", noted)
            }
            Asks::Read(alias) => match self.newest(alias) {
                None => json(StatusCode::NOT_FOUND, &object!({"message": "Alert does not exist"})),
                Some(alert) => {
                    let status = if alert.status == Status::Closed { "closed" } else { "open" };
                    let acknowledged = alert.status == Status::Acknowledged;
                    let data = object!({"id": REQUEST, "tinyId": "1", "message": alert.payload.get("message"),
                        "alias": alert.alias, "status": status, "count": alert.count,
                        "acknowledged": acknowledged});
                    json(StatusCode::OK, &object!({"data": data, "took": 0.01, "requestId": REQUEST}))
                }
            },
            Asks::Became(id) => self.became(id),
            Asks::OnCall(schedule) if schedule == SCHEDULE => {
                let parent = object!({"id": SCHEDULE, "name": "night", "enabled": true});
                let data = object!({"_parent": parent, "onCallRecipients": self.on_call});
                json(StatusCode::OK, &object!({"data": data, "took": 0.01, "requestId": REQUEST}))
            }
            Asks::OnCall(_) => json(StatusCode::NOT_FOUND, &object!({"message": "Schedule does not exist"})),
        }
    }

    /// Asked for again while it is open an alert counts once more and stays as it is.
    fn create(&mut self, payload: &Value) -> bool {
        let alias = payload["alias"].as_str().unwrap_or_default().to_owned();
        if let Some(open) = self.open(&alias) {
            open.count += 1;
        } else {
            let payload = payload.clone();
            self.alerts.push(Alert { alias, status: Status::Open, count: 1, payload, notes: Vec::new() });
        }
        true
    }

    fn open(&mut self, alias: &str) -> Option<&mut Alert> {
        self.newest(alias).filter(|alert| alert.status != Status::Closed)
    }

    fn newest(&mut self, alias: &str) -> Option<&mut Alert> {
        self.alerts.iter_mut().rev().find(|alert| alert.alias == alias)
    }

    fn taken(&mut self, action: &'static str, done: bool) -> Response<Bytes> {
        let id = format!("{REQUEST}{:012}", self.requests.len());
        self.requests.insert(id.clone(), Request { action, done, later: self.later });
        let said = object!({"result": "Request will be processed", "took": 0.01, "requestId": id});
        json(StatusCode::ACCEPTED, &said)
    }

    fn became(&mut self, id: &str) -> Response<Bytes> {
        let known = self.requests.get_mut(id);
        match known {
            Some(request) if request.later == 0 => {
                let data = object!({"success": request.done, "isSuccess": request.done, "action": request.action,
                    "status": "planted words", "processedAt": "2026-11-27T00:00:00Z"});
                json(StatusCode::OK, &object!({"data": data, "took": 0.01, "requestId": id}))
            }
            Some(request) => {
                request.later -= 1;
                not_yet()
            }
            None => not_yet(),
        }
    }
}

fn not_yet() -> Response<Bytes> {
    let why = "Request not found. It might not be processed, yet.";
    json(StatusCode::NOT_FOUND, &object!({"message": why}))
}

fn said(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(b"planted words"));
    *response.status_mut() = status;
    response
}

fn throttled(seconds: u64) -> Response<Bytes> {
    let mut response = said(StatusCode::TOO_MANY_REQUESTS);
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-state", HeaderValue::from_static("THROTTLED"));
    headers.insert("x-ratelimit-reason", HeaderValue::from_static("ACCOUNT"));
    headers.insert("x-ratelimit-period-in-sec", HeaderValue::from(seconds));
    response
}

fn asks(asked: &Asked) -> Result<Asks, StatusCode> {
    let parts: Vec<&str> = asked.uri().path().trim_start_matches('/').split('/').collect();
    let query = asked.uri().query().unwrap_or_default();
    let by_alias = || query.split('&').any(|pair| pair == "identifierType=alias");
    let alias = |alias: &str| if by_alias() { Ok(alias.to_owned()) } else { Err(StatusCode::NOT_FOUND) };
    match (asked.method(), parts.as_slice()) {
        (&Method::POST, ["v2", "alerts"]) => Ok(Asks::Create),
        (&Method::POST, ["v2", "alerts", name, "close"]) => alias(name).map(Asks::Close),
        (&Method::POST, ["v2", "alerts", name, "notes"]) => alias(name).map(Asks::Note),
        (&Method::GET, ["v2", "alerts", "requests", id]) => Ok(Asks::Became((*id).to_owned())),
        (&Method::GET, ["v2", "alerts", name]) => alias(name).map(Asks::Read),
        (&Method::GET, ["v2", "schedules", id, "on-calls"]) => Ok(Asks::OnCall((*id).to_owned())),
        (_, ["v2", "alerts" | "schedules", ..]) => Err(StatusCode::METHOD_NOT_ALLOWED),
        _ => Err(StatusCode::NOT_FOUND),
    }
}

/// Whether the key opens this.
fn may(asked: &Asked, only_writes: bool) -> Result<(), Box<Response<Bytes>>> {
    let refused = |status, why: &str| Err(Box::new(json(status, &object!({"message": why, "took": 0.01}))));
    let presented = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match presented.and_then(|text| text.strip_prefix("GenieKey ")) {
        None => refused(StatusCode::UNAUTHORIZED, "You are not authorized to access this resource"),
        Some(key) if key.len() != API_KEY.len() => {
            refused(StatusCode::UNPROCESSABLE_ENTITY, "Key format is not valid!")
        }
        Some(key) if key != API_KEY => refused(StatusCode::UNAUTHORIZED, "Could not authenticate"),
        Some(_) if only_writes => {
            refused(StatusCode::FORBIDDEN, "You are not authorized to access this resource")
        }
        Some(_) => Ok(()),
    }
}

/// What is wrong with a request, by field.
fn mistakes(asks: &Asks, body: &Value) -> BTreeMap<&'static str, &'static str> {
    let mut errors = BTreeMap::new();
    let length = |field: &str| body[field].as_str().map_or(0, |text| text.chars().count());
    let mut check = |fine: bool, field, why| {
        if !fine {
            errors.insert(field, why);
        }
    };
    let text = |field: &str| body[field].is_null() || body[field].is_string();
    let plain = ["message", "alias", "description", "entity", "source", "user", "note", "priority"];
    check(plain.into_iter().all(text), "body", "Field has wrong type.");
    check(length("source") <= SOURCE, "source", "Source is too long.");
    check(length("user") <= SOURCE, "user", "User is too long.");
    check(length("note") <= NOTE, "note", "Note is too long.");
    if matches!(asks, Asks::Note(_)) {
        check(length("note") > 0, "note", "Note can not be empty.");
    }
    if !matches!(asks, Asks::Create) {
        return errors;
    }
    check(length("message") > 0, "message", "Message can not be empty.");
    check(length("message") <= MESSAGE, "message", "Message is too long.");
    check(length("alias") <= ALIAS, "alias", "Alias is too long.");
    check(length("description") <= DESCRIPTION, "description", "Description is too long.");
    check(length("entity") <= ENTITY, "entity", "Entity is too long.");
    let priority = body["priority"].as_str().unwrap_or("P3");
    check(["P1", "P2", "P3", "P4", "P5"].contains(&priority), "priority", "Priority is not valid.");
    let list = |field: &str| body[field].as_array().cloned().unwrap_or_default();
    let short = |tag: &Value| tag.as_str().is_some_and(|tag| (1..=TAG).contains(&tag.chars().count()));
    check(list("tags").len() <= TAGS && list("tags").iter().all(short), "tags", "Tags are not valid.");
    let known = |one: &Value| {
        let kind = one["type"].as_str().unwrap_or_default();
        let named = ["id", "name", "username"].into_iter().filter(|key| one[*key].is_string()).count() == 1;
        let fits = if kind == "user" { one["name"].is_null() } else { one["username"].is_null() };
        ["team", "user", "escalation", "schedule"].contains(&kind) && named && fits
    };
    let responders = list("responders");
    let fine = responders.len() <= RESPONDERS && responders.iter().all(known);
    check(fine, "responders", "Responders are not valid.");
    let details = body["details"].as_object().cloned().unwrap_or_default();
    let size: usize = details
        .iter()
        .map(|(key, value)| key.chars().count() + value.as_str().map_or(0, |text| text.chars().count()))
        .sum();
    let fine = size <= DETAILS && details.values().all(Value::is_string);
    check(fine, "details", "Details are not valid.");
    errors
}
