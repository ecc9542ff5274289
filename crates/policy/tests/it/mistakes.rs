//! Every mistake a policy file can hold, with the words that report it.

use crate::world::*;
use countersign_policy::{Bundle, Source};

/// What is reported for one policy file.
fn reported(text: &str) -> String {
    match try_load(text) {
        Ok(_) => "loads".into(),
        Err(errors) => told(&errors),
    }
}

fn check(text: &str, want: &str) {
    assert_eq!(reported(text), want, "\n{text}");
}

/// A gate with these annotations on lines of their own.
fn gate(annotations: &str) -> String {
    format!("@id(\"g\")\n@gate(\"g\")\n{annotations}\nforbid (principal, action, resource);")
}

const SRE: &str = r#"@approvers("Group::\"sre\"")"#;

#[test]
fn the_documented_policies_load() {
    check(EXAMPLES, "loads");
}

#[test]
fn ids_are_there_and_used_once() {
    check(
        "permit (principal, action, resource);",
        "rules.cedar:1:1: policy without `@id`\n  hint: start it with `@id(\"…\")`: decisions and the audit log name policies by it",
    );
    check(
        "@id(\"a\") permit (principal, action, resource);\n\n  @id(\"a\") forbid (principal, action, resource);",
        "rules.cedar:3:3: policy id `a` is used twice\n  hint: the first is at rules.cedar:1; ids name one policy each",
    );
    check(
        "@id(\"a b\") permit (principal, action, resource);",
        "rules.cedar:1:1: `a b` is not a policy id: use 1 to 128 characters of letters, digits, `.`, `_`, `-`, `@`, `:` or `/`, starting with a letter or digit\n  hint: such as `@id(\"pii-export\")`",
    );
}

#[test]
fn unknown_annotations_are_refused_with_the_nearest_name() {
    check(
        "@id(\"a\")\n@quorom(\"2\") forbid (principal, action, resource);",
        "rules.cedar:2:1: `@quorom` is not an annotation\n  hint: did you mean `@quorum`?",
    );
    check(
        "@id(\"a\") @zzzzzzzzzz forbid (principal, action, resource);",
        "rules.cedar:1:10: `@zzzzzzzzzz` is not an annotation\n  hint: known annotations are `@id`, `@reason`, `@gate`, `@approvers`, `@quorum`, `@expires`, `@valid_for`, `@step_up`, `@justification`, `@notify`, `@distinct`, `@drift`, `@break_glass`, `@fresh`, `@acr`, `@amr`, `@ticket`, `@record`, `@keep_results`",
    );
    check(
        &gate(&format!("{SRE}\n@preflight(\"row_count\")")),
        "rules.cedar:4:1: `@preflight` is not an annotation\n  hint: known annotations are `@id`, `@reason`, `@gate`, `@approvers`, `@quorum`, `@expires`, `@valid_for`, `@step_up`, `@justification`, `@notify`, `@distinct`, `@drift`, `@break_glass`, `@fresh`, `@acr`, `@amr`, `@ticket`, `@record`, `@keep_results`",
    );
}

#[test]
fn an_annotation_given_twice_is_refused() {
    let found = reported(&gate(&format!("{SRE}\n@quorum(\"1\") @quorum(\"2\")")));
    assert!(found.contains("rules.cedar:4:14: `@quorum` stands twice\n  hint: keep one"), "{found}");
}

#[test]
fn gate_annotations_stand_on_gates_only() {
    check(
        "@id(\"a\") @quorum(\"2\") permit (principal, action, resource);",
        "rules.cedar:1:10: `@quorum` stands on a permit\n  hint: gates are forbids: write `forbid` for what needs approval",
    );
    check(
        "@id(\"a\") @gate(\"a\") permit (principal, action, resource);",
        "rules.cedar:1:10: `@gate` stands on a permit\n  hint: gates are forbids: write `forbid` for what needs approval",
    );
    check(
        "@id(\"a\") @expires(\"1h\") forbid (principal, action, resource);",
        "rules.cedar:1:10: `@expires` stands on a forbid without `@gate`\n  hint: add `@gate(\"…\")`, or remove it: a wall is never lifted",
    );
}

