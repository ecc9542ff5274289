//! What holds across actions: who has a break-glass open, and who stands in for whom.

use super::fault::{Breach, Rule, demand, same};
use crate::event::Event;
use countersign_core::{ApprovalId, PersonId, Timestamp};
use std::collections::BTreeMap;

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
