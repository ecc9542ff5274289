//! The agent: asks for something and repeats itself, byte for byte, until it is told how it ended.

use crate::Phase;
use countersign_demo::http::{self, Answer};
use countersign_e2e::night;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::watch;

/// One thing to ask for. Its tag stands in the path and in the cloud's memory, and nowhere else.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) tag: String,
    method: Method,
    path: String,
    body: Option<Value>,
    way: Way,
    /// The different people who must approve it; 0 for what policy permits.
    pub(crate) quorum: usize,
}

/// How the agent waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// With a handle: `202` at once, then it looks there.
    Handle,
    /// On the open connection.
    Open,
}

/// How a request ended for the agent.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) tag: String,
    pub(crate) status: u16,
    pub(crate) code: String,
}

impl Ask {
    /// What is asked for in one run. The first one of these is voted on only after the gateway came back.
    pub(crate) fn of_a_run(night: u64, run: u64) -> Vec<Self> {
        let shape = |number: usize, kind: usize, way: Way| {
            let tag = format!("n{night:03}r{run:03}a{number:02}");
            let (method, path, body, quorum) = match kind {
                0 => (Method::GET, format!("/v1/services/{tag}/status"), None, 0),
                1 => (Method::POST, format!("/v1/services/{tag}/restart"), None, 1),
                2 => (Method::PUT, format!("/v1/config/prod/{tag}"), Some(json!({ "value": "1" })), 1),
                3 => {
                    let member = json!({ "member": "night-ops" });
                    (Method::POST, format!("/v1/iam/roles/{tag}/bindings"), Some(member), 1)
                }
                _ => (Method::DELETE, format!("/v1/databases/shop/tables/{tag}/rows?where=id=7"), None, 2),
            };
            Self { tag, method, path, body, way, quorum }
        };
        let kinds = [
            (2, Way::Handle),
            (0, Way::Open),
            (1, Way::Open),
            (1, Way::Handle),
            (2, Way::Open),
            (3, Way::Handle),
            (4, Way::Open),
            (4, Way::Handle),
            (0, Way::Handle),
        ];
        kinds.into_iter().enumerate().map(|(number, (kind, way))| shape(number, kind, way)).collect()
    }

    /// Whether nobody may vote on it before the gateway was killed.
    pub(crate) fn is_kept_back(sentence: &str) -> bool {
        sentence.contains("a00")
    }
}

/// One request on its way.
pub(crate) struct Pursuit {
    client: Client,
    gateway: String,
    token: String,
    ask: Ask,
    phase: watch::Receiver<Phase>,
}

impl Pursuit {
    pub(crate) fn new(gateway: String, token: String, ask: Ask, phase: watch::Receiver<Phase>) -> Self {
        Self { client: night::client().unwrap(), gateway, token, ask, phase }
    }

    /// Repeats itself until there is an answer that is not "later".
    pub(crate) async fn pursue(mut self) -> Result<Ended, String> {
        loop {
            // Where the gateway dies under a request, nobody knows what became of it: repeat the same bytes.
            let asked = self.ask().await;
            let answer = match asked.as_ref().and_then(place_to_look) {
                Some(location) => self.follow(location).await,
                None => asked,
            };
            match answer {
                Some(answer) if answer.status == 503 => self.back().await,
                Some(answer) => {
                    let code = answer.word("code");
                    return Ok(Ended { tag: self.ask.tag, status: answer.status, code });
                }
                None => self.back().await,
            }
        }
    }

    async fn ask(&self) -> Option<Answer> {
        let Ask { method, path, body, way, .. } = &self.ask;
        let url = format!("{}{path}", self.gateway);
        let mut request = self.client.request(method.clone(), &url).bearer_auth(&self.token);
        if *way == Way::Handle {
            request = request.header("prefer", "respond-async");
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        http::send(&url, request).await.ok()
    }

    async fn follow(&self, location: &str) -> Option<Answer> {
        let url = format!("{}{location}", self.gateway);
        loop {
            let look = self.client.get(&url).bearer_auth(&self.token).header("prefer", "wait=2");
            match http::send(&url, look).await {
                Ok(answer) if place_to_look(&answer).is_some() => {}
                Ok(answer) => return Some(answer),
                Err(_) => return None,
            }
        }
    }

    /// Waits until the gateway is said to be back.
    async fn back(&mut self) {
        if *self.phase.borrow() == Phase::First {
            // It was killed just now; that is about to be said.
            let _ = self.phase.wait_for(|phase| *phase != Phase::First).await;
        }
        let _ = self.phase.wait_for(|phase| *phase == Phase::Second).await;
    }
}

/// Where the gateway says to look again. The cloud's own 202 names no such place.
fn place_to_look(answer: &Answer) -> Option<&str> {
    answer.header("location").filter(|_| answer.status == 202)
}
