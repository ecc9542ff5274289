//! Why: every rule that matched, what would lift it, and which permits came close. For people and for machines.

use crate::{
    Bundle, Position, RuleKind,
    evaluate::{Evaluation, Trace},
    rules::{Effect, Rule, concerns},
    slice::Slice,
    subject::Subject,
};
use cedar_policy::{PrincipalConstraint, ResourceConstraint};
use countersign_core::{Action, BundleDigest, Decision, PolicyId, Timestamp, decision::Approvers, visible};
use serde::Serialize;
use std::fmt;

/// Everything behind one decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `permit`, `review` or `forbid`.
    pub decision: &'static str,
    pub bundle: BundleDigest,
    pub action: String,
    /// Whether the same caller could ever have the same operation on the same resources, with whatever arguments.
    pub possible: bool,
    /// The refusal's sentence and its remedy, when it was refused.
    pub refusal: Option<(String, String)>,
    pub matched: Vec<Reason>,
    /// Permits that do not apply and what keeps them from it; the closest first.
    pub near_misses: Vec<NearMiss>,
    /// Why policy could not be evaluated.
    pub errors: Vec<String>,
}

/// One rule that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    pub policy: PolicyId,
    pub kind: RuleKind,
    pub file: String,
    pub position: Position,
    pub reason: Option<String>,
    /// The resources it matched for.
    pub resources: Vec<String>,
    /// What would lift it; `None` for permits.
    pub lifted_by: Option<String>,
}

/// A permit that does not apply.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NearMiss {
    /// What keeps it from applying, each a clause of a sentence.
    pub missing: Vec<String>,
    pub policy: PolicyId,
    pub file: String,
    pub position: Position,
}

/// What keeps a permit from applying whose scope does.
const CONDITION: &str = "its `when` or `unless` condition does not hold";

/// How many near misses are told.
const NEAREST: usize = 5;

impl Bundle {
    /// Explains what [`Bundle::decide`] answers.
    pub fn explain(&self, action: &Action, now: Timestamp) -> Explanation {
        let Evaluation { decision, trace, .. } = self.decide_afresh(action, now);
        let (word, refusal) = match decision {
            Decision::Permit(_) => ("permit", None),
            Decision::Review(_) => ("review", None),
            Decision::Forbid(refusal) => ("forbid", Some((refusal.reason, refusal.remedy))),
        };
        let near_misses = Subject::read(self, action)
            .ok()
            .filter(|_| trace.matched.iter().any(|found| found.permits.is_empty()))
            .and_then(|subject| Some((Slice::new(self, &subject, now).ok()?, subject)))
            .map(|(slice, subject)| near_misses(self, &subject, &slice))
            .unwrap_or_default();
        Explanation {
            decision: word,
            bundle: trace.bundle,
            action: trace.action.clone(),
            possible: self.is_possible(action, now),
            refusal,
            matched: self.rules.iter().filter_map(|rule| reason(rule, &trace)).collect(),
            near_misses,
            errors: trace.errors.clone(),
        }
    }
}

fn reason(rule: &Rule, trace: &Trace) -> Option<Reason> {
    let found = trace.matched.iter().filter(|found| {
        [&found.permits, &found.walls, &found.gates].into_iter().any(|set| set.contains(&rule.id))
    });
    let resources: Vec<String> = found.map(|found| found.resource.clone()).collect();
    let lifted_by = match &rule.effect {
        Effect::Permit(_) | Effect::VoteWall => None,
        Effect::Wall => Some("nothing: no approval lifts it".to_owned()),
        Effect::Gate(gate) => Some(format!(
            "{} {} from {}, each with at least a {} vote",
            gate.quorum,
            if gate.quorum.get() == 1 { "person" } else { "people" },
            approvers(&gate.approvers),
            gate.assurance.as_str(),
        )),
    };
    (!resources.is_empty()).then(|| Reason {
        policy: rule.id.clone(),
        kind: rule.kind(),
        file: rule.file.clone(),
        position: rule.position,
        reason: rule.reason.clone(),
        resources,
        lifted_by,
    })
}

fn approvers(approvers: &Approvers) -> String {
    let groups = approvers.groups.iter().map(|group| format!("group `{group}`"));
    let people = approvers.people.iter().map(|person| format!("person `{person}`"));
    groups.chain(people).collect::<Vec<_>>().join(" or ")
}

/// Whether a permit's scope covers the question, whatever its conditions say.
pub(crate) fn is_in_scope(
    rule: &Rule,
    subject: &Subject<'_>,
    slice: &Slice,
    asked: &crate::slice::Asked,
) -> bool {
    let missing = missing(rule, subject, slice, asked);
    missing.is_empty() || missing == [CONDITION]
}

