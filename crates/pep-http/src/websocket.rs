//! The one part of a WebSocket handshake that is neither the caller's wish nor the target's answer: the key, made anew for
//! every attempt (RFC 6455 section 4). It takes no part in what an action is, so that a caller who connects again comes
//! to the same approval; the gateway makes its own for the target, and answers the caller's.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;

pub(crate) const PROTOCOL: &str = "websocket";
pub(crate) const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";
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

    /// The gateway's own key, for the target.
    pub(crate) fn own_key(&self) -> &str {
        &self.own
    }

    /// Whether the target has answered the gateway's key once; if so, its answer is made one to the caller's. `lines`
    /// are those of the answer's head, each ended by CR LF.
    pub(crate) fn answer(&self, lines: &mut Vec<u8>) -> bool {
        let (mut made, mut answers) = (Vec::with_capacity(lines.len()), 0);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            if !name.eq_ignore_ascii_case(ACCEPT.as_bytes()) {
                made.extend_from_slice(line);
                continue;
            }
            answers += 1;
            if value.get(1..).unwrap_or_default().trim_ascii() != accept(&self.own).as_bytes() {
                return false;
            }
            made.extend_from_slice(&[name, b": ", accept(&self.caller).as_bytes(), b"\r\n"].concat());
        }
        *lines = made;
        answers == 1
    }
}

fn accept(key: &str) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{SALT}").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn a_key_is_answered_as_the_specification_says() {
        // The example of RFC 6455 section 1.3.
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn caller_and_target_each_have_a_handshake_of_their_own() {
        let mut asked = headers(&[(KEY, "dGhlIHNhbXBsZSBub25jZQ=="), ("host", "x")]);
        let shake = Handshake::take(&mut asked, [7; 16]).unwrap();
        assert!(!asked.contains_key(KEY));
        assert_ne!(shake.own_key(), "dGhlIHNhbXBsZSBub25jZQ==");
        let own = accept(shake.own_key());
        let head = |answers: &[&str]| {
            let lines = answers.iter().map(|value| format!("Sec-WebSocket-Accept:{value}\r\n"));
            format!("HTTP/1.1 101 Go\r\n{}server: x\r\n", lines.collect::<String>()).into_bytes()
        };
        let mut answered = head(&[&own]);
        assert!(shake.answer(&mut answered));
        let made = "HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nserver: x\r\n";
        assert_eq!(String::from_utf8(answered).unwrap(), made);
        for wrong in [&[][..], &["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], &[&own, &own], &[&own, "x"]] {
            assert!(!shake.answer(&mut head(wrong)), "{wrong:?}");
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
