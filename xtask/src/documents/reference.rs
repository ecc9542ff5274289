//! The reference pages of the book name everything the code has: read from the sources, so that a page cannot fall
//! behind unseen.

use crate::tree::Tree;

/// The words of a source file that stand between these two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split(after).next()).collect()
}

/// Words that the page does not write in backticks.
fn missing<'w>(tree: &Tree, page: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let page = &tree.file(page).unwrap().text;
    words.into_iter().filter(|word| !page.contains(&format!("`{word}`"))).collect()
}

/// The part of a source file from one text to the next blank line at the left edge.
fn block<'t>(text: &'t str, start: &str) -> &'t str {
    let rest = text.split(start).nth(1).unwrap();
    rest.split("\n}\n").next().unwrap()
}

#[test]
fn every_entry_type_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let types = between(&tree.file("crates/ledger/src/event.rs").unwrap().text, "#[serde(rename = \"", "\"");
    assert!(types.len() > 30, "{types:?}");
    assert_eq!(missing(&tree, "docs/book/src/reference/entries.md", types), Vec::<&str>::new());
}

#[test]
fn every_refusal_code_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let source = &tree.file("crates/core/src/decision.rs").unwrap().text;
    let codes = between(block(source, "impl RefusalCode {"), " => \"", "\"");
    assert!(codes.len() > 10, "{codes:?}");
    assert_eq!(missing(&tree, "docs/book/src/reference/refusals.md", codes), Vec::<&str>::new());
}

#[test]
fn every_rule_of_the_verifier_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let source = &tree.file("crates/ledger/src/verify/fault.rs").unwrap().text;
    let lines = block(source, "\nrules! {").lines();
    let rules: Vec<&str> = lines.filter_map(|line| between(line, ", \"", "\"").first().copied()).collect();
    assert!(rules.len() > 20, "{rules:?}");
    assert_eq!(missing(&tree, "docs/book/src/guide/verify.md", rules), Vec::<&str>::new());
}

#[test]
fn every_key_of_an_http_target_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let mut keys = Vec::new();
    for (path, sections) in [
        ("crates/pep-http/src/config.rs", &["HttpSection", "LimitsSection"][..]),
        ("crates/pep/src/credential.rs", &["CredentialSection"][..]),
        ("crates/pep/src/tls.rs", &["ListenerTlsSection", "UpstreamTlsSection"][..]),
        (
            "crates/pep-http/src/config/operation.rs",
            &["OperationSection", "ResourceSection", "FactSection", "VariantSection"][..],
        ),
    ] {
        let text = &tree.file(path).unwrap().text;
        for section in sections {
            let fields = block(text, &format!("pub struct {section} {{"));
            keys.extend(
                between(fields, "pub ", ":").iter().map(|name| if *name == "kind" { "type" } else { name }),
            );
        }
    }
    assert!(keys.len() > 30, "{keys:?}");
    assert_eq!(missing(&tree, "docs/book/src/guide/http.md", keys), Vec::<&str>::new());
}

#[test]
fn every_key_of_an_mcp_target_and_every_operation_of_mcp_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let mut words = Vec::new();
    for (path, sections) in [
        ("crates/pep-mcp/src/config.rs", &["McpSection", "LimitsSection"][..]),
        ("crates/pep/src/credential.rs", &["CredentialSection"][..]),
        ("crates/pep-mcp/src/config/tool.rs", &["ToolSection"][..]),
    ] {
        let text = &tree.file(path).unwrap().text;
        for section in sections {
            words.extend(between(block(text, &format!("pub struct {section} {{")), "pub ", ":"));
        }
    }
    let source = &tree.file("crates/policy/src/mcp.rs").unwrap().text;
    words.extend(between(block(source, "pub const MCP_OPERATIONS"), "(\"", "\""));
    assert!(words.len() > 30, "{words:?}");
    assert_eq!(missing(&tree, "docs/book/src/guide/mcp.md", words), Vec::<&str>::new());
}

#[test]
fn every_key_of_the_configuration_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let text = &tree.file("crates/countersign/src/config.rs").unwrap().text;
    let mut keys = Vec::new();
    for section in ["GatewaySection", "ConsoleSection", "PolicySection", "PeopleSection", "LimitsSection"] {
        keys.extend(between(block(text, &format!("pub(crate) struct {section} {{")), "pub(crate) ", ":"));
    }
    assert!(keys.len() > 10, "{keys:?}");
    assert_eq!(missing(&tree, "docs/book/src/reference/configuration.md", keys), Vec::<&str>::new());
}

#[test]
fn every_annotation_stands_in_the_book() {
    let tree = Tree::read().unwrap();
    let words = ["@id", "@reason", "@gate", "@approvers", "@quorum", "@expires", "@valid_for", "@step_up"];
    let more = ["@justification", "@notify", "@distinct"];
    let source = &tree.file("crates/policy/src/annotation.rs").unwrap().text;
    for word in words.iter().chain(&more) {
        assert!(source.contains(word.trim_start_matches('@')), "{word} is gone from the code");
    }
    let page = &tree.file("docs/book/src/guide/policies.md").unwrap().text;
    let absent: Vec<_> = words.iter().chain(&more).filter(|word| !page.contains(**word)).collect();
    assert_eq!(absent, Vec::<&&str>::new());
}
