//! Who is in the demo, and how they come to be: people invited by the operator, the agent created by an
//! administrator through the people's API, so that its creator and its owner are two different people.

use crate::{DemoError, person::Person, policy};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::fmt;

/// The operator's door: the people's API as it is served on the gateway's own machine.
#[async_trait]
pub trait Operator: Send + Sync {
    /// One call; `path` begins with `/api/v1/`. Gives status and JSON body.
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value), String>;
}

/// Somebody in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    pub name: &'static str,
    pub email: &'static str,
    pub role: &'static str,
    pub groups: &'static [&'static str],
    /// Who they are in the story.
    pub part: &'static str,
}

/// The groups that countersign. Everybody in the story is in all of them, so that nothing but the separation of
/// duties keeps the agent's side from voting.
const REVIEWING: &[&str] = &["privacy", "security", "sre"];

pub const ANA: Cast = reviewer("Ana Almeida", "ana@example.com", "reviewer");
pub const BEN: Cast = reviewer("Ben Bakker", "ben@example.com", "reviewer");
pub const ZOE: Cast = reviewer("Zoe Zimmer", "zoe@example.com", "the person the agent acts for");
pub const OLGA: Cast = administrator("Olga Orlova", "olga@example.com", "owner of the agent");
pub const CARL: Cast = administrator("Carl Conti", "carl@example.com", "creator of the agent");

/// The agent's name.
pub const AGENT: &str = "night-ops";

const fn reviewer(name: &'static str, email: &'static str, part: &'static str) -> Cast {
    Cast { name, email, role: "reviewer", groups: REVIEWING, part }
}

const fn administrator(name: &'static str, email: &'static str, part: &'static str) -> Cast {
    Cast { name, email, role: "administrator", groups: REVIEWING, part }
}

/// The agent as it was made. The token is a secret and shown once, by the demo itself.
#[derive(Clone)]
pub struct AgentAccess {
    pub id: String,
    pub token: String,
}

impl fmt::Debug for AgentAccess {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AgentAccess").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One-time links, one for each person who has not signed in yet. Each is a secret until it is opened.
#[derive(Clone)]
pub struct Links {
    pub ana: String,
    pub ben: String,
    pub olga: String,
    pub zoe: String,
}

impl fmt::Debug for Links {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Links").finish_non_exhaustive()
    }
}

/// Everything the story needs.
#[derive(Debug)]
pub struct Prepared {
    pub agent: AgentAccess,
    pub links: Links,
    /// Signed in already: the creator made the agent.
    pub creator: Person,
}

/// Invites everybody, and has the creator make the agent and its token.
pub async fn prepare(operator: &dyn Operator, console_url: &str) -> Result<Prepared, DemoError> {
    let console = console_url.trim_end_matches('/');
    let (ana, _) = invite(operator, ANA).await?;
    let (ben, _) = invite(operator, BEN).await?;
    let (olga, owner) = invite(operator, OLGA).await?;
    let (zoe, acted_for) = invite(operator, ZOE).await?;
    let (carl, _) = invite(operator, CARL).await?;
    let creator = Person::open(console, &carl).await?;
    let agent = create_agent(&creator, &owner, &acted_for).await?;
    Ok(Prepared { agent, links: Links { ana, ben, olga, zoe }, creator })
}

/// Invites one person: the link and the id.
async fn invite(operator: &dyn Operator, who: Cast) -> Result<(String, String), DemoError> {
    const PATH: &str = "/api/v1/people";
    let body = json!({ "name": who.name, "email": who.email, "groups": who.groups, "role": who.role });
    let (status, said) = operator.call("POST", PATH, Some(body)).await.map_err(DemoError::Operator)?;
    let door = format!("POST {PATH}");
    if !(200..300).contains(&status) {
        return Err(DemoError::Answer { door, status, said: said.to_string() });
    }
    let link = found(&said, &["/link"], &door)?;
    let person = found(&said, &["/person/id", "/person"], &door)?;
    Ok((link, person))
}

async fn create_agent(creator: &Person, owner: &str, acted_for: &str) -> Result<AgentAccess, DemoError> {
    const AGENTS: &str = "POST /api/v1/agents";
    const TOKENS: &str = "POST /api/v1/agents/{id}/tokens";
    let agent = json!({
        "name": AGENT, "kind": "agent", "owner": owner,
        "groups": [policy::AGENTS], "clearances": [],
    });
    let made = creator.write("agents", &agent).await?.success(AGENTS)?.json();
    let id = found(&made, &["/id", "/agent/id", "/agent"], AGENTS)?;
    let token = json!({ "label": "demo", "expires_in": "1d", "on_behalf_of": acted_for });
    let made = creator.write(&format!("agents/{id}/tokens"), &token).await?.success(TOKENS)?.json();
    let token = found(&made, &["/token"], TOKENS)?;
    Ok(AgentAccess { id, token })
}

/// The first of these places that holds a text.
pub(crate) fn found(said: &Value, places: &[&str], door: &str) -> Result<String, DemoError> {
    let text = places.iter().find_map(|place| said.pointer(place).and_then(Value::as_str));
    let missing = || DemoError::Contract { door: door.into(), missing: places.join("` or `") };
    text.map(str::to_owned).ok_or_else(missing)
}
