//! Where a target is, and connecting to it. A name is resolved once, and what it resolved to is connected to.

use crate::Fault;
use std::{fmt, net::SocketAddr};
use tokio::net::{TcpStream, lookup_host};
use url::Url;

/// The one place a target's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    /// Host and port as they stand in `Host`.
    pub authority: String,
    pub connect_to: Option<SocketAddr>,
}

impl Origin {
    /// Reads the `upstream` of the target at `place`, and the whole URL beside it: what may stand behind the origin is
    /// the wire's to say. `remedy` tells what to write instead.
    pub fn read(
        place: &str,
        text: &str,
        connect_to: Option<SocketAddr>,
        remedy: &str,
    ) -> Result<(Self, Url), Fault> {
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
        Ok((Self { tls, host: host.trim_matches(['[', ']']).to_owned(), port, authority, connect_to }, url))
    }

    /// A connection to the first of its addresses that takes one; the error is one plain sentence. Not bounded in time.
    pub async fn dial(&self) -> Result<TcpStream, String> {
        let addresses: Vec<_> = match self.connect_to {
            Some(address) => vec![address],
            None => lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(|error| format!("`{}` does not resolve: {error}", self.host))?
                .collect(),
        };
        let mut last = format!("`{}` resolves to no address", self.host);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Without it a small request could wait for an acknowledgement; no reason to fail.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = format!("no connection to `{}`: {error}", self.authority),
            }
        }
        Err(last)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(out, "{scheme}://{}", self.authority)
    }
}
