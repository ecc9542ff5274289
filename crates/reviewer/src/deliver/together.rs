//! Several approvals in one message: what is similar and came in a flood, and what could wait until somebody reads it. Each
//! stays an approval of its own; the message only says that they are there. Ids are remembered up to a bound; what is beyond
//! it has the next message.

use super::{AT_ONCE, Company, Done, Worker, earlier};
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
/// Approvals that are looked at for who may decide on them.
const LOOKED_AT: usize = 64;
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
}

impl Many {
    pub(super) fn add(&mut self, outgoing: &Outgoing, now: Timestamp) {
        let (Some(mark), Some(first), Some(last)) =
            (outgoing.gathered(now), outgoing.waiting.first(), outgoing.waiting.last())
        else {
            return;
        };
        let member = Member { approval: outgoing.approval, first: first.number, upto: last.number };
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

    async fn group(
        &self,
        mark: &str,
        mut members: Vec<Member>,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        members.sort_by_key(|member| member.approval);
        let (mut open, mut over, mut holds) = (Vec::new(), Vec::new(), Vec::new());
        for member in members {
            let hold = read::hold(self.gate, member.approval).await?;
            match hold.filter(|hold| hold.approval.state.as_str() == "pending") {
                Some(hold) => {
                    if holds.len() < LOOKED_AT {
                        holds.push(hold);
                    }
                    open.push(member);
                }
                // It was decided by people who did not need to be told.
                None => over.push(member),
            }
        }
        self.mark_told(&over, &Shared { mark: NOBODY.into(), posted: None }, &BTreeSet::new()).await?;
        match open.as_slice() {
            [] => Ok(None),
            [alone] => {
                let known = outbox::load(self.gate, alone.approval, &self.channel.spec.name).await?;
                let Some((outgoing, _)) = known else { return Ok(None) };
                match self.one(outgoing, stopped, Company::None).await? {
                    Done::At(moment) => Ok(Some(moment)),
                    Done::Told | Done::Left | Done::Gathered(_) => Ok(None),
                }
            }
            _ => self.message(mark, &open, &holds, stopped).await,
        }
    }

    /// One message about all of them.
    async fn message(
        &self,
        mark: &str,
        open: &[Member],
        holds: &[Hold],
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        let gathering = self.gathering(mark, open, holds).await?;
        let telling = AssertUnwindSafe(self.tell.tell_together(&gathering)).catch_unwind();
        let told = telling.await.unwrap_or_else(|_| Err(Failed::channel("its answer could not be read")));
        match told {
            Ok(posted) => {
                self.channel.worked(self.gate.now());
                // Where nobody counts how much each is asked, it is not written down.
                let counted = self.tell.most_each().is_some();
                let asked = gathering.deciders.iter().filter(|_| counted).map(|decider| decider.person);
                self.mark_told(open, &Shared { mark: gathering.id, posted }, &asked.collect()).await?;
                Ok(None)
            }
            Err(failed) => self.missed_together(open, &failed, stopped).await,
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

    /// What could not be told stays where it is, and its first remembers why; what is given up is all given up.
    async fn missed_together(
        &self,
        members: &[Member],
        failed: &Failed,
        stopped: &AtomicBool,
    ) -> Result<Option<Timestamp>, Error> {
        if failed.scope == Scope::Channel {
            stopped.store(true, Ordering::Relaxed);
        }
        let mut soonest = None;
        let given_up = failed.again == Again::No;
        for member in members.iter().take(if given_up { usize::MAX } else { 1 }) {
            let known = outbox::load(self.gate, member.approval, &self.channel.spec.name).await?;
            if let Some((outgoing, _)) = known {
                let missed = self.missed(outgoing, member.first, failed).await?;
                soonest = earlier(soonest, missed.next_try);
            }
        }
        Ok(soonest)
    }

    /// Where an approval was told with others and does not wait any more: if it is the last of them, the message they share
    /// says so.
    pub(super) async fn over_if_last(&self, outgoing: &Outgoing) -> Result<Result<(), Failed>, Error> {
        let (false, Some(Shared { mark, posted: Some(posted) })) = (outgoing.open, &outgoing.together) else {
            return Ok(Ok(()));
        };
        if self.over.lock().contains(mark)
            || outbox::open_together(self.gate, &outgoing.channel, mark, 1).await? > 0
        {
            return Ok(Ok(()));
        }
        let link = format!("{}/approvals", self.gate.who().console_url);
        let over = Over { id: mark.clone(), posted: posted.clone(), link, now: self.gate.now() };
        let saying = AssertUnwindSafe(self.tell.over(&over)).catch_unwind();
        let said = saying.await.unwrap_or_else(|_| Err(Failed::channel("its answer could not be read")));
        if said.is_ok() {
            let mut known = self.over.lock();
            known.insert(over.id);
            while known.len() > REMEMBERED {
                known.pop_first();
            }
        }
        Ok(said)
    }

    async fn gathering(&self, mark: &str, open: &[Member], holds: &[Hold]) -> Result<Gathering, Error> {
        let channel = self.channel.spec.name.as_str();
        let ids: Vec<String> =
            open.iter().map(|member| format!("{} {}", member.approval, member.first)).collect();
        let ids: Vec<&[u8]> =
            [channel].into_iter().chain(ids.iter().map(String::as_str)).map(str::as_bytes).collect();
        let id: String = Digest::of_parts("countersign/together/v1", &ids).hex().chars().take(32).collect();
        let similar = holds.first().filter(|first| holds.iter().all(|hold| alike(first, hold)));
        let console = &self.gate.who().console_url;
        let link =
            similar.map_or_else(|| format!("{console}/approvals?status=pending"), |hold| list(console, hold));
        let item = |hold: &Hold| Item {
            approval: hold.approval.id,
            code: hold.view.computed.code.clone(),
            sentence: visible::escaped(&hold.view.computed.sentence),
            deadline: hold.approval.next_deadline(),
            link: self.gate.approval_link(hold.approval.id),
        };
        Ok(Gathering {
            id,
            why: if mark == outbox::WHEN_IT_SUITS { Why::Waited } else { Why::Similar },
            items: holds.iter().take(LISTED).map(item).collect(),
            count: open.len(),
            common: similar.map(common),
            deciders: match self.tell.writes() {
                Writes::ToAPlace => Vec::new(),
                Writes::ToPeople => self.deciders_of(holds, &link).await?,
            },
            link,
            source: console.clone(),
            now: self.gate.now(),
        })
    }

    /// Whoever would be asked about one of them.
    async fn deciders_of(&self, holds: &[Hold], link: &str) -> Result<Vec<Decider>, Error> {
        let mut found: BTreeMap<PersonId, Decider> = BTreeMap::new();
        for hold in holds {
            let known = outbox::load(self.gate, hold.approval.id, &self.channel.spec.name).await?;
            let asked = match (known, self.tell.most_each()) {
                (Some((outgoing, _)), Some(most)) => self.asked(&outgoing, hold, most).await?,
                (Some(_), None) => self.reached(hold),
                (None, _) => BTreeSet::new(),
            };
            for person in asked {
                if let (false, Some(decider)) =
                    (found.contains_key(&person), self.decider(hold, person, link.to_owned()))
                {
                    found.insert(person, decider);
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// Whether the console's list can show both and leave out others.
fn alike(one: &Hold, other: &Hold) -> bool {
    let (one, other) = (&one.view.computed, &other.view.computed);
    (one.requester, &one.target, &one.environment, &one.class, &one.operation)
        == (other.requester, &other.target, &other.environment, &other.class, &other.operation)
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
