//! The bundle, line by line: order, leaf hashes, batches, keys, checkpoint. What entries mean is decided beside it.

use super::{
    Report,
    across::{Bindings, Reviews, StandIns, Tickets},
    action::{Case, Gain},
    fault::{Breach, Fault, Rule, breach, demand, same},
    passkeys::Passkeys,
};
use crate::{
    batch::Batch,
    bundle::{FORMAT, Line, read_batch},
    checkpoint::Checkpoint,
    entry::Entry,
    event::Event,
    keys::endorsed_keys,
    note::VerifierKey,
    reader::bundle_digest,
    tree::{Frontier, LeafHash, leaf_hash},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use countersign_core::{ActionId, Digest, EntryId, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Read},
};

/// A longer line is refused unread.
const MAX_LINE: u64 = 64 << 20;

pub(super) fn run(mut bundle: impl BufRead, key: &VerifierKey) -> Result<Report, Box<Fault>> {
    let nowhere = |breach: Breach| breach.at(None, None, None);
    let mut buffer = Vec::new();
    let Line::Header { format, origin, size, from, to } = next(&mut bundle, &mut buffer).map_err(nowhere)?
    else {
        return Err(nowhere(breach(Rule::Readable, "a header", "another line")));
    };
    let ranged = from <= to && to <= size && size > 0;
    same(Rule::Readable, "format", &FORMAT.to_owned(), &format).map_err(nowhere)?;
    demand(Rule::Readable, ranged, "a range within the log", format!("{from}..{to} of {size}"))
        .map_err(nowhere)?;
    same(Rule::Trusted, "the log", &key.name().to_owned(), &origin).map_err(nowhere)?;
    let mut walk = Walk::new(key, size, from, to);
    loop {
        let line = next(&mut bundle, &mut buffer).map_err(|breach| breach.at(walk.place, None, None))?;
        walk.lines += 1;
        if let Line::End { lines } = line {
            let whole = lines == walk.lines && walk.closed && matches!(bundle.fill_buf(), Ok([]));
            demand(
                Rule::Readable,
                whole,
                format!("an end after {} lines and the checkpoint", walk.lines),
                lines,
            )
            .map_err(nowhere)?;
            return Ok(walk.report);
        }
        walk.line(&line)?;
    }
}

/// The next line. Bytes after the last one, or a line without its end, are refused.
fn next<'a>(bundle: &mut impl BufRead, buffer: &'a mut Vec<u8>) -> Result<Line<'a>, Breach> {
    buffer.clear();
    let unreadable = |error: &dyn std::fmt::Display| breach(Rule::Readable, "a line of the bundle", error);
    bundle.take(MAX_LINE).read_until(b'\n', buffer).map_err(|error| unreadable(&error))?;
    let line =
        buffer.strip_suffix(b"\n").ok_or_else(|| unreadable(&"the end of the file or a line too long"))?;
    serde_json::from_slice(line).map_err(|error| unreadable(&error))
}

/// The log's keys at one place.
#[derive(Clone, Debug)]
struct Keys {
    log: VerifierKey,
    gateway: VerifierKey,
}

struct Walk<'k> {
    trusted: &'k VerifierKey,
    report: Report,
    /// Where we are, for faults.
    place: Option<u64>,
    lines: u64,
    closed: bool,
    frontier: Frontier,
    batch: Option<(Batch, Vec<LeafHash>)>,
    /// Indexes below are done with.
    next_entry: u64,
    /// Those the present batch is signed with, and those in force after it.
    keys: Option<Keys>,
    upcoming: Option<Keys>,
    /// Whether the trusted key was in force for a batch: it or a successor it vouched for signs the checkpoint.
    anchored: bool,
    policies: BTreeSet<Digest>,
    ids: BTreeSet<EntryId>,
    nonces: BTreeSet<String>,
    passkeys: Passkeys,
    reviews: Reviews,
    stand_ins: StandIns,
    bindings: Bindings,
    tickets: Tickets,
    cases: BTreeMap<ActionId, Case>,
    /// The newest entry, which disclosures belong to.
    entry: Option<(u64, Entry)>,
    opened: BTreeSet<String>,
    /// Index of the newest entry.
    last_read: Option<u64>,
}

