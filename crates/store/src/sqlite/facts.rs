//! What history asks for of an entry, packed for all entries of a batch: it is filtered by these, and no entry is
//! parsed for it.

use super::row::garbled;
use countersign_core::{ActionId, EntryId, Timestamp};
use countersign_engine::port::store::{EntryRow, Execution};
use rusqlite::Result;

const HAS_ACTION: u8 = 1;
const HAS_TARGET: u8 = 2;
const OPENS: u8 = 4;
const CLOSES: u8 = 8;

/// Of one entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts<'b> {
    pub(super) id: EntryId,
    pub(super) at: Timestamp,
    pub(super) action: Option<ActionId>,
    /// The event's type.
    pub(super) kind: &'b str,
    pub(super) actor: &'b str,
    pub(super) target: Option<&'b str>,
    pub(super) execution: Execution,
    /// Length of the leaf in bytes.
    pub(super) length: usize,
}

impl<'b> Facts<'b> {
    /// Takes the next entry's off the front.
    fn take(rest: &mut &'b [u8]) -> Option<Self> {
        let id = EntryId::from_bytes(array(rest)?);
        let at = Timestamp(i64::from_be_bytes(array(rest)?));
        let [flags] = array(rest)?;
        let action = if flags & HAS_ACTION == 0 { None } else { Some(ActionId::from_bytes(array(rest)?)) };
        let (kind, actor) = (text(rest)?, text(rest)?);
        let target = if flags & HAS_TARGET == 0 { None } else { Some(text(rest)?) };
        let execution = match (flags & OPENS != 0, flags & CLOSES != 0) {
            (true, _) => Execution::Opens,
            (false, true) => Execution::Closes,
            (false, false) => Execution::Neither,
        };
        let length = usize::try_from(u32::from_be_bytes(array(rest)?)).ok()?;
        Some(Self { id, at, action, kind, actor, target, execution, length })
    }
}

/// Adds those of one more entry.
pub(super) fn pack(out: &mut Vec<u8>, row: &EntryRow) {
    let sealed = &row.sealed;
    out.extend_from_slice(&sealed.id.to_bytes());
    out.extend_from_slice(&sealed.at.0.to_be_bytes());
    let execution = match row.execution {
        Execution::Opens => OPENS,
        Execution::Closes => CLOSES,
        Execution::Neither => 0,
    };
    let action = if sealed.action.is_some() { HAS_ACTION } else { 0 };
    let target = if row.target.is_some() { HAS_TARGET } else { 0 };
    out.push(execution | action | target);
    if let Some(action) = sealed.action {
        out.extend_from_slice(&action.to_bytes());
    }
    for text in [Some(sealed.kind), Some(row.actor.as_str()), row.target.as_deref()].into_iter().flatten() {
        // INVARIANT: types, actors and targets are short names.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text.as_bytes().get(..usize::from(length)).unwrap_or_default());
    }
    // INVARIANT: leaves are at most 64 KiB, which sealing sees to.
    out.extend_from_slice(&u32::try_from(sealed.bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
}

/// Of all entries of a batch, in order.
pub(super) fn unpack(mut packed: &[u8]) -> Result<Vec<Facts<'_>>> {
    let mut all = Vec::with_capacity(packed.len() / 64);
    while !packed.is_empty() {
        all.push(Facts::take(&mut packed).ok_or_else(|| garbled("facts of a batch"))?);
    }
    Ok(all)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}

fn text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let length = usize::from(u16::from_be_bytes(array(rest)?));
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    std::str::from_utf8(taken).ok()
}
