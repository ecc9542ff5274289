//! Whether a request comes from Slack: HMAC-SHA256 over `v0:timestamp:body` under the app's signing secret, made within
//! five minutes (<https://docs.slack.dev/authentication/verifying-requests-from-slack>).

use crate::door::NotBelieved;
use aws_lc_rs::hmac;
use countersign_pep::SecretRef;

/// How far the time of a request may be off.
const TOLERANCE_S: u64 = 5 * 60;

/// A signing secret, and the one before it while the other side changes over.
#[derive(Clone, Debug)]
pub(crate) struct Signing {
    pub(crate) present: SecretRef,
    pub(crate) previous: Option<SecretRef>,
}

impl Signing {
    /// Whether one of the secrets signed it about `now`, in seconds of Unix time.
    pub(crate) fn check(
        &self,
        (timestamp, signature): (&str, &str),
        body: &[u8],
        now: u64,
    ) -> Result<(), NotBelieved> {
        self.any(|secret| holds(secret, (timestamp, signature), body, now))
    }

    /// Whether one of the secrets passes.
    pub(crate) fn any(&self, passes: impl Fn(&str) -> Result<(), NotBelieved>) -> Result<(), NotBelieved> {
        let mut found = Err(NotBelieved::NoKey);
        for reference in std::iter::once(&self.present).chain(&self.previous) {
            match reference.secret() {
                Ok(secret) => match passes(&secret) {
                    Ok(()) => return Ok(()),
                    Err(why) => found = Err(why),
                },
                Err(error) => tracing::error!(%error, "a signing secret cannot be read"),
            }
        }
        found
    }
}

/// Whether this secret signed it about `now`.
fn holds(
    secret: &str,
    (timestamp, signature): (&str, &str),
    body: &[u8],
    now: u64,
) -> Result<(), NotBelieved> {
    let seconds: u64 = timestamp.parse().map_err(|_| NotBelieved::Time)?;
    let tag = signature.strip_prefix("v0=").and_then(unhex).ok_or(NotBelieved::Wrong)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let content = [b"v0:", timestamp.as_bytes(), b":", body].concat();
    hmac::verify(&key, &content, &tag).map_err(|_| NotBelieved::Wrong)?;
    if seconds.abs_diff(now) > TOLERANCE_S { Err(NotBelieved::Time) } else { Ok(()) }
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of Slack's own documentation.
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    const TIME: &str = "1531420618";
    const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
        channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F\
        hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121\
        .803a0bc887a14d10d2c447fce8b6703c";
    const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

    #[test]
    fn only_what_slack_signed_just_now_holds() {
        let at = 1_531_420_618;
        let check = |secret: &str, time: &str, signature: &str, body: &str, now| {
            holds(secret, (time, signature), body.as_bytes(), now)
        };
        assert_eq!(check(SECRET, TIME, SIGNATURE, BODY, at), Ok(()));
        assert_eq!(check(SECRET, TIME, SIGNATURE, BODY, at + 300), Ok(()));
        assert_eq!(check(SECRET, TIME, SIGNATURE, BODY, at - 300), Ok(()));
        assert_eq!(check(SECRET, TIME, SIGNATURE, BODY, at + 301), Err(NotBelieved::Time));
        assert_eq!(check(SECRET, TIME, SIGNATURE, BODY, at - 301), Err(NotBelieved::Time));
        assert_eq!(check("other", TIME, SIGNATURE, BODY, at), Err(NotBelieved::Wrong));
        assert_eq!(check(SECRET, "1531420619", SIGNATURE, BODY, at), Err(NotBelieved::Wrong));
        assert_eq!(
            check(SECRET, TIME, SIGNATURE, &BODY.replace("foobar", "foobaz"), at),
            Err(NotBelieved::Wrong)
        );
        assert_eq!(check(SECRET, "now", SIGNATURE, BODY, at), Err(NotBelieved::Time));
        for wrong in
            ["", "v0=", "v0=a2", "v0=zz", "v1=a2114d57", SIGNATURE.trim_start_matches("v0="), "v0=a211é"]
        {
            assert_eq!(check(SECRET, TIME, wrong, BODY, at), Err(NotBelieved::Wrong), "{wrong}");
        }
    }
}
