//! Who may vote on a gate. The rules against the requester's side are compiled in, evaluated on their own and
//! checked a second time in Rust; a policy file can narrow who votes and never widen it.

use crate::{
    Bundle, PolicyError,
    gate::GateRule,
    load::Ground,
    rules::{Effect, Rule},
    schema::{APPROVE, Types, uid},
};
use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression as Expr, Schema,
};
use countersign_core::{
    Action, Class, EnvironmentName, GateName, GroupName, PersonId, PolicyId, TargetName, Timestamp,
    decision::{Approvers, Gate},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// A person who would vote, with the groups it is in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub person: PersonId,
    pub groups: BTreeSet<GroupName>,
    /// What is known of them beside their groups, as `name=value`.
    pub attributes: BTreeSet<String>,
}

/// What the vote is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteContext {
    pub target: TargetName,
    pub environment: EnvironmentName,
    /// The word of the operation's class.
    pub class: String,
    /// The operation's name at its target; empty when it was not recognised.
    pub operation: String,
    /// The requester's side, as fixed when the action was held.
    pub side: BTreeSet<PersonId>,
    /// Others who may not vote on this approval, with the reason in plain words.
    pub excluded: BTreeMap<PersonId, String>,
    pub now: Timestamp,
}

/// Why a vote would not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefusal {
    #[error("people on the requester's side cannot decide this action")]
    RequesterSide,
    #[error("this person cannot decide this action: {0}")]
    Excluded(String),
    #[error("gate `{0}` is lifted by other people")]
    NotAnApprover(GateName),
    #[error("policy has no break-glass for gate `{0}`")]
    NoBreakGlass(GateName),
    #[error("policy forbids this vote: {0}")]
    Forbidden(String),
    #[error("policy on votes could not be evaluated: {0}")]
    PolicyError(String),
}

impl VoteContext {
    /// The context of a vote on this action. `side` and `excluded` come from the approval.
    pub fn of(
        action: &Action,
        side: BTreeSet<PersonId>,
        excluded: BTreeMap<PersonId, String>,
        now: Timestamp,
    ) -> Self {
        Self {
            target: action.target.clone(),
            environment: action.environment.clone(),
            class: action.operation.class.as_str().to_owned(),
            operation: action.operation.name.clone().unwrap_or_default(),
            side,
            excluded,
            now,
        }
    }
}

/// Evaluated alone; its refusal is final whatever any file says.
const SYSTEM: &str = r#"
@id("system-vote") permit (principal, action, resource);
@id("system-requester-side") forbid (principal, action, resource) when { resource.side.contains(principal) };
@id("system-excluded") forbid (principal, action, resource) when { resource.excluded.contains(principal) };
"#;

/// The only permit on votes there is: who stands in the gate's `@approvers`.
const BASE: &str = r#"
permit (principal, action == Action::"approve", resource)
when { principal in resource.approver_groups || resource.approver_people.contains(principal) };
"#;

/// What votes are checked against.
#[derive(Debug)]
pub(crate) struct VoteRules {
    schema: Schema,
    system: PolicySet,
    user: PolicySet,
    /// Whom this bundle names for each gate.
    gates: BTreeMap<GateName, Lifters>,
    action: EntityUid,
}

/// Who lifts a gate: with others, or alone.
#[derive(Debug)]
struct Lifters {
    together: Approvers,
    alone: Option<Approvers>,
}

impl VoteRules {
    pub(crate) fn new(rules: &[Arc<Rule>], ground: &Ground<'_>) -> Result<Self, PolicyError> {
        let broken = |error: &dyn std::fmt::Display| {
            PolicyError::of_configuration(format!("the rules on votes cannot be built: {error}"))
        };
        let mut user: PolicySet = BASE.parse().map_err(|error| broken(&error))?;
        let mut gates = BTreeMap::new();
        for rule in rules {
            match &rule.effect {
                Effect::VoteWall => user.add(rule.policy.clone()).map_err(|error| broken(&error))?,
                Effect::Gate(gate) => {
                    let GateRule { name, approvers, break_glass, .. } = &**gate;
                    let (together, alone) = (approvers.clone(), break_glass.clone());
                    gates.insert(name.clone(), Lifters { together, alone });
                }
                Effect::Permit(_) | Effect::Wall => {}
            }
        }
        Ok(Self {
            schema: ground.votes.clone(),
            system: SYSTEM.parse().map_err(|error| broken(&error))?,
            user,
            gates,
            action: uid(&ground.types.action, APPROVE),
        })
    }
}

