//! The strict edge: one JSON-RPC message to a body, read so that no two readers can take it for different ones.
//! Everything that is forwarded later is taken out of the bytes read here, untouched.

use crate::members::Members;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::HashSet, fmt};

/// Deeper messages are refused.
const DEPTH: usize = 64;
/// Longer identifiers are refused.
const ID_BYTES: usize = 128;
/// Longer names of methods are refused.
const METHOD_BYTES: usize = 64;

/// Why a body is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefusal {
    #[error("the body is not UTF-8")]
    NotUtf8,
    #[error("the body is not one JSON value, or names a member twice, or nests deeper than {DEPTH} levels")]
    NotJson,
    #[error("batches are not taken: send each message by itself")]
    Batch,
    #[error("the body is not a JSON-RPC 2.0 message")]
    NotAMessage,
    #[error("the message's id is no text or whole number of at most {ID_BYTES} bytes")]
    Id,
    #[error("the message's method is not a plain name")]
    Method,
}

/// One message. Values are slices of the body.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    Request {
        id: &'a RawValue,
        method: &'a str,
        params: Option<&'a RawValue>,
    },
    Notification {
        method: &'a str,
        params: Option<&'a RawValue>,
    },
    /// Somebody's answer to a request of the other side.
    Response {
        id: &'a RawValue,
        answer: Answer<'a>,
    },
}

/// What a response carries.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    Result(&'a RawValue),
    Error(&'a RawValue),
}

/// Reads a body as one message.
pub fn read(body: &[u8]) -> Result<Message<'_>, FrameRefusal> {
    let text = std::str::from_utf8(body).map_err(|_| FrameRefusal::NotUtf8)?;
    if text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('[') {
        return Err(FrameRefusal::Batch);
    }
    let mut whole = serde_json::Deserializer::from_str(text);
    Plain(0).deserialize(&mut whole).map_err(|_| FrameRefusal::NotJson)?;
    whole.end().map_err(|_| FrameRefusal::NotJson)?;
    let members: Members<'_> = serde_json::from_str(text).map_err(|_| FrameRefusal::NotAMessage)?;
    if members.any(|name| !["jsonrpc", "id", "method", "params", "result", "error"].contains(&name))
        || members.find("jsonrpc").is_none_or(|version| version.get() != r#""2.0""#)
    {
        return Err(FrameRefusal::NotAMessage);
    }
    let id = members.find("id").map(id).transpose()?;
    let params = members.find("params");
    if params.is_some_and(|params| !params.get().starts_with('{')) {
        return Err(FrameRefusal::NotAMessage);
    }
    let method = members.find("method").map(method).transpose()?;
    match (method, id, params, members.find("result"), members.find("error")) {
        (Some(method), Some(id), params, None, None) => Ok(Message::Request { id, method, params }),
        (Some(method), None, params, None, None) => Ok(Message::Notification { method, params }),
        (None, Some(id), None, Some(result), None) => {
            Ok(Message::Response { id, answer: Answer::Result(result) })
        }
        (None, Some(id), None, None, Some(error)) => {
            Ok(Message::Response { id, answer: Answer::Error(error) })
        }
        _ => Err(FrameRefusal::NotAMessage),
    }
}

fn id(raw: &RawValue) -> Result<&RawValue, FrameRefusal> {
    let written = raw.get();
    let digits = written.strip_prefix('-').unwrap_or(written);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if written.len() <= ID_BYTES && (whole || written.starts_with('"')) {
        Ok(raw)
    } else {
        Err(FrameRefusal::Id)
    }
}

fn method(raw: &RawValue) -> Result<&str, FrameRefusal> {
    let name = raw.get().strip_prefix('"').and_then(|name| name.strip_suffix('"'));
    let plain = |name: &&str| {
        (1..=METHOD_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_-$.".contains(&byte))
    };
    name.filter(plain).ok_or(FrameRefusal::Method)
}

/// Walks a whole value at this depth: no object names a member twice, nothing nests too deeply.
struct Plain(usize);

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0 > DEPTH {
            return Err(D::Error::custom("too deep"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Plain(self.0 + 1))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut names = Names::default();
        while let Some(name) = members.next_key_seed(Name)? {
            members.next_value_seed(Plain(self.0 + 1))?;
            if !names.insert(name) {
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(())
    }
}

/// A member's name, with its escapes resolved; a copy only where there are any.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// How many names are compared one by one: most objects have few members.
const FEW: usize = 16;

/// The names of an object so far.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Whether the name was not there yet.
    fn insert(&mut self, name: Cow<'de, str>) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
