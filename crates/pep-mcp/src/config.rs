//! The `[[mcp]]` sections: what a target says about itself, checked into what the wire runs on.

mod endpoint;
mod oauth;
mod run;
mod tool;

pub use crate::asks::{Passes, ServerRequestsSection};
pub use endpoint::{McpEndpoint, McpEndpointSection};
pub(crate) use oauth::Resource;
pub use oauth::{ClientCredentialsSection, ResourceSection};
pub use run::RunSection;
pub(crate) use tool::is_name as is_tool_name;
pub use tool::{ArgumentType, KubernetesSection, RequestSection, ShellSection, SqlSection, ToolSection};

use crate::{
    classify::{Classifier, Surroundings},
    text,
    tools::Unreviewed,
    upstream::{
        Reach, Way,
        http::{Endpoint, Http, Own},
    },
};
use countersign_core::Class;
use countersign_engine::port::text::TextReader;
use countersign_pep::{
    CredentialSection, Fault, Origin, SecretError, Size, Span, kept, named,
    tls::{Acceptor, ListenerTlsSection, UpstreamTlsSection},
};
use serde::Deserialize;
use std::{collections::BTreeSet, net::SocketAddr, path::Path, sync::Arc, time::Duration};

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
    pub upstream: Option<String>,
    /// Or how to start it: it is then spoken with over its standard input and output.
    pub run: Option<RunSection>,
    /// Which era of the protocol the server speaks.
    #[serde(default)]
    pub protocol: Protocol,
    /// Connect to this address instead of what the upstream's name resolves to.
    pub connect_to: Option<SocketAddr>,
    pub credential: Option<CredentialSection>,
    /// Or where the gateway gets a token of its own for the server.
    pub client_credentials: Option<ClientCredentialsSection>,
    /// What agents' clients are told of where they get tokens.
    pub oauth: Option<ResourceSection>,
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
    /// What of that which the server asks of agents is passed on to them.
    #[serde(default)]
    pub server_requests: ServerRequestsSection,
    /// What becomes of a tool whose description nobody has accepted.
    #[serde(default)]
    pub unreviewed: Unreviewed,
    /// What its tools do. A tool that is not named is of class `unknown`.
    #[serde(default)]
    pub tools: Vec<ToolSection>,
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

/// Which era of the protocol a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// It is asked, once. One that is started here is taken for one of the earlier era.
    #[default]
    Auto,
    /// Up to 2025-11-25.
    Earlier,
    /// 2026-07-28.
    Later,
}

impl Protocol {
    fn later(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::Earlier => Some(false),
            Self::Later => Some(true),
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
    pub acceptor: Option<Acceptor>,
    pub hold_limit: Duration,
    pub message_limit: usize,
    pub limits: LimitsSection,
    pub classifier: Classifier,
    pub unreviewed: Unreviewed,
    pub server_requests: ServerRequestsSection,
    pub(crate) volatile_meta: BTreeSet<String>,
    pub(crate) way: Arc<Way>,
    pub(crate) resource: Option<Resource>,
}

impl McpTarget {
    /// What its endpoint demands of who comes.
    pub(crate) fn front(&self) -> Front {
        Front {
            listen: self.listen,
            hosts: self.hosts.clone(),
            origins: self.origins.clone(),
            message_limit: self.message_limit,
            limits: self.limits.clone(),
            resource: self.resource.clone(),
        }
    }

    /// Where its server is, as people read it.
    pub fn upstream(&self) -> String {
        self.way.to_string()
    }

    /// Refuses a target whose credential, or another secret of it, is not there.
    pub fn check_credential(&self) -> Result<(), SecretError> {
        self.way.check_secrets()
    }

    /// The tools whose calls are what their SQL does, each with where that goes.
    pub fn sql(&self) -> impl Iterator<Item = (&str, &SqlSection)> {
        self.classifier.tools().filter_map(|tool| Some((tool.name.as_str(), tool.sql.as_ref()?)))
    }

    /// The tools whose calls are the requests they make, each with where those go.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &RequestSection)> {
        self.classifier.tools().filter_map(|tool| Some((tool.name.as_str(), tool.http.as_ref()?)))
    }

    /// What the texts of its tools can do that are read here, as policy calls that, each with its class.
    pub fn text_operations(&self) -> Vec<(String, Class)> {
        let tools = || self.classifier.tools();
        let shell = tools().any(|tool| tool.shell.is_some()).then(|| text::operations(text::SHELL));
        let objects =
            tools().any(|tool| tool.kubernetes.is_some()).then(|| text::operations(text::KUBERNETES));
        shell.into_iter().flatten().chain(objects.into_iter().flatten()).collect()
    }

    /// The arguments whose text a tool's calls are decided on by, as people read them.
    pub fn decided_by(&self, tool: &str) -> Option<String> {
        Some(self.classifier.texts().of(tool)?.names())
    }

    /// Has the texts of a tool read. Until then it is not called.
    pub fn read_by(&mut self, tool: &str, reader: Arc<dyn TextReader>) {
        self.classifier.read_by(tool, reader);
    }

    pub(crate) fn surroundings(&self) -> &Surroundings {
        self.classifier.surroundings()
    }
}

/// An endpoint as agents find it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) listen: SocketAddr,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) origins: BTreeSet<String>,
    pub(crate) message_limit: usize,
    pub(crate) limits: LimitsSection,
    pub(crate) resource: Option<Resource>,
}

