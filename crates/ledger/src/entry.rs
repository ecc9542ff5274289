//! Entries: from a draft to sealed leaf bytes, and back.
//!
//! A leaf is one JSON object in canonical form (RFC 8785); the bytes are what is hashed, stored and verified.
//! What is private never enters it: the leaf carries a commitment, value and salt are kept elsewhere and can
//! be erased while every proof stays good.

use crate::{
    error::{DisclosureError, EntryError},
    event::{Actor, Event},
    tree::{LeafHash, leaf_hash},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use countersign_core::{
    ActionId, EntryId, GatewayId, Timestamp,
    canonical::{Object, append_string, append_value},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, collections::BTreeMap, fmt};

mod fast;

/// The version of the leaf format.
pub const VERSION: i64 = 1;
/// C2SP tlog-tiles: an entry's length is a `uint16`.
pub const MAX_LEAF: usize = 65_535;

/// What is to be recorded.
#[derive(Clone, Debug)]
pub struct EntryDraft {
    pub id: EntryId,
    pub at: Timestamp,
    pub action: Option<ActionId>,
    /// The leaf of the same action's entry before this one.
    pub parent: Option<LeafHash>,
    pub actor: Actor,
    pub event: Event,
    pub private: Vec<PrivateField>,
}

/// Something the entry is bound to without telling it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateField {
    /// Where it belongs in the entry (`payload.body`).
    pub path: Cow<'static, str>,
    pub value: Bytes,
}

impl fmt::Debug for PrivateField {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PrivateField({}, {} bytes)", self.path, self.value.len())
    }
}

/// Which log an entry is sealed for, and by which gateway.
#[derive(Clone, Debug)]
pub struct Sealing {
    pub origin: String,
    pub gateway: GatewayId,
}

/// An entry ready to be appended.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub id: EntryId,
    pub at: Timestamp,
    pub action: Option<ActionId>,
    /// The event's type, as in the leaf.
    pub kind: &'static str,
    /// The leaf.
    pub bytes: Bytes,
    pub leaf: LeafHash,
    pub private: Vec<Commitment>,
}

/// What opens a commitment. To erase the value, destroy this.
#[derive(Clone, PartialEq, Eq)]
pub struct Commitment {
    pub path: Cow<'static, str>,
    pub salt: [u8; 32],
    pub value: Bytes,
}

impl fmt::Debug for Commitment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Commitment({}, {} bytes)", self.path, self.value.len())
    }
}

/// Makes the leaf of a draft. `salts` fills 32 bytes from the system's randomness, once for each private field.
pub fn seal(
    draft: EntryDraft,
    sealing: &Sealing,
    salts: &mut dyn FnMut(&mut [u8; 32]),
) -> Result<Sealed, EntryError> {
    let (private, commitments) = commit(draft.private, salts)?;
    let mut bytes = Vec::with_capacity(1536);
    let mut leaf = Object::begin(&mut bytes);
    if let Some(action) = draft.action {
        leaf.plain("action_id", &action);
    }
    fast::actor(&mut leaf, &draft.actor);
    if let Some(commitments) = &commitments {
        leaf.raw("c", commitments);
    }
    if let Event::ExecutionAuthorized(facts) = &draft.event {
        fast::authorization(&mut leaf, facts)?;
    } else if let Event::ExecutionResult(facts) = &draft.event {
        fast::result(&mut leaf, facts)?;
    } else {
        generic(&mut leaf, &draft.event)?;
    }
    leaf.plain("gw", &sealing.gateway);
    leaf.plain("id", &draft.id);
    leaf.string("log", &sealing.origin);
    if let Some(parent) = &draft.parent {
        leaf.plain("parent", parent);
    }
    let kind = draft.event.kind();
    leaf.plain("ts", &draft.at);
    leaf.string("type", kind);
    leaf.integer("v", VERSION);
    leaf.end();
    if bytes.len() > MAX_LEAF {
        return Err(EntryError::TooLarge(bytes.len()));
    }
    let leaf = leaf_hash(&bytes);
    let (id, at, action) = (draft.id, draft.at, draft.action);
    Ok(Sealed { id, at, action, kind, bytes: bytes.into(), leaf, private })
}

/// The commitment to one private field: HMAC-SHA-256 keyed with the salt over domain, path and value.
pub fn commitment(salt: &[u8; 32], path: &str, value: &[u8]) -> [u8; 32] {
    // RFC 2104 with a key shorter than the block: written out, since a keyed context costs more than the hashing.
    let keyed = |pad: u8| {
        let mut block = [pad; 64];
        for (byte, key) in block.iter_mut().zip(salt) {
            *byte ^= key;
        }
        Sha256::new().chain_update(block)
    };
    let mut inner = keyed(0x36).chain_update(b"countersign/private/v1\n");
    for part in [path.as_bytes(), value] {
        inner.update((part.len() as u64).to_be_bytes());
        inner.update(part);
    }
    keyed(0x5c).chain_update(inner.finalize()).finalize().into()
}

type Committed = (Vec<Commitment>, Option<Vec<u8>>);

