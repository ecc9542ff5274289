//! Starting: what was pending is pending again, what was running is closed as unknown, and the ledger says so.

use crate::{
    definitions,
    error::Error,
    execute,
    gate::{Changed, Frozen, Gate, Parts},
    hold::{self, Delivery, Hold, Write},
    journal::Note,
    port::store::{Change, Commit, Expect, Find, FindEntries, Kind, OpenExecution, ReadError},
    record, rules,
};
use countersign_core::{
    ApprovalId, BundleDigest, Digest, PersonId,
    approval::{Event as Step, State},
};
use countersign_ledger::{
    entry::Entry,
    event::{Actor, Authorization, Event, FreezeScope, Recording},
};
use countersign_policy::Bundle;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// What the first entries of a run say.
#[derive(Clone, Debug)]
pub struct Opening {
    pub version: String,
    /// Digest of the resolved configuration.
    pub configuration: Digest,
    /// The log's first entry, with its public keys: written when the ledger is empty.
    pub log_opened: Event,
    /// Who is named as having changed the policy, if it was changed since the last run.
    pub policy_changed_by: BTreeSet<PersonId>,
}

/// How long a graceful end waits for what is recorded afterwards.
const LATE_WITHIN: Duration = Duration::from_secs(5);
const WHY_UNKNOWN: &str = "the gateway ended while it ran";

/// Opens the engine over its store: recovers and records the start.
pub async fn open(parts: Parts, opening: Opening) -> Result<Arc<Gate>, Error> {
    let gate = Gate::new(parts);
    for record in gate.store().find(Kind::Freeze, all("frozen")).await? {
        let scope: FreezeScope = serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Freeze, why: error.to_string() })?;
        gate.set_frozen(scope, Frozen::Yes);
    }
    definitions::load(&gate).await?;
    let mut oldest = gate.now();
    for (hold, version) in crate::read::holds_with(&gate, ("attachable", "yes")).await? {
        oldest = oldest.min(hold.approval.requested_at);
        gate.holds.insert(&hold, version);
    }
    for (hold, _) in crate::read::holds_with(&gate, ("review", "open")).await? {
        oldest = oldest.min(hold.approval.requested_at);
    }
    rules::load(&gate, oldest.minus(gate.limits().author_cooling_off)).await?;
    record_start(&gate, opening).await?;
    for found in gate.store().open_executions().await? {
        close_unknown(&gate, found).await?;
    }
    for (hold, _) in crate::read::holds_with(&gate, ("status", "executing")).await? {
        orphan(&gate, hold.approval.id, hold.approval.attempts).await?;
    }
    Ok(gate)
}

/// Goes on with what was approved, has a handle out, and had not begun. For a gateway that stays.
pub async fn resume(gate: &Arc<Gate>) -> Result<(), Error> {
    for (hold, _) in crate::read::holds_with(gate, ("status", "granted")).await? {
        if hold.handle_given {
            execute::start(gate, hold.approval.id);
        }
    }
    Ok(())
}

async fn record_start(gate: &Gate, opening: Opening) -> Result<(), Error> {
    let mut notes = Vec::new();
    let newest = FindEntries { limit: 1, ..FindEntries::default() };
    if gate.store().entries(newest).await?.is_empty() {
        notes.push(Note::new(Actor::Gateway, opening.log_opened));
    }
    let bundle = gate.policies().current();
    notes.push(Note::new(
        Actor::Gateway,
        Event::GatewayStarted {
            version: opening.version,
            epoch: gate.who().epoch,
            configuration: opening.configuration,
            bundle: bundle.digest(),
        },
    ));
    let before = rules::last(&**gate.store()).await?.map(|last| last.bundle);
    let previous = before.filter(|before| *before != bundle.digest());
    let changed_by = if previous.is_some() { opening.policy_changed_by } else { BTreeSet::new() };
    gate.authors.changed(&changed_by, gate.now());
    notes.push(Note::new(Actor::Gateway, loaded(&bundle, previous, changed_by)));
    gate.journal().commit(keep_bundle(gate, &bundle).await?, notes).await?;
    Ok(())
}

/// The change that keeps a bundle's content under its digest; none when it is kept already.
async fn keep_bundle(gate: &Gate, bundle: &Bundle) -> Result<Vec<Change>, Error> {
    let id = bundle.digest().to_string();
    if gate.store().fetch(Kind::Bundle, &id).await?.is_some() {
        return Ok(Vec::new());
    }
    let doc = bytes::Bytes::copy_from_slice(bundle.content());
    Ok(vec![Change::Put { kind: Kind::Bundle, id, expect: Expect::Absent, doc, keys: vec![] }])
}

