//! The export bundle: one file of JSON lines an auditor can read with any tool and verify with the log's public key.
//!
//! ```text
//! {"header":{…}}                 which log, which range, how large the tree is
//! {"policy":{…}}                 every policy bundle referred to, by digest
//! {"batch":{…}}                  in order, all of them: the gateway's signature and the leaf hashes it is over
//! {"entry":{…}}                  after its batch: an entry of the range, or one that those of the range rest on
//! {"disclosure":{…}}             after its entry: a private field that was asked for
//! {"checkpoint":{…}}             the signed root over all leaf hashes above
//! {"end":{…}}                    how many lines there were before
//! ```
//! It holds what was asked for and no other private value.

use crate::{
    batch::Batch,
    entry::{Commitment, Entry},
    error::ExportError,
    event::Event,
    note::KeyId,
    reader::LedgerReader,
    tree::LeafHash,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_core::{ActionId, BundleDigest, PersonId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{collections::BTreeSet, fmt, io::Write};

pub(crate) const FORMAT: &str = "countersign-bundle/v1";
/// How many batches are read from the ledger at once.
const PAGE: u32 = 256;

/// What to export.
pub struct Request<'a> {
    /// The entries `from..to` are exported whole; completeness is claimed for them.
    pub from: u64,
    pub to: u64,
    /// Which private fields are disclosed, by index of the entry and path.
    pub disclose: &'a dyn Fn(u64, &str) -> bool,
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Request({}..{})", self.from, self.to)
    }
}

/// What a bundle came to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub entries: u64,
    pub disclosures: u64,
    pub policies: u64,
    /// Size of the tree it is proven against.
    pub size: u64,
}

/// One line of a bundle.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Line<'a> {
    Header {
        format: String,
        origin: String,
        size: u64,
        from: u64,
        to: u64,
    },
    Policy {
        digest: BundleDigest,
        /// Base64.
        content: String,
    },
    Batch {
        first: u64,
        count: u32,
        epoch: u64,
        key: String,
        /// Base64url.
        signature: String,
        /// Base64 of the leaf hashes behind each other.
        leaves: String,
    },
    Entry {
        index: u64,
        #[serde(borrow)]
        leaf: &'a RawValue,
    },
    Disclosure {
        path: String,
        /// Base64url, as is the value.
        salt: String,
        value: String,
    },
    Checkpoint {
        note: String,
    },
    End {
        lines: u64,
    },
}

impl Line<'_> {
    pub(crate) fn batch(batch: &Batch, leaves: &[LeafHash]) -> Self {
        let hashes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
        Self::Batch {
            first: batch.first,
            count: batch.count,
            epoch: batch.epoch,
            key: batch.key_id.to_string(),
            signature: URL_SAFE_NO_PAD.encode(batch.signature),
            leaves: STANDARD.encode(hashes),
        }
    }
}

/// Reads what [`Line::batch`] wrote.
pub(crate) fn read_batch(
    (first, count, epoch): (u64, u32, u64),
    key: &str,
    signature: &str,
    leaves: &str,
) -> Option<(Batch, Vec<LeafHash>)> {
    let key_id = key.parse::<KeyId>().ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
    let hashes = STANDARD.decode(leaves).ok()?;
    let (hashes, odd) = hashes.as_chunks::<32>();
    let leaves: Vec<LeafHash> = hashes.iter().map(|hash| LeafHash(*hash)).collect();
    let whole = odd.is_empty() && count > 0 && u32::try_from(leaves.len()) == Ok(count);
    whole.then_some((Batch { first, count, epoch, key_id, signature }, leaves))
}

/// Writes the bundle for a range of entries, with all that is needed to verify it.
pub fn write(
    out: impl Write,
    ledger: &(impl LedgerReader + ?Sized),
    origin: &str,
    request: &Request<'_>,
) -> Result<Written, ExportError> {
    let (size, note) = ledger.head()?;
    let Request { from, to, .. } = *request;
    if from > to || to > size || size == 0 {
        return Err(ExportError::Range { from, to, size });
    }
    let selection = Selection::gather(ledger, from, to, size)?;
    let mut out = Lines { out, written: 0 };
    out.line(&Line::Header { format: FORMAT.into(), origin: origin.into(), size, from, to })?;
    for digest in &selection.policies {
        let content = ledger.policy_bundle(digest)?;
        let content = content.ok_or_else(|| ExportError::NoPolicy(digest.to_string()))?;
        out.line(&Line::Policy { digest: *digest, content: STANDARD.encode(content) })?;
    }
    let mut disclosures = 0;
    let mut next = 0;
    while next < size {
        let batches = ledger.batches(next, PAGE)?;
        if batches.is_empty() {
            return Err(ExportError::Uncovered(next));
        }
        for batch in batches {
            let end = batch.first + u64::from(batch.count);
            if batch.first != next || batch.count == 0 || end > size {
                return Err(ExportError::Uncovered(next));
            }
            out.line(&Line::batch(&batch, &ledger.leaf_hashes(batch.first, u64::from(batch.count))?))?;
            for index in selection.entries.range(batch.first..end) {
                disclosures += write_entry(&mut out, ledger, *index, request)?;
            }
            next = end;
            if next == size {
                break;
            }
        }
    }
    out.line(&Line::Checkpoint { note })?;
    let lines = out.written;
    out.line(&Line::End { lines })?;
    out.out.flush()?;
    let (entries, policies) = (selection.entries.len() as u64, selection.policies.len() as u64);
    Ok(Written { entries, disclosures, policies, size })
}

