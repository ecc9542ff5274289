//! What a server says by itself, on its way to an agent that listens. A change is told once however often it happened, since
//! whoever hears of it looks again: so what waits is bounded by what there is to be told. Nothing has an id to be
//! come back for.

use crate::{
    asks::not_any_more,
    frame::{self, Message},
    members::{self, Members},
    upstream::exchange::with_meta,
};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{json, value::RawValue};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The largest message that is passed on in this way, in bytes.
const LARGEST: usize = 16 << 10;
/// How many different things may wait to be told to one agent.
const MOST_WAITING: usize = 64;
/// How many of them may be lines of a log, which are left out sooner than anything else.
const MOST_LINES: usize = 32;
/// How much may wait for one agent, in bytes, with what each is about.
const MOST_BYTES: usize = 256 << 10;
/// How much of that lines of a log may take.
const MOST_BYTES_OF_LINES: usize = 64 << 10;
/// How many resources one session may be subscribed to.
pub(crate) const MOST_SUBSCRIBED: usize = 256;

pub(crate) const TOOLS_CHANGED: &str = "notifications/tools/list_changed";

/// The member of `_meta` that says which subscription a message belongs to (2026-07-28, `subscriptions/listen`).
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Resources that are subscribed to, by their addresses.
pub(crate) type Subscribed = Arc<Mutex<BTreeSet<String>>>;

/// Which kinds of messages an agent listens to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each kind is asked for by itself")]
pub(crate) struct Wanted {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
    pub(crate) log: bool,
}

impl Wanted {
    /// What a stream of the earlier era carries.
    pub(crate) const ALL: Self = Self { tools: true, prompts: true, resources: true, log: true };
}

/// What waits for one agent that listens.
#[derive(Debug)]
pub(crate) struct Feed {
    wanted: Wanted,
    subscribed: Subscribed,
    /// The agent's name for the subscription, as JSON; `None` in the earlier era.
    name: Option<String>,
    waiting: Mutex<Waiting>,
    woken: Notify,
    /// Cancelled when its agent has let go, or cannot be told everything any more.
    pub(crate) over: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    tools: bool,
    /// Each with what it is about, empty for a line of the log.
    others: VecDeque<(String, Bytes)>,
    /// Lines of the log that were left out since the last one that was told.
    left_out: u64,
}

impl Waiting {
    /// How many bytes wait: all of them, or those of lines.
    fn bytes(&self, which: Which) -> usize {
        let counts = |(key, _): &&(String, Bytes)| which == Which::All || key.is_empty();
        self.others.iter().filter(counts).map(|(key, told)| key.len() + told.len()).sum()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    Lines,
}

/// Something that is for one session's agent alone, under a key of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told<'m> {
    /// Its server asks something.
    Question(&'m str),
    /// It does not ask that any more.
    NotAnyMore,
    /// A page that its user was asked to open is done with.
    Done(&'m str),
}

/// Whether there was room for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Taken,
    Full,
}

/// The next thing to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The tools may have changed: it is for the gateway to say whether they have for this agent.
    Tools,
    Message(Bytes),
}

impl Feed {
    pub(crate) fn new(wanted: Wanted, subscribed: Subscribed, name: Option<String>) -> Self {
        Self {
            wanted,
            subscribed,
            name,
            waiting: Mutex::default(),
            woken: Notify::new(),
            over: CancellationToken::new(),
        }
    }

    /// Takes in a message of the server's, where its agent wants to hear of such.
    pub(crate) fn heard(&self, message: &[u8]) {
        let Ok(Message::Notification { method, params }) = frame::read(message) else { return };
        let key = match method {
            TOOLS_CHANGED => return self.tools_may_have_changed(),
            "notifications/prompts/list_changed" if self.wanted.prompts => method.to_owned(),
            "notifications/resources/list_changed" if self.wanted.resources => method.to_owned(),
            "notifications/message" if self.wanted.log => String::new(),
            "notifications/resources/updated" => match updated(params) {
                Some(uri) if is_subscribed(&self.subscribed.lock(), &uri) => format!("{method} {uri}"),
                Some(_) | None => return,
            },
            _ => return,
        };
        if message.len() > LARGEST {
            tracing::debug!(method, "a server's message by itself is longer than is passed on");
            return;
        }
        if let Some(told) = stamped(method, params, self.name.as_deref()) {
            self.put(key, told.into());
        }
    }

    /// The server's tools, or what people made of them, may be others now.
    pub(crate) fn tools_may_have_changed(&self) {
        if self.wanted.tools {
            self.waiting.lock().tools = true;
            self.woken.notify_one();
        }
    }

    /// What tells its agent that its tools are others now.
    pub(crate) fn tools_changed(&self) -> Bytes {
        stamped(TOOLS_CHANGED, None, self.name.as_deref()).unwrap_or_default().into()
    }

