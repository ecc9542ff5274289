//! Actions of the MCP wire: a tool stands in its class, its server and the root; its arguments are `context.input`.

use crate::world::*;
use countersign_core::{Action, Class, Operation, Resource};
use countersign_policy::{Bundle, DeclaredOperation, FactType, MCP_OPERATIONS, Source, Vocabulary};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const ALL: &str = "@id(\"all\") permit (principal, action, resource);\n";

fn with_mcp() -> Vocabulary {
    let mut vocabulary = vocabulary();
    vocabulary.operations.retain(|operation| operation.target != target("crm"));
    let declared = MCP_OPERATIONS.map(|(name, class)| DeclaredOperation {
        target: target("crm"),
        name: name.into(),
        class,
        facts: BTreeMap::new(),
    });
    vocabulary.operations.extend(declared);
    vocabulary.operations.push(DeclaredOperation {
        target: target("crm"),
        name: "delete_rows".into(),
        class: Class::Delete,
        facts: [("table".to_owned(), FactType::String), ("count".to_owned(), FactType::Long)].into(),
    });
    vocabulary.mcp.insert(target("crm"));
    vocabulary
}

fn bundle(rules: &str) -> Bundle {
    Bundle::load(vec![Source::new("rules.cedar", rules)], &with_mcp())
        .unwrap_or_else(|errors| panic!("{}", told(&errors)))
}

fn decided(rules: &str, action: &Action) -> String {
    word(&bundle(rules).decide(action, NOW).decision)
}

fn call(operation: &str, class: Class, tool: &str, input: &Value) -> Action {
    let facts = json!({
        "method": "tools/call", "server": "crm", "tool": tool, "definition": "sha256:0", "hints": ["destructive"],
        "flags": [], "standing": "accepted", "input": input,
    });
    Action {
        wire: "mcp".into(),
        operation: Operation { name: Some(operation.into()), class },
        resources: vec![Resource {
            kind: "tool".into(),
            name: tool.into(),
            labels: std::collections::BTreeSet::new(),
        }],
        facts: facts.as_object().unwrap().clone(),
        ..export()
    }
}

