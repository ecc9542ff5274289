//! Names as they stand in a tree, and as they are written for people and policies.

use pg_query::{Node, NodeEnum};

/// A name of one to three parts: catalog and schema are optional.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) schema: Option<String>,
    pub(super) name: String,
}

impl Name {
    /// From the list of strings in which the grammar keeps the names of functions, types and operators.
    pub(super) fn of(parts: &[Node]) -> Option<Self> {
        let mut strings = strings(parts)?;
        let name = strings.pop()?;
        Some(Self { schema: strings.pop(), name })
    }

    pub(super) fn of_relation(relation: &pg_query::protobuf::RangeVar) -> Self {
        let schema = Some(relation.schemaname.clone()).filter(|schema| !schema.is_empty());
        Self { schema, name: relation.relname.clone() }
    }

    /// As it would be written, each part quoted where it has to be.
    pub(super) fn shown(&self) -> String {
        match &self.schema {
            Some(schema) => qualified(schema, &self.name),
            None => identifier(&self.name),
        }
    }
}

/// The strings of a list, when it holds nothing else.
pub(super) fn strings(parts: &[Node]) -> Option<Vec<String>> {
    parts.iter().map(string).collect()
}

/// A node that is a string.
pub(super) fn string(node: &Node) -> Option<String> {
    if let Some(NodeEnum::String(string)) = &node.node { Some(string.sval.clone()) } else { None }
}

/// `schema.name`, each part quoted where it has to be.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// An identifier as SQL would need it: quoted unless it is plain lower case, so that two names never look alike.
pub(super) fn identifier(name: &str) -> String {
    let mut characters = name.chars();
    let begins = characters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_');
    let goes_on = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || matches!(character, '_' | '$')
    };
    if begins && characters.all(goes_on) { name.into() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_are_written_differently() {
        for (name, shown) in [
            ("users", "users"),
            ("Users", "\"Users\""),
            ("a.b", "\"a.b\""),
            ("a\"b", "\"a\"\"b\""),
            ("1st", "\"1st\""),
            ("", "\"\""),
            ("naïve", "\"naïve\""),
        ] {
            assert_eq!(identifier(name), shown);
        }
    }
}
