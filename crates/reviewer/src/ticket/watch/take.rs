//! What was done to one ticket, taken in change by change: what was taken in is remembered before anything else is done about it.
//! What people did counts for whom they are bound to and only on what the ticket showed. An approval counts only
//! while the ticket still stands where it was put, and on words that nobody but us wrote; a rejection counts as it is.

use super::{Looked, Trouble, Watch};
use crate::{
    channel::Scope,
    desk::{self, Became, Decision, Target, Told, Who},
    ticket::{About, By, Change, Did, History, Place, Refusal, Reply, Stand, is_over},
};
use countersign_core::{ApprovalId, ChannelName};
use countersign_engine::{
    Error, Gate,
    hold::Hold,
    inward::{self, LONGEST_REASON, Outcome, Said, Says, Seen},
    outbox::{self, Outgoing},
    read,
};
use std::sync::Arc;

/// How often a ticket is looked at before it is left to the next time.
const LOOKS: usize = 8;
/// Moves by apps and rules after which a ticket is left where they put it.
const MACHINES: usize = 2;
/// Mails that are remembered until it was said that they were sent.
const WRITTEN_TO: usize = 256;

/// A ticket that is about one of our approvals, by our own records.
struct Known {
    hold: Hold,
    outgoing: Outgoing,
    place: Place,
}

/// What became of putting a ticket where it belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    There,
    /// It is there, or cannot be put there.
    Left,
    /// It is to be tried again.
    Again,
}

impl Watch {
    /// Takes in what was done to a ticket, until there is nothing new.
    pub(super) async fn look(&self, gate: &Arc<Gate>, ticket: &str) -> Result<Looked, Trouble> {
        let (mut looked, mut put_after) = (Looked::Nothing, None);
        for _ in 0..LOOKS {
            let history = match self.tickets.history(ticket).await {
                Err(refusal) if refusal.about == About::Long => {
                    return self.too_long(gate, ticket, &refusal).await;
                }
                history => history?,
            };
            let Some(known) = self.known(gate, ticket, &history).await? else { return Ok(Looked::Unknown) };
            let first = first_new(&known, &history);
            if first < history.changes.len() {
                looked = Looked::News;
                self.take_in(gate, &known, &history, first).await?;
            }
            let count = history.changes.len();
            if put_after == Some(count) {
                // It was put back, and its history does not say so yet.
                return Ok(Looked::News);
            }
            match self.put_where_it_belongs(gate, &known, &history).await? {
                Put::There => (looked, put_after) = (Looked::News, Some(count)),
                Put::Left => return Ok(looked),
                Put::Again => {
                    self.keep(ticket.to_owned(), 0);
                    return Ok(Looked::News);
                }
            }
        }
        Ok(looked)
    }

    /// Which approval a ticket is about: our own records decide, whatever the ticket says of that now.
    async fn known(&self, gate: &Gate, ticket: &str, history: &History) -> Result<Option<Known>, Error> {
        let mut found: Vec<Outgoing> = outbox::put_at(gate, &self.name, ticket).await?.into_iter().collect();
        if found.is_empty() {
            // Records of before they could be found by their place.
            for approval in &history.approvals {
                found.extend(outbox::load(gate, *approval, &self.name).await?.map(|(outgoing, _)| outgoing));
            }
        }
        for outgoing in found {
            let Some(place) = outgoing.posted.as_deref().map(Place::read) else { continue };
            if place.ticket == ticket
                && let Some(hold) = read::hold(gate, outgoing.approval).await?
            {
                return Ok(Some(Known { hold, outgoing, place }));
            }
        }
        Ok(None)
    }

    /// Says in a ticket of ours, once, that nothing is decided in it any more.
    async fn too_long(&self, gate: &Gate, ticket: &str, refusal: &Refusal) -> Result<Looked, Trouble> {
        tracing::warn!(channel = %self.name, ticket, why = %refusal.failed.why, "nothing is decided in a ticket");
        if outbox::put_at(gate, &self.name, ticket).await?.is_none() {
            return Ok(Looked::Unknown);
        }
        let words = "More was done to this ticket than is read, so that nothing can be decided in it. Decide in Countersign.";
        let reply = Reply { mark: "(all changes)".into(), to: None, told: Told::plain(words) };
        self.say(ticket, reply).await?;
        Ok(Looked::Nothing)
    }

