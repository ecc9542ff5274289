//! `countersign mcp`: for clients that start their servers themselves.

use super::super::load;
use crate::{
    config::Config,
    failure::{Failure, chain},
};
use countersign_pep::{NOT_A_REFERENCE, SecretRef};
use countersign_pep_mcp::shim::{self, Gateway, ShimError};
use std::path::Path;
use tokio::io::{BufReader, stdin, stdout};

pub(super) async fn run(
    path: &Path,
    target: String,
    token: &str,
    ca: Option<std::path::PathBuf>,
) -> Result<(), Failure> {
    let token = SecretRef::read(token, Path::new(".")).map_err(|why| {
        // What was written there may be the token itself.
        Failure::usage(format!("`--token`: {why}")).hint(NOT_A_REFERENCE)
    })?;
    let gateway = if target.contains("://") {
        Gateway { url: target, token, ca, connect_to: None }
    } else {
        let config = load(path).map_err(|failure| {
            failure.hint("give the endpoint itself, such as `https://gateway.example.com/mcp`")
        })?;
        Gateway { ca, ..configured(&config, &target, token)? }
    };
    shim::run(gateway, BufReader::new(stdin()), stdout()).await.map_err(|error| match error {
        ShimError::Gateway(fault) => {
            Failure::usage(format!("the gateway cannot be reached: {}", fault.why)).hint(fault.remedy)
        }
        ShimError::Token(error) => {
            Failure::usage(error.to_string()).hint("`countersign agent token create` makes one")
        }
        ShimError::Input(_) => Failure::new(chain(&error)),
    })
}

/// Where a target of this machine's own gateway is.
fn configured(config: &Config, name: &str, token: SecretRef) -> Result<Gateway, Failure> {
    let target = config.mcp.iter().find(|target| target.classifier.surroundings().target.as_str() == name);
    let target = target.map(|target| (target.listen, &target.path, &target.hosts, target.acceptor.is_some()));
    let several = config.mcp_endpoints.iter().find(|endpoint| endpoint.name.as_str() == name);
    let several = several
        .map(|endpoint| (endpoint.listen, &endpoint.path, &endpoint.hosts, endpoint.acceptor().is_some()));
    let (listen, path, hosts, tls) = target.or(several).ok_or_else(|| {
        Failure::usage(format!("there is no MCP target `{name}`"))
            .hint("`countersign target list` shows them")
    })?;
    let host = hosts.first().map(|host| format!("{host}:{}", listen.port()));
    let host = host.unwrap_or_else(|| listen.to_string());
    let scheme = if tls { "https" } else { "http" };
    Ok(Gateway { url: format!("{scheme}://{host}{path}"), token, ca: None, connect_to: Some(listen) })
}
