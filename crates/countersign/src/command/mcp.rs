//! `countersign mcp`: which tools a server has, what it says of them, and what people made of that; and the shim for clients
//! that start their servers themselves.

mod first;
mod stdio;

use super::person::items;
use crate::{
    cli::{FirstArgs, McpCommand, Output},
    failure::Failure,
    operator::{Door, segment},
    output::{self, text},
    system::SystemClock,
};
use countersign_core::{
    Action, ActionId, AgentId, CredentialId, PrincipalId, PrincipalKind, Requester, visible,
};
use countersign_engine::{definitions::Standing, port::clock::Clock};
use countersign_pep_mcp::config::McpTarget;
use http::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub(super) async fn run(path: &Path, command: McpCommand, output: Output) -> Result<(), Failure> {
    match command {
        McpCommand::Stdio { target, token, ca } => stdio::run(path, target, &token, ca).await,
        McpCommand::Inspect { target, first, .. } if target.contains("://") => {
            first::run(&target, first, output).await
        }
        McpCommand::Inspect { first: FirstArgs { write: Some(_), .. }, .. } => {
            Err(Failure::usage("files are written for a server that is not configured yet")
                .hint("give its endpoint, such as `https://mcp.example.com/mcp`"))
        }
        McpCommand::Inspect { target, agent, .. } => inspect(path, &target, agent.as_deref(), output).await,
        McpCommand::Show { target, tool } => show(path, &target, &tool, output).await,
        McpCommand::Accept { target, tools, all, pins } => {
            let which = match pins {
                Some(file) => Which::Pinned(pinned(&file, &target)?),
                None if all => Which::Unflagged,
                None => Which::Named(tools),
            };
            decide(path, &target, which, "accept", output).await
        }
        McpCommand::Refuse { target, tools } => {
            decide(path, &target, Which::Named(tools), "refuse", output).await
        }
    }
}

enum Which {
    Named(Vec<String>),
    /// Whatever waits and has no flag.
    Unflagged,
    /// Tools as they were pinned: each with its definition's digest.
    Pinned(Vec<(String, String)>),
}

/// The pins in a file that `countersign mcp inspect` wrote for this target.
fn pinned(file: &Path, target: &str) -> Result<Vec<(String, String)>, Failure> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("`{shown}` cannot be read: {error}")))?;
    let wrong = || {
        Failure::usage(format!("`{shown}` holds no pins of `{target}`"))
            .hint("`countersign mcp inspect URL --write DIR` writes them")
    };
    let pins: Value = serde_json::from_str(&text).map_err(|_| wrong())?;
    if output::text(&pins, "/target") != target {
        return Err(wrong());
    }
    let pins = pins.pointer("/pins").and_then(Value::as_array).ok_or_else(wrong)?;
    Ok(pins.iter().map(|pin| (output::text(pin, "/tool"), output::text(pin, "/definition"))).collect())
}

fn tools_of(target: &str) -> String {
    format!("/api/v1/targets/{}/tools", segment(target))
}

async fn inspect(path: &Path, target: &str, agent: Option<&str>, output: Output) -> Result<(), Failure> {
    let config = super::load(path)?;
    let server = config.mcp.iter().find(|known| known.classifier.surroundings().target.as_str() == target);
    let server = server.ok_or_else(|| {
        Failure::usage(format!("there is no MCP server `{target}`")).hint("see `countersign target list`")
    })?;
    let door = Door::open(super::load(path)?).await?;
    let mut found = door.call(Method::POST, &format!("{}/look", tools_of(target)), &Value::Null).await?;
    let agent = match agent {
        Some(name) => Some(requester(&door, name).await?),
        None => None,
    };
    for tool in found.as_array_mut().into_iter().flatten() {
        let (definition, standing) = newest(tool);
        let flags = flags(tool, &definition);
        let may = match &agent {
            Some(agent) => may(&door, server, agent, (&text(tool, "/tool"), &definition, standing)).await?,
            None => Value::Null,
        };
        if let Some(tool) = tool.as_object_mut() {
            tool.insert("standing".into(), standing.as_str().into());
            tool.insert("flags".into(), flags.into_iter().collect());
            tool.insert("agent".into(), may);
        }
    }
    let told = json!({"target": target, "unreviewed": server.unreviewed.as_str(), "items": found});
    output::show(output, &told, |told| {
        let rows: Vec<Vec<String>> = items(told)
            .iter()
            .map(|tool| {
                let mut row = vec![text(tool, "/tool"), text(tool, "/standing"), text(tool, "/flags")];
                row.extend(agent.as_ref().map(|_| text(tool, "/agent")));
                row.push(first_line(tool));
                row
            })
            .collect();
        let mut head = vec!["tool", "standing", "flags"];
        head.extend(agent.as_ref().map(|_| "agent"));
        head.push("described as");
        let waiting = items(told).iter().filter(|tool| text(tool, "/standing") != "accepted").count();
        let next = if waiting == 0 {
            String::new()
        } else {
            format!(
                "\n\n{waiting} of them nobody has accepted: agents find them {}. `countersign mcp show {target} TOOL`, then \
                 `countersign mcp accept {target} TOOL` or `--all`.",
                server.unreviewed.as_str()
            )
        };
        output::table(&head, &rows, "the server has no tools") + &next
    })
}

