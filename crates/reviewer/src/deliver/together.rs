//! Several approvals in one message: what is similar and came in a flood, and what could wait until somebody reads it. Each
//! stays an approval of its own; the message only says that they are there. Ids are remembered up to a bound; what is beyond
//! it has the next message.

use super::{AT_ONCE, Company, Done, Worker, earlier, reach::Loads};
use crate::channel::{Again, Common, Decider, Failed, Gathering, Item, Over, Scope, Why, Writes};
use countersign_core::{ApprovalId, Digest, PersonId, Timestamp, visible};
use countersign_engine::{
    Error,
    hold::Hold,
    outbox::{self, Outgoing, Shared},
    read,
};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
};

/// Approvals of which it is remembered that they are to be told together.
const MOST: usize = 4_096;
/// Approvals that one message lists.
const LISTED: usize = 20;
/// Approvals that are looked at for who may decide on them, of each kind.
const LOOKED_AT: usize = 64;
/// Messages that are kept as they are until they are told.
const KEPT: usize = 256;
/// Messages of which it is remembered that they are over.
const REMEMBERED: usize = 256;
/// What was told to nobody, as it was decided before its time came.
const NOBODY: &str = "nobody";

/// What is told together, by what it has in common.
#[derive(Debug, Default)]
pub(super) struct Many {
    groups: BTreeMap<String, Vec<Member>>,
    count: usize,
}

/// One approval, and up to which news it is told.
#[derive(Clone, Copy, Debug)]
struct Member {
    approval: ApprovalId,
    first: u32,
    upto: u32,
    /// Something on the channel shows it already: a message of its own, or one with others.
    shown: bool,
}

/// A message that could not be told. It is tried again with the same id and about the same approvals, so that nobody who has
/// it gets it twice.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    id: String,
    approvals: BTreeSet<ApprovalId>,
    next: Option<Timestamp>,
}

/// What several approvals come to.
#[derive(Default)]
struct Sum {
    open: Vec<Member>,
    items: Vec<Item>,
    /// Of the first, and the list that shows what is like it.
    common: Option<(Common, String)>,
    /// Not all have that in common.
    differ: bool,
    deciders: BTreeMap<PersonId, Decider>,
    /// How many of each kind were looked at for these.
    looked_at: BTreeMap<String, usize>,
    loads: Loads,
    /// The channel is for somebody who may decide on one of them.
    meant: bool,
}

impl Many {
    pub(super) fn add(&mut self, outgoing: &Outgoing, now: Timestamp) {
        let (Some(mark), Some(first), Some(last)) =
            (outgoing.gathered(now), outgoing.waiting.first(), outgoing.waiting.last())
        else {
            return;
        };
        let shown = outgoing.posted.is_some() || !outgoing.together.is_empty();
        let member = Member { approval: outgoing.approval, first: first.number, upto: last.number, shown };
        self.groups.entry(mark.to_owned()).or_default().push(member);
        self.count += 1;
    }

    pub(super) const fn is_full(&self) -> bool {
        self.count >= MOST
    }
}

