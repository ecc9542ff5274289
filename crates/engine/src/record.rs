//! What is recorded of actions that do not run, and of what is not known.

use crate::{
    error::Error,
    gate::{Changed, Gate, actor_of, asked},
    hold::{Resolution, json, private_fields},
    journal::Note,
    port::{
        store::{Change, Expect, Key, Kind},
        upstream::BindError,
    },
    reply::{Refused, Reply},
};
use countersign_core::{Action, ActionId, Digest, Refusal, RefusalCode, Requester, TargetName, Timestamp};
use countersign_ledger::event::{Actor, Event};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, error::Error as _};

/// A request that never became an action.
#[derive(Clone, Debug)]
pub(crate) struct NotAdmitted {
    pub(crate) requester: Requester,
    pub(crate) target: TargetName,
    pub(crate) refusal: Refusal,
}

/// An execution of which nobody knows whether it ran, and which has no approval to keep that with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    pub action: ActionId,
    pub since: Timestamp,
    /// Leaf hash of the action's newest entry.
    pub last_leaf: Digest,
    pub resolution: Option<Resolution>,
}

/// Refuses an action, durably.
pub(crate) async fn refused<R>(gate: &Gate, action: &Action, refusal: Refusal) -> Result<Reply<R>, Error> {
    let digest = action.digest()?;
    let salt: [u8; 32] = gate.journal().random();
    let basis = refusal.basis.as_ref();
    let note = Note {
        action: Some(action.id),
        parent: None,
        actor: actor_of(&action.requester),
        event: Event::ActionRefused {
            asked: asked(action, &digest, &salt),
            code: refusal.code,
            bundle: basis.map(|basis| basis.bundle),
            policies: basis.map(|basis| basis.policies.clone()).unwrap_or_default(),
        },
        private: private_fields(action, &digest, &salt)?,
    };
    let note = note.private("reason", refusal.reason.clone());
    gate.journal().commit(Vec::new(), vec![note]).await?;
    gate.announce(Changed::Action { id: action.id });
    let link = Some(gate.action_link(action.id));
    Ok(Reply::Refused(Refused { refusal, action: Some(action.id), approval: None, link }))
}

/// Refuses an action whose body could not be read whole.
pub(crate) async fn unreadable<R>(
    gate: &Gate,
    action: &Action,
    error: &BindError,
) -> Result<Reply<R>, Error> {
    let (code, remedy) = match error {
        BindError::TooLarge { .. } => (RefusalCode::TooLarge, "send it in smaller parts"),
        BindError::NoRoom { .. } => (RefusalCode::NoRoom, "repeat the request later; nothing ran"),
        BindError::Broken(_) => (RefusalCode::Malformed, "repeat the request whole"),
    };
    let refusal = Refusal { code, reason: error.to_string(), remedy: remedy.into(), basis: None };
    refused(gate, action, refusal).await
}

/// Refuses what never became an action: counted, so that a flood cannot fill the ledger.
pub(crate) async fn not_admitted<R>(gate: &Gate, refused: NotAdmitted) -> Result<Reply<R>, Error> {
    tracing::debug!(principal = %refused.requester.principal, code = refused.refusal.code.as_str(), "not admitted");
    count(gate, refused.refusal.code, Some(refused.target)).await?;
    Ok(Reply::Refused(Refused { refusal: refused.refusal, action: None, approval: None, link: None }))
}

type Counts = BTreeMap<(RefusalCode, Option<TargetName>), u64>;

/// Refusals on the way in since the last entry about them.
#[derive(Debug, Default)]
pub(crate) struct RefusalCounter(Mutex<Counts>);

/// Counts a refusal on the way in. The first of its kind is an entry at once, those after it are summed up by
/// [`flush`].
pub async fn count(gate: &Gate, code: RefusalCode, target: Option<TargetName>) -> Result<(), Error> {
    let first = {
        let mut counts = gate.refusals.0.lock();
        let count = counts.entry((code, target.clone()));
        let first = matches!(count, std::collections::btree_map::Entry::Vacant(_));
        *count.or_insert(0) += u64::from(!first);
        first
    };
    if first {
        let event = Event::IntakeRefused { code, count: 1, target };
        gate.journal().commit(Vec::new(), vec![Note::new(Actor::Unknown, event)]).await?;
    }
    Ok(())
}

/// Writes what was counted since the last time.
pub(crate) async fn flush(gate: &Gate) -> Result<(), Error> {
    let counts = std::mem::take(&mut *gate.refusals.0.lock());
    let summed = counts.into_iter().filter(|(_, count)| *count > 0);
    let notes: Vec<_> = summed
        .map(|((code, target), count)| {
            Note::new(Actor::Unknown, Event::IntakeRefused { code, count, target })
        })
        .collect();
    if !notes.is_empty() {
        gate.journal().commit(Vec::new(), notes).await?;
    }
    Ok(())
}

/// The record that keeps an unknown outcome before people's eyes until one resolves it.
pub(crate) fn unresolved(action: ActionId, last_leaf: Digest, since: Timestamp) -> Result<Change, Error> {
    let doc = Unresolved { action, since, last_leaf, resolution: None };
    put_unresolved(&doc, Expect::Absent)
}

pub(crate) fn put_unresolved(doc: &Unresolved, expect: Expect) -> Result<Change, Error> {
    let open = if doc.resolution.is_none() { "yes" } else { "no" };
    let keys = vec![Key { name: "open", value: open.into(), unique: false }];
    Ok(Change::Put {
        kind: Kind::Unresolved,
        id: doc.action.to_string(),
        expect,
        doc: json(doc)?.into(),
        keys,
    })
}

pub(crate) fn frozen(scope: &str) -> Refusal {
    Refusal {
        code: RefusalCode::Frozen,
        reason: format!("{scope} is frozen, so nothing runs"),
        remedy: "stop, and ask an operator when the freeze will be lifted".into(),
        basis: None,
    }
}

pub(crate) fn not_recordable() -> Refusal {
    Refusal {
        code: RefusalCode::NotRecordable,
        reason: "nothing could be recorded, so nothing ran".into(),
        remedy: "repeat the request later".into(),
        basis: None,
    }
}

pub(crate) fn not_kept() -> Refusal {
    Refusal {
        code: RefusalCode::NotRecordable,
        reason: "policy wants its result kept, and nothing here keeps it, so it does not run".into(),
        remedy: "ask the gateway's operator for a key that results are kept under".into(),
        basis: None,
    }
}

/// An error with its sources, on one line.
pub fn chain(error: &Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        out = format!("{out}: {inner}");
        source = inner.source();
    }
    out
}
