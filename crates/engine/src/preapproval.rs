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
    ApprovalId, ChannelName, GateName, PersonId, TicketCheck, TicketKey, Timestamp, approval::State,
};
use countersign_ledger::{
    entry::PrivateField,
    event::{Actor, Event, TicketVote},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Mutex, Semaphore};

/// How long a ticket is looked up at most, waiting for its turn included.
const LOOK_FOR: Duration = Duration::from_secs(15);
/// Tickets that are looked up at once.
const AT_ONCE: usize = 8;
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
    /// Held while uses are counted, so that of two that want the last one the other is told.
    counting: Mutex<()>,
}

impl Systems {
    pub fn new(known: impl IntoIterator<Item = (ChannelName, Arc<dyn Tickets>)>) -> Self {
        let known = known.into_iter().collect();
        Self { known, looks: Semaphore::new(AT_ONCE), counting: Mutex::new(()) }
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

/// A ticket that was named, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedTicket {
    /// As the requester wrote it. Claimed.
    pub claimed: String,
    pub named_at: Timestamp,
    /// How often it was looked at.
    pub looks: u32,
    pub stands: TicketStand,
}

/// What was found out about a named ticket. Computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum TicketStand {
    /// Nobody has looked yet.
    Unread,
    /// Its approver's word counts at these gates.
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

/// A ticket that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub by: PersonId,
    pub channel: ChannelName,
    /// Each with the round in which it does.
    pub gates: BTreeMap<GateName, u32>,
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
        Self { claimed, named_at, looks: 0, stands: TicketStand::Unread }
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
        match &self.stands {
            TicketStand::Unread => false,
            TicketStand::Counted(counted) => {
                let open = hold.approval.round().map_or(0, |round| round.number);
                counted.gates.values().any(|round| *round == open)
            }
            TicketStand::Failed { at, .. } => self.looks >= MOST_LOOKS || now.since(*at) < SETTLED,
        }
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

/// Records which check a ticket failed.
async fn failed(gate: &Gate, id: ApprovalId, claimed: &str, failing: &Failing) -> Result<(), Error> {
    let Failing { channel, ticket, check, why } = failing.clone();
    let revised = hold::revise(gate, id, |hold, now| {
        let (channel, ticket) = (channel.clone(), ticket.clone());
        let event = Event::ApprovalTicketRefused {
            approval: id,
            channel: channel.clone(),
            ticket: ticket.clone(),
            check,
        };
        let named = hold.name(claimed, now);
        named.looks = named.looks.saturating_add(1);
        named.stands = TicketStand::Failed { check, why: why.clone(), channel, ticket, at: now };
        let claimed = claimed.as_bytes().to_vec().into();
        let private = vec![PrivateField { path: "claimed_ticket".into(), value: claimed }];
        Ok(Write::by(Actor::Gateway).with_private(event, private))
    });
    revised.await?.ok();
    Ok(())
}

impl Hold {
    /// The ticket of this name, named now where it was not before.
    fn name(&mut self, claimed: &str, now: Timestamp) -> &mut NamedTicket {
        let at = self.tickets.iter().position(|named| named.claimed == claimed);
        let at = at.unwrap_or_else(|| {
            self.tickets.push(NamedTicket::new(claimed.to_owned(), now));
            self.tickets.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "it was found or put there just now")]
        &mut self.tickets[at]
    }
}
