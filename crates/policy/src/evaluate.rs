//! The decision: permits and no wall and no gate is a permit; a gate instead is a review; everything else is refused.
//!
//! One question to Cedar for each resource. Any error, and anything that cannot be proven complete, refuses.

use crate::{
    Bundle,
    explain::near_misses,
    gate::terms,
    rules::{Effect, Rule},
    slice::Slice,
    subject::{Incomplete, Subject},
};
use cedar_policy::Response;
use countersign_core::{
    Action, BundleDigest, Class, Decision, PolicyId, Refusal, RefusalCode, Timestamp, decision::Basis,
    visible,
};
use serde::Serialize;
use std::{collections::BTreeSet, sync::Arc};

/// A decision and how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    pub decision: Decision,
    pub trace: Arc<Trace>,
    /// Whether it was answered from memory. Equal in every other respect.
    pub remembered: bool,
}

/// What matched, for records and explanations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    pub bundle: BundleDigest,
    /// The action as policies name it: `crm/exportCustomers`, or a class for what was not recognised.
    pub action: String,
    /// One for each resource; empty when nothing could be evaluated.
    pub matched: Vec<Matched>,
    /// Why policy could not be evaluated.
    pub errors: Vec<String>,
}

/// The policies that matched for one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// Kind and name.
    pub resource: String,
    pub permits: BTreeSet<PolicyId>,
    pub walls: BTreeSet<PolicyId>,
    pub gates: BTreeSet<PolicyId>,
}

impl Bundle {
    /// Decides on one action at one moment. A pure function: equal inputs give equal answers.
    pub fn decide(&self, action: &Action, now: Timestamp) -> Evaluation {
        let subject = match Subject::read(self, action) {
            Ok(subject) => subject,
            Err(incomplete) => return self.undecidable(action, incomplete),
        };
        if !subject.may_be_kept() {
            return self.evaluate(&subject, now);
        }
        let key = subject.key(self);
        if let Some(kept) = self.memo.recall(&key) {
            return Evaluation { remembered: true, ..(*kept).clone() };
        }
        let evaluation = self.evaluate(&subject, now);
        if evaluation.trace.errors.is_empty() {
            self.memo.keep(key, Arc::new(evaluation.clone()));
        }
        evaluation
    }

    /// The decision without the memory: what [`Bundle::decide`] must agree with.
    pub fn decide_afresh(&self, action: &Action, now: Timestamp) -> Evaluation {
        match Subject::read(self, action) {
            Ok(subject) => self.evaluate(&subject, now),
            Err(incomplete) => self.undecidable(action, incomplete),
        }
    }

    fn evaluate(&self, subject: &Subject<'_>, now: Timestamp) -> Evaluation {
        let slice = match Slice::new(self, subject, now) {
            Ok(slice) => slice,
            Err(incomplete) => return self.undecidable(subject.action, incomplete),
        };
        let trace = self.ask(subject, &slice);
        let decision = self.conclude(subject, &slice, &trace);
        Evaluation { decision, trace: Arc::new(trace), remembered: false }
    }

    fn ask(&self, subject: &Subject<'_>, slice: &Slice) -> Trace {
        let mut trace = self.trace(subject.known.name.clone());
        for asked in &slice.asked {
            let mut matched = Matched { resource: asked.shown.clone(), ..Matched::default() };
            let Some(ask) = subject.asks.get(asked.ask) else { continue };
            let rules = &ask.known.rules;
            for set in [&rules.permits, &rules.forbids] {
                let response = self.authorizer.is_authorized(&asked.request, set, &slice.entities);
                self.sort(&response, &mut matched, &mut trace.errors);
            }
            trace.matched.push(matched);
        }
        trace
    }

    fn sort(&self, response: &Response, matched: &mut Matched, errors: &mut Vec<String>) {
        for error in response.diagnostics().errors() {
            errors.push(error.to_string());
        }
        for id in response.diagnostics().reason() {
            let text: &str = id.as_ref();
            let Some(rule) = self.rule(text) else {
                errors.push(format!("policy `{text}` matched and is not in the bundle"));
                continue;
            };
            let set = match rule.effect {
                Effect::Permit(_) => &mut matched.permits,
                Effect::Wall | Effect::VoteWall => &mut matched.walls,
                Effect::Gate(_) => &mut matched.gates,
            };
            set.insert(rule.id.clone());
        }
    }

