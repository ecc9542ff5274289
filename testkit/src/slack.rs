//! Slack's Web API on loopback, as far as channels use it, written from its public contract
//! (<https://docs.slack.dev/reference/methods>). It refuses what Slack refuses, keeps every message with every change, and
//! can be made to fail. What nobody promises is taken at its worst: `client_msg_id` is ignored.

pub mod blocks;
pub mod manifest;
pub mod person;
pub mod socket;

use crate::server::{Answer, Asked, Server, json, lock};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json as object};
use socket::{APP_TOKEN, Sockets};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// The bot's token.
pub const TOKEN: &str = "xoxb-planted-slack-token";
/// The one channel there is.
pub const CHANNEL: &str = "C0123456789";
pub const TEAM: &str = "T0123456789";
/// Who the app is there.
pub const BOT: &str = "B0123456789";
/// A channel takes no more than a message in about a second.
const PACE: Duration = Duration::from_millis(900);
const METADATA: usize = 8 << 10;
/// An address to answer at is good so often.
const ANSWERS: usize = 5;
const TEXT: usize = 40_000;

/// A message as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The channel, or somebody's conversation with the app.
    pub channel: String,
    pub ts: String,
    /// The message it answers.
    pub thread: Option<String>,
    /// It is shown in the channel too.
    pub broadcast: bool,
    pub bot: String,
    pub text: String,
    pub blocks: Vec<Value>,
    pub metadata: Value,
    /// What it was before: text and blocks, oldest first.
    pub before: Vec<(String, Vec<Value>)>,
}

/// What goes wrong; knobs are plain fields.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Answers to the next calls, whatever they ask; nothing is done then.
    pub answers: VecDeque<Refusal>,
    /// The next so many posts are done, and the answer is lost.
    pub lost: usize,
    /// It answers every call like this.
    pub down: Option<Refusal>,
    /// Scopes that the app does not have.
    pub lacks: BTreeSet<&'static str>,
    /// Users who left the workspace.
    pub gone: BTreeSet<String>,
    /// Users with whom the app cannot converse.
    pub shut: BTreeSet<String>,
}

/// A call that is not answered as asked.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// `ok: false` with this error.
    Error(&'static str),
    /// 429 with so many seconds in `Retry-After`.
    Later(u64),
    Status(u16),
}

/// A running workspace.
pub struct Slack {
    server: Server,
    shared: Arc<Mutex<Shared>>,
}

impl std::fmt::Debug for Slack {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Slack").field("api", &self.api()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    messages: Vec<Message>,
    /// Every call with what was answered to it: method and error, or `ok`.
    calls: Vec<(String, String)>,
    /// What opened no form yet.
    triggers: BTreeSet<String>,
    /// Forms that were opened.
    views: Vec<Value>,
    /// What was said to one user alone: the address it came to, and what it said.
    told: Vec<(String, Value)>,
    trouble: Trouble,
    /// What the app may do.
    app: manifest::App,
    /// When the last message came into each channel.
    last_post: BTreeMap<String, Instant>,
    /// Conversations of people with the app.
    conversations: BTreeSet<String>,
    count: u64,
    sockets: Sockets,
    /// Rung where something changes without a call.
    bell: Option<watch::Sender<u64>>,
    /// This very thing, for connections that outlive the call that opens them.
    own: Weak<Mutex<Self>>,
}

type Said = Result<Value, String>;

impl Slack {
    pub async fn start() -> io::Result<Self> {
        let app = manifest::App::of(manifest::AT_AN_ADDRESS).map_err(io::Error::other)?;
        let shared = Arc::new(Mutex::new(Shared { app, ..Shared::default() }));
        lock(&shared).own = Arc::downgrade(&shared);
        let answering = Arc::clone(&shared);
        let answer: Answer = Arc::new(move |asked| lock(&answering).answer(asked));
        let server = Server::start(answer).await?;
        lock(&shared).bell = Some(server.bell());
        Ok(Self { server, shared })
    }

    /// Where the methods are.
    pub fn api(&self) -> String {
        format!("{}/api/", self.server.url())
    }

