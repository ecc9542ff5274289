//! What one channel has been told of one approval, and what not yet: a numbered list of news, each one entry of the
//! ledger.

use crate::{
    error::Error,
    hold::{Hold, json},
    outbox::Shelf,
    port::store::{Change, EntryRow, Expect, Key, Kind, ReadError, Record},
};
use countersign_core::{ApprovalId, ChannelName, EntryId, GateName, PersonId, Timestamp, approval::Approval};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// So many attempts to run are told one by one while a channel is down; of more, only how it ended is.
const MOST: usize = 256;

/// Messages with others that are kept in mind for one approval; reminders are fewer than that.
const MOST_SHARED: usize = 64;

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
    /// The messages in which it was told with others, oldest first, beside one of its own where it has that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<Shared>,
    /// Who was asked about it, where the channel writes to people.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub asked: BTreeSet<PersonId>,
    /// It waits for people, as far as this channel's news goes.
    #[serde(default)]
    pub open: bool,
    /// How far what people did at that place was taken in, in the channel's own words.
    #[serde(default)]
    pub heard_to: Option<String>,
}

impl News {
    /// Somebody has to look at once, whoever it is for otherwise.
    pub fn is_alarm(&self) -> bool {
        is_alarm(&self.kind)
    }
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
    /// It is not told before, unless something comes behind it that cannot wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Timestamp>,
    /// With which other news it is told, once its time has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gather: Option<String>,
}

/// When news is told, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) after: Option<Timestamp>,
    pub(super) gather: Option<String>,
}

/// How far a gate is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub gate: GateName,
    pub votes: u32,
    pub quorum: u32,
    pub lifted: bool,
}

/// A message in which several approvals were told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// What its approvals are found by.
    pub mark: String,
    /// Where the channel put it, where it has a place to change.
    pub posted: Option<String>,
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

/// Whether channels are told of entries of this type. A refused vote is not, nor a refused ticket: anybody can cause as many as
/// they like.
pub(super) fn is_news(kind: &str) -> bool {
    let of_an_approval = kind.starts_with("approval.") || kind.starts_with("execution.");
    let at_will = matches!(kind, "approval.vote_refused" | "approval.ticket_refused");
    (of_an_approval && !at_will) || kind == "result.delivered"
}

/// Entries by which people are asked.
pub(super) fn asks(kind: &str) -> bool {
    matches!(
        kind,
        "approval.requested" | "approval.round_opened" | "approval.reminded" | "approval.escalated"
    )
}

/// Entries that wait for nothing and nobody: somebody has to look.
pub(super) fn is_alarm(kind: &str) -> bool {
    matches!(kind, "approval.glass_broken" | "approval.revoked_while_running" | "execution.outcome_unknown")
}

/// Entries that come with every attempt to run.
fn is_of_an_attempt(kind: &str) -> bool {
    matches!(kind, "execution.authorized" | "execution.released")
}

pub(super) fn id(approval: ApprovalId, channel: &ChannelName) -> String {
    format!("{approval}.{channel}")
}

/// And by whom they asked, while it is open.
pub(super) const ASKED: &str = "asked";
/// Records are found by where they were put.
pub(super) const PLACE: &str = "place";

