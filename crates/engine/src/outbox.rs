//! The outbox: what each channel still has to be told of each approval. News of an approval is committed together with
//! the change it is about, so a channel that is down, or a gateway that dies, loses none; whoever delivers takes it from
//! here, in order, and says what became of it.

mod channels;
mod flood;
mod outgoing;
mod rest;
mod route;

pub use channels::{Channel, ChannelSpec, Channels, Hears, Standing, Together, Unread};
pub use outgoing::{GivenUp, Missed, News, Outgoing, Progress, Shared};
pub use rest::{DAYS, Quiet, Rest};
pub use route::{Call, Calls, Facts, MOST_REMINDERS, Plan, Route, Step, Urgency, When, span_in_words};

use crate::{
    error::Error,
    gate::Gate,
    hold::Hold,
    journal::{JournalError, Note},
    port::store::{Change, CommitError, EntryRow, Expect, Find, Kind},
};
use countersign_core::{ApprovalId, ChannelName, PersonId, Timestamp};
use countersign_ledger::event::{Actor, Event};
use outgoing::Wait;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often a record is tried again when somebody else was faster.
const TRIES: usize = 64;

/// Which records of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// News that was not tried yet, or succeeded last.
    Due,
    /// News that failed and waits for its next try, or was put off.
    Later,
    /// News that was given up.
    GivenUp,
    /// Everything there ever was.
    All,
}

impl Shelf {
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Later => "later",
            Self::GivenUp => "given_up",
            Self::All => "channel",
        }
    }
}

/// What is put into the outbox: changes, and until when it puts off which channels.
#[derive(Debug, Default)]
pub(crate) struct Posting {
    pub(crate) changes: Vec<Change>,
    pub(crate) put_off: Vec<(ChannelName, Timestamp)>,
}

/// The changes that put news of these entries into the outbox of every channel that hears of the approval.
pub(crate) async fn news(
    gate: &Gate,
    hold: &Hold,
    entries: &[EntryRow],
    first: First,
) -> Result<Posting, Error> {
    let told: Vec<&EntryRow> = entries.iter().filter(|row| outgoing::is_news(row.sealed.kind)).collect();
    let mut posting = Posting::default();
    if told.is_empty() {
        return Ok(posting);
    }
    for channel in gate.channels().of(&hold.notify) {
        let (approval, name) = (hold.approval.id, &channel.spec.name);
        let known = match first {
            First::Yes => None,
            First::No => load(gate, approval, name).await?,
        };
        let (mut outgoing, expect) = match known {
            Some((outgoing, version)) => (outgoing, Expect::Version(version)),
            None => (Outgoing::new(approval, name.clone()), Expect::Absent),
        };
        for row in &told {
            let wait = wait(channel, hold, row, &outgoing);
            posting.put_off.extend(wait.after.map(|until| (name.clone(), until)));
            outgoing.add(hold, row, wait);
        }
        posting.changes.push(outgoing.put(expect)?);
    }
    Ok(posting)
}

/// What is put off until the readers of a channel are there is told with whatever else was.
pub const WHEN_IT_SUITS: &str = "rest";

/// When a channel is told of this, and with what: later where a route says so, with others where there are many of its kind,
/// and never before what it comes behind.
fn wait(channel: &Channel, hold: &Hold, row: &EntryRow, outgoing: &Outgoing) -> Wait {
    let (kind, at, name) = (row.sealed.kind, row.sealed.at, channel.spec.name.as_str());
    let Some(round) = hold.approval.round().filter(|_| !outgoing::is_alarm(kind)) else {
        return Wait::default();
    };
    let (times, asks) = ((round.opened_at, round.deadline), outgoing::asks(kind));
    let latest = latest(at, times, channel.spec.together);
    if let Some(after) = hold.calls.plan.release(name, at, times) {
        return Wait { after: Some(after.min(latest)), gather: asks.then(|| WHEN_IT_SUITS.to_owned()) };
    }
    if let Some(flooded) = asks.then(|| channel.flooded(&similar(hold), at)).flatten() {
        let after = flooded.until.min(latest).max(at);
        return Wait { after: Some(after), gather: Some(flooded.with) };
    }
    let behind = outgoing.waiting.last().and_then(|news| news.after);
    Wait { after: behind.filter(|after| *after > at), gather: None }
}

