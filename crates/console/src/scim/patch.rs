//! `PATCH` (RFC 7644, section 3.5.2), done to a resource as it is shown; what comes out is then read as if it had been
//! put. So one reading decides what may be changed, however it was asked for.
//!
//! Large clients have ways of their own, which are taken for what they mean: operations in capitals, paths as keys of a
//! value, values to be removed listed beside their path.

use super::{
    error::Fault,
    filter::{Filter, Path, member},
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The most operations one request may hold.
const MOST: usize = 200;

#[derive(Deserialize)]
pub(super) struct Patch {
    #[serde(rename = "Operations", alias = "operations")]
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    op: String,
    path: Option<String>,
    #[serde(default)]
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Replace,
    Remove,
}

impl Patch {
    /// Does every operation, or says which of them cannot be done.
    pub(super) fn apply(self, resource: &mut Value) -> Result<(), Fault> {
        if self.operations.is_empty() || self.operations.len() > MOST {
            return Err(Fault::syntax(format!("between 1 and {MOST} operations are expected")));
        }
        self.operations.into_iter().try_for_each(|operation| operation.apply(resource))
    }
}

impl Operation {
    fn apply(self, resource: &mut Value) -> Result<(), Fault> {
        let verb = match self.op.to_ascii_lowercase().as_str() {
            "add" => Verb::Add,
            "replace" => Verb::Replace,
            "remove" => Verb::Remove,
            _ => return Err(Fault::syntax("an operation is `add`, `replace` or `remove`")),
        };
        let Some(resource) = resource.as_object_mut() else { return Err(Fault::missing()) };
        match self.path.filter(|path| !path.is_empty()) {
            Some(path) => change(resource, verb, &Path::parse(&path)?, self.value),
            None if verb == Verb::Remove => {
                Err(Fault::no_target("what is removed has to be named by a path"))
            }
            None => {
                let Value::Object(values) = self.value else {
                    return Err(Fault::value("without a path the value has to be an object"));
                };
                for (path, value) in values {
                    change(resource, verb, &Path::parse(&path)?, value)?;
                }
                Ok(())
            }
        }
    }
}

fn change(resource: &mut Map<String, Value>, verb: Verb, path: &Path, value: Value) -> Result<(), Fault> {
    let Some((last, before)) = path.attribute.split_last() else { return Err(Fault::path()) };
    let mut place = resource;
    for name in before {
        let inside = slot(place, name);
        if !inside.is_object() {
            *inside = Value::Object(Map::new());
        }
        let Some(object) = inside.as_object_mut() else { return Err(Fault::path()) };
        place = object;
    }
    if let Some(filter) = &path.of {
        return among(slot(place, last), verb, filter, path.part.as_deref(), value);
    }
    whole(place, last, verb, value);
    Ok(())
}

fn whole(place: &mut Map<String, Value>, name: &str, verb: Verb, value: Value) {
    if verb == Verb::Remove {
        if value.is_null() {
            place.retain(|key, _| !key.eq_ignore_ascii_case(name));
            return;
        }
        // Some list what is to go beside the path of the list.
        let Some(known) = slot(place, name).as_array_mut() else { return };
        let gone = listed(value);
        known.retain(|one| !gone.iter().any(|other| same(one, other)));
        return;
    }
    let known = slot(place, name);
    match (verb, known) {
        (Verb::Add, Value::Array(known)) => {
            let new: Vec<Value> =
                listed(value).into_iter().filter(|new| !known.iter().any(|one| same(one, new))).collect();
            known.extend(new);
        }
        (_, Value::Object(known)) if value.is_object() => {
            for (name, value) in value.as_object().cloned().unwrap_or_default() {
                *slot(known, &name) = value;
            }
        }
        (_, known) => *known = value,
    }
}

/// Some values of a list, or a part of each.
fn among(
    known: &mut Value,
    verb: Verb,
    filter: &Filter,
    part: Option<&str>,
    value: Value,
) -> Result<(), Fault> {
    if !known.is_array() {
        *known = Value::Array(Vec::new());
    }
    let Some(known) = known.as_array_mut() else { return Err(Fault::path()) };
    if verb == Verb::Remove && part.is_none() {
        known.retain(|one| !filter.fits(one));
        return Ok(());
    }
    let mut found = false;
    for one in known.iter_mut().filter(|one| filter.fits(one)) {
        found = true;
        match (part, one) {
            (Some(part), Value::Object(one)) if verb == Verb::Remove => {
                one.retain(|key, _| !key.eq_ignore_ascii_case(part));
            }
            (Some(part), Value::Object(one)) => *slot(one, part) = value.clone(),
            (_, one) => *one = value.clone(),
        }
    }
    if found || verb == Verb::Remove {
        return Ok(());
    }
    // `emails[type eq "work"].value` of somebody who has none yet: one such is made.
    let (Some((name, with)), Some(part)) = (filter.plain(), part) else {
        return Err(Fault::no_target("no value is like that"));
    };
    let made = [(name.to_owned(), with.clone()), (part.to_owned(), value)];
    known.push(Value::Object(made.into_iter().collect()));
    Ok(())
}

/// Where a name's value stands, whatever its case.
fn slot<'v>(object: &'v mut Map<String, Value>, name: &str) -> &'v mut Value {
    let known = object.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    object.entry(known.unwrap_or_else(|| name.to_owned())).or_insert(Value::Null)
}

