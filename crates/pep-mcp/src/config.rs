//! The `[[mcp]]` sections: what a target says about itself, checked into what the wire runs on.

mod tool;

pub(crate) use tool::is_name as is_tool_name;
pub use tool::{ArgumentType, ToolSection};

use crate::{
    classify::{Classifier, Surroundings},
    upstream::{Credential, Origin, Way},
};
use countersign_pep::{
    Fault, NOT_A_REFERENCE, SecretError, SecretRef, Size, Span, kept, named,
    tls::{ListenerTlsSection, UpstreamTlsSection},
};
use http::HeaderName;
use rustls::ServerConfig;
use serde::Deserialize;
use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use url::Url;

/// One target, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpSection {
    pub name: String,
    pub environment: String,
    /// Where agents reach it.
    pub listen: SocketAddr,
    /// The endpoint's path there.
    #[serde(default = "default_path")]
    pub path: String,
    /// The hosts it answers to, beside this machine's own names: what stands in `Host`, without the port.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// Web origins whose pages may ask, beside its own.
    #[serde(default)]
    pub origins: BTreeSet<String>,
    /// The server's endpoint, such as `https://files.internal/mcp`.
    pub upstream: String,
    /// Connect to this address instead of what the upstream's name resolves to.
    pub connect_to: Option<SocketAddr>,
    pub credential: Option<CredentialSection>,
    pub listener_tls: Option<ListenerTlsSection>,
    #[serde(default)]
    pub upstream_tls: UpstreamTlsSection,
    /// How long a call waits for people before the agent gets a handle instead of a result.
    #[serde(default = "default_hold")]
    pub hold_limit: Span,
    /// The largest message of an agent.
    #[serde(default = "default_message")]
    pub message_limit: Size,
    /// The largest answer of a server, and the largest list of tools.
    #[serde(default = "default_answer")]
    pub answer_limit: Size,
    /// Members of `_meta` that differ from call to call: left out of the digest and not sent on.
    #[serde(default = "default_volatile")]
    pub volatile_meta: BTreeSet<String>,
    #[serde(default)]
    pub labels: BTreeSet<String>,
    #[serde(default)]
    pub limits: LimitsSection,
    /// What its tools do. A tool that is not named is of class `unknown`.
    #[serde(default)]
    pub tools: Vec<ToolSection>,
}

/// What goes upstream in place of whatever the agent presented.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSection {
    /// Its name in policies, approvals and the log.
    pub profile: String,
    /// `env:NAME` or `file:PATH`.
    pub value_from: String,
    #[serde(default = "default_header")]
    pub header: String,
    /// What surrounds the value; `{}` stands for it.
    #[serde(default = "default_format")]
    pub format: String,
}

/// Timeouts and bounds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connecting to the server, TLS included.
    pub connect: Span,
    /// Waiting for the head of its answer, and for each further piece.
    pub idle: Span,
    /// Receiving a request, and resting between requests.
    pub request_head: Span,
    /// Connections at the same time.
    pub connections: usize,
    /// Sessions of one agent at the same time.
    pub sessions: usize,
    /// A session nobody uses for so long ends.
    pub session_idle: Span,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connect: Span(Duration::from_secs(5)),
            idle: Span(Duration::from_mins(5)),
            request_head: Span(Duration::from_secs(30)),
            connections: 10_000,
            sessions: 64,
            session_idle: Span(Duration::from_hours(24)),
        }
    }
}

/// A target, checked.
#[derive(Debug)]
pub struct McpTarget {
    pub listen: SocketAddr,
    pub path: String,
    pub hosts: BTreeSet<String>,
    pub origins: BTreeSet<String>,
    pub credential_profile: String,
    pub acceptor: Option<Arc<ServerConfig>>,
    pub hold_limit: Duration,
    pub message_limit: usize,
    pub limits: LimitsSection,
    pub classifier: Classifier,
    pub(crate) volatile_meta: BTreeSet<String>,
    pub(crate) way: Arc<Way>,
}

impl McpTarget {
    /// Where its server is, as people read it.
    pub fn upstream(&self) -> String {
        self.way.origin().to_string()
    }

    /// Refuses a target whose credential is not there.
    pub fn check_credential(&self) -> Result<(), SecretError> {
        self.way.check_credential()
    }

    pub(crate) fn surroundings(&self) -> &Surroundings {
        self.classifier.surroundings()
    }
}

/// What speaks HTTP/1.1, on both sides.
const ALPN: &[&[u8]] = &[b"http/1.1"];