    /// Takes in what is new.
    async fn take_in(
        &self,
        gate: &Arc<Gate>,
        known: &Known,
        history: &History,
        first: usize,
    ) -> Result<(), Trouble> {
        for (at, change) in history.changes.iter().enumerate().skip(first) {
            let says = match change.did {
                Did::Put(Some(Stand::Approved)) => Says::Approve,
                Did::Put(Some(Stand::Rejected)) => Says::Reject,
                Did::Put(Some(Stand::Waiting | Stand::Closed) | None) | Did::Wrote => continue,
            };
            match &change.by {
                By::Us => continue,
                By::Person(who) => self.person(gate, known, (history, at), (who, says)).await?,
                By::Machine(who) => self.machine(gate, known, (history, at), (who, says)).await?,
            }
            // Before anything else: whatever fails later, this is never judged anew.
            self.heard(gate, known, change).await?;
        }
        if let Some(newest) = history.changes.last() {
            self.heard(gate, known, newest).await?;
        }
        Ok(())
    }

    async fn heard(&self, gate: &Gate, known: &Known, change: &Change) -> Result<(), Error> {
        outbox::heard(gate, &known.outgoing, &delivery(&known.place, change)).await.map(drop)
    }

    /// Counts what a person did, or says in the ticket why not.
    async fn person(
        &self,
        gate: &Arc<Gate>,
        known: &Known,
        (history, at): (&History, usize),
        (who, says): (&Who, Says),
    ) -> Result<(), Trouble> {
        let Some(change) = history.changes.get(at) else { return Ok(()) };
        let (place, approval) = (&known.place, known.hold.approval.id);
        let delivery = delivery(place, change);
        // What was counted before we could remember that we read it counts, wherever the ticket stands by now.
        let before = inward::answered(&known.hold, &self.name, &delivery);
        if before.is_some_and(|answer| answer.outcome == Outcome::Done) {
            return Ok(());
        }
        let is_last = history.changes.iter().skip(at + 1).all(|later| later.did == Did::Wrote);
        if says == Says::Approve && !is_last {
            let words = "Somebody moved it on before this approval was read, so that it does not count.";
            return self.refuse(place, change, who, Told::plain(words)).await;
        }
        let fit = fitness(known, history, at);
        let shown = match (fit, says) {
            (Fit::Same, Says::Approve) => shown(gate, &self.name, known),
            (Fit::Same | Fit::Edited, Says::Reject) => {
                inward::token(gate, &self.name, &known.hold, Seen::Part)
            }
            // Nobody is shown this.
            (Fit::Edited, Says::Approve) | (Fit::Older, Says::Approve | Says::Reject) => String::new(),
        };
        let reason = match says {
            Says::Approve => None,
            Says::Reject => Some(self.why(place, change).await?),
        };
        let target = Target { approval, shown };
        let decision = Decision { who: who.clone(), target, delivery, says, reason };
        let (became, told) = desk::count(gate, &self.name, decision).await?;
        match became {
            Became::Counted => Ok(()),
            Became::NotBound => self.introduce(place, change, who, told).await,
            Became::Refused if fit == Fit::Edited && says == Says::Approve => {
                let words =
                    "It does not say any more what Countersign wrote, so that nothing can be approved on it.";
                let link = gate.approval_link(approval);
                let told = Told::Linked { words: words.into(), title: desk::PAGE, link };
                self.refuse(place, change, who, told).await
            }
            // One who says too much at once holds up nobody else.
            Became::Refused | Became::NotHeard => self.refuse(place, change, who, told).await,
        }
    }

