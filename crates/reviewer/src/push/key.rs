//! The gateway's key for push services (RFC 8292): made at first use, kept in a file beside the ledger's keys, never shown. It
//! says that a message comes from whom the browser subscribed to, and it says nothing about an approval.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_core::Timestamp;
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::json;
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    time::Duration,
};
use zeroize::Zeroizing;

/// How long what it signs is good: at most a day (RFC 8292, section 2), and long enough for clocks that are off.
const GOOD_FOR: Duration = Duration::from_hours(12);
const FILE: &str = "push.key";
/// No key's file is larger.
const LONGEST: usize = 4_096;
/// What is written before it has its name.
const PARTIAL: &str = "push.key.partial";

/// The key, and its public half as browsers take it.
pub struct PushKey {
    pair: EcdsaKeyPair,
    public: String,
}

/// The key is not there, and cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PushKeyError {
    #[error("`{path}` cannot be used")]
    Io {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(
        "`{0}` holds no private key of P-256 in PKCS #8\n\nhint: restore it from a backup; or remove it, and every device has to be added again"
    )]
    NotAKey(String),
    #[error(
        "`{path}` can be read by others (mode {mode:o})\n\nhint: run `chmod 600 {path}`; if others had access to this machine, make another key"
    )]
    LoosePermissions { path: String, mode: u32 },
    #[error("no key can be made")]
    NotMade,
}

impl fmt::Debug for PushKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PushKey({}, redacted)", self.public)
    }
}

impl PushKey {
    /// Reads `push.key` in this folder, or makes it.
    pub fn open(folder: &Path) -> Result<Self, PushKeyError> {
        let path = folder.join(FILE);
        let shown = path.display().to_string();
        let failed = |source| PushKeyError::Io { path: shown.clone(), source };
        match read(&path) {
            Ok((_, mode)) if mode & 0o077 != 0 => Err(PushKeyError::LoosePermissions { path: shown, mode }),
            Ok((text, _)) => Self::parse(text.as_bytes()).ok_or(PushKeyError::NotAKey(shown)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made =
                    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                        .map_err(|_| PushKeyError::NotMade)?;
                keep(folder, made.as_ref()).map_err(failed)?;
                Self::of(made.as_ref()).ok_or(PushKeyError::NotMade)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The point, uncompressed, base64url.
    pub fn public(&self) -> &str {
        &self.public
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(text).ok()?;
        Self::of(key.secret_pkcs8_der())
    }

    fn of(pkcs8: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        Some(Self { pair, public })
    }

    /// What the push service at this origin is shown: `vapid t=…, k=…`.
    pub(crate) fn authorization(
        &self,
        origin: &str,
        contact: Option<&str>,
        now: Timestamp,
    ) -> Option<String> {
        let claims = claims(origin, contact, now);
        let signed = self.pair.sign(&SystemRandom::new(), claims.as_bytes()).ok()?;
        Some(format!("vapid t={claims}.{}, k={}", URL_SAFE_NO_PAD.encode(signed.as_ref()), self.public))
    }
}

/// What is signed: head and claims of the token.
fn claims(origin: &str, contact: Option<&str>, now: Timestamp) -> String {
    let mut claims = json!({"aud": origin, "exp": now.plus(GOOD_FOR).unix_ms() / 1_000});
    if let (Some(contact), Some(claims)) = (contact, claims.as_object_mut()) {
        claims.insert("sub".into(), contact.into());
    }
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", part(r#"{"typ":"JWT","alg":"ES256"}"#), part(&claims.to_string()))
}

/// What stands in the file, and who may read it.
fn read(path: &Path) -> io::Result<(Zeroizing<String>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    // Room enough from the start: a buffer that grows would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    file.take(LONGEST as u64).read_to_string(&mut text)?;
    Ok((text, mode))
}

/// Writes the key for its owner alone: whole, or not under its name.
fn keep(folder: &Path, pkcs8: &[u8]) -> io::Result<()> {
    let encoded = Zeroizing::new(STANDARD.encode(pkcs8));
    let mut text = Zeroizing::new(String::from("-----BEGIN PRIVATE KEY-----\n"));
    for (at, character) in encoded.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    let partial = folder.join(PARTIAL);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&partial, folder.join(FILE))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    /// RFC 8292, section 2.4.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA";
    const KEY: &str =
        "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

    fn holds(token: &str, key: &str) -> bool {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let [key, signature] = [key, signature].map(|text| URL_SAFE_NO_PAD.decode(text).unwrap());
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(signed.as_bytes(), &signature).is_ok()
    }

    #[test]
    fn claims_are_those_of_the_example_in_rfc_8292_and_its_signature_is_read_as_ours() {
        let expires = Timestamp::parse("2016-01-23T04:36:08Z").unwrap();
        let signed =
            claims("https://push.example.net", Some("mailto:push@example.com"), expires.minus(GOOD_FOR));
        assert_eq!(signed, TOKEN.rsplit_once('.').unwrap().0);
        assert!(holds(TOKEN, KEY));
        assert!(!holds(&TOKEN.replace("i3CYb7", "i3CYb8"), KEY));
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone_and_signs() {
        let folder = tempfile::tempdir().unwrap();
        let key = PushKey::open(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = PushKey::open(folder.path()).unwrap();
        assert_eq!(again.public(), key.public());
        let text = fs::read_to_string(&path).unwrap();
        let shown = format!("{again:?}");
        assert!(text.lines().skip(1).take(2).all(|line| !shown.contains(line)), "{shown}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            PushKey::open(folder.path()),
            Err(PushKeyError::LoosePermissions { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        let shown = again.authorization("https://push.example.net", None, Timestamp(0)).unwrap();
        let (token, public) = shown.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(public, key.public());
        assert!(holds(token, public));
        assert!(!token.contains("sub"));

        for broken in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&path, broken).unwrap();
            assert!(matches!(PushKey::open(folder.path()), Err(PushKeyError::NotAKey(_))), "{broken}");
        }
        assert!(matches!(PushKey::open(&folder.path().join("nowhere")), Err(PushKeyError::Io { .. })));
    }
}
