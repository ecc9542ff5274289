//! What is decided, rule by rule.

use crate::world::*;
use countersign_core::{
    Action, Assurance, Body, Class, Decision, Operation, PrincipalId, PrincipalKind, RefusalCode, Timestamp,
};
use countersign_policy::{Bundle, Source};
use serde_json::json;
use std::time::Duration;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

type Change = fn(&mut Action);

fn with(rules: &str) -> String {
    format!("{ALL}{rules}")
}

#[test]
#[rustfmt::skip]
fn the_documented_policies_behave_as_described() {
    let table: [(&str, Change, &str); 12] = [
        ("an export of personal data is reviewed",  |_| {},                                                    "review pii-export"),
        ("other exports are not",                   |a| a.resources = vec![resource("orders", &[])],           "permit platform-agents"),
        ("one labelled resource is enough",         |a| a.resources.push(resource("orders", &[])),             "review pii-export"),
        ("reads are permitted",                     |a| *a = list(),                                           "permit platform-agents"),
        ("reads of FedRAMP data are not",           |a| { *a = list(); a.resources[0].labels.insert("fedramp".into()); }, "wall fedramp-wall"),
        ("unless cleared",                          |a| { *a = list(); a.resources[0].labels.insert("fedramp".into()); a.requester.clearances.insert("fedramp".into()); }, "permit platform-agents"),
        ("strangers may do nothing",                |a| a.requester.groups.clear(),                            "not-permitted"),
        ("nothing is permitted in staging",         |a| { *a = list(); a.target = target("shop"); a.environment = environment("staging"); a.operation.name = None; }, "not-permitted"),
        ("an unrecognised export is an export",     |a| a.operation.name = Some("exportEverything".into()),    "review pii-export"),
        ("what is not understood is not a read",    |a| { *a = list(); a.operation = Operation { name: None, class: Class::Unknown }; a.resources[0].labels.insert("fedramp".into()); }, "permit platform-agents"),
        ("without resources the target is asked",   |a| a.resources.clear(),                                   "permit platform-agents"),
        ("services are judged by their groups too", |a| a.requester.kind = PrincipalKind::Service,             "review pii-export"),
    ];
    for (rule, change, want) in table {
        let mut action = export();
        change(&mut action);
        assert_eq!(decided(EXAMPLES, &action), want, "{rule}");
    }
}

#[test]
fn the_documented_gate_has_the_documented_terms() {
    let terms = terms(EXAMPLES, &export());
    let gate = &terms.gates[0];
    assert_eq!(gate.quorum.get(), 2);
    assert_eq!(gate.assurance, Assurance::Passkey);
    assert_eq!(gate.approvers.groups, [group("privacy")].into());
    assert_eq!(gate.reason, "personal data leaves the system");
    assert_eq!(terms.expires_in, Duration::from_mins(30));
    assert_eq!(terms.valid_for, Duration::from_mins(15));
    let policies: Vec<_> = terms.basis.policies.iter().map(ToString::to_string).collect();
    assert_eq!(policies, ["pii-export", "platform-agents"]);
}

#[test]
#[rustfmt::skip]
fn every_combination_of_permit_wall_and_gate_has_a_row() {
    let permit = r#"@id("p") permit (principal, action, resource);"#;
    let wall = r#"@id("w") forbid (principal, action, resource);"#;
    let gate = r#"@id("g") @gate("g") @approvers("Group::\"sre\"") forbid (principal, action, resource);"#;
    let second = r#"@id("h") @gate("h") @approvers("Group::\"privacy\"") forbid (principal, action, resource);"#;
    let elsewhere = r#"@id("e") permit (principal, action, resource in Environment::"staging");"#;
    for (rules, want) in [
        (vec![],                         "not-permitted"),
        (vec![permit],                   "permit p"),
        (vec![elsewhere],                "not-permitted"),
        (vec![wall],                     "wall w"),
        (vec![gate],                     "not-permitted"),
        (vec![permit, wall],             "wall w"),
        (vec![permit, gate],             "review g"),
        (vec![elsewhere, gate],          "not-permitted"),
        (vec![permit, gate, second],     "review g h"),
        (vec![permit, wall, gate],       "wall w"),
        (vec![permit, elsewhere],        "permit p"),
    ] {
        assert_eq!(decided(&rules.join("\n"), &export()), want, "{rules:?}");
    }
}

