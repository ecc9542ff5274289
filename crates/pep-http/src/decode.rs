//! JSON bodies read strictly: what two readers could read differently is refused. Only what facts ask for is
//! handed out; the bytes themselves are never changed.

use countersign_core::visible;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

/// How deep a body may nest.
const MAX_DEPTH: u32 = 64;

/// A JSON value with every member standing once.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Flag(bool),
    Whole(i64),
    /// A number that is not a whole number of 64 bits; no fact reads it.
    Number,
    Text(String),
    List(Vec<Self>),
    Members(BTreeMap<String, Self>),
}

/// The body could not be read without doubt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is not strict JSON (RFC 8259): {0}")]
    NotJson(String),
    #[error("the body's member `{found}` could be taken for `{wanted}`")]
    LooksLike { found: String, wanted: String },
    #[error("the body's `{0}` stands there in two spellings")]
    TwoSpellings(String),
}

/// Reads a whole body. An empty one is an object without members.
pub fn json(body: &[u8]) -> Result<Json, DecodeError> {
    if body.is_empty() {
        return Ok(Json::Members(BTreeMap::new()));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Strict(MAX_DEPTH).deserialize(&mut reader).map_err(|error| not_json(&error))?;
    reader.end().map_err(|error| not_json(&error))?;
    Ok(value)
}

/// What stands at one of the pointers (RFC 6901 tokens): spellings of the same member, of which one may be there.
/// A member that a lenient reader would take for the wanted one (`Range_End` for `range_end`) is refused.
pub fn at<'j>(value: &'j Json, spellings: &[Vec<String>]) -> Result<Option<&'j Json>, DecodeError> {
    let mut found = None;
    for pointer in spellings {
        if let Some(value) = follow(value, pointer, spellings)?
            && found.replace(value).is_some()
        {
            return Err(DecodeError::TwoSpellings(format!("/{}", pointer.join("/"))));
        }
    }
    Ok(found.filter(|value| **value != Json::Null))
}

/// The tokens of a JSON pointer.
pub fn pointer(text: &str) -> Result<Vec<String>, String> {
    let rest =
        text.strip_prefix('/').ok_or_else(|| format!("`{text}` is not a JSON pointer such as `/key`"))?;
    Ok(rest.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect())
}

fn follow<'j>(
    value: &'j Json,
    pointer: &[String],
    spellings: &[Vec<String>],
) -> Result<Option<&'j Json>, DecodeError> {
    let mut here = value;
    for (depth, token) in pointer.iter().enumerate() {
        here = match here {
            Json::Members(members) => {
                let wanted = crate::path::folded(token);
                let known = |name: &String| spellings.iter().any(|other| other.get(depth) == Some(name));
                let alike = |name: &&String| crate::path::folded(name) == wanted && !known(name);
                if let Some(found) = members.keys().find(alike) {
                    return Err(DecodeError::LooksLike {
                        found: visible::name(found),
                        wanted: token.clone(),
                    });
                }
                match members.get(token) {
                    Some(next) => next,
                    None => return Ok(None),
                }
            }
            Json::List(items) => match token.parse::<usize>().ok().and_then(|index| items.get(index)) {
                Some(next) => next,
                None => return Ok(None),
            },
            Json::Null | Json::Flag(_) | Json::Whole(_) | Json::Number | Json::Text(_) => return Ok(None),
        };
    }
    Ok(Some(here))
}

fn not_json(error: &serde_json::Error) -> DecodeError {
    DecodeError::NotJson(error.to_string())
}