fn write_entry<W: Write>(
    out: &mut Lines<W>,
    ledger: &(impl LedgerReader + ?Sized),
    index: u64,
    request: &Request<'_>,
) -> Result<u64, ExportError> {
    let bytes = ledger.entry(index)?;
    let leaf: &RawValue = serde_json::from_slice(&bytes).map_err(std::io::Error::other)?;
    out.line(&Line::Entry { index, leaf })?;
    let mut disclosed = 0;
    for Commitment { path, salt, value } in ledger.disclosures(index)? {
        if (request.disclose)(index, &path) {
            let (salt, value) = (URL_SAFE_NO_PAD.encode(salt), URL_SAFE_NO_PAD.encode(value));
            out.line(&Line::Disclosure { path: path.into_owned(), salt, value })?;
            disclosed += 1;
        }
    }
    Ok(disclosed)
}

struct Lines<W> {
    out: W,
    written: u64,
}

impl<W: Write> Lines<W> {
    fn line(&mut self, line: &Line<'_>) -> Result<(), ExportError> {
        let mut text = serde_json::to_vec(line).map_err(std::io::Error::other)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        self.written += 1;
        Ok(())
    }
}

/// Who voted, and for whom somebody else did.
#[derive(Default)]
struct Voters {
    own: BTreeSet<PersonId>,
    absent: BTreeSet<PersonId>,
}

/// The entries of a bundle and the policy bundles they refer to.
#[derive(Default)]
struct Selection {
    entries: BTreeSet<u64>,
    policies: BTreeSet<BundleDigest>,
}

impl Selection {
    /// The range and what it rests on: the log's keys, the newest entry, every entry of the actions in the range, the
    /// passkeys of those who voted, for whom they stood in, and the users of channels that spoke for them.
    fn gather(
        ledger: &(impl LedgerReader + ?Sized),
        from: u64,
        to: u64,
        size: u64,
    ) -> Result<Self, ExportError> {
        let mut found = Self::default();
        let mut actions = BTreeSet::<ActionId>::new();
        let mut voters = Voters::default();
        let keys = ledger.entries_of_kind("key.rotated")?;
        let asked = (from..to).chain(keys).chain([0, size - 1]).filter(|index| *index < size);
        for index in asked {
            let entry = found.take(ledger, index, &mut voters)?;
            if let Some(action) = entry.action
                && actions.insert(action)
            {
                for index in ledger.entries_of_action(action)? {
                    if index < size && !(from..to).contains(&index) {
                        found.take(ledger, index, &mut voters)?;
                    }
                }
            }
        }
        for kind in ["passkey.registered", "passkey.removed"] {
            for index in ledger.entries_of_kind(kind)?.into_iter().filter(|index| *index < size) {
                if let Event::PasskeyRegistered { person, .. } | Event::PasskeyRemoved { person, .. } =
                    parse(ledger, index)?.event
                    && voters.own.contains(&person)
                {
                    found.entries.insert(index);
                }
            }
        }
        for kind in ["channel.bound", "channel.unbound"] {
            for index in ledger.entries_of_kind(kind)?.into_iter().filter(|index| *index < size) {
                if let Event::ChannelBound { person, .. } | Event::ChannelUnbound { person, .. } =
                    parse(ledger, index)?.event
                    && voters.own.contains(&person)
                {
                    found.entries.insert(index);
                }
            }
        }
        for kind in ["delegation.set", "delegation.ended"] {
            for index in ledger.entries_of_kind(kind)?.into_iter().filter(|index| *index < size) {
                if let Event::DelegationSet { person, .. } | Event::DelegationEnded { person, .. } =
                    parse(ledger, index)?.event
                    && voters.absent.contains(&person)
                {
                    found.entries.insert(index);
                }
            }
        }
        Ok(found)
    }

    fn take(
        &mut self,
        ledger: &(impl LedgerReader + ?Sized),
        index: u64,
        voters: &mut Voters,
    ) -> Result<Entry, ExportError> {
        let entry = parse(ledger, index)?;
        self.entries.insert(index);
        self.policies.extend(entry.event.bundles());
        if let Event::ApprovalVoted { statement, .. } | Event::ApprovalGlassBroken { statement, .. } =
            &entry.event
        {
            voters.own.insert(statement.voter);
            voters.absent.extend(statement.on_behalf_of);
        }
        Ok(entry)
    }
}

fn parse(ledger: &(impl LedgerReader + ?Sized), index: u64) -> Result<Entry, ExportError> {
    Entry::parse(&ledger.entry(index)?).map_err(|source| ExportError::Entry { index, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testlog::{Log, ORIGIN};

    fn attempt(log: &Log, from: u64, to: u64) -> Result<Written, ExportError> {
        write(Vec::new(), log, ORIGIN, &Request { from, to, disclose: &|_, _| true })
    }

    #[test]
    fn an_export_says_what_it_holds() {
        let mut log = Log::new();
        log.fill(9);
        let written = attempt(&log, 2, 5).unwrap();
        // Beside the three asked for: the first and the newest entry.
        assert_eq!(written, Written { entries: 5, disclosures: 0, policies: 0, size: 10 });
    }

    #[test]
    fn what_cannot_be_exported_whole_is_refused() {
        let mut log = Log::new();
        log.fill(9);
        for (from, to) in [(3, 2), (0, 11), (11, 11)] {
            assert!(matches!(attempt(&log, from, to), Err(ExportError::Range { .. })), "{from}..{to}");
        }
        let missing = log.batches.pop();
        assert!(matches!(attempt(&log, 0, 10), Err(ExportError::Uncovered(8))));
        log.batches.extend(missing);
        let gone = BundleDigest::of(b"gone");
        let event = Event::PolicyRejected { errors: 1, kept: gone };
        log.add(None, crate::event::Actor::Gateway, event);
        assert!(
            matches!(attempt(&log, 0, 11), Err(ExportError::NoPolicy(digest)) if digest == gone.to_string())
        );
    }
}