impl Worker<'_> {
    /// Tells what was gathered. The answer is when to come again.
    pub(super) async fn together(
        &self,
        many: Many,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        let mut soonest = None;
        for (mark, members) in many.groups {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            soonest = earlier(soonest, self.group(&mark, members, stopped).await?);
        }
        Ok(soonest)
    }

    /// What could not be told before stays a message of its own; the others are another one.
    async fn group(
        &self,
        mark: &str,
        members: Vec<Member>,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        let kept = self.kept.lock().get(mark).cloned();
        let of_it =
            |member: &Member| kept.as_ref().is_some_and(|kept| kept.approvals.contains(&member.approval));
        let (again, rest): (Vec<Member>, Vec<Member>) = members.into_iter().partition(of_it);
        let mut soonest = None;
        if let Some(kept) = kept.filter(|_| !again.is_empty()) {
            soonest = match kept.next.filter(|next| *next > self.gate.now()) {
                Some(next) => Some(next),
                None => self.batch(mark, again, Some(kept.id), stopped).await?,
            };
        }
        if stopped.load(Ordering::Relaxed) {
            return Ok(soonest);
        }
        Ok(earlier(soonest, self.batch(mark, rest, None, stopped).await?))
    }

    async fn batch(
        &self,
        mark: &str,
        mut members: Vec<Member>,
        id: Option<String>,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        members.sort_by_key(|member| member.approval);
        let (mut sum, mut over) = (Sum::default(), Vec::new());
        for member in members {
            let hold = read::hold(self.gate, member.approval).await?;
            match hold.filter(|hold| hold.approval.state.as_str() == "pending") {
                Some(hold) => {
                    self.look(&mut sum, &hold).await?;
                    sum.open.push(member);
                }
                None => over.push(member),
            }
        }
        let soonest = self.pass_over(over, stopped).await?;
        let next = match sum.open.as_slice() {
            [] => None,
            [alone] => self.by_itself(alone.approval, stopped).await?,
            _ => return Ok(earlier(soonest, self.message(mark, sum, id, stopped).await?)),
        };
        if id.is_some() {
            self.kept.lock().remove(mark);
        }
        Ok(earlier(soonest, next))
    }

    async fn by_itself(
        &self,
        approval: ApprovalId,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        let known = outbox::load(self.gate, approval, &self.channel.spec.name).await?;
        let Some((outgoing, _)) = known else { return Ok(None) };
        match self.one(outgoing, stopped, Company::None).await? {
            Done::At(moment) => Ok(Some(moment)),
            Done::Told | Done::Left | Done::Gathered(_) => Ok(None),
        }
    }

    /// What was decided by people who did not need to be told is told to nobody; what the channel shows already is changed.
    async fn pass_over(&self, over: Vec<Member>, stopped: &AtomicBool) -> Result<Option<Timestamp>, Error> {
        let (mut quietly, mut soonest) = (Vec::new(), None);
        for member in over {
            let known = if member.shown {
                outbox::load(self.gate, member.approval, &self.channel.spec.name).await?
            } else {
                None
            };
            let Some((outgoing, _)) = known else {
                quietly.push(member);
                continue;
            };
            if outgoing.posted.is_some() {
                soonest = earlier(soonest, self.by_itself(member.approval, stopped).await?);
            } else if let Err(failed) = self.over_if_last(&outgoing).await? {
                if failed.scope == Scope::Channel {
                    stopped.store(true, Ordering::Relaxed);
                }
                let missed = self.missed(outgoing, member.first, &failed).await?;
                soonest = earlier(soonest, self.comes_again(&missed));
            } else {
                quietly.push(member);
            }
        }
        self.mark_told(&quietly, &Shared { mark: NOBODY.into(), posted: None }, &BTreeSet::new()).await?;
        Ok(soonest)
    }

    /// One message about all of them.
    async fn message(
        &self,
        mark: &str,
        mut sum: Sum,
        id: Option<String>,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        let open = std::mem::take(&mut sum.open);
        if !sum.meant {
            let nobody = Shared { mark: NOBODY.into(), posted: None };
            self.mark_told(&open, &nobody, &BTreeSet::new()).await?;
            return Ok(None);
        }
        let gathering = self.gathering(mark, &open, sum, id);
        let approvals = open.iter().map(|member| member.approval).collect();
        self.keep(mark, Kept { id: gathering.id.clone(), approvals, next: None });
        let telling = AssertUnwindSafe(self.tell.tell_together(&gathering)).catch_unwind();
        let told = telling.await.unwrap_or_else(|_| Err(Failed::channel("its answer could not be read")));
        match told {
            Ok(posted) => {
                self.channel.worked(self.gate.now());
                // Where nobody counts how much each is asked, it is not written down.
                let counted = self.tell.most_each().is_some();
                let asked = gathering.deciders.iter().filter(|_| counted).map(|decider| decider.person);
                self.mark_told(&open, &Shared { mark: gathering.id, posted }, &asked.collect()).await?;
                self.kept.lock().remove(mark);
                Ok(None)
            }
            Err(failed) => {
                let (next, given_up) = self.missed_together(&open, failed, stopped).await?;
                let mut kept = self.kept.lock();
                if given_up {
                    kept.remove(mark);
                } else if let Some(kept) = kept.get_mut(mark) {
                    kept.next = next;
                }
                Ok(next)
            }
        }
    }

    fn keep(&self, mark: &str, message: Kept) {
        let mut kept = self.kept.lock();
        kept.insert(mark.to_owned(), message);
        while kept.len() > KEPT {
            kept.pop_first();
        }
    }

    async fn mark_told(
        &self,
        members: &[Member],
        shared: &Shared,
        asked: &BTreeSet<PersonId>,
    ) -> Result<(), Error> {
        let (gate, channel) = (self.gate, &self.channel.spec.name);
        let one = |member: Member| {
            outbox::told_together(gate, (member.approval, channel), member.upto, shared, asked)
        };
        let marking: Vec<_> = members.iter().copied().map(one).collect();
        let mut under_way = stream::iter(marking).buffer_unordered(AT_ONCE);
        while let Some(done) = under_way.next().await {
            done?;
        }
        Ok(())
    }

    /// What could not be told stays where it is, and its first remembers why; what is given up is all given up. The answer is
    /// when to come again, and whether it was given up.
    async fn missed_together(
        &self,
        members: &[Member],
        mut failed: Failed,
        stopped: &AtomicBool,
    ) -> Result<(Option<Timestamp>, bool), Error> {
        if failed.scope == Scope::Channel {
            stopped.store(true, Ordering::Relaxed);
        }
        let mut soonest = None;
        for (at, member) in members.iter().enumerate() {
            if at > 0 && failed.again != Again::No {
                break;
            }
            let known = outbox::load(self.gate, member.approval, &self.channel.spec.name).await?;
            if let Some((outgoing, _)) = known {
                let missed = self.missed(outgoing, member.first, &failed).await?;
                soonest = earlier(soonest, self.comes_again(&missed));
                if missed.waiting.first().is_none_or(|news| news.number > member.first) {
                    // It was tried for long enough.
                    failed.again = Again::No;
                }
            }
        }
        Ok((soonest, failed.again == Again::No))
    }

    /// When what is left of it is tried.
    fn comes_again(&self, outgoing: &Outgoing) -> Option<Timestamp> {
        let now = self.gate.now();
        let waits = !outgoing.waiting.is_empty();
        waits.then(|| outgoing.next_try.or_else(|| outgoing.asleep_until(now)).unwrap_or(now))
    }

    /// Where an approval was told with others and does not wait any more: the messages of which it is the last say so.
    pub(super) async fn over_if_last(&self, outgoing: &Outgoing) -> Result<Result<(), Failed>, Error> {
        if outgoing.open {
            return Ok(Ok(()));
        }
        for Shared { mark, posted } in &outgoing.together {
            let Some(posted) = posted else { continue };
            if self.over.lock().contains(mark)
                || outbox::open_together(self.gate, &outgoing.channel, mark, 1).await? > 0
            {
                continue;
            }
            let link = format!("{}/approvals", self.gate.who().console_url);
            let over = Over { id: mark.clone(), posted: posted.clone(), link, now: self.gate.now() };
            let saying = AssertUnwindSafe(self.tell.over(&over)).catch_unwind();
            let said = saying.await.unwrap_or_else(|_| Err(Failed::channel("its answer could not be read")));
            if said.is_err() {
                return Ok(said);
            }
            let mut known = self.over.lock();
            known.insert(over.id);
            while known.len() > REMEMBERED {
                known.pop_first();
            }
        }
        Ok(Ok(()))
    }

    /// Takes in one more that waits for people.
    async fn look(&self, sum: &mut Sum, hold: &Hold) -> Result<(), Error> {
        if sum.items.len() < LISTED {
            sum.items.push(Item {
                approval: hold.approval.id,
                code: hold.view.computed.code.clone(),
                sentence: visible::escaped(&hold.view.computed.sentence),
                deadline: hold.approval.next_deadline(),
                link: self.gate.approval_link(hold.approval.id),
            });
        }
        let common = common(hold);
        if let Some((known, _)) = &sum.common {
            sum.differ |= *known != common;
        } else {
            sum.common = Some((common, list(&self.gate.who().console_url, hold)));
        }
        sum.meant = sum.meant || self.is_for_somebody(hold);
        if self.tell.writes() == Writes::ToAPlace {
            return Ok(());
        }
        let looked_at = sum.looked_at.entry(kind(hold)).or_default();
        *looked_at += 1;
        if *looked_at > LOOKED_AT {
            return Ok(());
        }
        let asked = match self.tell.most_each() {
            None => self.reached(hold),
            Some(most) => {
                let before = outbox::asked_about(self.gate, hold.approval.id).await?;
                self.asked(hold, most, &before, &mut sum.loads).await?
            }
        };
        for person in asked {
            if let (false, Some(decider)) =
                (sum.deciders.contains_key(&person), self.decider(hold, person, String::new()))
            {
                sum.deciders.insert(person, decider);
            }
        }
        Ok(())
    }

    fn gathering(&self, mark: &str, open: &[Member], sum: Sum, id: Option<String>) -> Gathering {
        let console = &self.gate.who().console_url;
        let (common, link) = match sum.common.filter(|_| !sum.differ) {
            Some((common, link)) => (Some(common), link),
            None => (None, format!("{console}/approvals?status=pending")),
        };
        let one = |decider| Decider { link: link.clone(), ..decider };
        Gathering {
            id: id.unwrap_or_else(|| named(self.channel.spec.name.as_str(), open)),
            why: if mark == outbox::WHEN_IT_SUITS { Why::Waited } else { Why::Similar },
            items: sum.items,
            count: open.len(),
            common,
            deciders: sum.deciders.into_values().map(one).collect(),
            link,
            source: console.clone(),
            now: self.gate.now(),
        }
    }
}

