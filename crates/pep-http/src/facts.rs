//! What policy may look at in a request, as an operation declares it: where each fact stands and what it is. A
//! fact that is there but is not what was declared refuses the request; one that is not there is absent.

use crate::{
    decode::{self, DecodeError, Json},
    path::{self, PathRefusal},
};
use base64::{Engine as _, alphabet, engine};
use countersign_core::visible;
use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The facts of every request, declared or not.
pub const ALWAYS: [(&str, FactType); 4] = [
    ("host", FactType::Text),
    ("method", FactType::Text),
    ("path", FactType::Text),
    ("query", FactType::Text),
];

/// What kind of value a fact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FactType {
    Text,
    /// A whole number of 64 bits.
    Number,
    Flag,
    /// A list of texts, as a set.
    TextSet,
    /// A flag: whether anything stands there at all.
    Present,
}

/// How a text is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrapping {
    Plain,
    /// RFC 4648 section 4 or 5, with or without padding; what it holds must be UTF-8.
    Base64,
}

/// Where a fact stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the JSON body, at one of these pointers.
    Body(Vec<Vec<String>>),
    Query(String),
    Header(HeaderName),
}

/// One declared fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub name: String,
    pub source: Source,
    pub kind: FactType,
    pub wrapping: Wrapping,
}

/// Why the facts of a request cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactRefusal {
    #[error(transparent)]
    Body(#[from] DecodeError),
    #[error(transparent)]
    Query(#[from] PathRefusal),
    #[error("the header `{0}` stands there more than once")]
    Header(HeaderName),
    #[error("`{name}` is not {expected}")]
    Kind { name: String, expected: &'static str },
    #[error("the body is `{0}` encoded, which is not read here; send it plain")]
    Encoded(String),
}

/// Reads declared facts into `out`. `body` must be there when any of them stands in it.
pub fn read(
    facts: &[Fact],
    query: Option<&str>,
    headers: &HeaderMap,
    body: &[u8],
    out: &mut Map<String, Value>,
) -> Result<(), FactRefusal> {
    if facts.is_empty() {
        return Ok(());
    }
    let json = if facts.iter().any(|fact| matches!(fact.source, Source::Body(_))) {
        check_encoding(headers)?;
        Some(decode::json(body)?)
    } else {
        None
    };
    let pairs = if facts.iter().any(|fact| matches!(fact.source, Source::Query(_))) {
        path::pairs(query.unwrap_or(""))?
    } else {
        Vec::new()
    };
    for fact in facts {
        let found = match &fact.source {
            Source::Body(spellings) => match &json {
                Some(json) => decode::at(json, spellings)?.cloned(),
                None => None,
            },
            Source::Query(name) => from_query(name, &pairs)?,
            Source::Header(name) => from_header(name, headers)?,
        };
        if let Some(value) = value(fact, found)? {
            out.insert(fact.name.clone(), value);
        }
    }
    Ok(())
}

fn from_query(name: &str, pairs: &[(String, String)]) -> Result<Option<Json>, FactRefusal> {
    let wanted = path::folded(name);
    match pairs.iter().find(|(key, _)| path::folded(key) == wanted) {
        Some((key, value)) if key == name => Ok(Some(Json::Text(value.clone()))),
        Some((key, _)) => {
            Err(DecodeError::LooksLike { found: visible::name(key), wanted: name.into() }.into())
        }
        None => Ok(None),
    }
}

fn from_header(name: &HeaderName, headers: &HeaderMap) -> Result<Option<Json>, FactRefusal> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    match (first, second) {
        (_, Some(_)) => Err(FactRefusal::Header(name.clone())),
        (Some(value), None) => match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(Json::Text(text.into()))),
            Err(_) => Err(FactRefusal::Kind { name: name.to_string(), expected: "UTF-8 text" }),
        },
        (None, None) => Ok(None),
    }
}

fn check_encoding(headers: &HeaderMap) -> Result<(), FactRefusal> {
    let mut encodings = headers.get_all(http::header::CONTENT_ENCODING).iter();
    match encodings.find(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        Some(encoding) => {
            Err(FactRefusal::Encoded(visible::one_line(&String::from_utf8_lossy(encoding.as_bytes()))))
        }
        None => Ok(()),
    }
}

