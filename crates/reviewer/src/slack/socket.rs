//! Socket Mode: the gateway connects to Slack, and Slack hands in on that connection what it would send to an address
//! otherwise (<https://docs.slack.dev/apis/events-api/using-socket-mode>). What comes is believed because the connection was
//! opened with the app's own token, at an address of Slack's. Slack renews connections every few hours: the next one is
//! opened while the one before still hands in, so that nothing is lost between them.

mod link;

use super::{
    api::{Api, Body},
    door::Door,
};
use crate::{
    backoff,
    channel::{Again, Failed},
    outward::Outward,
};
use countersign_engine::{Gate, outbox::Channel};
use countersign_pep::Origin;
use link::Link;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::JoinSet, time::Instant};

/// Where the users of one channel are heard on a connection of the gateway's own.
#[derive(Clone, Debug)]
pub struct Socket {
    pub(crate) door: Door,
    /// The Web API, with the app-level token.
    pub(crate) api: Api,
    pub(crate) pace: Pace,
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The other side is asked so often whether it is there.
    pub(crate) ping: Duration,
    /// A connection on which nothing came for so long is dead, whatever the system says of it.
    pub(crate) silent: Duration,
    /// One that was replaced goes on for so long.
    pub(crate) linger: Duration,
    /// One that ended sooner is counted as a failure.
    pub(crate) settled: Duration,
}

impl Pace {
    /// Where an answer may take so long.
    pub(crate) fn of(time_limit: Duration) -> Self {
        let ping = time_limit * 2 / 3;
        Self { ping, silent: ping + time_limit, linger: time_limit, settled: SETTLED }
    }
}

const SETTLED: Duration = Duration::from_secs(10);

/// What a connection came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Slack asks for another in its place; it goes on until then.
    Renew,
    Lost(&'static str),
    /// Socket Mode was switched off.
    Off,
}

const OFF: &str = "Socket Mode is switched off in the app's settings (`link_disabled`)";

impl Socket {
    /// Whether Slack would let it connect; nothing is connected to, since Slack hands in on any connection there is.
    pub async fn check(&self) -> Result<(), Failed> {
        self.address().await.map(drop)
    }

    /// Keeps a connection open until the task is dropped.
    pub async fn run(self, gate: Arc<Gate>) {
        let Some(channel) = gate.channels().named(&self.door.name) else { return };
        let mut links = JoinSet::new();
        // Dropped once another stands: then the one before may go.
        let mut before: Option<oneshot::Sender<()>> = None;
        let mut failures = 0_u32;
        loop {
            while links.try_join_next().is_some() {}
            let begun = Instant::now();
            let (why, wish) = match self.connect().await {
                Ok((link, connections)) => {
                    channel.listens(gate.now());
                    while links.try_join_next().is_some() {}
                    self.counted(channel, connections, links.len() + 1);
                    let (ends, ended) = oneshot::channel();
                    let (kept, replaced) = oneshot::channel();
                    drop(before.replace(kept));
                    links.spawn(link.serve(self.clone(), Arc::clone(&gate), ends, replaced));
                    let end = ended.await.unwrap_or(End::Lost("the connection broke"));
                    if begun.elapsed() >= self.pace.settled {
                        failures = 0;
                    }
                    match end {
                        End::Renew if failures == 0 && begun.elapsed() >= self.pace.settled => continue,
                        End::Renew => (None, Duration::ZERO),
                        End::Lost(why) => (Some(why.to_owned()), Duration::ZERO),
                        End::Off => (Some(OFF.to_owned()), Duration::ZERO),
                    }
                }
                Err(failed) => {
                    // One that asked to be replaced may still hand in.
                    let deaf = links.is_empty();
                    let wish = if let Again::After(wish) = failed.again { wish } else { Duration::ZERO };
                    (deaf.then_some(failed.why), wish)
                }
            };
            failures = failures.saturating_add(1);
            self.deaf(channel, &gate, why);
            let random = u32::from_be_bytes(gate.journal().random());
            tokio::time::sleep(backoff::wait(failures, backoff::CHANNEL, random).max(wish)).await;
        }
    }