/// What speaks HTTP/1.1, on both sides.
const ALPN: &[&[u8]] = &[b"http/1.1"];

impl McpSection {
    /// Checks the section; all its faults at once. Relative paths start at `folder`.
    pub fn check(self, folder: &Path) -> Result<McpTarget, Vec<Fault>> {
        let mut faults = Vec::new();
        let place = format!("mcp.{}", self.name);
        let names = named(&place, &self.name, &self.environment, &mut faults);
        let reach = self.reach(&place, folder, &mut faults);
        let resource = self.oauth.as_ref().map(|section| section.check(&place));
        let resource = kept(resource.transpose(), &mut faults);
        let acceptor = self.listener_tls.as_ref().map(|tls| tls.acceptor(&place, folder, ALPN));
        let acceptor = kept(acceptor.transpose(), &mut faults);
        faults.extend(reachable(&place, &self.path, self.listen, self.listener_tls.is_some()));
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
        let (Some((target, environment)), Some(reach), Some(acceptor), Some(resource), true) =
            (names, reach, acceptor, resource, faults.is_empty())
        else {
            return Err(faults);
        };
        let way = Way::new(reach, self.limits.idle.0, self.answer_limit.0, self.protocol.later());
        let profile = self.credential.map(|section| section.profile);
        let profile = profile.or(self.client_credentials.map(|section| section.profile));
        let around = Surroundings { target, environment, labels: self.labels };
        Ok(McpTarget {
            listen: self.listen,
            path: self.path,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: self.origins,
            credential_profile: profile.unwrap_or_else(|| "none".into()),
            acceptor,
            hold_limit: self.hold_limit.0,
            message_limit: self.message_limit.0,
            limits: self.limits,
            classifier: Classifier::new(around, tools),
            unreviewed: self.unreviewed,
            server_requests: self.server_requests,
            volatile_meta: self.volatile_meta,
            way: Arc::new(way),
            resource,
        })
    }
}

impl McpSection {
    /// How its server is reached.
    fn reach(&self, place: &str, folder: &Path, faults: &mut Vec<Fault>) -> Option<Reach> {
        match (&self.upstream, &self.run) {
            (Some(upstream), None) => {
                let endpoint = kept(endpoint(place, upstream, self.connect_to), faults);
                let own = kept(self.own(place, upstream, folder), faults);
                let connector = kept(self.upstream_tls.connector(place, folder, ALPN), faults);
                let (endpoint, own, connector) = (endpoint?, own?, connector?);
                let name = self.upstream_tls.server_name.clone();
                let name = name.unwrap_or_else(|| endpoint.origin.host.clone());
                let http = Http::new(endpoint, own, connector, name, self.limits.connect.0);
                Some(Reach::Http(Box::new(http)))
            }
            (None, Some(_))
                if self.credential.is_some()
                    || self.client_credentials.is_some()
                    || self.connect_to.is_some() =>
            {
                let why = "a server that is started here is sent no header and has no address";
                let remedy = "give it its secrets as `run.secrets`";
                faults.push(Fault::new(format!("{place}.run"), why, remedy));
                None
            }
            (None, Some(run)) => {
                kept(run.check(place, &self.name, folder, &self.limits), faults).map(Reach::Process)
            }
            (Some(_), Some(_)) | (None, None) => {
                let why = "a target has either an `upstream` or a `run`";
                faults.push(Fault::new(format!("{place}.upstream"), why, "keep one of them"));
                None
            }
        }
    }

    /// What the gateway shows its server.
    fn own(&self, place: &str, upstream: &str, folder: &Path) -> Result<Own, Fault> {
        match (&self.credential, &self.client_credentials) {
            (None, None) => Ok(Own::Nothing),
            (Some(section), None) => section.check(place, folder).map(Own::Header),
            (None, Some(section)) => {
                section.check(place, upstream, folder).map(|token| Own::Token(Box::new(token)))
            }
            (Some(_), Some(_)) => {
                let why = "the server is sent either a `credential` or the gateway's own token";
                Err(Fault::new(format!("{place}.credential"), why, "keep one of them"))
            }
        }
    }
}

/// What is wrong with where agents are to find an endpoint.
fn reachable(place: &str, path: &str, listen: SocketAddr, tls: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !path.starts_with('/') || path.contains(['?', '#', '%', ' ']) {
        let why = format!("`{path}` is not a plain path");
        faults.push(Fault::new(format!("{place}.path"), why, "write for example `/mcp`"));
    }
    if !listen.ip().is_loopback() && !tls {
        let why = format!("`{listen}` can be reached from elsewhere, and tokens would pass in clear text");
        let remedy = "set `listener_tls`, or listen on 127.0.0.1 behind a TLS proxy";
        faults.push(Fault::new(format!("{place}.listen"), why, remedy));
    }
    faults
}

fn endpoint(place: &str, text: &str, connect_to: Option<SocketAddr>) -> Result<Endpoint, Fault> {
    endpoint_at(place, text, connect_to, "write the server's endpoint, such as `https://files.internal/mcp`")
}

fn endpoint_at(
    place: &str,
    text: &str,
    connect_to: Option<SocketAddr>,
    remedy: &str,
) -> Result<Endpoint, Fault> {
    let (origin, url) = Origin::read(place, text, connect_to, remedy)?;
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    Ok(Endpoint { origin, location: format!("{}{query}", url.path()) })
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

#[cfg(test)]
mod tests;