fn loaded(bundle: &Bundle, previous: Option<BundleDigest>, changed_by: BTreeSet<PersonId>) -> Event {
    Event::PolicyLoaded { bundle: bundle.digest(), previous, files: Some(bundle.files_digest()), changed_by }
}

/// Puts a new bundle in force: kept, recorded, then swapped in whole. Whoever changed it does not vote on what waits.
pub async fn put_in_force(gate: &Gate, bundle: Bundle, changed_by: BTreeSet<PersonId>) -> Result<(), Error> {
    let previous = gate.policies().current().digest();
    if previous == bundle.digest() {
        return Ok(());
    }
    let changes = keep_bundle(gate, &bundle).await?;
    // Before it is in force: nobody votes under it whom it should exclude.
    gate.authors.changed(&changed_by, gate.now());
    let event = loaded(&bundle, Some(previous), changed_by);
    let entries = vec![gate.journal().row(Note::new(Actor::Gateway, event))?];
    let loaded = gate.commit(Commit { changes, entries }, move |gate| {
        gate.policies().replace(bundle);
        gate.announce(Changed::Policy);
    });
    loaded.await?;
    Ok(())
}

/// Records that a bundle was refused; the old one stays in force.
pub async fn rejected_bundle(gate: &Gate, errors: usize) -> Result<(), Error> {
    let kept = gate.policies().current().digest();
    let event = Event::PolicyRejected { errors: errors as u64, kept };
    gate.journal().commit(Vec::new(), vec![Note::new(Actor::Gateway, event)]).await?;
    Ok(())
}

/// Records that the gateway stops of its own accord.
pub async fn stopped(gate: &Gate) -> Result<(), Error> {
    record::flush(gate).await?;
    if tokio::time::timeout(LATE_WITHIN, gate.late.emptied()).await.is_err() {
        tracing::error!("reads that ran are not in the ledger: they could not be written before the end");
    }
    let event = Event::GatewayStopped { epoch: gate.who().epoch };
    gate.journal().commit(Vec::new(), vec![Note::new(Actor::Gateway, event)]).await?;
    Ok(())
}

async fn close_unknown(gate: &Gate, found: OpenExecution) -> Result<(), Error> {
    let entry = Entry::parse(&found.authorized)
        .map_err(|error| Error::Read(ReadError::Backend(format!("an entry cannot be read: {error}"))))?;
    let Event::ExecutionAuthorized(Authorization { approval, attempt, recording, .. }) = entry.event else {
        return Ok(());
    };
    if let Some(approval) = approval {
        return orphan(gate, approval, attempt).await;
    }
    let event = Event::ExecutionUnknown { attempt, why: WHY_UNKNOWN.into() };
    let note = Note {
        action: Some(found.action),
        parent: Some(found.last),
        actor: Actor::Gateway,
        event,
        private: Vec::new(),
    };
    let row = gate.journal().row(note)?;
    let unresolved = || record::unresolved(found.action, Digest(row.sealed.leaf.0), gate.now());
    let changes = match recording {
        Recording::First => vec![unresolved()?],
        // A read that changed nothing, whatever became of it: nobody has to find out.
        Recording::Deferred => Vec::new(),
    };
    gate.store().writer().commit(Commit { changes, entries: vec![row] }).await?;
    Ok(())
}

async fn orphan(gate: &Gate, id: ApprovalId, attempt: u32) -> Result<(), Error> {
    let (successor, epoch) = (gate.who().id, gate.who().epoch);
    let revised = hold::revise(gate, id, |hold: &mut Hold, now| {
        if !matches!(hold.approval.state, State::Executing(_)) {
            return Err(countersign_core::approval::Refused::OutOfOrder(hold.approval.state.as_str()));
        }
        hold.step(Step::Orphan { successor, epoch }, now)?;
        hold.delivery = Delivery::NotKept;
        let event = Event::ExecutionUnknown { attempt, why: WHY_UNKNOWN.into() };
        Ok(Write::by(Actor::Gateway).event(event))
    });
    revised.await?.ok();
    Ok(())
}

fn all(key: &'static str) -> Find {
    Find { keys: vec![(key, "yes".into())], before: None, limit: 10_000 }
}
