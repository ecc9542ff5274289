//! Challenges, and that each is answered once and in time.
//!
//! A registration's challenge is kept, one for each session. A sign-in's is not: it carries its own expiry and is
//! authenticated by a key of this process, so that no flood of strangers can fill memory or push out anyone else's.
//! Only challenges that were answered well are remembered, until they would have expired anyway.

use crate::record::session::SessionId;
use aws_lc_rs::hmac;
use countersign_core::Timestamp;
use std::{collections::BTreeMap, fmt};

const NONCE: usize = 16;

/// Ceremonies under way.
pub(crate) struct Ceremonies {
    key: hmac::Key,
    registrations: BTreeMap<SessionId, Registering>,
    answered: BTreeMap<[u8; NONCE], Timestamp>,
}

struct Registering {
    challenge: [u8; 32],
    expires: Timestamp,
}

/// A sign-in challenge that is ours and not expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Genuine {
    nonce: [u8; NONCE],
    expires: Timestamp,
}

impl fmt::Debug for Ceremonies {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Ceremonies")
            .field("registrations", &self.registrations.len())
            .finish_non_exhaustive()
    }
}

impl Ceremonies {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            registrations: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    /// Begins a registration; an earlier one of the session is void.
    pub(crate) fn begin_registration(
        &mut self,
        session: SessionId,
        challenge: [u8; 32],
        now: Timestamp,
        expires: Timestamp,
    ) {
        self.registrations.retain(|_, begun| now < begun.expires);
        self.registrations.insert(session, Registering { challenge, expires });
    }

    /// The challenge the session was given, once.
    pub(crate) fn take_registration(&mut self, session: SessionId, now: Timestamp) -> Option<[u8; 32]> {
        let begun = self.registrations.remove(&session)?;
        (now < begun.expires).then_some(begun.challenge)
    }

    pub(crate) fn sign_in_challenge(&self, nonce: [u8; NONCE], expires: Timestamp) -> Vec<u8> {
        let mut challenge = nonce.to_vec();
        challenge.extend_from_slice(&expires.0.to_be_bytes());
        let tag = hmac::sign(&self.key, &challenge);
        challenge.extend_from_slice(tag.as_ref());
        challenge
    }

    /// Whether a sign-in answers a challenge of ours, in time and for the first time.
    pub(crate) fn recognise(&self, challenge: &[u8], now: Timestamp) -> Option<Genuine> {
        let (signed, tag) = challenge.split_at_checked(NONCE + 8)?;
        hmac::verify(&self.key, signed, tag).ok()?;
        let (nonce, rest) = signed.split_first_chunk::<NONCE>()?;
        let genuine = Genuine { nonce: *nonce, expires: Timestamp(i64::from_be_bytes(*rest.first_chunk()?)) };
        (now < genuine.expires && !self.answered.contains_key(nonce)).then_some(genuine)
    }

    /// Uses a challenge up. False when somebody else just did.
    pub(crate) fn answer(&mut self, genuine: Genuine, now: Timestamp) -> bool {
        self.answered.retain(|_, expires| now < *expires);
        self.answered.insert(genuine.nonce, genuine.expires).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_challenge_is_ours_in_time_and_answered_once() {
        let mut ceremonies = Ceremonies::new(&[1; 32]);
        let [now, end] = [Timestamp(10), Timestamp(20)];
        let challenge = ceremonies.sign_in_challenge([7; NONCE], end);
        let genuine = ceremonies.recognise(&challenge, now).unwrap();
        assert!(ceremonies.recognise(&challenge, end).is_none(), "expired");
        assert!(Ceremonies::new(&[2; 32]).recognise(&challenge, now).is_none(), "another gateway's");
        for at in 0..challenge.len() {
            let mut forged = challenge.clone();
            forged[at] ^= 1;
            assert!(ceremonies.recognise(&forged, now).is_none(), "byte {at} changed");
            assert!(ceremonies.recognise(&challenge[..at], now).is_none(), "cut at {at}");
        }
        assert!(ceremonies.answer(genuine, now));
        assert!(!ceremonies.answer(genuine, now), "a second answer at the same moment");
        assert!(ceremonies.recognise(&challenge, now).is_none(), "a second answer later");
    }

    #[test]
    fn a_registration_is_answered_once_and_only_the_latest() {
        let mut ceremonies = Ceremonies::new(&[1; 32]);
        let session = SessionId(countersign_core::Digest::of(b"s"));
        let other = SessionId(countersign_core::Digest::of(b"t"));
        ceremonies.begin_registration(session, [1; 32], Timestamp(0), Timestamp(10));
        ceremonies.begin_registration(session, [2; 32], Timestamp(1), Timestamp(11));
        assert_eq!(ceremonies.take_registration(other, Timestamp(5)), None);
        assert_eq!(ceremonies.take_registration(session, Timestamp(5)), Some([2; 32]));
        assert_eq!(ceremonies.take_registration(session, Timestamp(5)), None);
        ceremonies.begin_registration(session, [3; 32], Timestamp(5), Timestamp(15));
        assert_eq!(ceremonies.take_registration(session, Timestamp(15)), None);
    }
}
