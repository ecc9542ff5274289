//! The words this wire uses are those policy knows.

use countersign_pep_mcp::{OPERATIONS, method};
use countersign_policy::MCP_OPERATIONS;

#[test]
fn operations_are_policys_with_their_classes() {
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