    /// What says that lines of the log are missing.
    fn lines_left_out(&self, count: u64) -> Option<Bytes> {
        let data =
            format!("{count} lines of the server's log were left out: they came faster than they were read");
        let params = json!({"level": "error", "logger": "countersign", "data": data}).to_string();
        let params: Box<RawValue> = RawValue::from_string(params).ok()?;
        stamped("notifications/message", Some(&params), self.name.as_deref()).map(Bytes::from)
    }

    /// Nobody reads it any more: what the things that waited are known by.
    pub(crate) fn ends(&self) -> Vec<String> {
        self.over.cancel();
        let others = std::mem::take(&mut self.waiting.lock().others);
        others.into_iter().map(|(key, _)| key).collect()
    }

    /// Takes in what there is room for. An agent that cannot be told everything is let go: it comes again, and looks at
    /// everything.
    fn put(&self, key: String, told: Bytes) {
        if self.takes(key, told) == Room::Full {
            self.over.cancel();
        }
    }

    fn takes(&self, key: String, told: Bytes) -> Room {
        let mut waiting = self.waiting.lock();
        if key.is_empty() {
            let lines = waiting.others.iter().filter(|(known, _)| known.is_empty()).count();
            let bytes = waiting.bytes(Which::Lines) + told.len();
            let full =
                waiting.others.len() >= MOST_WAITING || waiting.bytes(Which::All) + told.len() > MOST_BYTES;
            if full || lines >= MOST_LINES || bytes > MOST_BYTES_OF_LINES || waiting.left_out > 0 {
                waiting.left_out = waiting.left_out.saturating_add(1);
                self.woken.notify_one();
                return Room::Taken;
            }
        }
        let known = waiting.others.iter().position(|(known, _)| !key.is_empty() && *known == key);
        if let Some((_, before)) = known.and_then(|at| waiting.others.get_mut(at)) {
            *before = told;
            // Its newest words may be longer.
            return if waiting.bytes(Which::All) > MOST_BYTES { Room::Full } else { Room::Taken };
        }
        let bytes = waiting.bytes(Which::All) + key.len() + told.len();
        if waiting.others.len() >= MOST_WAITING || bytes > MOST_BYTES {
            return Room::Full;
        }
        waiting.others.push_back((key, told));
        self.woken.notify_one();
        Room::Taken
    }

    /// Tells its agent something that is for it alone; `key` is what that is known by.
    fn tell(&self, key: &str, told: Told<'_>) -> Room {
        match told {
            Told::Question(message) => self.takes(key.to_owned(), Bytes::from(message.to_owned())),
            Told::Done(message) => {
                self.put(key.to_owned(), Bytes::from(message.to_owned()));
                Room::Taken
            }
            Told::NotAnyMore => {
                {
                    let mut waiting = self.waiting.lock();
                    let before = waiting.others.len();
                    waiting.others.retain(|(known, _)| known != key);
                    if waiting.others.len() < before {
                        // It was never asked.
                        return Room::Taken;
                    }
                }
                self.put(key.to_owned(), not_any_more(key).into());
                Room::Taken
            }
        }
    }

    /// Waits for the next thing to be told.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let woken = self.woken.notified();
            {
                let mut waiting = self.waiting.lock();
                if std::mem::take(&mut waiting.tools) {
                    return Next::Tools;
                }
                if let Some((_, told)) = waiting.others.pop_front() {
                    return Next::Message(told);
                }
                let left_out = std::mem::take(&mut waiting.left_out);
                if left_out > 0
                    && let Some(told) = self.lines_left_out(left_out)
                {
                    return Next::Message(told);
                }
            }
            woken.await;
        }
    }
}

/// Lets go of a feed when its agent does.
#[derive(Debug)]
pub(crate) struct Listener(pub(crate) Arc<Feed>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.over.cancel();
    }
}

/// Everybody who listens in one session.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    feeds: Mutex<Vec<Arc<Feed>>>,
    /// What the agent has subscribed to in its session.
    pub(crate) subscribed: Subscribed,
    /// One for each that its server is just being asked for, and one of its own.
    coming: Arc<()>,
    /// The server is listened to for this session.
    follows: Mutex<bool>,
}

/// A place among the resources that a session is subscribed to, taken before its server is asked.
#[derive(Debug)]
pub(crate) struct Subscribing {
    subscribed: Subscribed,
    uri: String,
    _place: Arc<()>,
}

impl Subscribing {
    /// The server has agreed.
    pub(crate) fn done(self) {
        self.subscribed.lock().insert(self.uri);
    }
}

impl Hub {
    /// Takes a place for a resource that the session is to be subscribed to; `None` when it has as many as it may.
    pub(crate) fn subscribing(&self, uri: String) -> Option<Subscribing> {
        let subscribed = self.subscribed.lock();
        let coming = Arc::strong_count(&self.coming) - 1;
        let has_room = subscribed.contains(&uri) || subscribed.len() + coming < MOST_SUBSCRIBED;
        let place = || Subscribing {
            subscribed: Arc::clone(&self.subscribed),
            uri,
            _place: Arc::clone(&self.coming),
        };
        has_room.then(place)
    }

