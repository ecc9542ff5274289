//! `countersign channel`: ways on which people and systems are told of approvals.

mod add;
mod test;

use super::door;
use crate::{
    cli::{ChannelCommand, Output},
    failure::Failure,
    operator::segment,
    output,
    wiring::counted,
};
use http::Method;
use serde_json::{Value, json};
use std::path::Path;

pub(super) async fn run(path: &Path, command: ChannelCommand, output: Output) -> Result<(), Failure> {
    match command {
        ChannelCommand::List => {
            let found = door(path).await?.call(Method::GET, "/api/v1/channels", &Value::Null).await?;
            output::show(output, &json!({"items": found}), |found| {
                let head = [
                    "name",
                    "kind",
                    "place",
                    "hears",
                    "waiting",
                    "given_up",
                    "last_told",
                    "last_error",
                    "listening_since",
                    "last_heard",
                    "unread_error",
                    "warning",
                ];
                super::person::rows(found, &head, "no channel is configured")
            })
        }
        ChannelCommand::Add { kind, name } => add::run(path, kind, name, output),
        ChannelCommand::Test { name, person, answer_within } => {
            let wanted = test::Wanted { person: person.as_deref(), answer_within };
            Box::pin(test::run(path, &name, wanted, output)).await
        }
        ChannelCommand::Replay { name, approval } => {
            let at = format!("/api/v1/channels/{}/replay", segment(&name));
            let done = door(path).await?.call(Method::POST, &at, &json!({"approval": approval})).await?;
            output::show(output, &done, |done| {
                let count = done.get("replayed").and_then(Value::as_u64).unwrap_or_default();
                let approvals = counted(usize::try_from(count).unwrap_or(usize::MAX), "approval");
                format!("`{name}` is told once more of {approvals}")
            })
        }
    }
}
