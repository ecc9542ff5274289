//! Looking: what pages and the API show. Nothing here changes anything.

use crate::{
    error::Error,
    gate::Gate,
    hold::Hold,
    port::store::{Find, FindEntries, Kind, ReadError, StoredEntry},
    record::Unresolved,
};
use countersign_core::{Action, ActionId, ApprovalId};

/// Which holds, newest first.
#[derive(Clone, Debug, Default)]
pub struct HoldFilter {
    /// `pending`, `granted`, `executing`, `done`, `rejected`…
    pub status: Option<String>,
    /// `yes` or `no`.
    pub open: Option<String>,
    pub principal: Option<String>,
    pub target: Option<String>,
    pub environment: Option<String>,
    pub class: Option<String>,
    /// Only approvals older than this one.
    pub before: Option<ApprovalId>,
    pub limit: usize,
}

const PAGE: usize = 1_000;

/// Holds that match every given filter, newest first.
pub async fn holds(gate: &Gate, filter: HoldFilter) -> Result<Vec<Hold>, Error> {
    let named = [
        ("status", filter.status),
        ("open", filter.open),
        ("principal", filter.principal),
        ("target", filter.target),
        ("environment", filter.environment),
        ("class", filter.class),
    ];
    let keys = named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let before = filter.before.map(|id| id.to_string());
    let find = Find { keys, before, limit: filter.limit.clamp(1, PAGE) };
    let records = gate.store().find(Kind::Hold, find).await?;
    Ok(records.iter().map(Hold::read).collect::<Result<_, _>>()?)
}

/// Every hold under a key, with its version.
pub(crate) async fn holds_with(gate: &Gate, key: (&'static str, &str)) -> Result<Vec<(Hold, u64)>, Error> {
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let find = Find { keys: vec![(key.0, key.1.to_owned())], before: before.clone(), limit: PAGE };
        let page = gate.store().find(Kind::Hold, find).await?;
        before = page.last().map(|record| record.id.clone());
        let last = page.len() < PAGE;
        for record in page {
            found.push((Hold::read(&record)?, record.version));
        }
        if last {
            return Ok(found);
        }
    }
}

/// One hold.
pub async fn hold(gate: &Gate, id: ApprovalId) -> Result<Option<Hold>, Error> {
    Ok(hold_at(gate, id).await?.map(|(hold, _)| hold))
}

/// One hold, with the version it was read at; every change of it makes the version grow.
pub async fn hold_at(gate: &Gate, id: ApprovalId) -> Result<Option<(Hold, u64)>, Error> {
    let record = gate.store().fetch(Kind::Hold, &id.to_string()).await?;
    Ok(record.map(|record| Hold::read(&record).map(|hold| (hold, record.version))).transpose()?)
}

/// The hold of an action, where it was held.
pub async fn hold_of(gate: &Gate, action: ActionId) -> Result<Option<Hold>, Error> {
    let find = Find { keys: vec![("action", action.to_string())], before: None, limit: 1 };
    let records = gate.store().find(Kind::Hold, find).await?;
    Ok(records.first().map(Hold::read).transpose()?)
}

/// A held action with its exact payload.
pub async fn action(gate: &Gate, id: ActionId) -> Result<Option<Action>, Error> {
    let record = gate.store().fetch(Kind::Action, &id.to_string()).await?;
    let garbled =
        |error: serde_json::Error| ReadError::Garbled { kind: Kind::Action, why: error.to_string() };
    Ok(record.map(|record| serde_json::from_slice(&record.doc)).transpose().map_err(garbled)?)
}

/// An action's entries, oldest first.
pub async fn timeline(gate: &Gate, action: ActionId) -> Result<Vec<StoredEntry>, Error> {
    let find = FindEntries { action: Some(action), limit: PAGE, ..FindEntries::default() };
    let mut entries = gate.store().entries(find).await?;
    entries.reverse();
    Ok(entries)
}

/// Executions without an approval of which nobody knows whether they ran, newest first.
pub async fn unresolved(gate: &Gate) -> Result<Vec<Unresolved>, Error> {
    let find = Find { keys: vec![("open", "yes".into())], before: None, limit: PAGE };
    let records = gate.store().find(Kind::Unresolved, find).await?;
    let read = |record: &crate::port::store::Record| {
        serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Unresolved, why: error.to_string() })
    };
    Ok(records.iter().map(read).collect::<Result<_, _>>()?)
}

/// Approvals of which nobody knows whether their action ran, newest first.
pub async fn unresolved_holds(gate: &Gate) -> Result<Vec<Hold>, Error> {
    Ok(holds_with(gate, ("unresolved", "yes")).await?.into_iter().map(|(hold, _)| hold).collect())
}
