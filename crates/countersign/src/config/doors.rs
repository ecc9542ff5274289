//! What the targets of a configuration must agree on with each other.

use super::Mistake;
use countersign_core::TargetName;
use countersign_identity::{Issuer, KeySource};
use countersign_pep::tls::Acceptor;
use countersign_pep_http::config::HttpTarget;
use countersign_pep_mcp::config::{McpEndpoint, McpTarget};
use countersign_pep_sql::config::PostgresTarget;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// The targets of each wire, with their numbers in the file.
type Wires<'t> = (
    &'t [(usize, HttpTarget)],
    &'t [(usize, PostgresTarget)],
    &'t [(usize, McpTarget)],
    &'t [(usize, McpEndpoint)],
);

/// What targets must agree on with each other: addresses, whose certificates they take, and who reads whose SQL.
pub(super) fn check(
    console: SocketAddr,
    (http, postgres, mcp, endpoints): Wires<'_>,
    issuers: &[Issuer],
    mistakes: &mut Vec<Mistake>,
) {
    let requests = http.iter().map(|(number, target)| Door {
        number: *number,
        wire: "http",
        section: "http",
        name: &target.classifier.surroundings().target,
        listen: target.listen,
        tls: target.acceptor.as_ref(),
    });
    let databases = postgres.iter().map(|(number, target)| Door {
        number: *number,
        wire: "postgres",
        section: "postgres",
        name: target.name(),
        listen: target.listen,
        tls: target.acceptor.as_ref(),
    });
    let servers = mcp.iter().map(|(number, target)| Door {
        number: *number,
        wire: "mcp",
        section: "mcp",
        name: &target.classifier.surroundings().target,
        listen: target.listen,
        tls: target.acceptor.as_ref(),
    });
    let several = endpoints.iter().map(|(number, endpoint)| Door {
        number: *number,
        wire: "mcp",
        section: "mcp_endpoint",
        name: &endpoint.name,
        listen: endpoint.listen,
        tls: endpoint.acceptor(),
    });
    let doors: Vec<Door<'_>> = requests.chain(databases).chain(servers).chain(several).collect();
    check_listeners(console, &doors, mistakes);
    check_clients(issuers, &doors, mistakes);
    check_texts(mcp, postgres, mistakes);
    check_requests(mcp, http, mistakes);
}

/// A target's way in, whatever it speaks.
struct Door<'t> {
    number: usize,
    wire: &'static str,
    section: &'static str,
    name: &'t TargetName,
    listen: SocketAddr,
    tls: Option<&'t Acceptor>,
}

impl Door<'_> {
    fn tell(&self, key: &str, why: String, hint: &str, mistakes: &mut Vec<Mistake>) {
        let mistake = Mistake::new(format!("{}.{}.{key}", self.section, self.name), why, hint);
        mistakes.push(Mistake { item: Some(self.number), ..mistake });
    }
}

/// Whoever a listener takes certificates of must be an issuer of certificates.
fn check_clients(issuers: &[Issuer], doors: &[Door<'_>], mistakes: &mut Vec<Mistake>) {
    for door in doors {
        let Some(named) = door.tls.and_then(Acceptor::clients) else { continue };
        let known =
            issuers.iter().any(|issuer| issuer.name == named && issuer.keys == KeySource::Certificates);
        if !known {
            let why = format!("there is no issuer of certificates named `{named}`");
            let hint = "name one of `[[issuers]]` that has `certificates = true`";
            door.tell("listener_tls.clients.issuer", why, hint, mistakes);
        }
    }
}

fn check_listeners(console: SocketAddr, doors: &[Door<'_>], mistakes: &mut Vec<Mistake>) {
    let (mut names, mut first) = (BTreeSet::new(), BTreeMap::new());
    for door in doors {
        let listen = door.listen;
        if listen == console && console.port() != 0 {
            let hint = "agents and people never share a listener: choose another port";
            door.tell("listen", format!("`{listen}` is the console's address"), hint, mistakes);
        }
        // A port that the system chooses is shared with nobody.
        let other = if listen.port() == 0 { door } else { *first.entry(listen).or_insert(door) };
        if other.wire != door.wire {
            let why = format!("`{listen}` already listens for `{}`", other.wire);
            door.tell("listen", why, "choose another port", mistakes);
        } else if other.tls.map(Acceptor::section) != door.tls.map(Acceptor::section) {
            // There is one handshake, before anybody says which target is meant.
            let why =
                format!("`{}` listens at `{listen}` as well, and says something else of TLS", other.name);
            let hint = "write the same `listener_tls` for both, or give each a port of its own";
            door.tell("listener_tls", why, hint, mistakes);
        }
        if !names.insert(door.name) {
            let hint = "give each target a name of its own";
            door.tell("name", format!("two targets are named `{}`", door.name), hint, mistakes);
        }
    }
}

/// The texts of tools go to databases that are declared, in the same environment: what is true of one would otherwise not
/// be true of the other.
fn check_texts(
    mcp: &[(usize, McpTarget)],
    postgres: &[(usize, PostgresTarget)],
    mistakes: &mut Vec<Mistake>,
) {
    for (number, server) in mcp {
        let around = server.classifier.surroundings();
        for (tool, sql) in server.sql() {
            let known = postgres.iter().map(|(_, target)| target);
            let target = known.clone().find(|target| target.name().as_str() == sql.target);
            let (key, why, hint) = match target {
                None => (
                    "target",
                    format!("there is no `[[postgres]]` target `{}`", sql.target),
                    "name the target that the tool's SQL goes to, or declare it".to_owned(),
                ),
                Some(target) if !target.databases.contains(&sql.database) => (
                    "database",
                    format!("`{}` offers no database `{}`", sql.target, sql.database),
                    format!("name one of its `databases`: {}", listed(&target.databases)),
                ),
                Some(target) if target.sql.environment != around.environment => (
                    "target",
                    format!(
                        "`{}` is in `{}`, and the server in `{}`",
                        sql.target, target.sql.environment, around.environment
                    ),
                    "put both in one environment".to_owned(),
                ),
                Some(_) => continue,
            };
            let place = format!("mcp.{}.tools.{tool}.sql.{key}", around.target);
            mistakes.push(Mistake { item: Some(*number), ..Mistake::new(place, why, hint) });
        }
    }
}

/// The requests of tools go to targets that are declared, in the same environment.
fn check_requests(mcp: &[(usize, McpTarget)], http: &[(usize, HttpTarget)], mistakes: &mut Vec<Mistake>) {
    for (number, server) in mcp {
        let around = server.classifier.surroundings();
        for (tool, request) in server.requests() {
            let mut known = http.iter().map(|(_, target)| target.classifier.surroundings());
            let target = known.find(|known| known.target.as_str() == request.target);
            let (why, hint) = match target {
                None => (
                    format!("there is no `[[http]]` target `{}`", request.target),
                    "name the target that the tool's requests go to, or declare it",
                ),
                Some(target) if target.environment != around.environment => (
                    format!(
                        "`{}` is in `{}`, and the server in `{}`",
                        request.target, target.environment, around.environment
                    ),
                    "put both in one environment",
                ),
                Some(_) => continue,
            };
            let place = format!("mcp.{}.tools.{tool}.http.target", around.target);
            mistakes.push(Mistake { item: Some(*number), ..Mistake::new(place, why, hint) });
        }
    }
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
