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
    let listening = http.iter().map(|(number, target)| Listening {
        wire: "http",
        section: "http",
        number: *number,
        name: &target.classifier.surroundings().target,
        listen: target.listen,
    });
    let databases = postgres.iter().map(|(number, target)| Listening {
        wire: "postgres",
        section: "postgres",
        number: *number,
        name: target.name(),
        listen: target.listen,
    });
    let servers = mcp.iter().map(|(number, target)| Listening {
        wire: "mcp",
        section: "mcp",
        number: *number,
        name: &target.classifier.surroundings().target,
        listen: target.listen,
    });
    let several = endpoints.iter().map(|(number, endpoint)| Listening {
        wire: "mcp",
        section: "mcp_endpoint",
        number: *number,
        name: &endpoint.name,
        listen: endpoint.listen,
    });
    check_listeners(console, listening.chain(databases).chain(servers).chain(several), mistakes);
    let clients = http.iter().map(|(number, target)| ("http", *number, target.acceptor.as_ref()));
    let clients = clients
        .chain(postgres.iter().map(|(number, target)| ("postgres", *number, target.acceptor.as_ref())));
    let clients =
        clients.chain(mcp.iter().map(|(number, target)| ("mcp", *number, target.acceptor.as_ref())));
    let joint = endpoints.iter().map(|(number, endpoint)| ("mcp_endpoint", *number, endpoint.acceptor()));
    check_clients(issuers, clients.chain(joint), mistakes);
    check_texts(mcp, postgres, mistakes);
}

/// Whoever a listener takes certificates of must be an issuer of certificates.
fn check_clients<'a>(
    issuers: &[Issuer],
    listeners: impl Iterator<Item = (&'static str, usize, Option<&'a Acceptor>)>,
    mistakes: &mut Vec<Mistake>,
) {
    for (wire, number, acceptor) in listeners {
        let Some(named) = acceptor.and_then(Acceptor::clients) else { continue };
        let known =
            issuers.iter().any(|issuer| issuer.name == named && issuer.keys == KeySource::Certificates);
        if !known {
            let why = format!("there is no issuer of certificates named `{named}`");
            let hint = "name one of `[[issuers]]` that has `certificates = true`";
            let mistake = Mistake::new(format!("{wire}.listener_tls.clients.issuer"), why, hint);
            mistakes.push(Mistake { item: Some(number), ..mistake });
        }
    }
}

/// A target's way in, whatever it speaks.
struct Listening<'t> {
    wire: &'static str,
    section: &'static str,
    number: usize,
    name: &'t TargetName,
    listen: SocketAddr,
}

fn check_listeners<'t>(
    console: SocketAddr,
    targets: impl Iterator<Item = Listening<'t>>,
    mistakes: &mut Vec<Mistake>,
) {
    let (mut names, mut wires) = (BTreeSet::new(), BTreeMap::new());
    for Listening { wire, section, number, name, listen } in targets {
        let mut tell = |key: &str, why: String, hint: &str| {
            let mistake = Mistake::new(format!("{section}.{name}.{key}"), why, hint);
            mistakes.push(Mistake { item: Some(number), ..mistake });
        };
        if listen == console && console.port() != 0 {
            let hint = "agents and people never share a listener: choose another port";
            tell("listen", format!("`{listen}` is the console's address"), hint);
        }
        let spoken = *wires.entry(listen).or_insert(wire);
        if spoken != wire && listen.port() != 0 {
            tell("listen", format!("`{listen}` already listens for `{spoken}`"), "choose another port");
        }
        if !names.insert(name.clone()) {
            let hint = "give each target a name of its own";
            tell("name", format!("two targets are named `{name}`"), hint);
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

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