impl<'k> Walk<'k> {
    fn new(trusted: &'k VerifierKey, size: u64, from: u64, to: u64) -> Self {
        let report = Report {
            origin: trusted.name().to_owned(),
            from,
            to,
            size,
            root: [0; 32],
            entries: 0,
            actions: 0,
            executed: 0,
            unknown: 0,
            approvals: 0,
            votes: 0,
            disclosures: 0,
            erased: 0,
            policies: 0,
            checkpoint_at: Timestamp::default(),
        };
        Self {
            trusted,
            report,
            place: None,
            lines: 0,
            closed: false,
            frontier: Frontier::default(),
            batch: None,
            next_entry: 0,
            keys: None,
            upcoming: None,
            anchored: false,
            policies: BTreeSet::new(),
            ids: BTreeSet::new(),
            nonces: BTreeSet::new(),
            passkeys: Passkeys::default(),
            reviews: Reviews::default(),
            stand_ins: StandIns::default(),
            bindings: Bindings::default(),
            tickets: Tickets::default(),
            cases: BTreeMap::new(),
            entry: None,
            opened: BTreeSet::new(),
            last_read: None,
        }
    }

    fn line(&mut self, line: &Line<'_>) -> Result<(), Box<Fault>> {
        if let Line::Entry { index, leaf } = line {
            self.place = Some(*index);
            return self.take_entry(*index, leaf.get().as_bytes());
        }
        let place = self.place;
        self.other_line(line).map_err(|breach| breach.at(self.place.or(place), None, None))
    }

    fn other_line(&mut self, line: &Line<'_>) -> Result<(), Breach> {
        demand(Rule::Readable, !self.closed, "the end after the checkpoint", "more lines")?;
        match line {
            Line::Policy { digest, content } => self.policy(digest, content),
            Line::Batch { first, count, epoch, key, signature, leaves } => {
                self.end_batch()?;
                self.place = Some(*first);
                let read = read_batch((*first, *count, *epoch), key, signature, leaves);
                self.begin_batch(
                    read.ok_or_else(|| breach(Rule::Readable, "a batch", "one that is damaged"))?,
                )
            }
            Line::Disclosure { path, salt, value } => self.disclosure(path, salt, value),
            Line::Checkpoint { note } => {
                self.end_batch()?;
                self.checkpoint(note)
            }
            Line::Header { .. } | Line::Entry { .. } | Line::End { .. } => {
                Err(breach(Rule::Readable, "another line", "one that is out of place"))
            }
        }
    }

    fn policy(&mut self, digest: &Digest, content: &str) -> Result<(), Breach> {
        demand(Rule::Readable, self.frontier.size() == 0, "policies before batches", "a policy after one")?;
        let damaged = |_| breach(Rule::Policy, "the content in base64", "something else");
        let found = bundle_digest(&STANDARD.decode(content).map_err(damaged)?);
        same(Rule::Policy, "content of", digest, &found)?;
        self.report.policies += 1;
        demand(Rule::Readable, self.policies.insert(*digest), "each policy once", digest)
    }

    fn begin_batch(&mut self, (batch, leaves): (Batch, Vec<LeafHash>)) -> Result<(), Breach> {
        let size = self.frontier.size();
        same(Rule::Covered, "a batch from", &size, &batch.first)?;
        self.frontier.extend(leaves.iter().copied());
        let within = self.frontier.size() <= self.report.size;
        demand(Rule::Covered, within, format!("{} leaves", self.report.size), "more")?;
        self.keys = self.upcoming.clone();
        self.anchor();
        self.batch = Some((batch, leaves));
        Ok(())
    }

    /// A batch is judged after its entries: the first one names the keys.
    fn end_batch(&mut self) -> Result<(), Breach> {
        self.entry = None;
        let Some((batch, leaves)) = self.batch.take() else { return Ok(()) };
        self.skip_to(self.frontier.size())?;
        self.place = Some(batch.first);
        let keys = self
            .keys
            .as_ref()
            .ok_or_else(|| breach(Rule::Trusted, "`log.opened` as the first entry", "none"))?;
        let expected = format!("a batch signed by the gateway key {}", keys.gateway.id());
        let verified = batch.verify(&keys.gateway, self.trusted.name(), &leaves);
        verified.map_err(|error| breach(Rule::BatchSigned, expected, error))
    }

    /// That no entry of the range is left out on the way to `index`.
    fn skip_to(&mut self, index: u64) -> Result<(), Breach> {
        let missing = self.next_entry.max(self.report.from);
        let complete = missing >= index.min(self.report.to);
        self.place = Some(missing);
        demand(Rule::Complete, complete, format!("entry {missing}"), "a gap")?;
        self.next_entry = index;
        Ok(())
    }