    /// Whatever an app or a rule does decides nothing. It is recorded as what it is.
    async fn machine(
        &self,
        gate: &Arc<Gate>,
        known: &Known,
        (history, at): (&History, usize),
        (who, says): (&Who, Says),
    ) -> Result<(), Trouble> {
        let Some(change) = history.changes.get(at) else { return Ok(()) };
        let said = Said {
            channel: self.name.clone(),
            // No user of the channel's is called so, so that nobody is ever bound to it.
            user: format!("app/{}", who.id),
            delivery: delivery(&known.place, change),
            approval: known.hold.approval.id,
            shown: String::new(),
            says,
            gate: None,
            reason: None,
        };
        if let Err(why) = inward::answer(gate, &said).await? {
            tracing::warn!(channel = %self.name, %why, "what an app did was not recorded");
        }
        let moves = machines(history.changes.get(..=at).unwrap_or_default());
        let words = match moves.cmp(&MACHINES) {
            std::cmp::Ordering::Less => "An app or a rule moved it. Only a person decides.",
            std::cmp::Ordering::Equal => {
                "An app or a rule moved it again. Only a person decides. It is not put back any more: whoever decides moves it \
                 back and then where they want it, or decides in Countersign."
            }
            // It was said.
            std::cmp::Ordering::Greater => return Ok(()),
        };
        self.refuse(&known.place, change, who, Told::plain(words)).await
    }

    /// Says in the ticket why something does not count, once.
    async fn refuse(&self, place: &Place, change: &Change, who: &Who, told: Told) -> Result<(), Trouble> {
        self.say(&place.ticket, Reply { mark: mark(change), to: who.name.clone(), told }).await
    }

    /// Says something once. Where it may not be said what comes behind it is taken in all the same.
    async fn say(&self, ticket: &str, reply: Reply) -> Result<(), Trouble> {
        let said = match self.tickets.has_said(ticket, &reply.mark).await {
            Ok(true) => Ok(()),
            Ok(false) => self.tickets.reply(ticket, &reply).await,
            Err(refusal) => Err(refusal),
        };
        self.unless_the_channel_fails(said, "somebody was not answered in a ticket").map(drop)
    }

    /// What is about one ticket alone is said in the log.
    fn unless_the_channel_fails<T>(
        &self,
        done: Result<T, Refusal>,
        otherwise: &'static str,
    ) -> Result<Option<T>, Trouble> {
        match done {
            Err(refusal) if refusal.failed.scope == Scope::News => {
                tracing::warn!(channel = %self.name, why = %refusal.failed.why, "{otherwise}");
                Ok(None)
            }
            done => Ok(Some(done?)),
        }
    }

    /// Tells somebody alone how to make their word theirs, and everybody that they were told.
    async fn introduce(&self, place: &Place, change: &Change, who: &Who, told: Told) -> Result<(), Trouble> {
        let said = self.tickets.has_said(&place.ticket, &mark(change)).await;
        if self.unless_the_channel_fails(said, "what was said in a ticket cannot be read")? == Some(true) {
            return Ok(());
        }
        let words = match &told {
            Told::Linked { .. } => {
                let sent = self.write_to(place, change, who, &told).await;
                match self.unless_the_channel_fails(sent, "nobody was told how to be bound")? {
                    Some(()) => {
                        "Nobody here knows whose word this is. They were written to, alone, with a link that makes it theirs; then \
                         they decide again."
                    }
                    None => {
                        "Nobody here knows whose word this is, and the mail with a link that makes it theirs could not be sent."
                    }
                }
            }
            Told::Plain(_) | Told::Status { .. } | Told::List { .. } => {
                "Nobody here knows whose word this is. Decide again later: a link that makes it theirs could not be made now."
            }
        };
        self.refuse(place, change, who, Told::plain(words)).await?;
        self.written_to.lock().remove(&delivery(place, change));
        Ok(())
    }

    /// Writes to somebody alone, once, however often it is tried to say so in the ticket.
    async fn write_to(&self, place: &Place, change: &Change, who: &Who, told: &Told) -> Result<(), Refusal> {
        let delivery = delivery(place, change);
        if self.written_to.lock().contains(&delivery) {
            return Ok(());
        }
        self.tickets.whisper(&place.ticket, who, told).await?;
        let mut written_to = self.written_to.lock();
        if written_to.len() >= WRITTEN_TO {
            written_to.clear();
        }
        written_to.insert(delivery);
        Ok(())
    }

