//! Certificates of clients: verified in the handshake against authorities that a file holds now, and read once for each
//! connection. Who somebody is by one is not decided here.

use crate::tls::certificates;
use countersign_core::{ClientCertificate, Digest, Timestamp};
use parking_lot::Mutex;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use serde::Deserialize;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// The longest SPIFFE id (SPIFFE-ID, section 2.3).
const LONGEST_ID: usize = 2048;

/// Whose certificates a listener accepts from its clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsSection {
    /// The issuer of the configuration whose rules say which certificate is which agent.
    pub issuer: String,
    /// Its authorities, in PEM. Read again when the file changes.
    pub ca: PathBuf,
}

/// Accepts who has no certificate, and of those who have one only whose chain leads to an authority that the file holds at
/// that moment. A file that cannot be read accepts none.
pub(crate) struct Authorities {
    file: PathBuf,
    provider: Arc<CryptoProvider>,
    read: Mutex<Read>,
}

struct Read {
    /// Of the file, when it was read: its time and its length.
    stamp: Stamp,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

type Stamp = Option<(SystemTime, u64)>;

impl fmt::Debug for Authorities {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Authorities({})", self.file.display())
    }
}

impl Authorities {
    pub(crate) fn new(file: PathBuf, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let stamp = stamp(&file);
        let verifier = Some(verifier(&file, &provider)?);
        Ok(Self { file, provider, read: Mutex::new(Read { stamp, verifier }) })
    }

    fn current(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let mut read = self.read.lock();
        let now = stamp(&self.file);
        if now != read.stamp || read.verifier.is_none() {
            let fresh = verifier(&self.file, &self.provider);
            if let Err(why) = &fresh {
                tracing::error!(file = %self.file.display(), why, "no client's certificate is accepted");
            }
            *read = Read { stamp: now, verifier: fresh.ok() };
        }
        read.verifier.clone().ok_or_else(|| Error::General("the authorities cannot be read".into()))
    }
}

impl ClientCertVerifier for Authorities {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: they change, and a client knows which certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current()?.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn stamp(file: &Path) -> Stamp {
    let found = std::fs::metadata(file).ok()?;
    Some((found.modified().ok()?, found.len()))
}

fn verifier(file: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| format!("the authority cannot be used: {error}"))?;
    }
    let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(|error| format!("the authorities cannot be used: {error}"))
}

/// Reads a certificate that the handshake has verified. `issuer`: whose it is, by the listener.
pub(crate) fn read(issuer: &str, der: &CertificateDer<'_>) -> io::Result<ClientCertificate> {
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "the client's certificate cannot be read");
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
    let names = certificate.subject_alternative_name().map_err(|_| unreadable())?;
    let names = names.as_ref().map_or(&[][..], |names| names.value.general_names.as_slice());
    let (mut uris, mut dns) = (Vec::new(), Vec::new());
    for name in names {
        if let GeneralName::URI(uri) = name {
            uris.push(*uri);
        } else if let GeneralName::DNSName(name) = name {
            dns.push(name.to_ascii_lowercase());
        }
    }
    let spiffe = |uri: &&str| uri.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://"));
    let (spiffe_id, flaw) = match uris.as_slice() {
        [one] if spiffe(one) && is_spiffe_id(one) => (Some((*one).to_owned()), None),
        [one] if spiffe(one) => (None, Some("the certificate's SPIFFE id is not as one must be")),
        several if several.iter().any(spiffe) => {
            (None, Some("the certificate has a SPIFFE id and another URI name"))
        }
        _ => (None, None),
    };
    let flaw = if certificate.is_ca() { Some("the certificate is an authority's") } else { flaw };
    let subject = certificate.subject();
    let time = |seconds: i64| Timestamp(seconds.saturating_mul(1_000_000));
    Ok(ClientCertificate {
        issuer: issuer.to_owned(),
        fingerprint: Digest::of(der),
        spiffe_id,
        dns,
        common_name: only(subject, X509Name::iter_common_name),
        organization: only(subject, X509Name::iter_organization),
        organizational_unit: only(subject, X509Name::iter_organizational_unit),
        subject: subject.to_string(),
        not_before: time(certificate.validity().not_before.timestamp()),
        not_after: time(certificate.validity().not_after.timestamp()),
        flaw,
    })
}

/// An attribute that is there exactly once: of several, one could be meant for others to read.
fn only<'n, 'a: 'n, I>(name: &'n X509Name<'a>, of: impl FnOnce(&'n X509Name<'a>) -> I) -> Option<String>
where
    I: Iterator<Item = &'n AttributeTypeAndValue<'a>>,
{
    let mut values = of(name);
    match (values.next(), values.next()) {
        (Some(one), None) => one.as_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// SPIFFE-ID, sections 2.1 and 2.2: a trust domain, and a path that is written in one way only.
fn is_spiffe_id(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("spiffe://").filter(|_| text.len() <= LONGEST_ID) else {
        return false;
    };
    let Some((domain, path)) = rest.split_once('/') else { return false };
    let of = |text: &str, fits: fn(u8) -> bool| !text.is_empty() && text.bytes().all(fits);
    let in_domain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    let in_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    of(domain, in_domain)
        && path.split('/').all(|segment| of(segment, in_path) && segment != "." && segment != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_is_written_in_one_way() {
        for good in ["spiffe://prod.example.com/ns/ci/sa/deployer", "spiffe://a/b", "spiffe://a_b-1/x.Y_z-9"]
        {
            assert!(is_spiffe_id(good), "{good}");
        }
        let long = format!("spiffe://a/{}", "x".repeat(LONGEST_ID));
        for bad in [
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///x",
            "spiffe://A/x",
            "SPIFFE://a/x",
            "spiffe://a/x/",
            "spiffe://a//x",
            "spiffe://a/./x",
            "spiffe://a/../x",
            "spiffe://a/x%2f",
            "spiffe://a:8/x",
            "spiffe://u@a/x",
            "spiffe://a/x?y",
            "spiffe://a/x#y",
            "https://a/x",
            &long,
        ] {
            assert!(!is_spiffe_id(bad), "{bad}");
        }
    }
}
