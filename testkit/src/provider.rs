//! An OpenID provider that people sign in with, and that can be made to lie. It is as strict as a real one about what it
//! is asked: PKCE, the redirect address, the client's secret, and that a code is redeemed once.

use crate::{
    issuer::SigningKey,
    server::{Answer, Asked, Server, empty, json, lock},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

/// The client it knows.
pub const CLIENT: &str = "countersign";
/// That client's secret.
pub const SECRET: &str = "planted-client-secret";

/// How an ID token is made; knobs are plain fields.
#[derive(Debug)]
pub struct Lies {
    /// What the token says beyond what the protocol asks; a member that is `null` is left out.
    pub claims: Value,
    /// Stands in the head in place of what belongs there.
    pub head: Value,
    /// Answers the code with this in place of a token of its own.
    pub token: Option<String>,
    /// Signs with this key in place of the published one.
    pub key: Option<SigningKey>,
    /// Redeems a code as often as it is asked to.
    pub again: bool,
}

/// A running provider.
pub struct OpenIdProvider {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for OpenIdProvider {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OpenIdProvider").field("url", &self.url()).finish_non_exhaustive()
    }
}

struct Shared {
    key: SigningKey,
    url: String,
    discovery: Value,
    codes: HashMap<String, Code>,
    /// The time in its tokens, in seconds.
    now: i64,
    lies: Lies,
}

#[derive(Clone)]
struct Code {
    redirect: String,
    challenge: String,
    nonce: String,
}

/// Where a browser comes back to, and with what.
#[derive(Clone, Debug)]
pub struct Back {
    pub redirect: String,
    pub state: String,
    pub code: String,
    pub issuer: String,
}

impl OpenIdProvider {
    /// Starts one whose clock shows `now`, in Unix seconds.
    pub async fn start(now: i64) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared {
            key: SigningKey::rsa("op-1")?,
            url: String::new(),
            discovery: Value::Null,
            codes: HashMap::new(),
            now,
            lies: Lies { claims: json!({}), head: json!({}), token: None, key: None, again: false },
        }));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        let server = Server::start(answer).await?;
        let url = server.url();
        {
            let mut shared = lock(&shared);
            shared.discovery = json!({
                "issuer": url, "authorization_endpoint": format!("{url}/authorize"),
                "token_endpoint": format!("{url}/token"), "jwks_uri": format!("{url}/keys"),
                "end_session_endpoint": format!("{url}/end"), "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            });
            shared.url = url;
        }
        Ok(Self { server, shared })
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Makes it lie from now on.
    pub fn lie(&self, change: impl FnOnce(&mut Lies)) {
        change(&mut lock(&self.shared).lies);
    }

    /// Changes what it says of itself.
    pub fn describe(&self, change: impl FnOnce(&mut Value)) {
        change(&mut lock(&self.shared).discovery);
    }

    /// The public half of its key, as it may be mistaken for a secret.
    pub fn public_der(&self) -> Vec<u8> {
        lock(&self.shared).key.public_der()
    }

    /// A token of its own making, signed with its key.
    pub fn sign(&self, head: &Value, claims: &Value) -> io::Result<String> {
        let shared = lock(&self.shared);
        let own = json!({"alg": shared.key.algorithm(), "kid": shared.key.id});
        shared.key.token(&merged(own, head), claims)
    }

    /// The paths it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.server.asked()
    }

    /// What happens in the browser at the provider: a person says yes. Fails when the client asked wrongly.
    pub fn authorize(&self, location: &str) -> Result<Back, String> {
        let mut shared = lock(&self.shared);
        let query = location.strip_prefix(&format!("{}/authorize?", shared.url));
        let asked = pairs(query.ok_or_else(|| format!("`{location}` is not this provider's"))?);
        let one = |name: &str| asked.get(name).cloned().ok_or_else(|| format!("`{name}` is missing"));
        let long =
            |name: &str| one(name).and_then(|text| if text.len() >= 43 { Ok(text) } else { Err(text) });
        if one("response_type")? != "code" || one("client_id")? != CLIENT {
            return Err("another response type or client".into());
        }
        if one("code_challenge_method")? != "S256" || !one("scope")?.split(' ').any(|scope| scope == "openid")
        {
            return Err("no PKCE or no `openid`".into());
        }
        let code = format!("code-{}", shared.codes.len());
        let (state, redirect) = (long("state")?, one("redirect_uri")?);
        let known =
            Code { redirect: redirect.clone(), challenge: long("code_challenge")?, nonce: long("nonce")? };
        shared.codes.insert(code.clone(), known);
        Ok(Back { redirect, state, code, issuer: shared.url.clone() })
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<bytes::Bytes> {
        match asked.uri().path() {
            "/.well-known/openid-configuration" => json(StatusCode::OK, &self.discovery),
            "/keys" => json(StatusCode::OK, &json!({"keys": [self.key.jwk()]})),
            "/token" => match self.token(asked) {
                Ok(token) => {
                    let answer = json!({"access_token": "a", "token_type": "Bearer", "id_token": token});
                    json(StatusCode::OK, &answer)
                }
                Err(error) => json(StatusCode::BAD_REQUEST, &json!({"error": error})),
            },
            _ => empty(StatusCode::NOT_FOUND),
        }
    }

    fn token(&mut self, asked: &Asked) -> Result<String, &'static str> {
        let form = pairs(std::str::from_utf8(asked.body()).unwrap_or_default());
        let authorization = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let wanted = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
        if authorization != Some(&wanted) || form.contains_key("client_secret") {
            return Err("invalid_client");
        }
        let text = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if text("grant_type") != "authorization_code" {
            return Err("unsupported_grant_type");
        }
        let known = if self.lies.again {
            self.codes.get(text("code")).cloned()
        } else {
            self.codes.remove(text("code"))
        };
        let known = known.ok_or("invalid_grant")?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(text("code_verifier")));
        if known.redirect != text("redirect_uri") || known.challenge != challenge {
            return Err("invalid_grant");
        }
        if let Some(token) = &self.lies.token {
            return Ok(token.clone());
        }
        let claims = json!({
            "iss": self.url, "aud": CLIENT, "sub": "u-1", "iat": self.now, "exp": self.now + 300,
            "nonce": known.nonce, "email_verified": true,
        });
        let key = self.lies.key.as_ref().unwrap_or(&self.key);
        let head = json!({"alg": key.algorithm(), "kid": self.key.id});
        let head = merged(head, &self.lies.head);
        key.token(&head, &merged(claims, &self.lies.claims)).map_err(|_| "server_error")
    }
}

fn merged(mut base: Value, changes: &Value) -> Value {
    if let (Some(base), Some(changes)) = (base.as_object_mut(), changes.as_object()) {
        for (name, value) in changes {
            if value.is_null() {
                base.remove(name);
            } else {
                base.insert(name.clone(), value.clone());
            }
        }
    }
    base
}

fn pairs(text: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
