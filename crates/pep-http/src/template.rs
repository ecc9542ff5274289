//! Templates as people write them in a configuration: of paths (`/v1/customers/{customer}`) and of texts
//! (`Delete customer {customer}`). They are read once, when the configuration is; nothing is guessed later.

use std::{borrow::Cow, collections::BTreeSet};

/// A path with named places, segment by segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pub segments: Vec<Segment>,
}

/// One segment of a path template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    Literal(String),
    /// A name with what stands around it in the segment, as in `{customer}:export`.
    Named {
        before: String,
        name: String,
        after: String,
    },
}

impl PathTemplate {
    /// Reads a template; the error says what is wrong in one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or_else(|| format!("`{text}` does not begin with `/`"))?;
        if rest.contains("//") || rest.starts_with('/') {
            return Err(format!("`{text}` has an empty segment"));
        }
        let parts = if rest.is_empty() { Vec::new() } else { rest.split('/').collect() };
        let segments = parts.into_iter().map(|part| segment(text, part)).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        for name in segments.iter().filter_map(Segment::name) {
            if !names.insert(name) {
                return Err(format!("`{text}` names `{name}` twice"));
            }
        }
        Ok(Self { segments })
    }

    /// The names in it, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::name)
    }

    /// Whether some path could be read as either.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(one, two)| one.overlaps(two))
    }

    /// Whether it is at least as concrete everywhere, so that it is clear which of two overlapping ones is meant.
    pub fn is_within(&self, other: &Self) -> bool {
        self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(one, two)| one.is_within(two))
    }
}

impl Segment {
    /// What stands in the named place, when the segment fits.
    pub fn captured<'p>(&self, part: &'p str) -> Option<Option<&'p str>> {
        match self {
            Self::Literal(text) => (text == part).then_some(None),
            Self::Named { before, after, .. } => {
                let inner = part.strip_prefix(before.as_str())?.strip_suffix(after.as_str())?;
                (!inner.is_empty()).then_some(Some(inner))
            }
        }
    }

    /// The name of the place, if it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Named { name, .. } => Some(name),
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(two)) => one == two,
            (Self::Literal(text), named) | (named, Self::Literal(text)) => named.captured(text).is_some(),
            (
                Self::Named { before, after, .. },
                Self::Named { before: other_before, after: other_after, .. },
            ) => {
                (before.starts_with(other_before.as_str()) || other_before.starts_with(before.as_str()))
                    && (after.ends_with(other_after.as_str()) || other_after.ends_with(after.as_str()))
            }
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(two)) => one == two,
            (Self::Literal(text), named) => named.captured(text).is_some(),
            (Self::Named { .. }, Self::Literal(_)) => false,
            (
                Self::Named { before, after, .. },
                Self::Named { before: other_before, after: other_after, .. },
            ) => before.starts_with(other_before.as_str()) && after.ends_with(other_after.as_str()),
        }
    }
}

fn segment(whole: &str, part: &str) -> Result<Segment, String> {
    let Some((before, rest)) = part.split_once('{') else {
        let location = format!("/{part}");
        let plain = crate::path::read(&location).map_err(|refusal| format!("`{whole}`: {refusal}"))?;
        let decoded = plain.segments.into_iter().next().unwrap_or(Cow::Borrowed(""));
        return Ok(Segment::Literal(decoded.into_owned()));
    };
    let Some((name, after)) = rest.split_once('}') else {
        return Err(format!("`{whole}` has a `{{` without its `}}`"));
    };
    if !is_name(name) || after.contains(['{', '}']) || before.contains('}') {
        return Err(format!("`{whole}` needs one name of letters, digits and `_` in each `{{…}}` segment"));
    }
    Ok(Segment::Named { before: before.into(), name: name.into(), after: after.into() })
}

/// Whether policy can call something this: a letter or `_`, then letters, digits or `_`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A text with named places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl TextTemplate {
    /// Reads a template; the error says what is wrong in one sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, tail)) = after.split_once('}') else {
                return Err(format!("`{text}` has a `{{` without its `}}`"));
            };
            if !is_name(name) {
                return Err(format!("`{text}` names `{name}`, which is not a name"));
            }
            parts.push(Part::Text(before.into()));
            parts.push(Part::Name(name.into()));
            rest = tail;
        }
        parts.push(Part::Text(rest.into()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// The names it needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with each name replaced.
    pub fn fill<'v>(&self, value: impl Fn(&str) -> Cow<'v, str>) -> String {
        self.parts.iter().fold(String::with_capacity(96), |mut out, part| {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => out.push_str(&value(name)),
            }
            out
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_cannot_be_meant_are_refused() {
        for bad in ["v1", "/{a", "/{a}{b}", "/{}", "/{a b}", "/{a}/{a}", "/a//b", "/a/../b", "/a;b", "/%2F"] {
            assert!(PathTemplate::parse(bad).is_err(), "{bad}");
        }
        for bad in ["{", "{a b}", "x {} y"] {
            assert!(TextTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn overlapping_templates_are_known_and_the_concrete_one_is_within() {
        let parse = |text| PathTemplate::parse(text).unwrap();
        for (one, two, overlap, within) in [
            ("/a/{x}", "/a/{y}", true, true),
            ("/a/b", "/a/{x}", true, true),
            ("/a/{x}", "/a/b", true, false),
            ("/a/{x}/c", "/a/b/{y}", true, false),
            ("/a/{x}:export", "/a/{x}", true, true),
            ("/a/{x}:export", "/a/{x}:import", false, false),
            ("/a", "/a/b", false, false),
        ] {
            assert_eq!(parse(one).overlaps(&parse(two)), overlap, "{one} {two}");
            assert_eq!(parse(one).is_within(&parse(two)), within, "{one} {two}");
        }
    }
}
