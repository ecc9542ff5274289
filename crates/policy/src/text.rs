//! The words of texts that tools are given: lines for a shell, objects of Kubernetes. What such a call does stands in its
//! language and class (`shell.delete`), and what is known of the text is `context.<language>`. SQL has words of its own. A
//! test of the MCP wire holds it to them.

use crate::{FactType, Vocabulary};
use countersign_core::Class;

/// A language, with all facts that policies may look at. All of them are there every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language {
    pub name: &'static str,
    pub facts: &'static [(&'static str, FactType)],
}

/// The languages there are. An operation of one is `<language>.<class>`.
pub const LANGUAGES: [Language; 2] = [
    Language {
        name: "shell",
        facts: &[
            ("classes", FactType::SetOfString),
            ("commands", FactType::Long),
            ("paths", FactType::SetOfString),
            ("programs", FactType::SetOfString),
            ("reasons", FactType::SetOfString),
            ("understood", FactType::Bool),
            ("writes", FactType::SetOfString),
        ],
    },
    Language {
        name: "kubernetes",
        facts: &[
            ("classes", FactType::SetOfString),
            ("kinds", FactType::SetOfString),
            ("names", FactType::SetOfString),
            ("namespaces", FactType::SetOfString),
            ("objects", FactType::Long),
            ("reasons", FactType::SetOfString),
            ("understood", FactType::Bool),
            ("verb", FactType::String),
        ],
    },
];

/// The language whose operation this is, with its class; `None` for any other name.
pub(crate) fn of(operation: &str) -> Option<(&'static Language, Class)> {
    let (name, class) = operation.split_once('.')?;
    Some((language(name)?, class.parse().ok()?))
}

/// Whether the name is a language's to give.
pub(crate) fn is_taken(operation: &str) -> bool {
    language(operation.split_once('.').map_or(operation, |(name, _)| name)).is_some()
}

/// The actions an operation stands in, of all targets: `shell.delete`, `shell`.
pub(crate) fn lineage(operation: &str) -> Vec<&str> {
    match (of(operation), operation.split_once('.')) {
        (Some(_), Some((language, _))) => vec![operation, language],
        (None, _) | (_, None) => Vec::new(),
    }
}

/// The languages that some target's operations are of.
pub(crate) fn spoken(vocabulary: &Vocabulary) -> impl Iterator<Item = &'static Language> {
    LANGUAGES.iter().filter(|language| {
        let mut all = vocabulary.operations.iter();
        all.any(|operation| {
            vocabulary.mcp.contains(&operation.target)
                && of(&operation.name).is_some_and(|(known, _)| known == *language)
        })
    })
}

/// Every action that only gathers others, with those it stands in.
pub(crate) fn actions(vocabulary: &Vocabulary) -> Vec<(String, Vec<&'static str>)> {
    let each = spoken(vocabulary).flat_map(|language| {
        let classes = Class::ALL.map(|class| {
            (format!("{}.{}", language.name, class.as_str()), vec![language.name, class.as_str()])
        });
        std::iter::once((language.name.to_owned(), Vec::new())).chain(classes)
    });
    each.collect()
}

fn language(name: &str) -> Option<&'static Language> {
    LANGUAGES.iter().find(|language| language.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_a_language_and_a_class_and_nothing_else() {
        for (name, want) in [
            ("shell.read", Some(Class::Read)),
            ("kubernetes.unknown", Some(Class::Unknown)),
            ("shell", None),
            ("shell.", None),
            ("shell.reads", None),
            ("shell.read.more", None),
            ("bash.read", None),
        ] {
            assert_eq!(of(name).map(|(_, class)| class), want, "{name}");
        }
        assert_eq!(lineage("shell.read"), ["shell.read", "shell"]);
        assert!(is_taken("shell") && is_taken("shell.x") && !is_taken("shellac"));
    }
}
