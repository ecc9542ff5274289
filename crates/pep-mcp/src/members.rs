//! A JSON object as its members in their order, each value in the very bytes it was written in.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{collections::HashSet, fmt};

/// The members of an object. A name that is written with escapes is refused: two readers could take it for different ones.
#[derive(Clone, Debug)]
pub(crate) struct Members<'a>(Vec<(&'a str, &'a RawValue)>);

impl<'a> Members<'a> {
    /// `None`: no object, or one with a name that is written with escapes or twice.
    pub(crate) fn read(raw: &'a RawValue) -> Option<Self> {
        serde_json::from_str(raw.get()).ok()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a RawValue)> + '_ {
        self.0.iter().copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of these names is there.
    pub(crate) fn any(&self, names: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|(name, _)| names(name))
    }

    /// The object again, with what `change` makes of each member; `None` leaves it out.
    pub(crate) fn rewritten(&self, change: impl Fn(&str, &'a RawValue) -> Option<String>) -> String {
        let mut out = String::from("{");
        for (name, value) in &self.0 {
            let Some(value) = change(name, value) else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            // The name was read without resolving escapes, so that it stands as it stood.
            out.push('"');
            out.push_str(name);
            out.push_str("\":");
            out.push_str(&value);
        }
        out.push('}');
        out
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Read<'a> {
            type Value = Members<'a>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let (mut members, mut names) = (Vec::new(), HashSet::new());
                while let Some((name, value)) = map.next_entry::<&'a str, &'a RawValue>()? {
                    if !names.insert(name) {
                        return Err(A::Error::custom("a member stands there twice"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Read(std::marker::PhantomData))
    }
}

/// A JSON string's text; `None` for any other value.
pub(crate) fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_bytes_and_ambiguous_names_are_refused() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let object = raw(r#"{ "b" : 1.50 ,"a":{"y": 1,"x":12345678901234567890123}}"#);
        let members = Members::read(&object).unwrap();
        assert_eq!(members.find("b").unwrap().get(), "1.50");
        let again = members.rewritten(|name, value| (name != "b").then(|| value.get().to_owned()));
        assert_eq!(again, r#"{"a":{"y": 1,"x":12345678901234567890123}}"#);
        for bad in [r#"{"a":1,"a":2}"#, r#"{"\u0061":1}"#, "[]", "1"] {
            assert!(Members::read(&raw(bad)).is_none(), "{bad}");
        }
    }
}
