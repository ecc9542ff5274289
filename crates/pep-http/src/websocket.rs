//! The one part of a WebSocket handshake that is neither the caller's wish nor the target's answer: the key, made anew for
//! every attempt (RFC 6455 section 4). It takes no part in what an action is, so that a caller who connects again comes
//! to the same approval; the gateway makes its own for the target, and answers the caller's.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) const PROTOCOL: &str = "websocket";
const KEY: HeaderName = header::SEC_WEBSOCKET_KEY;
const ACCEPT: HeaderName = header::SEC_WEBSOCKET_ACCEPT;
/// What a server adds to the key before it hashes both.
const SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Both keys of one attempt.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    caller: String,
    own: String,
}

/// The handshake is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`Sec-WebSocket-Key` is missing, there more than once, or not 16 bytes in base64")]
pub(crate) struct NoKey;

impl Handshake {
    /// Takes the caller's key out of the headers.
    pub(crate) fn take(headers: &mut HeaderMap, own: [u8; 16]) -> Result<Self, NoKey> {
        let mut found = headers.get_all(KEY).iter();
        let single = found.next().filter(|_| found.next().is_none()).and_then(|value| value.to_str().ok());
        let whole = |text: &&str| STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 16);
        let caller = single.filter(whole).ok_or(NoKey)?.to_owned();
        headers.remove(KEY);
        Ok(Self { caller, own: STANDARD.encode(own) })
    }

    /// Puts the gateway's own key into what goes to the target.
    pub(crate) fn ask(&self, headers: &mut HeaderMap) {
        if let Ok(key) = HeaderValue::from_str(&self.own) {
            headers.insert(KEY, key);
        }
    }

    /// Whether the target has answered the gateway's key; if so, its answer is made one to the caller's.
    pub(crate) fn answer(&self, headers: &mut HeaderMap) -> bool {
        let mut found = headers.get_all(ACCEPT).iter();
        let single = found.next().filter(|_| found.next().is_none());
        let answered = single.is_some_and(|value| value.as_bytes() == accept(&self.own).as_bytes());
        if answered && let Ok(value) = HeaderValue::from_str(&accept(&self.caller)) {
            headers.insert(ACCEPT, value);
        }
        answered
    }
}

fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{SALT}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_answered_as_the_specification_says() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn caller_and_target_each_have_a_handshake_of_their_own() {
        let mut asked = headers(&[(KEY, "dGhlIHNhbXBsZSBub25jZQ=="), (header::HOST, "x")]);
        let shake = Handshake::take(&mut asked, [7; 16]).unwrap();
        assert!(!asked.contains_key(KEY));
        shake.ask(&mut asked);
        let own = asked[KEY].to_str().unwrap().to_owned();
        assert_ne!(own, "dGhlIHNhbXBsZSBub25jZQ==");
        let mut answered = headers(&[(ACCEPT, &accept(&own))]);
        assert!(shake.answer(&mut answered));
        assert_eq!(answered[ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for wrong in [headers(&[]), headers(&[(ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")])] {
            assert!(!shake.answer(&mut wrong.clone()), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let twice = {
            let mut twice = headers(&[(KEY, "dGhlIHNhbXBsZSBub25jZQ==")]);
            twice.append(KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
            twice
        };
        for mut bad in [
            headers(&[]),
            headers(&[(KEY, "")]),
            headers(&[(KEY, "c2hvcnQ=")]),
            headers(&[(KEY, "!")]),
            twice,
        ] {
            assert_eq!(Handshake::take(&mut bad, [7; 16]).err(), Some(NoKey), "{bad:?}");
        }
    }
}