/// A request that a tool of `crm` makes to another target, as `api` declares it.
#[test]
#[rustfmt::skip]
fn a_request_of_a_tool_stands_in_the_very_operation_it_is() {
    let mut vocabulary = with_mcp();
    let there = vocabulary.targets.get(&target("crm")).unwrap().clone();
    vocabulary.targets.insert(target("api"), there);
    let facts: BTreeMap<String, FactType> = [("value".to_owned(), FactType::String)].into();
    let declared = |of: &str, name: &str| DeclaredOperation {
        target: target(of), name: name.into(), class: Class::Configure, facts: facts.clone(),
    };
    vocabulary.operations.extend([declared("api", "set"), declared("crm", "api/set")]);
    let request = |told: Value| {
        let mut action = call("api/set", Class::Configure, "http_request", &json!({"value": 7}));
        action.facts.insert("http".into(), told);
        action
    };
    let decided = |rules: &str, action: &Action| {
        let bundle = Bundle::load(vec![Source::new("rules.cedar", rules)], &vocabulary);
        word(&bundle.unwrap_or_else(|errors| panic!("{}", told(&errors))).decide(action, NOW).decision)
    };
    let told = json!({"method": "PUT", "path": "/x", "query": "", "host": "h", "value": "1"});
    for (scope, condition, want) in [
        (r#"action == Action::"crm/api/set""#, "true", "permit"),
        (r#"action in Action::"api/set""#, r#"context has http && context.http has value && context.http.value == "1""#, "permit"),
        (r#"action in Action::"api/set""#, r#"context has http && context.http has value && context.http.value == "2""#, "not-permitted"),
        (r#"action in Action::"configure""#, r#"context has mcp && context.mcp.tool == "http_request""#, "permit"),
        (r#"action in Action::"mcp/crm""#, r#"context has http && context.http.method == "PUT""#, "permit"),
        (r#"action in Action::"mcp.tool""#, "true", "permit"),
        (r#"action == Action::"api/set""#, "true", "not-permitted"),
    ] {
        let rules = format!("@id(\"r\") permit (principal, {scope}, resource) when {{ {condition} }};");
        assert!(decided(&rules, &request(told.clone())).starts_with(want), "{rules}");
    }
    // One that does not say what is asked for is decided on by nobody.
    let mut silent = request(told);
    silent.facts.remove("http");
    assert!(decided(ALL, &silent).starts_with("policy-error"));
    // A tool that is only called so is none.
    vocabulary.operations.pop();
    vocabulary.operations.push(DeclaredOperation { class: Class::Read, ..declared("crm", "api/set") });
    let wrong = Bundle::load(vec![Source::new("rules.cedar", ALL)], &vocabulary).unwrap_err();
    assert!(wrong.iter().any(|error| error.to_string().contains("named like a request to `api`")));
}

#[test]
#[rustfmt::skip]
fn a_tool_stands_in_its_class_its_server_and_the_root() {
    let wall = |scope: &str| format!("{ALL}@id(\"w\") forbid (principal, action {scope}, resource);");
    let delete = call("delete_rows", Class::Delete, "delete_rows", &json!({}));
    let undeclared = call("mcp.tool", Class::Unknown, "wipe", &json!({}));
    for (scope, of_delete, of_undeclared) in [
        ("== Action::\"crm/delete_rows\"", "wall w",     "permit all"),
        ("== Action::\"crm/mcp.tool\"",    "permit all", "wall w"),
        ("in Action::\"delete\"",          "wall w",     "permit all"),
        ("in Action::\"unknown\"",         "permit all", "wall w"),
        ("in Action::\"mcp.tool\"",        "wall w",     "wall w"),
        ("in Action::\"mcp/crm\"",         "wall w",     "wall w"),
        ("in Action::\"mcp\"",             "wall w",     "wall w"),
        ("in Action::\"mcp.list\"",        "permit all", "permit all"),
        ("in Action::\"read\"",            "permit all", "permit all"),
    ] {
        assert_eq!(decided(&wall(scope), &delete), of_delete, "{scope}");
        assert_eq!(decided(&wall(scope), &undeclared), of_undeclared, "{scope}");
    }
}

#[test]
fn rules_look_at_arguments_and_one_of_another_type_refuses() {
    let rules = format!(
        "{ALL}@id(\"many\") forbid (principal, action == Action::\"crm/delete_rows\", resource)
           when {{ context has input && context.input has count && context.input.count > 10 }};
         @id(\"warned\") forbid (principal, action in Action::\"mcp.tool\", resource)
           when {{ context has mcp && context.mcp.hints.contains(\"open-world\") }};"
    );
    let delete = |input: Value| call("delete_rows", Class::Delete, "delete_rows", &input);
    assert_eq!(decided(&rules, &delete(json!({"count": 11}))), "wall many");
    assert_eq!(decided(&rules, &delete(json!({"count": 10}))), "permit all");
    assert_eq!(decided(&rules, &delete(json!({"count": "11"}))), "policy-error");
    assert_eq!(decided(&rules, &delete(json!({"count": 1e3}))), "policy-error");
    let mut open = delete(json!({}));
    open.facts.insert("hints".into(), json!(["open-world"]));
    assert_eq!(decided(&rules, &open), "wall warned");
}

/// A tool that was given SQL: rows of `users` go into `summary`.
fn sql(change: impl FnOnce(&mut Map<String, Value>)) -> Action {
    let mut action = call("sql.insert", Class::Write, "run_sql", &json!({}));
    let named = |name: &str, label: &str| Resource {
        kind: "table".into(),
        name: name.into(),
        labels: [label.to_owned()].into(),
    };
    action.resources.splice(0..0, [named("public.summary", "fedramp"), named("public.users", "pii")]);
    let mut told = sql_facts();
    let effects = json!([
        { "operation": "sql.insert", "resources": [0, 2] },
        { "operation": "sql.read.sensitive", "resources": [1] },
    ]);
    told.insert("effects".into(), effects);
    change(&mut told);
    action.facts.insert("sql".into(), Value::Object(told));
    action
}

#[test]
#[rustfmt::skip]
fn what_a_tools_sql_does_stands_in_sql_and_in_its_server() {
    let bundle = |rules: &str| {
        let mut vocabulary = with_mcp();
        vocabulary.operations.extend(sql_operations("crm"));
        Bundle::load(vec![Source::new("rules.cedar", rules)], &vocabulary).unwrap_or_else(|errors| panic!("{}", told(&errors)))
    };
    let decided = |rules: &str, action: &Action| word(&bundle(rules).decide(action, NOW).decision);
    let wall = |rest: &str| format!("{ALL}@id(\"w\") forbid (principal, action {rest};");
    for (rest, want) in [
        ("== Action::\"crm/sql.insert\", resource)", "wall w"),
        ("in Action::\"sql.insert\", resource)", "wall w"),
        // Every one of its effects is asked about.
        ("in Action::\"sql.read\", resource)", "wall w"),
        ("in Action::\"write\", resource)", "wall w"),
        ("in Action::\"mcp.tool\", resource)", "wall w"),
        ("in Action::\"mcp/crm\", resource)", "wall w"),
        ("in Action::\"sql.delete\", resource)", "permit all"),
        ("in Action::\"unknown\", resource)", "permit all"),
        // Each with its own resources.
        ("in Action::\"sql.read\", resource) when { resource.labels.contains(\"fedramp\") }", "permit all"),
        ("in Action::\"sql\", resource) when { context has sql && context has mcp && context.mcp.tool == \"run_sql\" && resource.kind == \"tool\" }", "wall w"),
    ] {
        assert_eq!(decided(&wall(rest), &sql(|_| {})), want, "{rest}");
    }
    for name in sql_facts().keys() {
        assert_eq!(decided(ALL, &sql(|told| drop(told.remove(name)))), "policy-error", "{name}");
    }
    let mut unsaid = sql(|_| {});
    unsaid.facts.remove("sql");
    assert_eq!(decided(ALL, &unsaid), "policy-error");
    let unnamed = json!([{ "operation": "sql.insert", "resources": [0, 1] }]);
    assert_eq!(decided(ALL, &sql(|told| drop(told.insert("effects".into(), unnamed)))), "policy-error");
}

#[test]
fn an_answer_is_decided_on_by_the_call_in_which_it_was_asked_for() {
    let rules = format!(
        "{ALL}@id(\"w\") forbid (principal, action in Action::\"mcp.answer\", resource)
           when {{ context has mcp && context.mcp.tool == \"wipe\" && context.mcp.asked_during == \"tools/call\" }};"
    );
    let answer = |tool: &str, during: Option<&str>| {
        let mut action = call("mcp.answer", Class::Write, tool, &json!({}));
        action.facts.extend(during.map(|during| ("asked_during".to_owned(), during.into())));
        action
    };
    assert_eq!(decided(&rules, &answer("wipe", Some("tools/call"))), "wall w");
    assert_eq!(decided(&rules, &answer("look", Some("tools/call"))), "permit all");
    assert_eq!(decided(&rules, &answer("wipe", None)), "permit all", "as actions were before");
}

#[test]
fn what_is_missing_or_of_another_wire_refuses() {
    for name in ["method", "server", "tool", "definition", "hints", "flags", "standing", "input"] {
        let mut action = call("delete_rows", Class::Delete, "delete_rows", &json!({}));
        action.facts.remove(name);
        assert_eq!(decided(ALL, &action), "policy-error", "{name}");
    }
    let mut action = call("delete_rows", Class::Delete, "delete_rows", &json!({}));
    action.wire = "http".into();
    assert_eq!(decided(ALL, &action), "policy-error");
}

#[test]
#[rustfmt::skip]
fn what_could_be_permitted_with_some_arguments_is_possible_and_what_could_with_none_is_not() {
    let delete = call("delete_rows", Class::Delete, "delete_rows", &json!({}));
    let own = |effect: &str, id: &str, when: &str| {
        format!("@id(\"{id}\") {effect} (principal, action == Action::\"crm/delete_rows\", resource) {when};")
    };
    let small = "when { context has input && context.input has count && context.input.count < 10 }";
    let gate = format!("@id(\"g\") @gate(\"g\") @approvers(\"Group::\\\"privacy\\\"\") @quorum(\"1\") {}", 
        "forbid (principal, action, resource);");
    for (why, rules, want) in [
        ("nothing permits it",                  String::new(), false),
        ("it is permitted",                     ALL.to_owned(), true),
        ("with few rows it is",                 own("permit", "p", small), true),
        ("to somebody else",                    format!("@id(\"p\") permit (principal in Group::\"privacy\", action, resource) {small};"), false),
        ("when it was accepted, as it was",     own("permit", "p", "when { context has mcp && context.mcp.standing == \"accepted\" }"), true),
        ("when it is new, which it is not",     own("permit", "p", "when { context has mcp && context.mcp.standing == \"new\" }"), false),
        ("a wall without exception",            format!("{ALL}{}", own("forbid", "w", "")), false),
        ("a wall around few rows",              format!("{ALL}{}", own("forbid", "w", small)), true),
        ("a wall unless it reads",              format!("{ALL}{}", own("forbid", "w", "unless { context has mcp && context.mcp.hints.contains(\"x\") }")), false),
        ("a gate can be lifted",                format!("{ALL}{gate}"), true),
    ] {
        assert_eq!(bundle(&rules).is_possible(&delete, NOW), want, "{why}");
    }
}

/// A tool that was given a line for a shell: a file is read and another one goes away.
fn line(change: impl FnOnce(&mut Map<String, Value>)) -> Action {
    let mut action = call("shell.delete", Class::Delete, "run_line", &json!({}));
    let named =
        |name: &str| Resource { kind: "path".into(), name: name.into(), labels: ["pii".to_owned()].into() };
    action.resources.splice(0..0, [named("/srv/in"), named("/srv/old")]);
    let told = json!({
        "classes": ["delete", "read"], "commands": 2, "paths": ["/srv/in", "/srv/old"], "programs": ["cat", "rm"],
        "reasons": ["recursive"], "understood": true, "writes": ["/srv/old"],
        "effects": [
            {"operation": "shell.delete", "resources": [1, 2]}, {"operation": "shell.read", "resources": [0]},
        ],
    });
    let mut told = told.as_object().unwrap().clone();
    change(&mut told);
    action.facts.insert("shell".into(), Value::Object(told));
    action
}

#[test]
#[rustfmt::skip]
fn what_a_tools_line_does_stands_in_its_language_and_its_class() {
    let mut vocabulary = with_mcp();
    vocabulary.operations.extend(Class::ALL.map(|class| DeclaredOperation {
        target: target("crm"), name: format!("shell.{}", class.as_str()), class, facts: BTreeMap::new(),
    }));
    let bundle = |rules: &str| Bundle::load(vec![Source::new("rules.cedar", rules)], &vocabulary)
        .unwrap_or_else(|errors| panic!("{}", told(&errors)));
    let decided = |rules: &str, action: &Action| word(&bundle(rules).decide(action, NOW).decision);
    let wall = |rest: &str| format!("{ALL}@id(\"w\") forbid (principal, action {rest};");
    for (rest, want) in [
        ("== Action::\"crm/shell.delete\", resource)", "wall w"),
        ("in Action::\"shell.delete\", resource)", "wall w"),
        // Every one of its effects is asked about, with its own files.
        ("in Action::\"shell.read\", resource)", "wall w"),
        ("in Action::\"read\", resource)", "wall w"),
        ("in Action::\"shell.read\", resource) when { resource.name == \"/srv/old\" }", "permit all"),
        ("in Action::\"shell\", resource) when { resource.name like \"/srv/*\" }", "wall w"),
        ("in Action::\"mcp.tool\", resource)", "wall w"),
        ("in Action::\"mcp/crm\", resource)", "wall w"),
        ("in Action::\"shell.write\", resource)", "permit all"),
        ("in Action::\"unknown\", resource)", "permit all"),
        ("in Action::\"shell\", resource) when { context has shell && context.shell.reasons.contains(\"recursive\") }", "wall w"),
        ("in Action::\"shell\", resource) when { context has shell && context.shell.commands > 2 }", "permit all"),
    ] {
        assert_eq!(decided(&wall(rest), &line(|_| {})), want, "{rest}");
    }
    for name in ["classes", "commands", "paths", "programs", "reasons", "understood", "writes"] {
        assert_eq!(decided(ALL, &line(|told| drop(told.remove(name)))), "policy-error", "{name}");
    }
    let mut unsaid = line(|_| {});
    unsaid.facts.remove("shell");
    assert_eq!(decided(ALL, &unsaid), "policy-error");
    let mut other = line(|_| {});
    let told = other.facts.remove("shell").unwrap();
    other.facts.insert("kubernetes".into(), told);
    assert_eq!(decided(ALL, &other), "policy-error");
    let unnamed = json!([{"operation": "shell.delete", "resources": [0, 1]}]);
    assert_eq!(decided(ALL, &line(|told| drop(told.insert("effects".into(), unnamed)))), "policy-error");
    // A tool that is only called so is none.
    vocabulary.operations.push(DeclaredOperation {
        target: target("crm"), name: "shell".into(), class: Class::Read, facts: BTreeMap::new(),
    });
    let wrong = Bundle::load(vec![Source::new("rules.cedar", ALL)], &vocabulary).unwrap_err();
    assert!(wrong.iter().any(|error| error.to_string().contains("named like what a text does")));
}
