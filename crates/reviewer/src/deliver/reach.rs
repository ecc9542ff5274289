//! Whom a channel writes to that writes to people: those who may decide on what is still shut, as many as the channel's limit
//! for each person leaves, and never fewer than have to decide. What they are asked counts once, on however many channels. It says who is asked; who may decide is policy's alone.

use super::Worker;
use crate::channel::{Decider, Said, Writes};
use countersign_core::{Digest, GateName, PersonId, PrincipalId};
use countersign_engine::{
    Error,
    hold::Hold,
    outbox::{self, News, Outgoing},
    port::identity::Voter,
    summons, vote,
};
use std::collections::{BTreeMap, BTreeSet};

/// How many times the limit is counted.
const BEYOND: usize = 8;

/// Somebody who could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    person: PersonId,
    /// The gates they would be asked about.
    gates: BTreeSet<GateName>,
    /// About how many open approvals they are asked already, up to a bound.
    load: usize,
    /// They were asked about this one before, here or on another channel.
    asked: bool,
    /// Whose turn it is where all else is the same: another order for each approval, which nobody chooses.
    turn: Digest,
}

/// About how many open approvals people are asked, as far as that was counted.
pub(super) type Loads = BTreeMap<PersonId, usize>;

impl Worker<'_> {
    /// Who is written to with this news. Whoever is asked anew is written down before the first mail goes.
    pub(super) async fn deciders(
        &self,
        outgoing: &mut Outgoing,
        hold: &Hold,
        news: &News,
    ) -> Result<Vec<Decider>, Error> {
        let asks = hold.approval.state.as_str() == "pending";
        let mut reached = if asks { self.reached(hold) } else { self.voices(hold, news.is_alarm()) };
        if let Some(most) = self.tell.most_each().filter(|_| !news.is_alarm()) {
            if asks {
                let _turn = self.gate.channels().asking().await;
                // A step is for others than those who were silent so far, wherever they were asked.
                let before = match news.kind.as_str() {
                    "approval.escalated" => outgoing.asked.clone(),
                    _ => outbox::asked_about(self.gate, hold.approval.id).await?,
                };
                reached = self.asked(hold, most, &before, &mut Loads::new()).await?;
                *outgoing = outbox::asked(self.gate, outgoing, &reached).await?;
            } else if !outgoing.asked.is_empty() {
                // Whoever has no vote any more has lost their part.
                let votes = |person: &PersonId| self.gate.identity().voter(*person).is_some();
                reached = outgoing.asked.iter().copied().filter(votes).collect();
            }
        }
        let one =
            |person| self.decider(hold, person, summons::link(self.gate, hold.approval.id, person, news.at));
        Ok(reached.into_iter().filter_map(one).collect())
    }

    /// Everybody who has a say that they have not had, on what is shut still, and can be written to.
    pub(super) fn reached(&self, hold: &Hold) -> BTreeSet<PersonId> {
        self.seats(hold).into_keys().collect()
    }

    pub(super) fn decider(&self, hold: &Hold, person: PersonId, link: String) -> Option<Decider> {
        let round = hold.approval.round();
        let voted = round.is_some_and(|round| round.votes.values().any(|votes| votes.contains_key(&person)));
        // Who voted on one gate may be the one who is needed on another.
        let had = voted && vote::left_for(self.gate, hold, person).is_empty();
        let said = if had { Said::Something } else { Said::Nothing };
        Some(Decider { person, address: self.address(person)?, link, said })
    }

    /// Where this channel reaches somebody; `None`: nowhere.
    pub(super) fn address(&self, person: PersonId) -> Option<String> {
        let identity = self.gate.identity();
        match self.tell.writes() {
            Writes::ToUsersOf(channel) => identity.user_of(&channel, person),
            Writes::ToPeople | Writes::ToAPlace => identity.address(person),
            // Its devices are looked up when they are told: some may come or go until then.
            Writes::ToDevices => (!identity.subscriptions(person).is_empty()).then(String::new),
        }
    }

    /// Those on whose side it was asked for who can be written to. A channel that is for some groups tells none of them: they
    /// would hear the same on each of several.
    pub(super) fn requesters(&self, hold: &Hold) -> Vec<Decider> {
        if self.tell.groups().is_some() {
            return Vec::new();
        }
        let one = |person: &PersonId| {
            let (address, link) = (self.address(*person)?, self.gate.approval_link(hold.approval.id));
            Some(Decider { person: *person, address, link, said: Said::Something })
        };
        let seen = &hold.view.computed;
        let own = match &seen.requester {
            PrincipalId::Person(person) => Some(person),
            PrincipalId::Agent(_) => None,
        };
        let side: BTreeSet<&PersonId> =
            own.into_iter().chain(&seen.owners).chain(&seen.on_behalf_of).collect();
        side.into_iter().filter_map(one).collect()
    }

    /// Everybody who may decide, or did, and can be written to; of `all` groups, or of those the channel is for.
    fn voices(&self, hold: &Hold, all: bool) -> BTreeSet<PersonId> {
        let identity = self.gate.identity();
        let may = |person: &PersonId| {
            self.address(*person).is_some() && vote::seat_for(self.gate, hold, *person).is_ok()
        };
        let voters = identity.voters().into_iter().filter(|voter| all || self.is_meant(voter));
        voters.map(|voter| voter.person).filter(may).collect()
    }

    /// Whether the channel is for anybody who may decide on it, or did.
    pub(super) fn is_for_somebody(&self, hold: &Hold) -> bool {
        let may =
            |voter: &Voter| self.is_meant(voter) && vote::seat_for(self.gate, hold, voter.person).is_ok();
        self.tell.groups().is_none() || self.gate.identity().voters().iter().any(may)
    }

    /// Everybody who has a say that they have not had and can be written to, with the shut gates it would be on.
    fn seats(&self, hold: &Hold) -> BTreeMap<PersonId, BTreeSet<GateName>> {
        let identity = self.gate.identity();
        let seats = |person| {
            self.address(person)?;
            let left = vote::left_for(self.gate, hold, person);
            let gates: BTreeSet<GateName> = left.into_iter().map(|shut| shut.name.clone()).collect();
            (!gates.is_empty()).then_some((person, gates))
        };
        let voters = identity.voters().into_iter().filter(|voter| self.is_meant(voter));
        voters.filter_map(|voter| seats(voter.person)).collect()
    }

    /// Whether this channel is for somebody: they are of its groups, or stand in for somebody who is.
    fn is_meant(&self, voter: &Voter) -> bool {
        let Some(groups) = self.tell.groups() else { return true };
        let (identity, now) = (self.gate.identity(), self.gate.now());
        let mut away = voter.stands_in.iter().filter(|one| one.from <= now && now < one.until);
        !groups.is_disjoint(&voter.groups)
            || away.any(|one| {
                identity.voter(one.absent).is_some_and(|absent| !groups.is_disjoint(&absent.groups))
            })
    }

    /// Whom the limit leaves, with how many each gate still needs.
    pub(super) async fn asked(
        &self,
        hold: &Hold,
        most: usize,
        before: &BTreeSet<PersonId>,
        loads: &mut Loads,
    ) -> Result<BTreeSet<PersonId>, Error> {
        let id = hold.approval.id.to_string();
        let mut candidates = Vec::new();
        for (person, gates) in self.seats(hold) {
            let load = if let Some(known) = loads.get(&person) {
                *known
            } else {
                // Beyond the limit as well: whoever has the least is asked where nobody is left.
                let counted = most.saturating_mul(BEYOND);
                let load = outbox::load_of(self.gate, person, counted).await?;
                loads.insert(person, load);
                load
            };
            let turn =
                Digest::of_parts("countersign/turn/v1", &[id.as_bytes(), person.to_string().as_bytes()]);
            candidates.push(Candidate { person, gates, load, asked: before.contains(&person), turn });
        }
        let mut needs = BTreeMap::new();
        if let Some(round) = hold.approval.round() {
            for gate in round.gates.iter().filter(|gate| !round.lifted(gate)) {
                let votes = round.votes.get(&gate.name).map_or(0, BTreeMap::len);
                let quorum = usize::try_from(gate.quorum.get()).unwrap_or(usize::MAX);
                needs.insert(gate.name.clone(), quorum.saturating_sub(votes).max(1));
            }
            if round.gates.iter().any(|gate| gate.distinct) {
                // One person lifts one of them: with so many for each nobody is missing on the others.
                let all = needs.values().fold(0, |all: usize, need| all.saturating_add(*need));
                for need in needs.values_mut() {
                    *need = all;
                }
            }
        }
        Ok(chosen(candidates, &needs, most))
    }
}

