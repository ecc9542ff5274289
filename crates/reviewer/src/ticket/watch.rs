//! Who put tickets where people decide, taken in: what counts is the ticket system's own history, read over our own connection. It is
//! looked at now and then, and at once where somebody says that something happened; a hint makes us look and says nothing.
//! A ticket that cannot be read holds up no other; a system that cannot be reached is left alone for a while.

mod take;

use super::{About, Moved, Place, Refusal, Tickets};
use crate::{
    backoff,
    channel::{Again, Scope},
};
use countersign_core::ChannelName;
use countersign_engine::{
    Error, Gate, outbox,
    read::{self, HoldFilter},
    record::chain,
};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Changes of one ticket that are read. Where there are more nothing is decided in it.
pub(crate) const MOST_CHANGES: usize = 2_000;
/// Hints that wait at once; what finds no room is found when everything is looked at.
const HINTS: usize = 256;
/// How often a hint is followed where that ticket cannot be read.
const TRIES: u8 = 5;
/// Tickets of which it is remembered that there was nothing new.
const SEEN: usize = 4_096;
/// Open approvals whose tickets are looked at wherever they stand, newest first, and how many are read at once.
const OPEN: usize = 1_000;
const PAGE: usize = 100;

/// Watches the tickets of one channel.
#[derive(Clone, Debug)]
pub struct Watch {
    pub(crate) tickets: Arc<dyn Tickets>,
    pub(crate) name: ChannelName,
    /// How often everything is looked at.
    pub(crate) every: Duration,
    hints: Arc<Hints>,
    seen: Arc<Mutex<HashMap<String, String>>>,
    /// For which changes somebody was written to, until that was said.
    written_to: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, Default)]
struct Hints {
    /// Each with how often it was followed in vain.
    tickets: Mutex<BTreeMap<String, u8>>,
    bell: Notify,
}

/// Why it could not be taken in.
enum Trouble {
    Far(Refusal),
    Ours(Error),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Far(refusal)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// What a look at a ticket found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// It is about none of our approvals.
    Unknown,
    News,
    Nothing,
}

/// Why a look found nothing out.
enum Stuck {
    /// This ticket alone cannot be read.
    Ticket,
    /// Nothing can; it is left alone so long at least.
    Channel(Duration),
}

/// How much could be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    Part,
}

impl Watch {
    pub(crate) fn new(tickets: Arc<dyn Tickets>, name: ChannelName, every: Duration) -> Self {
        Self { tickets, name, every, hints: Arc::default(), seen: Arc::default(), written_to: Arc::default() }
    }

    /// Somebody says that something happened to a ticket.
    pub(crate) fn hint(&self, ticket: &str) {
        self.keep(ticket.to_owned(), 0);
        self.hints.bell.notify_one();
    }

    /// It is looked at later.
    fn keep(&self, ticket: String, tries: u8) {
        let mut tickets = self.hints.tickets.lock();
        let has_room = tickets.len() < HINTS;
        match tickets.get_mut(&ticket) {
            Some(known) => *known = tries.min(*known),
            None if has_room => drop(tickets.insert(ticket, tries)),
            None => {}
        }
    }

