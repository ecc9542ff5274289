//! Explanations, as people read them.

use crate::world::*;

/// The explanation without the line that changes with every edit of the example policies.
fn why(text: &str, action: &countersign_core::Action) -> String {
    let explained = load(text).explain(action, NOW).to_string();
    let lines = explained.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("policy set ")).collect()
}

#[test]
fn a_review_names_its_gate_and_what_lifts_it() {
    assert_eq!(
        why(EXAMPLES, &export()),
        "review: crm/exportCustomers
permit `platform-agents` (rules.cedar:3:1)
  matches: customer-table customers
gate `pii-export` (rules.cedar:12:1)
  matches: customer-table customers
  reason: personal data leaves the system
  lifted by: 2 people from group `privacy`, each with at least a passkey vote
"
    );
}

#[test]
fn a_wall_says_that_nothing_lifts_it() {
    let mut action = list();
    action.resources[0].labels.insert("fedramp".into());
    assert_eq!(
        why(EXAMPLES, &action),
        "forbid: crm/listCustomers
policy `fedramp-wall` forbids this: production data stays inside the FedRAMP boundary
  remedy: no approval lifts this; ask for something the policy allows
permit `platform-agents` (rules.cedar:3:1)
  matches: customer-table customers
wall `fedramp-wall` (rules.cedar:7:1)
  matches: customer-table customers
  reason: production data stays inside the FedRAMP boundary
  lifted by: nothing: no approval lifts it
"
    );
}

#[test]
fn what_no_permit_covers_is_told_the_closest_ones() {
    let text = format!(
        r#"{EXAMPLES}
@id("sre-reads") permit (principal in Group::"sre", action in Action::"read", resource);
@id("orders") permit (principal, action in Action::"export", resource) when {{ resource.name == "orders" }};
@id("shop") permit (principal is Service, action in Action::"read", resource in Target::"shop");"#
    );
    let mut action = export();
    action.requester.groups.clear();
    assert_eq!(
        why(&text, &action),
        "forbid: crm/exportCustomers
no policy permits this agent to export (`crm/exportCustomers`) customer-table customers at `crm` in `prod`
  remedy: policy `orders` comes closest: its `when` or `unless` condition does not hold
gate `pii-export` (rules.cedar:12:1)
  matches: customer-table customers
  reason: personal data leaves the system
  lifted by: 2 people from group `privacy`, each with at least a passkey vote
does not apply: permit `orders` (rules.cedar:17:1)
  because its `when` or `unless` condition does not hold
does not apply: permit `platform-agents` (rules.cedar:3:1)
  because the caller is not in `Group::\"platform-agents\"`
does not apply: permit `sre-reads` (rules.cedar:16:1)
  because the caller is not in `Group::\"sre\"`
  because it is not about `crm/exportCustomers`
"
    );
}

#[test]
fn what_cannot_be_evaluated_says_so() {
    let mut action = export();
    action.target = target("other");
    let explained = load(EXAMPLES).explain(&action, NOW);
    assert_eq!(explained.decision, "forbid");
    assert_eq!(explained.errors, ["target `other` is not declared"]);
    assert!(explained.matched.is_empty() && explained.near_misses.is_empty());
}

#[test]
fn text_of_the_requester_cannot_break_the_explanation() {
    let mut action = export();
    action.resources = vec![resource("x\n  lifted by: nobody\u{202e}", &["pii"])];
    let told = why(EXAMPLES, &action);
    assert!(told.contains("matches: customer-table x⟨U+000A⟩  lifted by: nobody⟨U+202E⟩\n"), "{told}");
}

#[test]
fn an_explanation_is_data_too() {
    let value = serde_json::to_value(load(EXAMPLES).explain(&export(), NOW)).unwrap();
    assert_eq!(value["decision"], "review");
    assert_eq!(value["matched"][1]["policy"], "pii-export");
    assert_eq!(value["matched"][1]["kind"], "gate");
    assert_eq!(value["matched"][1]["position"]["line"], 12);
}
