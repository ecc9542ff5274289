//! TLS on both sides, from PEM files. Keys are read once, at load, and never shown.

use crate::{
    Fault,
    clients::{self, Authorities, ClientsSection},
};
use countersign_core::ClientCertificate;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, server::NoServerSessionStorage};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde::Deserialize;
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What helps against every fault here.
const REMEDY: &str = "name PEM files that can be read: a certificate chain and its private key";

/// Certificate chain and key in PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsSection {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Clients may come with a certificate in place of a token. `None`: none is asked for.
    pub clients: Option<ClientsSection>,
}

/// TLS towards agents.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    section: Arc<ListenerTlsSection>,
}

impl Acceptor {
    /// Does the handshake. With what a client's certificate says, where it came with one that holds.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Option<Arc<ClientCertificate>>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let certificate = match (self.clients(), leaf) {
            (Some(issuer), Some(leaf)) => Some(Arc::new(clients::read(issuer, leaf)?)),
            _ => None,
        };
        Ok((stream, certificate))
    }

    /// The issuer whose certificates are accepted of clients.
    pub fn clients(&self) -> Option<&str> {
        self.section.clients.as_ref().map(|clients| clients.issuer.as_str())
    }

    /// What it was made of, as written.
    pub fn section(&self) -> &ListenerTlsSection {
        &self.section
    }
}

/// How the target proves itself, and how the gateway proves itself to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamTlsSection {
    /// Trust these authorities (PEM) instead of the public ones.
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The name in its certificate, where it is not the upstream's host.
    pub server_name: Option<String>,
}

impl ListenerTlsSection {
    /// TLS towards agents who speak one of these protocols (RFC 7301).
    pub fn acceptor(&self, place: &str, folder: &Path, protocols: &[&[u8]]) -> Result<Acceptor, Fault> {
        let made = acceptor(self, folder, protocols);
        made.map_err(|why| Fault::new(format!("{place}.listener_tls"), why, REMEDY))
    }
}

impl UpstreamTlsSection {
    /// TLS towards a target, which is offered these protocols. Its certificate is always verified.
    pub fn connector(
        &self,
        place: &str,
        folder: &Path,
        protocols: &[&[u8]],
    ) -> Result<Arc<ClientConfig>, Fault> {
        let made = connector(self, folder, protocols);
        made.map_err(|why| Fault::new(format!("{place}.upstream_tls"), why, REMEDY))
    }
}

fn acceptor(section: &ListenerTlsSection, folder: &Path, protocols: &[&[u8]]) -> Result<Acceptor, String> {
    let chain = certificates(&folder.join(&section.certificate))?;
    let key = private_key(&folder.join(&section.key))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let authorities = section.clients.as_ref();
    let authorities =
        authorities.map(|clients| Authorities::new(folder.join(&clients.ca), Arc::clone(&provider)));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let asks = authorities.is_some();
    let builder = match authorities.transpose()? {
        Some(authorities) => builder.with_client_cert_verifier(Arc::new(authorities)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("the certificate cannot be used: {error}"))?;
    config.alpn_protocols = owned(protocols);
    if asks {
        // A resumed session would bring back a certificate without looking at it again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Acceptor { config: Arc::new(config), section: Arc::new(section.clone()) })
}

fn connector(
    section: &UpstreamTlsSection,
    folder: &Path,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, String> {
    if let Some(name) = &section.server_name {
        ServerName::try_from(name.as_str())
            .map_err(|_| format!("`{name}` is no name a certificate can have"))?;
    }
    let mut roots = RootCertStore::empty();
    match &section.ca {
        Some(file) => {
            for authority in certificates(&folder.join(file))? {
                roots.add(authority).map_err(|error| format!("the authority cannot be used: {error}"))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match (&section.certificate, &section.key) {
        (Some(certificate), Some(key)) => {
            let (chain, key) = (certificates(&folder.join(certificate))?, private_key(&folder.join(key))?);
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| format!("the client certificate cannot be used: {error}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("a client certificate needs its key, and a key its certificate".into()),
    };
    config.alpn_protocols = owned(protocols);
    Ok(Arc::new(config))
}

fn owned(protocols: &[&[u8]]) -> Vec<Vec<u8>> {
    protocols.iter().map(|name| name.to_vec()).collect()
}

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable =
        |error: rustls_pki_types::pem::Error| format!("`{}` cannot be read: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(file).map_err(unreadable)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    if chain.is_empty() { Err(format!("`{}` holds no certificate", file.display())) } else { Ok(chain) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| format!("`{}` cannot be read: {error}", file.display()))
}
