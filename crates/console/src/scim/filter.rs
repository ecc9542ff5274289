//! Filters and paths (RFC 7644, sections 3.4.2.2 and 3.5.2), read by a small total parser: bounded in length and depth,
//! and whatever it does not know is refused rather than guessed.

use super::error::Fault;
use serde_json::{Map, Value};

/// The longest filter or path that is read, in bytes.
const LONGEST: usize = 2_048;
/// How deep parentheses and brackets may go.
const DEEPEST: usize = 8;
/// Attributes that are compared with their case; all others are not.
const EXACT: [&str; 2] = ["id", "externalId"];

/// What a resource has to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    Compare {
        attribute: Vec<String>,
        how: How,
        with: Value,
    },
    Present {
        attribute: Vec<String>,
    },
    /// One of the values of a list is like this.
    Among {
        attribute: Vec<String>,
        one: Box<Filter>,
    },
    Not(Box<Filter>),
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Equal,
    Unequal,
    Contains,
    Starts,
    Ends,
}

/// What an operation of a patch is about: `members[value eq "x"].display`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) attribute: Vec<String>,
    pub(super) of: Option<Filter>,
    /// The part of each value that was chosen.
    pub(super) part: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    OpenList,
    CloseList,
}

impl Filter {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut tokens = Tokens::of(text)?;
        let filter = tokens.either(0)?;
        tokens.over()?;
        Ok(filter)
    }

    /// Whether a resource, or one value of a list, is like this. What it does not have is like nothing.
    pub(super) fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Compare { attribute, how, with } => {
                let exact = attribute.first().is_some_and(|name| EXACT.contains(&name.as_str()));
                let plain =
                    |found: &'_ Value| found.as_object().and_then(|object| member(object, "value")).cloned();
                let fits = |found: &&Value| how.fits(plain(found).as_ref().unwrap_or(found), with, exact);
                let found = look(value, attribute);
                if *how == How::Unequal { found.iter().all(fits) } else { found.iter().any(fits) }
            }
            Self::Present { attribute } => look(value, attribute).iter().any(|found| !is_empty(found)),
            Self::Among { attribute, one } => look(value, attribute).into_iter().any(|found| one.fits(found)),
            Self::Not(filter) => !filter.fits(value),
            Self::And(left, right) => left.fits(value) && right.fits(value),
            Self::Or(left, right) => left.fits(value) || right.fits(value),
        }
    }

    /// The one value it asks for, where it is as plain as `type eq "work"`.
    pub(super) fn plain(&self) -> Option<(&str, &Value)> {
        match self {
            Self::Compare { attribute, how: How::Equal, with } => match attribute.as_slice() {
                [name] => Some((name, with)),
                _ => None,
            },
            Self::Compare { .. }
            | Self::Present { .. }
            | Self::Among { .. }
            | Self::Not(_)
            | Self::And(..)
            | Self::Or(..) => None,
        }
    }
}

impl How {
    fn fits(self, found: &Value, with: &Value, exact: bool) -> bool {
        // What is `true` may be written `"True"`: one of the large clients does.
        let text = |value: &Value| match value {
            Value::String(text) if exact => Some(text.clone()),
            Value::String(text) => Some(text.to_lowercase()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let (Some(found), Some(with)) = (text(found), text(with)) else {
            return (self == Self::Equal) == (found == with) && matches!(self, Self::Equal | Self::Unequal);
        };
        match self {
            Self::Equal => found == with,
            Self::Unequal => found != with,
            Self::Contains => found.contains(&with),
            Self::Starts => found.starts_with(&with),
            Self::Ends => found.ends_with(&with),
        }
    }
}

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut tokens = Tokens::of(text).map_err(|_| Fault::path())?;
        let attribute = tokens.word().and_then(|word| names(&word)).ok_or_else(Fault::path)?;
        let (mut of, mut part) = (None, None);
        if tokens.take(&Token::OpenList) {
            of = Some(tokens.either(1).map_err(|_| Fault::path())?);
            if !tokens.take(&Token::CloseList) {
                return Err(Fault::path());
            }
            if let Some(rest) = tokens.word() {
                let name = rest.strip_prefix('.').and_then(names).ok_or_else(Fault::path)?;
                let [name] = <[String; 1]>::try_from(name).map_err(|_| Fault::path())?;
                part = Some(name);
            }
        }
        tokens.over().map_err(|_| Fault::path())?;
        Ok(Self { attribute, of, part })
    }
}

