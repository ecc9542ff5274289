//! An MCP server of the official SDK behind the real binary, and agents with the SDK's client.
//! Long because both sides of every transport are started from here.

use countersign_demo::person::{Person, Strength};
use countersign_e2e::{Gateway, Setup};
use countersign_testkit::postgres::Postgres;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub(crate) const SECRET: &str = "planted-upstream-secret";
const POLICY: &str = include_str!("../../fixtures/mcp.cedar");

/// The tools of a server that asks.
const ASKING: &str = r#"[[mcp.tools]]
name = "confirm"
class = "delete"
sentence = "Empty {table}"
arguments = { table = "text" }

[[mcp.tools]]
name = "ponder"
class = "read"

[[mcp.tools]]
name = "where"
class = "read"

[[mcp.tools]]
name = "pay"
class = "write"
"#;

/// How long anything may take, with a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_mins(3);

pub(crate) struct Stage {
    /// The server, where it is not the gateway that starts it.
    server: Option<Child>,
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
        if let Some(server) = &mut self.server {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "it never came to this: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The lines of a log to which somebody may be adding one.
fn written(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server of this fixture by itself, which writes down what runs.
pub(crate) struct Server {
    child: Child,
    url: String,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) async fn start(fixture: &str) -> Self {
        Self::start_with(fixture, &[]).await
    }

    /// With these arguments behind its own.
    pub(crate) async fn start_with(fixture: &str, arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "").unwrap();
        let port = countersign_testkit::ports::free().unwrap();
        let mut command = python(fixture);
        command.arg(port.to_string()).arg(&log).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let server =
            Self { child: command.spawn().unwrap(), url: format!("http://127.0.0.1:{port}"), folder };
        is_ready(&server.url).await;
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// How often a tool ran.
    pub(crate) fn ran(&self, tool: &str) -> usize {
        self.log().iter().filter(|line| line.get("ran") == Some(&json!(tool))).count()
    }

    /// Everything it wrote down.
    pub(crate) fn log(&self) -> Vec<Value> {
        written(&self.folder.path().join("log"))
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn is_ready(url: &str) {
    let begun = Instant::now();
    while reqwest::get(format!("{url}/ready")).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "the server does not answer");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Starts an agent that takes these steps at this endpoint.
pub(crate) fn agent(url: &str, token: &str, mode: &str, steps: &Value) -> Agent {
    Agent(python("mcp_client.py").args([url, token, mode, &steps.to_string()]).spawn().unwrap())
}

/// Starts an agent whose client has the tasks of 2025-11-25.
pub(crate) fn agent_with_tasks(url: &str, token: &str, steps: &Value) -> Agent {
    let mut command = script_beside("suite", "mcp_tasks.mjs");
    Agent(command.args([url, token, &steps.to_string()]).spawn().unwrap())
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

/// A script of ours, beside the packages that it uses.
pub(crate) fn node(script: &str) -> Command {
    script_beside("node", script)
}

fn script_beside(packages: &str, script: &str) -> Command {
    let beside = sdk().with_file_name(packages).join(script);
    countersign_e2e::put(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(script), &beside)
        .unwrap();
    let mut command = Command::new("node");
    command.arg(beside).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The official conformance suite, on a Node that runs it.
pub(crate) fn suite() -> Command {
    let programs = sdk().with_file_name("suite").join("node_modules/.bin");
    let mut command = Command::new(programs.join("node"));
    command.arg(programs.join("conformance")).stdin(Stdio::null()).env("NO_COLOR", "1");
    command
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(script);
    command.env("PYTHONPATH", sdk()).env("PYTHONDONTWRITEBYTECODE", "1").arg(script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What differs in the configurations.
struct Lines<'l> {
    policy: &'l str,
    target: &'l str,
    behind: &'l str,
    hold_limit: &'l str,
}

/// The target with its tools, and all behind it; `SERVER` stands for where the server is.
fn sections(server: &str, lines: &Lines<'_>) -> String {
    let Lines { target, behind, hold_limit, .. } = lines;
    let text = format!(
        r#"[[mcp]]
name = "shop"
environment = "prod"
listen = "127.0.0.1:WIRE"
hold_limit = "{hold_limit}"
limits = {{ sessions = 300 }}
{target}

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

{behind}
"#
    );
    text.replace("SERVER", server)
}

impl Stage {
    /// With a server that is spoken with as one of the earlier era.
    pub(crate) async fn open(hold_limit: &str) -> Self {
        Self::open_speaking("earlier", hold_limit).await
    }

    /// The same with the era of the server's protocol named, or `auto`.
    pub(crate) async fn open_speaking(protocol: &str, hold_limit: &str) -> Self {
        let credential = "credential = { profile = \"shop-app\", value_from = \"file:secret\" }";
        Self::open_with(&format!("protocol = \"{protocol}\"\n{credential}"), "", hold_limit).await
    }

    /// With a server of the TypeScript SDK, of the era of this name.
    pub(crate) async fn open_typescript(protocol: &str) -> Self {
        let lines = format!("protocol = \"{protocol}\"");
        let lines = Lines { policy: POLICY, target: &lines, behind: "", hold_limit: "50s" };
        Self::open_server(node("mcp_server.mjs"), &lines).await
    }

    /// With a server that has what the conformance suite expects.
    pub(crate) async fn open_suite(protocol: &str, policy: &str, hold_limit: &str) -> Self {
        let lines = format!(
            "protocol = \"{protocol}\"\nunreviewed = \"reviewable\"\n\
             server_requests = {{ elicitation = \"pass\", sampling = \"pass\", roots = \"pass\" }}"
        );
        let lines = Lines { policy, target: &lines, behind: "", hold_limit };
        Self::open_unaccepted(python("conformance_server.py"), &lines).await
    }

    /// The same where nothing that the server asks is passed on.
    pub(crate) async fn open_silent(policy: &str) -> Self {
        let target = "protocol = \"auto\"\nunreviewed = \"reviewable\"";
        let lines = Lines { policy, target, behind: "", hold_limit: "50s" };
        Self::open_unaccepted(python("conformance_server.py"), &lines).await
    }

    /// The same with these lines in the target's section, and these behind everything; `WIRE` stands for the gateway's
    /// port, `SERVER` for where the server is.
    pub(crate) async fn open_with(target: &str, behind: &str, hold_limit: &str) -> Self {
        let lines = Lines { policy: POLICY, target, behind, hold_limit };
        Self::open_server(python("mcp_server.py"), &lines).await
    }

    /// With tools that nobody has looked at, and further lines of the target's section.
    pub(crate) async fn unaccepted(hold_limit: &str, more: &str) -> Self {
        let credential = "credential = { profile = \"shop-app\", value_from = \"file:secret\" }";
        let target = format!("protocol = \"earlier\"\n{credential}\n{more}");
        let lines = Lines { policy: POLICY, target: &target, behind: "", hold_limit };
        Self::open_unaccepted(python("mcp_server.py"), &lines).await
    }

    async fn open_server(server: Command, lines: &Lines<'_>) -> Self {
        let stage = Self::open_unaccepted(server, lines).await;
        stage.accept().await;
        stage
    }

    /// Accepts every tool, and forgets what the server wrote down meanwhile. A server that cannot be asked yet has none.
    async fn accept(&self) {
        for _ in 0..5 {
            if self.gateway.command(&["mcp", "accept", "shop", "--all"]).await.is_ok() {
                break;
            }
        }
        std::fs::write(self.folder.path().join("log"), "").unwrap();
    }

    async fn open_unaccepted(mut server: Command, lines: &Lines<'_>) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "").unwrap();
        let port = countersign_testkit::ports::free().unwrap();
        let server =
            server.arg(port.to_string()).arg(&log).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server_url = format!("http://127.0.0.1:{port}");
        let target = format!("upstream = \"SERVER/mcp\"\n{}", lines.target);
        let lines = Lines { target: &target, ..*lines };
        let stage = Self::before(folder, Some(server.unwrap()), server_url, &lines).await;
        is_ready(&stage.server_url).await;
        stage
    }

    /// With a server whose `run_sql` runs its texts in the database `shop` of this cluster.
    pub(crate) async fn open_sql(cluster: &Postgres) -> Self {
        let psql = cluster.program("psql");
        let at = ["-h", "127.0.0.1", "-p", &cluster.port().to_string(), "-U", "app", "-d", "shop"];
        let command: Vec<String> = std::iter::once(psql.get_program().to_string_lossy().into_owned())
            .chain(at.map(str::to_owned))
            .collect();
        let mut server = python("mcp_server.py");
        server.env("SHOP_PSQL", json!(command).to_string()).env("PGPASSWORD", SECRET);
        let behind = format!(
            r#"[[mcp.tools]]
name = "run_sql"
sql = {{ argument = "query", beside = ["seconds"], target = "orders", database = "shop" }}

[[postgres]]
name = "orders"
environment = "prod"
listen = "127.0.0.1:SECOND"
upstream = "127.0.0.1:{}"
databases = ["shop"]
credential = {{ profile = "app", user = "app", value_from = "file:secret" }}
preflight = {{ user = "reader", value_from = "file:secret", within = "1m" }}
tables = [{{ table = "public.customers", labels = ["pii"] }}]
"#,
            cluster.port()
        );
        let policy = include_str!("../../fixtures/mcp_sql.cedar");
        let lines = Lines { policy, target: "protocol = \"earlier\"", behind: &behind, hold_limit: "50s" };
        Self::open_server(server, &lines).await
    }

    /// With a server whose `http_request` makes requests to the server's own settings.
    pub(crate) async fn open_requests() -> Self {
        let mut server = python("mcp_server.py");
        server.env("SHOP_REQUESTS", "1");
        let behind = r#"[[mcp.tools]]
name = "http_request"
http = { target = "api", url = "url", method = "method", headers = "headers", body = "body", beside = ["timeout"] }

[[http]]
name = "api"
environment = "prod"
listen = "127.0.0.1:SECOND"
upstream = "SERVER"

[[http.operations]]
name = "read-setting"
method = "GET"
path = "/settings/{name}"
class = "read"

[[http.operations]]
name = "update-setting"
method = "PUT"
path = "/settings/{name}"
class = "configure"
sentence = "Set {name} to {value}"
facts = [{ name = "value", pointer = "/value" }]
"#;
        let policy = include_str!("../../fixtures/mcp_requests.cedar");
        let lines = Lines { policy, target: "protocol = \"earlier\"", behind, hold_limit: "50s" };
        Self::open_server(server, &lines).await
    }

    /// With a server of the later era whose `in_region` has arguments that stand in the head of a call as well.
    pub(crate) async fn open_regions() -> Self {
        let mut server = python("mcp_server.py");
        server.env("SHOP_REGIONS", "1");
        let behind = "[[mcp.tools]]\nname = \"in_region\"\nclass = \"read\"\n";
        let lines = Lines { policy: POLICY, target: "protocol = \"auto\"", behind, hold_limit: "50s" };
        Self::open_server(server, &lines).await
    }

    /// With a server that runs lines in a shell, and one tool of it that is given objects of Kubernetes.
    pub(crate) async fn open_texts() -> Self {
        let mut server = python("mcp_server.py");
        server.env("SHOP_TEXTS", "1");
        let behind = r#"[[mcp.tools]]
name = "run_line"
shell = { argument = "line", beside = ["seconds"] }

[[mcp.tools]]
name = "kube"
kubernetes = { object = "manifest", verb = "verb" }
"#;
        let policy = include_str!("../../fixtures/mcp_texts.cedar");
        let lines = Lines { policy, target: "protocol = \"earlier\"", behind, hold_limit: "50s" };
        Self::open_server(server, &lines).await
    }

    /// With a server that asks something of whoever calls it, this policy, and further lines of the target's section.
    pub(crate) async fn open_asking(protocol: &str, policy: &str, more: &str) -> Self {
        let mut server = python("mcp_server.py");
        server.env("SHOP_ASKS", "1");
        Self::open_server_asking(server, protocol, policy, more).await
    }

    /// The same with an endpoint at `/all` beside its own.
    pub(crate) async fn open_asking_together(protocol: &str, policy: &str, more: &str) -> Self {
        let mut server = python("mcp_server.py");
        server.env("SHOP_ASKS", "1");
        let target = format!("protocol = \"{protocol}\"\n{more}");
        let endpoint = "[[mcp_endpoint]]\nname = \"all\"\nlisten = \"127.0.0.1:WIRE\"\npath = \"/all\"\ntargets = [\"shop\"]";
        let behind = format!("{ASKING}\n{endpoint}");
        let lines = Lines { policy, target: &target, behind: &behind, hold_limit: "50s" };
        Self::open_server(server, &lines).await
    }

    /// The same with a server of the TypeScript SDK.
    pub(crate) async fn open_asking_typescript(protocol: &str, policy: &str, more: &str) -> Self {
        let mut server = node("mcp_server.mjs");
        server.env("SHOP_ASKS", "1");
        Self::open_server_asking(server, protocol, policy, more).await
    }

    async fn open_server_asking(server: Command, protocol: &str, policy: &str, more: &str) -> Self {
        let target = format!("protocol = \"{protocol}\"\n{more}");
        let lines = Lines { policy, target: &target, behind: ASKING, hold_limit: "50s" };
        Self::open_server(server, &lines).await
    }

    /// With a server that the gateway starts.
    pub(crate) async fn open_started(hold_limit: &str) -> Self {
        let lines = Lines { policy: POLICY, target: "", behind: "", hold_limit };
        Self::open_started_with(&lines, "").await
    }

    /// With one that asks something of whoever calls it.
    pub(crate) async fn open_started_asking(policy: &str, more: &str) -> Self {
        let lines = Lines { policy, target: more, behind: ASKING, hold_limit: "50s" };
        Self::open_started_with(&lines, "SHOP_ASKS = \"1\", ").await
    }

    async fn open_started_with(lines: &Lines<'_>, environment: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/mcp_server.py");
        let run = format!(
            "[mcp.run]\ncommand = [\"python3\", \"{}\", \"stdio\", \"{}\"]\n\
             environment = {{ {environment}PYTHONPATH = \"{}\", PYTHONDONTWRITEBYTECODE = \"1\" }}\n\
             secrets = {{ SHOP_KEY = \"file:secret\" }}",
            script.display(),
            log.display(),
            sdk().display()
        );
        let target = format!("{}\n{run}", lines.target);
        let lines = Lines { target: &target, ..*lines };
        let stage = Self::before(folder, None, String::new(), &lines).await;
        stage.accept().await;
        stage
    }

    async fn before(folder: TempDir, server: Option<Child>, server_url: String, lines: &Lines<'_>) -> Self {
        let setup = Setup {
            policy: lines.policy,
            groups: r#"["agents", "readers", "sre"]"#,
            sections: &sections(&server_url, lines),
            files: &[("secret", SECRET)],
        };
        let environment =
            [("PLANTED_IN_THE_GATEWAY", "1"), ("GATEWAY_SECRET", "planted-secret-of-the-gateway")];
        let gateway = Gateway::start_in(&setup, &environment).await.unwrap();
        let ana = gateway.person("ana@example.com", "sre").await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        let token = gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
        let rogue = gateway.agent("rogue", "olga@example.com", "agents").await.unwrap();
        let url = format!("{}/mcp", gateway.url);
        Self { server, server_url, folder, gateway, url, token, rogue, ana }
    }

    /// Starts an agent whose client starts a program, with these steps.
    pub(crate) fn desktop(&self, steps: &Value) -> Agent {
        self.desktop_speaking("stdio", steps)
    }

    pub(crate) fn desktop_speaking(&self, mode: &str, steps: &Value) -> Agent {
        let program = countersign_e2e::binary().unwrap();
        let command = json!([program, "mcp", "stdio", self.url]).to_string();
        let mut client = python("mcp_client.py");
        Agent(client.args([&command, &self.token, mode, &steps.to_string()]).spawn().unwrap())
    }

    /// An address of the server's own.
    pub(crate) fn server_url(&self, path: &str) -> String {
        format!("{}{path}", self.server_url)
    }

    /// A path beside the server's log.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a command of the operator's prints.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Value {
        self.gateway.command(arguments).await.unwrap()
    }

    /// Has the server say something else of `delete_rows`.
    pub(crate) async fn change_the_tool(&self) {
        let changed =
            reqwest::Client::new().post(format!("{}/change", self.server_url)).send().await.unwrap();
        assert!(changed.status().is_success());
    }

    /// Starts an agent that takes these steps.
    pub(crate) fn agent(&self, token: &str, mode: &str, steps: &Value) -> Agent {
        agent(&self.url, token, mode, steps)
    }

    /// Starts the agent of the documents, with these arguments behind the address.
    pub(crate) fn example(&self, arguments: &[&str]) -> Child {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/mcp_agent.py");
        let mut command = Command::new("python3");
        command
            .env("PYTHONPATH", sdk())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("COUNTERSIGN_TOKEN", &self.token);
        command.arg(script).arg(&self.url).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The same with the TypeScript SDK's client.
    pub(crate) fn agent_typescript(&self, mode: &str, steps: &Value) -> Agent {
        self.agent_typescript_at(&self.url, mode, steps)
    }

    /// The same at another endpoint.
    pub(crate) fn agent_typescript_at(&self, url: &str, mode: &str, steps: &Value) -> Agent {
        let mut command = node("mcp_client.mjs");
        Agent(command.args([url, &self.token, mode, &steps.to_string()]).spawn().unwrap())
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
        self.gateway.approval(state).await.unwrap()
    }

    /// Waits until so many approvals are withdrawn.
    pub(crate) async fn withdrawn(&self, count: usize) {
        let begun = Instant::now();
        while self.gateway.approvals("withdrawn").await.unwrap().len() != count {
            assert!(begun.elapsed() < PATIENCE, "{}", self.gateway.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn vote(&mut self, id: &str, decision: &str, reason: Option<&str>) {
        let vote = self.ana.vote(id, decision, Strength::Session, reason).await.unwrap();
        assert!(vote.is_success(), "{}", vote.told());
    }

    /// Everything the server wrote down.
    pub(crate) fn log(&self) -> Vec<Value> {
        written(&self.folder.path().join("log"))
    }

    /// How often a tool ran.
    pub(crate) fn ran(&self, tool: &str) -> usize {
        self.log().iter().filter(|line| line.get("ran") == Some(&json!(tool))).count()
    }

    /// Waits until a tool ran.
    pub(crate) async fn runs(&self, tool: &str) {
        until(&format!("`{tool}` runs"), || self.ran(tool) > 0).await;
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
