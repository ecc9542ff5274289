//! `PagerDuty` on loopback, as far as channels and rosters use it: the Events API v2, and who is on call, written from their public
//! contract (<https://developer.pagerduty.com/docs/events-api-v2/overview/>, and their descriptions in `OpenAPI`). It refuses what the
//! real one refuses, keeps every incident, and can be made to fail.

use crate::server::{Answer, Asked, Server, Troubles, json, lock};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json as object};
use std::{
    io,
    sync::{Arc, Mutex},
};

/// The key of the one integration there is.
pub const ROUTING_KEY: &str = "planted0routing0key0planted0key0";
/// The token of the REST API, and the one schedule.
pub const TOKEN: &str = "planted0rest0token00";
pub const SCHEDULE: &str = "PI7DH85";
/// The largest event, and the longest summary and key.
const LARGEST: usize = 512 << 10;
const SUMMARY: usize = 1024;
const DEDUP_KEY: usize = 255;

/// How an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Triggered,
    Acknowledged,
    Resolved,
}

/// Something that somebody was paged for.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub key: String,
    pub status: Status,
    /// Every event that triggered it, oldest first.
    pub events: Vec<Value>,
}

/// A call that is not answered as asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// A status, without anything said.
    Status(u16),
    /// 429 with so many seconds in `Retry-After`.
    Later(u64),
    /// It is done, and the answer is lost.
    Lost,
}

/// `PagerDuty`, running.
pub struct PagerDuty {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for PagerDuty {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("PagerDuty").field("url", &self.url()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    incidents: Vec<Incident>,
    on_call: Vec<String>,
    /// What was asked for, with the status that was answered.
    calls: Vec<(String, u16)>,
    troubles: Troubles<Refusal>,
}

impl PagerDuty {
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        Ok(Self { server: Server::start(answer).await?, shared })
    }

    /// Where the REST API begins.
    pub fn rest(&self) -> String {
        self.server.url()
    }

    /// Who is on call from now on.
    pub fn on_call(&self, people: &[&str]) {
        lock(&self.shared).on_call = people.iter().map(|one| (*one).to_owned()).collect();
    }

    /// Where events are taken.
    pub fn url(&self) -> String {
        format!("{}/v2/enqueue", self.server.url())
    }

    /// The next calls are answered like this.
    pub fn refuse(&self, refusals: &[Refusal]) {
        lock(&self.shared).troubles.next.extend(refusals);
    }

    /// Every call is, until it is said otherwise.
    pub fn down(&self, refusal: Option<Refusal>) {
        lock(&self.shared).troubles.down = refusal;
    }

    pub fn incidents(&self) -> Vec<Incident> {
        lock(&self.shared).incidents.clone()
    }

    /// What was asked for, such as `trigger`, and the status that was answered.
    pub fn calls(&self) -> Vec<(String, u16)> {
        lock(&self.shared).calls.clone()
    }

    /// Whoever is on call takes note of every open incident.
    pub fn acknowledge(&self) {
        for incident in &mut lock(&self.shared).incidents {
            if incident.status == Status::Triggered {
                incident.status = Status::Acknowledged;
            }
        }
    }

    /// Waits until it is as it should be.
    pub async fn until(
        &self,
        what: &str,
        enough: impl Fn(&[Incident]) -> bool,
    ) -> Result<Vec<Incident>, String> {
        let found = self.server.comes(|| Some(self.incidents()).filter(|incidents| enough(incidents))).await;
        found.ok_or_else(|| format!("{what} never came; {:?}", self.calls()))
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let event: Value = serde_json::from_slice(asked.body()).unwrap_or_default();
        let action = event.get("event_action").and_then(Value::as_str).unwrap_or("?").to_owned();
        let refusal = self.troubles.of(asked);
        if let Some(Refusal::Status(_) | Refusal::Later(_)) = refusal {
            let response = refusal.map(Refusal::response).unwrap_or_default();
            self.calls.push((action, response.status().as_u16()));
            return response;
        }
        if asked.uri().path() == "/oncalls" && refusal.is_none() {
            let response = self.oncalls(asked);
            self.calls.push(("oncalls".into(), response.status().as_u16()));
            return response;
        }
        let said = checked(asked, &event).map(|key| self.take(key, &event));
        let response = match (said, refusal) {
            (Ok(_), Some(refusal)) => refusal.response(),
            (Ok(key), None) => {
                let said = object!({"status": "success", "message": "Event processed", "dedup_key": key});
                json(StatusCode::ACCEPTED, &said)
            }
            (Err(response), _) => *response,
        };
        self.calls.push((action, response.status().as_u16()));
        response
    }