/// So many levels may follow.
#[derive(Clone, Copy)]
struct Strict(u32);

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Flag(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Number, Json::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let deeper = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(deeper)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Json, A::Error> {
        let deeper = self.deeper()?;
        let mut members = BTreeMap::new();
        while let Some(name) = pairs.next_key::<String>()? {
            match members.entry(name) {
                Entry::Vacant(place) => {
                    place.insert(pairs.next_value_seed(deeper)?);
                }
                Entry::Occupied(place) => {
                    return Err(A::Error::custom(format_args!(
                        "member `{}` stands there twice",
                        visible::name(place.key())
                    )));
                }
            }
        }
        Ok(Json::Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = "[".repeat(65) + &"]".repeat(65);
        for bad in [
            br#"{"a":1,"a":2}"#.as_slice(),
            br#"{"a":1,"\u0061":2}"#,
            br#"{"x":{"a":1,"a":1}}"#,
            deep.as_bytes(),
            b"{\"a\":\"\xff\"}",
            br#"{"a":NaN}"#,
            br#"{"a":Infinity}"#,
            br#"{"a":1} {}"#,
            br#"{"a":1,}"#,
            br"{'a':1}",
            b"\xef\xbb\xbf{}",
            br#"{"a":"\ud800"}"#,
            b"{\"a\":\"\n\"}",
            br#"{"a":1} // x"#,
            b"a=1",
        ] {
            assert!(matches!(json(bad), Err(DecodeError::NotJson(_))), "{}", String::from_utf8_lossy(bad));
        }
        assert!(json(("[".repeat(64) + &"]".repeat(64)).as_bytes()).is_ok());
    }

    #[test]
    fn a_refusal_shows_a_hostile_name_and_does_not_repeat_it() {
        let twice = json("{\"a\u{202e}\":1,\"a\u{202e}\":2}".as_bytes()).unwrap_err().to_string();
        assert!(twice.contains("`a⟨U+202E⟩`") && !twice.contains('\u{202e}'), "{twice}");
        let long = "x".repeat(10_000);
        let twice = json(format!("{{\"{long}\":1,\"{long}\":2}}").as_bytes()).unwrap_err().to_string();
        assert!(twice.len() < 300, "{} bytes", twice.len());
        let alike = json("{\"filter\u{200b}\":1}".as_bytes()).unwrap();
        let told = at(&alike, &[pointer("/filter").unwrap()]);
        assert!(told.is_ok() || told.unwrap_err().to_string().contains("⟨U+200B⟩"));
    }

    #[test]
    fn a_member_in_a_spelling_the_target_may_read_is_not_overlooked() {
        let spellings = [pointer("/range_end").unwrap(), pointer("/rangeEnd").unwrap()];
        let read = |body: &str| at(&json(body.as_bytes()).unwrap(), &spellings).map(Option::<&Json>::cloned);
        assert_eq!(read(r#"{"range_end":"eA=="}"#), Ok(Some(Json::Text("eA==".into()))));
        assert_eq!(read(r#"{"rangeEnd":"eA=="}"#), Ok(Some(Json::Text("eA==".into()))));
        assert_eq!(read(r#"{"range_end":null,"key":"x"}"#), Ok(None));
        assert_eq!(read("[1]"), Ok(None));
        assert!(matches!(read(r#"{"Range_End":"x"}"#), Err(DecodeError::LooksLike { .. })));
        assert!(matches!(read(r#"{"RANGEEND":"x"}"#), Err(DecodeError::LooksLike { .. })));
        assert!(matches!(read(r#"{"range_end":"x","rangeEnd":"y"}"#), Err(DecodeError::TwoSpellings(_))));
    }

    #[test]
    fn pointers_reach_into_lists_and_members() {
        let body = json(br#"{"a":[{"b/c":7}],"d":1.5,"e":18446744073709551615}"#).unwrap();
        assert_eq!(at(&body, &[pointer("/a/0/b~1c").unwrap()]), Ok(Some(&Json::Whole(7))));
        assert_eq!(at(&body, &[pointer("/d").unwrap()]), Ok(Some(&Json::Number)));
        assert_eq!(at(&body, &[pointer("/e").unwrap()]), Ok(Some(&Json::Number)));
        assert_eq!(at(&body, &[pointer("/a/1").unwrap()]), Ok(None));
        assert!(pointer("a").is_err());
    }
}