impl Bundle {
    /// Whether a person may vote on this gate now. Asked at each vote, of the bundle then in force: the person must
    /// be among the approvers the approval was opened with and, where this bundle has the gate, among its own.
    pub fn may_vote(&self, voter: &Voter, gate: &Gate, context: &VoteContext) -> Result<(), VoteRefusal> {
        not_excluded(voter, context)?;
        let current = self.votes.gates.get(&gate.name).map(|lifters| &lifters.together);
        std::iter::once(&gate.approvers)
            .chain(current)
            .try_for_each(|approvers| self.is_among(voter, gate, approvers, context))
    }

    /// Whether a person may lift this gate alone now: as for [`Self::may_vote`], among those the approval was opened with
    /// and, where this bundle has the gate, among its own.
    pub fn may_break_glass(
        &self,
        voter: &Voter,
        gate: &Gate,
        context: &VoteContext,
    ) -> Result<(), VoteRefusal> {
        not_excluded(voter, context)?;
        let current = self.votes.gates.get(&gate.name).map(|lifters| lifters.alone.as_ref());
        std::iter::once(gate.break_glass.as_ref()).chain(current).try_for_each(|alone| {
            let alone = alone.ok_or_else(|| VoteRefusal::NoBreakGlass(gate.name.clone()))?;
            self.is_among(voter, gate, alone, context)
        })
    }

    /// Whether `stand_in` may lift this gate now in place of `absent`, who may: neither is excluded, and nothing in the
    /// files keeps either of them from it. That the one stands in for the other is the caller's to know.
    pub fn may_stand_in(
        &self,
        stand_in: &Voter,
        absent: &Voter,
        gate: &Gate,
        context: &VoteContext,
    ) -> Result<(), VoteRefusal> {
        self.may_vote(absent, gate, context)?;
        not_excluded(stand_in, context)?;
        let themself = Approvers { people: [stand_in.person].into(), groups: BTreeSet::new() };
        self.is_among(stand_in, gate, &themself, context)
    }

    fn is_among(
        &self,
        voter: &Voter,
        gate: &Gate,
        approvers: &Approvers,
        context: &VoteContext,
    ) -> Result<(), VoteRefusal> {
        if !approves(approvers, voter) {
            return Err(VoteRefusal::NotAnApprover(gate.name.clone()));
        }
        self.ask_cedar(voter, gate, approvers, context)
    }

    /// Those of `people` who may vote on this gate.
    pub fn eligible(&self, people: &[Voter], gate: &Gate, context: &VoteContext) -> Vec<PersonId> {
        let may = people.iter().filter(|voter| self.may_vote(voter, gate, context).is_ok());
        may.map(|voter| voter.person).collect()
    }

    fn ask_cedar(
        &self,
        voter: &Voter,
        gate: &Gate,
        approvers: &Approvers,
        context: &VoteContext,
    ) -> Result<(), VoteRefusal> {
        let (request, entities) =
            question(self, voter, gate, approvers, context).map_err(VoteRefusal::PolicyError)?;
        let authorizer = Authorizer::new();
        let system = authorizer.is_authorized(&request, &self.votes.system, &entities);
        if let Some(error) = system.diagnostics().errors().next() {
            return Err(VoteRefusal::PolicyError(error.to_string()));
        }
        if system.decision() != CedarDecision::Allow {
            return Err(VoteRefusal::RequesterSide);
        }
        let user = authorizer.is_authorized(&request, &self.votes.user, &entities);
        if let Some(error) = user.diagnostics().errors().next() {
            return Err(VoteRefusal::PolicyError(error.to_string()));
        }
        if user.decision() == CedarDecision::Allow {
            return Ok(());
        }
        let rules: Vec<&Arc<Rule>> =
            user.diagnostics().reason().filter_map(|id| self.rule(id.as_ref())).collect();
        if rules.is_empty() {
            return Err(VoteRefusal::NotAnApprover(gate.name.clone()));
        }
        Err(VoteRefusal::Forbidden(
            rules.into_iter().map(|rule| told(&rule.id, rule)).collect::<Vec<_>>().join("; "),
        ))
    }
}

