//! `countersign demo`: the whole product in one process, with a small cloud to act on and a scripted agent.

use crate::{
    cli::{DemoArgs, Output},
    failure::Failure,
    operator::Door,
    output,
    serving::Serving,
    wiring,
};
use async_trait::async_trait;
use countersign_demo::{
    Banner, Cloud, Counter, Doors, Operator, Prepared, Shop, policy, setup, shop, story, tools,
};
use http::Method;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    ops::Range,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Instant,
};

pub(super) async fn run(args: &DemoArgs, output: Output) -> Result<(), Failure> {
    let scratch = tempfile::Builder::new()
        .prefix("countersign-demo-")
        .tempdir()
        .map_err(|error| Failure::of("a temporary folder could not be made", &error))?;
    let folder = args.folder.clone().unwrap_or_else(|| scratch.path().to_owned());
    let ports =
        if args.once { free_ports()? } else { [0, 1, 2, 3].map(|next| args.port.saturating_add(next)) };
    let stage = Stage::open(&folder, ports).await?;
    if args.once { stage.once(output).await } else { stage.watched().await }
}

/// Everything running, everybody invited.
struct Stage {
    serving: Serving,
    door: Door,
    doors: Doors,
    prepared: Prepared,
    config: PathBuf,
    folder: PathBuf,
    began: Instant,
    shop: Option<Shop>,
    _cloud: Cloud,
}

struct OperatorDoor<'a>(&'a Door);

#[async_trait]
impl Operator for OperatorDoor<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value), String> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let answered = self.0.raw(method, path, &body.unwrap_or(Value::Null)).await;
        let (status, bytes) = answered.map_err(|failure| failure.message)?;
        Ok((status.as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }
}

impl Stage {
    async fn open(folder: &Path, [console, gateway, database, tools]: [u16; 4]) -> Result<Self, Failure> {
        let began = Instant::now();
        let credential = credential()?;
        let cloud = Cloud::start(credential.clone()).await.map_err(|error| failed(&error))?;
        let shop = Shop::start(&credential).await.map_err(|error| failed(&error))?;
        let config_path = write_files(folder, &cloud, &credential, console, gateway)?;
        let listen = SocketAddr::from(([127, 0, 0, 1], tools));
        append(&config_path, &tools::section(&cloud.url(), listen))?;
        if let Some(shop) = &shop {
            let listen = SocketAddr::from(([127, 0, 0, 1], database));
            add_shop(folder, &config_path, &shop.section(listen), &credential)?;
        }
        let config = super::load(&config_path)?;
        let socket = config.socket();
        let console_url = config.console_url.clone();
        let serving = Serving::start(wiring::open(config).await?).await?;
        let gateway_url = serving.listeners().first().map(|bound| format!("http://{}", bound.addr));
        let doors = Doors {
            gateway_url: gateway_url.ok_or_else(|| Failure::new("the demo cloud has no listener"))?,
            tools_url: format!("http://{listen}/mcp"),
            console_url: console_url.clone(),
            effects_url: cloud.effects_url(),
        };
        let door = Door::Socket(socket);
        let prepared =
            setup::prepare(&OperatorDoor(&door), &console_url).await.map_err(|error| failed(&error))?;
        let folder = folder.to_owned();
        Ok(Self { serving, door, doors, prepared, config: config_path, folder, began, shop, _cloud: cloud })
    }

    /// Where agents reach the shop's database.
    fn database(&self) -> Option<SocketAddr> {
        let shop = self.serving.listeners().iter().find(|bound| bound.target.as_str() == policy::SHOP);
        shop.map(|bound| bound.addr)
    }

    /// Plays the story without a person, stops, checks the log offline, and reports what was observed.
    async fn once(self, output: Output) -> Result<(), Failure> {
        let counter = self.shop.as_ref().zip(self.database());
        let counter = counter.map(|(shop, addr)| Counter { shop, addr });
        let report = story::run_once(&self.doors, counter, self.prepared).await;
        let path = "/api/v1/ledger/export?from=0&disclose=none";
        let (status, bundle) = self.door.raw(Method::GET, path, &Value::Null).await?;
        let log_key = self.serving.log_key.clone();
        self.serving.stop().await?;
        let file = self.folder.join("export.jsonl");
        fs::write(&file, &bundle).map_err(|error| Failure::of("the export could not be written", &error))?;
        let (verified, verdict) = super::verify::check(&file, &log_key)?;
        let holds = status.is_success() && matches!(verdict, super::verify::Verdict::Holds);
        let ok = report.ok && holds;
        let told = json!({
            "ok": ok, "seconds": self.began.elapsed().as_secs_f64(),
            "steps": report.steps, "database": database(self.shop.as_ref()),
            "verify": verified, "log_key": log_key,
        });
        output::show(output, &told, |_| {
            let rows: Vec<Vec<String>> = report
                .steps
                .iter()
                .map(|step| {
                    let mark = if step.ok { "ok" } else { "NOT OK" };
                    vec![mark.to_owned(), step.step.clone(), step.observed.clone()]
                })
                .collect();
            let log = output::text(&verified, if holds { "/report" } else { "/fault" });
            let table = output::table(&["", "step", "observed"], &rows, "");
            let without = match &self.shop {
                Some(_) => String::new(),
                None => format!(
                    "\n\nno database was played, since no PostgreSQL server is installed; {}",
                    shop::hint()
                ),
            };
            format!("{table}{without}\n\n{log}")
        })?;
        if ok { Ok(()) } else { Err(Failure::not_as_promised("not everything was as promised")) }
    }

