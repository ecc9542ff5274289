//! A tool's input schema, and whether arguments fit it: JSON Schema 2020-12 where the schema names no dialect, any
//! earlier one that it names. Nothing is fetched, patterns take linear time, and a schema that could be gone through
//! without end is not used.

use boon::{CompileError, Compiler, Draft, SchemaIndex, Schemas, SchemeUrlLoader, ValidationError};
use countersign_core::visible;
use serde_json::Value;
use std::fmt;

/// Mistakes a model is told at once.
const MOST_TOLD: usize = 8;
/// Under which the schema is known while it is compiled; nothing is loaded from there.
const OWN: &str = "mcp:///inputSchema";
/// How many steps into subschemas are taken at most for one value at the depth of the deepest.
const STEPS: u32 = 50_000;

/// What a tool's arguments must be.
pub(crate) struct Arguments {
    schemas: Schemas,
    own: SchemaIndex,
    /// For schemas with references alone: what they can come to depends on how deep the arguments are.
    referring: Option<Value>,
}

impl Arguments {
    /// Of a definition in canonical form. Why not: one clause, for people and models.
    pub(crate) fn of(definition: &str) -> Result<Self, String> {
        let definition: Value = serde_json::from_str(definition).map_err(|_| "it is not JSON".to_owned())?;
        let schema = definition.get("inputSchema").ok_or("there is none")?;
        if !schema.is_object() {
            return Err("it is no object".into());
        }
        let dialect = schema.get("$schema");
        if dialect.is_some_and(|dialect| dialect.as_str().and_then(Draft::from_url).is_none()) {
            return Err("it is written in a dialect that is not read".into());
        }
        let refers = points(schema);
        if refers {
            steps(schema, 1).ok_or("it refers to itself without end")?;
        }
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        // Knows no scheme: nothing is fetched and no file is read.
        compiler.use_loader(Box::new(SchemeUrlLoader::new()));
        compiler.set_default_draft(Draft::V2020_12);
        let unusable = |error: CompileError| visible::name(&error.to_string());
        compiler.add_resource(OWN, schema.clone()).map_err(unusable)?;
        let compiled = compiler.compile(OWN, &mut schemas).map_err(unusable)?;
        Ok(Self { schemas, own: compiled, referring: refers.then(|| schema.clone()) })
    }

    /// Whether these arguments fit; what is wrong with them, so that a model can mend it.
    pub(crate) fn check(&self, given: &str) -> Result<(), String> {
        let given: Value =
            serde_json::from_str(given).map_err(|_| "The arguments are not JSON.".to_owned())?;
        if let Some(schema) = &self.referring {
            steps(schema, depth(&given)).ok_or(
                "The arguments are nested so deep that they cannot be compared with the tool's schema.\nWhat to do: call \
                 it with simpler arguments.",
            )?;
        }
        let Err(wrong) = self.schemas.validate(&given, self.own) else { return Ok(()) };
        let mut told = Vec::new();
        leaves(&wrong, &mut told);
        Err(format!(
            "The arguments do not fit the tool's schema, so nobody was asked and nothing ran:\n{}\nWhat to do: mend the \
             arguments and call the tool again.",
            told.join("\n")
        ))
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Arguments").field("referring", &self.referring.is_some()).finish_non_exhaustive()
    }
}

/// What is wrong itself, without what only gathers it; each at its place.
fn leaves(wrong: &ValidationError<'_, '_>, told: &mut Vec<String>) {
    if told.len() >= MOST_TOLD {
        return;
    }
    if wrong.causes.is_empty() {
        let place = wrong.instance_location.to_string();
        let place = if place.is_empty() { "the arguments".into() } else { visible::name(&place) };
        told.push(format!("- {place}: {}", visible::name(&wrong.kind.to_string())));
    }
    for cause in &wrong.causes {
        leaves(cause, told);
    }
}

fn depth(value: &Value) -> u32 {
    match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0) + 1,
        Value::Object(members) => members.values().map(depth).max().unwrap_or(0) + 1,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Whether a schema refers to another part of itself.