    /// Lets one more listen, beside at most so many others.
    pub(crate) fn join(&self, feed: &Arc<Feed>, most: usize) -> bool {
        let mut feeds = self.feeds.lock();
        feeds.retain(|feed| !feed.over.is_cancelled());
        if feeds.len() >= most {
            return false;
        }
        feeds.push(Arc::clone(feed));
        true
    }

    /// Lets this one listen in place of everybody before.
    pub(crate) fn replace(&self, feed: &Arc<Feed>) {
        let before = std::mem::replace(&mut *self.feeds.lock(), vec![Arc::clone(feed)]);
        for feed in before {
            feed.over.cancel();
        }
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.feeds.lock().iter().any(|feed| !feed.over.is_cancelled())
    }

    /// Waits until nobody listens any more.
    pub(crate) async fn silence(&self) {
        loop {
            let heard = self.feeds.lock().iter().find(|feed| !feed.over.is_cancelled()).cloned();
            let Some(feed) = heard else { return };
            feed.over.cancelled().await;
        }
    }

    /// Whether whoever asks is the one who listens to the server from now on, for everybody in this session.
    pub(crate) fn takes_up(&self) -> bool {
        !std::mem::replace(&mut *self.follows.lock(), true)
    }

    /// Whether whoever listens to the server may stop, as nobody is there to be told.
    pub(crate) fn lets_go(&self) -> bool {
        let mut follows = self.follows.lock();
        let lets_go = !self.is_heard();
        *follows = !lets_go;
        lets_go
    }

    /// Nobody listens to the server any more, since it offers nothing.
    pub(crate) fn gave_up(&self) {
        *self.follows.lock() = false;
    }

    /// Tells those who listen in the earlier era something that is for this session alone: whether anybody is told.
    pub(crate) fn told(&self, key: &str, told: Told<'_>) -> bool {
        let feeds = self.feeds.lock();
        let listens = |feed: &&Arc<Feed>| feed.name.is_none() && !feed.over.is_cancelled();
        let mut is_told = false;
        for feed in feeds.iter().filter(listens) {
            is_told |= feed.tell(key, told) == Room::Taken;
        }
        is_told
    }

    /// Tells everybody who listens.
    pub(crate) fn heard(&self, message: &[u8]) {
        for feed in self.feeds.lock().iter() {
            feed.heard(message);
        }
    }

    /// What was said for a while is not known: tools are looked at again.
    pub(crate) fn missed(&self) {
        for feed in self.feeds.lock().iter() {
            feed.tools_may_have_changed();
        }
    }
}

/// Whether this is a server's word that its tools have changed.
pub(crate) fn says_tools_changed(message: &[u8]) -> bool {
    matches!(frame::read(message), Ok(Message::Notification { method: TOOLS_CHANGED, .. }))
}

/// Whether somebody has subscribed to this resource, or to one that it is a part of.
pub(crate) fn is_subscribed(all: &BTreeSet<String>, uri: &str) -> bool {
    all.iter().any(|known| {
        let Some(rest) = uri.strip_prefix(known.as_str()) else { return false };
        rest.is_empty() || has_parts(known) && (known.ends_with('/') || rest.starts_with(['/', '?', '#']))
    })
}

/// Whether an address names something beyond its scheme, so that others can name parts of it.
fn has_parts(uri: &str) -> bool {
    let named = uri.split_once("://").map(|(_, rest)| rest.trim_start_matches('/'));
    named.is_some_and(|named| !named.is_empty() && !named.starts_with(['?', '#']))
}

/// The resource that has changed.
pub(crate) fn updated(params: Option<&RawValue>) -> Option<String> {
    members::text(Members::read(params?)?.find("uri")?)
}

/// A notification under the agent's name for its subscription, and under no other; whatever else it holds stays.
fn stamped(method: &str, params: Option<&RawValue>, name: Option<&str>) -> Option<String> {
    let mut kept = match params {
        None => None,
        Some(params) => Some(Members::read(params)?.rewritten(|member, value| {
            let meta = if member == "_meta" { Members::read(value) } else { None };
            Some(meta.map_or_else(
                || value.get().to_owned(),
                |meta| {
                    meta.rewritten(|member, value| (member != SUBSCRIPTION).then(|| value.get().to_owned()))
                },
            ))
        })),
    };
    if let Some(name) = name {
        kept = Some(with_meta(kept.as_deref().unwrap_or("{}"), &format!(r#""{SUBSCRIPTION}":{name}"#))?);
    }
    let params = kept.map_or_else(String::new, |params| format!(r#","params":{params}"#));
    Some(format!(r#"{{"jsonrpc":"2.0","method":"{method}"{params}}}"#))
}

#[cfg(test)]
mod tests;
