//! The whole product on one page: request in, reply out.
//!
//! A request is admitted as an action and decided. What policy permits is executed; what it wants reviewed is held
//! until its gates are lifted and then executed; the rest is refused. Each step is durable before the next begins. What
//! can be found out about it beforehand is gathered where a rule or a reviewer looks at it. A ticket that the requester names
//! with what is held is looked up, and its approver's word counted like another vote.

use crate::{
    error::Error,
    execute::{self, Asks},
    gate::Gate,
    hold,
    intake::{self, Request},
    port::upstream::{Exchange, Passage},
    preapproval, record,
    reply::Reply,
};
use countersign_core::{Body, Decision};
use countersign_policy::Bundle;
use std::sync::Arc;

pub async fn handle<E: Exchange>(
    gate: &Arc<Gate>,
    request: Request,
    mut exchange: E,
) -> Result<Reply<E::Reply>, Error> {
    let patience = request.patience;
    let mut action = match intake::admit(gate, request) {
        Ok(action) => action,
        Err(refused) => return record::not_admitted(gate, *refused).await,
    };
    let policy = gate.policies().current();
    let mut decision = (!policy.needs_body(&action)).then(|| policy.decide(&action, gate.now()).decision);
    // A rule that looks at the body, or a reviewer, gets it whole: it joins the digest, and all is decided anew.
    if matches!(decision, None | Some(Decision::Review(_))) && action.payload.body == Body::Unbound {
        match exchange.bind().await {
            Ok(body) => action.payload.body = Body::Bound(body),
            Err(error) => return record::unreadable(gate, &action, &error).await,
        }
        decision = None;
    }
    if policy.needs_evidence(&action)
        && let Some(gathered) = exchange.gather(&action).await
    {
        intake::take_in(&mut action, gathered);
        decision = None;
    }
    let decision = decision.unwrap_or_else(|| policy.decide(&action, gate.now()).decision);
    if keeps(&policy, &decision).is_some() && !exchange.keeps_results() {
        return record::refused(gate, &action, record::not_kept()).await;
    }
    match decision {
        Decision::Permit(basis) => {
            let asks = Asks { recording: policy.recording(&basis), keeps: policy.keeps(&basis) };
            execute::permitted(gate, action, basis, asks, exchange).await
        }
        Decision::Review(terms) => {
            // What waits is in the store: no old bundle is kept for it here, and an exchange only where it is the one
            // that the action must run through.
            drop(policy);
            if action.evidence.is_none()
                && !hold::is_placed(gate, &action)?
                && let Some(gathered) = exchange.gather(&action).await
            {
                intake::take_in(&mut action, gathered);
            }
            let own = (exchange.passage() == Passage::Own).then_some(exchange);
            let ticket = action.claimed_ticket.clone();
            let held = match hold::place(gate, action, terms).await? {
                hold::Placed::Held(held) => held,
                hold::Placed::Refused(action, refusal) => {
                    return record::refused(gate, &action, refusal).await;
                }
            };
            preapproval::named(gate, held.id(), ticket, patience).await;
            match own {
                None => hold::until_answered(gate, held, patience).await,
                // Few wait, and what is permitted should not carry their room.
                Some(own) => Box::pin(execute::once_granted(gate, held, own, patience)).await,
            }
        }
        Decision::Forbid(refusal) => record::refused(gate, &action, refusal).await,
    }
}

/// How many bytes of the result policy wants kept.
fn keeps(policy: &Bundle, decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Permit(basis) => policy.keeps(basis),
        Decision::Review(terms) => policy.keeps(&terms.basis),
        Decision::Forbid(_) => None,
    }
}
