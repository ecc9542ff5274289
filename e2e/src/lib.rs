//! Runs the real `countersign` binary with a configuration of its own, for tests that stand outside: real clients on
//! one side, real services on the other. It knows the binary's command line and its doors, and none of its crates
//! but the demo's people.

pub mod browser;
pub mod cli;
pub mod client;
pub mod ledger;
pub mod night;
pub mod seed;

use countersign_demo::person::Person;
use serde_json::Value;
use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long the gateway may take until it is ready, with a debug build on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(2);
/// How long an approval may take until it is where it should be.
const COMES_WITHIN: Duration = Duration::from_mins(3);
/// Ports to try when somebody else takes the chosen one first.
const TRIES: usize = 5;

/// Puts a copy of a file where other tests read theirs at the same time: none of them sees half of one.
pub fn put(file: &Path, place: &Path) -> io::Result<()> {
    let beside = place.with_extension(format!("{}.new", std::process::id()));
    fs::copy(file, &beside)?;
    fs::rename(beside, place)
}

/// What a test puts in front of its target.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// `policy/policy.cedar`.
    pub policy: &'a str,
    /// Every group, as a TOML list.
    pub groups: &'a str,
    /// The targets and whatever else belongs into `countersign.toml`, in TOML. `WIRE` stands for the port of
    /// [`Gateway::url`], `SECOND` for that of [`Gateway::second_port`].
    pub sections: &'a str,
    /// More files beside the configuration: name and text.
    pub files: &'a [(&'a str, &'a str)],
}

