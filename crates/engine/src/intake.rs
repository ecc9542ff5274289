//! A classified request becomes an action: identified, limited, fixed.

use crate::{gate::Gate, port::upstream::Gathered, record::NotAdmitted};
use countersign_core::{
    Action, ActionId, Operation, Payload, Refusal, RefusalCode, Requester, Resource, TargetName,
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// A request as a wire adapter understood it, from a caller who is already authenticated.
#[derive(Clone, Debug)]
pub struct Request {
    pub requester: Requester,
    pub target: TargetName,
    pub operation: Operation,
    pub resources: Vec<Resource>,
    pub facts: Map<String, Value>,
    pub session: BTreeMap<String, String>,
    pub payload: Payload,
    pub idempotency_key: Option<String>,
    pub sentence: String,
    pub claimed_reason: Option<String>,
    /// The ticket it is said to be approved in beforehand.
    pub claimed_ticket: Option<String>,
    /// How long the caller stays when the action is held; zero asks for a handle at once.
    pub patience: Duration,
}

/// Claimed reasons are cut off by nobody: longer ones are refused.
const CLAIMED_REASON_BYTES: usize = 2_000;
/// Nor are the names of tickets.
const CLAIMED_TICKET_BYTES: usize = 100;

/// Gives the request its id and fixes it as an action, unless its target is unknown or something is frozen.
pub(crate) fn admit(gate: &Gate, request: Request) -> Result<Action, Box<NotAdmitted>> {
    let refuse = |code, reason: String, remedy: &str| {
        let refusal = Refusal { code, reason, remedy: remedy.into(), basis: None };
        let (requester, target) = (request.requester.clone(), request.target.clone());
        Err(Box::new(NotAdmitted { requester, target, refusal }))
    };
    let Some(target) = gate.target(&request.target) else {
        let reason = format!("there is no target `{}`", request.target);
        return refuse(RefusalCode::NotPermitted, reason, "use one of the configured targets");
    };
    if let Some(scope) = gate.frozen(request.requester.principal, &request.target) {
        let reason = format!("{scope} is frozen, so nothing runs");
        return refuse(
            RefusalCode::Frozen,
            reason,
            "stop, and ask an operator when the freeze will be lifted",
        );
    }
    if request.claimed_reason.as_ref().is_some_and(|reason| reason.len() > CLAIMED_REASON_BYTES) {
        let reason = format!("the reason is longer than {CLAIMED_REASON_BYTES} bytes");
        return refuse(RefusalCode::TooLarge, reason, "say it shorter");
    }
    if request.claimed_ticket.as_ref().is_some_and(|ticket| ticket.len() > CLAIMED_TICKET_BYTES) {
        let reason = format!("what names a ticket is longer than {CLAIMED_TICKET_BYTES} bytes");
        return refuse(RefusalCode::TooLarge, reason, "name one ticket by its key");
    }
    let received_at = gate.now();
    Ok(Action {
        id: gate.journal().id_at(received_at, ActionId::from_parts),
        received_at,
        environment: target.environment.clone(),
        credential_profile: target.credential_profile.clone(),
        wire: target.wire.clone(),
        requester: request.requester,
        target: request.target,
        operation: request.operation,
        resources: request.resources,
        facts: request.facts,
        session: request.session,
        payload: request.payload,
        idempotency_key: request.idempotency_key,
        sentence: request.sentence,
        evidence: None,
        claimed_reason: request.claimed_reason,
        claimed_ticket: request.claimed_ticket.filter(|ticket| !ticket.trim().is_empty()),
    })
}

/// Whether policy could ever permit such a request, whatever else a real one says. Nothing is recorded: nothing is asked.
pub fn could_ever(gate: &Gate, request: Request) -> bool {
    let policy = gate.policies().current();
    admit(gate, request).is_ok_and(|action| policy.is_possible(&action, gate.now()))
}

/// Takes in what was found out about the action. What runs, and so the digest, stays the same.
pub(crate) fn take_in(action: &mut Action, gathered: Gathered) {
    let Gathered { evidence, facts, sentence } = gathered;
    (action.evidence, action.facts, action.sentence) = (Some(evidence), facts, sentence);
}