    /// What somebody said who rejected it.
    async fn why(&self, place: &Place, change: &Change) -> Result<String, Trouble> {
        let said = self.tickets.reason(&place.ticket, change).await;
        let said = self.unless_the_channel_fails(said, "why somebody rejected cannot be read")?.flatten();
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
    ) -> Result<Put, Trouble> {
        let last = history.changes.iter().rev().find_map(|change| match change.did {
            Did::Put(stand) => Some((stand, &change.by)),
            Did::Wrote => None,
        });
        let Some((Some(stands @ (Stand::Approved | Stand::Rejected)), by)) = last else {
            return Ok(Put::Left);
        };
        // Put back again and again it would be moved again and again.
        if matches!(by, By::Machine(_)) && machines(&history.changes) >= MACHINES {
            return Ok(Put::Left);
        }
        let approval: ApprovalId = known.hold.approval.id;
        let Some(hold) = read::hold(gate, approval).await? else { return Ok(Put::Left) };
        let state = hold.approval.state.as_str();
        let stand = if is_over(state) {
            // While there is news to be told, whoever tells it closes the ticket.
            let told = outbox::load(gate, approval, &self.name).await?;
            let is_told = told.is_some_and(|(outgoing, _)| outgoing.waiting.is_empty());
            (is_told && !history.closed).then_some(Stand::Closed)
        } else {
            // Approved, and about to run: it stands where it belongs.
            (state == "pending" || stands == Stand::Rejected).then_some(Stand::Waiting)
        };
        let Some(stand) = stand else { return Ok(Put::Left) };
        match self.tickets.put(&known.place.ticket, stand, state).await {
            Ok(()) => Ok(Put::There),
            Err(refusal) if refusal.failed.scope == Scope::News => {
                tracing::warn!(channel = %self.name, why = %refusal.failed.why, "a ticket was not put back");
                Ok(if refusal.about == About::Other { Put::Again } else { Put::Left })
            }
            Err(refusal) => {
                // Nobody knows whether it was put there, and there it would not be found.
                self.keep(known.place.ticket.clone(), 0);
                Err(refusal.into())
            }
        }
    }
}

/// A change's id, among those of all tickets.
fn delivery(place: &Place, change: &Change) -> String {
    format!("{}/{}", place.ticket, change.id)
}

fn mark(change: &Change) -> String {
    format!("(change {})", change.id)
}

/// How often apps and rules put it where people decide.
fn machines(changes: &[Change]) -> usize {
    let moved = |change: &&Change| {
        matches!(change.by, By::Machine(_))
            && matches!(change.did, Did::Put(Some(Stand::Approved | Stand::Rejected)))
    };
    changes.iter().filter(moved).count()
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
    /// Somebody else changed its words since they were written, whether they changed them back or not, or what it is about.
    Edited,
    /// We have written something else since.
    Older,
}

fn fitness(known: &Known, history: &History, at: usize) -> Fit {
    let place = &known.place;
    let ours = |change: &Change| change.did == Did::Wrote && change.by == By::Us;
    let others = |change: &Change| change.did == Did::Wrote && change.by != By::Us;
    let written = history.changes.iter().rposition(ours);
    if written.is_some_and(|written| written > at) {
        return Fit::Older;
    }
    let since = written.map_or(0, |written| written + 1);
    let is_about_it = history.approvals == [known.hold.approval.id];
    if !is_about_it
        || history.changes.iter().skip(since).any(others)
        || history.words != place.words
        || place.shown.is_empty()
    {
        Fit::Edited
    } else {
        Fit::Same
    }
}

/// What an approval on this ticket comes back with.
fn shown(gate: &Gate, channel: &ChannelName, known: &Known) -> String {
    let Known { hold, place, .. } = known;
    let could_not_show_all = !place.whole && place.shown == inward::token(gate, channel, hold, Seen::Whole);
    if could_not_show_all { inward::token(gate, channel, hold, Seen::Part) } else { place.shown.clone() }
}
