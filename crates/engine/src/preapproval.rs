//! Tickets that requesters name, as approved there before they asked. What the requester says is a key and nothing else: the ticket
//! is looked up over our own connection, and its approver's word becomes a vote like another, worth `chat`, on the gates whose
//! policy takes it. Whatever fails, the action waits as if no ticket had been named, and both sides read what failed.

mod again;
mod count;
mod judge;

pub(crate) use again::lost;
pub(crate) use count::Voucher;

use crate::{
    error::Error,
    gate::Gate,
    hold::{self, Hold, Write},
    port::ticket::Tickets,
    record,
};
use countersign_core::{
    ApprovalId, ChannelName, GateName, PersonId, PrincipalId, TicketCheck, TicketKey, Timestamp,
    approval::{Refused, State},
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Event, TicketVote},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex as Lock, PoisonError},
    time::Duration,
};
use tokio::sync::{Mutex, Semaphore};

/// How long a ticket is looked up at most, waiting for its turn included.
const LOOK_FOR: Duration = Duration::from_secs(15);
/// Tickets that are looked up at once, for one requester, and beside them before something runs: whoever names many holds up
/// nobody's run.
const AT_ONCE: usize = 8;
const AT_ONCE_EACH: usize = 2;
const AT_ONCE_AGAIN: usize = 4;
/// Tickets that may be named for one approval, and how often each is looked up.
const MOST_NAMED: usize = 8;
const MOST_LOOKS: u32 = 20;
/// A ticket that was looked up is not looked up again within this time.
const SETTLED: Duration = Duration::from_secs(5);

/// The ticket systems that may be asked, and who may ask them now.
#[derive(Debug)]
pub struct Systems {
    known: BTreeMap<ChannelName, Arc<dyn Tickets>>,
    looks: Semaphore,
    again: Semaphore,
    each: Lock<BTreeMap<PrincipalId, Arc<Semaphore>>>,
    /// What is looked up now, for which approval.
    under_way: Lock<BTreeSet<(ApprovalId, String)>>,
    /// Held while uses are counted, so that of two that want the last one the other is told.
    counting: Mutex<()>,
}

impl Systems {
    pub fn new(known: impl IntoIterator<Item = (ChannelName, Arc<dyn Tickets>)>) -> Self {
        let known = known.into_iter().collect();
        Self {
            known,
            looks: Semaphore::new(AT_ONCE),
            again: Semaphore::new(AT_ONCE_AGAIN),
            each: Lock::default(),
            under_way: Lock::default(),
            counting: Mutex::new(()),
        }
    }

    /// The turns of one requester.
    fn turns_of(&self, principal: PrincipalId) -> Arc<Semaphore> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(AT_ONCE_EACH));
        Arc::clone(each.entry(principal).or_insert_with(new))
    }

    /// `None`: it is looked up for this approval already.
    fn begin(&self, id: ApprovalId, claimed: &str) -> Option<Look<'_>> {
        let look = (id, claimed.to_owned());
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = under_way.insert(look.clone());
        // One that is made and dropped here would end the look that is under way.
        is_new.then(|| Look { systems: self, look })
    }

    /// The system behind a channel.
    pub(crate) fn of(&self, channel: &ChannelName) -> Option<&Arc<dyn Tickets>> {
        self.known.get(channel)
    }
}

impl Default for Systems {
    fn default() -> Self {
        Self::new([])
    }
}

/// A look that is under way; over when it is dropped.
struct Look<'s> {
    systems: &'s Systems,
    look: (ApprovalId, String),
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        let mut under_way = self.systems.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(&self.look);
    }
}

/// A ticket that was named, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedTicket {
    /// As the requester wrote it. Claimed.
    pub claimed: String,
    pub named_at: Timestamp,
    /// How often it was looked at.
    pub looks: u32,
    #[serde(default)]
    pub looked_at: Option<Timestamp>,
    /// What the last look came to.
    pub stands: TicketStand,
    /// The votes that rest on it, each until it is found out that it does not hold. What a later look came to takes none away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<Counted>,
    /// Those of which it was found out: they lift no gate any more, until it is asked about anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Counted>,
}

/// What was found out about a named ticket. Computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum TicketStand {
    /// Nobody has looked yet.
    Unread,
    /// Its approver's word counted.
    Counted(Box<Counted>),
    /// A check failed: the first that did, and why, in our own words.
    Failed {
        check: TicketCheck,
        why: String,
        channel: Option<ChannelName>,
        ticket: Option<TicketKey>,
        at: Timestamp,
    },
}

/// One vote in a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub by: PersonId,
    pub channel: ChannelName,
    pub gate: GateName,
    pub round: u32,
    pub vote: TicketVote,
}

/// Why a ticket does not count.
#[derive(Clone, Debug)]
struct Failing {
    channel: Option<ChannelName>,
    ticket: Option<TicketKey>,
    check: TicketCheck,
    why: String,
}

impl NamedTicket {
    pub(crate) fn new(claimed: String, named_at: Timestamp) -> Self {
        let stands = TicketStand::Unread;
        Self { claimed, named_at, looks: 0, looked_at: None, stands, votes: Vec::new(), lost: Vec::new() }
    }