#[test]
fn a_permit_for_one_resource_is_none_for_the_other() {
    let text = r#"@id("orders") permit (principal, action, resource) when { resource.name == "orders" };"#;
    let mut action = list();
    action.resources = vec![resource("orders", &[])];
    assert_eq!(decided(text, &action), "permit orders");
    action.resources.push(resource("customers", &[]));
    assert_eq!(decided(text, &action), "not-permitted");
}

#[test]
fn adding_a_permit_never_opens_a_gate() {
    let broad = format!("{EXAMPLES}\n@id(\"broad\") permit (principal, action, resource);");
    assert_eq!(decided(&broad, &export()), "review pii-export");
}

#[test]
fn rules_of_one_gate_are_one_gate_with_the_strictest_terms() {
    let text = with(
        r#"
@id("big") @gate("data") @approvers("Group::\"privacy\"") @quorum("3") @expires("2h") @valid_for("5m") @reason("many rows")
@notify("privacy-chat")
forbid (principal, action in Action::"export", resource) when { context has http && context.http has rows && context.http.rows > 100 };
@id("any") @gate("data") @approvers("Group::\"privacy\"") @quorum("1") @expires("10m") @step_up("passkey") @reason("an export")
@notify("siem, privacy-chat") @justification("required") @distinct @drift("1.5x")
forbid (principal, action in Action::"export", resource);"#,
    );
    let mut action = export();
    let alone = terms(&text, &action);
    assert_eq!((alone.gates[0].quorum.get(), alone.gates[0].reason.as_str()), (1, "an export"));
    action.facts.insert("rows".into(), json!(101));
    let both = terms(&text, &action);
    assert_eq!(both.gates.len(), 1);
    let gate = &both.gates[0];
    assert_eq!(gate.quorum.get(), 3);
    assert_eq!(gate.assurance, Assurance::Passkey);
    assert!(gate.distinct && both.justification_required);
    assert_eq!(both.drift.0, 150, "the smallest; one that says nothing lets it double");
    assert_eq!(gate.policies.len(), 2);
    assert_eq!(gate.reason, "an export; many rows");
    assert_eq!((both.expires_in.as_secs(), both.valid_for.as_secs()), (600, 300));
    assert_eq!(both.notify, ["privacy-chat".to_owned(), "siem".to_owned()].into());
}

