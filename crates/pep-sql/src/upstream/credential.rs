//! The credential the gateway logs in with: a reference, read when it is used and never shown. Clients never have it.

use crate::{config::CredentialSection, error::LoginError};
use countersign_pep::{Fault, NOT_A_REFERENCE, SecretRef};
use std::{fmt, path::Path};
use zeroize::Zeroizing;

/// A role and where its password is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub(crate) user: String,
    /// The password may be sent as it is.
    pub(crate) cleartext: bool,
    reference: SecretRef,
}

impl Credential {
    /// `place` is the section's own in the configuration.
    pub(crate) fn read(section: &CredentialSection, place: &str, folder: &Path) -> Result<Self, Fault> {
        let reference = SecretRef::read(&section.value_from, folder)
            .map_err(|why| Fault::new(format!("{place}.value_from"), why, NOT_A_REFERENCE))?;
        Ok(Self { user: section.user.clone(), cleartext: section.cleartext, reference })
    }

    /// The password as it is now; a changed file is read again at the next login.
    pub fn password(&self) -> Result<Zeroizing<Vec<u8>>, LoginError> {
        let secret = self.reference.secret()?;
        if secret.contains('\0') {
            return Err(self.reference.error("holds a zero byte, which no password can").into());
        }
        Ok(Zeroizing::new(secret.as_bytes().to_vec()))
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
    use std::fs;

    #[test]
    fn a_secret_is_read_when_it_is_used_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let section = CredentialSection {
            profile: "rw".into(),
            user: "app".into(),
            value_from: "file:secret".into(),
            cleartext: false,
        };
        let credential = Credential::read(&section, "postgres.shop.credential", folder.path()).unwrap();
        assert!(credential.password().unwrap_err().to_string().ends_with("cannot be read"));
        fs::write(folder.path().join("secret"), "correct horse\n").unwrap();
        assert_eq!(credential.password().unwrap().as_slice(), b"correct horse");
        fs::write(folder.path().join("secret"), "battery").unwrap();
        assert_eq!(credential.password().unwrap().as_slice(), b"battery");
        assert!(!format!("{credential:?}").contains("battery"));
        fs::write(folder.path().join("secret"), "a\0b").unwrap();
        assert!(credential.password().unwrap_err().to_string().ends_with("which no password can"));
    }
}
