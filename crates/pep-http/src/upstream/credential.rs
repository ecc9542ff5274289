//! The credential that goes upstream: a reference, read when it is used and never shown. Callers never have it.

use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::{fmt, fs, path::PathBuf, time::SystemTime};
use zeroize::Zeroizing;

/// Where a secret is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Reference {
    Environment(String),
    File(PathBuf),
}

impl fmt::Debug for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(out, "env:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
        }
    }
}

/// The secret is not there, or cannot stand in a header. Says where, never what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential `{reference:?}` {why}")]
pub struct CredentialError {
    reference: Reference,
    why: &'static str,
}

/// A header with a secret in it.
pub struct Credential {
    header: HeaderName,
    reference: Reference,
    before: String,
    after: String,
    read: Mutex<Option<Read>>,
}

/// What a file held when it last changed.
struct Read {
    stamp: (Option<SystemTime>, u64),
    value: HeaderValue,
}

impl Credential {
    /// `before` and `after` surround the secret in the header's value.
    pub fn new(header: HeaderName, reference: Reference, before: &str, after: &str) -> Self {
        Self { header, reference, before: before.into(), after: after.into(), read: Mutex::new(None) }
    }

    /// The header it goes into; the caller's own is never sent on.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's value, marked so that it is neither shown nor indexed. A changed file is read again.
    pub fn value(&self) -> Result<HeaderValue, CredentialError> {
        let fail = |why| CredentialError { reference: self.reference.clone(), why };
        match &self.reference {
            Reference::Environment(name) => {
                let secret = std::env::var(name).map_err(|_| fail("is not set"))?;
                self.formatted(&Zeroizing::new(secret)).ok_or_else(|| fail("cannot stand in a header"))
            }
            Reference::File(path) => {
                let meta = fs::metadata(path).map_err(|_| fail("cannot be read"))?;
                let stamp = (meta.modified().ok(), meta.len());
                let mut read = self.read.lock();
                if let Some(known) = read.as_ref().filter(|known| known.stamp == stamp) {
                    return Ok(known.value.clone());
                }
                let secret = Zeroizing::new(fs::read_to_string(path).map_err(|_| fail("cannot be read"))?);
                let value = self.formatted(&secret).ok_or_else(|| fail("cannot stand in a header"))?;
                *read = Some(Read { stamp, value: value.clone() });
                Ok(value)
            }
        }
    }

    fn formatted(&self, secret: &str) -> Option<HeaderValue> {
        let secret = secret.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return None;
        }
        let whole = Zeroizing::new([&*self.before, secret, &*self.after].concat());
        let mut value = HeaderValue::from_str(&whole).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Credential({}: {:?})", self.header, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_its_secret_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hunter2\n").unwrap();
        let header = http::header::AUTHORIZATION;
        let credential = Credential::new(header, Reference::File(path.clone()), "Bearer ", "");
        assert_eq!(credential.value().unwrap(), "Bearer hunter2");
        fs::write(&path, "correct horse").unwrap();
        assert_eq!(credential.value().unwrap(), "Bearer correct horse");
        let value = credential.value().unwrap();
        assert!(!format!("{credential:?} {value:?}").contains("horse"));
        for bad in ["", "\n", "a\u{0}b", "a\nb"] {
            fs::write(&path, format!("{bad}\n\n")).unwrap();
            let error = credential.value().unwrap_err();
            assert!(!error.to_string().contains("a\n"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(credential.value().unwrap_err().to_string().ends_with("cannot be read"));
        let unset = Reference::Environment("COUNTERSIGN_TEST_NOT_SET".into());
        let unset = Credential::new(http::header::AUTHORIZATION, unset, "", "");
        assert!(unset.value().unwrap_err().to_string().ends_with("is not set"));
    }
}
