//! The story without a person: agent, reviewers and everybody who must not decide, through the real doors, with
//! software passkeys. Each promise is one step, with what was observed.

mod attempts;
mod export;
mod rest;
mod shop;
mod tools;

pub use shop::Counter;

use super::Doors;
use crate::{
    DemoError, Prepared, Report,
    agent::{Agent, Ask, Held, held},
    cloud::Effect,
    http::{self, Answer},
    person::Person,
    report::Log,
};
use reqwest::Client;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long one wait for the gateway may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Plays the whole night once. Whatever goes wrong is a step that is not `ok`; nothing is retried.
pub async fn run_once(doors: &Doors, counter: Option<Counter<'_>>, prepared: Prepared) -> Report {
    let mut log = Log::default();
    match Play::begin(doors, prepared).await {
        Ok(mut play) => {
            play.all(&mut log).await;
            if let Err(error) = play.tools(&mut log).await {
                log.broke_off("tools", &error);
            }
            if let Some(counter) = counter
                && let Err(error) = play.shop(&mut log, counter).await
            {
                log.broke_off("shop", &error);
            }
        }
        Err(error) => log.broke_off("enrolment", &error),
    }
    log.report()
}

/// Everybody in their places.
struct Play {
    client: Client,
    doors: Doors,
    agent: Agent,
    /// What the agent shows at every door.
    token: String,
    ana: Person,
    ben: Person,
    /// Owns the agent.
    olga: Person,
    /// Created the agent.
    carl: Person,
    /// The agent acts for her.
    zoe: Person,
}

impl Play {
    async fn begin(doors: &Doors, prepared: Prepared) -> Result<Self, DemoError> {
        let Doors { gateway_url, tools_url, console_url, effects_url } = doors;
        let bare = |url: &str| url.trim_end_matches('/').to_owned();
        let doors = Doors {
            gateway_url: bare(gateway_url),
            tools_url: tools_url.clone(),
            console_url: bare(console_url),
            effects_url: effects_url.clone(),
        };
        let Prepared { agent, links, creator } = prepared;
        let console = doors.console_url.clone();
        let mut carl = creator;
        carl.register_passkey().await?;
        Ok(Self {
            client: http::client(PATIENCE)?,
            agent: Agent::new(&doors.gateway_url, &agent.token)?,
            ana: enrolled(&console, &links.ana).await?,
            ben: enrolled(&console, &links.ben).await?,
            olga: enrolled(&console, &links.olga).await?,
            zoe: enrolled(&console, &links.zoe).await?,
            carl,
            token: agent.token,
            doors,
        })
    }

    async fn all(&mut self, log: &mut Log) {
        if let Err(error) = self.read_status(log).await {
            log.broke_off("read", &error);
        }
        if let Err(error) = self.export(log).await {
            log.broke_off("export", &error);
        }
        if let Err(error) = self.role_binding(log).await {
            log.broke_off("role-binding", &error);
        }
        if let Err(error) = self.configuration(log).await {
            log.broke_off("configuration", &error);
        }
        if let Err(error) = self.wall(log).await {
            log.broke_off("wall", &error);
        }
        if let Err(error) = self.tally(log).await {
            log.broke_off("tally", &error);
        }
    }

    /// Everything that really happened at the cloud.
    async fn effects(&self) -> Result<Vec<Effect>, DemoError> {
        let door = "the cloud's list of effects";
        let listed = http::send(door, self.client.get(&self.doors.effects_url)).await?.success(door)?;
        let missing = || DemoError::Contract { door: door.into(), missing: "a list of effects".into() };
        serde_json::from_slice(&listed.body).map_err(|_| missing())
    }

    /// How often an operation really happened.
    async fn count(&self, operation: &str) -> Result<usize, DemoError> {
        Ok(self.effects().await?.iter().filter(|effect| effect.operation == operation).count())
    }

    /// Asks for something that must be held, and records that it was.
    async fn hold(
        &self,
        log: &mut Log,
        ask: &Ask,
        step: Promise<'_>,
        operation: &str,
    ) -> Result<Option<Held>, DemoError> {
        let before = self.count(operation).await?;
        let answer = self.agent.ask(ask).await?;
        let held = held(&answer);
        let ran = self.count(operation).await? - before;
        let observed = match &held {
            Some(held) => format!("202, waiting as {}", held.approval),
            None => answer.told(),
        };
        let ok = held.is_some() && ran == 0;
        let approval = held.as_ref().map(|held| held.approval.as_str());
        let detail =
            json!({ "status": answer.status, "approval": approval, "ran": ran, "told": answer.json() });
        log.step(step.0, step.1, observed, ok, detail);
        Ok(held)
    }

    /// Waits until the record says that the agent has the whole answer. From then on the approval is spent.
    async fn delivered(&self, held: &Held) -> Result<(), DemoError> {
        let begun = Instant::now();
        loop {
            let shown = self.ana.approval(&held.approval).await?;
            let delivery = shown.get("delivery").and_then(Value::as_str).unwrap_or_default();
            if delivery == "delivered" {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let (approval, state) = (held.approval.clone(), delivery.to_owned());
                return Err(DemoError::Late { approval, state, seconds: PATIENCE.as_secs() });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Where an approval stands: its state and the votes to approve it has.
    async fn standing(&self, approval: &str) -> Result<Standing, DemoError> {
        let shown = self.ana.approval(approval).await?;
        let state = shown.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
        let gates = shown.get("gates").and_then(Value::as_array).cloned().unwrap_or_default();
        let votes = gates.iter().filter_map(|gate| votes(gate.get("votes")?)).sum();
        Ok(Standing { state, votes })
    }
}

/// A step's short name and what must hold.
#[derive(Clone, Copy)]
struct Promise<'a>(&'a str, &'a str);

/// Where an approval stands.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    state: String,
    votes: u64,
}

impl Standing {
    fn is_untouched(&self) -> bool {
        self.state == "pending" && self.votes == 0
    }
}

/// A number of votes, or a list of them.
fn votes(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_array().map(|votes| votes.len() as u64))
}

async fn enrolled(console: &str, link: &str) -> Result<Person, DemoError> {
    let mut person = Person::open(console, link).await?;
    person.register_passkey().await?;
    Ok(person)
}

/// Whether an answer refuses with one of these codes.
fn refuses(answer: &Answer, codes: &[&str]) -> bool {
    (400..500).contains(&answer.status) && codes.contains(&answer.word("code").as_str())
}
