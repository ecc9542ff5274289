//! Arguments that stand in the head of a call as well, for whoever routes it (2026-07-28, basic/transports/streamable-http, "Custom
//! Headers from Tool Parameters"; SEP-2243). A tool's schema says which. What is decided on is the body; a head that says
//! something else is not taken, and what goes to a server is written anew from the body.

use crate::{
    era::{self, Mismatch},
    members::Members,
    reply::code,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, value::RawValue};
use std::collections::{BTreeMap, BTreeSet};

/// What the names of these headers begin with.
const PREFIX: &str = "mcp-param-";
/// The member of a schema that asks for one.
const ANNOTATION: &str = "x-mcp-header";
/// Members of a schema whose own members are names, and what they name schemas.
const NAMED: [&str; 5] = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
/// The most of one tool, and how deep an argument may stand that is one.
const MOST: usize = 64;
const DEEPEST: usize = 32;
/// Whole numbers that every reader of JSON takes for the same.
const LARGEST: f64 = 9_007_199_254_740_991.0;

/// An argument that stands in the head as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirrored {
    header: HeaderName,
    /// Where it stands in the arguments.
    path: Vec<String>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flag,
}

/// Headers of this kind that a request has, by their names, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head(BTreeMap<String, String>);

/// The arguments that a tool's schema wants in the head. `None` where it asks for that in a way it must not: clients leave
/// such a tool out.
pub(crate) fn of(schema: &Value) -> Option<Vec<Mirrored>> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found)?;
    let names: BTreeSet<&str> = found.iter().map(|mirrored| mirrored.header.as_str()).collect();
    let is_fine = names.len() == found.len() && found.len() <= MOST && found.len() == annotations(schema);
    is_fine.then_some(found)
}

fn collect(schema: &Value, path: &mut Vec<String>, into: &mut Vec<Mirrored>) -> Option<()> {
    // What asks for a header further down is counted, and missed here.
    if path.len() > DEEPEST {
        return Some(());
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        path.push(name.clone());
        if let Some(wanted) = property.get(ANNOTATION) {
            let kind = match property.get("type")?.as_str()? {
                "string" => Kind::Text,
                "integer" => Kind::Number,
                "boolean" => Kind::Flag,
                _ => return None,
            };
            let wanted = wanted.as_str().filter(|wanted| !wanted.is_empty())?;
            let header = HeaderName::from_bytes(format!("{PREFIX}{wanted}").as_bytes()).ok()?;
            into.push(Mirrored { header, path: path.clone(), kind });
        }
        collect(property, path, into)?;
        path.pop();
    }
    Some(())
}

/// How often anything in a schema asks for a header, wherever it stands. An argument that is only called so asks for nothing.
fn annotations(schema: &Value) -> usize {
    let mut count = 0;
    let mut left = vec![(schema, false)];
    while let Some((value, are_names)) = left.pop() {
        match value {
            Value::Object(members) => {
                count += usize::from(!are_names && members.contains_key(ANNOTATION));
                let below = |name: &String| !are_names && NAMED.contains(&name.as_str());
                left.extend(members.iter().map(|(name, value)| (value, below(name))));
            }
            Value::Array(items) => left.extend(items.iter().map(|item| (item, false))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    count
}

impl Head {
    /// What a request's head says; an error names a header that it says twice or in no way it may.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Mismatch> {
        let mut said = BTreeMap::new();
        for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with(PREFIX)) {
            let text = value.to_str().ok().and_then(era::decoded);
            let text = text.ok_or_else(|| differs(name))?;
            if said.insert(name.as_str().to_owned(), text).is_some() {
                return Err(differs(name));
            }
        }
        Ok(Self(said))
    }

    /// Refuses a head that says something else than the arguments do. What no schema asks for is nobody's business.
    pub(crate) fn check(&self, mirrored: &[Mirrored], arguments: Option<&RawValue>) -> Result<(), Mismatch> {
        for one in mirrored {
            let said = self.0.get(one.header.as_str()).map(String::as_str);
            let fits = match (said, one.given(arguments)) {
                (None, None) => true,
                (Some(said), Some(given)) => {
                    one.kind == Kind::Number && whole(said) == Some(given.clone()) || said == given
                }
                (Some(_), None) | (None, Some(_)) => false,
            };
            if !fits {
                return Err(differs(&one.header));
            }
        }
        Ok(())
    }
}

impl Mirrored {
    /// What the arguments say, as a header has it; `None` where that is nothing.
    fn given(&self, arguments: Option<&RawValue>) -> Option<String> {
        let (last, before) = self.path.split_last()?;
        let mut object = Members::read(arguments?)?;
        for name in before {
            object = Members::read(object.find(name)?)?;
        }
        let value = object.find(last)?;
        match (self.kind, serde_json::from_str(value.get()).ok()?) {
            (Kind::Text, Value::String(text)) => Some(text),
            (Kind::Flag, Value::Bool(flag)) => Some(flag.to_string()),
            (Kind::Number, Value::Number(_)) => {
                Some(whole(value.get()).unwrap_or_else(|| value.get().to_owned()))
            }
            _ => None,
        }
    }
}

/// A whole number in its plain form: `42` for `42.0`.
#[expect(clippy::cast_possible_truncation, reason = "it is within what is represented exactly")]
fn whole(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number.to_string());
    }
    let number =
        text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() <= LARGEST)?;
    Some((number as i64).to_string())
}

