//! An agent's name made of what a token says: `github/{repository}`.

use serde_json::{Map, Value};
use std::fmt;

/// A name with claims in braces; without braces it is the name itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Claim(String),
}

/// A text that is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("a name must not be empty")]
    Empty,
    #[error("`{0}` has a brace without its other one")]
    Braces(String),
    #[error("`{0}` has two claims with nothing between them")]
    Joined(String),
    #[error("`{0}` must begin with a text of its own, so that no token chooses the whole name")]
    Bare(String),
}

impl Template {
    pub fn new(text: impl Into<String>) -> Result<Self, TemplateError> {
        let text = text.into();
        let mut pieces = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or_else(|| TemplateError::Braces(text.clone()))?;
            if before.contains('}') || claim.is_empty() || claim.contains('{') {
                return Err(TemplateError::Braces(text.clone()));
            }
            if before.is_empty() && !pieces.is_empty() {
                return Err(TemplateError::Joined(text.clone()));
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Claim(claim.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(TemplateError::Braces(text));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        match pieces.first() {
            None => Err(TemplateError::Empty),
            Some(Piece::Claim(_)) => Err(TemplateError::Bare(text)),
            Some(Piece::Text(_)) => Ok(Self { text, pieces }),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name, where no claim is in it.
    pub fn literal(&self) -> Option<&str> {
        matches!(self.pieces.as_slice(), [Piece::Text(_)]).then_some(self.text.as_str())
    }

    /// The name for these claims; `None` where one is missing or holds what no name may hold.
    pub(crate) fn fill(&self, claims: &Map<String, Value>) -> Option<String> {
        let mut name = String::new();
        for (piece, next) in self.pieces.iter().zip(self.pieces.iter().skip(1).map(Some).chain([None])) {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Claim(claim) => {
                    let value = match super::claims::find(claims, claim)? {
                        Value::String(text) => text.clone(),
                        Value::Number(number) => number.to_string(),
                        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
                    };
                    // What ends a claim is not in it: no two tokens make one name of different claims.
                    let end = next.and_then(|next| match next {
                        Piece::Text(text) => text.chars().next(),
                        Piece::Claim(_) => None,
                    });
                    if !is_plain(&value) || end.is_some_and(|end| value.contains(end)) {
                        return None;
                    }
                    name.push_str(&value);
                }
            }
        }
        (name.chars().count() <= 100).then_some(name)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@:/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_takes_plain_claims_and_nothing_else() {
        let claims = json!({
            "repository": "acme/shop", "id": 7, "odd": "a b", "list": ["x", "y"], "empty": "",
            "kubernetes.io": {"namespace": "shop"}, "bidi": "a\u{202e}b",
        });
        let claims = claims.as_object().unwrap();
        for (template, name) in [
            ("deploy-bot", Some("deploy-bot")),
            ("github/{repository}", Some("github/acme/shop")),
            ("k/{/kubernetes.io/namespace}/x", Some("k/shop/x")),
            ("n{id}", Some("n7")),
            ("n{odd}", None),
            ("n{bidi}", None),
            ("n{empty}", None),
            ("n{list}", None),
            ("n{missing}", None),
            ("n/{repository}/{id}", None),
            ("n/{repository}:{id}", Some("n/acme/shop:7")),
        ] {
            assert_eq!(Template::new(template).unwrap().fill(claims).as_deref(), name, "{template}");
        }
        for bad in ["", "{sub}", "{sub}x", "a{", "a}", "a{}", "a{b{c}}", "a{b}{c}"] {
            assert!(Template::new(bad).is_err(), "{bad}");
        }
        assert_eq!(Template::new("bot").unwrap().literal(), Some("bot"));
        assert_eq!(Template::new("bot{a}").unwrap().literal(), None);
    }
}