/// Plain checks, before anything else: nothing after them can undo them.
fn not_excluded(voter: &Voter, context: &VoteContext) -> Result<(), VoteRefusal> {
    if context.side.contains(&voter.person) {
        return Err(VoteRefusal::RequesterSide);
    }
    context.excluded.get(&voter.person).map_or(Ok(()), |why| Err(VoteRefusal::Excluded(why.clone())))
}

fn told(id: &PolicyId, rule: &Rule) -> String {
    match &rule.reason {
        Some(reason) => format!("`{id}` ({reason})"),
        None => format!("`{id}`"),
    }
}

fn approves(approvers: &Approvers, voter: &Voter) -> bool {
    approvers.people.contains(&voter.person) || !approvers.groups.is_disjoint(&voter.groups)
}

fn question(
    bundle: &Bundle,
    voter: &Voter,
    gate: &Gate,
    approvers: &Approvers,
    context: &VoteContext,
) -> Result<(Request, Entities), String> {
    let types = &bundle.types;
    context.class.parse::<Class>()?;
    let person = uid(&types.person, voter.person.to_string());
    let groups: HashSet<EntityUid> =
        voter.groups.iter().map(|group| uid(&types.group, group.as_str())).collect();
    let environment = uid(&types.environment, context.environment.as_str());
    let target = uid(&types.target, context.target.as_str());
    let asked = uid(&types.approval_request, gate.name.as_str());
    let attributes = attributes(types, gate, approvers, context, (&target, &environment));
    let known = Expr::new_set(voter.attributes.iter().map(|pair| Expr::new_string(pair.clone())));
    let known = HashMap::from([("attributes".to_owned(), known)]);
    let mut entities = vec![
        Entity::new(person.clone(), known, groups.clone()).map_err(|error| error.to_string())?,
        Entity::with_uid(environment.clone()),
        Entity::new_no_attrs(target.clone(), [environment.clone()].into()),
        Entity::new(asked.clone(), attributes, [target, environment].into())
            .map_err(|error| error.to_string())?,
    ];
    entities.extend(groups.into_iter().map(Entity::with_uid));
    let schema = &bundle.votes.schema;
    let entities = Entities::from_entities(entities, Some(schema)).map_err(|error| error.to_string())?;
    let now = Expr::new_long(context.now.0.div_euclid(1_000_000));
    let moment = Context::from_pairs([("now".to_owned(), now)]).map_err(|error| error.to_string())?;
    let action = bundle.votes.action.clone();
    let request =
        Request::new(person, action, asked, moment, Some(schema)).map_err(|error| error.to_string())?;
    Ok((request, entities))
}

fn attributes(
    types: &Types,
    gate: &Gate,
    approvers: &Approvers,
    context: &VoteContext,
    (target, environment): (&EntityUid, &EntityUid),
) -> HashMap<String, Expr> {
    let people = |ids: &mut dyn Iterator<Item = &PersonId>| {
        Expr::new_set(ids.map(|id| Expr::new_entity_uid(uid(&types.person, id.to_string()))))
    };
    let groups = approvers.groups.iter().map(|group| Expr::new_entity_uid(uid(&types.group, group.as_str())));
    HashMap::from([
        ("gate".to_owned(), Expr::new_string(gate.name.to_string())),
        ("operation".to_owned(), Expr::new_string(context.operation.clone())),
        ("class".to_owned(), Expr::new_string(context.class.clone())),
        ("environment".to_owned(), Expr::new_entity_uid(environment.clone())),
        ("target".to_owned(), Expr::new_entity_uid(target.clone())),
        ("side".to_owned(), people(&mut context.side.iter())),
        ("excluded".to_owned(), people(&mut context.excluded.keys())),
        ("approver_groups".to_owned(), Expr::new_set(groups)),
        ("approver_people".to_owned(), people(&mut approvers.people.iter())),
    ])
}