/// The place alone: whatever else the channel keeps with it comes behind a space.
pub(super) fn place(channel: &ChannelName, posted: &str) -> String {
    format!("{channel} {}", posted.split(' ').next().unwrap_or_default())
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
            together: Vec::new(),
            asked: BTreeSet::new(),
            open: false,
            heard_to: None,
        }
    }

    /// Nothing of it is told before this moment.
    pub fn asleep_until(&self, now: Timestamp) -> Option<Timestamp> {
        let moments: Option<Vec<Timestamp>> = self.waiting.iter().map(|news| news.after).collect();
        moments?.into_iter().min().filter(|moment| *moment > now)
    }

    /// Until when what waits was put off, if it was.
    pub fn put_off_until(&self) -> Option<Timestamp> {
        let moments: Option<Vec<Timestamp>> = self.waiting.iter().map(|news| news.after).collect();
        moments?.into_iter().min().filter(|_| self.tries == 0)
    }

    /// With which others the first that waits is told now. Where an alarm waits behind it everything goes by itself: others
    /// would hide it.
    pub fn gathered(&self, now: Timestamp) -> Option<&str> {
        let first = self.waiting.first()?;
        if self.waiting.iter().any(|news| is_alarm(&news.kind)) {
            return None;
        }
        first.gather.as_deref().filter(|_| first.after.is_none_or(|after| after <= now))
    }

    /// Whether the first that waits is told to nobody: its approval has no message but one with others, and this is a step on
    /// its way.
    pub fn is_step_of_many(&self) -> bool {
        let first = self.waiting.first().filter(|_| !self.together.is_empty() && self.posted.is_none());
        first.is_some_and(|news| !asks(&news.kind) && !is_alarm(&news.kind))
    }

    pub(super) fn read(record: &Record) -> Result<Self, ReadError> {
        serde_json::from_slice(&record.doc)
            .map_err(|error| ReadError::Garbled { kind: Kind::Outgoing, why: error.to_string() })
    }

    pub(super) fn put(&self, expect: Expect) -> Result<Change, Error> {
        let key = |shelf: Shelf| Key { name: shelf.key(), value: self.channel.to_string(), unique: false };
        let mut keys = vec![key(Shelf::All)];
        if !self.waiting.is_empty() {
            let later = self.tries > 0 || self.waiting.iter().all(|news| news.after.is_some());
            keys.push(key(if later { Shelf::Later } else { Shelf::Due }));
        }
        if self.open {
            let of = |value: &dyn std::fmt::Display| format!("{} {value}", self.channel);
            let together = self.together.iter().map(|shared| ("together", of(&shared.mark)));
            // Whoever is asked is asked once, on however many channels.
            let asked = self.asked.iter().map(|person| (ASKED, person.to_string()));
            keys.extend(together.chain(asked).map(|(name, value)| Key { name, value, unique: false }));
        }
        if !self.given_up.is_empty() {
            keys.push(key(Shelf::GivenUp));
        }
        if let Some(posted) = &self.posted {
            keys.push(Key { name: PLACE, value: place(&self.channel, posted), unique: false });
        }
        let doc = json(self)?.into();
        Ok(Change::Put { kind: Kind::Outgoing, id: id(self.approval, &self.channel), expect, doc, keys })
    }

    /// Takes in what an entry says of the approval as it is now.
    pub(super) fn add(&mut self, hold: &Hold, row: &EntryRow, wait: Wait) {
        self.open = hold.approval.state.as_str() == "pending";
        if self.waiting.len() >= MOST && is_of_an_attempt(row.sealed.kind) {
            return;
        }
        // Who has not heard of it yet is not reminded of it.
        let asleep = wait.after.is_some() && self.waiting.iter().any(|news| asks(&news.kind));
        if asleep && row.sealed.kind == "approval.reminded" {
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
            after: wait.after,
            gather: wait.gather,
        });
    }

    /// Everything up to there was told with others, in one message.
    pub(super) fn told_together(
        &mut self,
        upto: u32,
        now: Timestamp,
        shared: &Shared,
        asked: &BTreeSet<PersonId>,
    ) {
        while let Some(number) = self.waiting.first().map(|news| news.number).filter(|number| *number <= upto)
        {
            self.told(number, now, None);
        }
        self.together.retain(|known| known.mark != shared.mark);
        self.together.push(shared.clone());
        if self.together.len() > MOST_SHARED {
            self.together.remove(0);
        }
        self.asked.extend(asked.iter().copied());
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

    /// Whether that was the first that waits, which is not tried any more now. What is left and due is not put off any more.
    pub(super) fn give_up(&mut self, number: u32, missed: Missed, now: Timestamp) -> bool {
        let Some(news) = self.take(number) else { return false };
        for left in &mut self.waiting {
            left.after = left.after.filter(|after| *after > now);
        }
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
        let again =
            self.given_up.drain(..).map(|given_up| News { after: None, gather: None, ..given_up.news });
        self.waiting = again.chain(waiting).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn waiting(news: &[(&str, i64, Option<i64>)]) -> Outgoing {
        let mut outgoing = Outgoing::new(ApprovalId::from_parts(1, 1), "ops".parse().unwrap());
        for (number, (kind, at, after)) in (1..).zip(news) {
            outgoing.waiting.push(News {
                number,
                entry: EntryId::from_parts(1, u128::from(number)),
                kind: (*kind).into(),
                by: String::new(),
                at: second(*at),
                state: "pending".into(),
                gates: Vec::new(),
                after: after.map(second),
                gather: after.map(|_| "rest".into()),
            });
        }
        outgoing
    }

    #[test]
    fn what_waits_for_nothing_is_due_on_every_clock() {
        let now = second(100);
        for (what, news, asleep, gathered) in [
            ("put off", &[("approval.requested", 0, Some(200))][..], Some(200), false),
            ("its time came", &[("approval.requested", 0, Some(100))], None, true),
            ("the clock was set back", &[("approval.requested", 500, None)], None, false),
            (
                "an alarm on a clock that was set back",
                &[("approval.requested", 0, Some(900)), ("approval.glass_broken", 500, None)],
                None,
                false,
            ),
            (
                "an alarm behind what is due",
                &[("approval.requested", 0, Some(50)), ("approval.glass_broken", 60, None)],
                None,
                false,
            ),
        ] {
            let outgoing = waiting(news);
            assert_eq!(outgoing.asleep_until(now), asleep.map(second), "{what}");
            assert_eq!(outgoing.gathered(now).is_some(), gathered, "{what}");
        }
    }

    #[test]
    fn what_anybody_can_cause_at_will_is_no_news() {
        for (kind, told) in [
            ("approval.requested", true),
            ("approval.voted", true),
            ("approval.vote_refused", false),
            ("approval.ticket_refused", false),
            ("execution.result", true),
        ] {
            assert_eq!(is_news(kind), told, "{kind}");
        }
    }

    #[test]
    fn what_is_given_up_puts_off_nothing_that_is_due_and_comes_back_due() {
        let news = [
            ("approval.requested", 0, Some(50)),
            ("approval.voted", 60, Some(90)),
            ("approval.closed", 70, Some(900)),
        ];
        let mut outgoing = waiting(&news);
        let missed = Missed { at: second(100), why: "full".into() };
        assert!(outgoing.give_up(1, missed, second(100)));
        let after: Vec<_> = outgoing.waiting.iter().map(|news| news.after).collect();
        assert_eq!(after, [None, Some(second(900))]);
        assert!(outgoing.replay());
        let first = &outgoing.waiting[0];
        assert_eq!((first.number, first.after, first.gather.as_deref()), (1, None, None));
    }
}
