//! A person at the console, as their browser would act: a session cookie, the CSRF token with every write, the exact
//! origin, and a passkey that signs what the page asks.

use crate::{
    DemoError,
    http::{self, Answer},
};
use countersign_testkit::passkey::SoftPasskey;
use reqwest::{Client, Method, header};
use serde_json::{Value, json};
use std::{fmt, time::Duration};

/// What a vote is to be worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// Signed by the person's passkey.
    Passkey,
    /// The session alone.
    Session,
}

/// Somebody who is signed in.
pub struct Person {
    client: Client,
    console: String,
    cookie: String,
    csrf: String,
    passkey: Option<SoftPasskey>,
    /// The person's id at the gateway.
    pub id: String,
}

impl fmt::Debug for Person {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Person").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Person {
    /// Opens a one-time link: the person is signed in, without a passkey yet.
    pub async fn open(console: &str, link: &str) -> Result<Self, DemoError> {
        const DOOR: &str = "POST /api/v1/session/link";
        let missing = |what: &str| DemoError::Contract { door: DOOR.into(), missing: what.into() };
        let (_, token) = link.split_once('#').ok_or_else(|| missing("a token after `#` in the link"))?;
        let client = http::client(Duration::from_mins(2))?;
        let asked = client
            .post(format!("{console}/api/v1/session/link"))
            .header(header::ORIGIN, console)
            .json(&json!({ "token": token }));
        let answer = http::send(DOOR, asked).await?.success(DOOR)?;
        let cookies: Vec<&str> =
            answer.headers.get_all(header::SET_COOKIE).iter().filter_map(cookie).collect();
        let told = answer.json();
        let text = |pointer: &str| told.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = text("/person/id").ok_or_else(|| missing("person.id"))?;
        let csrf = text("/csrf").ok_or_else(|| missing("csrf"))?;
        if cookies.is_empty() {
            return Err(missing("a session cookie"));
        }
        Ok(Self { client, console: console.into(), cookie: cookies.join("; "), csrf, passkey: None, id })
    }

    /// Makes a passkey and registers it.
    pub async fn register_passkey(&mut self) -> Result<(), DemoError> {
        let options =
            self.write("passkeys/options", &json!({})).await?.success("POST /api/v1/passkeys/options")?;
        let mut passkey = SoftPasskey::new()?;
        let options = options.json();
        let options = options.get("publicKey").unwrap_or(&options);
        let response = passkey.register(options, &self.console)?;
        let named = json!({ "name": "software passkey", "response": response });
        self.write("passkeys", &named).await?.success("POST /api/v1/passkeys")?;
        self.passkey = Some(passkey);
        Ok(())
    }

    /// Reads from the API, below `/api/v1/`.
    pub async fn read(&self, path: &str) -> Result<Answer, DemoError> {
        let request = self.client.request(Method::GET, format!("{}/api/v1/{path}", self.console));
        http::send(&format!("GET /api/v1/{path}"), request.header(header::COOKIE, &self.cookie)).await
    }

    /// Opens a page, as their browser would.
    pub async fn page(&self, path: &str) -> Result<Answer, DemoError> {
        let request = self.client.request(Method::GET, format!("{}{path}", self.console));
        let request = request.header(header::COOKIE, &self.cookie).header(header::ACCEPT, "text/html");
        http::send(&format!("GET {path}"), request).await
    }

    /// The session's secret, for tests that look where it must not be.
    pub fn session_secret(&self) -> &str {
        self.cookie.split_once('=').map_or("", |(_, secret)| secret)
    }

    /// Writes to the API, below `/api/v1/`.
    pub async fn write(&self, path: &str, body: &Value) -> Result<Answer, DemoError> {
        let request = self
            .client
            .request(Method::POST, format!("{}/api/v1/{path}", self.console))
            .header(header::COOKIE, &self.cookie)
            .header(header::ORIGIN, &self.console)
            .header("x-countersign-csrf", &self.csrf)
            .json(body);
        http::send(&format!("POST /api/v1/{path}"), request).await
    }

    /// Asks for a ballot: what is to be signed.
    pub async fn ballot(&self, approval: &str, decision: &str) -> Result<Answer, DemoError> {
        self.write(&format!("approvals/{approval}/ballot"), &json!({ "decision": decision })).await
    }

    /// Hands in a ballot.
    pub async fn cast(&self, approval: &str, vote: &Value) -> Result<Answer, DemoError> {
        self.write(&format!("approvals/{approval}/votes"), vote).await
    }

    /// Signs a ballot as wanted.
    pub fn sign(
        &mut self,
        ballot: &Value,
        strength: Strength,
        reason: Option<&str>,
    ) -> Result<Value, DemoError> {
        let assertion = match (strength, &mut self.passkey, ballot.get("publicKey")) {
            (Strength::Passkey, Some(passkey), Some(options)) if options.is_object() => {
                passkey.assert(options, &self.console)?
            }
            (Strength::Passkey | Strength::Session, _, _) => Value::Null,
        };
        Ok(json!({ "statement": ballot.get("statement"), "assertion": assertion, "reason": reason }))
    }

    /// A whole vote: ballot, signature, hand-in. The refusal, if it is refused on the way.
    pub async fn vote(
        &mut self,
        approval: &str,
        decision: &str,
        strength: Strength,
        reason: Option<&str>,
    ) -> Result<Answer, DemoError> {
        let ballot = self.ballot(approval, decision).await?;
        if !ballot.is_success() {
            return Ok(ballot);
        }
        let vote = self.sign(&ballot.json(), strength, reason)?;
        self.cast(approval, &vote).await
    }

    /// The approval as its page shows it.
    pub async fn approval(&self, approval: &str) -> Result<Value, DemoError> {
        let path = format!("approvals/{approval}");
        Ok(self.read(&path).await?.success(&format!("GET /api/v1/{path}"))?.json())
    }
}

/// `name=value` of a `Set-Cookie`.
fn cookie(value: &header::HeaderValue) -> Option<&str> {
    value.to_str().ok()?.split(';').next().map(str::trim).filter(|pair| pair.contains('='))
}