#[test]
fn a_gate_nobody_could_lift_is_refused() {
    let hint = r#"hint: write `@approvers("Group::\"privacy\"")`, or several as `@approvers("[Group::\"a\", Group::\"b\"]")`"#;
    check(
        &gate(""),
        &format!("rules.cedar:2:1: `@gate` without `@approvers`: nobody could lift it\n  {hint}"),
    );
    check(
        &gate(r#"@approvers("Group::\"privcy\"")"#),
        "rules.cedar:3:1: group `privcy` is not declared\n  hint: did you mean `privacy`?",
    );
    check(
        &gate(r#"@approvers("Agent::\"agt_00000000000000000000000009\"")"#),
        &format!(
            "rules.cedar:3:1: `Agent::\"agt_00000000000000000000000009\"` cannot approve: only people do\n  {hint}"
        ),
    );
    check(
        &gate(r#"@approvers("privacy")"#),
        &format!("rules.cedar:3:1: `privacy` is neither a group nor a person\n  {hint}"),
    );
    check(
        &gate(r#"@approvers("[]")"#),
        &format!("rules.cedar:3:1: `` is neither a group nor a person\n  {hint}"),
    );
    let found = reported(&gate(r#"@approvers("Person::\"ana\"")"#));
    assert!(found.starts_with("rules.cedar:3:1: `ana` is not a person id"), "{found}");
    check(&gate(r#"@approvers("[Group::\"sre\", Person::\"per_00000000000000000000000007\"]")"#), "loads");
}

#[test]
fn a_quorum_is_a_number_from_one() {
    for bad in ["0", "two", "", "-1", "1.5", "+2", "99999999999"] {
        check(
            &gate(&format!("{SRE} @quorum(\"{bad}\")")),
            &format!(
                "rules.cedar:3:30: `{bad}` is not a quorum\n  hint: write how many people must approve, at least 1: `@quorum(\"2\")`"
            ),
        );
    }
}

#[test]
fn durations_are_positive_and_short() {
    for (key, bad) in [("expires", "31d"), ("expires", "0s"), ("valid_for", "1 hour"), ("valid_for", "")] {
        check(
            &gate(&format!("{SRE} @{key}(\"{bad}\")")),
            &format!(
                "rules.cedar:3:30: `{bad}` is not a duration for `@{key}`\n  hint: write `90s`, `30m`, `24h` or `7d`; more than nothing and at most 30 days"
            ),
        );
    }
}

#[test]
fn words_of_other_annotations_are_known_ones() {
    for (annotation, want) in [
        ("@step_up(\"webauthn\")", "`webauthn` is not an assurance\n  hint: the word here is `passkey`"),
        ("@step_up(\"strong\")", "`strong` is not an assurance\n  hint: use `chat`, `session` or `passkey`"),
        (
            "@justification(\"optional\")",
            "`optional` is not a value of `@justification`\n  hint: the only value is `required`",
        ),
        ("@distinct(\"false\")", "`false` is not a value of `@distinct`\n  hint: write it without a value"),
        (
            "@notify(\"\")",
            "`` does not name a channel\n  hint: name channels, separated by commas: `@notify(\"db-prod, siem\")`",
        ),
        ("@notify(\"siem, sien\")", "channel `sien` is not declared\n  hint: did you mean `siem`?"),
        (
            "@notify(\"webhook:ops\")",
            "channel `webhook:ops` is not declared\n  hint: declared channels are `changes`, `privacy-chat`, `siem`",
        ),
        (
            "@ticket(\"siem\")",
            "a word in a ticket is worth `chat`, and this gate asks for more\n  hint: write `@step_up(\"chat\")`, without `@fresh`, `@acr` and `@amr`; or take `@ticket` out",
        ),
        ("@gate(\"a b\")", ""),
    ] {
        let found = reported(&gate(&format!("{SRE} {annotation}")));
        assert!(found.contains(want), "{annotation}: {found}");
        assert!(found.contains("rules.cedar:3:30"), "{annotation}: {found}");
    }
}

#[test]
fn policies_of_one_gate_have_the_same_approvers() {
    check(
        r#"@id("a") @gate("x") @approvers("Group::\"sre\"") forbid (principal, action, resource);
@id("b") @gate("x") @approvers("Group::\"privacy\"") forbid (principal, action, resource);"#,
        "rules.cedar:2:21: gate `x` has other approvers elsewhere\n  hint: policies of one gate share their approvers; see rules.cedar:1, or name another gate",
    );
}

#[test]
fn names_must_be_declared() {
    for (scope, place, want) in [
        (
            r#"principal in Group::"plaform-agents", action, resource"#,
            "1:31",
            "group `plaform-agents` is not declared\n  hint: did you mean `platform-agents`?",
        ),
        (
            r#"principal, action, resource in Environment::"prd""#,
            "1:49",
            "environment `prd` is not declared\n  hint: did you mean `prod`?",
        ),
        (
            r#"principal, action, resource in Target::"elsewhere""#,
            "1:49",
            "target `elsewhere` is not declared\n  hint: declared targets are `crm`, `shop`",
        ),
        (
            r#"principal, action in Action::"exprot", resource"#,
            "1:39",
            "action `exprot` is not declared\n  hint: did you mean `export`?",
        ),
        (
            r#"principal, action == Action::"crm/exportCustomer", resource"#,
            "1:39",
            "action `crm/exportCustomer` is not declared\n  hint: did you mean `crm/exportCustomers`?",
        ),
        (
            r#"principal == Agent::"bot", action, resource"#,
            "1:31",
            "`Agent::\"bot\"` names nobody\n  hint: people and agents go by their id (`agt_…`); names may change, ids do not",
        ),
    ] {
        check(&format!("@id(\"a\") permit ({scope});"), &format!("rules.cedar:{place}: {want}"));
    }
    check(
        "@id(\"a\") forbid (principal, action, resource)\nwhen { resource.labels.contains(\"pi\") };",
        "rules.cedar:2:33: label `pi` is not declared\n  hint: did you mean `pii`?",
    );
    check(
        "@id(\"a\") forbid (principal, action, resource)\nwhen { principal in Group::\"sre\" || principal in Group::\"ser\" };",
        "rules.cedar:2:50: group `ser` is not declared\n  hint: did you mean `sre`?",
    );
}

#[test]
fn types_and_attributes_are_checked_strictly() {
    for (condition, want) in [
        ("principal.name == \"bot\"", "rules.cedar:2:8: attribute `name`"),
        ("resource.lables.contains(\"pii\")", "attribute `lables`"),
        ("context.http.method == \"GET\"", "`context.http.method` and 11 other actions\n  hint: try testing"),
        ("resource.name == 5", "rules.cedar:2:8"),
        ("context.session.rows > 5", "attribute `session`"),
        ("resource.name like \"a*\" && resource.kind", "rules.cedar:2"),
        (
            "context has http && context.http has rows && context.http.rows > 5 && resource.name == \"x\" && false",
            "impossible",
        ),
        ("User::\"x\" == principal", "rules.cedar:2:8"),
    ] {
        let found =
            reported(&format!("@id(\"a\") forbid (principal, action, resource)\nwhen {{ {condition} }};"));
        assert!(found.contains(want), "{condition}: {found}");
        assert!(found.contains("hint: ") && !found.contains("#0"), "{condition}: {found}");
    }
}

#[test]
fn a_rule_that_never_matches_is_a_mistake() {
    let found = reported(
        "@id(\"a\") forbid (principal, action == Action::\"crm/listCustomers\", resource)\nwhen { context has http && context.http has rows };",
    );
    assert!(found.contains("impossible"), "{found}");
    assert!(found.contains("as it stands the rule never matches"), "{found}");
}

#[test]
fn questions_about_others_are_refused() {
    let text = format!(
        "@id(\"a\") forbid (principal, action, resource)\nwhen {{ Person::\"{}\" in Group::\"sre\" }};",
        person(1)
    );
    check(
        &text,
        &format!(
            "rules.cedar:2:8: asks about `Person::\"{}\"`, who is not part of every request\n  hint: ask about `principal`, `action`, `resource` or `context`; compare others with `==`",
            person(1)
        ),
    );
    let found = reported(
        "@id(\"a\") forbid (principal, action, resource)\nwhen { (if context.claimed_reason then principal else principal) in Group::\"sre\" };",
    );
    assert!(found.contains("asks about a computed value"), "{found}");
}

#[test]
fn templates_are_refused() {
    let found = reported("@id(\"a\") permit (principal == ?principal, action, resource);");
    assert!(found.starts_with("rules.cedar:1:"), "{found}");
    assert!(
        found.contains("the policy is a template") && found.contains("templates are not supported"),
        "{found}"
    );
}

#[test]
fn hidden_characters_in_a_file_are_refused() {
    check(
        "@id(\"a\")\n// \u{202e}reversed\npermit (principal, action, resource);",
        "rules.cedar:2:4: hidden character `⟨U+202E⟩`\n  hint: remove it, or write it as an escape such as `\\u{202e}` where a rule is about it",
    );
    check(
        "@id(\"a\") @reason(\"x\\u{202e}y\") forbid (principal, action, resource);",
        "rules.cedar:1:10: `@reason` holds hidden characters: `x⟨U+202E⟩y`\n  hint: write plain text on one line",
    );
    let found = reported(
        "@id(\"a\") permit (principal, action, resource) when { resource.name == \"s\u{0441}ope\" };",
    );
    assert!(found.contains("without look-alikes"), "{found}");
}

#[test]
fn a_policy_that_cannot_be_read_says_where() {
    let found = reported(
        "@id(\"a\") permit (principal, action, resource);\n@id(\"b\") permitt (principal, action, resource);",
    );
    assert!(found.starts_with("rules.cedar:2:10: the policy cannot be read"), "{found}");
    let found = reported("@id(\"a\") permit (principal, action, resource)");
    assert!(found.contains("the policy cannot be read"), "{found}");
    let found = reported("@id(\"a) permit (principal, action, resource);");
    assert!(found.contains("the policy cannot be read"), "{found}");
}

#[test]
fn all_mistakes_of_all_files_are_reported_at_once() {
    let sources = vec![
        Source::new("b.cedar", "@id(\"x\") permit (principal in Group::\"nobody\", action, resource);"),
        Source::new(
            "a.cedar",
            "permit (principal, action, resource);\n@id(\"x\") forbid (principal, action, resource",
        ),
        Source::new(
            "c.cedar",
            "@id(\"x\") permit (principal, action, resource);\n@id(\"y\") @quorum(\"0\") @gate(\"g\") forbid (principal, action, resource);",
        ),
    ];
    let errors = Bundle::load(sources, &vocabulary()).unwrap_err();
    let places: Vec<String> =
        errors.iter().map(|error| error.to_string().split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places[0], "a.cedar:1:1");
    assert!(places[1].starts_with("a.cedar:2:"), "{places:?}");
    assert_eq!(places[2..], ["b.cedar:1:31", "c.cedar:1:1", "c.cedar:2:10", "c.cedar:2:23"]);
}

#[test]
fn votes_can_be_narrowed_and_never_widened() {
    check(
        "@id(\"a\") permit (principal, action == Action::\"approve\", resource);",
        "rules.cedar:1:10: a permit on `Action::\"approve\"` cannot widen who approves\n  hint: who may approve is said by `@approvers` of the gate; a policy may only `forbid` here",
    );
    let found = reported(
        "@id(\"a\") forbid (principal, action in [Action::\"approve\", Action::\"read\"], resource);",
    );
    assert!(found.contains("one policy is about both `Action::\"approve\"` and other actions"), "{found}");
    check(
        &format!(
            "@id(\"a\") @gate(\"a\") {SRE} forbid (principal, action == Action::\"approve\", resource);"
        ),
        "rules.cedar:1:10: `@gate` stands on a rule about voting\n  hint: votes are not themselves approved; remove it\nrules.cedar:1:21: `@approvers` stands on a rule about voting\n  hint: votes are not themselves approved; remove it",
    );
    let found = reported(
        "@id(\"a\") forbid (principal, action in Action::\"read\", resource) when { action == Action::\"approve\" };",
    );
    assert!(found.contains("unrecognized action `Action::\"approve\"`"), "{found}");
    let found = reported("@id(\"a\") forbid (principal is Agent, action == Action::\"approve\", resource);");
    assert!(found.contains("rules.cedar:1"), "agents cannot even be mentioned: {found}");
}

#[test]
fn a_broken_vocabulary_is_reported_as_configuration() {
    let mut broken = vocabulary();
    broken.environments.clear();
    let errors = Bundle::load(vec![Source::new("a.cedar", EXAMPLES)], &broken).unwrap_err();
    assert!(
        told(&errors).contains("configuration: target `crm` is in the undeclared environment `prod`"),
        "{errors:?}"
    );
}

#[test]
fn what_is_kept_is_bounded_recorded_first_and_said_where_something_runs() {
    check(
        "@id(\"a\") @record(\"first\") @keep_results(\"1MiB\") permit (principal, action, resource);",
        "loads",
    );
    check(
        "@id(\"a\") @record(\"deferred\") @keep_results(\"1KiB\") permit (principal, action, resource);",
        "rules.cedar:1:10: `@record(\"deferred\")` stands beside `@keep_results`\n  hint: take one of them out: what is kept is recorded before it runs",
    );
    check(
        "@id(\"a\") @keep_results(\"2MiB\") permit (principal, action, resource);",
        "rules.cedar:1:10: `2MiB` is no amount for `@keep_results`\n  hint: write how much of each result: `64KiB`, at most `1MiB`",
    );
    check(
        "@id(\"a\") @keep_results(\"1KiB\") forbid (principal, action, resource);",
        "rules.cedar:1:10: `@keep_results` stands where nothing is let run\n  hint: write it on the permit, or on the gate, that lets it run",
    );
}

#[test]
fn a_record_is_deferred_or_first_and_stands_on_a_permit() {
    check("@id(\"a\") @record(\"deferred\") permit (principal, action, resource);", "loads");
    check("@id(\"a\") @record(\"first\") permit (principal, action, resource);", "loads");
    check(
        "@id(\"a\") @record(\"never\") permit (principal, action, resource);",
        "rules.cedar:1:10: `never` is not a value of `@record`\n  hint: use `first`, or `deferred` for reads that may be recorded a moment afterwards",
    );
    check(
        "@id(\"a\") @record(\"deferred\") forbid (principal, action, resource);",
        "rules.cedar:1:10: `@record` stands on a forbid\n  hint: it belongs on a permit: `@record(\"deferred\") permit (…)`",
    );
}

#[test]
fn a_ticket_is_taken_where_a_word_in_one_is_enough_and_from_channels_that_have_some() {
    let ticket = |more: &str, named: &str| gate(&format!("{SRE} {more} @ticket(\"{named}\")"));
    check(&ticket("@step_up(\"chat\")", "changes"), "loads");
    for more in ["", "@step_up(\"session\")", "@step_up(\"passkey\")", "@step_up(\"chat\") @amr(\"hwk\")"] {
        let found = reported(&ticket(more, "changes"));
        assert!(found.contains("a word in a ticket is worth `chat`"), "{more}: {found}");
    }
    for (named, want) in [
        ("siem", "no tickets of `siem` count beforehand\n  hint: set `preapproves = true` at that channel"),
        ("chnges", "no tickets of `chnges` count beforehand\n  hint: did you mean `changes`?"),
        ("changes,", "no tickets of `` count beforehand"),
    ] {
        let found = reported(&ticket("@step_up(\"chat\")", named));
        assert!(found.contains(want), "{named}: {found}");
    }
    let wall = "@id(\"w\") @ticket(\"changes\") forbid (principal, action, resource);";
    assert!(reported(wall).contains("`@ticket` stands on a forbid without `@gate`"));
}
