//! Joins the doors at which channels speak to the console's listener and to the gate behind them.

use crate::{config::Config, failure::Failure};
use async_trait::async_trait;
use countersign_console::{Delivery, Devices, Doors, NotSigned, NotTold, Signed, Signers, Speaks, Spoken};
use countersign_engine::{Gate, port::push::Subscription};
use countersign_identity::{Algorithm, Issuer, KeySource, NotVouched, Outward, Voucher};
use countersign_reviewer::{
    self as ways, Believed, ChannelConfig, Inward, JiraDoor, NotBelieved, NotTried, Push, PushKey, Reply,
    SignatureError, SlackDoor, TeamsDoor, Vouch, Vouched,
};
use http::HeaderMap;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// How far the Bot Framework's clock may be off, as it asks its bots to allow for.
const SKEW: Duration = Duration::from_mins(5);
/// Its tokens are good for about an hour.
const LONGEST: Duration = Duration::from_hours(24);

/// Checks the signatures of a channel's deliveries.
#[derive(Debug)]
struct Signer(Inward);

impl Signed for Signer {
    fn check(&self, delivery: &Delivery<'_>, now: u64) -> Result<(), NotSigned> {
        let Delivery { id, timestamp, signatures, body } = *delivery;
        self.0.check((id, timestamp, signatures), body, now).map_err(|error| match error {
            SignatureError::Wrong => NotSigned::Wrong,
            SignatureError::Time => NotSigned::Time,
            SignatureError::Secret => NotSigned::NoSecret,
        })
    }
}

/// The channels whose users may decide through signed events.
pub(super) fn signers(config: &Config) -> Signers {
    let signer = |channel: &ChannelConfig| {
        let ways::Speaks::Events(inward) = channel.speaks() else { return None };
        let signer: Arc<dyn Signed> = Arc::new(Signer(inward.clone()));
        Some((channel.spec().name, signer))
    };
    config.channels.iter().filter_map(signer).collect()
}

/// The channels that speak at a door of their own.
pub(super) fn doors(config: &Config, gate: &Arc<Gate>) -> Result<Doors, Failure> {
    let mut doors = Doors::new();
    for channel in &config.channels {
        let door: Arc<dyn Speaks> = match channel.speaks() {
            ways::Speaks::Never
            | ways::Speaks::Events(_)
            | ways::Speaks::Socket(_)
            | ways::Speaks::Watched(_) => continue,
            ways::Speaks::Slack(door) => Arc::new(AtSlack((**door).clone(), Arc::clone(gate))),
            // Without a secret of its webhook's, issues are looked at and nobody is heard.
            ways::Speaks::Jira(door) if !door.hears() => continue,
            ways::Speaks::Jira(door) => Arc::new(AtJira((**door).clone())),
            ways::Speaks::Teams(door) => {
                let name = channel.spec().name.to_string();
                let voucher = voucher(&name, door.believed())
                    .map_err(|why| Failure::new(format!("channel `{name}` cannot be used: {why}")))?;
                let tokens = Tokens { voucher, gate: Arc::clone(gate) };
                Arc::new(AtTeams { door: (**door).clone(), tokens })
            }
        };
        doors.insert(channel.spec().name, door);
    }
    Ok(doors)
}

/// The way to people's devices, opened with the gateway's key for it, which is made at first use.
pub(super) fn devices(config: &Config, gate: &Arc<Gate>) -> Result<Option<Arc<dyn Devices>>, Failure> {
    let Some(push) = config.channels.iter().find_map(ChannelConfig::push) else { return Ok(None) };
    let key = PushKey::open(&config.keys())
        .map_err(|error| Failure::of("the key for push services cannot be used", &error))?;
    let public = key.public().to_owned();
    push.open(key, Arc::clone(gate.identity()), &config.console_url);
    Ok(Some(Arc::new(OnDevices { push: Arc::clone(push), key: public, gate: Arc::clone(gate) })))
}

