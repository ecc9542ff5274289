//! Holding a call of the later era without a task: in legs. Each ends before its client loses patience, with a state that
//! the client sends back with the same call. The state is no credential and changes nothing: it says which approval the
//! call waits for and how long already, under a code that only this gateway can make, for this caller and this very call.

use crate::asks::Offer;
use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use countersign_core::{ApprovalId, Requester};
use std::fmt;

/// How often a call comes back; clients give up after the next (measured: ten further rounds in five SDKs).
pub(crate) const MOST: u32 = 10;
/// How often it does while it is held, where its server may still ask something: what is left is for that, and for holding
/// the call that comes back with the answer.
pub(crate) const BEFORE_A_QUESTION: u32 = 6;

/// What a state begins with that carries something.
pub(crate) const ROUND: &str = "round.";

/// Makes and reads states. What was made before the gateway was started again is not read any more.
pub(crate) struct States(hmac::Key);

impl fmt::Debug for States {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("States")
    }
}

/// How a call came to where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// How often it has come back.
    pub(crate) used: u32,
    /// Its server has asked something.
    pub(crate) asked: bool,
}

/// Where a call stands that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) approval: ApprovalId,
    pub(crate) rounds: Rounds,
}

impl Rounds {
    /// Where it stands when it comes back once more for an approval; `None` when that would be more often than clients do, or
    /// leave nothing for what its server may ask.
    pub(crate) fn next(self, may_be_asked: &Offer) -> Option<Self> {
        let most = if may_be_asked.is_open() && !self.asked { BEFORE_A_QUESTION } else { MOST };
        (self.used < most).then_some(Self { used: self.used + 1, ..self })
    }
}

impl States {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The state with which a call leaves that waits for an approval, after so many rounds. `call` is all that may not change.
    pub(crate) fn next(&self, leg: Leg, requester: &Requester, call: &[&str]) -> String {
        let code = hmac::sign(&self.0, &about(leg, requester, call));
        format!("{}.{}.{}", written(leg.rounds), leg.approval, BASE64_URL_SAFE_NO_PAD.encode(code))
    }

    /// Has an agent carry something of the gateway's own until it comes back with the same call.
    pub(crate) fn seal(&self, content: &str, requester: &Requester, call: &[&str]) -> String {
        let code = hmac::sign(&self.0, &sealed(content, requester, call));
        let code = BASE64_URL_SAFE_NO_PAD.encode(code);
        format!("{ROUND}{}.{code}", BASE64_URL_SAFE_NO_PAD.encode(content))
    }

    /// What it carried; `None` when that was not made here for this caller and this call.
    pub(crate) fn unseal(&self, state: &str, requester: &Requester, call: &[&str]) -> Option<String> {
        let (content, code) = state.strip_prefix(ROUND)?.split_once('.')?;
        let content = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(content).ok()?).ok()?;
        let code = BASE64_URL_SAFE_NO_PAD.decode(code).ok()?;
        hmac::verify(&self.0, &sealed(&content, requester, call), &code).ok()?;
        Some(content)
    }

    /// Reads a state back; `None` when it was not made here for this caller and this call.
    pub(crate) fn read(&self, state: &str, requester: &Requester, call: &[&str]) -> Option<Leg> {
        let mut parts = state.splitn(3, '.');
        let number = parts.next()?;
        let (number, asked) = number.strip_prefix(ASKED).map_or((number, false), |number| (number, true));
        let used = number.parse().ok().filter(|used| (1..=MOST).contains(used))?;
        let leg = Leg { approval: parts.next()?.parse().ok()?, rounds: Rounds { used, asked } };
        let code = BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        hmac::verify(&self.0, &about(leg, requester, call), &code).ok()?;
        Some(leg)
    }
}

/// In front of how often a call has come back whose server has asked something.
const ASKED: char = 'a';

fn written(rounds: Rounds) -> String {
    if rounds.asked { format!("{ASKED}{}", rounds.used) } else { rounds.used.to_string() }
}

/// What the code of a leg is over.
fn about(leg: Leg, requester: &Requester, call: &[&str]) -> Vec<u8> {
    let own = [written(leg.rounds), leg.approval.to_string()];
    in_parts("countersign/mcp-request-state/v1\n", &own, requester, call)
}

/// What the code of something that is carried is over.
fn sealed(content: &str, requester: &Requester, call: &[&str]) -> Vec<u8> {
    in_parts("countersign/mcp-round/v1\n", &[content.to_owned()], requester, call)
}