/// Why a gateway does not run, or a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum E2eError {
    #[error("`{0}` is not there\n\nhint: cargo build -p countersign")]
    NotBuilt(PathBuf),
    #[error("the gateway's folder cannot be written, or a program not started")]
    Io(#[from] io::Error),
    #[error("the gateway did not become ready; it says:\n{0}")]
    NotReady(String),
    #[error("no approval is {state}; the gateway says:\n{log}")]
    NeverCame { state: String, log: String },
    #[error("`{command}` failed:\n{said}")]
    Command { command: String, said: String },
    #[error("the demo's people or cloud cannot go on")]
    Demo(#[from] countersign_demo::DemoError),
    #[error("the export cannot be read: {0}")]
    Export(String),
    #[error("the browser: {0}")]
    Browser(String),
    #[error("the browser did not do as it was told")]
    WebDriver(#[from] Box<fantoccini::error::CmdError>),
}

impl From<fantoccini::error::CmdError> for E2eError {
    fn from(error: fantoccini::error::CmdError) -> Self {
        Self::WebDriver(Box::new(error))
    }
}

/// Variables of the gateway's environment: name and value.
pub type Environment<'a> = &'a [(&'a str, &'a str)];

/// Where a gateway listens.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub console: u16,
    pub wire: u16,
    pub second: u16,
}

impl Ports {
    fn free() -> io::Result<Self> {
        use countersign_testkit::ports::free;
        Ok(Self { console: free()?, wire: free()?, second: free()? })
    }
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    folder: TempDir,
    binary: PathBuf,
    environment: Vec<(String, String)>,
    /// Where agents send their requests.
    pub url: String,
    /// Where people decide.
    pub console_url: String,
    /// For what listens beside that.
    pub second_port: u16,
}

impl Gateway {
    /// Writes the configuration, starts `countersign serve` and waits until it is ready.
    pub async fn start(setup: &Setup<'_>) -> Result<Self, E2eError> {
        Self::start_in(setup, &[]).await
    }

    /// The same with more in its environment.
    pub async fn start_in(setup: &Setup<'_>, environment: Environment<'_>) -> Result<Self, E2eError> {
        Self::start_written(|folder, ports| write(folder, setup, ports), environment).await
    }

    /// The same with files of the caller's own: `written` gets the folder and the ports, and writes `countersign.toml` and
    /// all that belongs to it.
    pub async fn start_written(
        written: impl Fn(&Path, Ports) -> io::Result<()>,
        environment: Environment<'_>,
    ) -> Result<Self, E2eError> {
        let binary = binary()?;
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut said = String::new();
        for _ in 0..TRIES {
            let folder = TempDir::new()?;
            let ports = Ports::free()?;
            written(folder.path(), ports)?;
            let child = serve(&binary, folder.path(), &environment)?;
            let mut gateway = Self {
                child,
                folder,
                binary: binary.clone(),
                environment: environment.clone(),
                url: format!("http://127.0.0.1:{}", ports.wire),
                console_url: format!("http://localhost:{}", ports.console),
                second_port: ports.second,
            };
            if gateway.is_ready().await {
                return Ok(gateway);
            }
            said = gateway.log();
        }
        Err(E2eError::NotReady(said))
    }

    /// Ends it as a power cut would: SIGKILL, nothing flushed, nobody told.
    pub fn kill(&mut self) -> Result<(), E2eError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again on the same folder and ports, without waiting for it.
    pub fn start_again(&mut self) -> Result<(), E2eError> {
        self.child = serve(&self.binary, self.folder.path(), &self.environment)?;
        Ok(())
    }

    /// Starts it again on the same folder and ports, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<(), E2eError> {
        self.start_again()?;
        if self.is_ready().await { Ok(()) } else { Err(E2eError::NotReady(self.log())) }
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) -> Result<(), E2eError> {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status()?;
        let failed = || E2eError::Command { command: line, said: status.to_string() };
        if status.success() { Ok(()) } else { Err(failed()) }
    }

    /// Asks it to stop and waits for it: its exit status.
    pub fn stop(&mut self) -> Result<Option<i32>, E2eError> {
        self.signal("TERM")?;
        Ok(self.child.wait()?.code())
    }

    /// Where its configuration and data are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process's id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Runs an operator's command, and gives what it prints as JSON.
    pub async fn command(&self, arguments: &[&str]) -> Result<Value, E2eError> {
        let mut command = tokio::process::Command::new(&self.binary);
        command.args(["--config", "countersign.toml", "--output", "json"]).args(arguments);
        let done = command.current_dir(self.folder.path()).stdin(Stdio::null()).output().await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let failed = || E2eError::Command {
            command: arguments.join(" "),
            said: format!("{}{}", text(&done.stdout), text(&done.stderr)),
        };
        if !done.status.success() {
            return Err(failed());
        }
        serde_json::from_slice(&done.stdout).map_err(|_| failed())
    }

    /// Invites a person: the enrolment link.
    pub async fn invite(&self, email: &str, group: &str) -> Result<String, E2eError> {
        let made = self.command(&["person", "invite", email, "--group", group]).await?;
        text(&made, "/link", "person invite")
    }

    /// Makes an agent of a group with a token: the token.
    pub async fn agent(&self, name: &str, owner: &str, group: &str) -> Result<String, E2eError> {
        let made = self.command(&["agent", "create", name, "--owner", owner, "--group", group]).await?;
        let id = text(&made, "/id", "agent create")?;
        let made = self.command(&["agent", "token", "create", &id, "--expires", "1d"]).await?;
        text(&made, "/token", "agent token create")
    }

    /// Invites a person who makes a passkey.
    pub async fn person(&self, email: &str, group: &str) -> Result<Person, E2eError> {
        let mut person = Person::open(&self.console_url, &self.invite(email, group).await?).await?;
        person.register_passkey().await?;
        Ok(person)
    }

    /// The approvals in this state, the newest first.
    pub async fn approvals(&self, state: &str) -> Result<Vec<Value>, E2eError> {
        let arguments = ["approvals", "list", "--status", state, "--limit", "200"];
        let mut list = self.command(&arguments).await?;
        match list.pointer_mut("/items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Err(E2eError::Command { command: arguments.join(" "), said: list.to_string() }),
        }
    }

    /// Waits until an approval is in this state: the newest one's id.
    pub async fn approval(&self, state: &str) -> Result<String, E2eError> {
        let begun = Instant::now();
        while begun.elapsed() < COMES_WITHIN {
            if let Some(newest) = self.approvals(state).await?.first() {
                return text(newest, "/id", "approvals list");
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(E2eError::NeverCame { state: state.into(), log: self.log() })
    }

    /// The most memory the gateway ever had resident, in KiB. The kernel counts it by processor and in batches, so what it
    /// tells may also be a little less than before: subtract saturating.
    pub fn peak_memory_kib(&self) -> Result<u64, E2eError> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| io::Error::other("the kernel does not tell the peak").into())
    }

    /// What the gateway has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn is_ready(&mut self) -> bool {
        let Ok(client) = reqwest::Client::builder().no_proxy().timeout(READY_WITHIN).build() else {
            return false;
        };
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            let asked = client.get(format!("{}/readyz", self.console_url)).send().await;
            if asked.is_ok_and(|answer| answer.status().is_success()) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(binary: &Path, folder: &Path, environment: &[(String, String)]) -> io::Result<Child> {
    let log = OpenOptions::new().append(true).create(true).open(folder.join("log"))?;
    Command::new(binary)
        .args(["--config", "countersign.toml", "serve"])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

/// The binary built beside this test.
pub fn binary() -> Result<PathBuf, E2eError> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).unwrap_or(Path::new("."));
    let binary = folder.join("countersign");
    if binary.exists() { Ok(binary) } else { Err(E2eError::NotBuilt(binary)) }
}

fn write(folder: &Path, setup: &Setup<'_>, ports: Ports) -> io::Result<()> {
    fs::create_dir(folder.join("policy"))?;
    fs::write(folder.join("policy/policy.cedar"), setup.policy)?;
    for (name, text) in setup.files {
        fs::write(folder.join(name), text)?;
    }
    let Setup { groups, sections, .. } = setup;
    let Ports { console, wire, second } = ports;
    let text = format!(
        r#"[gateway]
name = "countersign.test"

[console]
listen = "127.0.0.1:{console}"
url = "http://localhost:{console}"

[policy]
path = "policy"

[people]
groups = {groups}

{sections}
"#
    );
    let text = text.replace("WIRE", &wire.to_string()).replace("SECOND", &second.to_string());
    fs::write(folder.join("countersign.toml"), text)
}

fn text(said: &Value, pointer: &str, command: &str) -> Result<String, E2eError> {
    let found = said.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| E2eError::Command { command: command.into(), said: said.to_string() })
}