/// The permits that fail to apply by the fewest elements, closest first.
pub(crate) fn near_misses(bundle: &Bundle, subject: &Subject<'_>, slice: &Slice) -> Vec<NearMiss> {
    let permits = bundle.rules.iter().filter(|rule| matches!(rule.effect, Effect::Permit(_)));
    let mut misses: Vec<NearMiss> = permits
        .filter_map(|rule| {
            let asked = slice.asked.iter().map(|asked| missing(rule, subject, slice, asked));
            let missing = asked.max_by_key(Vec::len).filter(|missing| missing.len() < 3)?;
            Some(NearMiss {
                missing,
                policy: rule.id.clone(),
                file: rule.file.clone(),
                position: rule.position,
            })
        })
        .collect();
    misses.sort_by(|left, right| left.missing.len().cmp(&right.missing.len()).then_with(|| left.cmp(right)));
    misses.truncate(NEAREST);
    misses
}

/// Which elements of a permit's scope keep it from applying; its conditions when the scope does apply.
fn missing(rule: &Rule, subject: &Subject<'_>, slice: &Slice, asked: &crate::slice::Asked) -> Vec<String> {
    let mut missing = Vec::new();
    let same = |named: &cedar_policy::EntityUid| *named == slice.principal;
    let in_group = |named: &cedar_policy::EntityUid| same(named) || slice.groups.contains(named);
    let wanted = match rule.policy.principal_constraint() {
        PrincipalConstraint::Any => None,
        PrincipalConstraint::In(named) => (!in_group(&named)).then(|| format!("in `{named}`")),
        PrincipalConstraint::Eq(named) => (!same(&named)).then(|| format!("`{named}`")),
        PrincipalConstraint::Is(kind) => {
            (slice.principal.type_name() != &kind).then(|| format!("of type `{kind}`"))
        }
        PrincipalConstraint::IsIn(kind, named) => {
            let fits = slice.principal.type_name() == &kind && in_group(&named);
            (!fits).then(|| format!("of type `{kind}` and in `{named}`"))
        }
    };
    missing.extend(wanted.map(|wanted| format!("the caller is not {wanted}")));
    let known = subject.asks.get(asked.ask).map_or(subject.known, |ask| ask.known);
    if !concerns(&rule.policy, &known.uid, &known.ancestors) {
        missing.push(format!("it is not about `{}`", known.name));
    }
    let same = |named: &cedar_policy::EntityUid| *named == asked.resource;
    let inside = |named: &cedar_policy::EntityUid| same(named) || asked.ancestors.contains(named);
    let wanted = match rule.policy.resource_constraint() {
        ResourceConstraint::Any => None,
        ResourceConstraint::In(named) => (!inside(&named)).then(|| format!("in `{named}`")),
        ResourceConstraint::Eq(named) => (!same(&named)).then(|| format!("`{named}`")),
        ResourceConstraint::Is(kind) => {
            (asked.resource.type_name() != &kind).then(|| format!("of type `{kind}`"))
        }
        ResourceConstraint::IsIn(kind, named) => {
            let fits = asked.resource.type_name() == &kind && inside(&named);
            (!fits).then(|| format!("of type `{kind}` and in `{named}`"))
        }
    };
    missing.extend(wanted.map(|wanted| format!("the resource is not {wanted}")));
    if missing.is_empty() && rule.policy.has_non_scope_constraint() {
        missing.push(CONDITION.to_owned());
    }
    missing
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = visible::one_line(&self.action);
        writeln!(out, "{}: {action}\npolicy set {}", self.decision, self.bundle.short_code())?;
        if let Some((reason, remedy)) = &self.refusal {
            writeln!(out, "{}\n  remedy: {}", visible::one_line(reason), visible::one_line(remedy))?;
        }
        for Reason { policy, kind, file, position, reason, resources, lifted_by } in &self.matched {
            let kind = match kind {
                RuleKind::Permit => "permit",
                RuleKind::Wall => "wall",
                RuleKind::Gate => "gate",
                RuleKind::VoteWall => "vote wall",
            };
            writeln!(out, "{kind} `{policy}` ({file}:{}:{})", position.line, position.column)?;
            for resource in resources {
                writeln!(out, "  matches: {}", visible::one_line(resource))?;
            }
            for (label, text) in [("reason", reason), ("lifted by", lifted_by)] {
                if let Some(text) = text {
                    writeln!(out, "  {label}: {text}")?;
                }
            }
        }
        for NearMiss { missing, policy, file, position } in &self.near_misses {
            writeln!(
                out,
                "does not apply: permit `{policy}` ({file}:{}:{})",
                position.line, position.column
            )?;
            missing.iter().try_for_each(|clause| writeln!(out, "  because {clause}"))?;
        }
        Ok(())
    }
}
