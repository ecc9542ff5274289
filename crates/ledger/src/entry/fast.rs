//! The hot path of sealing: canonical members written straight from the facts, in canonical order.
//!
//! Gives the same bytes as the general path, which a test shows; never decides what is recorded.

use crate::{
    error::EntryError,
    event::{Actor, Asked, Authorization, Recording, ResultFacts},
};
use countersign_core::{
    PersonId, PolicyId,
    canonical::{CanonicalError, Object},
};

/// I-JSON (RFC 7493 section 2.2): integers a double holds exactly.
const MAX_INTEGER: i64 = 1 << 53;

pub(super) fn actor(leaf: &mut Object<'_>, actor: &Actor) {
    leaf.object("actor", |out| {
        match actor {
            Actor::Agent { id, credential } | Actor::Service { id, credential } => {
                let kind = if matches!(actor, Actor::Agent { .. }) { "agent" } else { "service" };
                out.plain("credential", credential);
                out.plain("id", id);
                out.string("kind", kind)
            }
            Actor::Person { id } => {
                out.plain("id", id);
                out.string("kind", "person")
            }
            Actor::Operator => out.string("kind", "operator"),
            Actor::Gateway => out.string("kind", "gateway"),
            Actor::Unknown => out.string("kind", "unknown"),
        };
    });
}

pub(super) fn authorization(leaf: &mut Object<'_>, facts: &Authorization) -> Result<(), EntryError> {
    let epoch = integer(facts.epoch)?;
    leaf.object("data", |out| {
        match &facts.approval {
            Some(approval) => out.plain("approval", approval),
            None => out.raw("approval", b"null"),
        };
        out.object("asked", |out| asked(out, &facts.asked));
        out.integer("attempt", facts.attempt.into());
        out.raw("body_bound", if facts.body_bound { b"true" } else { b"false" });
        out.plain("bundle", &facts.bundle);
        out.integer("epoch", epoch);
        out.plain("gateway", &facts.gateway);
        out.strings("policies", facts.policies.iter().map(PolicyId::as_str));
        if facts.recording == Recording::Deferred {
            out.string("recording", "deferred");
        }
    });
    Ok(())
}

pub(super) fn result(leaf: &mut Object<'_>, facts: &ResultFacts) -> Result<(), EntryError> {
    let [received, sent, duration] =
        [integer(facts.bytes_received)?, integer(facts.bytes_sent)?, integer(facts.duration_us)?];
    let kept = match facts.kept {
        Some(kept) => Some((integer(kept.bytes)?, integer(kept.of)?)),
        None => None,
    };
    leaf.object("data", |out| {
        out.integer("attempt", facts.attempt.into());
        out.integer("bytes_received", received);
        out.integer("bytes_sent", sent);
        out.integer("duration_us", duration);
        match &facts.ended_by {
            Some(who) => out.string("ended_by", who),
            None => out.raw("ended_by", b"null"),
        };
        if let Some((bytes, of)) = kept {
            out.object("kept", |out| {
                out.integer("bytes", bytes);
                out.integer("of", of);
            });
        }
        out.string("outcome", facts.outcome.as_str());
        out.string("status", &facts.status);
    });
    Ok(())
}

fn asked(out: &mut Object<'_>, asked: &Asked) {
    let behalf: Vec<String> = asked.on_behalf_of.iter().map(PersonId::to_string).collect();
    out.string("class", &asked.class);
    out.plain("digest", &asked.digest);
    out.string("environment", asked.environment.as_str());
    out.strings("on_behalf_of", behalf.iter().map(String::as_str));
    out.string("operation", &asked.operation);
    out.string("target", asked.target.as_str());
    out.string("wire", &asked.wire);
}

fn integer(value: u64) -> Result<i64, EntryError> {
    let fits = i64::try_from(value).ok().filter(|value| *value <= MAX_INTEGER);
    fits.ok_or_else(|| CanonicalError::Number(value.to_string()).into())
}
