//! The Cedar schemas: one for requests, generated from the vocabulary, one for votes. Two, so that a rule about
//! actions never reaches into voting by leaving its action open.

use crate::{FactType, Language, PolicyError, Vocabulary, mcp, sql, text};
use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema, SchemaFragment};
use countersign_core::Class;
use serde_json::{Map, Value, json};

/// The entity types by name, parsed once.
#[derive(Clone, Debug)]
pub(crate) struct Types {
    pub(crate) agent: EntityTypeName,
    pub(crate) service: EntityTypeName,
    pub(crate) person: EntityTypeName,
    pub(crate) group: EntityTypeName,
    pub(crate) environment: EntityTypeName,
    pub(crate) target: EntityTypeName,
    pub(crate) resource: EntityTypeName,
    pub(crate) approval_request: EntityTypeName,
    pub(crate) action: EntityTypeName,
}

impl Types {
    pub(crate) fn new() -> Result<Self, PolicyError> {
        let name = |text: &str| {
            text.parse()
                .map_err(|error| PolicyError::of_configuration(format!("`{text}` is no type: {error}")))
        };
        Ok(Self {
            agent: name("Agent")?,
            service: name("Service")?,
            person: name("Person")?,
            group: name("Group")?,
            environment: name("Environment")?,
            target: name("Target")?,
            resource: name("Resource")?,
            approval_request: name("ApprovalRequest")?,
            action: name("Action")?,
        })
    }
}

/// The entity of a type with this id, whatever characters it holds.
pub(crate) fn uid(type_name: &EntityTypeName, id: impl AsRef<str>) -> EntityUid {
    EntityUid::from_type_name_and_id(type_name.clone(), EntityId::new(id))
}

/// The id of the action people are asked to vote on.
pub(crate) const APPROVE: &str = "approve";

/// Counts up when the meaning of the schema changes, so that bundles of different meanings have different digests.
pub(crate) const VOCABULARY_VERSION: i64 = 1;

/// The JSON form of the request schema.
pub(crate) fn request_schema(vocabulary: &Vocabulary) -> Value {
    let mut actions = Map::new();
    let speaks_sql = vocabulary.has_sql();
    let speaks_mcp = !vocabulary.mcp.is_empty();
    let none = Map::new();
    let languages: Vec<&Language> = text::spoken(vocabulary).collect();
    let context = |http: &Map<String, Value>, input: &Map<String, Value>| {
        let mut context = context(http, speaks_sql);
        if speaks_mcp && let Some(attributes) = context.get_mut("attributes").and_then(Value::as_object_mut) {
            attributes.insert("mcp".into(), optional(mcp_facts()));
            attributes.insert("input".into(), optional(record(&Value::Object(input.clone()))));
            attributes.extend(
                languages.iter().map(|language| (language.name.to_owned(), optional(text_facts(language)))),
            );
        }
        context
    };
    for class in Class::ALL {
        actions.insert(class.as_str().into(), action(&[], &context(&none, &none)));
    }
    for (name, parents) in mcp::actions(vocabulary).into_iter().chain(text::actions(vocabulary)) {
        actions.insert(name, action(&parents, &context(&none, &none)));
    }
    for (name, parents) in sql::actions().into_iter().filter(|_| speaks_sql) {
        actions.insert(name.into(), action(&parents, &context(&none, &none)));
    }
    let requests = vocabulary.of_requests();
    for operation in &vocabulary.operations {
        let facts =
            operation.facts.iter().map(|(name, kind)| (name.clone(), optional(of_fact(*kind)))).collect();
        let made = if vocabulary.mcp.contains(&operation.target) {
            let [kind, server, _] = mcp::lineage(&operation.target, &operation.name);
            // What a tool's text or request does stands in that very operation, and with it in that one's class.
            let is_request = requests.contains_key(&operation.name);
            let is_text = sql::class_of(&operation.name).is_some() || text::of(&operation.name).is_some();
            let stands = is_request || is_text;
            let does = if stands { operation.name.as_str() } else { operation.class.as_str() };
            let context = if is_request { context(&facts, &none) } else { context(&none, &facts) };
            action(&[does, &kind, &server], &context)
        } else {
            let parents = match sql::class_of(&operation.name) {
                Some(_) => [operation.name.as_str()],
                None => [operation.class.as_str()],
            };
            action(&parents, &context(&facts, &none))
        };
        actions.insert(operation.policy_name(), made);
    }
    let thing = record(&json!({
        "kind": string(), "name": string(), "labels": set_of(&string()),
        "environment": entity("Environment"), "target": entity("Target"),
    }));
    let caller = json!({ "memberOfTypes": ["Group"], "shape": record(&json!({
        "clearances": set_of(&string()),
        "owners": set_of(&entity("Person")),
        "on_behalf_of": set_of(&entity("Person")),
    })), "tags": string() });
    json!({ "": {
        "entityTypes": {
            "Group": {},
            "Agent": caller, "Service": caller, "Person": caller,
            "Environment": {},
            "Target": { "memberOfTypes": ["Environment"], "shape": thing },
            "Resource": { "memberOfTypes": ["Target", "Environment"], "shape": thing },
        },
        "actions": actions,
    } })
}