/// Everybody below the limit; where these are fewer than a gate needs, those with the least beside them.
fn chosen(
    mut candidates: Vec<Candidate>,
    needs: &BTreeMap<GateName, usize>,
    most: usize,
) -> BTreeSet<PersonId> {
    candidates.sort_by_key(|one| (!one.asked, one.load, one.turn));
    let free = |one: &&Candidate| one.asked || one.load < most;
    let mut chosen: BTreeSet<PersonId> = candidates.iter().filter(free).map(|one| one.person).collect();
    for (gate, need) in needs {
        let of_it = candidates.iter().filter(|one| one.gates.contains(gate));
        let there = of_it.clone().filter(free).count();
        let others = of_it.filter(|one| !free(one)).take(need.saturating_sub(there));
        chosen.extend(others.map(|one| one.person));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: u128) -> PersonId {
        PersonId::from_parts(1, number)
    }

    #[test]
    fn whoever_is_busy_is_left_alone_as_long_as_others_are_enough() {
        type Row = (&'static str, &'static [(u128, &'static str, usize, bool)], usize, &'static [u128]);
        let rows: [Row; 8] = [
            ("nobody is busy", &[(1, "data", 0, false), (2, "data", 4, false)], 1, &[1, 2]),
            ("one is", &[(1, "data", 5, false), (2, "data", 4, false)], 1, &[2]),
            ("but two are needed", &[(1, "data", 5, false), (2, "data", 4, false)], 2, &[1, 2]),
            ("all are", &[(1, "data", 9, false), (2, "data", 5, false), (3, "data", 7, false)], 1, &[2]),
            ("whoever was asked stays so", &[(1, "data", 5, true), (2, "data", 5, false)], 1, &[1]),
            ("nobody at all", &[], 2, &[]),
            ("on another gate too", &[(1, "apart data", 9, false), (2, "apart", 0, false)], 1, &[1, 2]),
            ("only on another gate", &[(1, "apart", 9, false), (2, "data", 0, false)], 1, &[2]),
        ];
        for (what, rows, need, want) in rows {
            let candidates = rows.iter().map(|(number, gates, load, asked)| Candidate {
                person: person(*number),
                gates: gates.split(' ').map(|gate| gate.parse().unwrap()).collect(),
                load: *load,
                asked: *asked,
                turn: Digest::of(&number.to_be_bytes()),
            });
            let needs = [("data".parse().unwrap(), need)].into();
            let want: BTreeSet<PersonId> = want.iter().map(|number| person(*number)).collect();
            assert_eq!(chosen(candidates.collect(), &needs, 5), want, "{what}");
        }
    }
}