    /// Who is on call, page by page. An address is there only where users were asked for.
    fn oncalls(&self, asked: &Asked) -> Response<Bytes> {
        let header =
            |name| asked.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header(header::AUTHORIZATION) != format!("Token token={TOKEN}") {
            return crate::server::empty(StatusCode::UNAUTHORIZED);
        }
        if *asked.method() != Method::GET || !header(header::ACCEPT).contains("version=2") {
            return crate::server::empty(StatusCode::BAD_REQUEST);
        }
        let query = asked.uri().query().unwrap_or_default().replace("%5B%5D", "[]");
        let value = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
        let number = |key, usual: usize| value(key).map_or(Some(usual), |text| text.parse().ok());
        let (Some(limit @ 1..=100), Some(offset)) = (number("limit", 25), number("offset", 0)) else {
            return crate::server::empty(StatusCode::BAD_REQUEST);
        };
        let there = value("schedule_ids[]").is_none_or(|schedule| schedule == SCHEDULE);
        let everybody: &[String] = if there { &self.on_call } else { &[] };
        let whole = value("include[]") == Some("users");
        let entry = |email: &String| {
            let user = if whole {
                object!({"id": "PXPGF42", "type": "user", "summary": "Planted Name", "email": email})
            } else {
                object!({"id": "PXPGF42", "type": "user_reference", "summary": "Planted Name"})
            };
            object!({"user": user, "schedule": {"id": SCHEDULE, "type": "schedule_reference"},
                "escalation_level": 1, "start": null, "end": null})
        };
        let page: Vec<Value> = everybody.iter().skip(offset).take(limit).map(entry).collect();
        let more = everybody.len() > offset.saturating_add(limit);
        let said = object!({"oncalls": page, "limit": limit, "offset": offset, "more": more, "total": null});
        json(StatusCode::OK, &said)
    }

    /// Events with a key that is open belong to its incident; one that was resolved is not opened again.
    fn take(&mut self, key: String, event: &Value) -> String {
        let open = self
            .incidents
            .iter_mut()
            .rev()
            .find(|incident| incident.key == key && incident.status != Status::Resolved);
        match (event["event_action"].as_str(), open) {
            (Some("trigger"), Some(incident)) => incident.events.push(event.clone()),
            (Some("trigger"), None) => {
                let events = vec![event.clone()];
                self.incidents.push(Incident { key: key.clone(), status: Status::Triggered, events });
            }
            (Some("resolve"), Some(incident)) => incident.status = Status::Resolved,
            (Some("acknowledge"), Some(incident)) => incident.status = Status::Acknowledged,
            // Of what is not open nothing is said.
            _ => {}
        }
        key
    }
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, after) = match self {
            Self::Status(status) => (StatusCode::from_u16(status).unwrap_or_default(), None),
            Self::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, Some(seconds)),
            Self::Lost => (StatusCode::BAD_GATEWAY, None),
        };
        let mut response = Response::new(Bytes::from_static(b"planted words"));
        *response.status_mut() = status;
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The key of an event that would be taken.
fn checked(asked: &Asked, event: &Value) -> Result<String, Box<Response<Bytes>>> {
    let status = |status| {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status;
        Box::new(response)
    };
    if asked.uri().path() != "/v2/enqueue" {
        return Err(status(StatusCode::NOT_FOUND));
    }
    if *asked.method() != Method::POST {
        return Err(status(StatusCode::METHOD_NOT_ALLOWED));
    }
    if asked.body().len() > LARGEST {
        return Err(status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    let errors = mistakes(event);
    if !event.is_object() || !errors.is_empty() {
        let said =
            object!({"status": "invalid event", "message": "Event object is invalid", "errors": errors});
        return Err(Box::new(json(StatusCode::BAD_REQUEST, &said)));
    }
    Ok(event["dedup_key"].as_str().unwrap_or_default().to_owned())
}

fn mistakes(event: &Value) -> Vec<String> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut errors = Vec::new();
    let mut check = |fine: bool, error: &str| {
        if !fine {
            errors.push(error.to_owned());
        }
    };
    let key = text("/routing_key");
    check(key.len() == 32, "Length of 'routing_key' is incorrect (should be 32 characters)");
    let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    check(plain, "'routing_key' cannot contain non-alphanumeric characters.");
    check(key.len() != 32 || !plain || key == ROUTING_KEY, "Invalid routing key");
    let action = text("/event_action");
    check(matches!(action, "trigger" | "acknowledge" | "resolve"), "'event_action' is invalid");
    let named = text("/dedup_key");
    check(named.chars().count() <= DEDUP_KEY, "'dedup_key' is too long (maximum is 255 characters)");
    if action != "trigger" {
        check(!named.is_empty(), "'dedup_key' is missing or blank");
        return errors;
    }
    let summary = text("/payload/summary");
    check(!summary.is_empty(), "'payload.summary' is missing or blank");
    check(summary.chars().count() <= SUMMARY, "'payload.summary' is too long (maximum is 1024 characters)");
    check(!text("/payload/source").is_empty(), "'payload.source' is missing or blank");
    let severity = text("/payload/severity");
    check(
        matches!(severity, "critical" | "error" | "warning" | "info"),
        "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')",
    );
    let details = event.pointer("/payload/custom_details");
    check(details.is_none_or(Value::is_object), "'payload.custom_details' is invalid");
    let links = event["links"].as_array().into_iter().flatten();
    let href = |link: &Value| link["href"].as_str().is_some_and(|href| href.starts_with("http"));
    check(links.into_iter().all(href), "'links' is invalid");
    errors
}
