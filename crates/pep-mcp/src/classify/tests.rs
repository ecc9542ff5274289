//! What calls are said to do.

use super::*;
use countersign_core::Digest;
use serde_json::json;

fn classifier() -> Classifier {
    let tool = |json| serde_json::from_value::<ToolSection>(json).unwrap();
    let around = Surroundings {
        target: TargetName::new("shop").unwrap(),
        environment: EnvironmentName::new("prod").unwrap(),
        labels: ["finance".to_owned()].into(),
    };
    Classifier::new(
        around,
        vec![
            tool(json!({
                "name": "delete_rows", "class": "delete", "labels": ["pii"], "sentence": "Delete {count} rows of {table}",
                "arguments": {"table": "text", "count": "number"},
            })),
            tool(json!({"name": "look", "class": "read"})),
        ],
    )
}

fn call(name: &str, arguments: Option<&str>) -> Understood {
    call_as(name, arguments, Standing::Accepted)
}

fn call_as(name: &str, arguments: Option<&str>, standing: Standing) -> Understood {
    let raw = arguments.map(|text| RawValue::from_string(text.to_owned()).unwrap());
    let flags = ["instructions"].into();
    let (hints, arguments, mirrored) = (vec!["destructive"], BTreeMap::new(), None);
    let definition = Definition { digest: Digest::of(b""), hints, flags, arguments, mirrored };
    classifier().call(name, raw.as_deref(), &definition, standing)
}

#[test]
fn a_declared_tool_is_its_own_operation_with_its_arguments_in_policys_hands() {
    let found = call("delete_rows", Some(r#"{"count":14,"table":"orders","more":1}"#));
    assert_eq!(found.operation, Operation { name: Some("delete_rows".into()), class: Class::Delete });
    assert_eq!(found.sentence, "Delete 14 rows of “orders” on shop (prod, labelled finance, pii).");
    assert_eq!(found.facts["input"], json!({"count": 14, "table": "orders"}));
    assert_eq!(found.facts["hints"], json!(["destructive"]));
    assert_eq!(found.resources[0].name, "delete_rows");
}

#[test]
#[rustfmt::skip]
fn a_sentence_names_every_argument_and_none_can_break_out_of_it() {
    for (name, arguments, want) in [
        ("look", None, "Call “look” (read) on shop (prod, labelled finance)."),
        ("look", Some("{}"), "Call “look” (read) on shop (prod, labelled finance)."),
        ("look", Some(r#"{"a":"x” on test\u202e","b":1e3,"c":{"d":1},"e":[]}"#),
            "Call “look” (read) with “a” = “x\" on test⟨U+202E⟩”, “b” = 1e3, “c” = an object, “e” = a list on shop (prod, labelled finance)."),
        ("wipe", Some(r#"{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}"#),
            "Call the undeclared tool “wipe” with 7 arguments on shop (prod, labelled finance)."),
        ("wipe", Some(r#"{"\u0061":1}"#),
            "Call the undeclared tool “wipe” with arguments that are shown below on shop (prod, labelled finance)."),
        ("delete_rows", Some(r#"{"table":"{count}"}"#), "Delete (nothing) rows of “{count}” on shop (prod, labelled finance, pii)."),
    ] {
        assert_eq!(call(name, arguments).sentence, want);
    }
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(500));
    assert!(call("look", Some(&long)).sentence.contains("“a” = a text of 500 characters"));
    assert_eq!(call("wipe", None).operation, Operation { name: Some("mcp.tool".into()), class: Class::Unknown });
}

#[test]
fn other_messages_name_what_they_ask_for() {
    let raw = RawValue::from_string(r#"{"uri":"file:///etc"}"#.into()).unwrap();
    let found = classifier().other("mcp.read", "resources/read", Some(&raw));
    assert_eq!(
        found.sentence,
        "Ask resources/read with resource “file:///etc” on shop (prod, labelled finance)."
    );
    assert_eq!(found.resources[0].kind, "resource");
    assert_eq!(found.operation.class, Class::Read);
    let found = classifier().other("mcp.session", "initialize", None);
    assert_eq!(found.sentence, "Open a session on shop (prod, labelled finance).");
    assert!(found.resources.is_empty());
}

#[test]
fn an_answer_says_in_which_call_it_was_asked_for() {
    let during = |method: &str, kind: &str, name: &str| During {
        action: countersign_core::ActionId::from_parts(1, 2),
        method: method.into(),
        about: vec![Resource { kind: kind.into(), name: name.into(), labels: ["pii".to_owned()].into() }],
        facts: Map::from_iter([("tool".to_owned(), name.into())]),
        over: tokio_util::sync::CancellationToken::new(),
    };
    let of_a_tool = during("tools/call", "tool", "delete_rows");
    let id = of_a_tool.action;
    let answer = |during: Option<&During>| classifier().answer(asks::ELICITATION, Form::Result, during);
    let found = answer(Some(&of_a_tool));
    assert_eq!(
        found.sentence,
        format!(
            "Tell the server what was asked of the agent's user during its call of “delete_rows” ({id}) on shop (prod, labelled pii)."
        )
    );
    assert_eq!(found.facts["asked_during"], "tools/call");
    assert_eq!(
        (&found.facts["tool"], &found.facts["method"]),
        (&"delete_rows".into(), &asks::ELICITATION.into())
    );
    assert_eq!(found.resources, of_a_tool.about);
    let found = answer(Some(&during("prompts/get", "prompt", "greet”")));
    assert!(
        found.sentence.contains(&format!(" during prompts/get of prompt “greet\"” ({id}) on shop")),
        "{}",
        found.sentence
    );
    let found = answer(None);
    assert!(found.sentence.contains("which it asked in no call that is known"), "{}", found.sentence);
    assert_eq!((&found.facts["asked_during"], found.resources.len()), (&"".into(), 0));
}

#[test]
fn what_nobody_has_accepted_is_not_what_the_configuration_declares() {
    for (standing, says) in [
        (Standing::New, "Call “delete_rows”, which nobody has accepted with “count” = 1"),
        (Standing::Changed, "Call “delete_rows”, which its server describes anew with “count” = 1"),
    ] {
        let found = call_as("delete_rows", Some(r#"{"count":1}"#), standing);
        assert_eq!(found.operation, Operation { name: Some("mcp.tool".into()), class: Class::Unknown });
        assert!(found.sentence.starts_with(says), "{}", found.sentence);
        assert_eq!(found.facts["standing"], json!(standing.as_str()));
        assert_eq!(found.facts["flags"], json!(["instructions"]));
        assert_eq!(found.facts["input"], json!({}));
    }
}