/// Draws the salts, and writes the canonical `c` member if there is anything private.
fn commit(
    mut fields: Vec<PrivateField>,
    salts: &mut dyn FnMut(&mut [u8; 32]),
) -> Result<Committed, EntryError> {
    if fields.is_empty() {
        return Ok((Vec::new(), None));
    }
    fields.sort_by(|left, right| left.path.cmp(&right.path));
    let mut object = Vec::with_capacity(fields.len() * 72);
    object.push(b'{');
    let mut private: Vec<Commitment> = Vec::with_capacity(fields.len());
    for PrivateField { path, value } in fields {
        if !is_path(&path) {
            return Err(EntryError::Path(path.into_owned()));
        }
        if private.last().is_some_and(|before| before.path == path) {
            return Err(EntryError::PathTwice(path.into_owned()));
        }
        let mut salt = [0; 32];
        salts(&mut salt);
        if !private.is_empty() {
            object.push(b',');
        }
        append_string(&mut object, &path);
        object.push(b':');
        object.push(b'"');
        append_base64url(&mut object, &commitment(&salt, &path, &value));
        object.push(b'"');
        private.push(Commitment { path, salt, value });
    }
    object.push(b'}');
    Ok((private, Some(object)))
}

/// Appends 32 bytes in base64url without padding.
pub(crate) fn append_base64url(out: &mut Vec<u8>, bytes: &[u8; 32]) {
    let mut text = [0; 43];
    // INVARIANT: 43 characters are what 32 bytes take.
    let written = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).unwrap_or(0);
    out.extend_from_slice(text.get(..written).unwrap_or_default());
}

// INVARIANT: ASCII only, so that byte order is the UTF-16 order RFC 8785 asks for.
fn is_path(path: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    (1..=128).contains(&path.len()) && path.bytes().all(allowed)
}

fn generic(leaf: &mut Object<'_>, event: &Event) -> Result<(), EntryError> {
    let shaped = |error: serde_json::Error| EntryError::Unreadable(error.to_string());
    let value = serde_json::to_value(event).map_err(shaped)?;
    let mut data = Vec::with_capacity(512);
    append_value(&mut data, value.get("data").unwrap_or(&Value::Null))?;
    leaf.raw("data", &data);
    Ok(())
}

/// An entry read back from its leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub at: Timestamp,
    /// The origin of the log it belongs to.
    pub log: String,
    pub gateway: GatewayId,
    pub action: Option<ActionId>,
    pub parent: Option<LeafHash>,
    pub actor: Actor,
    pub event: Event,
    /// Path to commitment.
    pub commitments: BTreeMap<String, [u8; 32]>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    action_id: Option<ActionId>,
    actor: Actor,
    #[serde(default)]
    c: BTreeMap<String, String>,
    data: Value,
    gw: GatewayId,
    id: EntryId,
    log: String,
    parent: Option<LeafHash>,
    ts: Timestamp,
    #[serde(rename = "type")]
    kind: String,
    v: i64,
}

impl Entry {
    /// Reads a leaf. Anything but the one canonical form of an entry we know is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_LEAF {
            return Err(EntryError::TooLarge(bytes.len()));
        }
        let unreadable = |error: serde_json::Error| EntryError::Unreadable(error.to_string());
        let leaf: Leaf = serde_json::from_slice(bytes).map_err(unreadable)?;
        if leaf.v != VERSION {
            return Err(EntryError::Unreadable(format!("version {} is not known here", leaf.v)));
        }
        let event =
            Event::deserialize(json!({ "type": leaf.kind, "data": leaf.data })).map_err(unreadable)?;
        let mut commitments = BTreeMap::new();
        for (path, text) in leaf.c {
            let decoded = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            let commitment = decoded.filter(|_| is_path(&path));
            commitments.insert(path.clone(), commitment.ok_or(EntryError::Path(path))?);
        }
        let entry = Self {
            id: leaf.id,
            at: leaf.ts,
            log: leaf.log,
            gateway: leaf.gw,
            action: leaf.action_id,
            parent: leaf.parent,
            actor: leaf.actor,
            event,
            commitments,
        };
        if entry.canonical()? == bytes { Ok(entry) } else { Err(EntryError::NotCanonical) }
    }

    /// Whether `value` and `salt` are what was committed to under `path`.
    pub fn open(&self, path: &str, salt: &[u8; 32], value: &[u8]) -> Result<(), DisclosureError> {
        let opened = commitment(salt, path, value);
        let good = self.commitments.get(path).is_some_and(|committed| *committed == opened);
        if good { Ok(()) } else { Err(DisclosureError(path.to_owned())) }
    }

    /// The leaf, by way of the values: the slower twin of [`seal`].
    fn canonical(&self) -> Result<Vec<u8>, EntryError> {
        let shaped = |error: serde_json::Error| EntryError::Unreadable(error.to_string());
        let mut event = serde_json::to_value(&self.event).map_err(shaped)?;
        let encode =
            |(path, bytes): (&String, &[u8; 32])| (path.clone(), URL_SAFE_NO_PAD.encode(bytes).into());
        let commitments: serde_json::Map<String, Value> = self.commitments.iter().map(encode).collect();
        let mut members = json!({
            "actor": self.actor, "data": event.get_mut("data").map(Value::take), "gw": self.gateway,
            "id": self.id, "log": self.log, "ts": self.at, "type": self.event.kind(), "v": VERSION,
        });
        if let Some(members) = members.as_object_mut() {
            if let Some(action) = self.action {
                members.insert("action_id".into(), action.to_string().into());
            }
            if let Some(parent) = self.parent {
                members.insert("parent".into(), parent.to_string().into());
            }
            if !commitments.is_empty() {
                members.insert("c".into(), commitments.into());
            }
        }
        let mut out = Vec::with_capacity(1536);
        append_value(&mut out, &members)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests;