/// What stands in an object under a name, whatever its case.
pub(super) fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Every value an attribute has: of a list, each of its own; of a list of objects without a part named, `value`.
fn look<'v>(value: &'v Value, attribute: &[String]) -> Vec<&'v Value> {
    let mut found = vec![value];
    for name in attribute {
        let inside = found.into_iter().filter_map(Value::as_object).filter_map(|object| member(object, name));
        found = inside
            .flat_map(|value| value.as_array().map_or_else(|| vec![value], |all| all.iter().collect()))
            .collect();
    }
    found
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `name.givenName`, with the schema's name before it or without. Of schemas that are not known here nothing is.
fn names(word: &str) -> Option<Vec<String>> {
    let own = ["urn:ietf:params:scim:schemas:core:2.0:User:", "urn:ietf:params:scim:schemas:core:2.0:Group:"];
    let mut rest = word;
    for schema in own {
        if let Some((before, after)) = word.split_at_checked(schema.len())
            && before.eq_ignore_ascii_case(schema)
        {
            rest = after;
        }
    }
    if rest.to_ascii_lowercase().starts_with("urn:") {
        return Some(vec![rest.to_owned()]);
    }
    let good = |name: &str| {
        let mut letters = name.bytes();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'$')
            && letters.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let parts: Vec<String> = rest.split('.').map(str::to_owned).collect();
    (parts.len() <= 2 && parts.iter().all(|part| good(part))).then_some(parts)
}

