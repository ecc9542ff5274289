//! Where in the file a key stands, so that a mistake in its value names file, line and column.

use crate::config::Mistake;
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, path::Path};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

/// A file's keys and where they stand, and which of them the environment overrides.
pub(super) struct Places<'t> {
    path: &'t Path,
    text: &'t str,
    keys: Spanned<DeTable<'t>>,
    overridden: BTreeMap<String, String>,
}

impl<'t> Places<'t> {
    /// Reads the text; whatever is no TOML is told, all of it.
    pub(super) fn of(path: &'t Path, text: &'t str) -> Result<Self, Vec<Mistake>> {
        let (keys, errors) = DeTable::parse_recoverable(text);
        let places = Self { path, text, keys, overridden: BTreeMap::new() };
        if errors.is_empty() {
            return Ok(places);
        }
        let told = errors.iter().map(|error| Mistake {
            at: Some(
                error.span().map_or_else(|| path.display().to_string(), |span| places.position(span.start)),
            ),
            ..Mistake::new("", error.message(), "see `countersign init` for a commented example")
        });
        Err(told.collect())
    }

    /// From now on this key's value comes from the environment.
    pub(super) fn override_with(&mut self, key: String, variable: String) {
        self.overridden.insert(key, variable);
    }

    /// Where the value stands that keeps a section from being read, if it is for this reason that it cannot be.
    pub(super) fn of_value<T: DeserializeOwned>(
        &self,
        section: &str,
        item: Option<usize>,
        why: &str,
    ) -> Option<String> {
        let value = step(self.keys.get_ref(), section)?.1;
        let value = match (item, value.get_ref()) {
            (Some(index), DeValue::Array(items)) => items.get(index)?,
            (Some(_) | None, _) => value,
        };
        let error = T::deserialize(ValueDeserializer::from(value.clone())).err()?;
        error.span().filter(|_| error.message() == why).map(|span| self.position(span.start))
    }

    /// Says of a mistake where its key stands, or the nearest around it that is there.
    pub(super) fn locate(&self, mistake: Mistake) -> Mistake {
        if mistake.at.is_some() {
            return mistake;
        }
        let at = match self.variable(&mistake.place) {
            Some(variable) => Some(format!("environment variable `{variable}`")),
            None => self.offset(&mistake).map(|offset| self.position(offset)),
        };
        Mistake { at, ..mistake }
    }

    pub(super) fn is_overridden(&self, key: &str) -> bool {
        self.variable(key).is_some()
    }

    fn variable(&self, place: &str) -> Option<&str> {
        let found = self.overridden.iter().find(|(key, _)| rest_after(place, key).is_some());
        found.map(|(_, variable)| variable.as_str())
    }

    fn offset(&self, mistake: &Mistake) -> Option<usize> {
        let (key, value, rest) = step(self.keys.get_ref(), &mistake.place)?;
        // Targets may share a name by mistake: which one it is about is known better than by its name.
        if let (Some(index), DeValue::Array(items)) = (mistake.item, value.get_ref()) {
            let item = items.get(index)?;
            let rest = named(item, rest).unwrap_or_else(|| after_segment(rest));
            return Some(within(item.get_ref(), rest).unwrap_or(item.span().start));
        }
        Some(within(value.get_ref(), rest).unwrap_or(key))
    }

