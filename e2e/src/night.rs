//! The demo's cloud behind a gateway of its own, with two reviewers who have passkeys and one agent. The cloud runs in
//! the test, and so outlives every gateway: it remembers what really happened.

use crate::{
    E2eError, Environment, Gateway, Ports,
    ledger::{self, Entry},
};
use countersign_demo::{Cloud, cloud::OPENAPI, http, person::Person, policy};
use reqwest::{Client, RequestBuilder};
use std::{fs, io, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

/// The cloud's own credential. It must never be seen anywhere but at the cloud.
pub const CREDENTIAL: &str = "planted-upstream-credential-5f1d7c";

/// Everybody in their places.
#[derive(Debug)]
pub struct Night {
    pub cloud: Cloud,
    pub gateway: Gateway,
    pub ana: Person,
    pub ben: Person,
    /// The agent's token.
    pub token: String,
    /// Every one-time link that was handed out.
    pub links: Vec<String>,
}

impl Night {
    /// Starts cloud and gateway, invites Ana and Ben, makes the agent.
    pub async fn open(environment: Environment<'_>) -> Result<Self, E2eError> {
        let cloud = Cloud::start(CREDENTIAL).await?;
        let upstream = cloud.url();
        Self::open_before(cloud, &upstream, environment).await
    }

    /// The same with another upstream than the cloud.
    pub async fn open_before(
        cloud: Cloud,
        upstream: &str,
        environment: Environment<'_>,
    ) -> Result<Self, E2eError> {
        let gateway =
            Gateway::start_written(|folder, ports| write(folder, upstream, ports), environment).await?;
        let mut links = Vec::new();
        for email in ["ana@example.com", "ben@example.com", "olga@example.com"] {
            links.push(invite(&gateway, email).await?);
        }
        let token = gateway.agent("night-ops", "olga@example.com", policy::AGENTS).await?;
        let (ana, ben) = match links.as_slice() {
            [ana, ben, ..] => (enrolled(&gateway, ana).await?, enrolled(&gateway, ben).await?),
            _ => return Err(E2eError::Export("nobody was invited".into())),
        };
        Ok(Self { cloud, gateway, ana, ben, token, links })
    }

    /// A request of the agent to the gateway.
    pub fn ask(&self, client: &Client, method: reqwest::Method, path: &str) -> RequestBuilder {
        client.request(method, format!("{}{path}", self.gateway.url)).bearer_auth(&self.token)
    }
}

/// Exports the whole ledger with every private value: the file's text.
pub async fn export(gateway: &Gateway) -> Result<String, E2eError> {
    gateway.command(&["export", "--disclose", "all", "--file", "all.jsonl"]).await?;
    Ok(fs::read_to_string(gateway.folder().join("all.jsonl"))?)
}

/// The ledger's entries, after the exported file was verified offline with the log's key.
pub async fn verified_entries(gateway: &Gateway) -> Result<Vec<Entry>, E2eError> {
    let key = crate::text(&gateway.command(&["log", "key"]).await?, "/log_key", "log key")?;
    let bundle = export(gateway).await?;
    gateway.command(&["verify", "all.jsonl", "--key", &key]).await?;
    ledger::read(&bundle)
}

/// A client that follows nothing and remembers nothing.
pub fn client() -> Result<Client, E2eError> {
    Ok(http::client(Duration::from_mins(2))?)
}

async fn invite(gateway: &Gateway, email: &str) -> Result<String, E2eError> {
    let groups = ["--group", "sre", "--group", "security", "--group", "privacy"];
    let made = gateway.command(&[&["person", "invite", email][..], &groups].concat()).await?;
    crate::text(&made, "/link", "person invite")
}

async fn enrolled(gateway: &Gateway, link: &str) -> Result<Person, E2eError> {
    let mut person = Person::open(&gateway.console_url, link).await?;
    person.register_passkey().await?;
    Ok(person)
}

/// Writes the demo's configuration and policies.
pub fn write(folder: &Path, upstream: &str, ports: Ports) -> io::Result<()> {
    let Ports { console, wire, .. } = ports;
    fs::create_dir_all(folder.join("policy"))?;
    // There is no MCP server here.
    for (name, text) in policy::FILES.into_iter().filter(|(name, _)| *name != policy::TOOLS_FILE) {
        fs::write(folder.join("policy").join(name), text)?;
    }
    fs::write(folder.join("cloud.json"), OPENAPI)?;
    let mut secret = fs::OpenOptions::new();
    secret.write(true).create(true).truncate(true).mode(0o600);
    io::Write::write_all(&mut secret.open(folder.join("cloud.token"))?, CREDENTIAL.as_bytes())?;
    let text = format!(
        r#"[gateway]
name = "countersign.night"

[console]
listen = "127.0.0.1:{console}"
url = "http://localhost:{console}"

[policy]
path = "policy"
environments = ["prod", "staging"]
labels = ["fedramp", "pii"]

[people]
groups = ["platform-agents", "privacy", "security", "sre"]

[[http]]
name = "cloud"
environment = "prod"
listen = "127.0.0.1:{wire}"
upstream = "{upstream}"
openapi = "cloud.json"
credential = {{ profile = "cloud-admin", value_from = "file:cloud.token", format = "Bearer {{}}" }}
"#
    );
    fs::write(folder.join("countersign.toml"), text)
}
