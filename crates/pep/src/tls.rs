//! TLS on both sides, from PEM files. Keys are read once, at load, and never shown.

use crate::Fault;
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What helps against every fault here.
const REMEDY: &str = "name PEM files that can be read: a certificate chain and its private key";

/// Certificate chain and key in PEM files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsSection {
    pub certificate: PathBuf,
    pub key: PathBuf,
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
    pub fn acceptor(
        &self,
        place: &str,
        folder: &Path,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, Fault> {
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

fn acceptor(
    section: &ListenerTlsSection,
    folder: &Path,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&folder.join(&section.certificate))?;
    let key = private_key(&folder.join(&section.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| format!("the certificate cannot be used: {error}"))?;
    config.alpn_protocols = owned(protocols);
    Ok(Arc::new(config))
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

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
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
