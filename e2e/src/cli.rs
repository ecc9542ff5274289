//! The command line as somebody types it: exit status and both streams, nothing interpreted.

use crate::{E2eError, Environment};
use serde_json::Value;
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

/// No command may take longer, with a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Ran {
    /// `None` when a signal ended it.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }
}

/// Runs `countersign` in a folder.
pub async fn countersign(folder: &Path, arguments: &[&str]) -> Result<Ran, E2eError> {
    countersign_with(folder, arguments, &[]).await
}

/// Runs `countersign` in a folder with more variables in its environment.
pub async fn countersign_with(
    folder: &Path,
    arguments: &[&str],
    environment: Environment<'_>,
) -> Result<Ran, E2eError> {
    let mut command = Command::new(crate::binary()?);
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let late = |_| E2eError::Command { command: arguments.join(" "), said: "it does not end".into() };
    let done = timeout(PATIENCE, command.output()).await.map_err(late)??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Ran { status: done.status.code(), stdout: text(&done.stdout), stderr: text(&done.stderr) })
}