/// The name of a message about these.
fn named(channel: &str, open: &[Member]) -> String {
    let ids: Vec<String> =
        open.iter().map(|member| format!("{} {}", member.approval, member.first)).collect();
    let ids: Vec<&[u8]> =
        [channel].into_iter().chain(ids.iter().map(String::as_str)).map(str::as_bytes).collect();
    Digest::of_parts("countersign/together/v1", &ids).hex().chars().take(32).collect()
}

/// Those of a kind are asked of the same people, but for what policy says of their resources.
fn kind(hold: &Hold) -> String {
    let votes = hold.approval.round().into_iter().flat_map(|round| &round.votes);
    let votes = votes.flat_map(|(gate, votes)| votes.keys().map(move |person| format!("{gate} {person}")));
    std::iter::once(outbox::similar(hold)).chain(votes).collect::<Vec<_>>().join("\n")
}

fn common(hold: &Hold) -> Common {
    let seen = &hold.view.computed;
    let kind = seen.operation.as_ref().map_or_else(
        || seen.class.clone(),
        |operation| format!("{} {}", seen.class, visible::escaped(operation)),
    );
    let gates = hold.approval.round().map(|round| round.gates.as_slice()).unwrap_or_default();
    Common {
        requester: seen.requester.to_string(),
        target: seen.target.to_string(),
        environment: seen.environment.to_string(),
        kind,
        gates: gates.iter().map(|gate| gate.name.to_string()).collect::<Vec<_>>().join(", "),
    }
}

/// The console's list of what waits and is like this. Ids and names of the configuration need no escaping in a query.
fn list(console: &str, hold: &Hold) -> String {
    let seen = &hold.view.computed;
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("status", "pending")
        .append_pair("principal", &seen.requester.to_string())
        .append_pair("target", seen.target.as_str())
        .append_pair("environment", seen.environment.as_str())
        .append_pair("class", &seen.class)
        .finish();
    format!("{console}/approvals?{query}")
}