/// The way to people's devices.
#[derive(Debug)]
struct OnDevices {
    push: Arc<Push>,
    key: String,
    gate: Arc<Gate>,
}

#[async_trait]
impl Devices for OnDevices {
    fn key(&self) -> &str {
        &self.key
    }

    fn check(&self, endpoint: &str, p256dh: &str, auth: &str) -> Result<(), String> {
        self.push.check(endpoint, p256dh, auth)
    }

    async fn test(&self, device: &Subscription) -> Result<(), NotTold> {
        self.push.try_out(device, self.gate.now()).await.map_err(|error| match error {
            NotTried::TooSoon => NotTold::TooSoon,
            error @ (NotTried::Gone | NotTried::Failed(_)) => NotTold::Failed(error.to_string()),
        })
    }
}

/// Slack's door, with the gate behind it.
#[derive(Debug)]
struct AtSlack(SlackDoor, Arc<Gate>);

#[async_trait]
impl Speaks for AtSlack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Spoken {
        spoken(self.0.receive(&self.1, headers, body).await)
    }
}

/// Jira's door. What it hears is looked at by whoever watches its issues.
#[derive(Debug)]
struct AtJira(JiraDoor);

#[async_trait]
impl Speaks for AtJira {
    fn kind(&self) -> &'static str {
        "jira"
    }

    async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Spoken {
        spoken(self.0.receive(headers, body))
    }
}

/// The door of Teams, with the gate behind it and what checks tokens.
#[derive(Debug)]
struct AtTeams {
    door: TeamsDoor,
    tokens: Tokens,
}

#[async_trait]
impl Speaks for AtTeams {
    fn kind(&self) -> &'static str {
        "teams"
    }

    async fn receive(&self, headers: &HeaderMap, body: &[u8]) -> Spoken {
        spoken(self.door.receive(&self.tokens.gate, &self.tokens, headers, body).await)
    }
}

/// Checks the Bot Framework's tokens on the gateway's clock.
#[derive(Debug)]
struct Tokens {
    voucher: Voucher,
    gate: Arc<Gate>,
}

#[async_trait]
impl Vouch for Tokens {
    async fn vouch(&self, token: &str) -> Result<Vouched, NotBelieved> {
        let held = self.voucher.check(token, || self.gate.now()).await.map_err(|why| {
            tracing::warn!(%why, "a token was not believed to be the Bot Framework's");
            match why {
                NotVouched::NoKeys => NotBelieved::NoKey,
                NotVouched::Unsound(_) => NotBelieved::Wrong,
            }
        })?;
        let service = held.claims.get("serviceurl").and_then(serde_json::Value::as_str);
        Ok(Vouched { service: service.unwrap_or_default().to_owned(), endorsements: held.endorsements })
    }
}

fn voucher(name: &str, believed: &Believed) -> Result<Voucher, String> {
    Ok(Voucher::new(Issuer {
        name: name.to_owned(),
        issuer: believed.issuer.clone(),
        audiences: [believed.audience.clone()].into(),
        keys: KeySource::Metadata(believed.openid.clone()),
        outward: Outward::new(believed.ca.as_deref())?,
        algorithms: [Algorithm::Rs256].into(),
        skew: SKEW,
        longest: LONGEST,
        tags: BTreeSet::new(),
        rules: Vec::new(),
    }))
}

fn spoken(reply: Reply) -> Spoken {
    match reply {
        Reply::Taken => Spoken::Taken,
        Reply::Text(text) => Spoken::Text(text),
        Reply::Json(value) => Spoken::Json(value.to_string()),
        Reply::NotBelieved(NotBelieved::Wrong) => Spoken::NotSigned(NotSigned::Wrong),
        Reply::NotBelieved(NotBelieved::Time) => Spoken::NotSigned(NotSigned::Time),
        Reply::NotBelieved(NotBelieved::NoKey) => Spoken::NotSigned(NotSigned::NoSecret),
        Reply::Unreadable => Spoken::Unreadable,
        Reply::Busy => Spoken::Busy,
    }
}
