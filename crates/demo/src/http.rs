//! A plain HTTP client as a script would have one: no proxy, no redirects, no cookies, no retries.

use crate::DemoError;
use reqwest::{Client, RequestBuilder, Response, header::HeaderMap, redirect::Policy};
use serde_json::Value;
use std::time::Duration;

/// One whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A word of a problem document (RFC 9457), or of any JSON answer.
    pub fn word(&self, member: &str) -> String {
        self.json().get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer if it is a success, else what the door said.
    pub fn success(self, door: &str) -> Result<Self, DemoError> {
        if self.is_success() {
            return Ok(self);
        }
        let said = String::from_utf8_lossy(&self.body).into_owned();
        Err(DemoError::Answer { door: door.into(), status: self.status, said })
    }

    /// How it is told in a report: `403 wall: production data stays inside…`.
    pub fn told(&self) -> String {
        let (code, detail) = (self.word("code"), self.word("detail"));
        match (code.is_empty(), detail.is_empty()) {
            (true, true) => self.status.to_string(),
            (false, true) => format!("{} {code}", self.status),
            (true, false) => format!("{}: {detail}", self.status),
            (false, false) => format!("{} {code}: {detail}", self.status),
        }
    }
}

/// The client. `patience` bounds each request.
pub fn client(patience: Duration) -> Result<Client, DemoError> {
    let built = Client::builder().no_proxy().redirect(Policy::none()).timeout(patience).build();
    built.map_err(|source| DemoError::Unreachable { door: "the HTTP client".into(), source })
}

/// Sends a request and reads the whole answer.
pub async fn send(door: &str, request: RequestBuilder) -> Result<Answer, DemoError> {
    let unreachable = |source| DemoError::Unreachable { door: door.into(), source };
    let response: Response = request.send().await.map_err(unreachable)?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.map_err(unreachable)?.to_vec();
    Ok(Answer { status, headers, body })
}
