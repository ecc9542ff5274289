//! The channels of this gateway: which there are, which of them hear of an approval, and how each has fared since the
//! start. Nothing here knows how any of them is spoken.

use super::{
    flood::{Flooded, Floods},
    route::{self, Facts, Plan, Route},
};
use countersign_core::{ChannelName, Timestamp};
use parking_lot::{Mutex, RwLock};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::Notify;

/// A channel as the configuration declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSpec {
    pub name: ChannelName,
    /// What is spoken there: `webhook`, `slack`, `teams`, `jira`.
    pub kind: &'static str,
    /// Where it goes, without anything that could be a secret: scheme and host.
    pub place: String,
    pub hears: Hears,
    /// When similar approvals share a message; `None`: each has its own, however many there are.
    pub together: Option<Together>,
}

/// When similar approvals share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Together {
    /// So many of them have messages of their own.
    pub after: u32,
    /// Within this span; those that come then share one at its end.
    pub within: Duration,
}

/// Of which approvals a channel is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hears {
    /// Those of which a gate names it with `@notify`.
    Named,
    Everything,
}

/// How a channel has fared since the gateway started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub last_told: Option<Timestamp>,
    /// How often it failed since it last worked.
    pub failures: u32,
    pub failing_since: Option<Timestamp>,
    pub last_error: Option<String>,
    /// Nothing is tried before this moment.
    pub next_try: Option<Timestamp>,
}

/// Why what people decide there cannot be read at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub since: Timestamp,
    /// In our own words.
    pub why: String,
}

/// One channel.
#[derive(Debug)]
pub struct Channel {
    pub spec: ChannelSpec,
    bell: Notify,
    standing: RwLock<Standing>,
    floods: Mutex<Floods>,
    /// The earliest moment for which news was put off since the worker last asked.
    put_off: Mutex<Option<Timestamp>>,
    unread: RwLock<Option<Unread>>,
    /// Since when a connection stands on which its users are heard.
    listening: RwLock<Option<Timestamp>>,
    /// When something was last believed to come from there.
    heard: RwLock<Option<Timestamp>>,
    /// Why somebody beside the gateway may be handed what its users do there.
    shared: RwLock<Option<String>>,
}

impl Channel {
    fn new(spec: ChannelSpec) -> Self {
        Self {
            spec,
            bell: Notify::new(),
            standing: RwLock::default(),
            floods: Mutex::default(),
            put_off: Mutex::default(),
            unread: RwLock::default(),
            listening: RwLock::default(),
            heard: RwLock::default(),
            shared: RwLock::default(),
        }
    }

    /// Counts a message that asks people for something like this. `Some`: there are many, and it is told with others then.
    pub(super) fn flooded(&self, similar: &str, at: Timestamp) -> Option<Flooded> {
        self.floods.lock().admit(similar, at, self.spec.together?)
    }

    /// For when news was put off since this was last asked; the earliest of it.
    pub fn put_off(&self) -> Option<Timestamp> {
        self.put_off.lock().take()
    }

    pub fn standing(&self) -> Standing {
        self.standing.read().clone()
    }

    /// Resolves when there is news, or was since the last time.
    pub async fn news(&self) {
        self.bell.notified().await;
    }

    /// It works.
    pub fn worked(&self, now: Timestamp) {
        *self.standing.write() = Standing { last_told: Some(now), ..Standing::default() };
    }

    /// It does not work; nothing is tried before `next`.
    pub fn failed(&self, now: Timestamp, why: &str, next: Timestamp) {
        let mut standing = self.standing.write();
        standing.failures = standing.failures.saturating_add(1);
        standing.failing_since.get_or_insert(now);
        standing.last_error = Some(why.to_owned());
        standing.next_try = Some(next);
    }

    /// Why what people decide there cannot be read, where it has to be fetched and could not be.
    pub fn unread(&self) -> Option<Unread> {
        self.unread.read().clone()
    }

    /// What people decide there was read.
    pub fn read(&self) {
        *self.unread.write() = None;
    }

    /// Since when a connection stands on which its users are heard, where it keeps one.
    pub fn listening(&self) -> Option<Timestamp> {
        *self.listening.read()
    }

    /// Such a connection stands: a new one, or one more in place of another.
    pub fn listens(&self, now: Timestamp) {
        self.listening.write().get_or_insert(now);
        self.read();
    }

    /// When something was last believed to come from there, since the gateway started.
    pub fn heard(&self) -> Option<Timestamp> {
        *self.heard.read()
    }

    /// Something came from there, and its signature holds.
    pub fn hears(&self, now: Timestamp) {
        *self.heard.write() = Some(now);
    }

    /// Why somebody beside the gateway may be handed what its users do there, where that is so.
    pub fn shared(&self) -> Option<String> {
        self.shared.read().clone()
    }

    /// Says so; `None`: nobody else is.
    pub fn shares(&self, why: Option<String>) {
        *self.shared.write() = why;
    }

    /// It could not be.
    pub fn not_read(&self, now: Timestamp, why: &str) {
        *self.listening.write() = None;
        let mut unread = self.unread.write();
        let since = unread.as_ref().map_or(now, |unread| unread.since);
        *unread = Some(Unread { since, why: why.to_owned() });
    }
}

/// Every channel, by name, and the routes that lead to them.
#[derive(Debug, Default)]
pub struct Channels {
    all: BTreeMap<ChannelName, Channel>,
    routes: Vec<Route>,
    asking: tokio::sync::Mutex<()>,
}

impl Channels {
    pub fn new(specs: impl IntoIterator<Item = ChannelSpec>) -> Self {
        let channel = |spec: ChannelSpec| (spec.name.clone(), Channel::new(spec));
        let all = specs.into_iter().map(channel).collect();
        Self { all, routes: Vec::new(), asking: tokio::sync::Mutex::default() }
    }

    /// With these routes.
    #[must_use]
    pub fn routed(self, routes: Vec<Route>) -> Self {
        Self { routes, ..self }
    }

    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// Who is told of something, and when again.
    pub(crate) fn plan(&self, facts: &Facts<'_>) -> Plan {
        route::plan(&self.routes, facts)
    }

    /// Held by whoever chooses the people that are asked next about one approval, on whichever channel, until that is written
    /// down.
    pub async fn asking(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.asking.lock().await
    }

    pub fn all(&self) -> impl Iterator<Item = &Channel> {
        self.all.values()
    }

    pub fn named(&self, name: &ChannelName) -> Option<&Channel> {
        self.all.get(name)
    }

    /// Those that hear of an approval whose gates name these. A name that the configuration has no more is nobody's.
    pub(crate) fn of<'c>(&'c self, named: &'c [String]) -> impl Iterator<Item = &'c Channel> {
        self.all.values().filter(|channel| match channel.spec.hears {
            Hears::Everything => true,
            Hears::Named => named.iter().any(|name| name == channel.spec.name.as_str()),
        })
    }

    /// Tells that there is news for these.
    pub(crate) fn ring<'n>(&self, names: impl IntoIterator<Item = &'n ChannelName>) {
        for channel in names.into_iter().filter_map(|name| self.all.get(name)) {
            channel.bell.notify_one();
        }
    }

    /// Tells those that hear of an approval, and those for whom news was put off until when.
    pub(crate) fn ring_of(&self, named: &[String], put_off: &[(ChannelName, Timestamp)]) {
        for (name, until) in put_off {
            if let Some(channel) = self.all.get(name) {
                let mut earliest = channel.put_off.lock();
                *earliest = Some(earliest.map_or(*until, |known| known.min(*until)));
            }
        }
        self.ring(self.of(named).map(|channel| &channel.spec.name));
    }
}
