//! The worker of one channel: takes what waits in the outbox, tells it in order, and keeps what fails for later. Memory
//! is bounded by the page it works on, and by what it tells in one message, whatever waits behind it; no channel waits for
//! another.

mod reach;
mod together;

use crate::{
    backoff,
    channel::{Again, Before, Behind, Failed, Letter, Scope, Tell, Writes},
    message::{Links, Message, Offer, Room},
};
use countersign_core::{ApprovalId, ChannelName, PersonId, Timestamp, visible};
use countersign_engine::{
    Error, Gate,
    hold::Hold,
    inward::{self, Seen},
    outbox::{self, Channel, News, Outgoing, Shelf},
    read,
    record::chain,
};
use futures_util::{FutureExt as _, StreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Approvals a working channel is told of at once.
pub const AT_ONCE: usize = 8;
/// Records in memory at once.
const PAGE: usize = 64;
/// The longest sleep: a stepped clock is noticed this soon.
const LONGEST: Duration = Duration::from_secs(1);

/// Delivers to one channel until the task is dropped. Whatever was under way then is told once more, under the same id.
pub async fn run(gate: Arc<Gate>, channel: ChannelName, tell: Arc<dyn Tell>) {
    let Some(known) = gate.channels().named(&channel) else { return };
    let mut worker = Worker {
        gate: &gate,
        channel: known,
        tell: &*tell,
        unsure: gate.now(),
        over: parking_lot::Mutex::default(),
        kept: parking_lot::Mutex::default(),
    };
    // At the start nobody knows when what failed before is to be tried again.
    let mut later = Some(gate.now());
    loop {
        let next = match worker.round(&mut later).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%channel, error = %chain(&error), "the outbox could not be read or written");
                worker.unsure = gate.now();
                Some(gate.now().plus(LONGEST))
            }
        };
        worker.wait(next).await;
    }
}

struct Worker<'g> {
    gate: &'g Gate,
    channel: &'g Channel,
    tell: &'g dyn Tell,
    /// What is older than this may have been told without anybody remembering it: the gateway started then, or the store
    /// failed.
    unsure: Timestamp,
    /// Messages with several approvals of which it was said lately that nothing in them waits.
    over: parking_lot::Mutex<BTreeSet<String>>,
    /// Messages with several approvals that could not be told, by what gathered them.
    kept: parking_lot::Mutex<BTreeMap<String, together::Kept>>,
}

/// Whether a record may be told with others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Company {
    Welcome,
    /// There are no others.
    None,
}

/// What became of one record.
enum Done {
    /// Nothing of it waits.
    Told,
    /// The first that waits is tried again then.
    At(Timestamp),
    /// It was left alone: the channel does not work.
    Left,
    /// It is told in one message with others.
    Gathered(Box<Outgoing>),
}