fn differs(header: &HeaderName) -> Mismatch {
    Mismatch::new(code::HEADER_MISMATCH, format!("the header `{header}` is not what the arguments say"))
}

/// The headers with which a call goes to its server.
pub(crate) fn headers(mirrored: &[Mirrored], params: &str) -> Vec<(HeaderName, HeaderValue)> {
    let params: Option<&RawValue> = serde_json::from_str(params).ok();
    let arguments = params.and_then(Members::read).and_then(|params| params.find("arguments"));
    let one = |one: &Mirrored| {
        let value = HeaderValue::from_str(&era::encoded(&one.given(arguments)?)).ok()?;
        Some((one.header.clone(), value))
    };
    mirrored.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "options": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry-Run"}}},
            "more": {"type": "string"},
        }})
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn checked(pairs: &[(&'static str, &str)], arguments: &str) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let head = Head::read(&headers);
        head.and_then(|head| head.check(&of(&schema()).unwrap(), Some(&raw(arguments)))).is_ok()
    }

    #[test]
    #[rustfmt::skip]
    fn a_head_that_says_something_else_than_the_arguments_is_not_taken() {
        for (pairs, arguments, fits) in [
            (&[("mcp-param-region", "eu")][..], r#"{"region":"eu"}"#, true),
            (&[("mcp-param-region", "=?base64?ZXU=?=")], r#"{"region":"eu"}"#, true),
            (&[("mcp-param-region", "=?base64?w6Q=?=")], r#"{"region":"\u00e4"}"#, true),
            (&[("mcp-param-count", "42")], r#"{"count":42.0}"#, true),
            (&[("mcp-param-count", "42.0")], r#"{"count":42}"#, true),
            (&[("mcp-param-dry-run", "true")], r#"{"options":{"dry":true}}"#, true),
            (&[], r#"{"region":null,"more":"x"}"#, true),
            (&[("mcp-param-other", "x")], "{}", true),
            (&[], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-region", "us")], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-region", "EU")], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-region", "eu")], "{}", false),
            (&[("mcp-param-region", "eu")], r#"{"region":null}"#, false),
            (&[("mcp-param-region", "eu"), ("mcp-param-region", "eu")], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-region", "=?base64?!?=")], r#"{"region":"eu"}"#, false),
            (&[("mcp-param-count", "43")], r#"{"count":42}"#, false),
            (&[("mcp-param-dry-run", "True")], r#"{"options":{"dry":true}}"#, false),
        ] {
            assert_eq!(checked(pairs, arguments), fits, "{pairs:?} {arguments}");
        }
    }

    #[test]
    fn what_goes_to_a_server_says_what_the_body_says() {
        let params =
            r#"{"name":"x","arguments":{"region":" ä","count":7.0,"options":{"dry":false},"more":"z"}}"#;
        let told = headers(&of(&schema()).unwrap(), params);
        let mut told: Vec<_> =
            told.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        told.sort_unstable();
        let want = [
            ("mcp-param-count", "7"),
            ("mcp-param-dry-run", "false"),
            ("mcp-param-region", "=?base64?IMOk?="),
        ];
        assert_eq!(told, want);
        assert_eq!(headers(&of(&schema()).unwrap(), r#"{"name":"x"}"#), []);
    }

    #[test]
    #[rustfmt::skip]
    fn a_schema_that_asks_for_headers_in_another_way_is_known() {
        let of_one = |property: Value| of(&json!({"properties": {"a": property}}));
        assert_eq!(of(&json!({"type": "object"})), Some(Vec::new()));
        assert_eq!(of_one(json!({"type": "string", "x-mcp-header": "A"})).unwrap().len(), 1);
        for property in [
            json!({"type": "number", "x-mcp-header": "A"}), json!({"type": "object", "x-mcp-header": "A"}), json!({"x-mcp-header": "A"}),
            json!({"type": ["string"], "x-mcp-header": "A"}), json!({"type": "string", "x-mcp-header": ""}), json!({"type": "string", "x-mcp-header": 1}),
            json!({"type": "string", "x-mcp-header": "a b"}), json!({"type": "string", "x-mcp-header": "a:b"}), json!({"type": "string", "x-mcp-header": "a\r\nb"}),
            json!({"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}), json!({"anyOf": [{"type": "string", "x-mcp-header": "A"}]}),
        ] {
            assert_eq!(of_one(property.clone()), None, "{property}");
        }
        // An argument with that name, and much below that asks for nothing.
        let nested = |inner: Value| (0..60).fold(inner, |inner, _| json!({"type": "object", "properties": {"a": inner}}));
        assert_eq!(of(&json!({"properties": {"x-mcp-header": {"type": "string"}}})), Some(Vec::new()));
        assert_eq!(of_one(json!({"properties": {"x-mcp-header": {"type": "string", "x-mcp-header": "A"}}})).unwrap().len(), 1);
        assert_eq!(of_one(json!({"properties": {"properties": {"type": "string", "x-mcp-header": "A"}}})).unwrap().len(), 1);
        assert_eq!(of_one(json!({"items": {"properties": {"x-mcp-header": {"type": "string"}}}})), Some(Vec::new()));
        assert_eq!(of(&nested(json!({"type": "string"}))), Some(Vec::new()));
        assert_eq!(of(&nested(json!({"type": "string", "x-mcp-header": "A"}))), None);
        let twice = json!({"properties": {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}});
        assert_eq!(of(&twice), None);
    }
}
