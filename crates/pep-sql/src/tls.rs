//! TLS on both sides, from PEM files. Keys are read once, at load, and never shown.

use crate::config::{ListenerTlsSection, UpstreamTlsSection};
use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{path::Path, sync::Arc};

/// What helps against every fault here.
pub(crate) const REMEDY: &str = "name PEM files that can be read: a certificate chain and its private key";

/// What clients that begin with TLS at once must agree on (PostgreSQL 17 and later).
pub(crate) const ALPN: &[u8] = b"postgresql";

/// TLS towards agents.
pub(crate) fn acceptor(section: &ListenerTlsSection, folder: &Path) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&folder.join(&section.certificate))?;
    let key = private_key(&folder.join(&section.key))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| format!("the certificate cannot be used: {error}"))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// TLS towards a database. Its certificate is always verified.
pub(crate) fn connector(section: &UpstreamTlsSection, folder: &Path) -> Result<Arc<ClientConfig>, String> {
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
    let config = match (&section.certificate, &section.key) {
        (Some(certificate), Some(key)) => {
            let (chain, key) = (certificates(&folder.join(certificate))?, private_key(&folder.join(key))?);
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| format!("the client certificate cannot be used: {error}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("a client certificate needs its key, and a key its certificate".into()),
    };
    Ok(Arc::new(config))
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
