//! Who stands behind an agent, and why: told of the same records from which its requests are kept from their approval.

use super::{Directory, tokens::answerable};
use crate::{
    memory::Memory,
    record::agent::{Agent, Token},
};
use countersign_core::{AgentId, PersonId, Requester};
use std::collections::{BTreeMap, BTreeSet};

/// Everyone on an agent's side, each with why, in words.
pub type Behind = BTreeMap<PersonId, BTreeSet<String>>;

impl Directory {
    /// Everyone who can never approve what this agent asks with one of its present credentials; with each credential,
    /// the caller it stands for.
    pub fn behind_agent(&self, agent: AgentId) -> Option<(Behind, Vec<Requester>)> {
        let now = self.journal.now();
        let memory = self.memory.read();
        let agent = memory.agents.get(&agent).map(|held| &held.doc)?;
        let mut behind = Behind::new();
        agent.owners.iter().for_each(|owner| add(&mut behind, *owner, "owns it"));
        agent.created_by.iter().for_each(|by| add(&mut behind, *by, "created it"));
        let mut callers = Vec::new();
        for state in memory.tokens_of(agent.id) {
            let token = &state.held.doc;
            let Ok(caller) = self.standing_caller(&memory, token, now) else { continue };
            let reasons = self.reasons(&memory, agent, token);
            for person in caller.side() {
                let found = reasons.iter().filter(|(named, _)| *named == person).map(|(_, why)| why);
                let before = behind.entry(person).or_default();
                before.extend(found.cloned());
                if before.is_empty() {
                    before.insert("stands behind one of its credentials".into());
                }
            }
            callers.push(caller);
        }
        Some((behind, callers))
    }

    fn reasons(&self, memory: &Memory, agent: &Agent, token: &Token) -> Vec<(PersonId, String)> {
        let label = &token.label;
        let mut reasons = Vec::new();
        let mut say = |person: PersonId, why: String| reasons.push((person, why));
        for person in answerable(agent, token).difference(&agent.owners) {
            say(*person, format!("owned it while the credential `{label}` was there"));
        }
        token.created_by.iter().for_each(|by| say(*by, format!("made the token `{label}`")));
        token.on_behalf_of.iter().for_each(|person| say(*person, format!("it acts for them with `{label}`")));
        let Some(workload) = &token.workload else { return reasons };
        if let Some((issuer, rule)) = self.trust.rule(workload.rule) {
            let named = |email| memory.emails.get(email).copied();
            for person in rule.obtainable_by.iter().filter_map(named) {
                say(person, format!("can come by a token of issuer `{}`", issuer.name));
            }
            let owners = rule.described.iter().flat_map(|described| &described.owners);
            owners.filter_map(named).for_each(|person| say(person, "owns it".into()));
        }
        for through in workload.through.iter().filter_map(|agent| memory.agents.get(agent)) {
            let (name, through) = (&through.doc.name, &through.doc);
            for person in answerable(through, token).iter().chain(&through.created_by) {
                say(*person, format!("answers for `{name}`, through which `{label}` came"));
            }
        }
        reasons
    }
}

fn add(behind: &mut Behind, person: PersonId, why: &str) {
    behind.entry(person).or_default().insert(why.to_owned());
}
