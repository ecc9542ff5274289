//! Whether something could ever be permitted, before it is known with which arguments it would be asked: what a list of
//! tools is filtered by. Generous where a rule looks at what only a call says, so that nothing is left out that could be
//! permitted; a call is decided on by itself, whatever was listed.

use crate::{
    Bundle,
    explain::is_in_scope,
    rules::{Effect, Rule},
    slice::{Asked, Slice},
    subject::Subject,
};
use countersign_core::{Action, Timestamp};

impl Bundle {
    /// Whether the caller could ever have this operation on these resources. What the action says beyond that (arguments,
    /// time, reason) may be made up. A gate is no obstacle: people can lift it.
    pub fn is_possible(&self, action: &Action, now: Timestamp) -> bool {
        let Ok(subject) = Subject::read(self, action) else { return false };
        let Ok(slice) = Slice::new(self, &subject, now) else { return false };
        slice.asked.iter().all(|asked| self.can_be(&subject, &slice, asked))
    }

    fn can_be(&self, subject: &Subject<'_>, slice: &Slice, asked: &Asked) -> bool {
        let Some(ask) = subject.asks.get(asked.ask) else { return false };
        let rules = &ask.known.rules;
        let matched = |set| {
            let response = self.authorizer.is_authorized(&asked.request, set, &slice.entities);
            let ids: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
            ids
        };
        let walled = matched(&rules.forbids).iter().any(|id| {
            self.rule(id).is_none_or(|rule| matches!(rule.effect, Effect::Wall) && !rule.reads.call)
        });
        if walled {
            return false;
        }
        let depends =
            |rule: &&std::sync::Arc<Rule>| matches!(rule.effect, Effect::Permit(_)) && rule.reads.call;
        !matched(&rules.permits).is_empty()
            || self.rules.iter().filter(depends).any(|rule| is_in_scope(rule, subject, slice, asked))
    }
}
