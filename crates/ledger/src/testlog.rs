//! A small ledger in memory for this crate's tests.

use crate::{
    Batch, Commitment, EntryDraft, Frontier, LeafHash, LeafHashes, LedgerReader, LogKeys, PrivateField,
    ReadError, Sealing, VerifierKey, bundle_digest,
    event::{Actor, Event},
    extend,
    keys::tests::keys,
    seal,
};
use bytes::Bytes;
use countersign_core::{ActionId, BundleDigest, Digest, EntryId, GatewayId, Timestamp};
use std::collections::BTreeMap;

pub(crate) const ORIGIN: &str = "example.com/log";
/// When the first entry is made; each later one is a second after the one before.
pub(crate) const START: i64 = 1_795_226_400_000_000;
pub(crate) const POLICY: &[u8] = b"permit (principal, action, resource);";

pub(crate) struct Log {
    pub(crate) keys: LogKeys,
    trusted: VerifierKey,
    frontier: Frontier,
    pub(crate) entries: Vec<Bytes>,
    leaves: Vec<LeafHash>,
    pub(crate) batches: Vec<Batch>,
    index: Vec<(&'static str, Option<ActionId>)>,
    private: Vec<Vec<Commitment>>,
    pub(crate) policies: BTreeMap<BundleDigest, Bytes>,
    note: String,
    parents: BTreeMap<ActionId, LeafHash>,
    pub(crate) now: i64,
}

impl Log {
    /// A log that holds `log.opened`.
    pub(crate) fn new() -> Self {
        let keys = keys(1);
        let opened = keys.opened().unwrap();
        let mut log = Self {
            trusted: keys.log().verifier().clone(),
            keys,
            frontier: Frontier::default(),
            entries: Vec::new(),
            leaves: Vec::new(),
            batches: Vec::new(),
            index: Vec::new(),
            private: Vec::new(),
            policies: [(bundle_digest(POLICY), Bytes::from_static(POLICY))].into(),
            note: String::new(),
            parents: BTreeMap::new(),
            now: START,
        };
        log.add(None, Actor::Gateway, opened);
        log
    }

    /// The key the log was opened with.
    pub(crate) fn verifier(&self) -> &VerifierKey {
        &self.trusted
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Appends an entry without committing it.
    pub(crate) fn append(
        &mut self,
        action: Option<ActionId>,
        actor: Actor,
        event: Event,
        private: &[(&str, &str)],
    ) {
        let number = self.entries.len() as u128;
        let at = self.now();
        self.now += 1_000_000;
        let draft = EntryDraft {
            id: EntryId::from_parts(at.unix_ms(), number),
            at,
            action,
            parent: action.and_then(|action| self.parents.get(&action).copied()),
            actor,
            event,
            private: private
                .iter()
                .map(|(path, value)| PrivateField {
                    path: (*path).to_owned().into(),
                    value: (*value).to_owned().into(),
                })
                .collect(),
        };
        let sealing = Sealing { origin: ORIGIN.into(), gateway: GatewayId::from_parts(0, 1) };
        let mut salts = 0;
        let sealed = seal(draft, &sealing, &mut |salt| {
            salts += 1;
            *salt = Digest::of_parts("salt", &[&number.to_be_bytes(), &[salts]]).0;
        });
        let sealed = sealed.unwrap();
        self.entries.push(sealed.bytes);
        self.leaves.push(sealed.leaf);
        self.index.push((sealed.kind, action));
        self.private.push(sealed.private);
        action.and_then(|action| self.parents.insert(action, sealed.leaf));
    }

    /// Signs what was appended as one batch.
    pub(crate) fn commit(&mut self) {
        let from = usize::try_from(self.frontier.size()).unwrap();
        let committed = extend(&self.frontier, &self.leaves[from..], &self.keys, 1).unwrap();
        self.batches.push(committed.batch);
        self.frontier = committed.head.frontier;
        self.note = committed.head.note;
    }

    pub(crate) fn add(&mut self, action: Option<ActionId>, actor: Actor, event: Event) {
        self.append(action, actor, event, &[]);
        self.commit();
    }

    /// Adds entries that mean nothing, in batches of seven.
    pub(crate) fn fill(&mut self, count: u64) {
        for number in 0..count {
            self.append(None, Actor::Gateway, Event::GatewayStopped { epoch: number }, &[]);
            if number % 7 == 6 || number + 1 == count {
                self.commit();
            }
        }
    }

    pub(crate) fn rotate(&mut self) {
        let next = keys(7);
        let event = self.keys.rotation(&next).unwrap();
        self.add(None, Actor::Operator, event);
        self.keys = next;
    }

    /// Everything, disclosed.
    pub(crate) fn export(&self) -> Vec<u8> {
        self.export_range(0, self.frontier.size())
    }

    pub(crate) fn export_range(&self, from: u64, to: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let request = crate::bundle::Request { from, to, disclose: &|_, path| path == "sentence" };
        crate::bundle::write(&mut out, self, ORIGIN, &request).unwrap();
        out
    }

    fn places(&self, wanted: impl Fn(&(&'static str, Option<ActionId>)) -> bool) -> Vec<u64> {
        (0..).zip(&self.index).filter(|(_, entry)| wanted(entry)).map(|(index, _)| index).collect()
    }
}

impl LeafHashes for Log {
    fn leaf_hashes(&self, start: u64, count: u64) -> Result<Vec<LeafHash>, ReadError> {
        self.leaves.as_slice().leaf_hashes(start, count)
    }
}

impl LedgerReader for Log {
    fn head(&self) -> Result<(u64, String), ReadError> {
        Ok((self.frontier.size(), self.note.clone()))
    }

    fn entry(&self, index: u64) -> Result<Bytes, ReadError> {
        let entry = self.entries.get(usize::try_from(index).unwrap());
        entry.cloned().ok_or_else(|| ReadError::new("no such entry"))
    }

    fn batches(&self, index: u64, limit: u32) -> Result<Vec<Batch>, ReadError> {
        let from = self.batches.iter().skip_while(|batch| batch.first + u64::from(batch.count) <= index);
        Ok(from.take(limit as usize).cloned().collect())
    }

    fn entries_of_action(&self, action: ActionId) -> Result<Vec<u64>, ReadError> {
        Ok(self.places(|(_, of)| *of == Some(action)))
    }

    fn entries_of_kind(&self, kind: &str) -> Result<Vec<u64>, ReadError> {
        Ok(self.places(|(of, _)| *of == kind))
    }

    fn policy_bundle(&self, digest: &BundleDigest) -> Result<Option<Bytes>, ReadError> {
        Ok(self.policies.get(digest).cloned())
    }

    fn disclosures(&self, index: u64) -> Result<Vec<Commitment>, ReadError> {
        Ok(self.private[usize::try_from(index).unwrap()].clone())
    }
}
