//! Who may lift a gate.

use crate::world::*;
use countersign_core::{PersonId, decision::Gate};
use countersign_policy::{Bundle, VoteContext, VoteRefusal, Voter};
use std::collections::{BTreeMap, BTreeSet};

fn voter(number: u128, groups: &[&str]) -> Voter {
    Voter {
        person: person(number),
        groups: groups.iter().map(|name| group(name)).collect(),
        attributes: BTreeSet::new(),
    }
}

fn context(bundle_action: &countersign_core::Action) -> VoteContext {
    VoteContext::of(bundle_action, bundle_action.requester.side(), BTreeMap::new(), NOW)
}

fn gate_of(text: &str) -> (Bundle, Gate) {
    let gate = terms(text, &export()).gates.remove(0);
    (load(text), gate)
}

#[test]
fn approvers_may_vote_and_others_may_not() {
    let (bundle, gate) = gate_of(EXAMPLES);
    let context = context(&export());
    assert_eq!(bundle.may_vote(&voter(10, &["privacy"]), &gate, &context), Ok(()));
    assert_eq!(bundle.may_vote(&voter(10, &["sre", "privacy"]), &gate, &context), Ok(()));
    let refused = bundle.may_vote(&voter(10, &["sre"]), &gate, &context);
    assert_eq!(refused, Err(VoteRefusal::NotAnApprover(gate.name.clone())));
    assert_eq!(bundle.may_vote(&voter(10, &[]), &gate, &context), Err(VoteRefusal::NotAnApprover(gate.name)));
}

#[test]
fn people_can_be_named_as_approvers() {
    let text = format!(
        "@id(\"all\") permit (principal, action, resource);\n@id(\"g\") @gate(\"g\") @approvers(\"Person::\\\"{}\\\"\") forbid (principal, action, resource);",
        person(10)
    );
    let (bundle, gate) = gate_of(&text);
    assert_eq!(bundle.may_vote(&voter(10, &[]), &gate, &context(&export())), Ok(()));
    assert!(bundle.may_vote(&voter(11, &["privacy"]), &gate, &context(&export())).is_err());
}

#[test]
fn the_requesters_side_can_never_vote_even_when_a_policy_says_so() {
    // Named as approvers in person, in the right group, with a policy that tries to make an exception.
    let sides = [1, 2, 3].map(|number| format!("Person::\\\"{}\\\"", person(number))).join(", ");
    let text = format!(
        r#"@id("all") permit (principal, action, resource);
@id("g") @gate("g") @approvers("[Group::\"privacy\", {sides}]") forbid (principal, action, resource);
@id("only-side") forbid (principal, action == Action::"approve", resource) unless {{ resource.side.contains(principal) }};"#
    );
    let (bundle, gate) = gate_of(&text);
    for number in [1, 2, 3] {
        let refused = bundle.may_vote(&voter(number, &["privacy"]), &gate, &context(&export()));
        assert_eq!(
            refused,
            Err(VoteRefusal::RequesterSide),
            "owner, creator and the person acted for: {number}"
        );
    }
    let widened = format!("{text}\n@id(\"w\") permit (principal, action == Action::\"approve\", resource);");
    assert!(try_load(&widened).is_err());
}

#[test]
fn the_excluded_cannot_vote_and_hear_why() {
    let (bundle, gate) = gate_of(EXAMPLES);
    let mut context = context(&export());
    context.excluded.insert(person(10), "invited by the owner yesterday".into());
    let refused = bundle.may_vote(&voter(10, &["privacy"]), &gate, &context);
    assert_eq!(refused, Err(VoteRefusal::Excluded("invited by the owner yesterday".into())));
}

#[test]
fn a_policy_can_narrow_who_votes() {
    let text = format!(
        r#"{EXAMPLES}
@id("no-contractors") @reason("contractors do not decide about exports")
forbid (principal in Group::"security", action == Action::"approve", resource in Environment::"prod")
when {{ resource.gate == "pii-export" && resource.class == "export" && resource.operation == "exportCustomers" }};"#
    );
    let (bundle, gate) = gate_of(&text);
    let refused =
        bundle.may_vote(&voter(10, &["privacy", "security"]), &gate, &context(&export())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "policy forbids this vote: `no-contractors` (contractors do not decide about exports)"
    );
    assert_eq!(bundle.may_vote(&voter(10, &["privacy"]), &gate, &context(&export())), Ok(()));
}

#[test]
fn an_erroring_rule_about_votes_refuses() {
    let text = format!(
        "{EXAMPLES}@id(\"sum\") forbid (principal, action == Action::\"approve\", resource) when {{ context.now * 9223372036854775807 > 5 }};"
    );
    let (bundle, gate) = gate_of(&text);
    let refused = bundle.may_vote(&voter(10, &["privacy"]), &gate, &context(&export()));
    assert!(matches!(refused, Err(VoteRefusal::PolicyError(_))), "{refused:?}");
}