    fn take_entry(&mut self, index: u64, bytes: &[u8]) -> Result<(), Box<Fault>> {
        let leaf = self.admit(index, bytes).map_err(|breach| breach.at(self.place, None, None))?;
        self.place = Some(index);
        let parsed = Entry::parse(bytes).map_err(|error| breach(Rule::Canonical, "an entry", error));
        let entry = parsed.map_err(|breach| breach.at(Some(index), None, None))?;
        let located = |breach: Breach| breach.at(Some(index), Some(entry.id), entry.action);
        self.read(index, &entry, leaf).map_err(located)?;
        if let Event::LedgerRedacted { paths, .. } = &entry.event {
            self.report.erased += paths.len() as u64;
        }
        self.report.entries += 1;
        self.report.checkpoint_at = entry.at;
        self.opened.clear();
        self.last_read = Some(index);
        self.entry = Some((index, entry));
        Ok(())
    }

    /// That the bytes are those the tree holds at this place.
    fn admit(&mut self, index: u64, bytes: &[u8]) -> Result<LeafHash, Breach> {
        demand(Rule::Readable, index >= self.next_entry, "entries in order", format!("entry {index} again"))?;
        self.skip_to(index)?;
        self.place = Some(index);
        let leaf = self.batch.as_ref().and_then(|(batch, leaves)| {
            let at = usize::try_from(index.checked_sub(batch.first)?).ok()?;
            leaves.get(at).copied()
        });
        let leaf = leaf.ok_or_else(|| breach(Rule::Readable, "an entry of the batch before it", index))?;
        same(Rule::Leaf, "the leaf hash", &leaf, &leaf_hash(bytes))?;
        self.next_entry = index + 1;
        Ok(leaf)
    }

    fn read(&mut self, index: u64, entry: &Entry, leaf: LeafHash) -> Result<(), Breach> {
        demand(Rule::Log, entry.log == self.trusted.name(), self.trusted.name(), &entry.log)?;
        demand(Rule::Unique, self.ids.insert(entry.id), "an id that is new", entry.id)?;
        let missing = entry.event.bundles().into_iter().find(|digest| !self.policies.contains(digest));
        if let Some(digest) = missing {
            return Err(breach(Rule::Policy, format!("the content of {digest}"), "none in the bundle"));
        }
        self.read_keys(index, &entry.event)?;
        if let Event::PasskeyRegistered { person, credential, public_key, relying_party, origin, .. } =
            &entry.event
        {
            self.passkeys.register(*person, *credential, public_key, (relying_party, origin))?;
        }
        if let Event::PasskeyRemoved { person, credential } = &entry.event {
            self.passkeys.remove(*person, *credential)?;
        }
        if let Event::ApprovalVoted { statement, .. } | Event::ApprovalGlassBroken { statement, .. } =
            &entry.event
        {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let shaped = statement.nonce.len() == 64 && statement.nonce.bytes().all(hex);
            demand(Rule::Nonce, shaped, "32 bytes in hexadecimal", &statement.nonce)?;
            let unused = self.nonces.insert(statement.nonce.clone());
            demand(Rule::Nonce, unused, "a nonce that is new", &statement.nonce)?;
        }
        self.reviews.read(&entry.event)?;
        self.stand_ins.read(entry.at, &entry.event)?;
        self.bindings.read(entry.at, &entry.event)?;
        self.tickets.read(&entry.event)?;
        match entry.action {
            Some(action) => self.read_action(action, entry, leaf),
            None => demand(Rule::Linked, entry.parent.is_none(), "no parent without an action", "one")
                .and_then(|()| unbound(&entry.event)),
        }
    }

    fn read_action(&mut self, action: ActionId, entry: &Entry, leaf: LeafHash) -> Result<(), Breach> {
        if let Some(case) = self.cases.get_mut(&action) {
            case.link(entry, leaf)?;
        } else {
            self.cases.insert(action, Case::begin(entry, leaf)?);
            self.report.actions += 1;
        }
        let Some(case) = self.cases.get_mut(&action) else { return Ok(()) };
        let Gain { executed, unknown, approvals, votes } = case.step(entry, &self.passkeys)?;
        self.report.executed += executed;
        self.report.unknown += unknown;
        self.report.approvals += approvals;
        self.report.votes += votes;
        Ok(())
    }

