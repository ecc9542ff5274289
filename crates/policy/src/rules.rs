//! Policies as they stand after loading: what each is, and for every action the few that can apply to it.

use crate::{
    DeclaredOperation, Position, Vocabulary,
    analysis::Reads,
    gate::GateRule,
    mcp,
    schema::{Types, uid},
    sql, text,
    vocabulary::FactType,
};
use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicySet};
use countersign_core::{Action, Class, PolicyId, TargetName};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// When what policy permits is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recording {
    /// Before it runs.
    #[default]
    First,
    /// A moment afterwards, where it is a read.
    Deferred,
}

/// What a policy does when it matches.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Permit(Recording),
    /// A forbid nothing lifts.
    Wall,
    /// A forbid approvals lift.
    Gate(Box<GateRule>),
    /// A forbid on voting.
    VoteWall,
}

/// One policy.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: PolicyId,
    pub(crate) effect: Effect,
    pub(crate) reason: Option<String>,
    pub(crate) file: String,
    pub(crate) position: Position,
    pub(crate) reads: Reads,
    /// How many bytes of the result it wants kept.
    pub(crate) keeps: Option<u64>,
    pub(crate) policy: Policy,
}

/// The policies that can apply to one action. Forbids and permits are asked apart, since Cedar names the reasons of
/// one effect only.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    pub(crate) permits: PolicySet,
    pub(crate) forbids: PolicySet,
    pub(crate) reads: Reads,
}

/// An action policies can name: a declared operation, or a bare class for what was not recognised.
#[derive(Debug)]
pub(crate) struct KnownAction {
    pub(crate) uid: EntityUid,
    /// The uids a policy's scope may name to mean it, beside its own: its class, and what an operation of SQL,
    /// MCP or another language stands in.
    pub(crate) ancestors: Vec<EntityUid>,
    /// A request that a tool makes: its facts are the request's.
    pub(crate) is_request: bool,
    /// `crm/exportCustomers`, or `unknown`.
    pub(crate) name: String,
    pub(crate) class: Class,
    pub(crate) facts: BTreeMap<String, FactType>,
    pub(crate) rules: Arc<RuleSet>,
}

/// Every action there is.
#[derive(Debug)]
pub(crate) struct Actions {
    declared: BTreeMap<TargetName, BTreeMap<String, KnownAction>>,
    classes: BTreeMap<Class, KnownAction>,
}

impl Actions {
    pub(crate) fn new(vocabulary: &Vocabulary, types: &Types, rules: &[Arc<Rule>]) -> Self {
        let mut sets = HashMap::new();
        let requests = vocabulary.of_requests();
        let mut known = |operation: Option<&DeclaredOperation>,
                         name: String,
                         class: Class,
                         facts: BTreeMap<String, FactType>| {
            let own = uid(&types.action, &name);
            let of_class = uid(&types.action, class.as_str());
            let request = operation.filter(|operation| vocabulary.mcp.contains(&operation.target));
            let request = request.filter(|operation| requests.contains_key(&operation.name));
            let within: Vec<String> = match operation {
                Some(operation) => {
                    let sql = sql::class_of(&operation.name).map(|_| sql::lineage(&operation.name));
                    let speaks_mcp = vocabulary.mcp.contains(&operation.target);
                    let of_mcp = speaks_mcp.then(|| mcp::lineage(&operation.target, &operation.name));
                    let texts = if speaks_mcp { text::lineage(&operation.name) } else { Vec::new() };
                    let sql = sql.into_iter().flatten().chain(texts).map(str::to_owned);
                    let request = request.map(|request| request.name.clone());
                    sql.chain(request).chain(of_mcp.into_iter().flatten()).collect()
                }
                None => Vec::new(),
            };
            let mut ancestors: Vec<EntityUid> =
                within.into_iter().map(|name| uid(&types.action, name)).collect();
            if own != of_class {
                ancestors.push(of_class);
            }
            let rules = rules_for(&own, &ancestors, rules, &mut sets);
            KnownAction { uid: own, ancestors, is_request: request.is_some(), name, class, facts, rules }
        };
        let mut declared: BTreeMap<TargetName, BTreeMap<String, KnownAction>> = BTreeMap::new();
        for operation in &vocabulary.operations {
            let action =
                known(Some(operation), operation.policy_name(), operation.class, operation.facts.clone());
            declared.entry(operation.target.clone()).or_default().insert(operation.name.clone(), action);
        }
        let classes =
            Class::ALL.map(|class| (class, known(None, class.as_str().into(), class, BTreeMap::new())));
        Self { declared, classes: classes.into() }
    }

