//! `countersign approvals`: what waits and what was decided. Deciding happens on the page.

use super::person::{items, rows};
use crate::{
    cli::{ApprovalsCommand, Output},
    failure::Failure,
    operator::{Door, segment},
    output::{self, text},
};
use countersign_core::visible;
use http::Method;
use serde_json::{Value, json};

pub(super) async fn run(door: &Door, command: ApprovalsCommand, output: Output) -> Result<(), Failure> {
    match command {
        ApprovalsCommand::List { status, limit } => {
            let filter = status.map(|status| format!("&status={}", segment(&status))).unwrap_or_default();
            let path = format!("/api/v1/approvals?limit={limit}{filter}");
            let found = door.call(Method::GET, &path, &Value::Null).await?;
            output::show(output, &found, |found| {
                rows(
                    found,
                    &["id", "state", "code", "target", "sentence"],
                    "nothing waits and nothing was decided",
                )
            })
        }
        ApprovalsCommand::Show { id } => {
            let path = format!("/api/v1/approvals/{}", segment(&id));
            let found = door.call(Method::GET, &path, &Value::Null).await?;
            output::show(output, &found, describe)
        }
        ApprovalsCommand::Reviews => {
            let found = door.call(Method::GET, "/api/v1/reviews", &Value::Null).await?;
            output::show(output, &found, |found| {
                let row = |item: &Value| {
                    let of = |pointer: &str| text(item, pointer);
                    ["/approval", "/state", "/broken_by/name", "/at", "/reason", "/link"].map(of).to_vec()
                };
                let rows: Vec<Vec<String>> = items(found).iter().map(row).collect();
                let head = ["approval", "state", "broken by", "at", "reason", "review at"];
                output::table(&head, &rows, "no break-glass waits for its review")
            })
        }
        ApprovalsCommand::Revoke { id, reason } => {
            let path = format!("/api/v1/approvals/{}/revoke", segment(&id));
            let now = door.call(Method::POST, &path, &json!({"reason": reason})).await?;
            output::show(output, &now, |now| format!("{id} is {}", text(now, "/state")))
        }
    }
}

fn describe(approval: &Value) -> String {
    let line = |name: &str, pointer: &str| {
        let value = visible::one_line(&text(approval, pointer));
        if value.is_empty() { String::new() } else { format!("{name:<12} {value}\n") }
    };
    let gates = approval.pointer("/gates").and_then(Value::as_array);
    let gate = |gate: &Value| {
        let of = |name: &str| visible::one_line(&text(gate, name));
        format!(
            "  {} {}/{}: {} ({})\n",
            of("/gate"),
            of("/votes"),
            of("/quorum"),
            of("/approvers"),
            of("/reason")
        )
    };
    let gates: String = gates.into_iter().flatten().map(gate).collect();
    [
        format!("{}\n\n", visible::one_line(&text(approval, "/sentence"))),
        line("state", "/state"),
        line("requester", "/requester/name"),
        line("target", "/target"),
        line("environment", "/environment"),
        line("code", "/code"),
        line("deadline", "/deadline"),
        line("rejection", "/rejection"),
        format!("gates\n{gates}"),
        line("decide at", "/link"),
    ]
    .concat()
}
