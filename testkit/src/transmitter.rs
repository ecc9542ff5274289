//! A transmitter of shared signals (OpenID Shared Signals Framework 1.0): it signs security event tokens, says where its keys
//! are, and hands out what is polled for as RFC 8936 says: again and again until it is acknowledged.

use crate::{
    issuer::SigningKey,
    server::{Answer, Asked, Server, empty, json, lock},
};
use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Map, Value, json};
use std::{
    io,
    sync::{Arc, Mutex},
};

/// What its events are for.
pub const AUDIENCE: &str = "https://countersign.test/signals";
/// What whoever polls has to present.
pub const TOKEN: &str = "planted-poll-token";

/// Events of the CAEP and RISC profiles, by the last part of their address.
const PROFILES: [(&str, &str); 4] = [
    ("session-revoked", "caep"),
    ("credential-change", "caep"),
    ("account-disabled", "risc"),
    ("account-enabled", "risc"),
];

/// A running transmitter.
#[derive(Debug)]
pub struct Transmitter {
    server: Server,
    key: SigningKey,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    key: Value,
    url: String,
    /// Tokens by their names, until they are acknowledged.
    waiting: Map<String, Value>,
    /// What was said of tokens that were refused.
    refused: Map<String, Value>,
}

impl Transmitter {
    pub async fn start() -> io::Result<Self> {
        let key = SigningKey::rsa("ssf-1")?;
        let shared = Arc::new(Mutex::new(Shared { key: key.jwk(), ..Shared::default() }));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        let server = Server::start(answer).await?;
        lock(&shared).url = server.url();
        Ok(Self { server, key, shared })
    }

    /// What stands in `iss`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Where its events are fetched.
    pub fn poll_url(&self) -> String {
        format!("{}/poll", self.url())
    }

    /// The claims of one event about somebody. `at`: now, in Unix seconds.
    pub fn claims(&self, id: &str, event: &str, subject: &Value, at: i64) -> Value {
        let profile = PROFILES.iter().find(|(name, _)| *name == event).map_or("ssf", |(_, profile)| *profile);
        let address = format!("https://schemas.openid.net/secevent/{profile}/event-type/{event}");
        json!({"iss": self.url(), "aud": AUDIENCE, "iat": at, "jti": id, "sub_id": subject,
            "events": {address: {"event_timestamp": at}}})
    }

    /// A token of these claims.
    pub fn sign(&self, claims: &Value) -> io::Result<String> {
        self.sign_as("secevent+jwt", claims)
    }

    /// The same of another kind.
    pub fn sign_as(&self, kind: &str, claims: &Value) -> io::Result<String> {
        self.key.token(&json!({"alg": "RS256", "kid": self.key.id, "typ": kind}), claims)
    }

    /// Keeps a token for whoever polls.
    pub fn keep(&self, id: &str, token: String) {
        lock(&self.shared).waiting.insert(id.into(), Value::String(token));
    }

    /// The names of tokens nobody has acknowledged or refused.
    pub fn waiting(&self) -> Vec<String> {
        lock(&self.shared).waiting.keys().cloned().collect()
    }

    /// The codes by which tokens were refused, by their names.
    pub fn refused(&self) -> Map<String, Value> {
        lock(&self.shared).refused.clone()
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        match asked.uri().path() {
            "/.well-known/ssf-configuration" => {
                let url = &self.url;
                json(
                    StatusCode::OK,
                    &json!({"spec_version": "1_0", "issuer": url, "jwks_uri": format!("{url}/keys")}),
                )
            }
            "/keys" => json(StatusCode::OK, &json!({"keys": [self.key]})),
            "/poll" => self.polled(asked),
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    /// RFC 8936, section 2.
    fn polled(&mut self, asked: &Asked) -> Response<Bytes> {
        let presented = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if presented != Some(&format!("Bearer {TOKEN}")) {
            return empty(StatusCode::UNAUTHORIZED);
        }
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(asked.body()) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        for id in body.get("ack").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.waiting.remove(id);
        }
        for (id, why) in body.get("setErrs").and_then(Value::as_object).into_iter().flatten() {
            self.waiting.remove(id);
            self.refused.insert(id.clone(), why.get("err").cloned().unwrap_or_default());
        }
        let most = body.get("maxEvents").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
        let most = most.unwrap_or(usize::MAX);
        let sets: Map<String, Value> =
            self.waiting.iter().take(most).map(|(id, token)| (id.clone(), token.clone())).collect();
        let more = self.waiting.len() > sets.len();
        json(StatusCode::OK, &json!({"sets": sets, "moreAvailable": more}))
    }
}
