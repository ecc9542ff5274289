//! The gateway's own token for a server, from an authorization server, for the gateway itself (RFC 6749, section 4.4; the
//! protocol's extension `oauth-client-credentials`). It is kept until shortly before it expires, and never shown.

use super::http::{Endpoint, send_once};
use bytes::Bytes;
use countersign_engine::port::upstream::{Failed, Sent};
use countersign_pep::{SecretError, SecretRef};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use rustls::ClientConfig;
use serde::Deserialize;
use std::{fmt, sync::Arc, time::Duration};
use tokio::{sync::Mutex, time::Instant};
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

/// So long before it expires a token is not used any more.
const EARLY: Duration = Duration::from_secs(30);
/// For how long a token is used whose lifetime nobody tells.
const UNTOLD: Duration = Duration::from_mins(5);
/// The largest answer of an authorization server.
const LIMIT: usize = 64 << 10;
/// How long one may take.
const WITHIN: Duration = Duration::from_secs(10);

/// How a token is asked for.
pub(crate) struct ClientCredentials {
    pub(crate) endpoint: Endpoint,
    pub(crate) connector: Arc<ClientConfig>,
    pub(crate) client_id: String,
    pub(crate) secret: SecretRef,
    pub(crate) scope: Option<String>,
    /// What the token is for (RFC 8707).
    pub(crate) resource: String,
    pub(crate) kept: Mutex<Option<Token>>,
}

/// A token in the form it goes out in, and until when.
pub(crate) struct Token {
    value: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<u64>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ClientCredentials({} at {})", self.client_id, self.endpoint)
    }
}

impl ClientCredentials {
    pub(super) fn check_secret(&self) -> Result<(), SecretError> {
        self.secret.secret().map(drop)
    }

    /// What stands in `Authorization`. Whoever needs a token while one is fetched waits for that one.
    pub(super) async fn value(&self) -> Result<HeaderValue, Failed> {
        let mut kept = self.kept.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.value.clone());
        }
        *kept = None;
        let token = self.fetch().await.map_err(|why| {
            let why = format!("the gateway's own token for the server could not be fetched: {why}");
            Failed { sent: Sent::No, why }
        })?;
        let value = token.value.clone();
        *kept = Some(token);
        Ok(value)
    }

    /// The server does not take this token any more: the next message fetches another.
    pub(super) async fn refused(&self, value: &HeaderValue) {
        let mut kept = self.kept.lock().await;
        if kept.as_ref().is_some_and(|token| token.value == *value) {
            *kept = None;
        }
    }

    async fn fetch(&self) -> Result<Token, String> {
        let asked_at = Instant::now();
        let (status, body) =
            send_once(&self.endpoint, &self.connector, self.request()?, LIMIT, WITHIN).await?;
        if status != StatusCode::OK {
            // What it says may repeat what it was sent.
            return Err(format!("`{}` answered with HTTP {}", self.endpoint.origin, status.as_u16()));
        }
        let unreadable = |_| format!("the answer of `{}` cannot be read", self.endpoint.origin);
        let granted: Granted = serde_json::from_slice(&body).map_err(unreadable)?;
        let token = Zeroizing::new(granted.access_token);
        if !granted.token_type.eq_ignore_ascii_case("bearer") {
            return Err(format!("`{}` gives tokens of another kind", self.endpoint.origin));
        }
        let whole = Zeroizing::new(format!("Bearer {}", *token));
        let mut value = HeaderValue::from_str(&whole).map_err(|_| "the token cannot stand in a header")?;
        value.set_sensitive(true);
        let lives = granted.expires_in.map_or(UNTOLD, Duration::from_secs);
        Ok(Token { value, until: asked_at + lives.saturating_sub(EARLY) })
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, String> {
        let secret = self.secret.secret().map_err(|error| error.to_string())?;
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let pair = Zeroizing::new(format!("{}:{}", encoded(&self.client_id), encoded(&secret)));
        let basic = Zeroizing::new(format!(
            "Basic {}",
            base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair.as_bytes())
        ));
        let mut basic = HeaderValue::from_str(&basic).map_err(|error| error.to_string())?;
        basic.set_sensitive(true);
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials").append_pair("resource", &self.resource);
        if let Some(scope) = &self.scope {
            form.append_pair("scope", scope);
        }
        Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint.location)
            .header(header::HOST, &self.endpoint.origin.authority)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "countersign")
            .header(header::AUTHORIZATION, basic)
            .body(Full::new(form.finish().into()))
            .map_err(|error| error.to_string())
    }
}