    /// Compares how many connections Slack counts with how many the gateway has. Whoever else has one is handed clicks.
    fn counted(&self, channel: &Channel, connections: u64, own: usize) {
        let beside = connections > u64::try_from(own).unwrap_or(u64::MAX);
        let why = beside.then(|| {
            format!(
                "Slack counts {connections} connections of this app and {own} of them the gateway's: somebody else may \
                 hold its app-level token and be handed what is clicked, or one that broke is still counted"
            )
        });
        // Said once, however often the connection is renewed.
        if why.is_some() && channel.shared().is_none() {
            tracing::warn!(channel = %self.door.name, connections, own, "others than the gateway are connected to Slack for its app");
        }
        channel.shares(why);
    }

    fn deaf(&self, channel: &Channel, gate: &Gate, why: Option<String>) {
        let Some(why) = why else { return };
        tracing::warn!(channel = %self.door.name, %why, "nobody is heard in Slack at the moment");
        channel.not_read(gate.now(), &why);
    }

    /// Opens a connection, up to Slack's greeting; and how many Slack counts then.
    async fn connect(&self) -> Result<(Link, u64), Failed> {
        let (outward, address) = self.address().await?;
        let opened = tokio::time::timeout(self.api.outward.time_limit, Link::open(&outward, &address)).await;
        opened
            .unwrap_or_else(|_| Err("Slack does not greet on the connection".into()))
            .map_err(Failed::channel)
    }

    /// Where to connect to, good once. It holds a secret, and is shown nowhere.
    async fn address(&self) -> Result<(Outward, String), Failed> {
        let said = self.api.call("apps.connections.open", Body::Form(&[])).await;
        let said = said.map_err(|refusal| refusal.failed)?;
        let address = said.get("url").and_then(Value::as_str).unwrap_or_default();
        place(&self.api.outward, address)
            .ok_or_else(|| Failed::channel("the address it gives for the connection is not Slack's"))
    }
}

/// An address for a connection, as long as it is Slack's own: the Web API's host or one below it, as secure as that is.
fn place(api: &Outward, address: &str) -> Option<(Outward, String)> {
    let (scheme, rest) = address.split_once("://")?;
    let scheme = match (scheme, api.origin.tls) {
        ("wss", true) => "https",
        ("ws", false) => "http",
        _ => return None,
    };
    let (origin, _) = Origin::read("", &format!("{scheme}://{rest}"), None, "").ok()?;
    let own = origin.host == api.origin.host
        || origin.host.strip_suffix(&api.origin.host).is_some_and(|before| before.ends_with('.'));
    (own && origin.port == api.origin.port).then(|| (Outward { origin, ..api.clone() }, address.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slack_itself_is_connected_to() {
        let api = |base: &str| {
            let (origin, _) = Origin::read("", base, None, "").unwrap();
            Outward { origin, tls: None, time_limit: Duration::from_secs(1) }
        };
        for (base, address, fine) in [
            ("https://slack.com/api/", "wss://wss-primary.slack.com/link/?ticket=1", true),
            ("https://slack.com/api/", "wss://slack.com/link/?ticket=1", true),
            ("https://slack.com/api/", "ws://wss-primary.slack.com/link/", false),
            ("https://slack.com/api/", "https://wss-primary.slack.com/link/", false),
            ("https://slack.com/api/", "wss://wss-primary.slack.com:8443/link/", false),
            ("https://slack.com/api/", "wss://evilslack.com/link/", false),
            ("https://slack.com/api/", "wss://slack.com.evil.example/link/", false),
            ("https://slack.com/api/", "wss://user@wss-primary.slack.com/link/", false),
            ("https://slack.com/api/", "wss://evil.example/#.slack.com", false),
            ("https://slack.com/api/", "wss://evil.example\\.slack.com/", false),
            ("https://slack.com/api/", "ws://127.0.0.1/link/", false),
            ("http://localhost:9/api/", "ws://localhost:9/link/?ticket=1", true),
            ("http://localhost:9/api/", "ws://localhost:10/link/", false),
            ("http://localhost:9/api/", "", false),
        ] {
            assert_eq!(place(&api(base), address).is_some(), fine, "{base} {address}");
        }
    }
}
