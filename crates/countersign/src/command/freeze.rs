//! `countersign freeze`: stop everything, one agent or one target, at once.

use super::{agent::agent_id, person::items};
use crate::{
    cli::{FreezeCommand, Output},
    failure::Failure,
    operator::Door,
    output::{self, text},
};
use http::Method;
use serde_json::{Value, json};

pub(super) async fn run(door: &Door, command: FreezeCommand, output: Output) -> Result<(), Failure> {
    const PATH: &str = "/api/v1/freezes";
    match command {
        FreezeCommand::All => set(door, json!({"scope": "all"}), "everything", output).await,
        FreezeCommand::Agent { name } => {
            let id = agent_id(door, &name).await?;
            set(door, json!({"scope": "agent", "id": id}), &format!("agent {name}"), output).await
        }
        FreezeCommand::Target { name } => {
            set(door, json!({"scope": "target", "name": name}), &format!("target {name}"), output).await
        }
        FreezeCommand::List => {
            let frozen = door.call(Method::GET, PATH, &Value::Null).await?;
            output::show(output, &frozen, |frozen| {
                let what = |scope: &Value| {
                    format!("{} {}{}", text(scope, "/scope"), text(scope, "/id"), text(scope, "/name"))
                };
                let lines: Vec<String> = items(frozen).iter().map(what).collect();
                if lines.is_empty() { "nothing is frozen".into() } else { lines.join("\n") }
            })
        }
        FreezeCommand::Lift { what, name } => {
            let scope = match (what.as_str(), name) {
                ("agent", Some(name)) => json!({"scope": "agent", "id": agent_id(door, &name).await?}),
                ("target", Some(name)) => json!({"scope": "target", "name": name}),
                ("agent" | "target", None) => {
                    return Err(Failure::usage(format!("which {what}?")).hint("name it after the word"));
                }
                _ => json!({"scope": "all"}),
            };
            door.call(Method::DELETE, PATH, &scope).await?;
            output::show(output, &json!({"lifted": scope}), |_| "lifted".into())
        }
    }
}

async fn set(door: &Door, scope: Value, words: &str, output: Output) -> Result<(), Failure> {
    door.call(Method::POST, "/api/v1/freezes", &scope).await?;
    let said = format!("{words} is frozen: nothing new runs, and what ran was cancelled");
    output::show(output, &json!({"frozen": scope}), |_| said)
}
