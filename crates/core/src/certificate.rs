//! A client's certificate, as the TLS handshake of one connection has verified it.

use crate::{Digest, Timestamp};
use std::fmt;

/// What a verified certificate says of whoever holds its key. Who that is here, a configuration's rules say.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whose certificates the listener accepts: the name of an issuer in the configuration.
    pub issuer: String,
    /// Over the certificate's DER bytes.
    pub fingerprint: Digest,
    /// Its one URI name, where that is a SPIFFE id (SPIFFE X.509-SVID, section 2).
    pub spiffe_id: Option<String>,
    /// Its DNS names.
    pub dns: Vec<String>,
    pub common_name: Option<String>,
    pub organization: Option<String>,
    pub organizational_unit: Option<String>,
    /// The whole subject, as RFC 4514 writes it; may be empty.
    pub subject: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Why it cannot say who holds it, though it was verified.
    pub flaw: Option<&'static str>,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ClientCertificate({}, {})", self.issuer, self.fingerprint.hex())
    }
}