/// The JSON form of the vote schema.
pub(crate) fn vote_schema() -> Value {
    json!({ "": {
        "entityTypes": {
            "Group": {},
            "Person": { "memberOfTypes": ["Group"], "shape": record(&json!({ "attributes": set_of(&string()) })) },
            "Environment": {},
            "Target": { "memberOfTypes": ["Environment"] },
            "ApprovalRequest": { "memberOfTypes": ["Target", "Environment"], "shape": record(&json!({
                "gate": string(), "operation": string(), "class": string(),
                "environment": entity("Environment"), "target": entity("Target"),
                "side": set_of(&entity("Person")), "excluded": set_of(&entity("Person")),
                "approver_groups": set_of(&entity("Group")), "approver_people": set_of(&entity("Person")),
            })) },
        },
        "actions": { APPROVE: { "appliesTo": {
            "principalTypes": ["Person"], "resourceTypes": ["ApprovalRequest"],
            "context": record(&json!({ "now": long() })),
        } } },
    } })
}

/// The schema Cedar checks against.
pub(crate) fn compile(json: &Value) -> Result<Schema, PolicyError> {
    Schema::from_json_value(json.clone())
        .map_err(|error| PolicyError::of_configuration(format!("the vocabulary makes no schema: {error}")))
}

/// The schema in Cedar's own words, for editors and people.
pub(crate) fn readable(json: &Value) -> Option<String> {
    SchemaFragment::from_json_value(json.clone()).ok()?.to_cedarschema().ok()
}

fn action(parents: &[&str], context: &Value) -> Value {
    let parents: Vec<Value> = parents.iter().map(|parent| json!({ "id": parent })).collect();
    json!({ "memberOf": parents, "appliesTo": {
        "principalTypes": ["Agent", "Service", "Person"],
        "resourceTypes": ["Resource", "Target"],
        "context": context,
    } })
}

fn context(facts: &Map<String, Value>, speaks_sql: bool) -> Value {
    let mut http = facts.clone();
    http.insert("method".into(), string());
    http.insert("path".into(), string());
    http.insert("host".into(), optional(string()));
    http.insert("query".into(), set_of(&string()));
    let mut context = json!({
        "now": long(),
        "wire": string(),
        "http": optional(record(&Value::Object(http))),
        "body_bytes": optional(long()),
        "hidden_characters": boolean(),
        "claimed_reason": boolean(),
    });
    if speaks_sql && let Some(context) = context.as_object_mut() {
        context.insert("sql".into(), optional(sql_facts()));
    }
    record(&context)
}

fn sql_facts() -> Value {
    let fact = |(name, kind): (&str, FactType)| {
        let kind = of_fact(kind);
        (name.to_owned(), if sql::is_optional(name) { optional(kind) } else { kind })
    };
    record(&Value::Object(sql::SQL_FACTS.into_iter().map(fact).collect()))
}

fn mcp_facts() -> Value {
    let fact = |(name, kind): (&str, FactType)| (name.to_owned(), of_fact(kind));
    record(&Value::Object(mcp::MCP_FACTS.into_iter().map(fact).collect()))
}

fn text_facts(language: &Language) -> Value {
    let fact = |(name, kind): &(&str, FactType)| ((*name).to_owned(), of_fact(*kind));
    record(&Value::Object(language.facts.iter().map(fact).collect()))
}

fn of_fact(kind: FactType) -> Value {
    match kind {
        FactType::String => string(),
        FactType::Long => long(),
        FactType::Bool => boolean(),
        FactType::SetOfString => set_of(&string()),
    }
}

fn string() -> Value {
    json!({ "type": "String" })
}

fn long() -> Value {
    json!({ "type": "Long" })
}

fn boolean() -> Value {
    json!({ "type": "Boolean" })
}

fn set_of(element: &Value) -> Value {
    json!({ "type": "Set", "element": element })
}

fn entity(name: &str) -> Value {
    json!({ "type": "Entity", "name": name })
}

fn record(attributes: &Value) -> Value {
    json!({ "type": "Record", "attributes": attributes })
}

fn optional(mut of: Value) -> Value {
    if let Some(members) = of.as_object_mut() {
        members.insert("required".into(), Value::Bool(false));
    }
    of
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_schemas_compile_and_can_be_read() {
        let request = request_schema(&Vocabulary::default());
        assert!(compile(&request).is_ok());
        assert!(readable(&request).unwrap().contains("entity Agent"));
        assert!(compile(&vote_schema()).is_ok());
    }
}
