//! The words this wire uses are those policy knows.

use countersign_pep_mcp::config::McpSection;
use countersign_pep_mcp::{OPERATIONS, method};
use countersign_policy::{LANGUAGES, MCP_OPERATIONS};
use serde_json::json;
use std::{collections::BTreeSet, path::Path};

#[test]
fn operations_are_in_policies_with_their_classes() {
    assert_eq!(OPERATIONS, MCP_OPERATIONS);
}

#[test]
fn every_message_that_goes_on_is_one_of_them() {
    for (name, rule) in method::REQUESTS {
        if let method::Rule::Ask(operation) | method::Rule::Tools(operation) = rule {
            assert!(OPERATIONS.iter().any(|(known, _)| *known == operation), "{name}");
        }
    }
}

#[test]
fn what_texts_do_is_an_operation_of_in_policies_languages() {
    let section = json!({
        "name": "shop", "environment": "prod", "listen": "127.0.0.1:0", "upstream": "http://127.0.0.1:1/mcp",
        "tools": [
            {"name": "run", "shell": {"argument": "line"}},
            {"name": "apply", "kubernetes": {"object": "manifest", "always": "apply"}},
        ],
    });
    let target = serde_json::from_value::<McpSection>(section).unwrap().check(Path::new(".")).unwrap();
    let ours: BTreeSet<String> = target.text_operations().into_iter().map(|(name, _)| name).collect();
    let classes = countersign_core::Class::ALL;
    let in_policies = LANGUAGES.iter().flat_map(|language| {
        classes.iter().map(move |class| format!("{}.{}", language.name, class.as_str()))
    });
    assert_eq!(ours, in_policies.collect());
}