    /// Watches until the task is dropped.
    pub async fn run(self, gate: Arc<Gate>) {
        let mut failures = 0_u32;
        loop {
            let wish = self.round(&gate).await;
            // While the system is left alone hints wait as well.
            let mut rests = wish.is_some();
            let pause = match wish {
                None => {
                    failures = 0;
                    self.every
                }
                Some(wish) => rest(&gate, wish, &mut failures),
            };
            let pause = tokio::time::sleep(pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.hints.bell.notified(), if !rests => {
                        if let Err(wish) = self.follow(&gate).await {
                            rests = true;
                            pause.as_mut().reset(Instant::now() + rest(&gate, wish, &mut failures));
                        }
                    }
                }
            }
        }
    }

    /// Looks at everything once. Where the system could not be read, the answer is how long to leave it alone at least.
    pub async fn round(&self, gate: &Arc<Gate>) -> Option<Duration> {
        let read = async {
            let hinted = self.follow(gate).await?;
            let moved = caught(async {
                let open = self.open(gate).await?;
                Ok(self.tickets.moved(&open).await?)
            });
            let moved = moved.await.map_err(|trouble| match self.failed(gate, &trouble) {
                Stuck::Channel(wish) => wish,
                Stuck::Ticket => Duration::ZERO,
            })?;
            let polled = self.each(gate, moved).await?;
            Ok(if hinted == Extent::All { polled } else { Extent::Part })
        };
        match read.await {
            Ok(extent) => {
                if let (Extent::All, Some(channel)) = (extent, gate.channels().named(&self.name)) {
                    channel.read();
                }
                None
            }
            Err(wish) => Some(wish),
        }
    }

    /// Where the tickets of what is open are, by our own records.
    async fn open(&self, gate: &Gate) -> Result<Vec<String>, Error> {
        let (mut tickets, mut before) = (Vec::new(), None);
        loop {
            let filter =
                HoldFilter { open: Some("yes".into()), before, limit: PAGE, ..HoldFilter::default() };
            let holds = read::holds(gate, filter).await?;
            before = holds.last().map(|hold| hold.approval.id);
            for hold in &holds {
                let known = outbox::load(gate, hold.approval.id, &self.name).await?;
                let posted = known.and_then(|(outgoing, _)| outgoing.posted);
                tickets.extend(posted.map(|posted| Place::read(&posted).ticket));
            }
            if holds.len() < PAGE || tickets.len() >= OPEN {
                return Ok(tickets);
            }
        }
    }

    /// Looks at what was hinted at. What cannot be looked at now is looked at later; the error is how long to wait.
    async fn follow(&self, gate: &Arc<Gate>) -> Result<Extent, Duration> {
        let mut hinted = std::mem::take(&mut *self.hints.tickets.lock()).into_iter();
        let mut extent = Extent::All;
        while let Some((ticket, tries)) = hinted.next() {
            match self.meet(gate, &ticket).await {
                Ok(_) => {}
                Err(Stuck::Ticket) => {
                    extent = Extent::Part;
                    if tries + 1 < TRIES {
                        self.keep(ticket, tries + 1);
                    }
                }
                Err(Stuck::Channel(wish)) => {
                    self.keep(ticket, tries);
                    hinted.for_each(|(ticket, tries)| self.keep(ticket, tries));
                    return Err(wish);
                }
            }
        }
        Ok(extent)
    }

    async fn each(&self, gate: &Arc<Gate>, moved: Vec<Moved>) -> Result<Extent, Duration> {
        let mut extent = Extent::All;
        for Moved { ticket, version } in moved {
            if self.seen.lock().get(&ticket) == Some(&version) {
                continue;
            }
            match self.meet(gate, &ticket).await {
                // What is not known yet may be in a moment.
                Ok(Looked::Unknown | Looked::News) => {}
                Ok(Looked::Nothing) => {
                    let mut seen = self.seen.lock();
                    if seen.len() >= SEEN {
                        seen.clear();
                    }
                    seen.insert(ticket, version);
                }
                Err(Stuck::Ticket) => extent = Extent::Part,
                Err(Stuck::Channel(wish)) => return Err(wish),
            }
        }
        Ok(extent)
    }

    async fn meet(&self, gate: &Arc<Gate>, ticket: &str) -> Result<Looked, Stuck> {
        match Box::pin(caught(self.look(gate, ticket))).await {
            // Nobody can put it anywhere.
            Err(Trouble::Far(refusal)) if refusal.about == About::Gone => Ok(Looked::Unknown),
            looked => looked.map_err(|trouble| self.failed(gate, &trouble)),
        }
    }

    /// Says where it is seen that something could not be read.
    fn failed(&self, gate: &Gate, trouble: &Trouble) -> Stuck {
        let (why, stuck) = match trouble {
            Trouble::Far(refusal) => {
                let wish = match refusal.failed.again {
                    Again::After(span) => span,
                    Again::Yes | Again::No => Duration::ZERO,
                };
                let stuck = match refusal.failed.scope {
                    Scope::News => Stuck::Ticket,
                    Scope::Channel => Stuck::Channel(wish),
                };
                (refusal.failed.why.clone(), stuck)
            }
            Trouble::Ours(error) => {
                tracing::error!(channel = %self.name, error = %chain(error), "what was decided in a ticket could not be taken in");
                let why = "the gateway's own records could not be read or written".to_owned();
                (why, Stuck::Channel(Duration::ZERO))
            }
        };
        tracing::warn!(channel = %self.name, %why, "what people decide in tickets could not be read");
        if let Some(channel) = gate.channels().named(&self.name) {
            channel.not_read(gate.now(), &why);
        }
        stuck
    }
}

/// How long the system is left alone after one more failure.
fn rest(gate: &Gate, wish: Duration, failures: &mut u32) -> Duration {
    *failures = failures.saturating_add(1);
    let random = u32::from_be_bytes(gate.journal().random());
    backoff::wait(*failures, backoff::CHANNEL, random).max(wish)
}

/// What a server answers reaches libraries that may panic over it: then it could not be read, and watching goes on.
async fn caught<T>(looking: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let looked = AssertUnwindSafe(looking).catch_unwind().await;
    looked.unwrap_or_else(|_| Err(Refusal::news(About::Other, "its answer could not be read").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_over_an_answer_is_one_ticket_that_cannot_be_read() {
        let caught = caught::<()>(async { panic!("planted") }).await;
        assert!(
            matches!(caught, Err(Trouble::Far(refusal)) if refusal.failed.scope == Scope::News && !refusal.failed.why.contains("planted"))
        );
    }
}