fn value(fact: &Fact, found: Option<Json>) -> Result<Option<Value>, FactRefusal> {
    let wrong = |expected| FactRefusal::Kind { name: fact.name.clone(), expected };
    if fact.kind == FactType::Present {
        return Ok(Some(Value::Bool(found.is_some())));
    }
    let Some(found) = found else { return Ok(None) };
    let in_body = matches!(fact.source, Source::Body(_));
    let value = match (fact.kind, found) {
        (FactType::Text, Json::Text(text)) => Value::String(unwrapped(fact, text)?),
        (FactType::Number, Json::Whole(number)) => number.into(),
        (FactType::Number, Json::Text(text)) if !in_body => {
            text.parse::<i64>().map_err(|_| wrong("a whole number"))?.into()
        }
        (FactType::Flag, Json::Flag(flag)) => flag.into(),
        (FactType::Flag, Json::Text(text)) if !in_body => match text.as_str() {
            "true" | "1" => true.into(),
            "false" | "0" => false.into(),
            _ => return Err(wrong("`true` or `false`")),
        },
        (FactType::TextSet, Json::Text(text)) if !in_body => {
            Value::Array(text.split(',').map(|item| item.trim().into()).collect())
        }
        (FactType::TextSet, Json::List(items)) => {
            let texts = items.into_iter().map(|item| match item {
                Json::Text(text) => unwrapped(fact, text).map(Value::String),
                Json::Null
                | Json::Flag(_)
                | Json::Whole(_)
                | Json::Number
                | Json::List(_)
                | Json::Members(_) => Err(wrong("a list of texts")),
            });
            Value::Array(texts.collect::<Result<_, _>>()?)
        }
        (FactType::Text, _) => return Err(wrong("a text")),
        (FactType::Number, _) => return Err(wrong("a whole number")),
        (FactType::Flag, _) => return Err(wrong("`true` or `false`")),
        (FactType::TextSet | FactType::Present, _) => return Err(wrong("a list of texts")),
    };
    Ok(Some(value))
}

fn unwrapped(fact: &Fact, text: String) -> Result<String, FactRefusal> {
    match fact.wrapping {
        Wrapping::Plain => Ok(text),
        Wrapping::Base64 => {
            let wrong = FactRefusal::Kind { name: fact.name.clone(), expected: "UTF-8 text in base64" };
            let bytes =
                LENIENT.decode(text.replace('-', "+").replace('_', "/")).map_err(|_| wrong.clone())?;
            String::from_utf8(bytes).map_err(|_| wrong)
        }
    }
}

/// Targets differ in whether they want the padding; what is decoded is the same either way.
const LENIENT: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::STANDARD,
    engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(false),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(name: &str, source: Source, kind: FactType, wrapping: Wrapping) -> Fact {
        Fact { name: name.into(), source, kind, wrapping }
    }

    fn body(pointer: &str) -> Source {
        Source::Body(vec![decode::pointer(pointer).unwrap()])
    }

    #[test]
    fn facts_are_decoded_as_declared() {
        let facts = [
            fact("key", body("/key"), FactType::Text, Wrapping::Base64),
            fact("range", body("/range_end"), FactType::Present, Wrapping::Plain),
            fact("lease", body("/lease"), FactType::Number, Wrapping::Plain),
            fact("tags", body("/tags"), FactType::TextSet, Wrapping::Plain),
            fact("dry", Source::Query("dry_run".into()), FactType::Flag, Wrapping::Plain),
            fact("etag", Source::Header(http::header::IF_MATCH), FactType::Text, Wrapping::Plain),
        ];
        let mut headers = HeaderMap::new();
        headers.insert(http::header::IF_MATCH, "7".parse().unwrap());
        let mut out = Map::new();
        let json = br#"{"key":"Zm9v","lease":7,"tags":["a","b"]}"#;
        read(&facts, Some("dry_run=true"), &headers, json, &mut out).unwrap();
        let want =
            serde_json::json!({"key":"foo","range":false,"lease":7,"tags":["a","b"],"dry":true,"etag":"7"});
        assert_eq!(Value::Object(out), want);
    }

    #[test]
    fn a_fact_that_is_not_what_was_declared_refuses() {
        let text = || vec![fact("key", body("/key"), FactType::Text, Wrapping::Base64)];
        let query = |kind| vec![fact("n", Source::Query("n".into()), kind, Wrapping::Plain)];
        for (facts, asked, json) in [
            (text(), "", r#"{"key":7}"#),
            (text(), "", r#"{"key":"!!"}"#),
            (text(), "", r#"{"key":"/w=="}"#),
            (text(), "", r#"{"Key":"Zm9v"}"#),
            (query(FactType::Number), "n=x", ""),
            (query(FactType::Flag), "n=maybe", ""),
            (query(FactType::Text), "n=1&n=2", ""),
            (query(FactType::Text), "N=1", ""),
        ] {
            let mut out = Map::new();
            assert!(
                read(&facts, Some(asked), &HeaderMap::new(), json.as_bytes(), &mut out).is_err(),
                "{asked} {json}"
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert!(matches!(
            read(&text(), None, &headers, b"{}", &mut Map::new()),
            Err(FactRefusal::Encoded(_))
        ));
    }
}