impl McpSection {
    /// Checks the section; all its faults at once. Relative paths start at `folder`.
    pub fn check(self, folder: &Path) -> Result<McpTarget, Vec<Fault>> {
        let mut faults = Vec::new();
        let place = format!("mcp.{}", self.name);
        let names = named(&place, &self.name, &self.environment, &mut faults);
        let origin = kept(origin(&place, &self.upstream, self.connect_to), &mut faults);
        let credential = self.credential.as_ref().map(|section| credential(&place, section, folder));
        let credential = kept(credential.transpose(), &mut faults);
        let acceptor = self.listener_tls.as_ref().map(|tls| tls.acceptor(&place, folder, ALPN));
        let acceptor = kept(acceptor.transpose(), &mut faults);
        let connector = kept(self.upstream_tls.connector(&place, folder, ALPN), &mut faults);
        if !self.path.starts_with('/') || self.path.contains(['?', '#', '%', ' ']) {
            let why = format!("`{}` is not a plain path", self.path);
            faults.push(Fault::new(format!("{place}.path"), why, "write for example `/mcp`"));
        }
        if !self.listen.ip().is_loopback() && self.listener_tls.is_none() {
            let why = format!(
                "`{}` can be reached from elsewhere, and tokens would pass in clear text",
                self.listen
            );
            let remedy = "set `listener_tls`, or listen on 127.0.0.1 behind a TLS proxy";
            faults.push(Fault::new(format!("{place}.listen"), why, remedy));
        }
        let mut tools = Vec::new();
        for (at, section) in self.tools.iter().enumerate() {
            match section.check(&format!("{place}.tools[{at}]")) {
                Ok(tool) => tools.push(tool),
                Err(more) => faults.extend(more),
            }
        }
        let mut known = BTreeSet::new();
        for tool in self.tools.iter().filter(|tool| !known.insert(tool.name.as_str())) {
            let why = format!("tool `{}` is declared twice", tool.name);
            faults.push(Fault::new(format!("{place}.tools"), why, "keep one of them"));
        }
        let (
            Some((target, environment)),
            Some(origin),
            Some(credential),
            Some(acceptor),
            Some(connector),
            true,
        ) = (names, origin, credential, acceptor, connector, faults.is_empty())
        else {
            return Err(faults);
        };
        let host = origin.host.clone();
        let server_name = self.upstream_tls.server_name.unwrap_or(host);
        let way = Way::new(origin, credential, connector, server_name, &self.limits, self.answer_limit.0);
        let around = Surroundings { target, environment, labels: self.labels };
        Ok(McpTarget {
            listen: self.listen,
            path: self.path,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: self.origins,
            credential_profile: self.credential.map_or_else(|| "none".into(), |section| section.profile),
            acceptor,
            hold_limit: self.hold_limit.0,
            message_limit: self.message_limit.0,
            limits: self.limits,
            classifier: Classifier::new(around, tools),
            volatile_meta: self.volatile_meta,
            way: Arc::new(way),
        })
    }
}

fn origin(place: &str, text: &str, connect_to: Option<SocketAddr>) -> Result<Origin, Fault> {
    let remedy = "write the server's endpoint, such as `https://files.internal/mcp`";
    let refuse = |why: String| Fault::new(format!("{place}.upstream"), why, remedy);
    let url = Url::parse(text).map_err(|error| refuse(format!("`{text}` is not a URL: {error}")))?;
    let tls = match url.scheme() {
        "https" => true,
        "http" => false,
        other => return Err(refuse(format!("`{other}` is not spoken here"))),
    };
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(refuse("the upstream has no user, password or fragment".into()));
    }
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(refuse(format!("`{text}` names no host")));
    };
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let location = format!("{}{query}", url.path());
    Ok(Origin { tls, host: host.trim_matches(['[', ']']).to_owned(), port, authority, location, connect_to })
}

fn credential(place: &str, section: &CredentialSection, folder: &Path) -> Result<Credential, Fault> {
    let place = format!("{place}.credential");
    let reference = SecretRef::read(&section.value_from, folder)
        .map_err(|why| Fault::new(format!("{place}.value_from"), why, NOT_A_REFERENCE))?;
    let header = HeaderName::try_from(section.header.as_str()).map_err(|_| {
        let why = format!("`{}` is not a header name", section.header);
        Fault::new(format!("{place}.header"), why, "write for example `authorization`")
    })?;
    let (before, after) = section.format.split_once("{}").ok_or_else(|| {
        let remedy = "write for example `Bearer {}`";
        Fault::new(format!("{place}.format"), "there is no `{}` for the value", remedy)
    })?;
    Ok(Credential::new(header, reference, before, after))
}

fn default_path() -> String {
    "/mcp".into()
}

fn default_hold() -> Span {
    Span(Duration::from_secs(50))
}

fn default_message() -> Size {
    Size(1 << 20)
}

fn default_answer() -> Size {
    Size(16 << 20)
}

fn default_volatile() -> BTreeSet<String> {
    ["claudecode/toolUseId", "traceparent", "tracestate", "baggage"].map(str::to_owned).into()
}

fn default_header() -> String {
    "authorization".into()
}

fn default_format() -> String {
    "Bearer {}".into()
}

#[cfg(test)]
mod tests;