struct Tokens {
    all: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Tokens {
    fn of(text: &str) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            return Err(Fault::filter("it is longer than is read"));
        }
        let mut all = Vec::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let plain = match first {
                ' ' => None,
                '(' => Some(Token::Open),
                ')' => Some(Token::Close),
                '[' => Some(Token::OpenList),
                ']' => Some(Token::CloseList),
                '"' => {
                    let mut read = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                    let Some(Ok(text)) = read.next() else {
                        return Err(Fault::filter("a text in it does not end"));
                    };
                    let at = read.byte_offset();
                    all.push(Token::Text(text));
                    rest = rest.split_at_checked(at).map_or("", |(_, rest)| rest);
                    continue;
                }
                _ => {
                    let end = rest.find([' ', '(', ')', '[', ']', '"']).unwrap_or(rest.len());
                    let (word, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
                    all.push(Token::Word(word.to_owned()));
                    rest = after;
                    continue;
                }
            };
            all.extend(plain);
            rest = rest.split_at_checked(first.len_utf8()).map_or("", |(_, rest)| rest);
        }
        Ok(Self { all: all.into_iter().peekable() })
    }

    fn either(&mut self, depth: usize) -> Result<Filter, Fault> {
        let mut filter = self.both(depth)?;
        while self.keyword("or") {
            filter = Filter::Or(Box::new(filter), Box::new(self.both(depth)?));
        }
        Ok(filter)
    }

    fn both(&mut self, depth: usize) -> Result<Filter, Fault> {
        let mut filter = self.one(depth)?;
        while self.keyword("and") {
            filter = Filter::And(Box::new(filter), Box::new(self.one(depth)?));
        }
        Ok(filter)
    }

    fn one(&mut self, depth: usize) -> Result<Filter, Fault> {
        if depth >= DEEPEST {
            return Err(Fault::filter("it goes deeper than is read"));
        }
        if self.keyword("not") {
            if self.all.peek() != Some(&Token::Open) {
                return Err(Fault::filter("`not` stands before parentheses"));
            }
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take(&Token::Open) {
            let filter = self.either(depth + 1)?;
            return self.closed(&Token::Close).map(|()| filter);
        }
        let attribute = self.word().and_then(|word| names(&word));
        let attribute = attribute.ok_or_else(|| Fault::filter("an attribute is expected"))?;
        if self.take(&Token::OpenList) {
            let one = Box::new(self.either(depth + 1)?);
            return self.closed(&Token::CloseList).map(|()| Filter::Among { attribute, one });
        }
        let how = match self.word().unwrap_or_default().to_ascii_lowercase().as_str() {
            "pr" => return Ok(Filter::Present { attribute }),
            "eq" => How::Equal,
            "ne" => How::Unequal,
            "co" => How::Contains,
            "sw" => How::Starts,
            "ew" => How::Ends,
            _ => return Err(Fault::filter("`eq`, `ne`, `co`, `sw`, `ew` and `pr` are known")),
        };
        let with = match self.all.next() {
            Some(Token::Text(text)) => Value::String(text),
            Some(Token::Word(word)) => {
                let read: Option<Value> = serde_json::from_str(&word.to_ascii_lowercase()).ok();
                let read = read.filter(|value| !value.is_array() && !value.is_object());
                read.ok_or_else(|| {
                    Fault::filter("a value is a text in quotes, a number, `true`, `false` or `null`")
                })?
            }
            _ => return Err(Fault::filter("a value is expected")),
        };
        Ok(Filter::Compare { attribute, how, with })
    }

    fn keyword(&mut self, word: &str) -> bool {
        let is = |token: &Token| matches!(token, Token::Word(found) if found.eq_ignore_ascii_case(word));
        self.all.next_if(is).is_some()
    }

    fn take(&mut self, token: &Token) -> bool {
        self.all.next_if(|found| found == token).is_some()
    }

    fn closed(&mut self, token: &Token) -> Result<(), Fault> {
        if self.take(token) { Ok(()) } else { Err(Fault::filter("what is opened in it is not closed")) }
    }

    fn word(&mut self) -> Option<String> {
        match self.all.next_if(|token| matches!(token, Token::Word(_))) {
            Some(Token::Word(word)) => Some(word),
            Some(_) | None => None,
        }
    }

    fn over(&mut self) -> Result<(), Fault> {
        if self.all.next().is_none() { Ok(()) } else { Err(Fault::filter("something follows its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_filter_finds_what_it_says() {
        let ana = json!({"id": "per_A", "userName": "Ana@Example.com", "externalId": "x-1", "active": true,
            "name": {"givenName": "Ana"}, "emails": [{"type": "work", "value": "ana@example.com"}, {"type": "home"}]});
        for (filter, fits) in [
            (r#"userName eq "ana@example.com""#, true),
            (r#"username EQ "ANA@example.com""#, true),
            (r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "ana""#, true),
            (r#"externalId eq "X-1""#, false),
            (r#"id eq "per_A" and active eq true"#, true),
            (r#"active eq "True""#, true),
            (r#"active eq False or userName co "@example""#, true),
            (r#"not (userName ew ".com")"#, false),
            (r#"emails[type eq "work" and value sw "ana"]"#, true),
            (r#"emails[type eq "home" and value pr]"#, false),
            (r#"emails.value eq "ana@example.com""#, true),
            (r#"emails.value ne "ben@example.com""#, true),
            ("nickName pr", false),
            (r#"(userName pr) and (name.givenName eq "\u0041na")"#, true),
            ("displayName eq null", false),
        ] {
            assert_eq!(Filter::parse(filter).unwrap().fits(&ana), fits, "{filter}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = format!("{}id pr{}", "(".repeat(20), ")".repeat(20));
        for bad in [
            "",
            "id",
            "id eq",
            "eq \"x\"",
            "id eq \"x",
            "id gt 4",
            "id eq x y",
            "(id pr",
            "id pr)",
            "not id pr",
            "a.b.c pr",
            "id eq [1]",
            "emails[type eq \"work\"",
            "id pr and",
            "id eq \"x\" \"y\"",
            &deep,
            &format!("id eq \"{}\"", "x".repeat(3_000)),
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "members[",
            "members[value]",
            "members[value eq \"x\"]x",
            "a.b.c",
            "a b",
            "members[value pr].a.b",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
        let path = Path::parse(r#"emails[type eq "work"].value"#).unwrap();
        assert_eq!((path.part.as_deref(), path.of.is_some()), (Some("value"), true));
    }

    fn any_filter() -> impl Strategy<Value = (String, Filter)> {
        let leaf = ("[a-z][a-zA-Z0-9]{0,6}", "\\PC{0,8}", 0_usize..5).prop_map(|(name, text, how)| {
            let (word, how) = [
                ("eq", How::Equal),
                ("ne", How::Unequal),
                ("co", How::Contains),
                ("sw", How::Starts),
                ("ew", How::Ends),
            ][how];
            let name = format!("{name}0");
            let written = format!("{name} {word} {}", Value::String(text.clone()));
            (written, Filter::Compare { attribute: vec![name], how, with: Value::String(text) })
        });
        leaf.prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|((left, a), (right, b))| {
                    (format!("({left}) and ({right})"), Filter::And(Box::new(a), Box::new(b)))
                }),
                (inner.clone(), inner.clone()).prop_map(|((left, a), (right, b))| {
                    (format!("({left}) or ({right})"), Filter::Or(Box::new(a), Box::new(b)))
                }),
                inner.prop_map(|(text, a)| (format!("not ({text})"), Filter::Not(Box::new(a)))),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_as_it_was_meant((text, filter) in any_filter()) {
            prop_assert_eq!(Filter::parse(&text).unwrap(), filter);
        }

        #[test]
        fn anything_at_all_is_read_or_refused(text in "[\\(\\)\\[\\]\" .a-z]{0,60}|\\PC{0,60}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.fits(&json!({"a": [{"b": 1}, "c"], "id": null}));
            }
            let _ = Path::parse(&text);
        }
    }
}