    /// Another operation of a target.
    pub(crate) fn named(&self, target: &TargetName, operation: &str) -> Option<&KnownAction> {
        self.declared.get(target)?.get(operation)
    }

    /// The action policies know this one by.
    pub(crate) fn of(&self, action: &Action) -> Option<&KnownAction> {
        let name = action.operation.name.as_ref();
        let declared = name.and_then(|name| self.declared.get(&action.target)?.get(name));
        declared.or_else(|| self.classes.get(&action.operation.class))
    }
}

/// Whether a policy's scope can mean the action. Exact: actions and their classes are fixed when loading.
pub(crate) fn concerns(policy: &Policy, own: &EntityUid, ancestors: &[EntityUid]) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(named) => named == *own,
        ActionConstraint::In(named) => named.iter().any(|named| named == own || ancestors.contains(named)),
    }
}

fn rules_for(
    own: &EntityUid,
    ancestors: &[EntityUid],
    rules: &[Arc<Rule>],
    sets: &mut HashMap<Vec<usize>, Arc<RuleSet>>,
) -> Arc<RuleSet> {
    let about_requests = |rule: &Rule| !matches!(rule.effect, Effect::VoteWall);
    let chosen = rules.iter().enumerate();
    let chosen: Vec<usize> = chosen
        .filter(|(_, rule)| about_requests(rule) && concerns(&rule.policy, own, ancestors))
        .map(|(at, _)| at)
        .collect();
    Arc::clone(sets.entry(chosen).or_insert_with_key(|chosen| {
        let chosen: HashSet<usize> = chosen.iter().copied().collect();
        let rules = rules.iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, rule)| rule);
        Arc::new(RuleSet::of(rules))
    }))
}

impl RuleSet {
    fn of<'r>(rules: impl Iterator<Item = &'r Arc<Rule>>) -> Self {
        let mut set = Self::default();
        for rule in rules {
            set.reads = set.reads.and(rule.reads);
            let side =
                if matches!(rule.effect, Effect::Permit(_)) { &mut set.permits } else { &mut set.forbids };
            // INVARIANT: loading refuses duplicate ids, the only way this can fail.
            let added = side.add(rule.policy.clone());
            debug_assert!(added.is_ok(), "{added:?}");
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cedar_policy::{Authorizer, Context, Decision, Entities, Entity, Request};

    /// Choosing policies by their scope when loading is what Cedar would have chosen when asked.
    #[test]
    fn what_is_left_out_could_never_have_matched() {
        let types = Types::new().unwrap();
        let named = |id: &str| uid(&types.action, id);
        let actions =
            [("crm/export", Some("export")), ("crm/list", Some("read")), ("read", None), ("unknown", None)];
        for scope in [
            "action",
            r#"action == Action::"read""#,
            r#"action in Action::"read""#,
            r#"action == Action::"crm/export""#,
            r#"action in [Action::"export", Action::"unknown"]"#,
            r#"action in [Action::"crm/list"]"#,
            "action in []",
        ] {
            let policy: Policy = format!("permit (principal, {scope}, resource);").parse().unwrap();
            for (name, class) in actions {
                let (own, ancestors) = (named(name), class.map(named).into_iter().collect::<Vec<_>>());
                let entity = Entity::new_no_attrs(own.clone(), ancestors.iter().cloned().collect());
                let entities = Entities::from_entities([entity], None).unwrap();
                let somebody = uid(&types.agent, "a");
                let request =
                    Request::new(somebody.clone(), own.clone(), somebody, Context::empty(), None).unwrap();
                let set = PolicySet::from_policies([policy.clone()]).unwrap();
                let answer = Authorizer::new().is_authorized(&request, &set, &entities).decision();
                assert_eq!(concerns(&policy, &own, &ancestors), answer == Decision::Allow, "{scope} {name}");
            }
        }
    }
}
