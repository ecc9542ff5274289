//! The entities and requests of one decision, built from a [`Subject`] that was proven complete.
//!
//! Cedar takes what is missing for what is not so: every ancestor a rule may ask for is put in here, always.

use crate::{
    Bundle,
    schema::{Types, uid},
    subject::{Ask, Fact, Incomplete, Subject},
};
use cedar_policy::{Context, Entities, Entity, EntityUid, Request, RestrictedExpression as Expr};
use countersign_core::{PersonId, PrincipalKind, Resource, Timestamp};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
};

/// What Cedar is asked for one action: one request for each effect on each resource, over the same entities.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) principal: EntityUid,
    pub(crate) groups: HashSet<EntityUid>,
    pub(crate) entities: Entities,
    pub(crate) asked: Vec<Asked>,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Which of the subject's questions it belongs to.
    pub(crate) ask: usize,
    /// How the resource is written in a trace.
    pub(crate) shown: String,
    pub(crate) resource: EntityUid,
    pub(crate) ancestors: Vec<EntityUid>,
    pub(crate) request: Request,
}

impl Slice {
    pub(crate) fn new(bundle: &Bundle, subject: &Subject<'_>, now: Timestamp) -> Result<Self, Incomplete> {
        let types = &bundle.types;
        let Subject { action, .. } = subject;
        let requester = &action.requester;
        let principal_type = match requester.kind {
            PrincipalKind::Agent => &types.agent,
            PrincipalKind::Service => &types.service,
            PrincipalKind::Person => &types.person,
        };
        let principal = uid(principal_type, requester.principal.to_string());
        let groups: HashSet<_> =
            requester.groups.iter().map(|group| uid(&types.group, group.as_str())).collect();
        let environment = uid(&types.environment, action.environment.as_str());
        let target = uid(&types.target, action.target.as_str());
        let mut entities = vec![
            Entity::new_with_tags(principal.clone(), caller(types, subject), groups.clone(), tags(subject))
                .map_err(|error| Incomplete(format!("the entities cannot be built: {error}")))?,
            Entity::with_uid(environment.clone()),
            entity(
                &target,
                target_attributes(bundle, subject, &target, &environment),
                [environment.clone()].into(),
            )?,
        ];
        for Ask { known, .. } in &subject.asks {
            entities.push(Entity::new_no_attrs(known.uid.clone(), known.ancestors.iter().cloned().collect()));
        }
        entities.extend(groups.iter().cloned().map(Entity::with_uid));
        let context = context(subject, now)?;
        let resources = resources(types, subject, (&target, &environment), &mut entities)?;
        let mut asked = Vec::with_capacity(resources.len().max(1));
        for (at, Ask { known, about }) in subject.asks.iter().enumerate() {
            let mut ask = |resource: &EntityUid, shown: String, ancestors: Vec<EntityUid>| {
                let (who, what) = (principal.clone(), known.uid.clone());
                let request =
                    Request::new(who, what, resource.clone(), context.clone(), Some(&bundle.schema))
                        .map_err(|error| {
                            Incomplete(format!("the request does not fit the schema: {error}"))
                        })?;
                let shown = if at == 0 { shown } else { format!("{shown} ({})", known.name) };
                asked.push(Asked { ask: at, shown, resource: resource.clone(), ancestors, request });
                Ok(())
            };
            let mut done = BTreeSet::new();
            for (named, shown) in about.iter().filter_map(|index| resources.get(*index)) {
                if done.insert(named) {
                    ask(named, shown.clone(), vec![target.clone(), environment.clone()])?;
                }
            }
            if about.is_empty() {
                ask(&target, format!("target {}", action.target), vec![environment.clone()])?;
            }
        }
        let entities = Entities::from_entities(entities, None)
            .map_err(|error| Incomplete(format!("the entities cannot be built: {error}")))?;
        Ok(Self { principal, groups, entities, asked })
    }
}

/// The entity of every resource, with how it is shown. The same one twice must carry the same labels.
fn resources(
    types: &Types,
    subject: &Subject<'_>,
    place: (&EntityUid, &EntityUid),
    entities: &mut Vec<Entity>,
) -> Result<Vec<(EntityUid, String)>, Incomplete> {
    let action = subject.action;
    let mut all = Vec::with_capacity(action.resources.len());
    let mut seen: HashMap<EntityUid, &BTreeSet<String>> = HashMap::new();
    for resource in &action.resources {
        let named = uid(&types.resource, resource_id(action.target.as_str(), resource));
        match seen.insert(named.clone(), &resource.labels) {
            Some(labels) if *labels == resource.labels => {}
            Some(_) => {
                let wrong = format!("resource `{}` is named twice with different labels", resource.name);
                return Err(Incomplete(wrong));
            }
            None => {
                let attributes = thing(&resource.kind, &resource.name, &resource.labels, place);
                entities.push(entity(&named, attributes, [place.0.clone(), place.1.clone()].into())?);
            }
        }
        all.push((named, format!("{} {}", resource.kind, resource.name)));
    }
    Ok(all)
}

