//! What holds across actions: who has a break-glass open, who stands in for whom, and which users of channels speak for
//! whom, and how often a ticket was used.

use super::fault::{Breach, Rule, breach, demand, same};
use crate::event::{Event, Through};
use countersign_core::{ApprovalId, Assurance, ChannelName, CredentialId, PersonId, Timestamp};
use std::collections::{BTreeMap, btree_map::Entry};

/// Break-glasses that nobody else has looked at: one for each person.
#[derive(Debug, Default)]
pub(super) struct Reviews(BTreeMap<PersonId, ApprovalId>);

impl Reviews {
    pub(super) fn read(&mut self, event: &Event) -> Result<(), Breach> {
        if let Event::ApprovalGlassBroken { statement, .. } = event {
            let before = self.0.insert(statement.voter, statement.approval);
            let found = before.map_or_else(String::new, |open| format!("the one of `{open}`, still open"));
            demand(Rule::BreakGlass, before.is_none(), "no review that is open", found)?;
        }
        if let Event::ApprovalGlassReviewed { approval, broken_by, .. } = event {
            let open = self.0.remove(broken_by);
            same(Rule::BreakGlass, "the open review of", &Some(*approval), &open)?;
        }
        Ok(())
    }
}

/// Who stands in for whom, from when until when.
#[derive(Debug, Default)]
pub(super) struct StandIns(BTreeMap<PersonId, (PersonId, Timestamp, Timestamp)>);

impl StandIns {
    pub(super) fn read(&mut self, at: Timestamp, event: &Event) -> Result<(), Breach> {
        if let Event::DelegationSet { person, to, from, until } = event {
            demand(Rule::StandIn, person != to, "somebody else", "the person themself")?;
            self.0.insert(*person, (*to, *from, *until));
        }
        if let Event::DelegationEnded { person, .. } = event {
            self.0.remove(person);
        }
        if let Event::ApprovalVoted { statement, .. } = event
            && let Some(absent) = statement.on_behalf_of
        {
            let found = self.0.get(&absent);
            let stands =
                found.is_some_and(|(to, from, until)| *to == statement.voter && *from <= at && at < *until);
            demand(Rule::StandIn, stands, format!("a stand-in of `{absent}`"), statement.voter)?;
        }
        Ok(())
    }
}

/// Which users of channels speak for whom.
#[derive(Debug, Default)]
pub(super) struct Bindings(BTreeMap<CredentialId, Bound>);

#[derive(Debug)]
struct Bound {
    person: PersonId,
    channel: ChannelName,
    at: Timestamp,
    ended: bool,
}

impl Bindings {
    pub(super) fn read(&mut self, at: Timestamp, event: &Event) -> Result<(), Breach> {
        if let Event::ChannelBound { person, binding, channel } = event {
            let bound = Bound { person: *person, channel: channel.clone(), at, ended: false };
            let before = self.0.insert(*binding, bound);
            demand(Rule::Chat, before.is_none(), "a new binding", format!("`{binding}` again"))?;
        }
        if let Event::ChannelUnbound { person, binding, channel } = event {
            let known = self.0.get_mut(binding);
            let known = known.filter(|bound| bound.person == *person && bound.channel == *channel);
            let none = || breach(Rule::Chat, "a binding of that person", format!("`{binding}`"));
            known.ok_or_else(none)?.ended = true;
        }
        if let Event::ApprovalVoted { statement, assurance, assertion, through, ticket, .. } = event {
            match (through, *assurance) {
                (None, Assurance::Session | Assurance::Passkey) => {}
                (None, Assurance::Chat) => {
                    return Err(breach(Rule::Chat, "the channel a vote worth `chat` came through", "none"));
                }
                (Some(_), given @ (Assurance::Session | Assurance::Passkey)) => {
                    return Err(breach(Rule::Chat, "`chat` for a vote through a channel", given.as_str()));
                }
                (Some(through), Assurance::Chat) => {
                    demand(Rule::Chat, assertion.is_none(), "no passkey in a channel", "an assertion")?;
                    let bound = self.speaks_for(statement.voter, through)?;
                    if let Some(ticket) = ticket {
                        let then = bound <= ticket.approved_at;
                        demand(
                            Rule::Ticket,
                            then,
                            "an approval by a user who was bound then",
                            ticket.approved_at,
                        )?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Since when they do.
    fn speaks_for(&self, voter: PersonId, through: &Through) -> Result<Timestamp, Breach> {
        let unknown = || breach(Rule::Chat, "a binding made before", format!("`{}`", through.binding));
        let bound = self.0.get(&through.binding).ok_or_else(unknown)?;
        demand(Rule::Chat, bound.person == voter, format!("a user bound to `{voter}`"), bound.person)?;
        same(Rule::Chat, "the channel", &bound.channel, &through.channel)?;
        let ended = || format!("`{}`, ended before", through.binding);
        if bound.ended { Err(breach(Rule::Chat, "a binding in force", ended())) } else { Ok(bound.at) }
    }
}

/// Which approvals tickets were used for, each with the how manieth that was, and the newest use of each ticket.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    uses: BTreeMap<(ChannelName, String, ApprovalId), u32>,
    newest: BTreeMap<(ChannelName, String), u32>,
}

impl Tickets {
    /// One use for each approval, whatever number of gates and rounds it has; each use is a later one than those before.
    pub(super) fn read(&mut self, event: &Event) -> Result<(), Breach> {
        if let Event::ApprovalVoted { statement, through: Some(through), ticket: Some(ticket), .. } = event {
            let place = (through.channel.clone(), ticket.id.clone());
            match self.uses.entry((through.channel.clone(), ticket.id.clone(), statement.approval)) {
                Entry::Occupied(known) => {
                    same(
                        Rule::Ticket,
                        "the use of this ticket for this approval",
                        known.get(),
                        &ticket.used,
                    )?;
                }
                Entry::Vacant(first) => {
                    let before = self.newest.insert(place, ticket.used).unwrap_or(0);
                    let expected = format!("a use of `{}` behind {before}", ticket.ticket);
                    demand(Rule::Ticket, ticket.used > before, expected, ticket.used)?;
                    first.insert(ticket.used);
                }
            }
        }
        Ok(())
    }
}