/// The description a server gave last, as far as it is told, and where it stands.
fn newest(tool: &Value) -> (String, Standing) {
    let accepted = !tool.pointer("/accepted").is_none_or(Value::is_null);
    let of = |pointer: &str| Some(text(tool, pointer)).filter(|found| !found.is_empty());
    if let Some(waiting) = of("/waiting/0/definition") {
        return (waiting, if accepted { Standing::Changed } else { Standing::New });
    }
    match (of("/accepted/definition"), of("/refused/0/definition")) {
        (Some(definition), _) => (definition, Standing::Accepted),
        (None, refused) => (refused.unwrap_or_default(), Standing::Refused),
    }
}

fn flags(tool: &Value, definition: &str) -> BTreeSet<String> {
    let listed = |pointer: &str| tool.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let versions =
        [listed("/waiting"), listed("/refused"), tool.pointer("/accepted").cloned().into_iter().collect()];
    let version = versions.into_iter().flatten().find(|version| text(version, "/definition") == definition);
    let flags = version.as_ref().and_then(|version| version.pointer("/flags")).and_then(Value::as_array);
    flags.into_iter().flatten().map(|flag| text(flag, "/rule")).collect()
}

fn first_line(tool: &Value) -> String {
    let described = text(tool, "/waiting/0/description");
    let described = if described.is_empty() { text(tool, "/accepted/description") } else { described };
    // What cannot be seen is written out by the table.
    described.lines().next().unwrap_or_default().chars().take(80).collect()
}

/// The agent as its requests are asked.
async fn requester(door: &Door, name: &str) -> Result<Requester, Failure> {
    let id = super::agent::agent_id(door, name).await?;
    let agent = door.call(Method::GET, &format!("/api/v1/agents/{}", segment(&id)), &Value::Null).await?;
    let id: AgentId = id.parse().map_err(|error| Failure::of("the agent's id cannot be read", &error))?;
    let listed = |name: &str| agent.get(name).cloned().unwrap_or_default();
    let read = |error: serde_json::Error| Failure::of("the agent cannot be read", &error);
    let owners = listed("owners").as_array().into_iter().flatten().map(|owner| owner["id"].clone()).collect();
    Ok(Requester {
        principal: PrincipalId::Agent(id),
        kind: serde_json::from_value::<PrincipalKind>(listed("kind")).map_err(read)?,
        name: text(&agent, "/name"),
        groups: serde_json::from_value(listed("groups")).map_err(read)?,
        clearances: serde_json::from_value(listed("clearances")).map_err(read)?,
        claims: BTreeMap::new(),
        owners: serde_json::from_value(owners).map_err(read)?,
        created_by: None,
        on_behalf_of: Vec::new(),
        credential: CredentialId::from_parts(0, 0),
    })
}

/// What policy makes of a call by this agent: `permit`, `review`, `forbid`, or `with other arguments`.
async fn may(
    door: &Door,
    server: &McpTarget,
    agent: &Requester,
    (name, definition, standing): (&str, &str, Standing),
) -> Result<Value, Failure> {
    let target = server.classifier.surroundings().target.as_str();
    let path = format!("{}/{}", tools_of(target), segment(definition));
    let full = door.call(Method::GET, &path, &Value::Null).await?;
    if let Some(arguments) = server.decided_by(name).filter(|_| standing == Standing::Accepted) {
        return Ok(format!("by its {arguments}").into());
    }
    let Some(request) = server.question(agent.clone(), &text(&full, "/text"), standing) else {
        return Ok("cannot be called".into());
    };
    let now = SystemClock.now();
    let action = Action {
        id: ActionId::from_parts(now.unix_ms(), 0),
        received_at: now,
        environment: server.classifier.surroundings().environment.clone(),
        credential_profile: server.credential_profile.clone(),
        wire: "mcp".into(),
        requester: request.requester,
        target: request.target,
        operation: request.operation,
        resources: request.resources,
        facts: request.facts,
        session: BTreeMap::new(),
        payload: request.payload,
        idempotency_key: None,
        sentence: request.sentence,
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    };
    let action =
        serde_json::to_value(&action).map_err(|error| Failure::of("the call cannot be written", &error))?;
    let why = door.call(Method::POST, "/api/v1/policy/why", &action).await?;
    let decision = text(&why, "/decision");
    let possible = why.pointer("/possible") == Some(&Value::Bool(true));
    Ok(if decision == "forbid" && possible { "with other arguments".into() } else { decision.into() })
}