    /// The workspace installs the app that a manifest makes, in place of the one that is handed out.
    pub fn install(&self, manifest: &str) -> Result<(), String> {
        lock(&self.shared).app = manifest::App::of(manifest)?;
        Ok(())
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

    /// Somebody deletes a message.
    pub fn delete(&self, ts: &str) {
        lock(&self.shared).messages.retain(|message| message.ts != ts);
    }

    /// Another app of the workspace posts.
    pub fn post_as(&self, bot: &str, metadata: Value) -> String {
        let mut shared = lock(&self.shared);
        let ts = shared.stamp();
        let (bot, text) = (bot.to_owned(), "another app's".to_owned());
        shared.messages.push(Message {
            channel: CHANNEL.into(),
            broadcast: false,
            ts: ts.clone(),
            thread: None,
            bot,
            text,
            blocks: vec![],
            metadata,
            before: vec![],
        });
        ts
    }

    /// Every form that was opened.
    pub fn views(&self) -> Vec<Value> {
        lock(&self.shared).views.clone()
    }

    /// Waits until somebody was told something, or a form was opened: whatever this finds.
    pub async fn comes<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> Result<T, String> {
        let found = self.server.comes(|| find(self)).await;
        found.ok_or_else(|| format!("{what} never came; {:?}; {:?}", self.calls(), self.told()))
    }

    /// Waits until the messages are as they should be.
    pub async fn until(
        &self,
        what: &str,
        enough: impl Fn(&[Message]) -> bool,
    ) -> Result<Vec<Message>, String> {
        self.comes(what, |slack| Some(slack.messages()).filter(|messages| enough(messages))).await
    }
}

impl Shared {
    fn answer(&mut self, asked: &Asked) -> Response<Bytes> {
        let path = asked.uri().path();
        if path.starts_with("/hooks/") {
            return self.hook(path, asked);
        }
        if path == "/link/" {
            let own = Weak::clone(&self.own);
            return self.link(asked, &own);
        }
        let Some(method) = path.strip_prefix("/api/").map(str::to_owned) else {
            return json(StatusCode::NOT_FOUND, &Value::Null);
        };
        let refusal = self.trouble.down.or_else(|| self.trouble.answers.pop_front());
        if let Some(refusal) = refusal {
            self.calls.push((method, format!("{refusal:?}")));
            return refusal.response();
        }
        let sent: Value = serde_json::from_slice(asked.body()).unwrap_or_default();
        let channel = text(&sent, "channel").to_owned();
        let last = self.last_post.get(&channel);
        if method == "chat.postMessage" && last.is_some_and(|last| last.elapsed() < PACE) {
            self.calls.push((method, "too fast".into()));
            return Refusal::Later(1).response();
        }
        let said = self.call(&method, asked);
        self.calls.push((method.clone(), said.as_ref().map_or_else(Clone::clone, |_| "ok".into())));
        if method == "chat.postMessage" {
            self.last_post.insert(channel, Instant::now());
            if said.is_ok() && self.trouble.lost > 0 {
                self.trouble.lost -= 1;
                return Refusal::Status(502).response();
            }
        }
        let answer = said.unwrap_or_else(|error| object!({"ok": false, "error": error}));
        json(StatusCode::OK, &answer)
    }

    fn call(&mut self, method: &str, asked: &Asked) -> Said {
        let header =
            |name| asked.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match header(header::AUTHORIZATION).strip_prefix("Bearer ") {
            None => return Err("not_authed".into()),
            // Each method takes one kind of token.
            Some(TOKEN) if method != "apps.connections.open" => {}
            Some(APP_TOKEN) if method == "apps.connections.open" => {}
            Some(TOKEN | APP_TOKEN) => return Err("not_allowed_token_type".into()),
            Some(_) => return Err("invalid_auth".into()),
        }
        let kind = header(header::CONTENT_TYPE);
        let sent = if kind == "application/json; charset=utf-8" {
            serde_json::from_slice(asked.body()).map_err(|_| "invalid_json")?
        } else if kind == "application/x-www-form-urlencoded" {
            form(asked.body())
        } else {
            return Err("invalid_post_type".into());
        };
        // That of connections is the app-level token's, and stands in no manifest.
        let of_the_app = (method == "apps.connections.open").then_some("connections:write");
        let scope = manifest::scope_of(method, text(&sent, "channel"));
        let lacks = |scope: &str| self.trouble.lacks.contains(scope);
        if of_the_app.is_some_and(lacks)
            || scope.is_some_and(|one| lacks(one) || !self.app.scopes.contains(one))
        {
            return Err("missing_scope".into());
        }
        match method {
            "apps.connections.open" => self.open_connection(header(header::HOST)),
            "auth.test" => {
                Ok(object!({"ok": true, "bot_id": BOT, "user_id": "U0000000000", "team_id": TEAM}))
            }
            "chat.postMessage" => self.post(&sent),
            "chat.update" => self.update(&sent),
            "conversations.open" => self.converse(&sent),
            "views.open" => self.open(&sent),
            "conversations.history" => self.page(&sent, |message| message.thread.is_none()),
            "conversations.replies" => {
                let ts = text(&sent, "ts").to_owned();
                if !self.messages.iter().any(|message| message.ts == ts) {
                    return Err("thread_not_found".into());
                }
                self.page(&sent, |message| message.ts == ts || message.thread.as_ref() == Some(&ts))
            }
            _ => Err("unknown_method".into()),
        }
    }

