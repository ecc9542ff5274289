//! An MCP server of the official SDK behind the real binary, and agents with the SDK's client.

use countersign_demo::person::{Person, Strength};
use countersign_e2e::Gateway;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const SECRET: &str = "planted-upstream-secret";

/// How long anything may take, with a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Stage {
    server: Child,
    server_url: String,
    folder: TempDir,
    pub(crate) gateway: Gateway,
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) rogue: String,
    pub(crate) ana: Person,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Where `.ci/drivers` puts the SDK.
fn sdk() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().find(|folder| folder.join("drivers").exists());
    let Some(target) = target.map(|target| target.join("drivers/mcp")).filter(|sdk| sdk.exists()) else {
        panic!("the SDK is not there\n\nhint: run `.ci/drivers`, as `make test` does");
    };
    target
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(script);
    command.env("PYTHONPATH", sdk()).env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn write(folder: &Path, console: u16, wire: u16, server: u16, hold_limit: &str) -> std::io::Result<()> {
    std::fs::create_dir(folder.join("policy"))?;
    std::fs::write(folder.join("policy/policy.cedar"), include_str!("../../fixtures/mcp.cedar"))?;
    std::fs::write(folder.join("secret"), SECRET)?;
    let text = format!(
        r#"[gateway]
name = "countersign.test"

[console]
listen = "127.0.0.1:{console}"
url = "http://localhost:{console}"

[policy]
path = "policy"

[people]
groups = ["agents", "sre"]

[[mcp]]
name = "shop"
environment = "prod"
listen = "127.0.0.1:{wire}"
upstream = "http://127.0.0.1:{server}/mcp"
credential = {{ profile = "shop-app", value_from = "file:secret" }}
hold_limit = "{hold_limit}"
limits = {{ sessions = 30 }}

[[mcp.tools]]
name = "count_rows"
class = "read"

[[mcp.tools]]
name = "slowly"
class = "read"

[[mcp.tools]]
name = "asks_the_user"
class = "read"

[[mcp.tools]]
name = "lingers"
class = "execute"

[[mcp.tools]]
name = "delete_rows"
class = "delete"
sentence = "Delete {{count}} rows of {{table}}"
arguments = {{ table = "text", count = "number" }}
"#
    );
    std::fs::write(folder.join("countersign.toml"), text)
}

impl Stage {
    pub(crate) async fn open(hold_limit: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "").unwrap();
        let port = countersign_testkit::ports::free().unwrap();
        let server = python("mcp_server.py")
            .arg(port.to_string())
            .arg(&log)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server_url = format!("http://127.0.0.1:{port}");
        let written = |folder: &Path, console: u16, wire: u16| write(folder, console, wire, port, hold_limit);
        let gateway = Gateway::start_written(written, &[]).await.unwrap();
        let link = gateway.invite("ana@example.com", "sre").await.unwrap();
        let mut ana = Person::open(&gateway.console_url, &link).await.unwrap();
        ana.register_passkey().await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        let token = gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
        let rogue = gateway.agent("rogue", "olga@example.com", "agents").await.unwrap();
        let url = format!("{}/mcp", gateway.url);
        let stage = Self { server: server.unwrap(), server_url, folder, gateway, url, token, rogue, ana };
        let begun = Instant::now();
        while reqwest::get(format!("{}/ready", stage.server_url)).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "the server does not answer");
            sleep(Duration::from_millis(50)).await;
        }
        stage
    }

    /// Has the server say something else of `delete_rows`.
    pub(crate) async fn change_the_tool(&self) {
        let changed =
            reqwest::Client::new().post(format!("{}/change", self.server_url)).send().await.unwrap();
        assert!(changed.status().is_success());
    }

    /// Starts an agent that takes these steps.
    pub(crate) fn agent(&self, token: &str, mode: &str, steps: &Value) -> Agent {
        let mut command = python("mcp_client.py");
        Agent(command.args([&self.url, token, mode, &steps.to_string()]).spawn().unwrap())
    }

    /// What an agent's steps came to, after the line in which it says what it speaks.
    pub(crate) async fn said(&self, token: &str, steps: &Value) -> Vec<Value> {
        let mut said = self.agent(token, "legacy", steps).ended().await;
        assert_eq!(said.remove(0), json!({"version": "2025-11-25", "server": "shop"}));
        said
    }

    /// What one call of `bot` came to: whether it is an error, and its text.
    pub(crate) async fn call(&self, tool: &str, arguments: &Value) -> (bool, String) {
        self.call_as(&self.token, tool, arguments).await
    }

    pub(crate) async fn call_as(&self, token: &str, tool: &str, arguments: &Value) -> (bool, String) {
        let said = self.said(token, &json!([{"do": "call", "tool": tool, "arguments": arguments}])).await;
        let last = said.last().unwrap();
        let text = last.get("text").or_else(|| last.get("raised")).and_then(Value::as_str).unwrap();
        (last.get("error") != Some(&json!(false)), text.to_owned())
    }

    /// Waits until an approval is in this state: its id.
    pub(crate) async fn approval(&self, state: &str) -> String {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let arguments = ["approvals", "list", "--status", state, "--limit", "10"];
            let list = self.gateway.command(&arguments).await.unwrap();
            if let Some(id) = list.pointer("/items/0/id").and_then(Value::as_str) {
                return id.to_owned();
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("nothing is {state}: {}", self.gateway.log());
    }

    pub(crate) async fn vote(&mut self, id: &str, decision: &str, reason: Option<&str>) {
        let vote = self.ana.vote(id, decision, Strength::Session, reason).await.unwrap();
        assert!(vote.is_success(), "{}", vote.told());
    }

    /// Everything the server wrote down.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How often a tool ran.
    pub(crate) fn ran(&self, tool: &str) -> usize {
        self.log().iter().filter(|line| line.get("ran") == Some(&json!(tool))).count()
    }

    /// Waits until a tool ran.
    pub(crate) async fn runs(&self, tool: &str) {
        let begun = Instant::now();
        while self.ran(tool) == 0 {
            assert!(begun.elapsed() < PATIENCE, "`{tool}` does not run");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An agent at work.
pub(crate) struct Agent(Child);

impl Agent {
    /// Waits for its end: what it said, line by line.
    pub(crate) async fn ended(self) -> Vec<Value> {
        let output = tokio::task::spawn_blocking(move || self.0.wait_with_output().unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert!(!lines.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        lines
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