/// `target/kind/name`, with `/` and `%` inside the parts written as `%2F` and `%25`.
fn resource_id(target: &str, resource: &Resource) -> String {
    [target, &resource.kind, &resource.name].map(component).join("/")
}

fn component(text: &str) -> Cow<'_, str> {
    if text.contains(['/', '%']) { text.replace('%', "%25").replace('/', "%2F").into() } else { text.into() }
}

type Attributes = HashMap<String, Expr>;

fn entity(
    uid: &EntityUid,
    attributes: Attributes,
    parents: HashSet<EntityUid>,
) -> Result<Entity, Incomplete> {
    Entity::new(uid.clone(), attributes, parents)
        .map_err(|error| Incomplete(format!("the entities cannot be built: {error}")))
}

fn caller(types: &Types, subject: &Subject<'_>) -> Attributes {
    let requester = &subject.action.requester;
    let people = |ids: &mut dyn Iterator<Item = &PersonId>| {
        Expr::new_set(ids.map(|id| Expr::new_entity_uid(uid(&types.person, id.to_string()))))
    };
    HashMap::from([
        ("clearances".to_owned(), texts(requester.clearances.iter().map(String::as_str))),
        ("owners".to_owned(), people(&mut requester.owners.iter())),
        ("on_behalf_of".to_owned(), people(&mut requester.on_behalf_of.iter())),
    ])
}

/// What the caller's credential says.
fn tags<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = (String, Expr)> + 's {
    let claims = subject.action.requester.claims.iter();
    claims.map(|(name, value)| (name.clone(), Expr::new_string(value.clone())))
}

fn target_attributes(
    bundle: &Bundle,
    subject: &Subject<'_>,
    target: &EntityUid,
    environment: &EntityUid,
) -> Attributes {
    let none = BTreeSet::new();
    let labels = bundle.vocabulary.targets.get(&subject.action.target).map_or(&none, |target| &target.labels);
    thing("target", subject.action.target.as_str(), labels, (target, environment))
}

fn thing(
    kind: &str,
    name: &str,
    labels: &BTreeSet<String>,
    (target, environment): (&EntityUid, &EntityUid),
) -> Attributes {
    HashMap::from([
        ("kind".to_owned(), Expr::new_string(kind.to_owned())),
        ("name".to_owned(), Expr::new_string(name.to_owned())),
        ("labels".to_owned(), texts(labels.iter().map(String::as_str))),
        ("environment".to_owned(), Expr::new_entity_uid(environment.clone())),
        ("target".to_owned(), Expr::new_entity_uid(target.clone())),
    ])
}

fn context(subject: &Subject<'_>, now: Timestamp) -> Result<Context, Incomplete> {
    let broken = |error: &dyn std::fmt::Display| Incomplete(format!("the context cannot be built: {error}"));
    let mut pairs = vec![
        ("now".to_owned(), Expr::new_long(now.0.div_euclid(1_000_000))),
        ("wire".to_owned(), Expr::new_string(subject.action.wire.clone())),
        ("hidden_characters".to_owned(), Expr::new_bool(subject.hidden_characters)),
        ("claimed_reason".to_owned(), Expr::new_bool(subject.action.claimed_reason.is_some())),
    ];
    if let Some(bytes) = subject.body_bytes {
        pairs.push(("body_bytes".to_owned(), Expr::new_long(bytes)));
    }
    let Subject { http, sql, mcp, input, text, .. } = subject;
    let of_wires = [("http", http), ("sql", sql), ("mcp", mcp), ("input", input)];
    let of_wires = of_wires.into_iter().filter_map(|(wire, facts)| Some((wire, facts.as_ref()?)));
    for (wire, facts) in of_wires.chain(text.iter().map(|(language, facts)| (*language, facts))) {
        let fields = facts.iter().map(|(name, fact)| ((*name).to_owned(), expression(fact)));
        pairs.push((wire.to_owned(), Expr::new_record(fields).map_err(|error| broken(&error))?));
    }
    Context::from_pairs(pairs).map_err(|error| broken(&error))
}

fn expression(fact: &Fact<'_>) -> Expr {
    match fact {
        Fact::Text(text) => Expr::new_string((*text).to_owned()),
        Fact::Long(long) => Expr::new_long(*long),
        Fact::Bool(flag) => Expr::new_bool(*flag),
        Fact::Texts(items) => texts(items.iter().map(AsRef::as_ref)),
    }
}

fn texts<'t>(items: impl Iterator<Item = &'t str>) -> Expr {
    Expr::new_set(items.map(|text| Expr::new_string(text.to_owned())))
}

#[cfg(test)]
mod tests;