    /// Prints what a person needs, plays the agent, and goes on until Ctrl-C.
    async fn watched(self) -> Result<(), Failure> {
        let me =
            std::env::current_exe().map_or_else(|_| "countersign".into(), |path| path.display().to_string());
        let config = self.config.display();
        let verify = [
            format!("{me} export -c {config} --file demo-export.jsonl"),
            format!("{me} verify demo-export.jsonl --key '{}'", self.serving.log_key),
        ];
        let banner = Banner {
            console_url: &self.doors.console_url,
            gateway_url: &self.doors.gateway_url,
            database: self.database(),
            tools_url: &self.doors.tools_url,
            token: &self.prepared.agent.token,
            links: &self.prepared.links,
            verify: &verify,
        };
        output::line(&banner.to_string())?;
        let mut tell = |text: &str| {
            if let Err(failure) = output::line(text) {
                tracing::debug!("{}", failure.message);
            }
        };
        let play = story::play(&self.doors, &self.prepared.agent.token, &mut tell);
        tokio::select! {
            played = play => if let Err(error) = played { output::line(&failed(&error).to_string())? },
            _ = tokio::signal::ctrl_c() => return self.serving.stop().await,
        }
        let _ = tokio::signal::ctrl_c().await;
        self.serving.stop().await
    }
}

fn failed(error: &countersign_demo::DemoError) -> Failure {
    Failure::of("the demo cannot go on", error)
}

/// Writes configuration, policies, the cloud's description and its credential.
fn write_files(
    folder: &Path,
    cloud: &Cloud,
    credential: &str,
    console: u16,
    gateway: u16,
) -> Result<PathBuf, Failure> {
    let io =
        |error: std::io::Error| Failure::of(&format!("`{}` cannot be written", folder.display()), &error);
    if folder.join("countersign.toml").exists() {
        return Err(Failure::usage(format!("`{}` holds a gateway's files already", folder.display()))
            .hint("the demo starts afresh: name an empty folder with `--folder`, or none"));
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join("policy")).map_err(io)?;
    for (name, text) in policy::FILES {
        fs::write(folder.join("policy").join(name), text).map_err(io)?;
    }
    fs::write(folder.join("cloud.json"), countersign_demo::cloud::OPENAPI).map_err(io)?;
    let token = folder.join("cloud.token");
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&token).map_err(io)?;
    file.write_all(credential.as_bytes()).map_err(io)?;
    let list = |words: &[&str]| words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let text = format!(
        r#"# Written by `countersign demo`.
[gateway]
name = "countersign.demo"

[console]
listen = "127.0.0.1:{console}"
url = "http://localhost:{console}"

[policy]
path = "policy"
environments = [{environments}]
labels = [{labels}]

[people]
groups = [{groups}]

[[http]]
name = "{target}"
environment = "{environment}"
listen = "127.0.0.1:{gateway}"
upstream = "{upstream}"
openapi = "cloud.json"
credential = {{ profile = "{profile}", value_from = "file:cloud.token", format = "Bearer {{}}" }}
"#,
        environments = list(&policy::ENVIRONMENTS),
        labels = list(&policy::LABELS),
        groups = list(&policy::GROUPS),
        target = policy::TARGET,
        environment = policy::ENVIRONMENT,
        upstream = cloud.url(),
        profile = policy::CREDENTIAL_PROFILE,
    );
    let path = folder.join("countersign.toml");
    fs::write(&path, text).map_err(io)?;
    Ok(path)
}

/// Adds the shop's database to the configuration.
fn add_shop(folder: &Path, config: &Path, section: &str, password: &str) -> Result<(), Failure> {
    let io =
        |error: std::io::Error| Failure::of(&format!("`{}` cannot be written", folder.display()), &error);
    let secret = folder.join("shop.password");
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&secret).map_err(io)?;
    file.write_all(password.as_bytes()).map_err(io)?;
    append(config, section)
}

/// Adds a target's section to the configuration.
fn append(config: &Path, section: &str) -> Result<(), Failure> {
    let io =
        |error: std::io::Error| Failure::of(&format!("`{}` cannot be written", config.display()), &error);
    let mut file = fs::OpenOptions::new().append(true).open(config).map_err(io)?;
    file.write_all(section.as_bytes()).map_err(io)
}

/// Whether there was a database, and what is missing otherwise.
fn database(shop: Option<&Shop>) -> Value {
    match shop {
        Some(_) => json!({ "played": true }),
        None => json!({ "played": false, "why": "no PostgreSQL server is installed", "hint": shop::hint() }),
    }
}

/// The cloud's own credential, and the database's, which the agent never has.
fn credential() -> Result<String, Failure> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::new("the system gives no randomness"))?;
    Ok(countersign_core::Digest(bytes).hex())
}

/// Four ports in a row that nobody has at the moment, and which the system gives to nobody who lets it choose: a while passes
/// before the demo listens there. Demos that begin together look in different places.
fn free_ports() -> Result<[u16; 4], Failure> {
    const OURS: Range<u16> = 10_000..20_000;
    let places = (OURS.end - OURS.start) / 4;
    let first = u16::try_from(std::process::id() % u32::from(places)).unwrap_or_default();
    for step in 0..places {
        let start = OURS.start + 4 * ((first + step) % places);
        let ports = [0, 1, 2, 3].map(|next| start + next);
        let taken = ports.map(|port| TcpListener::bind(("127.0.0.1", port)));
        if taken.iter().all(Result::is_ok) {
            return Ok(ports);
        }
    }
    Err(Failure::new(format!("no four ports in a row between {} and {} are free", OURS.start, OURS.end)))
}