#[test]
fn a_gate_that_says_little_has_the_documented_defaults() {
    let terms = terms(
        &with(r#"@id("g") @gate("g") @approvers("Group::\"sre\"") forbid (principal, action, resource);"#),
        &export(),
    );
    let gate = &terms.gates[0];
    assert_eq!((gate.quorum.get(), gate.assurance, gate.distinct), (1, Assurance::Session, false));
    assert_eq!((terms.expires_in.as_secs(), terms.valid_for.as_secs()), (3600, 900));
    assert!(terms.notify.is_empty() && !terms.justification_required);
    assert_eq!(gate.reason, "policy asks for the approval `g`");
}

#[test]
fn an_erroring_forbid_refuses_instead_of_being_skipped() {
    let text = with(
        r#"@id("sum") forbid (principal, action in Action::"export", resource)
when { context has http && context.http has rows && context.http.rows * 2 > 100 };"#,
    );
    let mut action = export();
    action.facts.insert("rows".into(), json!(i64::MAX));
    let evaluation = load(&text).decide(&action, NOW);
    assert_eq!(word(&evaluation.decision), "policy-error");
    assert!(evaluation.trace.errors[0].contains("overflow"), "{:?}", evaluation.trace.errors);
    action.facts.insert("rows".into(), json!(1));
    assert_eq!(decided(&text, &action), "permit all");
}

#[test]
#[rustfmt::skip]
fn what_is_incomplete_or_contradictory_refuses() {
    let table: [(&str, Change, &str); 16] = [
        ("an undeclared target",       |a| a.target = target("other"),                      "target `other` is not declared"),
        ("another environment",        |a| a.environment = environment("staging"),          "target `crm` is in `prod`, and the action says `staging`"),
        ("another class",              |a| a.operation.class = Class::Read,                 "operation `crm/exportCustomers` is declared as `export`, and the action says `read`"),
        ("a fact of the wrong type",   |a| { a.facts.insert("rows".into(), json!("many")); }, "fact `rows` is not of its declared type `long`"),
        ("a fraction for a number",    |a| { a.facts.insert("rows".into(), json!(1.5)); },  "fact `rows` is not of its declared type `long`"),
        ("a null for a flag",          |a| { a.facts.insert("dry_run".into(), json!(null)); }, "fact `dry_run` is not of its declared type `bool`"),
        ("a mixed set",                |a| { a.facts.insert("columns".into(), json!(["a", 1])); }, "fact `columns` is not of its declared type `set-of-string`"),
        ("no method",                  |a| { a.facts.remove("method"); },                   "the action does not say its `method`"),
        ("an unknown wire with facts", |a| a.wire = "gopher".into(),                        "policy has no words for the facts of wire `gopher`"),
        ("an agent that is a person",  |a| a.requester.kind = PrincipalKind::Person,        "cannot be of kind `person`"),
        ("a person that is an agent",  |a| a.requester.principal = PrincipalId::Person(person(4)), "cannot be of kind `agent`"),
        ("a broken query",             |a| { a.facts.insert("query".into(), json!("a=1&%zz=2")); }, "the names in the query cannot be read without doubt"),
        ("a query with semicolons",    |a| { a.facts.insert("query".into(), json!("a=1;force")); }, "the names in the query cannot be read without doubt"),
        ("a query name that is no text", |a| { a.facts.insert("query".into(), json!("%ff=1")); }, "the names in the query cannot be read without doubt"),
        ("a flood of resources",       |a| a.resources = (0..257).map(|n| resource(&n.to_string(), &[])).collect(), "the action is about more than 256 resources at once"),
        ("one resource, two label sets", |a| a.resources.push(resource("customers", &[])),  "resource `customers` is named twice with different labels"),
    ];
    let bundle = load(ALL);
    for (rule, change, want) in table {
        let mut action = export();
        change(&mut action);
        let evaluation = bundle.decide(&action, NOW);
        let Decision::Forbid(refusal) = &evaluation.decision else { panic!("{rule}: {evaluation:?}") };
        assert_eq!(refusal.code, RefusalCode::PolicyError, "{rule}");
        assert!(refusal.reason.contains(want), "{rule}: {}", refusal.reason);
    }
}

#[test]
fn a_missing_ancestor_cannot_disarm_a_forbid() {
    // Whatever a wall asks about, from the resource up to its environment and for every group of the caller, is there.
    for condition in [
        r#"resource in Environment::"prod""#,
        r#"resource in Target::"crm""#,
        r#"resource.environment == Environment::"prod""#,
        r#"resource.target == Target::"crm""#,
        r#"resource.target in Environment::"prod""#,
        r#"resource.target.environment in Environment::"prod""#,
        r#"principal in Group::"platform-agents""#,
        r#"principal in [Group::"sre", Group::"platform-agents"]"#,
        r#"action in Action::"export""#,
        r#"action in [Action::"read", Action::"crm/exportCustomers"]"#,
        &format!(r#"principal.owners.contains(Person::"{}")"#, person(1)),
        &format!(r#"principal.on_behalf_of.contains(Person::"{}")"#, person(3)),
    ] {
        let text = with(&format!(r#"@id("w") forbid (principal, action, resource) when {{ {condition} }};"#));
        assert_eq!(decided(&text, &export()), "wall w", "{condition}");
        let mut bare = export();
        bare.resources.clear();
        assert_eq!(decided(&text, &bare), "wall w", "{condition}, without resources");
    }
}

#[test]
#[rustfmt::skip]
fn conditions_see_the_facts() {
    for (condition, matches) in [
        (r#"context.http.method == "POST""#, true),
        (r#"context.http.path like "/v1/*""#, true),
        ("context.http has host", false),
        (r#"context.http.query.contains("force")"#, true),
        (r#"context.http.query.contains("dry run")"#, true),
        (r#"context.http.query.contains("x")"#, false),
        (r#"action == Action::"crm/exportCustomers" && context.http has rows && context.http.rows > 10"#, true),
        (r#"action == Action::"crm/exportCustomers" && context.http has columns && context.http.columns.contains("ssn")"#, true),
        (r#"action == Action::"crm/exportCustomers" && context.http has format"#, false),
        ("context has body_bytes && context.body_bytes == 2", true),
        ("context.claimed_reason", true),
        (r#"context.wire == "http""#, true),
        ("context.hidden_characters", false),
    ] {
        let text = with(&format!(r#"@id("w") forbid (principal, action in Action::"export", resource) when {{ context has http && {condition} }};"#));
        let mut action = export();
        action.facts.extend([
            ("rows".to_owned(), json!(11)), ("columns".to_owned(), json!(["ssn"])), ("undeclared".to_owned(), json!({"x": 1.5})),
            ("query".to_owned(), json!("force=1&dry+run")),
        ]);
        action.claimed_reason = Some("monthly report".into());
        assert_eq!(decided(&text, &action), if matches { "wall w" } else { "permit all" }, "{condition}");
    }
}

#[test]
fn what_a_reviewer_would_not_see_can_be_gated() {
    let text = with(r#"@id("w") forbid (principal, action, resource) when { context.hidden_characters };"#);
    let bundle = load(&text);
    let changes: [Change; 5] = [
        |a| a.payload.body = Body::Bound("{\"note\": \"a\u{202e}b\"}".into()),
        |a| a.payload.body = Body::Bound(b"\xff\xfe".to_vec().into()),
        |a| a.claimed_reason = Some("zero\u{200b}width".into()),
        |a| a.resources[0].name = "cust\u{00ad}omers".into(),
        |a| _ = a.facts.insert("extra".into(), json!([{"x": "\u{1b}[31m"}])),
    ];
    assert_eq!(word(&bundle.decide(&export(), NOW).decision), "permit all");
    for (row, change) in changes.into_iter().enumerate() {
        let mut action = export();
        change(&mut action);
        assert_eq!(word(&bundle.decide(&action, NOW).decision), "wall w", "row {row}");
    }
}

#[test]
fn a_body_that_was_not_read_refuses_where_a_rule_looks_at_it() {
    let looks = with(
        r#"@id("w") forbid (principal, action in Action::"export", resource) when { context has body_bytes && context.body_bytes > 9 };"#,
    );
    let bundle = load(&looks);
    let unread = |mut action: Action| {
        action.payload.body = Body::Unbound;
        action
    };
    let action = unread(export());
    assert!(bundle.needs_body(&action));
    assert!(!bundle.needs_body(&export()), "it is there already");
    assert!(!bundle.needs_body(&unread(list())), "no rule about reads looks at it");
    assert_eq!(word(&bundle.decide(&action, NOW).decision), "policy-error");
    assert_eq!(decided(ALL, &action), "permit all");
}

#[test]
fn time_is_what_the_caller_says() {
    let text = with(r#"@id("night") forbid (principal, action, resource) when { context.now < 1000 };"#);
    let bundle = load(&text);
    assert_eq!(word(&bundle.decide(&export(), Timestamp(999_999_999)).decision), "wall night");
    assert_eq!(word(&bundle.decide(&export(), Timestamp(1_000_000_000)).decision), "permit all");
}

#[test]
fn resource_names_cannot_imitate_each_other() {
    let id = "crm/customer-table/a%2Fb";
    let text = format!(r#"@id("one") permit (principal, action, resource == Resource::"{id}");"#);
    let mut action = list();
    action.resources = vec![resource("a/b", &[])];
    assert_eq!(decided(&text, &action), "permit one");
    action.resources = vec![resource("a%2Fb", &[])];
    assert_eq!(decided(&text, &action), "not-permitted");
}

#[test]
fn refusals_say_what_and_why() {
    let mut action = list();
    action.resources[0].labels.insert("fedramp".into());
    let Decision::Forbid(wall) = load(EXAMPLES).decide(&action, NOW).decision else { panic!("no refusal") };
    assert_eq!(
        wall.reason,
        "policy `fedramp-wall` forbids this: production data stays inside the FedRAMP boundary"
    );
    assert_eq!(wall.remedy, "no approval lifts this; ask for something the policy allows");
    action.requester.groups.clear();
    action.resources[0].labels.clear();
    let Decision::Forbid(bare) = load(EXAMPLES).decide(&action, NOW).decision else { panic!("no refusal") };
    assert_eq!(
        bare.reason,
        "no policy permits this agent to read (`crm/listCustomers`) customer-table customers at `crm` in `prod`"
    );
    assert_eq!(
        bare.remedy,
        "policy `platform-agents` comes closest: the caller is not in `Group::\"platform-agents\"`"
    );
}

#[test]
fn labels_of_a_target_hold_where_an_action_names_no_resource() {
    let mut declared = vocabulary();
    declared.targets.get_mut(&target("crm")).unwrap().labels.insert("pii".into());
    let bundle = Bundle::load(vec![Source::new("rules.cedar", EXAMPLES)], &declared).unwrap();
    let mut action = export();
    action.resources.clear();
    assert_eq!(word(&bundle.decide(&action, NOW).decision), "review pii-export");
}

#[test]
fn permits_are_found_by_whom_their_scope_means() {
    use countersign_core::{PrincipalId, PrincipalKind};
    let requester = export().requester;
    let PrincipalId::Agent(agent) = requester.principal else {
        unreachable!("the world's caller is an agent")
    };
    let text = format!(
        r#"@id("any") permit (principal, action, resource);
@id("its-group") permit (principal in Group::"platform-agents", action, resource);
@id("other-group") permit (principal in Group::"privacy", action, resource);
@id("it") permit (principal == Agent::"{agent}", action, resource);
@id("kind") permit (principal is Agent, action, resource);
@id("other-kind") permit (principal is Service, action, resource);
@id("both") permit (principal is Agent in Group::"platform-agents", action, resource);
@id("wall") forbid (principal, action in Action::"administer", resource);"#
    );
    let bundle = load(&text);
    let of = |kind, groups: &[&str]| -> Vec<String> {
        let groups = groups.iter().map(|name| group(name)).collect();
        let found = bundle.permits_for(kind, requester.principal, &groups);
        found.iter().map(|rule| rule.id.to_string()).collect()
    };
    assert_eq!(of(PrincipalKind::Agent, &["platform-agents"]), ["any", "its-group", "it", "kind", "both"]);
    assert_eq!(of(PrincipalKind::Agent, &[]), ["any", "it", "kind"]);
    assert_eq!(of(PrincipalKind::Service, &[]), ["any", "other-kind"]);
}

/// What a token says decides as tags, in the form in which Amazon Bedrock `AgentCore` has them.
#[test]
fn claims_of_a_token_are_tags_of_its_principal() {
    let rules = r#"
@id("all") permit (principal in Group::"platform-agents", action, resource);
@id("main") forbid (principal, action, resource)
unless { principal.hasTag("ref") && principal.getTag("ref") like "refs/heads/*" };
"#;
    let said = |value: Option<&str>| {
        let mut action = list();
        action.requester.claims.extend(value.map(|value| ("ref".to_owned(), value.to_owned())));
        decided(rules, &action)
    };
    assert_eq!(said(Some("refs/heads/main")), "permit all");
    assert_eq!(said(Some("refs/tags/1")), "wall main");
    assert_eq!(said(None), "wall main");
    // Without asking first it would be an error, and no error lets anything through.
    let unasked = r#"@id("x") permit (principal, action, resource) when { principal.getTag("ref") == "x" };"#;
    let mistakes = told(&try_load(unasked).unwrap_err());
    assert!(mistakes.contains("ref"), "{mistakes}");
}
