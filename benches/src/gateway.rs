//! The real `countersign serve`, built beside this bench, with a configuration of its own.

use crate::{Result, process, report::built};
use countersign_demo::person::Person;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(30);

/// The owner of the agents, who can never vote for them.
const OWNER: &str = "olga@example.com";

/// What a bench puts in front of its target.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The policy file.
    pub policy: &'a str,
    /// The target's origin.
    pub upstream: &'a str,
    /// The rest of the target's section, in TOML.
    pub target: &'a str,
    /// The section `[limits]`, in TOML.
    pub limits: &'a str,
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    binary: PathBuf,
    folder: TempDir,
    console: u16,
    wire: u16,
}

/// The program that is measured.
pub fn binary() -> Result<PathBuf> {
    let path = built()?.join("countersign");
    let missing =
        || format!("`{}` is not there\n\nhint: cargo build --release -p countersign", path.display());
    if path.exists() { Ok(path) } else { Err(missing().into()) }
}

/// Where the packages are that tests and benches drive.
pub fn drivers() -> Result<PathBuf> {
    let path = built()?.with_file_name("drivers");
    let missing =
        || format!("`{}` is not there\n\nhint: run `.ci/drivers`, as `make bench` does", path.display());
    if path.exists() { Ok(path) } else { Err(missing().into()) }
}

impl Gateway {
    /// Writes the configuration, starts the gateway and waits until it is ready.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        let Setup { policy, upstream, target, limits } = setup;
        Self::before(policy, limits, |_, wire| {
            Ok(format!(
                r#"[[http]]
name = "shop"
environment = "prod"
listen = "127.0.0.1:{wire}"
upstream = "{upstream}"
{target}
"#
            ))
        })
    }

    /// The same in front of a target of any wire: `section` gets the folder and the wire's port, writes there what
    /// it names, and gives the target's section.
    pub fn before(
        policy: &str,
        limits: &str,
        section: impl FnOnce(&Path, u16) -> Result<String>,
    ) -> Result<Self> {
        let (binary, folder) = (binary()?, TempDir::new()?);
        let (console, wire) = (countersign_testkit::ports::free()?, countersign_testkit::ports::free()?);
        let section = section(folder.path(), wire)?;
        write(folder.path(), policy, limits, &section, console)?;
        let child = spawn(&binary, folder.path())?;
        let mut gateway = Self { child, binary, folder, console, wire };
        gateway.until_ready()?;
        Ok(gateway)
    }

    /// Kills the gateway, starts it again over the same data, and says how long it took until it was ready.
    pub fn restart(&mut self) -> Result<Duration> {
        self.child.kill()?;
        self.child.wait()?;
        let begun = Instant::now();
        self.child = spawn(&self.binary, self.folder.path())?;
        self.until_ready()?;
        Ok(begun.elapsed())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder on whose disk the gateway records.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where agents connect to.
    pub fn wire(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.wire))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.wire)
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<f64> {
        process::resident_kib(self.pid())
    }

    /// Processor time so far.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid())
    }

    /// Makes an agent of the group `agents`: its token.
    pub fn agent(&self, name: &str) -> Result<String> {
        let listed = self.command(&["person", "list"])?.to_string();
        if !listed.contains(OWNER) {
            self.command(&["person", "invite", OWNER, "--group", "sre"])?;
        }
        let made = self.command(&["agent", "create", name, "--owner", OWNER, "--group", "agents"])?;
        let made = self.command(&["agent", "token", "create", text(&made, "id")?, "--expires", "1d"])?;
        Ok(text(&made, "token")?.to_owned())
    }

    /// Invites a person of the group `sre`, who signs in.
    pub async fn person(&self, email: &str) -> Result<Person> {
        let made = self.command(&["person", "invite", email, "--group", "sre"])?;
        Ok(Person::open(&self.console_url(), text(&made, "link")?).await?)
    }

    /// How many entries the ledger has.
    pub async fn entries(&self, person: &Person) -> Result<f64> {
        let ledger = person.read("ledger").await?.json();
        Ok(ledger.get("size").and_then(Value::as_f64).ok_or("the ledger has no size")?)
    }

    /// Runs an operator's command, and gives what it prints as JSON.
    pub fn command(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        command.args(["--config", "countersign.toml", "--output", "json"]).args(arguments);
        let done = command.current_dir(self.folder.path()).stdin(Stdio::null()).output()?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            return Err(format!("`countersign {}` failed:\n{said}", arguments.join(" ")).into());
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }

    /// Where people and channels connect to.
    pub fn console(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.console))
    }

    fn console_url(&self) -> String {
        format!("http://localhost:{}", self.console)
    }

    fn until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < READY_WITHIN {
            if self.child.try_wait()?.is_some() {
                break;
            }
            if is_ready(self.console) {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        let said = fs::read_to_string(self.folder.path().join("log"))?;
        Err(format!("the gateway did not become ready; it says:\n{said}").into())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks once, without the time a client library takes for its first request.
fn is_ready(console: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", console)) else { return false };
    let asked = format!("GET /readyz HTTP/1.1\r\nhost: localhost:{console}\r\nconnection: close\r\n\r\n");
    let mut said = String::new();
    stream.write_all(asked.as_bytes()).is_ok()
        && stream.read_to_string(&mut said).is_ok()
        && said.starts_with("HTTP/1.1 200")
}

fn spawn(binary: &Path, folder: &Path) -> Result<Child> {
    let log = File::create(folder.join("log"))?;
    let mut command = Command::new(binary);
    command.args(["--config", "countersign.toml", "serve"]).current_dir(folder);
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn write(folder: &Path, policy: &str, limits: &str, section: &str, console: u16) -> Result<()> {
    fs::create_dir(folder.join("policy"))?;
    fs::write(folder.join("policy/policy.cedar"), policy)?;
    let text = format!(
        r#"[gateway]
name = "countersign.bench"

[console]
listen = "127.0.0.1:{console}"
url = "http://localhost:{console}"

[people]
groups = ["agents", "sre"]

[limits]
{limits}

{section}"#
    );
    Ok(fs::write(folder.join("countersign.toml"), text)?)
}

fn text<'v>(said: &'v Value, member: &str) -> Result<&'v str> {
    let found = said.get(member).and_then(Value::as_str);
    found.ok_or_else(|| format!("there is no `{member}` in {said}").into())
}
