//! Erasing a private value: the record of it first, then the value, wherever it is kept. The entry's commitment stays, so
//! every proof holds; nobody can open it any more.

use crate::{
    error::Error,
    gate::{Changed, Gate},
    hold::Hold,
    journal::Note,
    port::store::{Change, Commit, Expect, FindEntries, Kind, ReadError, StoredEntry},
    read,
};
use countersign_core::{ActionId, EntryId};
use countersign_ledger::{
    Entry,
    event::{Actor, Event},
};
use std::collections::BTreeSet;

/// Private values that say what an action was: erasing one of them erases what is kept of the action beside it.
const OF_THE_REQUEST: [&str; 3] = ["request_head", "request_body", "sentence"];

/// Why nothing is erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRedacted {
    #[error("there is no entry `{0}`")]
    NoEntry(EntryId),
    #[error("the entry keeps no private value `{0}`: it never had one, or it is erased already")]
    NoValue(String),
    #[error("the action waits or runs: decide it, or take it back, first")]
    Open,
}

/// Erases these private values of an entry, recorded with the reason. Copies that an approval keeps for its page go with
/// them.
pub async fn redact(
    gate: &Gate,
    entry: EntryId,
    paths: &BTreeSet<String>,
    by: Actor,
    reason: &str,
) -> Result<Result<(), NotRedacted>, Error> {
    let find = FindEntries { entry: Some(entry), limit: 1, ..FindEntries::default() };
    let Some(stored) = gate.store().entries(find).await?.pop() else {
        return Ok(Err(NotRedacted::NoEntry(entry)));
    };
    let kept = |path: &&String| stored.private.iter().any(|value| value.path == **path);
    if let Some(missing) = paths.iter().find(|path| !kept(path)) {
        return Ok(Err(NotRedacted::NoValue(missing.clone())));
    }
    let held = match action_of(&stored)? {
        Some(action) => read::hold_of(gate, action).await?,
        None => None,
    };
    let held = match held {
        Some(hold) if !hold.approval.state.is_closed() => return Ok(Err(NotRedacted::Open)),
        Some(hold) => read::hold_at(gate, hold.approval.id).await?,
        None => None,
    };
    let event = Event::LedgerRedacted { entry, paths: paths.iter().cloned().collect() };
    let row = gate.journal().row(Note::new(by, event).private("reason", reason))?;
    let mut changes = Vec::new();
    let mut changed = None;
    if let Some((mut hold, version)) = held {
        forget(&mut hold, paths);
        changes.push(hold.put(Expect::Version(version))?);
        if paths.iter().any(|path| OF_THE_REQUEST.contains(&path.as_str())) {
            changes.extend(stored_action(gate, hold.action()).await?);
        }
        changed = Some((hold, version));
    }
    gate.store().writer().commit(Commit { changes, entries: vec![row] }).await?;
    if let Some((hold, version)) = changed {
        gate.holds.update(&hold, version + 1);
        gate.announce(Changed::Approval { id: hold.approval.id, state: hold.approval.state.as_str() });
    }
    gate.store().erase(entry, paths.iter().cloned().collect()).await?;
    Ok(Ok(()))
}

fn action_of(stored: &StoredEntry) -> Result<Option<ActionId>, Error> {
    let garbled = |error: countersign_ledger::error::EntryError| ReadError::Backend(error.to_string());
    Ok(Entry::parse(&stored.bytes).map_err(garbled)?.action)
}

/// The stored request goes whole: it never runs again, and its facts and names say what its bytes did.
async fn stored_action(gate: &Gate, action: ActionId) -> Result<Option<Change>, Error> {
    let record = gate.store().fetch(Kind::Action, &action.to_string()).await?;
    Ok(record.map(|record| Change::Delete {
        kind: Kind::Action,
        id: record.id,
        expect: Expect::Version(record.version),
    }))
}

fn forget(hold: &mut Hold, paths: &BTreeSet<String>) {
    let (computed, claimed, tickets) = (&mut hold.view.computed, &mut hold.view.claimed, &mut hold.tickets);
    for path in paths {
        match path.as_str() {
            "claimed_reason" => claimed.reason = None,
            "claims" => computed.claims.clear(),
            "claimed_ticket" => {
                claimed.ticket = None;
                for named in tickets.iter_mut() {
                    named.claimed.clear();
                }
            }
            "requester_name" => claimed.requester_name.clear(),
            path if OF_THE_REQUEST.contains(&path) => {
                computed.sentence = "What was asked has been erased.".into();
                computed.facts.clear();
                computed.resources.clear();
            }
            _ => {}
        }
    }
}