    fn read_keys(&mut self, index: u64, event: &Event) -> Result<(), Breach> {
        let wrong = |error: crate::error::NoteError| breach(Rule::Trusted, "keys vouched for", error);
        if let Event::LogOpened { log_key, gateway_key, endorsement } = event {
            demand(
                Rule::Trusted,
                index == 0,
                "`log.opened` once, at the beginning",
                format!("it at {index}"),
            )?;
            let first: VerifierKey = log_key.parse().map_err(wrong)?;
            demand(Rule::Trusted, first.name() == self.trusted.name(), self.trusted.name(), first.name())?;
            let (log, gateway) = endorsed_keys(&first, log_key, gateway_key, endorsement).map_err(wrong)?;
            self.keys = Some(Keys { log, gateway });
            self.upcoming = self.keys.clone();
            self.anchor();
        } else if index == 0 {
            return Err(breach(Rule::Trusted, "`log.opened` as the first entry", event.kind()));
        }
        if let Event::KeyRotated { log_key, gateway_key, endorsement } = event {
            let authority = self.upcoming.as_ref().map_or(self.trusted, |keys| &keys.log);
            let (log, gateway) =
                endorsed_keys(authority, log_key, gateway_key, endorsement).map_err(wrong)?;
            self.upcoming = Some(Keys { log, gateway });
        }
        Ok(())
    }

    fn anchor(&mut self) {
        self.anchored |= self.keys.as_ref().is_some_and(|keys| keys.log == *self.trusted);
    }

    fn disclosure(&mut self, path: &str, salt: &str, value: &str) -> Result<(), Breach> {
        let Some((index, entry)) = &self.entry else {
            return Err(breach(Rule::Readable, "an entry before a disclosure", "none"));
        };
        self.place = Some(*index);
        let damaged = || breach(Rule::Disclosure, "salt and value in base64url", "something else");
        let salt =
            URL_SAFE_NO_PAD.decode(salt).ok().and_then(|salt| salt.try_into().ok()).ok_or_else(damaged)?;
        let value = URL_SAFE_NO_PAD.decode(value).map_err(|_| damaged())?;
        let opened = entry.open(path, &salt, &value);
        opened.map_err(|error| breach(Rule::Disclosure, "what was committed to", error))?;
        self.report.disclosures += 1;
        demand(Rule::Readable, self.opened.insert(path.to_owned()), "each disclosure once", path)
    }

    fn checkpoint(&mut self, note: &str) -> Result<(), Breach> {
        self.place = None;
        same(Rule::Covered, "leaves", &self.report.size, &self.frontier.size())?;
        let keys = self.keys.as_ref().ok_or_else(|| breach(Rule::Trusted, "the keys of the log", "none"))?;
        let trusted = format!("the trusted key {} among those that signed", self.trusted.id());
        demand(Rule::Trusted, self.anchored, trusted, format!("only others, the last {}", keys.log.id()))?;
        let expected = format!("a checkpoint signed by the log key {}", keys.log.id());
        let found =
            Checkpoint::open(note, &keys.log).map_err(|error| breach(Rule::Signed, expected, error))?;
        same(Rule::Root, "size", &self.frontier.size(), &found.size)?;
        let root = self.frontier.root();
        same(Rule::Root, "root", &Digest(root), &Digest(found.root))?;
        same(Rule::Complete, "the newest entry", &self.report.size, &self.next_read())?;
        self.report.root = root;
        self.closed = true;
        Ok(())
    }

    /// One past the newest entry that was read.
    fn next_read(&self) -> u64 {
        self.last_read.map_or(0, |index| index + 1)
    }
}

/// An event that is about an action must name it.
fn unbound(event: &Event) -> Result<(), Breach> {
    let bound = matches!(
        event,
        Event::ActionRefused { .. }
            | Event::ApprovalRequested { .. }
            | Event::ApprovalRoundOpened { .. }
            | Event::ApprovalVoted { .. }
            | Event::ApprovalTicketRefused { .. }
            | Event::ApprovalGlassBroken { .. }
            | Event::ApprovalGlassReviewed { .. }
            | Event::ApprovalGranted { .. }
            | Event::ApprovalClosed { .. }
            | Event::ApprovalRevokedWhileRunning { .. }
            | Event::ExecutionAuthorized(_)
            | Event::ExecutionReleased { .. }
            | Event::ExecutionResult(_)
            | Event::ExecutionUnknown { .. }
            | Event::ExecutionResolved { .. }
            | Event::ResultDelivered { .. }
    );
    demand(Rule::Order, !bound, "an action", format!("`{}` without one", event.kind()))
}
