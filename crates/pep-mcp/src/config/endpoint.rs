//! The `[[mcp_endpoint]]` sections: one endpoint with several servers, their tools under their servers' names.

use super::{ALPN, Front, LimitsSection, Resource, ResourceSection, default_message, default_path};
use crate::edge::BETWEEN;
use countersign_core::TargetName;
use countersign_pep::{
    Fault, Size, kept,
    tls::{Acceptor, ListenerTlsSection},
};
use serde::Deserialize;
use std::{collections::BTreeSet, net::SocketAddr, path::Path};

/// One endpoint, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpEndpointSection {
    /// What its clients are told it is.
    pub name: String,
    /// The `[[mcp]]` targets behind it. The name of each begins the names of its tools.
    pub targets: Vec<String>,
    pub listen: SocketAddr,
    #[serde(default = "default_path")]
    pub path: String,
    #[serde(default)]
    pub hosts: BTreeSet<String>,
    #[serde(default)]
    pub origins: BTreeSet<String>,
    pub oauth: Option<ResourceSection>,
    pub listener_tls: Option<ListenerTlsSection>,
    /// The largest message of an agent, beside what the target that it is for takes.
    #[serde(default = "default_message")]
    pub message_limit: Size,
    /// `request_head`, `connections`, `sessions` and `session_idle`; the others are the targets' own.
    #[serde(default)]
    pub limits: LimitsSection,
}

/// An endpoint, checked.
#[derive(Debug)]
pub struct McpEndpoint {
    pub name: TargetName,
    pub targets: Vec<TargetName>,
    pub listen: SocketAddr,
    pub path: String,
    pub hosts: BTreeSet<String>,
    pub(crate) origins: BTreeSet<String>,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) message_limit: usize,
    pub(crate) limits: LimitsSection,
    pub(crate) resource: Option<Resource>,
}

impl McpEndpointSection {
    /// Checks the section against the `[[mcp]]` targets that there are; all its faults at once.
    pub fn check(self, folder: &Path, known: &BTreeSet<TargetName>) -> Result<McpEndpoint, Vec<Fault>> {
        let mut faults = Vec::new();
        let place = format!("mcp_endpoint.{}", self.name);
        let name = TargetName::new(self.name.as_str()).map_err(|error| {
            Fault::new(format!("{place}.name"), error.to_string(), "use letters, digits, `-` and `_`")
        });
        let name = kept(name, &mut faults);
        let targets = self.targets(&place, known, &mut faults);
        let resource =
            kept(self.oauth.as_ref().map(|section| section.check(&place)).transpose(), &mut faults);
        let acceptor = self.listener_tls.as_ref().map(|tls| tls.acceptor(&place, folder, ALPN));
        let acceptor = kept(acceptor.transpose(), &mut faults);
        faults.extend(super::reachable(&place, &self.path, self.listen, self.listener_tls.is_some()));
        let (Some(name), Some(acceptor), Some(resource), true) =
            (name, acceptor, resource, faults.is_empty())
        else {
            return Err(faults);
        };
        Ok(McpEndpoint {
            name,
            targets,
            listen: self.listen,
            path: self.path,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: self.origins,
            acceptor,
            message_limit: self.message_limit.0,
            limits: self.limits,
            resource,
        })
    }

    /// Targets whose names tell their tools apart, whatever these are called.
    fn targets(&self, place: &str, known: &BTreeSet<TargetName>, faults: &mut Vec<Fault>) -> Vec<TargetName> {
        let mut fault = |why: String, remedy: &str| {
            faults.push(Fault::new(format!("{place}.targets"), why, remedy));
        };
        if self.targets.is_empty() {
            fault("no server is behind it".into(), "name the `[[mcp]]` targets whose tools it offers");
        }
        let mut found: Vec<TargetName> = Vec::new();
        for name in &self.targets {
            let Some(target) = known.iter().find(|target| target.as_str() == name) else {
                fault(format!("there is no `[[mcp]]` target `{name}`"), "name one that there is");
                continue;
            };
            if found.contains(target) {
                fault(format!("`{name}` stands there twice"), "keep one of them");
                continue;
            }
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                let why = format!("`{name}` cannot begin a tool's name, since clients do not take it");
                fault(why, "name the target with letters, digits, `-` and `_` alone");
                continue;
            }
            if let Some(other) = found.iter().find(|other| is_ambiguous(other.as_str(), name)) {
                let why = format!("a tool of `{other}` and one of `{name}` could have the same name");
                fault(why, "rename one of the targets: neither may begin with the other and `__`");
                continue;
            }
            found.push(target.clone());
        }
        found
    }
}

/// Whether what begins with one of these names and `__` could begin with the other's.
fn is_ambiguous(one: &str, other: &str) -> bool {
    let (one, other) = (format!("{one}{BETWEEN}"), format!("{other}{BETWEEN}"));
    one.starts_with(&other) || other.starts_with(&one)
}

impl McpEndpoint {
    /// How agents reach it over TLS, where they do.
    pub fn acceptor(&self) -> Option<&Acceptor> {
        self.acceptor.as_ref()
    }

    /// What it demands of who comes.
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(targets: &[&str], known: &[&str]) -> Vec<String> {
        let section = json!({"name": "all", "targets": targets, "listen": "127.0.0.1:0"});
        let section: McpEndpointSection = serde_json::from_value(section).unwrap();
        let known = known.iter().map(|name| TargetName::new(*name).unwrap()).collect();
        section.check(Path::new("."), &known).err().into_iter().flatten().map(|fault| fault.why).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn names_that_do_not_tell_tools_apart_are_refused() {
        for (targets, says) in [
            (&["shop", "files"][..], ""),
            (&["shop", "shop-2"], ""),
            (&[], "no server is behind it"),
            (&["shop", "shop"], "twice"),
            (&["shop", "nowhere"], "there is no"),
            (&["shop", "shop__x"], "could have the same name"),
            (&["shop", "shop_"], "could have the same name"),
            (&["shop", "a/b"], "cannot begin a tool's name"),
        ] {
            let found = faults(targets, &["shop", "files", "shop-2", "shop__x", "shop_", "a/b"]);
            assert_eq!(found.is_empty(), says.is_empty(), "{targets:?}: {found:?}");
            assert!(found.iter().all(|why| why.contains(says)), "{targets:?}: {found:?}");
        }
    }
}