/// Not later than this is told what comes up at `at` in a round that began and ends so: when half of its time is over, or half
/// of what is left of it. Where messages are shared it is a moment that others have too, a little before: halves that differ by
/// seconds would share nothing.
fn latest(at: Timestamp, (opened, deadline): (Timestamp, Timestamp), limit: Option<Together>) -> Timestamp {
    let half = opened.plus(deadline.since(opened) / 2);
    let half = if at < half { half } else { at.plus(deadline.since(at) / 2) };
    let step = limit.map_or(Duration::ZERO, |limit| limit.within.min(deadline.since(opened) / 4));
    let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
    let over = half.0.checked_rem_euclid(step).unwrap_or(0);
    Some(Timestamp(half.0.saturating_sub(over))).filter(|shared| *shared > at).unwrap_or(half)
}

/// What approvals have in common that one message can ask about: who asks, for whom, what it is done to, how, and whom
/// policy asks for it.
pub fn similar(hold: &Hold) -> String {
    let seen = &hold.view.computed;
    let people =
        |ids: &mut dyn Iterator<Item = &PersonId>| ids.map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut parts = vec![
        seen.requester.to_string(),
        people(&mut seen.owners.iter()),
        people(&mut seen.on_behalf_of.iter()),
        seen.target.to_string(),
        seen.environment.to_string(),
        seen.class.clone(),
        seen.operation.clone().unwrap_or_default(),
    ];
    let gates = hold.approval.round().map(|round| round.gates.as_slice()).unwrap_or_default();
    parts.extend(gates.iter().map(|gate| gate.name.to_string()));
    flood::similar(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Whether an approval is only being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Yes,
    No,
}

/// What a channel still has to be told of an approval, with the version it was read at.
pub async fn load(
    gate: &Gate,
    approval: ApprovalId,
    channel: &ChannelName,
) -> Result<Option<(Outgoing, u64)>, Error> {
    let record = gate.store().fetch(Kind::Outgoing, &outgoing::id(approval, channel)).await?;
    Ok(record.map(|record| Outgoing::read(&record).map(|read| (read, record.version))).transpose()?)
}

/// What the channel put at this place: by our own records, whatever stands there now.
pub async fn put_at(gate: &Gate, channel: &ChannelName, place: &str) -> Result<Option<Outgoing>, Error> {
    let keys = vec![(outgoing::PLACE, outgoing::place(channel, place))];
    let records = gate.store().find(Kind::Outgoing, Find { keys, before: None, limit: 1 }).await?;
    Ok(records.first().map(Outgoing::read).transpose()?)
}

/// What every channel that hears of an approval was told of it.
pub async fn of_approval(gate: &Gate, hold: &Hold) -> Result<Vec<Outgoing>, Error> {
    let mut found = Vec::new();
    for channel in gate.channels().of(&hold.notify) {
        found.extend(load(gate, hold.approval.id, &channel.spec.name).await?.map(|(outgoing, _)| outgoing));
    }
    Ok(found)
}

/// One page of a channel's records, newest approval first; `before` is the last of the page before.
pub async fn page(
    gate: &Gate,
    channel: &ChannelName,
    shelf: Shelf,
    before: Option<ApprovalId>,
    limit: usize,
) -> Result<Vec<Outgoing>, Error> {
    let before = before.map(|approval| outgoing::id(approval, channel));
    let find = Find { keys: vec![(shelf.key(), channel.to_string())], before, limit };
    let records = gate.store().find(Kind::Outgoing, find).await?;
    Ok(records.iter().map(Outgoing::read).collect::<Result<_, _>>()?)
}

/// How many approvals are on a shelf of a channel, counted up to a bound.
pub async fn count(gate: &Gate, channel: &ChannelName, shelf: Shelf, most: usize) -> Result<usize, Error> {
    let find = Find { keys: vec![(shelf.key(), channel.to_string())], before: None, limit: most };
    Ok(gate.store().find(Kind::Outgoing, find).await?.len())
}

/// The first news that waits was told. `posted` is where the channel put it, where it has a place to change later.
pub async fn told(
    gate: &Gate,
    of: &Outgoing,
    number: u32,
    posted: Option<String>,
) -> Result<Outgoing, Error> {
    let now = gate.now();
    amend(gate, of, |outgoing| {
        outgoing.told(number, now, posted.clone());
        None
    })
    .await
}

/// What people did where the channel put it was taken in so far.
pub async fn heard(gate: &Gate, of: &Outgoing, heard_to: &str) -> Result<Outgoing, Error> {
    amend(gate, of, |outgoing| {
        outgoing.heard_to = Some(heard_to.to_owned());
        None
    })
    .await
}

/// Who was asked by the first news that waits, before it is told.
pub async fn asked(gate: &Gate, of: &Outgoing, people: &BTreeSet<PersonId>) -> Result<Outgoing, Error> {
    if people.is_subset(&of.asked) {
        return Ok(of.clone());
    }
    amend(gate, of, |outgoing| {
        outgoing.asked.extend(people.iter().copied());
        None
    })
    .await
}

/// Everything up to this number was told in one message with other approvals, which asked these people.
pub async fn told_together(
    gate: &Gate,
    (approval, channel): (ApprovalId, &ChannelName),
    upto: u32,
    shared: &Shared,
    people: &BTreeSet<PersonId>,
) -> Result<(), Error> {
    let now = gate.now();
    let amended = amend_at(gate, approval, channel, |outgoing| {
        outgoing.told_together(upto, now, shared, people);
        None
    });
    amended.await.map(drop)
}

/// How many of the approvals that were told in one message still wait for people, counted up to a bound.
pub async fn open_together(
    gate: &Gate,
    channel: &ChannelName,
    mark: &str,
    most: usize,
) -> Result<usize, Error> {
    with_key(gate, ("together", format!("{channel} {mark}")), most).await
}

/// Who was asked about an approval, on whichever channel that writes it down.
pub async fn asked_about(gate: &Gate, approval: ApprovalId) -> Result<BTreeSet<PersonId>, Error> {
    let mut asked = BTreeSet::new();
    for channel in gate.channels().all() {
        if let Some((outgoing, _)) = load(gate, approval, &channel.spec.name).await? {
            asked.extend(outgoing.asked);
        }
    }
    Ok(asked)
}

/// About how many open approvals somebody was asked, counted up to a bound: each once, on however many channels, and those
/// that came in one message as that one. A flood does not keep them from what comes behind it.
pub async fn load_of(gate: &Gate, person: PersonId, most: usize) -> Result<usize, Error> {
    let (mut alone, mut with_others, mut before) = (BTreeSet::new(), BTreeMap::new(), None);
    loop {
        let keys = vec![(outgoing::ASKED, person.to_string())];
        let records = gate.store().find(Kind::Outgoing, Find { keys, before, limit: most }).await?;
        for record in &records {
            let outgoing = Outgoing::read(record)?;
            match outgoing.together.into_iter().next().filter(|_| outgoing.posted.is_none()) {
                Some(shared) => drop(with_others.entry(outgoing.approval).or_insert(shared.mark)),
                None => drop(alone.insert(outgoing.approval)),
            }
        }
        let shared =
            with_others.iter().filter(|(approval, _)| !alone.contains(*approval)).map(|(_, mark)| mark);
        let asked = alone.len() + shared.collect::<BTreeSet<_>>().len();
        before = records.last().map(|record| record.id.clone());
        if records.len() < most || asked >= most {
            return Ok(asked.min(most));
        }
    }
}

async fn with_key(gate: &Gate, key: (&'static str, String), most: usize) -> Result<usize, Error> {
    let find = Find { keys: vec![key], before: None, limit: most };
    Ok(gate.store().find(Kind::Outgoing, find).await?.len())
}

/// The first news that waits could not be told; it is tried again at `next`.
pub async fn missed(
    gate: &Gate,
    of: &Outgoing,
    number: u32,
    why: &str,
    next: Timestamp,
) -> Result<Outgoing, Error> {
    let now = gate.now();
    amend(gate, of, |outgoing| {
        outgoing.missed(number, Missed { at: now, why: why.to_owned() }, next);
        None
    })
    .await
}

/// The first news that waits is not tried any more; those behind it go on, as soon as their time has come. It can be replayed.
pub async fn give_up(gate: &Gate, of: &Outgoing, number: u32, why: &str) -> Result<Outgoing, Error> {
    let now = gate.now();
    amend(gate, of, |outgoing| {
        let missed = Missed { at: now, why: why.to_owned() };
        outgoing.give_up(number, missed, now).then(|| {
            let (approval, channel) = (outgoing.approval, outgoing.channel.clone());
            Note::new(Actor::Gateway, Event::NotificationGivenUp { approval, channel }).private("error", why)
        })
    })
    .await
}

/// What was given up is told once more, at once, by itself and before whatever waits; recorded with who wanted it. `None`: nothing was given up.
pub async fn replay(
    gate: &Gate,
    approval: ApprovalId,
    channel: &ChannelName,
    by: &Actor,
) -> Result<Option<Outgoing>, Error> {
    let Some((known, _)) = load(gate, approval, channel).await? else { return Ok(None) };
    if known.given_up.is_empty() {
        return Ok(None);
    }
    let outgoing = amend(gate, &known, |outgoing| {
        outgoing.replay().then(|| {
            let channel = outgoing.channel.clone();
            Note::new(by.clone(), Event::NotificationReplayed { approval, channel })
        })
    });
    let outgoing = outgoing.await?;
    gate.channels().ring([channel]);
    Ok(Some(outgoing))
}

/// Changes a record by compare-and-set: whoever adds news to it meanwhile loses nothing.
async fn amend(
    gate: &Gate,
    of: &Outgoing,
    change: impl FnMut(&mut Outgoing) -> Option<Note>,
) -> Result<Outgoing, Error> {
    amend_at(gate, of.approval, &of.channel, change).await
}

async fn amend_at(
    gate: &Gate,
    approval: ApprovalId,
    channel: &ChannelName,
    mut change: impl FnMut(&mut Outgoing) -> Option<Note>,
) -> Result<Outgoing, Error> {
    let id = outgoing::id(approval, channel);
    for _ in 0..TRIES {
        let Some((mut outgoing, version)) = load(gate, approval, channel).await? else {
            return Err(Error::Missing { kind: Kind::Outgoing, id });
        };
        let notes: Vec<Note> = change(&mut outgoing).into_iter().collect();
        let put = outgoing.put(Expect::Version(version))?;
        match gate.journal().commit(vec![put], notes).await {
            Ok(_) => return Ok(outgoing),
            Err(JournalError::Commit(CommitError::Conflict { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended { kind: Kind::Outgoing, id })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour that is asked for at `opened`, in seconds; messages are shared within two minutes.
    #[test]
    fn nothing_waits_beyond_half_of_its_time_and_those_that_are_near_share_a_moment() {
        let second = |second: i64| Timestamp(second * 1_000_000);
        let shared = Some(Together { after: 3, within: Duration::from_mins(2) });
        let told = |opened: i64, at: i64, span: i64, limit| {
            latest(second(at), (second(opened), second(opened + span)), limit).0 / 1_000_000
        };
        for opened in 0..120 {
            assert_eq!(told(opened, opened, 3_600, shared), 1_800, "the half of those of two minutes");
            assert_eq!(told(opened, opened, 3_600, None), opened + 1_800);
        }
        for (span, at) in
            [(1, 0), (3, 1), (60, 0), (60, 29), (240, 110), (240, 120), (240, 239), (3_600, 2_000)]
        {
            for opened in 0..200 {
                let (at, end) = (opened + at, opened + span);
                let told = latest(second(at), (second(opened), second(end)), shared);
                let half = if at * 2 < opened + end { opened + end } else { at + end };
                assert!(second(at) < told && told.0 <= half * 500_000, "{span} {at} {told:?}");
            }
        }
        assert_eq!((told(0, 2_000, 3_600, shared), told(0, 2_030, 3_600, shared)), (2_760, 2_760));
    }
}
