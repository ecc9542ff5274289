//! Microsoft Teams on loopback, as far as channels use it: the login that gives a bot its token, the Bot Connector, and what
//! the Bot Framework says of its own keys; written from their public contracts
//! (<https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference>). It refuses what they
//! refuse, keeps every message with every change, and can be made to fail.

pub mod cards;
pub mod person;

use crate::{
    issuer::SigningKey,
    server::{Answer, Asked, Server, json, lock},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json as object};
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// The bot's app id, its tenant, and its secret there.
pub const APP: &str = "11111111-2222-4333-8444-555555555555";
pub const TENANT: &str = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee";
pub const SECRET: &str = "planted-teams-client-secret";
/// The channel and the chat that the bot is in.
pub const CHANNEL: &str = "19:planted0123456789@thread.tacv2";
pub const CHAT: &str = "19:planted0123456789@thread.v2";
/// The largest message that is taken, as JSON.
pub const LARGEST: usize = 28 << 10;
/// One conversation takes so many calls in such a time
/// (<https://learn.microsoft.com/microsoftteams/platform/bots/how-to/rate-limit>).
const CALLS: [(usize, Duration); 2] = [(8, Duration::from_secs(2)), (60, Duration::from_secs(30))];

/// A message as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub id: String,
    /// Where it is, with the message that its thread begins with.
    pub conversation: String,
    pub summary: String,
    pub card: Value,
    /// The cards it was before, oldest first.
    pub before: Vec<Value>,
}

impl Message {
    /// Whether a thread begins with it.
    pub fn is_root(&self) -> bool {
        self.conversation.split(";messageid=").nth(1).is_some_and(|root| root == self.id)
    }
}

/// What goes wrong; knobs are plain fields.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Answers to the next calls of the connector, whatever they ask; nothing is done then.
    pub answers: VecDeque<Refusal>,
    /// It answers every call of the connector like this.
    pub down: Option<Refusal>,
    /// The next so many posts are done, and the answer is lost.
    pub lost: usize,
    /// What the login says of how long its tokens are good, in seconds; 0: an hour.
    pub good_for: u64,
    /// The login answers like this.
    pub login: Option<Refusal>,
}

/// A call that is not answered as asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// A status with the code of an error.
    Error(u16, &'static str),
    /// 429 with so many seconds in `Retry-After`.
    Later(u64),
}

/// Teams, running.
pub struct Teams {
    server: Server,
    shared: Arc<Mutex<Shared>>,
    key: SigningKey,
}

impl std::fmt::Debug for Teams {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Teams").field("service", &self.service()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    messages: Vec<Message>,
    /// Every call with what was answered to it: method and path, and a status with the code of an error.
    calls: Vec<(String, String)>,
    /// Tokens that are taken.
    tokens: BTreeMap<String, Instant>,
    trouble: Trouble,
    recent: BTreeMap<String, VecDeque<Instant>>,
    keys: Vec<Value>,
    issuer: String,
    count: u64,
}

