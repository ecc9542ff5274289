//! What one channel has been told of one approval, and what not yet: a numbered list of news, each one entry of the
//! ledger.

use crate::{
    error::Error,
    hold::{Hold, json},
    outbox::Shelf,
    port::store::{Change, EntryRow, Expect, Key, Kind, ReadError, Record},
};
use countersign_core::{ApprovalId, ChannelName, EntryId, GateName, Timestamp, approval::Approval};
use serde::{Deserialize, Serialize};

/// So many attempts to run are told one by one while a channel is down; of more, only how it ended is.
const MOST: usize = 256;

/// One approval on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    pub approval: ApprovalId,
    pub channel: ChannelName,
    /// Number of the newest news there is.
    pub wanted: u32,
    /// Number of the newest that was told or given up.
    pub told: u32,
    pub told_at: Option<Timestamp>,
    /// What was not told yet, oldest first.
    pub waiting: Vec<News>,
    /// How often the first of them was tried in vain.
    pub tries: u32,
    /// When it was first tried in vain.
    pub failing_since: Option<Timestamp>,
    /// It is not tried before.
    pub next_try: Option<Timestamp>,
    pub last_error: Option<Missed>,
    /// What is not tried any more, oldest first.
    pub given_up: Vec<GivenUp>,
    /// Where the channel put it, where it has a place to change.
    pub posted: Option<String>,
}

/// Something that became of an approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// From 1, without gaps, for each approval on each channel.
    pub number: u32,
    /// The entry of the ledger that says so.
    pub entry: EntryId,
    /// That entry's type, such as `approval.requested`.
    pub kind: String,
    /// Whose doing it was: an id, `operator` or `gateway`; empty in records of before this was kept.
    #[serde(default)]
    pub by: String,
    pub at: Timestamp,
    /// Where the approval stood then.
    pub state: String,
    /// How far its gates were then, in the newest round.
    pub gates: Vec<Progress>,
}

/// How far a gate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub gate: GateName,
    pub votes: u32,
    pub quorum: u32,
    pub lifted: bool,
}

/// Why something was not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    pub at: Timestamp,
    /// In our own words; never what a server answered.
    pub why: String,
}

/// News that is not tried any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    pub news: News,
    pub missed: Missed,
}

/// Whether channels are told of entries of this type. A refused vote is not: anybody can cause as many as they like.
pub(super) fn is_news(kind: &str) -> bool {
    let of_an_approval = kind.starts_with("approval.") || kind.starts_with("execution.");
    (of_an_approval && kind != "approval.vote_refused") || kind == "result.delivered"
}

/// Entries that come with every attempt to run.
fn is_of_an_attempt(kind: &str) -> bool {
    matches!(kind, "execution.authorized" | "execution.released")
}

pub(super) fn id(approval: ApprovalId, channel: &ChannelName) -> String {
    format!("{approval}.{channel}")
}

impl Outgoing {
    pub(super) fn new(approval: ApprovalId, channel: ChannelName) -> Self {
        Self {
            approval,
            channel,
            wanted: 0,
            told: 0,
            told_at: None,
            waiting: Vec::new(),
            tries: 0,
            failing_since: None,
            next_try: None,
            last_error: None,
            given_up: Vec::new(),
            posted: None,
        }
    }

    pub(super) fn read(record: &Record) -> Result<Self, ReadError> {
        serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Outgoing, why: error.to_string() })
    }

    pub(super) fn put(&self, expect: Expect) -> Result<Change, Error> {
        let key = |shelf: Shelf| Key { name: shelf.key(), value: self.channel.to_string(), unique: false };
        let mut keys = vec![key(Shelf::All)];
        if !self.waiting.is_empty() {
            keys.push(key(if self.tries == 0 { Shelf::Due } else { Shelf::Later }));
        }
        if !self.given_up.is_empty() {
            keys.push(key(Shelf::GivenUp));
        }
        let doc = json(self)?.into();
        Ok(Change::Put { kind: Kind::Outgoing, id: id(self.approval, &self.channel), expect, doc, keys })
    }

    /// Takes in what an entry says of the approval as it is now.
    pub(super) fn add(&mut self, hold: &Hold, row: &EntryRow) {
        if self.waiting.len() >= MOST && is_of_an_attempt(row.sealed.kind) {
            return;
        }
        self.wanted = self.wanted.saturating_add(1);
        self.waiting.push(News {
            number: self.wanted,
            entry: row.sealed.id,
            kind: row.sealed.kind.into(),
            by: row.actor.clone(),
            at: row.sealed.at,
            state: hold.approval.state.as_str().into(),
            gates: progress(&hold.approval),
        });
    }

    /// The first that waits was told. Another than that was told by somebody else already.
    pub(super) fn told(&mut self, number: u32, now: Timestamp, posted: Option<String>) {
        if posted.is_some() {
            self.posted = posted;
        }
        if self.take(number).is_some() {
            self.told_at = Some(now);
        }
    }

    pub(super) fn missed(&mut self, number: u32, missed: Missed, next: Timestamp) {
        if self.is_first(number) {
            self.tries = self.tries.saturating_add(1);
            self.failing_since.get_or_insert(missed.at);
            self.next_try = Some(next);
            self.last_error = Some(missed);
        }
    }

    /// Whether that was the first that waits, which is not tried any more now.
    pub(super) fn give_up(&mut self, number: u32, missed: Missed) -> bool {
        let Some(news) = self.take(number) else { return false };
        self.last_error = Some(missed.clone());
        self.given_up.push(GivenUp { news, missed });
        true
    }

    /// Whether there was something to try again.
    pub(super) fn replay(&mut self) -> bool {
        if self.given_up.is_empty() {
            return false;
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = self.given_up.drain(..).map(|given_up| given_up.news).chain(waiting).collect();
        self.waiting.sort_by_key(|news| news.number);
        self.afresh();
        true
    }

    fn is_first(&self, number: u32) -> bool {
        self.waiting.first().is_some_and(|news| news.number == number)
    }

    fn take(&mut self, number: u32) -> Option<News> {
        if !self.is_first(number) {
            return None;
        }
        self.told = self.told.max(number);
        self.afresh();
        Some(self.waiting.remove(0))
    }

    fn afresh(&mut self) {
        self.tries = 0;
        self.failing_since = None;
        self.next_try = None;
    }
}

fn progress(approval: &Approval) -> Vec<Progress> {
    let Some(round) = approval.round() else { return Vec::new() };
    let votes = |gate: &GateName| round.votes.get(gate).map_or(0, std::collections::BTreeMap::len);
    let one = |gate: &countersign_core::decision::Gate| Progress {
        gate: gate.name.clone(),
        votes: u32::try_from(votes(&gate.name)).unwrap_or(u32::MAX),
        quorum: gate.quorum.get(),
        lifted: round.lifted(gate),
    };
    round.gates.iter().map(one).collect()
}
