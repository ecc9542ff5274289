//! Who put tickets where people decide, taken in: what counts is the ticket system's own history, read over our own connection. It is
//! looked at now and then, and at once where somebody says that something happened; a hint makes us look and says nothing.
//! What people did counts for whom they are bound to and only on what the ticket showed. An approval counts only
//! while the ticket still stands where it was put, and on words that nobody but us wrote; a rejection counts as it is.

use super::{About, By, Change, Did, History, Moved, Place, Refusal, Reply, Stand, Tickets, is_over};
use crate::{
    backoff,
    channel::Again,
    desk::{self, Became, Decision, Target, Told, Who},
};
use countersign_core::{ApprovalId, ChannelName};
use countersign_engine::{
    Error, Gate,
    hold::Hold,
    inward::{self, LONGEST_REASON, Said, Says, Seen},
    outbox::{self, Outgoing},
    read,
    record::chain,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// Changes of one ticket that are read. Where there are more nothing is decided in it.
pub(crate) const MOST_CHANGES: usize = 2_000;
/// Hints that wait at once; what finds no room is found when everything is looked at.
const HINTS: usize = 256;
/// Tickets of which it is remembered that there was nothing new.
const SEEN: usize = 4_096;
/// How often a ticket is looked at before it is left to the next time.
const LOOKS: usize = 8;

/// Watches the tickets of one channel.
#[derive(Clone, Debug)]
pub struct Watch {
    pub(crate) tickets: Arc<dyn Tickets>,
    pub(crate) name: ChannelName,
    /// How often everything is looked at.
    pub(crate) every: Duration,
    hints: Arc<Hints>,
    seen: Arc<Mutex<HashMap<String, String>>>,
}

#[derive(Debug, Default)]
struct Hints {
    tickets: Mutex<BTreeSet<String>>,
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

/// A ticket that is about one of our approvals, by our own records.
struct Known {
    hold: Hold,
    outgoing: Outgoing,
    place: Place,
}

/// What a look at a ticket found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// It is about none of our approvals.
    Unknown,
    News,
    Nothing,
}

/// What became of something that somebody did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Counted,
    Refused,
}

impl Watch {
    pub(crate) fn new(tickets: Arc<dyn Tickets>, name: ChannelName, every: Duration) -> Self {
        Self { tickets, name, every, hints: Arc::default(), seen: Arc::default() }
    }

    /// Somebody says that something happened to a ticket.
    pub(crate) fn hint(&self, ticket: &str) {
        let mut tickets = self.hints.tickets.lock();
        if tickets.len() < HINTS {
            tickets.insert(ticket.to_owned());
        }
        drop(tickets);
        self.hints.bell.notify_one();
    }

