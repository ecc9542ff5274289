//! Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body` under a secret written `whsec_…`.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_pep::SecretRef;
use zeroize::Zeroizing;

/// Sizes of a secret that the specification allows, in bytes.
const SIZES: std::ops::RangeInclusive<usize> = 24..=64;
/// How far the clock of whoever signed may be off.
const TOLERANCE_S: u64 = 5 * 60;

/// The secret that signs, and the one before it while receivers still check with that.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    pub(crate) present: SecretRef,
    pub(crate) previous: Option<SecretRef>,
}

/// What checks that something comes from a channel: the secrets it signs with, which are not those it is told with.
#[derive(Clone, Debug)]
pub struct Inward(pub(crate) Secrets);

impl Inward {
    /// Whether a delivery was signed with one of the secrets about `now`, in seconds of Unix time.
    pub fn check(
        &self,
        (id, timestamp, signatures): (&str, &str, &str),
        body: &[u8],
        now: u64,
    ) -> Result<(), SignatureError> {
        let mut found = Err(SignatureError::Secret);
        for reference in std::iter::once(&self.0.present).chain(&self.0.previous) {
            let checked = match reference.secret() {
                Ok(secret) => verify(&secret, (id, timestamp, signatures), body, now),
                Err(error) => {
                    tracing::error!(secret = %reference, %error, "an inward secret cannot be read");
                    Err(SignatureError::Secret)
                }
            };
            found = match (found, checked) {
                (_, Ok(())) => return Ok(()),
                // What went wrong with a secret that is there says more than that another is missing.
                (Err(SignatureError::Secret), Err(error)) | (Err(error), Err(SignatureError::Secret)) => {
                    Err(error)
                }
                // A signature that holds and is late says more than one that does not hold.
                (Err(SignatureError::Time), Err(_)) | (_, Err(SignatureError::Time)) => {
                    Err(SignatureError::Time)
                }
                (_, Err(error)) => Err(error),
            };
        }
        found
    }
}

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no signature holds")]
    Wrong,
    #[error("it was signed too long ago, or in the future")]
    Time,
    #[error("the secret is not `whsec_` and 24 to 64 bytes in base64")]
    Secret,
}

impl Secrets {
    /// The value of `webhook-signature`; the error says where a secret is missing, never what it is.
    pub(crate) fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> Result<String, String> {
        let mut signatures = Vec::new();
        for reference in std::iter::once(&self.present).chain(&self.previous) {
            let secret = reference.secret().map_err(|error| error.to_string())?;
            let signature = signed(&secret, id, seconds, body);
            signatures.push(signature.map_err(|error| format!("`{reference}`: {error}"))?);
        }
        Ok(signatures.join(" "))
    }
}

/// One signature, `v1,` and base64.
pub fn signed(secret: &str, id: &str, seconds: u64, body: &[u8]) -> Result<String, SignatureError> {
    let tag = hmac::sign(&key(secret)?, &content(id, seconds, body));
    Ok(format!("v1,{}", STANDARD.encode(tag)))
}

/// Whether one of the signatures holds and was made about `now` (seconds of Unix time).
pub fn verify(
    secret: &str,
    (id, timestamp, signatures): (&str, &str, &str),
    body: &[u8],
    now: u64,
) -> Result<(), SignatureError> {
    let seconds: u64 = timestamp.parse().map_err(|_| SignatureError::Time)?;
    let key = key(secret)?;
    let content = content(id, seconds, body);
    let holds = |signature: &str| {
        let tag = signature.strip_prefix("v1,").and_then(|tag| STANDARD.decode(tag).ok());
        tag.is_some_and(|tag| hmac::verify(&key, &content, &tag).is_ok())
    };
    if !signatures.split(' ').any(holds) {
        return Err(SignatureError::Wrong);
    }
    if now.abs_diff(seconds) > TOLERANCE_S { Err(SignatureError::Time) } else { Ok(()) }
}

fn key(secret: &str) -> Result<hmac::Key, SignatureError> {
    let encoded = secret.strip_prefix("whsec_").ok_or(SignatureError::Secret)?;
    let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignatureError::Secret)?);
    if !SIZES.contains(&bytes.len()) {
        return Err(SignatureError::Secret);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn content(id: &str, seconds: u64, body: &[u8]) -> Vec<u8> {
    [format!("{id}.{seconds}.").as_bytes(), body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification and of its reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const AT: u64 = 1_614_265_330;

    #[test]
    fn the_published_vector_is_reproduced() {
        assert_eq!(signed(SECRET, ID, AT, BODY).as_deref(), Ok(SIGNATURE));
    }

    #[test]
    #[rustfmt::skip]
    fn only_what_was_signed_just_now_with_this_secret_holds() {
        let at = AT.to_string();
        let two = format!("v1,AAAA v1a,x {SIGNATURE}");
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        for (case, secret, id, timestamp, signatures, body, now, want) in [
            ("as signed",        SECRET, ID, &*at, SIGNATURE, BODY, AT, Ok(())),
            ("one of several",   SECRET, ID, &*at, &*two, BODY, AT, Ok(())),
            ("at the tolerance", SECRET, ID, &*at, SIGNATURE, BODY, AT + 300, Ok(())),
            ("late",             SECRET, ID, &*at, SIGNATURE, BODY, AT + 301, Err(SignatureError::Time)),
            ("early",            SECRET, ID, &*at, SIGNATURE, BODY, AT - 301, Err(SignatureError::Time)),
            ("another id",       SECRET, "msg_x", &*at, SIGNATURE, BODY, AT, Err(SignatureError::Wrong)),
            ("another time",     SECRET, ID, "1614265331", SIGNATURE, BODY, AT, Err(SignatureError::Wrong)),
            ("no time",          SECRET, ID, "now", SIGNATURE, BODY, AT, Err(SignatureError::Time)),
            ("another body",     SECRET, ID, &*at, SIGNATURE, b"{}", AT, Err(SignatureError::Wrong)),
            ("another secret",   &*other, ID, &*at, SIGNATURE, BODY, AT, Err(SignatureError::Wrong)),
            ("no signature",     SECRET, ID, &*at, "", BODY, AT, Err(SignatureError::Wrong)),
            ("no secret",        "hunter2", ID, &*at, SIGNATURE, BODY, AT, Err(SignatureError::Secret)),
            ("a short secret",   "whsec_AAAA", ID, &*at, SIGNATURE, BODY, AT, Err(SignatureError::Secret)),
        ] {
            assert_eq!(verify(secret, (id, timestamp, signatures), body, now), want, "{case}");
        }
    }
}
