//! The `[[http]]` sections of the configuration: as people write them, and checked into what the gateway runs on.
//! Every fault of a section is found in one go. A secret never stands here, only a reference to it.

use crate::{
    classify::{self, Classifier, OperationSpec, Surroundings},
    head::Dropped,
    openapi,
    upstream::pool::{Pool, Way},
};
use countersign_pep::{
    Credential, CredentialSection, Fault, Origin, Size, Span, kept, named,
    tls::{Acceptor, ListenerTlsSection, UpstreamTlsSection},
};
use http::HeaderName;
use rustls::ClientConfig;
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub mod operation;

pub use operation::{FactSection, OperationSection, ResourceSection, VariantSection};

/// What is spoken under TLS, on both sides.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// One `[[http]]` section, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSection {
    pub name: String,
    pub environment: String,
    /// Where agents reach this target, such as `127.0.0.1:7101`. Targets may share one when each names its `hosts`.
    pub listen: SocketAddr,
    /// The `Host` values this target answers to; empty means any.
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    /// The origin requests go to, such as `https://billing.internal:8443`; nothing but scheme, host and port.
    pub upstream: String,
    /// Connect here instead of where the origin's name resolves to.
    pub connect_to: Option<SocketAddr>,
    pub credential: Option<CredentialSection>,
    /// TLS towards agents.
    pub listener_tls: Option<ListenerTlsSection>,
    /// TLS towards the target.
    #[serde(default)]
    pub upstream_tls: UpstreamTlsSection,
    /// How long a response is held before the caller is told to come back.
    #[serde(default = "default_hold")]
    pub hold_limit: Span,
    /// The largest body that is read before deciding.
    #[serde(default = "default_size")]
    pub body_limit: Size,
    /// The largest answer that is kept for a caller who comes back.
    #[serde(default = "default_size")]
    pub keep_limit: Size,
    #[serde(default)]
    pub limits: LimitsSection,
    /// Headers that change with every repetition and do not go upstream.
    pub drop_headers: Option<BTreeSet<String>>,
    /// More headers that never go upstream, such as a target's own impersonation header; `x-team-*` is a prefix.
    #[serde(default)]
    pub strip_headers: BTreeSet<String>,
    #[serde(default)]
    pub labels: BTreeSet<String>,
    #[serde(default)]
    pub operations: Vec<OperationSection>,
    /// An OpenAPI 3.0 or 3.1 document in JSON, whose operations are added to those above.
    pub openapi: Option<PathBuf>,
    #[serde(default)]
    pub upgrades: Upgrades,
}

/// Timeouts and bounds of connections.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connecting to the target, TLS included.
    pub connect: Span,
    /// Waiting for the head of its response.
    pub response_head: Span,
    /// Between two pieces of a body, in either direction.
    pub idle: Span,
    /// Receiving a request's head; also how long a connection may rest between requests.
    pub request_head: Span,
    /// The longest request head.
    pub head_size: Size,
    /// Connections at the same time.
    pub connections: usize,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connect: Span(Duration::from_secs(5)),
            response_head: Span(Duration::from_mins(1)),
            idle: Span(Duration::from_mins(5)),
            request_head: Span(Duration::from_secs(30)),
            head_size: Size(32 << 10),
            connections: 10_000,
        }
    }
}

/// What happens to a request that wants to leave HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upgrades {
    #[default]
    Deny,
    /// It is an action of class `connect`, decided like any other.
    Action,
}

/// A target the gateway can run.
#[derive(Debug)]
pub struct HttpTarget {
    pub listen: SocketAddr,
    pub hosts: BTreeSet<String>,
    pub origin: Origin,
    pub credential_profile: String,
    /// TLS towards agents; `None` speaks plain text.
    pub acceptor: Option<Acceptor>,
    pub hold_limit: Duration,
    pub limits: LimitsSection,
    pub dropped: Dropped,
    pub classifier: Arc<Classifier>,
    pub upgrades: Upgrades,
    pub(crate) way: Arc<Way>,
}

