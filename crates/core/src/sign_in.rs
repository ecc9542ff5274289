//! How a voter signed in, and what policy may ask of that.

use crate::{Assurance, Timestamp};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// How somebody who is signed in came to be so.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// When they last proved who they are, as their provider says or we saw; `None`: nobody says.
    pub proven_at: Option<Timestamp>,
    /// The provider's authentication context (`acr`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The methods it says were used (`amr`, RFC 8176).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub amr: BTreeSet<String>,
}

/// What a gate asks of a voter's sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInTerms {
    /// At most this long ago, in seconds. A vote by passkey proves it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
    /// One of these contexts; empty: any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub acr: BTreeSet<String>,
    /// One of these methods; empty: any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub amr: BTreeSet<String>,
}

/// Why a sign-in is not what a gate asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotMet {
    #[error("this gate wants you to have proven who you are more recently")]
    TooLongAgo,
    #[error("this gate wants a sign-in of another strength at your provider")]
    Context,
    #[error("this gate wants a sign-in by other means at your provider")]
    Method,
}

impl SignInTerms {
    /// Whether a vote of this assurance, by somebody who signed in so, is good at this moment.
    pub fn met_by(&self, sign_in: &SignIn, assurance: Assurance, now: Timestamp) -> Result<(), NotMet> {
        let recent = |within: u64| {
            assurance == Assurance::Passkey
                || sign_in.proven_at.is_some_and(|at| now.since(at) <= Duration::from_secs(within))
        };
        if !self.within_s.is_none_or(recent) {
            return Err(NotMet::TooLongAgo);
        }
        if !self.acr.is_empty() && !sign_in.acr.as_ref().is_some_and(|acr| self.acr.contains(acr)) {
            return Err(NotMet::Context);
        }
        if !self.amr.is_empty() && self.amr.is_disjoint(&sign_in.amr) {
            return Err(NotMet::Method);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn a_sign_in_is_what_is_asked_for_or_it_is_said_why_not() {
        let texts = |texts: &[&str]| -> BTreeSet<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
        let terms = |within_s, acr: &[&str], amr: &[&str]| SignInTerms { within_s, acr: texts(acr), amr: texts(amr) };
        let came = |at: Option<i64>, acr: Option<&str>, amr: &[&str]| SignIn {
            proven_at: at.map(|at| Timestamp(at * 1_000_000)), acr: acr.map(str::to_owned), amr: texts(amr),
        };
        let (session, passkey) = (Assurance::Session, Assurance::Passkey);
        for (what, terms, came, assurance, wanted) in [
            ("nothing is asked",            terms(None, &[], &[]),              came(None, None, &[]), session, Ok(())),
            ("on the last second",          terms(Some(60), &[], &[]),          came(Some(940), None, &[]), session, Ok(())),
            ("a second too late",           terms(Some(60), &[], &[]),          came(Some(939), None, &[]), session, Err(NotMet::TooLongAgo)),
            ("nobody says when",            terms(Some(60), &[], &[]),          came(None, None, &[]), session, Err(NotMet::TooLongAgo)),
            ("a passkey proves it anew",    terms(Some(60), &[], &[]),          came(None, None, &[]), passkey, Ok(())),
            ("one of the contexts",         terms(None, &["gold", "silver"], &[]), came(None, Some("silver"), &[]), session, Ok(())),
            ("another context",             terms(None, &["gold"], &[]),        came(None, Some("bronze"), &[]), session, Err(NotMet::Context)),
            ("a passkey is no context",     terms(None, &["gold"], &[]),        came(None, None, &[]), passkey, Err(NotMet::Context)),
            ("one of the methods",          terms(None, &[], &["hwk", "mfa"]),  came(None, None, &["pwd", "mfa"]), session, Ok(())),
            ("none of the methods",         terms(None, &[], &["hwk"]),         came(None, None, &["pwd"]), session, Err(NotMet::Method)),
            ("all of it",                   terms(Some(60), &["gold"], &["hwk"]), came(Some(999), Some("gold"), &["hwk"]), session, Ok(())),
        ] {
            assert_eq!(terms.met_by(&came, assurance, Timestamp(1_000_000_000)), wanted, "{what}");
        }
    }
}