impl Worker<'_> {
    /// Goes once through everything that can be told now. The answer is when to come again without being rung for.
    async fn round(&self, later: &mut Option<Timestamp>) -> Result<Option<Timestamp>, Error> {
        *later = earlier(*later, self.channel.put_off());
        if let Some(pause) = self.pause() {
            return Ok(Some(pause));
        }
        let mut soonest = self.pass(Shelf::Due).await?;
        if later.is_some_and(|moment| moment <= self.gate.now()) && self.pause().is_none() {
            *later = self.pass(Shelf::Later).await?;
        } else {
            soonest = earlier(soonest, *later);
        }
        *later = earlier(*later, soonest);
        Ok(earlier(self.pause(), *later))
    }

    /// Until when nothing is tried.
    fn pause(&self) -> Option<Timestamp> {
        self.channel.standing().next_try.filter(|next| *next > self.gate.now())
    }

    /// Goes through one shelf, page by page. The answer is when the first of what failed is to be tried again.
    async fn pass(&self, shelf: Shelf) -> Result<Option<Timestamp>, Error> {
        let stopped = AtomicBool::new(false);
        let (mut before, mut soonest) = (None::<ApprovalId>, None);
        let mut many = together::Many::default();
        loop {
            let page = outbox::page(self.gate, &self.channel.spec.name, shelf, before, PAGE).await?;
            before = page.last().map(|outgoing| outgoing.approval);
            let last = page.len() < PAGE;
            // A channel that failed is tried with one at a time until it works again.
            let at_once = if self.channel.standing().failures > 0 { 1 } else { AT_ONCE };
            let mut under_way =
                stream::iter(page.into_iter().map(|one| self.one(one, &stopped, Company::Welcome)))
                    .buffer_unordered(at_once);
            while let Some(done) = under_way.next().await {
                match done? {
                    Done::At(moment) => soonest = earlier(soonest, Some(moment)),
                    Done::Told | Done::Left => {}
                    Done::Gathered(outgoing) => many.add(&outgoing, self.gate.now()),
                }
            }
            drop(under_way);
            if last || many.is_full() {
                soonest = earlier(soonest, self.together(std::mem::take(&mut many), &stopped).await?);
            }
            if stopped.load(Ordering::Relaxed) {
                // What was not looked at comes when the channel is tried again.
                return Ok(earlier(soonest, self.pause().or(Some(self.gate.now()))));
            }
            if last {
                return Ok(soonest);
            }
        }
    }

    /// Tells what waits of one approval, in order, up to the first that fails.
    async fn one(
        &self,
        mut outgoing: Outgoing,
        stopped: &AtomicBool,
        company: Company,
    ) -> Result<Done, Error> {
        loop {
            let Some(news) = outgoing.waiting.first().cloned() else { return Ok(Done::Told) };
            if let Some(next) = outgoing.next_try.filter(|next| *next > self.gate.now()) {
                return Ok(Done::At(next));
            }
            let now = self.gate.now();
            if let Some(until) = outgoing.asleep_until(now) {
                return Ok(Done::At(until));
            }
            if company == Company::Welcome && self.tell.gathers() && outgoing.gathered(now).is_some() {
                return Ok(Done::Gathered(Box::new(outgoing)));
            }
            if stopped.load(Ordering::Relaxed) {
                return Ok(Done::Left);
            }
            if let Err(failed) = self.over_if_last(&outgoing).await? {
                if failed.scope == Scope::Channel {
                    stopped.store(true, Ordering::Relaxed);
                }
                outgoing = self.missed(outgoing, news.number, &failed).await?;
                continue;
            }
            if outgoing.is_step_of_many() {
                outgoing = outbox::told(self.gate, &outgoing, news.number, None).await?;
                continue;
            }
            let Some(letter) = self.letter(&mut outgoing, &news).await? else {
                let why = "the approval is not in the store any more";
                outgoing = outbox::give_up(self.gate, &outgoing, news.number, why).await?;
                continue;
            };
            if !letter.meant {
                outgoing = outbox::told(self.gate, &outgoing, news.number, outgoing.posted.clone()).await?;
                continue;
            }
            match self.told(&letter).await {
                Ok(posted) => {
                    self.channel.worked(self.gate.now());
                    outgoing = outbox::told(self.gate, &outgoing, news.number, posted).await?;
                }
                Err(failed) => {
                    if failed.scope == Scope::Channel {
                        stopped.store(true, Ordering::Relaxed);
                    }
                    outgoing = self.missed(outgoing, news.number, &failed).await?;
                }
            }
        }
    }

    /// What a server answers reaches libraries that may panic over it: then the channel failed, and goes on.
    async fn told(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let telling = AssertUnwindSafe(self.tell.tell(letter)).catch_unwind();
        telling.await.unwrap_or_else(|_| Err(Failed::channel("its answer could not be read")))
    }

    async fn letter(&self, outgoing: &mut Outgoing, news: &News) -> Result<Option<Letter>, Error> {
        let Some(hold) = read::hold(self.gate, outgoing.approval).await? else { return Ok(None) };
        let name_of = |person| self.gate.identity().called(person);
        let by = news.by.parse::<PersonId>().ok().and_then(name_of).map(|name| visible::name(&name));
        let perhaps = news.at <= self.unsure || outgoing.last_error.is_some();
        let (deciders, requesters) = match self.tell.writes() {
            Writes::ToAPlace => (Vec::new(), Vec::new()),
            Writes::ToPeople | Writes::ToDevices | Writes::ToUsersOf(_) => {
                (self.deciders(outgoing, &hold, news).await?, self.requesters(&hold))
            }
        };
        let heard_by = match self.tell.writes() {
            Writes::ToUsersOf(other) => other,
            Writes::ToAPlace | Writes::ToPeople | Writes::ToDevices => outgoing.channel.clone(),
        };
        let before = outgoing.posted.as_deref().map(|posted| self.tell.written_to(posted));
        let reached = before.into_iter().flatten().filter_map(|person| Some((person, self.address(person)?)));
        let reached = reached.collect();
        let meant = outgoing.posted.is_some() || !deciders.is_empty() || self.is_for_somebody(&hold);
        let (message, shown) = drawn_for(self.gate, &heard_by, &hold, self.tell.room(news)).await?;
        Ok(Some(Letter {
            id: news.entry.to_string(),
            approval: outgoing.approval,
            action: hold.action(),
            news: news.clone(),
            shown,
            message,
            by,
            deciders,
            requesters,
            meant,
            reached,
            posted: outgoing.posted.clone(),
            before: if perhaps { Before::Perhaps } else { Before::Never },
            behind: if outgoing.waiting.len() > 1 { Behind::More } else { Behind::Nothing },
            source: self.gate.who().console_url.clone(),
            now: self.gate.now(),
        }))
    }

    async fn missed(&self, outgoing: Outgoing, number: u32, failed: &Failed) -> Result<Outgoing, Error> {
        let now = self.gate.now();
        let tries = outgoing.tries.saturating_add(1);
        let wish = match failed.again {
            Again::After(span) => span,
            Again::Yes | Again::No => Duration::ZERO,
        };
        let random = u32::from_be_bytes(self.gate.journal().random());
        let (failures, longest) = match failed.scope {
            Scope::Channel => (self.channel.standing().failures.saturating_add(1), backoff::CHANNEL),
            Scope::News => (tries, backoff::NEWS),
        };
        let next = now.plus(backoff::wait(failures, longest, random).max(wish));
        if failed.scope == Scope::Channel {
            self.channel.failed(now, &failed.why, next);
        }
        let too_long =
            outgoing.failing_since.is_some_and(|since| now.since(since) >= self.tell.give_up_after());
        let (approval, why) = (outgoing.approval, &failed.why);
        if failed.again == Again::No || too_long {
            tracing::warn!(channel = %outgoing.channel, %approval, %why, "news was given up; it can be replayed");
            return outbox::give_up(self.gate, &outgoing, number, why).await;
        }
        tracing::info!(channel = %outgoing.channel, %approval, tries, %why, "a channel was not told");
        outbox::missed(self.gate, &outgoing, number, why, next).await
    }

    /// Sleeps until there is news, or until the moment, and never long at once while a moment is waited for.
    async fn wait(&self, next: Option<Timestamp>) {
        loop {
            // While the channel pauses nobody rings it awake.
            let paused = self.pause().is_some();
            let left = next.map_or(Duration::MAX, |moment| moment.since(self.gate.now()));
            if left.is_zero() {
                return;
            }
            let news =
                async { if paused { std::future::pending().await } else { self.channel.news().await } };
            tokio::select! {
                () = news => return,
                () = tokio::time::sleep(left.min(LONGEST)) => {}
            }
        }
    }
}

/// How an approval stands, for a channel with so much room, and what a decision made on that comes back with.
pub(crate) async fn drawn_for(
    gate: &Gate,
    channel: &ChannelName,
    hold: &Hold,
    room: Room,
) -> Result<(Message, String), Error> {
    let action = match room.characters {
        Some(_) => read::action(gate, hold.action()).await?,
        None => None,
    };
    let id = hold.approval.id;
    let links = Links { page: gate.approval_link(id), decide: gate.decide_link(id) };
    let message = Message::of(hold, action.as_ref(), room, links, |person| gate.identity().called(person));
    let seen = match message.offers {
        Offer::Decide => Seen::Whole,
        Offer::Review | Offer::Nothing => Seen::Part,
    };
    let shown = inward::token(gate, channel, hold, seen);
    Ok((message, shown))
}

fn earlier(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}