async fn show(path: &Path, target: &str, tool: &str, output: Output) -> Result<(), Failure> {
    let door = super::door(path).await?;
    let known = door.call(Method::GET, &tools_of(target), &Value::Null).await?;
    let known = items(&known).iter().find(|known| text(known, "/tool") == tool).cloned();
    let known = known.ok_or_else(|| unknown(target, tool))?;
    let (definition, _) = newest(&known);
    let path = format!("{}/{}", tools_of(target), segment(&definition));
    let full = door.call(Method::GET, &path, &Value::Null).await?;
    output::show(output, &full, |full| {
        let listed = |name: &str| full.pointer(name).and_then(Value::as_array).cloned().unwrap_or_default();
        let compared = !text(full, "/compared_with").is_empty();
        let mut told = vec![format!("{} ({})", visible::name(tool), text(full, "/version/state"))];
        for flag in listed("/version/flags") {
            let of = |name: &str| visible::one_line(&text(&flag, name));
            told.push(format!("! {}: {} {} {}", of("/rule"), of("/place"), of("/meaning"), of("/found")));
        }
        for line in listed("/lines") {
            let of = |name: &str| visible::one_line(&text(&line, name));
            let (was, is) = (
                format!("- {}: {}", of("/place"), of("/before")),
                format!("+ {}: {}", of("/place"), of("/after")),
            );
            match of("/mark").as_str() {
                "same" if compared => {}
                "same" => told.push(format!("  {}: {}", of("/place"), of("/after"))),
                "added" => told.push(is),
                "removed" => told.push(was),
                _ => told.extend([was, is]),
            }
        }
        told.push(text(full, "/version/definition"));
        told.join("\n")
    })
}

async fn decide(
    path: &Path,
    target: &str,
    which: Which,
    verdict: &str,
    output: Output,
) -> Result<(), Failure> {
    let door = super::door(path).await?;
    let look = format!("{}/look", tools_of(target));
    let known = door.call(Method::POST, &look, &Value::Null).await?;
    let known = items(&known);
    let (mut left_out, mut other) = (Vec::new(), Vec::new());
    let chosen: Vec<(String, String)> = match which {
        Which::Named(names) => {
            let find = |name: &String| {
                let tool = known.iter().find(|known| text(known, "/tool") == *name);
                tool.map(|tool| (name.clone(), newest(tool).0)).ok_or_else(|| unknown(target, name))
            };
            names.iter().map(find).collect::<Result<_, _>>()?
        }
        Which::Unflagged => {
            let waits = |tool: &&Value| !text(tool, "/waiting/0/definition").is_empty();
            let (flagged, plain): (Vec<_>, Vec<_>) =
                known.iter().filter(waits).partition(|tool| !flags(tool, &newest(tool).0).is_empty());
            left_out.extend(flagged.into_iter().map(|tool| text(tool, "/tool")));
            plain.into_iter().map(|tool| (text(tool, "/tool"), newest(tool).0)).collect()
        }
        Which::Pinned(pins) => {
            let is_so = |(name, definition): &(String, String)| {
                known.iter().any(|tool| text(tool, "/tool") == *name && newest(tool).0 == *definition)
            };
            let (fine, changed): (Vec<_>, Vec<_>) = pins.into_iter().partition(is_so);
            other.extend(changed.into_iter().map(|(name, _)| name));
            fine
        }
    };
    for (_, definition) in &chosen {
        let body = json!({"definition": definition, "verdict": verdict});
        door.call(Method::POST, &format!("{}/decide", tools_of(target)), &body).await?;
    }
    let names: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
    let did = if verdict == "accept" { "accepted" } else { "refused" };
    let mut told = json!({did: names, "flagged": left_out});
    if let (Some(told), false) = (told.as_object_mut(), other.is_empty()) {
        told.insert("changed".into(), json!(other));
    }
    output::show(output, &told, |_| {
        let plain = |name: &str| visible::name(name);
        let mut told: Vec<String> = names.iter().map(|name| format!("{did} {}", plain(name))).collect();
        let flagged = |name: &String| {
            format!("left out {}: something in it is flagged; look at it and name it", plain(name))
        };
        told.extend(left_out.iter().map(flagged));
        let changed = |name: &String| {
            format!("left out {}: the server does not describe it as it was pinned", plain(name))
        };
        told.extend(other.iter().map(changed));
        if told.is_empty() { "nothing waits".into() } else { told.join("\n") }
    })
}

fn unknown(target: &str, tool: &str) -> Failure {
    Failure::new(format!("`{target}` has no tool `{}`", visible::name(tool)))
        .hint(format!("see `countersign mcp inspect {target}`"))
}