type Said = Result<(StatusCode, Value), (u16, &'static str)>;

impl Teams {
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        let (server, key) = (Server::start(answer).await?, SigningKey::rsa("bot-framework-1")?);
        let teams = Self { server, shared, key };
        teams.publish(&teams.key, &["msteams", "webchat"]);
        lock(&teams.shared).issuer = teams.issuer();
        Ok(teams)
    }

    /// Where the connector is.
    pub fn service(&self) -> String {
        format!("{}/service/", self.server.url())
    }

    /// Where tokens are got.
    pub fn login(&self) -> String {
        format!("{}/login/", self.server.url())
    }

    /// What the Bot Framework calls itself in tokens.
    pub fn issuer(&self) -> String {
        self.server.url()
    }

    /// Where it says which keys are its own.
    pub fn openid(&self) -> String {
        format!("{}/openid", self.server.url())
    }

    /// Publishes one key more, with the chats it may speak for.
    pub fn publish(&self, key: &SigningKey, endorsements: &[&str]) {
        let mut jwk = key.jwk();
        if let Some(jwk) = jwk.as_object_mut() {
            // As the Bot Framework publishes them.
            jwk.remove("alg");
            jwk.insert("endorsements".into(), endorsements.into());
        }
        lock(&self.shared).keys.push(jwk);
    }

    /// Changes what goes wrong.
    pub fn trouble(&self, change: impl FnOnce(&mut Trouble)) {
        change(&mut lock(&self.shared).trouble);
    }

    pub fn messages(&self) -> Vec<Message> {
        lock(&self.shared).messages.clone()
    }

    /// Every call, and what was answered.
    pub fn calls(&self) -> Vec<(String, String)> {
        lock(&self.shared).calls.clone()
    }

    /// How often a token was given.
    pub fn logins(&self) -> usize {
        self.calls().iter().filter(|(call, said)| call.contains("/login/") && said == "200").count()
    }

    /// No token that was given until now is taken any more.
    pub fn revoke(&self) {
        lock(&self.shared).tokens.clear();
    }

    /// Somebody deletes a message.
    pub fn delete(&self, id: &str) {
        lock(&self.shared).messages.retain(|message| message.id != id);
    }

    /// Waits until it is as it should be.
    pub async fn until(
        &self,
        what: &str,
        enough: impl Fn(&[Message]) -> bool,
    ) -> Result<Vec<Message>, String> {
        let found = self.server.comes(|| Some(self.messages()).filter(|messages| enough(messages))).await;
        found.ok_or_else(|| format!("{what} never came; {:?}", self.calls()))
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let path = asked.uri().path().to_owned();
        let said = match path.as_str() {
            "/openid" => {
                let keys = format!("{}/keys", self.issuer);
                Ok((
                    StatusCode::OK,
                    object!({"issuer": self.issuer, "jwks_uri": keys,
                    "id_token_signing_alg_values_supported": ["RS256"]}),
                ))
            }
            "/keys" => Ok((StatusCode::OK, object!({"keys": self.keys}))),
            _ if path.starts_with("/login/") => self.login(&path, asked),
            _ => match path.strip_prefix("/service/v3/conversations") {
                Some(rest) => return self.connector(rest, asked),
                None => Err((404, "")),
            },
        };
        self.told(asked, said)
    }

    fn told(&mut self, asked: &Asked, said: Said) -> Response<Bytes> {
        let call = format!("{} {}", asked.method(), asked.uri().path());
        match said {
            Ok((status, answer)) => {
                self.calls.push((call, status.as_u16().to_string()));
                json(status, &answer)
            }
            Err((status, code)) => {
                self.calls.push((call, format!("{status} {code}")));
                Refusal::Error(status, code).response()
            }
        }
    }

    /// The token endpoint of a tenant.
    fn login(&mut self, path: &str, asked: &Asked) -> Said {
        match self.trouble.login {
            Some(Refusal::Error(status, code)) => return Err((status, code)),
            Some(Refusal::Later(_)) => return Err((429, "")),
            None => {}
        }
        let form: BTreeMap<String, String> = url::form_urlencoded::parse(asked.body()).into_owned().collect();
        let one = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if path != format!("/login/{TENANT}/oauth2/v2.0/token") {
            return Err((400, "invalid_request"));
        }
        let kind = asked.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if *asked.method() != Method::POST || kind != Some("application/x-www-form-urlencoded") {
            return Err((400, "invalid_request"));
        }
        if one("grant_type") != "client_credentials" {
            return Err((400, "unsupported_grant_type"));
        }
        if one("client_id") != APP {
            return Err((400, "unauthorized_client"));
        }
        if one("client_secret") != SECRET {
            return Err((401, "invalid_client"));
        }
        if one("scope") != format!("{}/.default", self.issuer) {
            return Err((400, "invalid_scope"));
        }
        self.count += 1;
        let token = format!("planted-teams-token-{}", self.count);
        let seconds = if self.trouble.good_for > 0 { self.trouble.good_for } else { 3600 };
        self.tokens.insert(token.clone(), Instant::now() + Duration::from_secs(seconds));
        Ok((StatusCode::OK, object!({"token_type": "Bearer", "expires_in": seconds, "access_token": token})))
    }

    fn connector(&mut self, rest: &str, asked: &Asked) -> Response<Bytes> {
        let refusal = self.trouble.down.or_else(|| self.trouble.answers.pop_front());
        if let Some(refusal) = refusal {
            self.calls.push((format!("{} {}", asked.method(), asked.uri().path()), format!("{refusal:?}")));
            return refusal.response();
        }
        let posted = self.messages.len();
        let said = self.call(rest, asked);
        let lost = self.messages.len() > posted && self.trouble.lost > 0;
        if lost {
            self.trouble.lost -= 1;
            return Refusal::Error(502, "").response();
        }
        if said == Err((429, "")) {
            self.calls.push((format!("{} {}", asked.method(), asked.uri().path()), "too fast".into()));
            return Refusal::Later(1).response();
        }
        self.told(asked, said)
    }

    fn call(&mut self, rest: &str, asked: &Asked) -> Said {
        self.authorized(asked)?;
        let kind = asked.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
            return Err((415, "BadSyntax"));
        }
        if asked.body().len() > LARGEST {
            return Err((413, "MessageSizeTooBig"));
        }
        let sent: Value = serde_json::from_slice(asked.body()).map_err(|_| (400, "BadSyntax"))?;
        let parts: Vec<String> = rest.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (asked.method(), parts.as_slice()) {
            (&Method::POST, []) => self.begin(&sent),
            (&Method::POST, [conversation, "activities"]) => self.say(conversation, &sent),
            (&Method::PUT, [conversation, "activities", id]) => self.change(conversation, id, &sent),
            _ => Err((405, "MethodNotAllowed")),
        }
    }

    fn authorized(&self, asked: &Asked) -> Result<(), (u16, &'static str)> {
        let sent = asked.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|sent| sent.strip_prefix("Bearer ")).ok_or((401, "Unauthorized"))?;
        let good = self.tokens.get(token).is_some_and(|end| Instant::now() < *end);
        if good { Ok(()) } else { Err((401, "Unauthorized")) }
    }

    /// A new thread in a channel.
    fn begin(&mut self, sent: &Value) -> Said {
        known(sent, &["isGroup", "bot", "tenantId", "channelData", "activity"])?;
        let text = |pointer: &str| sent.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if sent["isGroup"] != true || text("/bot/id") != format!("28:{APP}") || text("/tenantId") != TENANT {
            return Err((400, "BadArgument"));
        }
        let channel = text("/channelData/channel/id").to_owned();
        if channel != CHANNEL {
            return Err((404, "ConversationNotFound"));
        }
        self.paced(&channel)?;
        let (summary, card) = content(&sent["activity"], None)?;
        let id = self.id();
        let conversation = format!("{channel};messageid={id}");
        let answer = object!({"id": conversation, "activityId": id});
        self.messages.push(Message { id, conversation, summary, card, before: vec![] });
        Ok((StatusCode::CREATED, answer))
    }

    fn say(&mut self, conversation: &str, sent: &Value) -> Said {
        let (base, root) = conversation.split_once(";messageid=").unwrap_or((conversation, ""));
        let there = self.messages.iter().any(|message| message.id == root);
        if !(base == CHANNEL && there) && base != CHAT && !base.starts_with("a:") {
            return Err((404, "ConversationNotFound"));
        }
        self.paced(base)?;
        let (summary, card) = content(sent, None)?;
        let id = self.id();
        let answer = object!({"id": id});
        self.messages.push(Message { id, conversation: conversation.into(), summary, card, before: vec![] });
        Ok((StatusCode::CREATED, answer))
    }

    fn change(&mut self, conversation: &str, id: &str, sent: &Value) -> Said {
        self.paced(conversation.split(';').next().unwrap_or_default())?;
        let (summary, card) = content(sent, Some(id))?;
        let mut there = self.messages.iter_mut();
        let message = there.find(|message| message.id == id && message.conversation == conversation);
        let message = message.ok_or((404, "ActivityNotFound"))?;
        message.before.push(std::mem::replace(&mut message.card, card));
        message.summary = summary;
        Ok((StatusCode::OK, object!({"id": id})))
    }

    fn paced(&mut self, conversation: &str) -> Result<(), (u16, &'static str)> {
        let recent = self.recent.entry(conversation.to_owned()).or_default();
        recent.push_back(Instant::now());
        let many = |(most, span): &(usize, Duration)| {
            recent.iter().rev().take_while(|at| at.elapsed() <= *span).count() > *most
        };
        if CALLS.iter().any(many) { Err((429, "")) } else { Ok(()) }
    }

    fn id(&mut self) -> String {
        self.count += 1;
        format!("17642342{:05}", self.count)
    }
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, code, after) = match self {
            Self::Error(status, code) => (StatusCode::from_u16(status).unwrap_or_default(), code, None),
            Self::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", Some(seconds)),
        };
        // The login names its errors in a text, the connector in an object.
        let error = if code.contains('_') {
            code.into()
        } else {
            object!({"code": code, "message": "planted words"})
        };
        let mut response = json(status, &object!({"error": error}));
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What a message says, where Teams would take it.
fn content(sent: &Value, id: Option<&str>) -> Result<(String, Value), (u16, &'static str)> {
    known(
        sent,
        if id.is_some() {
            &["type", "summary", "attachments", "id"]
        } else {
            &["type", "summary", "attachments"]
        },
    )?;
    let summary = sent["summary"].as_str().unwrap_or_default().to_owned();
    let attachment = cards::at(sent, "/attachments/0");
    let one = sent["attachments"].as_array().is_some_and(|all| all.len() == 1);
    if sent["type"] != "message" || !one || id.is_some_and(|id| sent["id"] != id) || summary.is_empty() {
        return Err((400, "BadArgument"));
    }
    if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" {
        return Err((400, "BadArgument"));
    }
    cards::check(&attachment["content"]).map_err(|_| (400, "BadArgument"))?;
    Ok((summary, attachment["content"].clone()))
}

fn known(sent: &Value, keys: &[&str]) -> Result<(), (u16, &'static str)> {
    let members = sent.as_object().ok_or((400, "BadSyntax"))?;
    if members.keys().any(|key| !keys.contains(&key.as_str())) { Err((400, "BadArgument")) } else { Ok(()) }
}

/// A part of a path with its `%` undone.
fn decoded(part: &str) -> String {
    let pair = format!("x={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}