    /// How it stands, in one plain sentence of ours.
    pub fn in_words(&self) -> String {
        match &self.stands {
            TicketStand::Unread => "has not been looked up".into(),
            TicketStand::Counted(counted) => {
                let TicketVote { used, uses, approved_at, .. } = &counted.vote;
                format!("counts as its approver's vote: approved {approved_at}, use {used} of {uses}")
            }
            TicketStand::Failed { check, why, .. } => {
                format!("does not count: {why} (check `{}`)", check.as_str())
            }
        }
    }

    /// One word for programs.
    pub const fn state(&self) -> &'static str {
        match &self.stands {
            TicketStand::Unread => "unread",
            TicketStand::Counted(_) => "counted",
            TicketStand::Failed { .. } => "failed",
        }
    }

    /// The check that failed.
    pub const fn failed(&self) -> Option<TicketCheck> {
        match &self.stands {
            TicketStand::Failed { check, .. } => Some(*check),
            TicketStand::Unread | TicketStand::Counted(_) => None,
        }
    }

    fn is_settled(&self, hold: &Hold, now: Timestamp) -> bool {
        let open = hold.approval.round().map_or(0, |round| round.number);
        self.looks >= MOST_LOOKS
            || self.looked_at.is_some_and(|at| now.since(at) < SETTLED)
            || self.votes.iter().any(|vote| vote.round == open)
    }
}

/// The requester named a ticket with something that is held now: looks it up, and counts what its approver said. Whoever waits
/// stays for that as long as their patience lasts; it goes on without them.
pub(crate) async fn named(gate: &Arc<Gate>, id: ApprovalId, claimed: Option<String>, patience: Duration) {
    let Some(claimed) = claimed else { return };
    let gate = Arc::clone(gate);
    let looked = tokio::spawn(async move {
        if let Err(error) = take_in(&gate, id, &claimed).await {
            tracing::error!(approval = %id, error = %record::chain(&error), "a named ticket was not looked at");
        }
    });
    // Whether it counts is in the approval, which whoever waits looks at.
    let _ = tokio::time::timeout(patience, looked).await;
}

async fn take_in(gate: &Arc<Gate>, id: ApprovalId, claimed: &str) -> Result<(), Error> {
    // Whoever named the same at the same moment reads in the approval what came of it.
    let Some(_look) = gate.tickets().begin(id, claimed) else { return Ok(()) };
    let (hold, _) = hold::load(gate, id).await?;
    let known = hold.tickets.iter().find(|named| named.claimed == claimed);
    let settled = known.map_or(hold.tickets.len() >= MOST_NAMED, |named| named.is_settled(&hold, gate.now()));
    if hold.approval.state != State::Pending || settled {
        return Ok(());
    }
    let judged = match judge::judge(gate, &hold, claimed).await? {
        Ok(judged) => count::count(gate, id, claimed, judged).await?,
        Err(failing) => Err(failing),
    };
    match judged {
        Ok(()) => Ok(()),
        Err(failing) => failed(gate, id, claimed, &failing).await,
    }
}

/// Records which check a ticket failed, where no vote rests on it: a vote is lost where that is looked at alone.
async fn failed(gate: &Gate, id: ApprovalId, claimed: &str, failing: &Failing) -> Result<(), Error> {
    let revised = hold::revise(gate, id, |hold, now| {
        if hold.approval.state != State::Pending {
            return Err(Refused::OutOfOrder("a look at a ticket"));
        }
        let named = hold.name(claimed, now)?;
        named.looked(now);
        if !named.votes.is_empty() {
            return Ok(Write::by(Actor::Gateway));
        }
        Ok(named.fails(id, failing, None, now))
    });
    revised.await?.ok();
    Ok(())
}

impl NamedTicket {
    fn looked(&mut self, now: Timestamp) {
        self.looks = self.looks.saturating_add(1);
        self.looked_at = Some(now);
    }

    /// Says which check it failed, and at which gate its approver's vote ends with that.
    fn fails(
        &mut self,
        approval: ApprovalId,
        failing: &Failing,
        gate: Option<GateName>,
        at: Timestamp,
    ) -> Write {
        let Failing { channel, ticket, check, why } = failing.clone();
        let event = Event::ApprovalTicketRefused {
            approval,
            channel: channel.clone(),
            ticket: ticket.clone(),
            check,
            gate,
        };
        self.stands = TicketStand::Failed { check, why, channel, ticket, at };
        let claimed = self.claimed.as_bytes().to_vec().into();
        let private = vec![PrivateField { path: "claimed_ticket".into(), value: claimed }];
        Write::by(Actor::Gateway).with_private(event, private)
    }
}

impl Hold {
    /// The ticket of this name, named now where it was not before and is not one too many.
    fn name(&mut self, claimed: &str, now: Timestamp) -> Result<&mut NamedTicket, Refused> {
        let at = self.tickets.iter().position(|named| named.claimed == claimed);
        let at = match at {
            Some(at) => at,
            None if self.tickets.len() >= MOST_NAMED => {
                return Err(Refused::OutOfOrder("one ticket too many"));
            }
            None => {
                self.tickets.push(NamedTicket::new(claimed.to_owned(), now));
                self.tickets.len() - 1
            }
        };
        self.tickets.get_mut(at).ok_or(Refused::OutOfOrder("a ticket that is not named"))
    }
}
