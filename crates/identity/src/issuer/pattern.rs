//! What a claim's text may be: `*` stands for anything within one part, `**` for anything at all. Parts end at `/`
//! and at `:`, so that `repo:acme/*` is no repository of `acme` with a branch hidden in its name.

use std::fmt;

/// A text with wildcards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(String);

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern must not be empty")]
    Empty,
    #[error("`{0}` is longer than 256 characters")]
    Long(String),
    #[error("`{0}` has more than four wildcards")]
    Wild(String),
}

const LONGEST: usize = 256;
/// Matching tries every split; with few wildcards that stays cheap.
const WILDCARDS: usize = 4;

impl Pattern {
    pub fn new(text: impl Into<String>) -> Result<Self, PatternError> {
        let text = text.into();
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > LONGEST {
            return Err(PatternError::Long(text.chars().take(32).collect()));
        }
        let wildcards = text.replace("**", "*").matches('*').count();
        if wildcards > WILDCARDS { Err(PatternError::Wild(text)) } else { Ok(Self(text)) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it says how a text must begin. One that does not lets anybody in who can choose a beginning.
    pub fn is_anchored(&self) -> bool {
        !self.0.starts_with('*')
    }

    pub(crate) fn fits(&self, text: &str) -> bool {
        text.len() <= 4 * LONGEST && fits(&self.0, text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let Some((plain, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(plain) else { return false };
    let (rest, everything) = match rest.strip_prefix('*') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    for at in ends {
        let Some((taken, left)) = text.split_at_checked(at) else { return false };
        if !everything && taken.ends_with(['/', ':']) {
            return false;
        }
        if fits(rest, left) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stays_within_its_part() {
        for (pattern, text, fit) in [
            ("acme/shop", "acme/shop", true),
            ("acme/shop", "acme/shop2", false),
            ("acme/*", "acme/shop", true),
            ("acme/*", "acme/shop/x", false),
            ("acme/*", "acme-evil/shop", false),
            ("acme*", "acme-evil", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/shop:ref:refs/heads/main", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/x:ref:refs/heads/y:ref:refs/heads/main", false),
            ("repo:acme/*", "repo:acme/shop:pull_request", false),
            ("repo:acme/**", "repo:acme/shop:pull_request", true),
            ("spiffe://prod/ns/*/sa/deploy", "spiffe://prod/ns/shop/sa/deploy", true),
            ("spiffe://prod/ns/*/sa/deploy", "spiffe://prod/ns/a/sa/b/sa/deploy", false),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b:c", true),
            ("a*b*c", "abbc", true),
            ("a*b*c", "abb", false),
            ("refs/heads/*", "refs/heads/", true),
            ("Acme/*", "acme/x", false),
            ("ü*", "üü", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().fits(text), fit, "{pattern} {text}");
        }
        for bad in ["", "*a*b*c*d*e", &"x".repeat(257)] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
        assert!(!Pattern::new("*/shop").unwrap().is_anchored());
    }
}