#[test]
fn a_context_that_makes_no_sense_refuses() {
    let (bundle, gate) = gate_of(EXAMPLES);
    let context = VoteContext { class: "exprot".into(), ..context(&export()) };
    let refused = bundle.may_vote(&voter(10, &["privacy"]), &gate, &context);
    assert!(matches!(refused, Err(VoteRefusal::PolicyError(_))), "{refused:?}");
}

#[test]
fn a_rule_about_actions_does_not_reach_into_voting() {
    let text = format!("{EXAMPLES}@id(\"w\") forbid (principal is Person, action, resource);");
    let (bundle, gate) = gate_of(&text);
    assert_eq!(bundle.may_vote(&voter(10, &["privacy"]), &gate, &context(&export())), Ok(()));
}

#[test]
fn a_vote_must_suit_the_gate_as_opened_and_as_it_is_now() {
    let (_, opened) = gate_of(EXAMPLES);
    let changed = load(&EXAMPLES.replace("privacy", "security"));
    let context = context(&export());
    assert!(changed.may_vote(&voter(10, &["privacy"]), &opened, &context).is_err());
    assert!(changed.may_vote(&voter(10, &["security"]), &opened, &context).is_err());
    assert_eq!(changed.may_vote(&voter(10, &["privacy", "security"]), &opened, &context), Ok(()));
    // A gate that policy dropped meanwhile is still lifted by the people it was opened for.
    let dropped = load("@id(\"all\") permit (principal, action, resource);");
    assert_eq!(dropped.may_vote(&voter(10, &["privacy"]), &opened, &context), Ok(()));
    assert!(dropped.may_vote(&voter(10, &["security"]), &opened, &context).is_err());
}

#[test]
fn who_else_may_decide_is_known() {
    let (bundle, gate) = gate_of(EXAMPLES);
    let people =
        [voter(1, &["privacy"]), voter(10, &["privacy"]), voter(11, &["sre"]), voter(12, &["privacy"])];
    let found: Vec<PersonId> = bundle.eligible(&people, &gate, &context(&export()));
    assert_eq!(found, [person(10), person(12)]);
}

const GLASS: &str = r#"@id("all") permit (principal, action, resource);
@id("g") @gate("g") @approvers("Group::\"privacy\"") @quorum("2") @break_glass("Group::\"security\"")
forbid (principal, action, resource);"#;