fn listed(value: Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all,
        one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            vec![one]
        }
    }
}

/// Values of a list are told apart by their `value`.
fn same(one: &Value, other: &Value) -> bool {
    let key = |value: &Value| value.as_object().and_then(|object| member(object, "value")).cloned();
    match (key(one), key(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(operations: &Value) -> Result<Value, Fault> {
        let mut resource = json!({"id": "per_A", "userName": "ana", "active": true, "name": {"givenName": "Ana"},
            "emails": [{"type": "work", "value": "a@x.org"}], "members": [{"value": "1"}, {"value": "2"}]});
        let patch: Patch = serde_json::from_value(json!({"Operations": operations})).unwrap();
        patch.apply(&mut resource).map(|()| resource)
    }

    #[test]
    #[rustfmt::skip]
    fn operations_do_what_they_say_in_every_clients_way() {
        for (operation, at, wanted) in [
            (json!({"op": "Replace", "path": "active", "value": "False"}), "/active", json!("False")),
            (json!({"op": "replace", "value": {"active": false}}), "/active", json!(false)),
            (json!({"op": "Add", "value": {"name.familyName": "Roe"}}), "/name", json!({"givenName": "Ana", "familyName": "Roe"})),
            (json!({"op": "replace", "path": "name", "value": {"familyName": "Roe"}}), "/name/familyName", json!("Roe")),
            (json!({"op": "replace", "path": "USERNAME", "value": "b"}), "/userName", json!("b")),
            (json!({"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "b@x.org"}), "/emails/0/value", json!("b@x.org")),
            (json!({"op": "Add", "path": "emails[type eq \"home\"].value", "value": "h@x.org"}), "/emails/1", json!({"type": "home", "value": "h@x.org"})),
            (json!({"op": "remove", "path": "members[value eq \"1\"]"}), "/members", json!([{"value": "2"}])),
            (json!({"op": "Remove", "path": "members", "value": [{"value": "2"}]}), "/members", json!([{"value": "1"}])),
            (json!({"op": "remove", "path": "members"}), "/members", Value::Null),
            (json!({"op": "Add", "path": "members", "value": [{"value": "3"}, {"value": "1"}]}), "/members", json!([{"value": "1"}, {"value": "2"}, {"value": "3"}])),
            (json!({"op": "replace", "path": "members", "value": [{"value": "9"}]}), "/members", json!([{"value": "9"}])),
            (json!({"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "x"}), "/userName", json!("ana")),
        ] {
            let after = patched(&json!([operation])).unwrap();
            assert_eq!(after.pointer(at).cloned().unwrap_or_default(), wanted, "{operation}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for operation in [
            json!({"op": "move", "path": "active"}),
            json!({"op": "remove"}),
            json!({"op": "add", "value": 1}),
            json!({"op": "replace", "path": "members[value sw \"9\"]", "value": {}}),
            json!({"op": "replace", "path": "a b", "value": 1}),
        ] {
            assert!(patched(&json!([operation])).is_err(), "{operation}");
        }
        assert!(patched(&json!([])).is_err());
        assert!(patched(&vec![json!({"op": "add", "path": "active", "value": true}); 201].into()).is_err());
    }
}