    fn post(&mut self, sent: &Value) -> Said {
        known(
            sent,
            &[
                "channel",
                "text",
                "blocks",
                "metadata",
                "parse",
                "link_names",
                "unfurl_links",
                "unfurl_media",
                "client_msg_id",
                "thread_ts",
                "reply_broadcast",
            ],
        )?;
        let channel = self.channel_of(sent)?;
        let (words, blocks, metadata) = content(sent)?;
        let thread = sent.get("thread_ts").and_then(Value::as_str).map(str::to_owned);
        if let Some(thread) = &thread
            && !self.messages.iter().any(|message| {
                &message.ts == thread && message.thread.is_none() && message.channel == channel
            })
        {
            return Err("thread_not_found".into());
        }
        let broadcast = sent.get("reply_broadcast").is_some_and(|flag| flag == true);
        if broadcast && thread.is_none() {
            return Err("invalid_arguments".into());
        }
        let ts = self.stamp();
        let message = Message {
            channel: channel.clone(),
            ts: ts.clone(),
            thread,
            broadcast,
            bot: BOT.into(),
            text: words,
            blocks,
            metadata,
            before: vec![],
        };
        self.messages.push(message);
        Ok(object!({"ok": true, "channel": channel, "ts": ts}))
    }

    /// Opens a person's conversation with the app, or says which it is.
    fn converse(&mut self, sent: &Value) -> Said {
        known(sent, &["users"])?;
        let user = text(sent, "users").to_owned();
        let number = user.strip_prefix('U').filter(|number| number.len() >= 8).ok_or("user_not_found")?;
        if self.trouble.gone.contains(&user) {
            return Err("user_disabled".into());
        }
        if self.trouble.shut.contains(&user) {
            return Err("channel_not_found".into());
        }
        let id = format!("D{number}");
        self.conversations.insert(id.clone());
        Ok(object!({"ok": true, "channel": {"id": id}}))
    }

    /// The channel that is meant, where it is there.
    fn channel_of(&self, sent: &Value) -> Result<String, String> {
        let channel = text(sent, "channel");
        if channel.strip_prefix('D').is_some_and(|user| self.trouble.shut.contains(&format!("U{user}"))) {
            return Err("channel_not_found".into());
        }
        if channel == CHANNEL || self.conversations.contains(channel) {
            return Ok(channel.to_owned());
        }
        Err("channel_not_found".into())
    }

    /// What is said to one user.
    fn hook(&mut self, path: &str, asked: &Asked) -> Response<Bytes> {
        let said: Value = serde_json::from_slice(asked.body()).unwrap_or_default();
        let given = said.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
        let fine = text(&said, "response_type") == "ephemeral" && !text(&said, "text").is_empty();
        let spent = self.told.iter().filter(|(to, _)| to == path).count() >= ANSWERS;
        if spent || !fine || blocks::check(&given, blocks::MOST_IN_MESSAGE).is_err() {
            return Refusal::Status(400).response();
        }
        self.told.push((path.to_owned(), said));
        json(StatusCode::OK, &object!({"ok": true}))
    }

    fn open(&mut self, sent: &Value) -> Said {
        known(sent, &["trigger_id", "view"])?;
        let view = sent.get("view").cloned().unwrap_or_default();
        known(&view, &["type", "callback_id", "title", "submit", "close", "private_metadata", "blocks"])?;
        if !self.triggers.remove(text(sent, "trigger_id")) {
            return Err("exchanged_trigger_id".into());
        }
        let of = |name: &str| view.get(name).map(|object| text(object, "text")).unwrap_or_default();
        let fits = |name: &str| (1..=24).contains(&of(name).chars().count());
        let long = text(&view, "private_metadata").len() > 3000 || text(&view, "callback_id").len() > 255;
        if text(&view, "type") != "modal" || !["title", "submit", "close"].into_iter().all(fits) || long {
            return Err("invalid_arguments".into());
        }
        let given = view.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
        blocks::check(&given, blocks::MOST_IN_VIEW)?;
        self.views.push(view);
        Ok(object!({"ok": true}))
    }

