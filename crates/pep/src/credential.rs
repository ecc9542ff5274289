//! The credential that goes upstream in a header: a reference, read when it is used and never shown. Callers never have
//! it, and their own goes nowhere.

use crate::{Fault, NOT_A_REFERENCE, SecretError, SecretRef, Stamp};
use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde::Deserialize;
use std::{fmt, path::Path};
use zeroize::Zeroizing;

/// What goes upstream in place of whatever the caller presented, as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSection {
    /// Its name in policies, approvals and the log.
    pub profile: String,
    /// `env:NAME` or `file:PATH`.
    pub value_from: String,
    #[serde(default = "default_header")]
    pub header: String,
    /// What surrounds the value; `{}` stands for it.
    #[serde(default = "default_format")]
    pub format: String,
}

fn default_header() -> String {
    "authorization".into()
}

fn default_format() -> String {
    "Bearer {}".into()
}

impl CredentialSection {
    /// Checks the section of the target at `place`; relative paths start at `folder`. The secret is not read.
    pub fn check(&self, place: &str, folder: &Path) -> Result<Credential, Fault> {
        let place = format!("{place}.credential");
        let reference = SecretRef::read(&self.value_from, folder)
            .map_err(|why| Fault::new(format!("{place}.value_from"), why, NOT_A_REFERENCE))?;
        let header = HeaderName::try_from(self.header.as_str()).map_err(|_| {
            let why = format!("`{}` is not a header name", self.header);
            Fault::new(format!("{place}.header"), why, "write for example `authorization`")
        })?;
        let (before, after) = self.format.split_once("{}").ok_or_else(|| {
            let remedy = "write for example `Bearer {}`";
            Fault::new(format!("{place}.format"), "there is no `{}` for the value", remedy)
        })?;
        Ok(Credential::new(header, reference, before, after))
    }
}

/// The token in an `Authorization` header's value.
pub fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A header with a secret in it.
pub struct Credential {
    header: HeaderName,
    reference: SecretRef,
    before: String,
    after: String,
    read: Mutex<Option<Read>>,
}

/// What a file held when it last changed.
struct Read {
    stamp: Stamp,
    value: HeaderValue,
}

impl Credential {
    /// `before` and `after` surround the secret in the header's value.
    pub fn new(header: HeaderName, reference: SecretRef, before: &str, after: &str) -> Self {
        Self { header, reference, before: before.into(), after: after.into(), read: Mutex::new(None) }
    }

    /// The header it goes into; the caller's own is never sent on.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// The header's value, marked so that it is neither shown nor indexed. A changed file is read again.
    pub fn value(&self) -> Result<HeaderValue, SecretError> {
        let Some(stamp) = self.reference.stamp()? else { return self.formatted() };
        let mut read = self.read.lock();
        if let Some(known) = read.as_ref().filter(|known| known.stamp == stamp) {
            return Ok(known.value.clone());
        }
        let value = self.formatted()?;
        *read = Some(Read { stamp, value: value.clone() });
        Ok(value)
    }

    fn formatted(&self) -> Result<HeaderValue, SecretError> {
        let whole = Zeroizing::new([&*self.before, &*self.reference.secret()?, &*self.after].concat());
        let value = HeaderValue::from_str(&whole);
        let mut value = value.map_err(|_| self.reference.error("cannot stand in a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Credential({}: {})", self.header, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_a_bearer_token_is_a_credential() {
        assert_eq!((bearer("Bearer x"), bearer("bearer x")), (Some("x"), Some("x")));
        for bad in ["Bearer", "Bearer ", "Basic x", "x", ""] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_its_secret_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "hunter2\n").unwrap();
        let header = http::header::AUTHORIZATION;
        let credential = Credential::new(header, SecretRef::File(path.clone()), "Bearer ", "");
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
        let unset = SecretRef::Environment("COUNTERSIGN_TEST_NOT_SET".into());
        let unset = Credential::new(http::header::AUTHORIZATION, unset, "", "");
        assert!(unset.value().unwrap_err().to_string().ends_with("is not set"));
    }
}