impl HttpSection {
    /// Checks the section; relative paths start at `folder`.
    pub fn check(self, folder: &Path) -> Result<HttpTarget, Vec<Fault>> {
        let place = format!("http.{}", self.name);
        let mut faults = Vec::new();
        let names = named(&place, &self.name, &self.environment, &mut faults);
        let origin = kept(origin(&place, &self.upstream, self.connect_to), &mut faults);
        let credential = self.credential.as_ref().map(|section| section.check(&place, folder));
        let credential = credential.and_then(|checked| kept(checked, &mut faults));
        let specs = self.specs(&place, folder, &mut faults);
        faults.extend(classify::faults(&place, &specs));
        let drops = self.drop_headers.iter().flatten().chain(&self.strip_headers);
        for header in drops.filter(|header| HeaderName::try_from(header.trim_end_matches('*')).is_err()) {
            let why = format!("`{header}` is not a header name");
            faults.push(Fault::new(
                format!("{place}.drop_headers"),
                why,
                "write for example `x-trace-id` or `x-team-*`",
            ));
        }
        let acceptor = self.listener_tls.as_ref();
        let acceptor = acceptor.map(|section| section.acceptor(&place, folder, &PROTOCOLS));
        let acceptor = acceptor.and_then(|made| kept(made, &mut faults));
        let connector = kept(self.upstream_tls.connector(&place, folder, &PROTOCOLS), &mut faults);
        let (Some((name, environment)), Some(origin), Some(connector)) = (names, origin, connector) else {
            return Err(faults);
        };
        let around = Surroundings { target: name, environment, labels: self.labels.clone() };
        match Classifier::new(around, specs) {
            Err(_) | Ok(_) if !faults.is_empty() => Err(faults),
            Err(faults) => Err(faults),
            Ok(classifier) => Ok(self.assemble(origin, credential, classifier, acceptor, connector)),
        }
    }

    fn specs(&self, place: &str, folder: &Path, faults: &mut Vec<Fault>) -> Vec<OperationSpec> {
        let mut specs = Vec::new();
        for (index, section) in self.operations.iter().enumerate() {
            match section.check(&format!("{place}.operations[{index}]")) {
                Ok(spec) => specs.push(spec),
                Err(more) => faults.extend(more),
            }
        }
        if let Some(file) = &self.openapi {
            let place = format!("{place}.openapi");
            let path = folder.join(file);
            let text = std::fs::read(&path).map_err(|error| {
                let why = format!("`{}` cannot be read: {error}", path.display());
                vec![Fault::new(&place, why, "name a readable OpenAPI document in JSON")]
            });
            match text.and_then(|text| openapi::operations(&place, &text)) {
                Ok(found) => {
                    let fresh = found.into_iter().filter(|spec| !is_overridden(&self.operations, spec));
                    specs.extend(fresh.collect::<Vec<_>>());
                }
                Err(more) => faults.extend(more),
            }
        }
        specs
    }

    fn assemble(
        self,
        origin: Origin,
        credential: Option<Credential>,
        classifier: Classifier,
        acceptor: Option<Acceptor>,
        connector: Arc<ClientConfig>,
    ) -> HttpTarget {
        let sent = credential.as_ref().map(Credential::header);
        let dropped = Dropped::new(self.drop_headers.as_ref(), &self.strip_headers, sent);
        let way = Way {
            origin: origin.clone(),
            credential,
            connector,
            server_name: self.upstream_tls.server_name.unwrap_or_else(|| origin.host.clone()),
            limits: self.limits.clone(),
            body_limit: self.body_limit.0,
            keep_limit: self.keep_limit.0,
            pool: Pool::default(),
        };
        HttpTarget {
            listen: self.listen,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origin,
            credential_profile: self.credential.map_or_else(|| "none".into(), |section| section.profile),
            acceptor,
            hold_limit: self.hold_limit.0,
            limits: self.limits,
            dropped,
            classifier: Arc::new(classifier),
            upgrades: self.upgrades,
            way: Arc::new(way),
        }
    }
}

impl HttpTarget {
    /// The largest body that is read before deciding.
    pub fn body_limit(&self) -> usize {
        self.way.body_limit
    }
}

/// An operation written out in the configuration replaces the document's one of the same name.
fn is_overridden(written: &[OperationSection], spec: &OperationSpec) -> bool {
    written.iter().any(|section| section.name == spec.name)
}

fn origin(place: &str, text: &str, connect_to: Option<SocketAddr>) -> Result<Origin, Fault> {
    let remedy = "write scheme, host and port alone, such as `https://billing.internal:8443`";
    let (origin, url) = Origin::read(place, text, connect_to, remedy)?;
    if url.path() == "/" && url.query().is_none() {
        return Ok(origin);
    }
    Err(Fault::new(format!("{place}.upstream"), "the upstream is an origin: no path and no query", remedy))
}

fn default_hold() -> Span {
    Span(Duration::from_secs(55))
}

fn default_size() -> Size {
    Size(1 << 20)
}

#[cfg(test)]
mod tests;
