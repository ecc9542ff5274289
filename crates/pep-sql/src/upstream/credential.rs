//! The credential the gateway logs in with: a reference, read when it is used and never shown. Clients never have it.

use crate::{config::CredentialSection, error::LoginError};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Where a secret is kept.
#[derive(Clone, PartialEq, Eq)]
enum Reference {
    Environment(String),
    File(PathBuf),
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(out, "env:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
        }
    }
}

/// A role and where its password is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub(crate) user: String,
    /// The password may be sent as it is.
    pub(crate) cleartext: bool,
    reference: Reference,
}

impl Credential {
    /// The text is not repeated in what is said of it: somebody may have written the secret itself.
    pub(crate) fn read(section: &CredentialSection, folder: &Path) -> Result<Self, String> {
        let reference = match section.value_from.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Reference::Environment(name.into()),
            Some(("file", file)) if !file.is_empty() => Reference::File(folder.join(file)),
            _ => return Err("this is not a reference to a secret".into()),
        };
        Ok(Self { user: section.user.clone(), cleartext: section.cleartext, reference })
    }

    /// The password as it is now; a changed file is read again at the next login.
    pub fn password(&self) -> Result<Zeroizing<Vec<u8>>, LoginError> {
        let fail = |why| LoginError::Credential { reference: self.reference.to_string(), why };
        let secret = match &self.reference {
            Reference::Environment(name) => std::env::var(name).map_err(|_| fail("is not set"))?,
            Reference::File(path) => fs::read_to_string(path).map_err(|_| fail("cannot be read"))?,
        };
        let secret = Zeroizing::new(secret);
        let bare = secret.trim_end_matches(['\r', '\n']);
        if bare.is_empty() || bare.contains('\0') {
            return Err(fail("holds no password"));
        }
        Ok(Zeroizing::new(bare.as_bytes().to_vec()))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Credential({} from {})", self.user, self.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_when_it_is_used_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let section = CredentialSection {
            profile: "rw".into(),
            user: "app".into(),
            value_from: "file:secret".into(),
            cleartext: false,
        };
        let credential = Credential::read(&section, folder.path()).unwrap();
        assert!(credential.password().unwrap_err().to_string().ends_with("cannot be read"));
        fs::write(folder.path().join("secret"), "correct horse\n").unwrap();
        assert_eq!(credential.password().unwrap().as_slice(), b"correct horse");
        fs::write(folder.path().join("secret"), "battery").unwrap();
        assert_eq!(credential.password().unwrap().as_slice(), b"battery");
        assert!(!format!("{credential:?}").contains("battery"));
        fs::write(folder.path().join("secret"), "\n").unwrap();
        assert!(credential.password().unwrap_err().to_string().ends_with("holds no password"));
    }
}
