//! Secrets are never written into the configuration, only where they are. They are read when they are used, so that a
//! changed file counts at once, and never shown.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::SystemTime,
};
use zeroize::Zeroizing;

/// What helps whoever wrote no reference.
pub const NOT_A_REFERENCE: &str =
    "write `env:NAME` or `file:PATH`; the secret itself never stands in the configuration";

/// Where a secret is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretRef {
    Environment(String),
    File(PathBuf),
}

/// The secret is not there, or cannot be used. Says where, never what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential `{reference}` {why}")]
pub struct SecretError {
    reference: SecretRef,
    why: &'static str,
}

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
}

impl SecretRef {
    /// Reads `env:NAME` or `file:PATH`; relative paths start at `folder`. The text is not repeated in the error:
    /// somebody may have written the secret itself.
    pub fn read(text: &str, folder: &Path) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.into())),
            Some(("file", file)) if !file.is_empty() => Ok(Self::File(folder.join(file))),
            _ => Err("this is not a reference to a secret"),
        }
    }

    /// The secret as it is now, without the line ends behind it.
    pub fn secret(&self) -> Result<Zeroizing<String>, SecretError> {
        let mut secret = Zeroizing::new(match self {
            Self::Environment(name) => std::env::var(name).map_err(|_| self.error("is not set"))?,
            Self::File(path) => fs::read_to_string(path).map_err(|_| self.error("cannot be read"))?,
        });
        let length = secret.trim_end_matches(['\r', '\n']).len();
        secret.truncate(length);
        if secret.is_empty() { Err(self.error("is empty")) } else { Ok(secret) }
    }

    /// Tells whether what was read is still what is there; `None` where only reading can tell.
    pub fn stamp(&self) -> Result<Option<Stamp>, SecretError> {
        let Self::File(path) = self else { return Ok(None) };
        let meta = fs::metadata(path).map_err(|_| self.error("cannot be read"))?;
        Ok(Some(Stamp { modified: meta.modified().ok(), length: meta.len() }))
    }

    /// Why this secret cannot be used.
    pub fn error(&self, why: &'static str) -> SecretError {
        SecretError { reference: self.clone(), why }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(out, "env:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
        }
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reference_is_taken_and_what_it_was_is_not_repeated() {
        let folder = Path::new("/etc/countersign");
        let file = SecretRef::read("file:token", folder).unwrap();
        assert_eq!(file, SecretRef::File("/etc/countersign/token".into()));
        assert_eq!(SecretRef::read("env:TOKEN", folder).unwrap().to_string(), "env:TOKEN");
        for wrong in ["hunter2", "env:", "file:", "vault:hunter2", ""] {
            assert!(!SecretRef::read(wrong, folder).unwrap_err().contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_as_it_is_now_and_an_absent_one_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let reference = SecretRef::File(path.clone());
        assert!(reference.secret().unwrap_err().to_string().ends_with("token` cannot be read"));
        assert!(reference.stamp().is_err());
        fs::write(&path, "hunter2\r\n\n").unwrap();
        let before = reference.stamp().unwrap();
        assert_eq!(reference.secret().unwrap().as_str(), "hunter2");
        fs::write(&path, "correct horse").unwrap();
        assert_ne!(reference.stamp().unwrap(), before);
        assert_eq!(reference.secret().unwrap().as_str(), "correct horse");
        fs::write(&path, "\n").unwrap();
        assert!(reference.secret().unwrap_err().to_string().ends_with("is empty"));
        let unset = SecretRef::Environment("COUNTERSIGN_TEST_NOT_SET".into());
        assert_eq!(
            unset.secret().unwrap_err().to_string(),
            "the credential `env:COUNTERSIGN_TEST_NOT_SET` is not set"
        );
    }
}