    fn update(&mut self, sent: &Value) -> Said {
        known(sent, &["channel", "ts", "text", "blocks", "metadata", "parse", "link_names"])?;
        let channel = self.channel_of(sent)?;
        let (words, blocks, metadata) = content(sent)?;
        let ts = text(sent, "ts");
        let there = |message: &&mut Message| message.ts == ts && message.channel == channel;
        let message = self.messages.iter_mut().find(there).ok_or("message_not_found")?;
        if message.bot != BOT {
            return Err("cant_update_message".into());
        }
        let before =
            (std::mem::replace(&mut message.text, words), std::mem::replace(&mut message.blocks, blocks));
        message.before.push(before);
        message.metadata = metadata;
        Ok(object!({"ok": true, "channel": channel, "ts": ts}))
    }

    /// Newest first, as history comes.
    fn page(&self, sent: &Value, wanted: impl Fn(&Message) -> bool) -> Said {
        let channel = self.channel_of(sent)?;
        let number = |name: &str| text(sent, name).parse::<f64>().unwrap_or_default();
        let limit = text(sent, "limit").parse().unwrap_or(100).clamp(1, 999);
        let skip = text(sent, "cursor").parse().unwrap_or(0);
        let since = |message: &&Message| message.ts.parse::<f64>().is_ok_and(|ts| ts > number("oldest"));
        let all: Vec<&Message> =
            self.messages.iter().rev().filter(|message| wanted(message)).filter(since).collect::<Vec<_>>();
        let all: Vec<&Message> = all.into_iter().filter(|message| message.channel == channel).collect();
        let shown = all.iter().skip(skip).take(limit).map(|message| {
            let metadata = Some(&message.metadata).filter(|_| text(sent, "include_all_metadata") == "true");
            let (ts, words, bot) = (&message.ts, &message.text, &message.bot);
            object!({"type": "message", "ts": ts, "text": words, "bot_id": bot, "metadata": metadata})
        });
        let next = if all.len() > skip + limit { (skip + limit).to_string() } else { String::new() };
        let messages: Vec<Value> = shown.collect();
        Ok(object!({"ok": true, "messages": messages, "response_metadata": {"next_cursor": next}}))
    }

    /// A moment that no other message has.
    fn stamp(&mut self) -> String {
        self.count += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}.{:06}", now.as_secs(), self.count)
    }
}

impl Refusal {
    fn response(self) -> Response<Bytes> {
        let (status, error, after) = match self {
            Self::Error(error) => (StatusCode::OK, error, None),
            Self::Later(seconds) => (StatusCode::TOO_MANY_REQUESTS, "ratelimited", Some(seconds)),
            Self::Status(status) => (StatusCode::from_u16(status).unwrap_or_default(), "", None),
        };
        let mut response = json(status, &object!({"ok": false, "error": error}));
        if let Some(seconds) = after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// What a message says, where Slack would take it.
fn content(sent: &Value) -> Result<(String, Vec<Value>, Value), String> {
    let words = text(sent, "text").to_owned();
    let given = sent.get("blocks").and_then(Value::as_array).cloned().unwrap_or_default();
    if words.is_empty() && given.is_empty() {
        return Err("no_text".into());
    }
    if words.chars().count() > TEXT {
        return Err("msg_too_long".into());
    }
    blocks::check(&given, blocks::MOST_IN_MESSAGE)?;
    let metadata = sent.get("metadata").cloned().unwrap_or(Value::Null);
    if !metadata.is_null() {
        let has = |member: &str, kind: fn(&Value) -> bool| metadata.get(member).is_some_and(kind);
        if !has("event_type", Value::is_string) || !has("event_payload", Value::is_object) {
            return Err("invalid_metadata_format".into());
        }
        if metadata.to_string().len() > METADATA {
            return Err("metadata_too_large".into());
        }
    }
    Ok((words, given, metadata))
}

fn known(sent: &Value, keys: &[&str]) -> Result<(), String> {
    let unknown = sent.as_object().ok_or("json_not_object")?.keys().any(|key| !keys.contains(&key.as_str()));
    if unknown { Err("invalid_arguments".into()) } else { Ok(()) }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn form(body: &[u8]) -> Value {
    let pairs: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    object!(pairs)
}