/// Each part after its length.
fn in_parts(kind: &str, own: &[String], requester: &Requester, call: &[&str]) -> Vec<u8> {
    let people = requester.on_behalf_of.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let claims =
        requester.claims.iter().map(|(name, value)| format!("{}:{name}{}:{value}", name.len(), value.len()));
    let caller = [requester.principal.to_string(), people, claims.collect()];
    let mut out = kind.as_bytes().to_vec();
    for part in own.iter().chain(&caller).map(String::as_str).chain(call.iter().copied()) {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asks::{Passes, ServerRequestsSection},
        session::tests::requester,
    };
    use serde_json::value::RawValue;

    #[test]
    fn a_state_is_good_for_its_own_caller_and_call_alone() {
        let (states, approval) = (States::new(&[7; 32]), ApprovalId::from_parts(1, 2));
        let call = ["tools/call", r#"{"name":"x"}"#];
        let leg = Leg { approval, rounds: Rounds { used: 1, asked: false } };
        let state = states.next(leg, &requester(1), &call);
        assert_eq!(states.read(&state, &requester(1), &call), Some(leg));
        let behind = Leg { rounds: Rounds { asked: true, ..leg.rounds }, ..leg };
        let other = states.next(behind, &requester(1), &call);
        assert_eq!(states.read(&other, &requester(1), &call), Some(behind));
        assert_eq!(states.read(&state, &requester(2), &call), None, "another caller");
        let claims = [("ref".to_owned(), "main".to_owned())].into();
        let other = Requester { claims, ..requester(1) };
        assert_eq!(states.read(&state, &other, &call), None, "another token of the same");
        assert_eq!(
            states.read(&state, &requester(1), &["tools/call", r#"{"name":"y"}"#]),
            None,
            "another call"
        );
        assert_eq!(States::new(&[8; 32]).read(&state, &requester(1), &call), None, "another gateway");
        for (from, to) in [("1.", "2."), ("1.", "a1."), ("apr_0", "apr_1"), (".", "-")] {
            assert_eq!(states.read(&state.replacen(from, to, 1), &requester(1), &call), None, "{from}");
        }
        let mut cut = state.clone();
        cut.pop();
        for bad in ["", "1", "1..", "ä", &cut] {
            assert_eq!(states.read(bad, &requester(1), &call), None, "{bad}");
        }
    }

    #[test]
    fn what_is_carried_comes_back_with_its_own_callers_own_call_alone() {
        let (states, call) = (States::new(&[7; 32]), ["tools/call", r#"{"name":"x"}"#]);
        let state = states.seal(r#"{"ä":1}"#, &requester(1), &call);
        assert_eq!(states.unseal(&state, &requester(1), &call).as_deref(), Some(r#"{"ä":1}"#));
        assert_eq!(states.unseal(&state, &requester(2), &call), None, "another caller");
        assert_eq!(states.unseal(&state, &requester(1), &["tools/call", "{}"]), None, "another call");
        assert_eq!(States::new(&[8; 32]).unseal(&state, &requester(1), &call), None, "another gateway");
        assert_eq!(states.read(&state, &requester(1), &call), None, "it is no leg");
        let other = states.seal(r#"{"ä":2}"#, &requester(1), &call);
        let (content, _) = other.rsplit_once('.').unwrap();
        let (_, code) = state.rsplit_once('.').unwrap();
        for bad in ["", "round.", "round..", &format!("{content}.{code}")] {
            assert_eq!(states.unseal(bad, &requester(1), &call), None, "{bad}");
        }
    }

    #[test]
    fn a_call_comes_back_as_often_as_clients_do_and_leaves_room_for_a_question() {
        let held = |mut rounds: Rounds, offer: &Offer| {
            while let Some(next) = rounds.next(offer) {
                rounds = next;
            }
            rounds.used
        };
        let pass = ServerRequestsSection { roots: Passes::Pass, ..ServerRequestsSection::default() };
        let declared = RawValue::from_string(r#"{"roots":{}}"#.into()).unwrap();
        let (none, some) = (Offer::default(), Offer::new(Some(&declared), pass));
        assert_eq!(held(Rounds::default(), &none), MOST);
        assert_eq!(held(Rounds::default(), &some), BEFORE_A_QUESTION);
        // The question is a round as well, and what answers it is held for what is left.
        let behind = Rounds { used: BEFORE_A_QUESTION + 1, asked: true };
        assert_eq!(held(behind, &some), MOST);
        assert_eq!(behind.next(&some), Some(Rounds { used: BEFORE_A_QUESTION + 2, asked: true }));
    }
}