#[test]
fn only_those_whom_the_gate_names_may_break_its_glass() {
    let (bundle, gate) = gate_of(GLASS);
    let here = context(&export());
    assert_eq!(bundle.may_break_glass(&voter(10, &["security"]), &gate, &here), Ok(()));
    let refused = VoteRefusal::NotAnApprover(gate.name.clone());
    assert_eq!(bundle.may_break_glass(&voter(10, &["privacy"]), &gate, &here), Err(refused.clone()));
    assert_eq!(bundle.may_vote(&voter(10, &["security"]), &gate, &here), Err(refused));
    // Neither the requester's side nor those who are excluded otherwise, whatever group they are in.
    let owner = bundle.may_break_glass(&voter(1, &["security"]), &gate, &here);
    assert_eq!(owner, Err(VoteRefusal::RequesterSide));
    let mut near = here.clone();
    near.excluded.insert(person(10), "brought in".into());
    let excluded = bundle.may_break_glass(&voter(10, &["security"]), &gate, &near);
    assert_eq!(excluded, Err(VoteRefusal::Excluded("brought in".into())));
    // The bundle in force has the last word: without the annotation, the glass stays whole.
    let now = load(&GLASS.replace(r#" @break_glass("Group::\"security\"")"#, ""));
    let refused = Err(VoteRefusal::NoBreakGlass(gate.name.clone()));
    assert_eq!(now.may_break_glass(&voter(10, &["security"]), &gate, &here), refused);
    let before =
        terms(&GLASS.replace(r#" @break_glass("Group::\"security\"")"#, ""), &export()).gates.remove(0);
    assert_eq!(bundle.may_break_glass(&voter(10, &["security"]), &before, &here), refused);
    // A policy on votes narrows who breaks glass as well.
    let walled = format!("{GLASS}\n@id(\"w\") forbid (principal, action == Action::\"approve\", resource);");
    let refused = load(&walled).may_break_glass(&voter(10, &["security"]), &gate, &here);
    assert!(matches!(refused, Err(VoteRefusal::Forbidden(_))), "{refused:?}");
}

#[test]
fn one_gate_has_one_break_glass() {
    let other = format!(
        "{GLASS}\n{}",
        r#"@id("h") @gate("g") @approvers("Group::\"privacy\"") forbid (principal, action, resource);"#
    );
    let told = try_load(&other).unwrap_err();
    assert!(told.iter().any(|error| error.to_string().contains("another break-glass elsewhere")), "{told:?}");
    let unknown = GLASS.replace("security", "sre2");
    let told = try_load(&unknown).unwrap_err();
    assert!(told.iter().any(|error| error.to_string().contains("did you mean")), "{told:?}");
}

#[test]
fn a_stand_in_may_what_the_absent_may_and_no_more() {
    let (bundle, gate) = gate_of(EXAMPLES);
    let here = context(&export());
    let (stand_in, absent) = (voter(20, &[]), voter(10, &["privacy"]));
    assert_eq!(bundle.may_stand_in(&stand_in, &absent, &gate, &here), Ok(()));
    let stranger = bundle.may_stand_in(&stand_in, &voter(10, &["sre"]), &gate, &here);
    assert_eq!(stranger, Err(VoteRefusal::NotAnApprover(gate.name.clone())));
    for (stand_in, absent) in [(1, 10), (20, 1)] {
        let side =
            bundle.may_stand_in(&voter(stand_in, &["privacy"]), &voter(absent, &["privacy"]), &gate, &here);
        assert_eq!(side, Err(VoteRefusal::RequesterSide));
    }
    let mut near = here.clone();
    near.excluded.insert(person(20), "stands in for the owner".into());
    assert!(bundle.may_stand_in(&stand_in, &absent, &gate, &near).is_err());
    // What a file says of the one who comes holds, and of the one who is away.
    let text = format!(
        r#"{EXAMPLES}
@id("no-contractors") forbid (principal in Group::"security", action == Action::"approve", resource);"#
    );
    let (bundle, gate) = gate_of(&text);
    for (stand_in, absent, may) in [
        (&["security"][..], &["privacy"][..], false),
        (&[][..], &["privacy", "security"][..], false),
        (&[][..], &["privacy"][..], true),
    ] {
        let found = bundle.may_stand_in(&voter(20, stand_in), &voter(10, absent), &gate, &here);
        assert_eq!(found.is_ok(), may, "{found:?}");
    }
}

#[test]
fn a_gate_says_what_a_voters_sign_in_has_to_be() {
    let text = r#"@id("all") permit (principal, action, resource);
@id("g") @gate("g") @approvers("Group::\"privacy\"") @fresh("10m") @acr("urn:gold, urn:silver") @amr("hwk")
forbid (principal, action, resource);"#;
    let (_, gate) = gate_of(text);
    let terms = gate.sign_in.unwrap();
    assert_eq!((terms.within_s, terms.acr.len(), terms.amr.len()), (Some(600), 2, 1));
    let plain = gate_of(&text.replace(r#" @fresh("10m") @acr("urn:gold, urn:silver") @amr("hwk")"#, "")).1;
    assert_eq!(plain.sign_in, None);
    for wrong in [r#"@fresh("soon")"#, r#"@acr("a,,b")"#, r#"@amr("a b")"#] {
        let told = try_load(
            &text
                .replace(r#"@fresh("10m")"#, "")
                .replace(r#"@acr("urn:gold, urn:silver")"#, "")
                .replace(r#"@amr("hwk")"#, wrong),
        );
        assert!(told.is_err(), "{wrong}");
    }
    let other = format!(
        "{text}\n{}",
        r#"@id("h") @gate("g") @approvers("Group::\"privacy\"") forbid (principal, action, resource);"#
    );
    let told = try_load(&other).unwrap_err();
    assert!(told.iter().any(|error| error.to_string().contains("another sign-in elsewhere")), "{told:?}");
}

#[test]
fn a_rule_on_votes_may_ask_for_what_is_known_of_a_person() {
    let bundle = load(
        r#"@id("all") permit (principal, action, resource);
@id("g") @gate("g") @approvers("Group::\"privacy\"") @reason("r") forbid (principal, action, resource);
@id("in-the-eu") @reason("who decides here sits in the EU")
forbid (principal, action == Action::"approve", resource in Environment::"prod")
unless { principal.attributes.contains("country=DE") || principal.attributes.contains("country=FR") };"#,
    );
    let (_, gate) = gate_of(GLASS);
    let here = context(&export());
    let gate = Gate { name: "g".parse().unwrap(), ..gate };
    let from = |country: &str| Voter {
        attributes: [format!("country={country}"), "unit=ops".into()].into(),
        ..voter(10, &["privacy"])
    };
    assert_eq!(bundle.may_vote(&from("DE"), &gate, &here), Ok(()));
    let refused = VoteRefusal::Forbidden("`in-the-eu` (who decides here sits in the EU)".into());
    assert_eq!(bundle.may_vote(&from("US"), &gate, &here), Err(refused.clone()));
    assert_eq!(bundle.may_vote(&voter(10, &["privacy"]), &gate, &here), Err(refused));
}
