//! Tokens with which a service speaks for itself: whose they are, for whom, and good now. They are nobody's here: no agent and
//! no person comes of them.

use crate::issuer::{
    Issuer, claims,
    keyring::{Keyring, NotVouched as NoVoucher},
};
use countersign_core::Timestamp;
use serde_json::{Map, Value};

/// Checks the tokens of one service.
#[derive(Debug)]
pub struct Voucher {
    issuer: Issuer,
    keys: Keyring,
}

/// What a token that holds says.
#[derive(Debug)]
pub struct Vouched {
    pub claims: Map<String, Value>,
    /// What the set of keys says of the one that signed it, in its member `endorsements`.
    pub endorsements: Vec<String>,
}

/// Why nothing that a token says is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    #[error("the keys of whoever signs it are not here")]
    NoKeys,
    #[error("{0}")]
    Unsound(&'static str),
}

impl Voucher {
    /// The issuer's rules are not looked at.
    pub fn new(issuer: Issuer) -> Self {
        Self { issuer, keys: Keyring::new() }
    }

    /// Checks signature, algorithm, issuer, audience and times. Keys are fetched when they are missing.
    pub async fn check(
        &self,
        token: &str,
        now: impl Fn() -> Timestamp + Copy,
    ) -> Result<Vouched, NotVouched> {
        let signed = self.keys.vouch(&self.issuer, token, now).await.map_err(|error| match error {
            NoVoucher::NoKeys => NotVouched::NoKeys,
            NoVoucher::Unsound(why) => NotVouched::Unsound(why.0),
        })?;
        claims::check(&self.issuer, &signed, now()).map_err(|why| NotVouched::Unsound(why.0))?;
        Ok(Vouched { claims: signed.claims, endorsements: signed.endorsements })
    }
}
