//! Plain clients nobody here wrote: `curl`, and Python's `http.client`.

use crate::E2eError;
use std::{path::Path, process::Stdio};
use tempfile::TempDir;
use tokio::process::Command;

/// One answer, as the client saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub status: u16,
    /// Header lines as they came, in lower case.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

impl Seen {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The headers a gateway must hand on as they are, sorted: the order of different names means nothing (RFC 9110
    /// section 5.3).
    pub fn own_headers(&self) -> Vec<&String> {
        let hops = ["connection:", "keep-alive:", "transfer-encoding:", "date:"];
        let mut own: Vec<_> =
            self.headers.iter().filter(|line| !hops.iter().any(|hop| line.starts_with(hop))).collect();
        own.sort();
        own
    }
}

/// Runs `curl` with these arguments.
pub async fn curl(arguments: &[&str]) -> Result<Seen, E2eError> {
    let folder = TempDir::new()?;
    let (head, body) = (folder.path().join("head"), folder.path().join("body"));
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--noproxy", "*", "--max-time", "120", "-D"])
        .arg(&head)
        .arg("-o")
        .arg(&body)
        .args(arguments);
    run(command, "curl").await?;
    // Each informational answer has a head of its own; the last one is the answer's.
    let text = String::from_utf8_lossy(&std::fs::read(&head)?).into_owned();
    let last = text.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default().to_owned();
    let mut lines = last.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
    // Asked for the head alone, curl writes it out in the body's place.
    let has_body = body.exists() && !arguments.contains(&"-I");
    let body = if has_body { std::fs::read(&body)? } else { Vec::new() };
    Ok(Seen { status, headers: lines.map(lowered).collect(), body })
}

/// The name in lower case, the value as it is.
fn lowered(line: &str) -> String {
    match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
        None => line.to_owned(),
    }
}

/// Runs a Python program with arguments; gives what it prints.
pub async fn python(program: &str, arguments: &[&str]) -> Result<Vec<u8>, E2eError> {
    let mut command = Command::new("python3");
    command.arg("-c").arg(program).args(arguments);
    run(command, "python3").await
}

async fn run(mut command: Command, name: &str) -> Result<Vec<u8>, E2eError> {
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if done.status.success() {
        return Ok(done.stdout);
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(E2eError::Command { command: name.into(), said })
}

/// Writes so many bytes that do not compress and are the same on every run.
pub fn write_noise(file: &Path, bytes: usize) -> Result<(), E2eError> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.truncate(bytes);
    Ok(std::fs::write(file, noise)?)
}
