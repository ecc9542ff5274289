//! One delivery through a channel, and what was answered to it: kept with the approval it is about, written in the same
//! commit as what it changed, so that a delivery that comes again is known even after a restart.

use super::{OPEN_PAGE, Refusal, Said, Says, private};
use crate::{gate::Gate, hold::Hold};
use countersign_core::{
    ApprovalId, ChannelName, Digest, Timestamp,
    approval::{Refused, State},
};
use countersign_ledger::{entry::PrivateField, event::Through};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Whether what was said counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It counts.
    Done,
    /// It does not; the message says why, and what to do.
    Refused,
}

/// What the user is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub outcome: Outcome,
    /// A stable word for programs: `counted`, `granted`, `rejected`, `not-bound`, `open-page`…
    pub code: String,
    /// One plain sentence for the user.
    pub message: String,
    /// The page of this very approval.
    pub link: String,
}

/// A delivery that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Channel and id of the delivery, hashed.
    delivery: Digest,
    /// Everything it said, hashed.
    asked: Digest,
    at: Timestamp,
    answer: Answer,
}

/// Deliveries older than this are forgotten: no channel's signature is believed for so long.
const REMEMBERED: Duration = Duration::from_mins(15);
/// Deliveries of one approval remembered at once.
const MOST: usize = 256;

/// A delivery on its way in.
#[derive(Debug)]
pub(crate) struct Arrival {
    delivery: Digest,
    asked: Digest,
    said: Said,
    through: Option<Through>,
}

/// What is known of a delivery.
pub(super) enum Known {
    Never,
    Before(Answer),
    /// Under this id came something else.
    Otherwise,
}

impl Arrival {
    pub(super) fn of(said: &Said) -> Self {
        let verdict: &[u8] = match said.says {
            Says::Approve => b"approve",
            Says::Reject => b"reject",
        };
        let approval = said.approval.to_string();
        let gate = said.gate.as_ref().map_or(&b""[..], |gate| gate.as_str().as_bytes());
        let reason = said.reason.as_deref().unwrap_or_default().as_bytes();
        let parts: [&[u8]; 6] =
            [said.user.as_bytes(), approval.as_bytes(), said.shown.as_bytes(), verdict, gate, reason];
        Self {
            delivery: delivered(&said.channel, &said.delivery),
            asked: Digest::of_parts("countersign/delivered/v1", &parts),
            said: said.clone(),
            through: None,
        }
    }

    pub(super) fn through(self, through: Through) -> Self {
        Self { through: Some(through), ..self }
    }

    /// What the vote's entry says of the way it came.
    pub(crate) fn way(&self) -> Option<Through> {
        self.through.clone()
    }

    /// What a delivery was answered, whatever else is said of it now.
    pub(super) fn answered(hold: &Hold, channel: &ChannelName, delivery: &str) -> Option<Answer> {
        let delivery = delivered(channel, delivery);
        let heard = hold.heard.iter().find(|heard| heard.delivery == delivery)?;
        Some(heard.answer.clone())
    }

    pub(super) fn known(&self, hold: &Hold) -> Known {
        match hold.heard.iter().find(|heard| heard.delivery == self.delivery) {
            None => Known::Never,
            Some(heard) if heard.asked == self.asked => Known::Before(heard.answer.clone()),
            Some(_) => Known::Otherwise,
        }
    }

    /// What this very delivery was answered.
    pub(super) fn answer(&self, hold: &Hold) -> Option<Answer> {
        match self.known(hold) {
            Known::Before(answer) => Some(answer),
            Known::Never | Known::Otherwise => None,
        }
    }

    /// Whether one more delivery can be remembered; else how long to wait.
    pub(super) fn room(hold: &Hold, now: Timestamp) -> Result<(), Duration> {
        let recent = hold.heard.iter().filter(|heard| now.since(heard.at) < REMEMBERED);
        if recent.count() < MOST { Ok(()) } else { Err(Duration::from_mins(1)) }
    }

    /// Remembers the answer with the approval. Refused where the same delivery was faster.
    pub(super) fn take_in(&self, hold: &mut Hold, now: Timestamp, answer: &Answer) -> Result<(), Refused> {
        hold.heard.retain(|heard| now.since(heard.at) < REMEMBERED);
        if hold.heard.iter().any(|heard| heard.delivery == self.delivery) || hold.heard.len() >= MOST {
            return Err(Refused::OutOfOrder("told of this before"));
        }
        let (delivery, asked, answer) = (self.delivery, self.asked, answer.clone());
        hold.heard.push(Heard { delivery, asked, at: now, answer });
        Ok(())
    }

    /// Remembers that it counted.
    pub(crate) fn counted(&self, gate: &Gate, hold: &mut Hold, now: Timestamp) -> Result<(), Refused> {
        let answer = Answer::counted(gate, hold, self.said.says);
        self.take_in(hold, now, &answer)
    }

    /// Who said it in the channel's own words, kept beside the entry.
    pub(crate) fn private(&self) -> Vec<PrivateField> {
        vec![private("channel_user", &self.said.user), private("delivery", &self.said.delivery)]
    }
}

fn delivered(channel: &ChannelName, delivery: &str) -> Digest {
    Digest::of_parts("countersign/delivery/v1", &[channel.as_str().as_bytes(), delivery.as_bytes()])
}

impl Answer {
    pub(super) fn counted(gate: &Gate, hold: &Hold, says: Says) -> Self {
        let (code, message) = match (says, &hold.approval.state) {
            (Says::Reject, _) => {
                ("rejected", "you rejected it: nothing runs, and your reason reaches the requester")
            }
            (Says::Approve, State::Granted { .. } | State::Executing(_)) => {
                ("granted", "your approval counts, and it was the last one that was needed")
            }
            (Says::Approve, State::Pending | State::Closed(_)) => {
                ("counted", "your approval counts; others are still asked")
            }
        };
        let link = gate.approval_link(hold.approval.id);
        Self { outcome: Outcome::Done, code: code.into(), message: message.into(), link }
    }

    pub(super) fn refused(gate: &Gate, approval: ApprovalId, refusal: &Refusal) -> Self {
        let (code, message) = refusal.told();
        // Saying once more what counts already is no failure.
        let outcome = match refusal {
            Refusal::Before => Outcome::Done,
            Refusal::NotBound | Refusal::ShownChanged | Refusal::NotShownWhole | Refusal::Vote(..) => {
                Outcome::Refused
            }
        };
        let link = if code == OPEN_PAGE { gate.decide_link(approval) } else { gate.approval_link(approval) };
        Self { outcome, code: code.into(), message, link }
    }
}
