//! Any bytes, and messages of any shape: what is read is a slice of what came, and what could be read twice is not.

use super::*;
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

/// JSON as somebody might write it: numbers of any form, escapes, spaces anywhere.
fn json() -> impl Strategy<Value = String> {
    let space = || select(vec!["", " ", "\n", "\t "]);
    let word = select(vec![
        "null",
        "true",
        "0",
        "-1",
        "1.50",
        "1e5",
        "12345678901234567890123",
        r#""x""#,
        r#""\u0061""#,
    ]);
    word.prop_map(str::to_owned).prop_recursive(4, 24, 4, move |inner| {
        let list = (vec(inner.clone(), 0..4), space())
            .prop_map(|(items, gap)| format!("[{gap}{}]", items.join(",")));
        let object = (vec(inner, 0..4), space()).prop_map(|(members, gap)| {
            let members: Vec<_> =
                members.iter().enumerate().map(|(at, member)| format!("\"m{at}\"{gap}:{member}")).collect();
            format!("{{{gap}{}}}", members.join(","))
        });
        prop_oneof![list, object]
    })
}

/// Whether a reader who keeps the first of two members, and one who keeps the last, read the same.
fn reads_once(text: &str) -> bool {
    #[derive(PartialEq)]
    enum Seen {
        Plain(Value),
        Items(Vec<Seen>),
        Members(Vec<(String, Seen)>),
    }
    struct All;
    impl<'de> DeserializeSeed<'de> for All {
        type Value = Seen;
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    impl<'de> Visitor<'de> for All {
        type Value = Seen;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a JSON value")
        }
        fn visit_unit<E>(self) -> Result<Seen, E> {
            Ok(Seen::Plain(Value::Null))
        }
        fn visit_bool<E>(self, value: bool) -> Result<Seen, E> {
            Ok(Seen::Plain(value.into()))
        }
        fn visit_i64<E>(self, value: i64) -> Result<Seen, E> {
            Ok(Seen::Plain(value.into()))
        }
        fn visit_u64<E>(self, value: u64) -> Result<Seen, E> {
            Ok(Seen::Plain(value.into()))
        }
        fn visit_f64<E>(self, value: f64) -> Result<Seen, E> {
            Ok(Seen::Plain(value.into()))
        }
        fn visit_str<E>(self, value: &str) -> Result<Seen, E> {
            Ok(Seen::Plain(value.into()))
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen, A::Error> {
            let mut seen = Vec::new();
            while let Some(item) = items.next_element_seed(All)? {
                seen.push(item);
            }
            Ok(Seen::Items(seen))
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
            let mut seen = Vec::new();
            while let Some(name) = members.next_key::<String>()? {
                seen.push((name, members.next_value_seed(All)?));
            }
            Ok(Seen::Members(seen))
        }
    }
    fn once(seen: &Seen) -> bool {
        match seen {
            Seen::Plain(_) => true,
            Seen::Items(items) => items.iter().all(once),
            Seen::Members(members) => members.iter().enumerate().all(|(at, (name, member))| {
                once(member) && members.iter().skip(at + 1).all(|(other, _)| other != name)
            }),
        }
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    All.deserialize(&mut reader).is_ok_and(|seen| once(&seen))
}

fn is_within(part: &str, body: &str) -> bool {
    body.as_bytes().as_ptr_range().contains(&part.as_ptr()) && body.contains(part)
}

proptest! {
    #[test]
    fn a_message_keeps_its_bytes(members in vec(json(), 0..4), number in any::<i64>(), order in any::<bool>()) {
        let members: Vec<_> = members.iter().enumerate().map(|(at, member)| format!("\"p{at}\": {member}")).collect();
        let params = format!("{{ {} }}", members.join(" ,"));
        let body = if order {
            format!(r#"{{"params":{params},"jsonrpc":"2.0","id":{number},"method":"tools/call"}}"#)
        } else {
            format!(r#"{{"method":"tools/call","id":{number},"params":{params},"jsonrpc":"2.0"}}"#)
        };
        let read = read(body.as_bytes());
        let Ok(Message::Request { id, method, params: Some(found) }) = read else { panic!("{body}: {read:?}") };
        prop_assert_eq!((id.get(), method, found.get()), (&*number.to_string(), "tools/call", &*params));
        prop_assert!(is_within(found.get(), &body));
    }

    #[test]
    fn a_member_that_is_there_twice_is_found_wherever_it_is(value in json(), at in any::<prop::sample::Index>(), escaped in any::<bool>()) {
        let places: Vec<usize> = value.match_indices("\"m0\"").map(|(at, _)| at).collect();
        prop_assume!(!places.is_empty());
        let name = if escaped { r#""\u006d0""# } else { r#""m0""# };
        let mut doubled = value.clone();
        doubled.insert_str(*at.get(&places), &format!("{name}:7,"));
        let body = |value: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"v":{value}}}}}"#);
        prop_assert!(read(body(&value).as_bytes()).is_ok());
        prop_assert_eq!(read(body(&doubled).as_bytes()).unwrap_err(), FrameRefusal::NotJson);
    }

    #[test]
    fn whatever_is_read_has_one_reading(pieces in vec(select(vec![
        "{", "}", "[", "]", ":", ",", "\"jsonrpc\"", "\"2.0\"", "\"id\"", "1", "\"method\"", "\"m\"", "\"params\"", "{}",
        "\"result\"", "\"a\"", "\"\\u0061\"", " ", "\n", "null", "1e9999", "-", "\u{feff}",
    ]), 0..24), start in any::<bool>()) {
        let start = if start { r#"{"jsonrpc":"2.0","method":"m","params":{"a":1"# } else { "" };
        let body = format!("{start}{}", pieces.concat());
        if read(body.as_bytes()).is_ok() {
            prop_assert!(reads_once(&body), "{}", body);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in vec(any::<u8>(), 0..64)) {
        let _ = read(&bytes);
    }
}