    /// Watches until the task is dropped.
    pub async fn run(self, gate: Arc<Gate>) {
        let mut failures = 0_u32;
        loop {
            let pause = match self.round(&gate).await {
                None => {
                    failures = 0;
                    self.every
                }
                Some(wish) => {
                    failures = failures.saturating_add(1);
                    let random = u32::from_be_bytes(gate.journal().random());
                    backoff::wait(failures, backoff::CHANNEL, random).max(wish)
                }
            };
            let pause = tokio::time::sleep(pause);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.hints.bell.notified() => drop(self.follow(&gate).await),
                }
            }
        }
    }

    /// Looks at everything once. Where it could not, the answer is how long to wait at least.
    pub async fn round(&self, gate: &Arc<Gate>) -> Option<Duration> {
        let hinted = self.follow(gate).await;
        let polled = match self.tickets.moved().await {
            Ok(moved) => self.each(gate, moved).await,
            Err(refusal) => Some(self.failed(gate, &refusal.into())),
        };
        let wish = hinted.into_iter().chain(polled).max();
        if let (None, Some(channel)) = (wish, gate.channels().named(&self.name)) {
            channel.read();
        }
        wish
    }

    /// Looks at what was hinted at. What cannot be looked at now is looked at later.
    async fn follow(&self, gate: &Arc<Gate>) -> Option<Duration> {
        let hinted = std::mem::take(&mut *self.hints.tickets.lock());
        let mut wish = None;
        for ticket in hinted {
            if let Err(trouble) = self.look(gate, &ticket).await {
                let again = match &trouble {
                    Trouble::Far(refusal) => refusal.about != About::Gone,
                    Trouble::Ours(_) => true,
                };
                if again {
                    self.hints.tickets.lock().insert(ticket);
                    wish = wish.max(Some(self.failed(gate, &trouble)));
                }
            }
        }
        wish
    }

    async fn each(&self, gate: &Arc<Gate>, moved: Vec<Moved>) -> Option<Duration> {
        let mut wish = None;
        for Moved { ticket, version } in moved {
            if self.seen.lock().get(&ticket) == Some(&version) {
                continue;
            }
            match self.look(gate, &ticket).await {
                // What is not known yet may be in a moment.
                Ok(Looked::Unknown | Looked::News) => {}
                Ok(Looked::Nothing) => {
                    let mut seen = self.seen.lock();
                    if seen.len() >= SEEN {
                        seen.clear();
                    }
                    seen.insert(ticket, version);
                }
                Err(trouble) => wish = wish.max(Some(self.failed(gate, &trouble))),
            }
        }
        wish
    }

    /// Says where it is seen that something could not be read, and how long to leave it alone.
    fn failed(&self, gate: &Gate, trouble: &Trouble) -> Duration {
        let (why, wish) = match trouble {
            Trouble::Far(refusal) => {
                let wish = match refusal.failed.again {
                    Again::After(span) => span,
                    Again::Yes | Again::No => Duration::ZERO,
                };
                (refusal.failed.why.clone(), wish)
            }
            Trouble::Ours(error) => {
                tracing::error!(channel = %self.name, error = %chain(error), "what was decided in a ticket could not be taken in");
                ("the gateway's own records could not be read or written".to_owned(), Duration::ZERO)
            }
        };
        tracing::warn!(channel = %self.name, %why, "what people decide in tickets could not be read");
        if let Some(channel) = gate.channels().named(&self.name) {
            channel.not_read(gate.now(), &why);
        }
        wish
    }

    /// Takes in what was done to a ticket, until there is nothing new.
    async fn look(&self, gate: &Arc<Gate>, ticket: &str) -> Result<Looked, Trouble> {
        let mut looked = Looked::Nothing;
        for _ in 0..LOOKS {
            let history = self.tickets.history(ticket).await?;
            let Some(known) = self.known(gate, ticket, &history).await? else { return Ok(Looked::Unknown) };
            let first = first_new(&known, &history);
            if first >= history.changes.len() {
                return Ok(looked);
            }
            looked = Looked::News;
            // Whatever somebody did before it was put back is not lost.
            if !self.take_in(gate, &known, &history, first).await? {
                return Ok(looked);
            }
        }
        Ok(looked)
    }

    /// Which approval a ticket is about. What the ticket says of that only tells where to look: our own records decide.
    async fn known(&self, gate: &Gate, ticket: &str, history: &History) -> Result<Option<Known>, Error> {
        for approval in &history.approvals {
            let Some((outgoing, _)) = outbox::load(gate, *approval, &self.name).await? else { continue };
            let Some(place) = outgoing.posted.as_deref().map(Place::read) else { continue };
            if place.ticket == ticket
                && let Some(hold) = read::hold(gate, *approval).await?
            {
                return Ok(Some(Known { hold, outgoing, place }));
            }
        }
        Ok(None)
    }

    /// Takes in what is new. The answer is whether the ticket was put somewhere because of it.
    async fn take_in(
        &self,
        gate: &Arc<Gate>,
        known: &Known,
        history: &History,
        first: usize,
    ) -> Result<bool, Trouble> {
        let ticket = &known.place.ticket;
        let Some(newest) = history.changes.get(first..).and_then(<[Change]>::last) else { return Ok(false) };
        let mut refused = false;
        for (at, change) in history.changes.iter().enumerate().skip(first) {
            let says = match change.did {
                Did::Put(Some(Stand::Approved)) => Says::Approve,
                Did::Put(Some(Stand::Rejected)) => Says::Reject,
                Did::Put(Some(Stand::Waiting | Stand::Closed) | None) | Did::Wrote => continue,
            };
            let taken = match &change.by {
                By::Us => continue,
                By::Person(who) => self.person(gate, known, (history, at), (who, says)).await?,
                By::Machine(who) => self.machine(gate, known, change, (who, says)).await?,
            };
            refused |= taken == Taken::Refused;
        }
        let put = self.put_where_it_belongs(gate, known, history, refused).await?;
        outbox::heard(gate, &known.outgoing, &format!("{ticket}/{}", newest.id)).await?;
        Ok(put)
    }

    /// Counts what a person did, or says in the ticket why not.
    async fn person(
        &self,
        gate: &Arc<Gate>,
        known: &Known,
        (history, at): (&History, usize),
        (who, says): (&Who, Says),
    ) -> Result<Taken, Trouble> {
        let Some(change) = history.changes.get(at) else { return Ok(Taken::Refused) };
        let (place, approval) = (&known.place, known.hold.approval.id);
        let is_last = history.changes.iter().skip(at + 1).all(|later| later.did == Did::Wrote);
        if says == Says::Approve && !is_last {
            let words = "Somebody moved it on before this approval was read, so that it does not count.";
            return self.refuse(place, change, who, Told::plain(words)).await;
        }
        let fit = fitness(place, history, at);
        let shown = match (fit, says) {
            (Fit::Same, Says::Approve | Says::Reject) | (Fit::Edited, Says::Reject) => {
                shown(gate, &self.name, known)
            }
            // Nobody is shown this.
            (Fit::Edited, Says::Approve) | (Fit::Older, Says::Approve | Says::Reject) => String::new(),
        };
        let reason = match says {
            Says::Approve => None,
            Says::Reject => Some(self.why(place, change).await?),
        };
        let delivery = format!("{}/{}", place.ticket, change.id);
        let target = Target { approval, shown };
        let decision = Decision { who: who.clone(), target, delivery, says, reason };
        let (became, told) = desk::count(gate, &self.name, decision).await?;
        match became {
            Became::Counted => Ok(Taken::Counted),
            Became::NotBound => self.introduce(place, change, who, told).await,
            Became::Refused if fit == Fit::Edited && says == Says::Approve => {
                let words =
                    "It does not say any more what Countersign wrote, so that nothing can be approved on it.";
                let link = gate.approval_link(approval);
                let told = Told::Linked { words: words.into(), title: desk::PAGE, link };
                self.refuse(place, change, who, told).await
            }
            Became::Refused => self.refuse(place, change, who, told).await,
            Became::NotHeard => {
                Err(Refusal::news(About::Other, "somebody there decides more than is taken at once").into())
            }
        }
    }

    /// Whatever an app or a rule does decides nothing. It is recorded as what it is.
    async fn machine(
        &self,
        gate: &Arc<Gate>,
        known: &Known,
        change: &Change,
        (who, says): (&Who, Says),
    ) -> Result<Taken, Trouble> {
        let said = Said {
            channel: self.name.clone(),
            // No user of the channel's is called so, so that nobody is ever bound to it.
            user: format!("app/{}", who.id),
            delivery: format!("{}/{}", known.place.ticket, change.id),
            approval: known.hold.approval.id,
            shown: String::new(),
            says,
            gate: None,
            reason: None,
        };
        if let Err(why) = inward::answer(gate, &said).await? {
            tracing::warn!(channel = %self.name, %why, "what an app did was not recorded");
        }
        let words = "An app or a rule moved it. Only a person decides.";
        self.refuse(&known.place, change, who, Told::plain(words)).await
    }

    /// Says in the ticket why something does not count, once.
    async fn refuse(&self, place: &Place, change: &Change, who: &Who, told: Told) -> Result<Taken, Trouble> {
        let mark = format!("(change {})", change.id);
        if !self.tickets.has_said(&place.ticket, &mark).await? {
            let reply = Reply { mark, to: who.name.clone(), told };
            self.tickets.reply(&place.ticket, &reply).await?;
        }
        Ok(Taken::Refused)
    }

    /// Tells somebody alone how to make their word theirs, and everybody that they were told.
    async fn introduce(
        &self,
        place: &Place,
        change: &Change,
        who: &Who,
        told: Told,
    ) -> Result<Taken, Trouble> {
        let words = match &told {
            Told::Linked { .. } => match self.tickets.whisper(&place.ticket, who, &told).await {
                Ok(()) => {
                    "Nobody here knows whose word this is. They were written to, alone, with a link that makes it theirs; then \
                     they decide again."
                }
                Err(refusal) if refusal.failed.scope == crate::channel::Scope::News => {
                    tracing::warn!(channel = %self.name, why = %refusal.failed.why, "nobody was told how to be bound");
                    "Nobody here knows whose word this is, and the mail with a link that makes it theirs could not be sent."
                }
                Err(refusal) => return Err(refusal.into()),
            },
            Told::Plain(_) | Told::Status { .. } | Told::List { .. } => {
                "Nobody here knows whose word this is. Decide again later: a link that makes it theirs could not be made now."
            }
        };
        self.refuse(place, change, who, Told::plain(words)).await
    }

    /// What somebody said who rejected it.
    async fn why(&self, place: &Place, change: &Change) -> Result<String, Refusal> {
        let said = self.tickets.reason(&place.ticket, change).await?;
        let said = said.map(|said| said.trim().to_owned()).filter(|said| !said.is_empty());
        Ok(match said {
            Some(said) if said.chars().count() <= LONGEST_REASON => said,
            Some(said) => said.chars().take(LONGEST_REASON - 1).chain(['…']).collect(),
            None => format!("rejected in {}, without a word", self.tickets.called()),
        })
    }

    /// Puts a ticket that stands where people decide back to where it waits, or to where it is over.
    async fn put_where_it_belongs(
        &self,
        gate: &Gate,
        known: &Known,
        history: &History,
        refused: bool,
    ) -> Result<bool, Trouble> {
        let stands = history.changes.iter().rev().find_map(|change| match change.did {
            Did::Put(stand) => Some(stand),
            Did::Wrote => None,
        });
        if !matches!(stands, Some(Some(Stand::Approved | Stand::Rejected))) {
            return Ok(false);
        }
        let approval: ApprovalId = known.hold.approval.id;
        let Some(hold) = read::hold(gate, approval).await? else { return Ok(false) };
        let state = hold.approval.state.as_str();
        let stand = if is_over(state) {
            // While there is news to be told, whoever tells it closes the ticket.
            let told = outbox::load(gate, approval, &self.name).await?;
            told.is_some_and(|(outgoing, _)| outgoing.waiting.is_empty()).then_some(Stand::Closed)
        } else {
            // Approved, and about to run: it stands where it belongs.
            (state == "pending" || refused).then_some(Stand::Waiting)
        };
        let Some(stand) = stand else { return Ok(false) };
        match self.tickets.put(&known.place.ticket, stand, state).await {
            Ok(()) => Ok(true),
            Err(refusal) if refusal.about == About::Way => {
                tracing::warn!(channel = %self.name, why = %refusal.failed.why, "a ticket was not put back");
                Ok(false)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Where in the history what was not taken in yet begins.
fn first_new(known: &Known, history: &History) -> usize {
    let mark = known.outgoing.heard_to.as_deref().and_then(|mark| mark.rsplit_once('/'));
    let Some((_, id)) = mark.filter(|(ticket, _)| *ticket == known.place.ticket) else { return 0 };
    history.changes.iter().rposition(|change| change.id == id).map_or(0, |at| at + 1)
}

/// Whether the ticket said what we wrote when somebody decided on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    Same,
    /// Somebody else changed its words since they were written, whether they changed them back or not.
    Edited,
    /// We have written something else since.
    Older,
}

fn fitness(place: &Place, history: &History, at: usize) -> Fit {
    let ours = |change: &Change| change.did == Did::Wrote && change.by == By::Us;
    let others = |change: &Change| change.did == Did::Wrote && change.by != By::Us;
    let written = history.changes.iter().rposition(ours);
    if written.is_some_and(|written| written > at) {
        return Fit::Older;
    }
    let since = written.map_or(0, |written| written + 1);
    if history.changes.iter().skip(since).any(others) || history.words != place.words {
        Fit::Edited
    } else {
        Fit::Same
    }
}

/// What a decision on this ticket comes back with.
fn shown(gate: &Gate, channel: &ChannelName, known: &Known) -> String {
    let Known { hold, place, .. } = known;
    let could_not_show_all = !place.whole && place.shown == inward::token(gate, channel, hold, Seen::Whole);
    if could_not_show_all { inward::token(gate, channel, hold, Seen::Part) } else { place.shown.clone() }
}
