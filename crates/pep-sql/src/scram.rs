//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side: how the gateway proves to a database that it knows the
//! password, and has the database prove the same. Without channel binding; the password never leaves this file.

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// Fewer rounds than the standard demands are refused, more than this cost too much.
const FEWEST: u32 = 4096;
const MOST: u32 = 10_000_000;

/// The server's messages are not what the mechanism demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScramError {
    #[error("a message of the login cannot be read")]
    Malformed,
    #[error("the server continues another login than ours")]
    OtherNonce,
    #[error("the server does not know the password")]
    NotProven,
}

/// A login that has begun.
pub(crate) struct Scram {
    nonce: String,
    password: Zeroizing<Vec<u8>>,
    user: String,
}

/// What is still to come: the server's proof.
pub(crate) struct Awaiting {
    signature: hmac::Tag,
}

impl Scram {
    /// PostgreSQL takes the user from the start-up packet, so none is named here. `nonce` is printable and fresh.
    pub(crate) fn new(nonce: String, password: &[u8]) -> Self {
        Self { nonce, password: Zeroizing::new(password.to_vec()), user: String::new() }
    }

    pub(crate) fn first(&self) -> String {
        format!("n,,{}", self.first_bare())
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", self.user, self.nonce)
    }

    /// Answers the server's first message.
    pub(crate) fn last(&self, server: &str) -> Result<(String, Awaiting), ScramError> {
        let mut parts = server.split(',');
        let mut part =
            |name: &str| parts.next().and_then(|part| part.strip_prefix(name)).ok_or(ScramError::Malformed);
        let (nonce, salt, rounds) = (part("r=")?, part("s=")?, part("i=")?);
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::OtherNonce);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ScramError::Malformed)?;
        let rounds: u32 = rounds.parse().map_err(|_| ScramError::Malformed)?;
        let rounds = NonZeroU32::new(rounds).filter(|rounds| (FEWEST..=MOST).contains(&rounds.get()));
        let rounds = rounds.ok_or(ScramError::Malformed)?;
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, &self.password, &mut *salted);
        let keyed = hmac::Key::new(hmac::HMAC_SHA256, &*salted);
        let client_key = hmac::sign(&keyed, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{server},{without_proof}", self.first_bare());
        let signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, stored_key.as_ref()), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server_key = hmac::sign(&keyed, b"Server Key");
        let signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, server_key.as_ref()), signed.as_bytes());
        Ok((format!("{without_proof},p={}", STANDARD.encode(proof)), Awaiting { signature }))
    }
}

impl Awaiting {
    /// Checks the server's last message.
    pub(crate) fn proven(&self, server: &str) -> Result<(), ScramError> {
        let proof = server.strip_prefix("v=").ok_or(ScramError::NotProven)?;
        let proof = STANDARD.decode(proof).map_err(|_| ScramError::Malformed)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&proof, self.signature.as_ref())
            .map_err(|_| ScramError::NotProven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    fn rfc() -> Scram {
        Scram { user: "user".into(), ..Scram::new("rOprNGfwEbeRWgbNEkqO".into(), b"pencil") }
    }

    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn speaks_as_rfc_7677_does() {
        assert_eq!(rfc().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, awaiting) = rfc().last(SERVER_FIRST).unwrap();
        let want = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(last, want);
        assert_eq!(awaiting.proven("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
        assert_eq!(
            awaiting.proven("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
            Err(ScramError::NotProven)
        );
        assert_eq!(awaiting.proven("e=other-error"), Err(ScramError::NotProven));
    }

    #[test]
    fn a_server_that_bends_the_rules_is_refused() {
        for (server, want) in [
            ("r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ScramError::OtherNonce),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ScramError::OtherNonce),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1", ScramError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=***,i=4096", ScramError::Malformed),
            ("m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ScramError::Malformed),
            ("", ScramError::Malformed),
        ] {
            assert_eq!(rfc().last(server).err(), Some(want), "{server}");
        }
    }
}
