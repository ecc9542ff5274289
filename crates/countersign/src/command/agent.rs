//! `countersign agent`: who asks.

use super::person::{id_of, items, rows};
use crate::{
    cli::{AgentCommand, KindArg, Output, TokenCommand},
    failure::Failure,
    operator::{Door, segment},
    output::{self, text},
};
use http::Method;
use serde_json::{Value, json};

pub(super) async fn run(door: &Door, command: AgentCommand, output: Output) -> Result<(), Failure> {
    match command {
        AgentCommand::Create { name, owner, groups, clearances, kind } => {
            let kind = match kind {
                KindArg::Agent => "agent",
                KindArg::Service => "service",
            };
            let body = json!({"name": name, "kind": kind, "owner": owner, "groups": groups, "clearances": clearances});
            let made = door.call(Method::POST, "/api/v1/agents", &body).await?;
            output::show(output, &made, |made| {
                let id = text(made, "/id");
                format!("{name} is {id}. Next: `countersign agent token create {name}`")
            })
        }
        AgentCommand::List => {
            let agents = door.call(Method::GET, "/api/v1/agents", &Value::Null).await?;
            let empty = "no agent is known yet; see `countersign agent create --help`";
            output::show(output, &agents, |agents| {
                rows(agents, &["id", "name", "kind", "groups", "state"], empty)
            })
        }
        AgentCommand::Chain { name } => {
            let path = format!("/api/v1/agents/{}/chain", segment(&agent_id(door, &name).await?));
            let chain = door.call(Method::GET, &path, &Value::Null).await?;
            output::show(output, &chain, |chain| {
                let row = |person: &Value| {
                    let why = person.pointer("/why").and_then(Value::as_array).into_iter().flatten();
                    let why: Vec<&str> = why.filter_map(Value::as_str).collect();
                    vec![text(person, "/name"), text(person, "/id"), why.join("; ")]
                };
                let rows: Vec<Vec<String>> = items(chain).iter().map(row).collect();
                output::table(&["cannot approve", "id", "because"], &rows, "nobody stands behind it")
            })
        }
        AgentCommand::Activity { days } => {
            let path = format!("/api/v1/activity?days={days}");
            let seen = door.call(Method::GET, &path, &Value::Null).await?;
            output::show(output, &seen, |seen| {
                let row = |one: &Value| {
                    let unused = one.pointer("/unused").and_then(Value::as_array).into_iter().flatten();
                    let unused: Vec<String> = unused.map(|permit| text(permit, "/policy")).collect();
                    let of = |pointer: &str| text(one, pointer);
                    let mut row = vec![of("/agent/name"), of("/last_seen_at")];
                    row.extend(["/asked", "/permitted", "/held", "/refused", "/approved"].map(of));
                    row.push(unused.join(", "));
                    row
                };
                let agents = seen.pointer("/agents").unwrap_or(&Value::Null);
                let rows: Vec<Vec<String>> = items(agents).iter().map(row).collect();
                let head = [
                    "agent",
                    "last seen",
                    "asked",
                    "permitted",
                    "held",
                    "refused",
                    "approved",
                    "unused permits",
                ];
                output::table(&head, &rows, "no agent is known yet")
            })
        }
        AgentCommand::Issuers => {
            let issuers = door.call(Method::GET, "/api/v1/issuers", &Value::Null).await?;
            let empty = "no issuer is trusted; see `[[issuers]]` in the configuration";
            let head = ["name", "issuer", "keys", "fetched_at", "failure"];
            output::show(output, &issuers, |issuers| rows(issuers, &head, empty))
        }
        AgentCommand::Token(command) => token(door, command, output).await,
    }
}

async fn token(door: &Door, command: TokenCommand, output: Output) -> Result<(), Failure> {
    match command {
        TokenCommand::Create { agent, label, expires, on_behalf_of } => {
            let person = match on_behalf_of {
                Some(who) => Value::from(id_of(door, &who).await?),
                None => Value::Null,
            };
            let path = format!("/api/v1/agents/{}/tokens", segment(&agent_id(door, &agent).await?));
            let body = json!({"label": label, "expires_in": expires, "on_behalf_of": person});
            let made = door.call(Method::POST, &path, &body).await?;
            output::show(output, &made, |made| {
                format!(
                    "{}\n\nThis token is shown this once. It goes into `Authorization: Bearer …`.",
                    text(made, "/token")
                )
            })
        }
        TokenCommand::List { agent } => {
            let path = format!("/api/v1/agents/{}/tokens", segment(&agent_id(door, &agent).await?));
            let tokens = door.call(Method::GET, &path, &Value::Null).await?;
            let head = ["id", "label", "hint", "expires", "state"];
            output::show(output, &tokens, |tokens| rows(tokens, &head, "this agent has no token"))
        }
        TokenCommand::Revoke { id } => {
            door.call(Method::DELETE, &format!("/api/v1/tokens/{}", segment(&id)), &Value::Null).await?;
            output::show(output, &json!({"revoked": id}), |_| format!("{id} is worthless now"))
        }
    }
}

/// An agent's id by name; an id is taken as it is.
pub(super) async fn agent_id(door: &Door, name: &str) -> Result<String, Failure> {
    if name.starts_with("agt_") {
        return Ok(name.to_owned());
    }
    let agents = door.call(Method::GET, "/api/v1/agents?limit=1000", &Value::Null).await?;
    let found = items(&agents).iter().find(|agent| text(agent, "/name") == name);
    found.map(|agent| text(agent, "/id")).ok_or_else(|| {
        Failure::new(format!("no agent is named `{name}`")).hint("see `countersign agent list`")
    })
}