    fn position(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// Where the deepest key of a path stands that is there.
fn within(value: &DeValue<'_>, path: &str) -> Option<usize> {
    match value {
        DeValue::Table(table) => {
            let (key, value, rest) = step(table, path)?;
            Some(within(value.get_ref(), rest).unwrap_or(key))
        }
        DeValue::Array(items) => {
            let found = items.iter().enumerate().find_map(|(index, item)| {
                let rest = named(item, path)
                    .or_else(|| rest_after(path, &format!("[{index}]")))
                    .or_else(|| rest_after(path, &index.to_string()))?;
                Some((item, rest))
            });
            match found {
                Some((item, rest)) => Some(within(item.get_ref(), rest).unwrap_or(item.span().start)),
                // Said of one of them, and not which: the first that has the key.
                None => items.iter().find_map(|item| within(item.get_ref(), path)),
            }
        }
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => None,
    }
}

/// The longest key of a table that a path begins with: where it stands, its value, and the rest of the path.
fn step<'v, 'p, 't>(
    table: &'v DeTable<'t>,
    path: &'p str,
) -> Option<(usize, &'v Spanned<DeValue<'t>>, &'p str)> {
    let found = table.iter().filter_map(|(key, value)| {
        rest_after(path, key.get_ref()).map(|rest| (key.span().start, value, rest))
    });
    found.min_by_key(|(_, _, rest)| rest.len())
}

/// The rest of a path after an item that it names by the item's own `name`.
fn named<'p>(item: &Spanned<DeValue<'_>>, path: &'p str) -> Option<&'p str> {
    let DeValue::Table(table) = item.get_ref() else { return None };
    let name = table.iter().find(|(key, _)| key.get_ref() == "name")?.1;
    let DeValue::String(name) = name.get_ref() else { return None };
    rest_after(path, name)
}

fn rest_after<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(key).filter(|_| !key.is_empty())?;
    match rest.strip_prefix('.') {
        Some(rest) => Some(rest),
        None if rest.is_empty() || rest.starts_with('[') => Some(rest),
        None => None,
    }
}

fn after_segment(path: &str) -> &str {
    path.split_once('.').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"[console]
listen = "x"
[[http]]
name = "one"
upstream = "a"
credential = { profile = "p", header = "h" }
[[http.operations]]
name = "readThings"
path = "/x"
[[http.operations]]
name = "b.c"
path = "/y"
[[http]]
environment = "prod"
[[http]]
name = "one"
upstream = "c"
"#;

    #[test]
    fn a_key_is_found_where_it_stands_and_a_missing_one_near_by() {
        let path = Path::new("f.toml");
        let places = Places::of(path, TEXT).unwrap();
        for (place, item, position) in [
            ("console", None, "1:2"),
            ("console.listen", None, "2:1"),
            ("console.url", None, "1:2"),
            ("http", None, "3:3"),
            ("http.one", None, "3:1"),
            ("http.one.upstream", None, "5:1"),
            ("http.one.upstream", Some(2), "17:1"),
            ("http.one.credential.header", None, "6:31"),
            ("http.one.operations[1].path", None, "12:1"),
            ("http.one.operations.readThings", None, "7:1"),
            ("http.one.operations.b.c.path", None, "12:1"),
            ("http.one.operations.b.c.method", None, "10:1"),
            ("http.one.operations.path", None, "9:1"),
            ("http.1.environment", Some(1), "14:1"),
            ("http.1.environment", None, "14:1"),
        ] {
            let mistake = Mistake { item, ..Mistake::new(place, "", "") };
            assert_eq!(places.locate(mistake).at.as_deref(), Some(&*format!("f.toml:{position}")), "{place}");
        }
        assert_eq!(places.locate(Mistake::new("limits.keep", "", "")).at, None);
    }

    #[test]
    fn what_the_environment_sets_is_not_looked_for_in_the_file() {
        let mut places = Places::of(Path::new("f.toml"), TEXT).unwrap();
        places.override_with("console.listen".into(), "COUNTERSIGN__CONSOLE__LISTEN".into());
        let told = places.locate(Mistake::new("console.listen", "", "")).at.unwrap();
        assert!(told.contains("COUNTERSIGN__CONSOLE__LISTEN"), "{told}");
    }

    #[test]
    fn every_line_that_is_no_toml_is_told() {
        let told = Places::of(Path::new("f.toml"), "a = \n[b]\nc = 1\nd = @\n").err().unwrap();
        let at: Vec<_> = told.iter().map(|mistake| mistake.at.as_deref().unwrap()).collect();
        assert_eq!(at.len(), 2, "{told:?}");
        assert!(at[0].starts_with("f.toml:1:") && at[1].starts_with("f.toml:4:"), "{at:?}");
    }
}
