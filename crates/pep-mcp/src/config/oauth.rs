//! OAuth on both sides of an `[[mcp]]` section: what agents' clients are told of where tokens come from, and where the
//! gateway's own come from.

use super::{ALPN, endpoint_at};
use crate::upstream::oauth::ClientCredentials;
use countersign_pep::{Fault, NOT_A_REFERENCE, SecretRef, tls::UpstreamTlsSection};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use url::Url;

/// What an agent's client is told (RFC 9728), as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSection {
    /// The target's address as clients know it, such as `https://gateway.example.com/mcp`. Tokens of issuers have to be
    /// for it.
    pub resource: String,
    /// The issuers that clients can get a token from.
    pub authorization_servers: Vec<String>,
    /// What a client should ask for.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// The same, checked.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) uri: String,
    /// Where the metadata is: a path at this listener, and the whole address for clients.
    pub(crate) path: String,
    pub(crate) address: String,
    pub(crate) metadata: Value,
    pub(crate) scopes: String,
}

impl ResourceSection {
    pub(super) fn check(&self, place: &str) -> Result<Resource, Fault> {
        let place = format!("{place}.oauth");
        let remedy = "write the address as clients know it, such as `https://gateway.example.com/mcp`";
        let refuse = |key: &str, text: &str| {
            Fault::new(format!("{place}.{key}"), format!("`{text}` is not such an address"), remedy)
        };
        let url = Url::parse(&self.resource).map_err(|_| refuse("resource", &self.resource))?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if !is_plain || url.host_str().is_none() || !["https", "http"].contains(&url.scheme()) {
            return Err(refuse("resource", &self.resource));
        }
        if self.authorization_servers.is_empty() {
            let why = "no issuer is named that clients could get a token from";
            return Err(Fault::new(format!("{place}.authorization_servers"), why, "name at least one"));
        }
        for server in &self.authorization_servers {
            if !Url::parse(server).is_ok_and(|url| ["https", "http"].contains(&url.scheme())) {
                return Err(refuse("authorization_servers", server));
            }
        }
        if let Some(scope) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            let why = format!("`{scope}` is no scope");
            return Err(Fault::new(format!("{place}.scopes"), why, "use visible characters without quotes"));
        }
        // Between host and path (RFC 9728, section 3.1).
        let own = if url.path() == "/" { "" } else { url.path() };
        let path = format!("/.well-known/oauth-protected-resource{own}");
        let address = format!("{}{path}", url.origin().ascii_serialization());
        let metadata = json!({
            "resource": self.resource, "authorization_servers": self.authorization_servers,
            "bearer_methods_supported": ["header"], "scopes_supported": self.scopes,
        });
        let scopes = self.scopes.join(" ");
        Ok(Resource { uri: self.resource.clone(), path, address, metadata, scopes })
    }
}

fn is_scope(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'\\')
}

/// Where the gateway gets its own token for the server, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentialsSection {
    /// Its name in policies, approvals and the log.
    pub profile: String,
    /// Where tokens are given, such as `https://login.internal/token`.
    pub token_endpoint: String,
    pub client_id: String,
    /// `env:NAME` or `file:PATH`.
    pub client_secret_from: String,
    pub scope: Option<String>,
    /// What the token is for; the `upstream` when not given.
    pub resource: Option<String>,
    /// TLS towards the authorization server.
    #[serde(default)]
    pub tls: UpstreamTlsSection,
}

impl ClientCredentialsSection {
    pub(super) fn check(
        &self,
        place: &str,
        upstream: &str,
        folder: &Path,
    ) -> Result<ClientCredentials, Fault> {
        let place = format!("{place}.client_credentials");
        let secret = SecretRef::read(&self.client_secret_from, folder)
            .map_err(|why| Fault::new(format!("{place}.client_secret_from"), why, NOT_A_REFERENCE))?;
        let remedy = "write the endpoint that gives tokens, such as `https://login.internal/token`";
        let endpoint = endpoint_at(&place, &self.token_endpoint, None, remedy)?;
        let host = &endpoint.origin.host;
        if !endpoint.origin.tls && !["localhost", "127.0.0.1", "::1"].contains(&host.as_str()) {
            let why = "the client's secret would pass in clear text";
            return Err(Fault::new(format!("{place}.token_endpoint"), why, "name it by `https`"));
        }
        Ok(ClientCredentials {
            endpoint,
            connector: self.tls.connector(&place, folder, ALPN)?,
            client_id: self.client_id.clone(),
            secret,
            scope: self.scope.clone(),
            resource: self.resource.clone().unwrap_or_else(|| upstream.to_owned()),
            kept: tokio::sync::Mutex::default(),
        })
    }
}