fn points(schema: &Value) -> bool {
    match schema {
        Value::Array(items) => items.iter().any(points),
        Value::Object(members) => {
            let refers = |name: &str| matches!(name, "$ref" | "$dynamicRef" | "$recursiveRef");
            members.iter().any(|(name, member)| refers(name) || points(member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// How many steps into subschemas one value of this depth can take at most; `None` when they are too many.
fn steps(schema: &Value, depth: u32) -> Option<u32> {
    let mut left = STEPS;
    walk(schema, schema, depth, 0, &mut left)?;
    Some(STEPS - left)
}

/// Goes into what a validator would go into. Keywords that look at a part of the value cost one level of its depth; all
/// others look at the same value again.
fn walk(root: &Value, schema: &Value, depth: u32, within: u32, left: &mut u32) -> Option<()> {
    const DEEPEST: u32 = 256;
    *left = left.checked_sub(1)?;
    if within > DEEPEST {
        return None;
    }
    let Value::Object(keywords) = schema else { return Some(()) };
    for (keyword, below) in keywords {
        match keyword.as_str() {
            "$ref" | "$dynamicRef" | "$recursiveRef" => {
                let at = below.as_str().and_then(|at| at.strip_prefix('#')).unwrap_or("/");
                // A name instead of a place may mean any part: the whole is at least that.
                let meant = root.pointer(at).unwrap_or(root);
                walk(root, meant, depth, within + 1, left)?;
            }
            "allOf" | "anyOf" | "oneOf" | "not" | "if" | "then" | "else" | "dependentSchemas"
            | "dependencies" => {
                each(below, |inner| walk(root, inner, depth, within + 1, left))?;
            }
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "unevaluatedProperties"
            | "items"
            | "prefixItems"
            | "additionalItems"
            | "unevaluatedItems"
            | "contains"
            | "propertyNames"
                if depth > 0 =>
            {
                each(below, |inner| walk(root, inner, depth - 1, within + 1, left))?;
            }
            _ => {}
        }
    }
    Some(())
}

/// The schema itself, or those in a list or under names.
fn each(below: &Value, mut go: impl FnMut(&Value) -> Option<()>) -> Option<()> {
    match below {
        Value::Array(items) => items.iter().try_for_each(go),
        // An object is a schema or holds some under names: both are gone into.
        Value::Object(members) => {
            go(below)?;
            members.values().filter(|member| member.is_object()).try_for_each(go)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(schema: &Value) -> Result<Arguments, String> {
        Arguments::of(&json!({"name": "x", "inputSchema": schema}).to_string())
    }

    #[test]
    fn a_model_is_told_what_to_mend() {
        let schema = json!({"type": "object", "required": ["table"], "additionalProperties": false,
            "properties": {"table": {"type": "string", "maxLength": 5}, "count": {"type": "integer", "minimum": 1}}});
        let arguments = of(&schema).unwrap();
        assert_eq!(arguments.check(r#"{"table":"a","count":3}"#), Ok(()));
        let told = arguments.check(r#"{"count":"three","x":1}"#).unwrap_err();
        for part in [
            "- /count: want integer, but got string",
            "additionalProperties 'x' not allowed",
            "missing properties 'table'",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let hidden = arguments.check(r#"{"table":"a","\u202e":1}"#).unwrap_err();
        assert!(hidden.contains("202e") && !hidden.contains('\u{202e}'), "{hidden}");
    }

    #[test]
    fn earlier_dialects_are_read_as_they_were_written_and_others_not() {
        let draft7 = json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {
            "items": [{"type": "integer"}], "additionalItems": false}}});
        let arguments = of(&draft7).unwrap();
        assert!(arguments.check(r#"{"a":[1]}"#).is_ok() && arguments.check(r#"{"a":[1,2]}"#).is_err());
        for bad in [
            json!({"$schema": "https://attacker.example/dialect"}),
            json!({"$ref": "https://attacker.example/schema"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"type": 7}),
            json!({"properties": {"a": {"pattern": "(a"}}}),
            json!({"properties": {"a": {"pattern": "(?=a)b"}}}),
            json!(true),
        ] {
            assert!(of(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schema_that_goes_on_for_ever_is_not_gone_through() {
        // Each definition is twice the next.
        let mut doubled = json!({"type": "object", "$ref": "#/$defs/d0", "$defs": {"d40": true}});
        for at in 0..40 {
            let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
            doubled["$defs"][format!("d{at}")] = json!({"allOf": [next, next]});
        }
        for schema in
            [doubled, json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]}), json!({"$dynamicRef": "#"})]
        {
            assert!(of(&schema).is_err(), "{schema}");
        }
        // A tree is read as deep as it stands there, and not further than anybody looks.
        let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {
            "and": {"type": "array", "items": {"$ref": "#/$defs/t"}}, "or": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}}});
        let tree = of(&tree).unwrap();
        assert_eq!(tree.check(r#"{"and":[{"or":[{}]}]}"#), Ok(()));
        assert!(tree.check(r#"{"and":[{"or":[7]}]}"#).unwrap_err().contains("/and/0/or/0"));
        let deep = format!("{}{{}}{}", r#"{"and":["#.repeat(30), "]}".repeat(30));
        assert!(tree.check(&deep).unwrap_err().contains("nested so deep"));
    }
}