    fn conclude(&self, subject: &Subject<'_>, slice: &Slice, trace: &Trace) -> Decision {
        let all = |set: fn(&Matched) -> &BTreeSet<PolicyId>| -> BTreeSet<PolicyId> {
            trace.matched.iter().flat_map(set).cloned().collect()
        };
        let (permits, walls, gates) =
            (all(|found| &found.permits), all(|found| &found.walls), all(|found| &found.gates));
        let basis = |policies| Basis { bundle: self.digest(), policies };
        if !trace.errors.is_empty() {
            return Decision::Forbid(evaluation_failed(&trace.errors));
        }
        if !walls.is_empty() {
            return Decision::Forbid(self.walled(basis(walls)));
        }
        if let Some(bare) = trace.matched.iter().find(|found| found.permits.is_empty()) {
            return Decision::Forbid(self.not_permitted(subject, slice, bare));
        }
        let rules = gates.iter().filter_map(|id| match &self.rule(id.as_str())?.effect {
            Effect::Gate(gate) => Some((id, &**gate)),
            Effect::Permit(_) | Effect::Wall | Effect::VoteWall => None,
        });
        let policies = permits.iter().chain(&gates).cloned().collect();
        match terms(basis(policies), rules) {
            Some(terms) => Decision::Review(terms),
            None => Decision::Permit(basis(permits)),
        }
    }

    fn walled(&self, basis: Basis) -> Refusal {
        let rules = basis.policies.iter().filter_map(|id| self.rule(id.as_str()));
        let reasons: Vec<String> =
            rules.map(|rule| format!("policy `{}` forbids this{}", rule.id, because(rule))).collect();
        Refusal {
            code: RefusalCode::Wall,
            reason: reasons.join("; "),
            remedy: "no approval lifts this; ask for something the policy allows".into(),
            basis: Some(basis),
        }
    }

    fn not_permitted(&self, subject: &Subject<'_>, slice: &Slice, bare: &Matched) -> Refusal {
        let action = subject.action;
        let reason = format!(
            "no policy permits this {} to {} {} at `{}` in `{}`",
            action.requester.kind.as_str(),
            verb(subject),
            visible::one_line(&bare.resource),
            action.target,
            action.environment
        );
        let near = near_misses(self, subject, slice).into_iter().next();
        let remedy = near.map_or_else(
            || "ask whoever keeps the policies for a permit; `countersign policy why` shows what was considered".into(),
            |near| format!("policy `{}` comes closest: {}", near.policy, near.missing.join(", and ")),
        );
        Refusal { code: RefusalCode::NotPermitted, reason, remedy, basis: None }
    }

    fn undecidable(&self, action: &Action, Incomplete(why): Incomplete) -> Evaluation {
        let name = self.actions.of(action).map_or("unknown", |known| known.name.as_str());
        let errors = vec![why];
        let decision = Decision::Forbid(evaluation_failed(&errors));
        let trace = Trace { errors, ..self.trace(name.to_owned()) };
        Evaluation { decision, trace: Arc::new(trace), remembered: false }
    }

    fn trace(&self, action: String) -> Trace {
        Trace { bundle: self.digest(), action, matched: Vec::new(), errors: Vec::new() }
    }
}

/// The reason of a rule, ready to stand behind its name.
fn because(rule: &Rule) -> String {
    rule.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}

fn verb(subject: &Subject<'_>) -> String {
    let known = subject.known;
    if !known.ancestors.is_empty() {
        return format!("{} (`{}`)", known.class.as_str(), known.name);
    }
    if known.class == Class::Unknown {
        "do something unrecognised to".to_owned()
    } else {
        known.class.as_str().to_owned()
    }
}

fn evaluation_failed(errors: &[String]) -> Refusal {
    Refusal {
        code: RefusalCode::PolicyError,
        reason: format!("policy could not be evaluated: {}", errors.join("; ")),
        remedy: "repeating does not help; whoever keeps the policies and the configuration must mend it"
            .into(),
        basis: None,
    }
}
