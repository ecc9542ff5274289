//! The scripted agent: an ordinary HTTP client that holds a token for the gateway and nothing else.

use crate::{
    DemoError,
    http::{self, Answer},
};
use reqwest::{Client, Method};
use serde_json::Value;
use std::{fmt, time::Duration};
use tokio::time::{Instant, sleep};

/// One request to the target, as the agent means it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Option<Value>,
    /// What the agent says it is for.
    pub(crate) reason: &'static str,
}

/// A request that waits for people.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) approval: String,
    pub(crate) location: String,
    /// What the gateway said about it.
    pub(crate) told: Value,
}

/// The agent at the gateway.
#[derive(Clone)]
pub(crate) struct Agent {
    client: Client,
    gateway: String,
    token: String,
}

impl fmt::Debug for Agent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Agent").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl Agent {
    pub(crate) fn new(gateway: &str, token: &str) -> Result<Self, DemoError> {
        let client = http::client(Duration::from_mins(2))?;
        Ok(Self { client, gateway: gateway.into(), token: token.into() })
    }

    /// Sends a request that is not to be held open: `202` at once when people are asked.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Answer, DemoError> {
        self.ask_with(ask, &[]).await
    }

    /// The same with more headers.
    pub(crate) async fn ask_with(&self, ask: &Ask, headers: &[(&str, &str)]) -> Result<Answer, DemoError> {
        let mut request = self
            .client
            .request(ask.method.clone(), format!("{}{}", self.gateway, ask.path))
            .bearer_auth(&self.token)
            .header("prefer", "respond-async")
            .header("countersign-reason", ask.reason);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        http::send(&format!("{} {}", ask.method, ask.path), request).await
    }

    /// Any request to the gateway, or with the agent's token to another door.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer, DemoError> {
        let url = if url.starts_with('/') { format!("{}{url}", self.gateway) } else { url.to_owned() };
        let mut request = self.client.request(method.clone(), &url).bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        http::send(&format!("{method} {url}"), request).await
    }

    /// One look at where a held request stands. Never executes anything.
    pub(crate) async fn look(&self, held: &Held, prefer: &str) -> Result<Answer, DemoError> {
        self.send(Method::GET, &held.location, &[("prefer", prefer)], None).await
    }

    /// The answer of a held request once it is there: the target's own, or a refusal.
    pub(crate) async fn answer(&self, held: &Held, patience: Duration) -> Result<Answer, DemoError> {
        let begun = Instant::now();
        loop {
            let answer = self.look(held, "wait=2").await?;
            if answer.status != 202 {
                return Ok(answer);
            }
            if begun.elapsed() > patience {
                let (approval, state) = (held.approval.clone(), answer.word("state"));
                return Err(DemoError::Late { approval, state, seconds: patience.as_secs() });
            }
            // Where the gateway did not wait with us: look again soon.
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The answer of a held request, however long people take.
    pub(crate) async fn await_people(&self, held: &Held) -> Result<Answer, DemoError> {
        loop {
            let answer = self.look(held, "wait=50").await?;
            if answer.status != 202 {
                return Ok(answer);
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes a held request back.
    pub(crate) async fn withdraw(&self, held: &Held) -> Result<Answer, DemoError> {
        self.send(Method::DELETE, &held.location, &[], None).await
    }
}

/// The held request a `202` speaks of.
pub(crate) fn held(answer: &Answer) -> Option<Held> {
    let location = answer.header("location").filter(|_| answer.status == 202)?;
    let (_, approval) = location.rsplit_once('/')?;
    let known = approval.starts_with("apr_");
    known.then(|| Held { approval: approval.into(), location: location.into(), told: answer.json() })
}
