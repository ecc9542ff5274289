use super::*;
use crate::{
    ActionId, AgentId, Body, CredentialId, Operation, Payload, PrincipalKind, Requester,
    ticket::scope::NotCovered as N,
};
use bytes::Bytes;
use std::collections::BTreeMap;

fn agent() -> AgentId {
    AgentId::from_parts(1, 2)
}

fn action() -> Action {
    let resource =
        |kind: &str, name: &str| Resource { kind: kind.into(), name: name.into(), labels: BTreeSet::new() };
    Action {
        id: ActionId::from_parts(1, 1),
        received_at: Timestamp(5),
        requester: Requester {
            principal: PrincipalId::Agent(agent()),
            kind: PrincipalKind::Agent,
            name: "bot".into(),
            groups: BTreeSet::new(),
            clearances: BTreeSet::new(),
            claims: BTreeMap::new(),
            owners: BTreeSet::new(),
            created_by: None,
            on_behalf_of: vec![],
            credential: CredentialId::from_parts(1, 3),
        },
        target: "cloud".parse().unwrap(),
        environment: "prod".parse().unwrap(),
        credential_profile: "admin".into(),
        wire: "http".into(),
        operation: Operation { name: Some("dropTable".into()), class: Class::Delete },
        resources: vec![resource("table", "logs-1"), resource("table", "logs-2")],
        facts: serde_json::Map::new(),
        session: BTreeMap::new(),
        payload: Payload { head: Bytes::from_static(b"DELETE /x"), body: Body::Bound(Bytes::new()) },
        idempotency_key: None,
        sentence: "Drop.".into(),
        evidence: None,
        claimed_reason: None,
        claimed_ticket: None,
    }
}

fn text(lines: &[&str]) -> String {
    let first = [FIRST.to_owned(), format!("requester: {}", agent())];
    let place = ["target: cloud", "environment: prod"].map(str::to_owned);
    let lines = lines.iter().map(|line| (*line).to_owned());
    first.into_iter().chain(place).chain(lines).collect::<Vec<_>>().join("\n")
}

fn covers(lines: &[&str], change: impl FnOnce(&mut Action)) -> Result<(), NotCovered> {
    let mut action = action();
    change(&mut action);
    let effects = [whole(&action)];
    Scope::find(&text(lines)).unwrap().covers(&action, &action.digest().unwrap(), &effects)
}

/// All that an action does where nothing tells its parts.
fn whole(action: &Action) -> Effect {
    let Operation { name, class } = action.operation.clone();
    Effect { operation: name, class, resources: (0..action.resources.len()).collect() }
}

#[test]
fn every_part_of_an_action_has_to_be_what_the_scope_says() {
    const TABLES: [&str; 2] = ["class: delete", "resource: table/logs-*"];
    assert_eq!(covers(&TABLES, |_| ()), Ok(()));
    for (change, want) in [
        (
            (|one| one.requester.principal = PrincipalId::Agent(AgentId::from_parts(1, 9)))
                as fn(&mut Action),
            N::Requester,
        ),
        (|one| one.target = "other".parse().unwrap(), N::Target),
        (|one| one.environment = "dev".parse().unwrap(), N::Environment),
        (|one| one.operation.class = Class::Administer, N::Class),
        (|one| one.resources[1].name = "customers".into(), N::Resource),
        (|one| one.resources[1].kind = "view".into(), N::Resource),
        (|one| one.resources.clear(), N::NoResource),
    ] {
        assert_eq!(covers(&TABLES, change), Err(want));
    }
    assert_eq!(covers(&["operation: dropTable", TABLES[0], TABLES[1]], |_| ()), Ok(()));
    let other = |one: &mut Action| one.operation.name = None;
    assert_eq!(covers(&["operation: dropTable", TABLES[0], TABLES[1]], other), Err(N::Operation));
    let unknown = |one: &mut Action| one.operation.class = Class::Unknown;
    assert_eq!(covers(&["class: unknown", "resource: table/*"], unknown), Err(N::Unknown));
    // Each resource may have a line of its own.
    let each = ["class: delete, write", "resource: table/logs-1", "resource: table/logs-2"];
    assert_eq!(covers(&each, |_| ()), Ok(()));
}

#[test]
fn everything_that_an_action_does_has_to_be_covered() {
    let tables = ["class: delete", "resource: table/logs-*"];
    let both = ["class: delete, read", tables[1]];
    let effect = |operation: &str, class, resources: &[usize]| Effect {
        operation: Some(operation.into()),
        class,
        resources: resources.iter().copied().collect(),
    };
    let drops = || effect("dropTable", Class::Delete, &[0]);
    let asked = action();
    let digest = asked.digest().unwrap();
    let digested = format!("action: {digest}");
    for (lines, second, want) in [
        (&both[..], effect("readTable", Class::Read, &[1]), Ok(())),
        (&tables[..], effect("readTable", Class::Read, &[1]), Err(N::Class)),
        (&both[..], effect("readTable", Class::Read, &[]), Err(N::NoResource)),
        (&["class: delete, unknown", both[1]][..], effect("begin", Class::Unknown, &[1]), Err(N::Unknown)),
        (
            &["operation: dropTable", both[0], both[1]][..],
            effect("readTable", Class::Read, &[1]),
            Err(N::Operation),
        ),
        (&[digested.as_str()][..], effect("begin", Class::Unknown, &[]), Ok(())),
        (&[digested.as_str(), tables[0]][..], effect("readTable", Class::Read, &[]), Err(N::Class)),
    ] {
        let scope = Scope::find(&text(lines)).unwrap();
        assert_eq!(scope.covers(&asked, &digest, &[drops(), second.clone()]), want, "{lines:?} {second:?}");
    }
    let scope = Scope::find(&text(&tables)).unwrap();
    assert_eq!(scope.covers(&asked, &digest, &[]), Err(N::Unknown), "nothing is known of what it does");
}

#[test]
fn whoever_approves_a_scope_sees_all_that_is_read_of_it() {
    use ScopeError as E;
    let sound = text(&["class: delete", "resource: table/x"]);
    let with = |more: &str| text(&["class: delete", "resource: table/x", more]);
    let far = " ".repeat(300);
    for (said, want) in [
        (format!("{sound}\n\nThanks: all of you."), None),
        (format!("{sound}\r\n   \r\nThanks."), None),
        (format!("{sound}\n\naction: abc"), Some(E::Outside)),
        (format!("{sound}\n  \n  - Class : read"), Some(E::Outside)),
        (format!("{sound}\n\nUNTIL\u{ff1a} tomorrow"), Some(E::Outside)),
        (format!("environment: dev\n\n{sound}"), Some(E::Outside)),
        (format!("{sound}\n\u{a0}\nuntil: tomorrow"), Some(E::Hidden)),
        (format!("{sound}\n\u{2003}\n"), Some(E::Hidden)),
        (format!("{sound}\n\nso\u{2028}action: abc"), Some(E::Hidden)),
        (format!("{sound}\n\nso\raction: abc"), Some(E::Hidden)),
        (text(&[&format!("class: read,{far}delete"), "resource: table/x"]), Some(E::Line(5))),
        (text(&["class: read,delete", "resource: table/x"]), Some(E::Line(5))),
        (text(&["class: read,  delete", "resource: table/x"]), Some(E::Line(5))),
        (text(&["class: delete", &format!("resource: table/x{far}*")]), Some(E::Line(6))),
        (with(&format!("resource: table/{}", "x".repeat(500))), Some(E::TooLong)),
    ] {
        assert_eq!(Scope::find(&said).err(), want, "{said:?}");
    }
    assert!(Scope::is_all_of(&sound) && Scope::is_all_of(&format!("{sound}\n\n")));
    for said in
        [format!("{sound}\n\nmore"), format!("so\n{sound}"), format!("{sound}\n\n{sound}"), String::new()]
    {
        assert!(!Scope::is_all_of(&said), "{said:?}");
    }
}

#[test]
fn the_narrowest_scope_is_for_one_action_and_reads_as_it_was_written() {
    let (asked, mut other) = (action(), action());
    let place = (asked.target.clone(), asked.environment.clone());
    let scope = Scope::only(asked.requester.principal, place, asked.digest().unwrap());
    assert_eq!(Scope::find(&format!("Please.\n\n{scope}\nThanks.")), Ok(scope.clone()));
    assert_eq!(scope.covers(&asked, &asked.digest().unwrap(), &[whole(&asked)]), Ok(()));
    other.payload.head = Bytes::from_static(b"DELETE /y");
    assert_eq!(scope.covers(&other, &other.digest().unwrap(), &[whole(&other)]), Err(N::Action));
    let wide = Scope {
        operation: Some("dropTable".into()),
        classes: [Class::Delete, Class::Write].into(),
        resources: vec!["table/logs-*".into()],
        uses: NonZeroU32::new(3).unwrap(),
        from: Some(Timestamp(1_000_000)),
        until: Some(Timestamp(2_000_000)),
        action: None,
        ..scope
    };
    assert_eq!(Scope::find(&wide.to_string()), Ok(wide));
}

#[test]
#[rustfmt::skip]
fn what_is_not_understood_makes_all_of_it_worth_nothing() {
    use ScopeError as E;
    let sound = ["class: delete", "resource: table/x"];
    let with = |more: &str| text(&[sound[0], sound[1], more]);
    for (text, want) in [
        (String::new(), E::Missing),
        ("Countersign is asked for.".into(), E::Missing),
        ("countersign scope 2\nclass: delete".into(), E::Line(1)),
        ("Countersign  Scope 1".into(), E::Line(1)),
        (format!("{}\n\n{FIRST}", text(&sound)), E::Several),
        (format!("{}\n\n Countersign SCOPE", text(&sound)), E::Several),
        (with("colour: red"), E::Line(7)),
        (with("uses"), E::Line(7)),
        (with("uses:2"), E::Line(7)),
        (with("uses: 0"), E::Line(7)),
        (with("uses: 02"), E::Line(7)),
        (with("uses: 101"), E::Line(7)),
        (with("uses: 99999999999"), E::Line(7)),
        (with("until: tomorrow"), E::Line(7)),
        (with("action: abc"), E::Line(7)),
        (with("resource: table"), E::Line(7)),
        (with("resource: */x"), E::Line(7)),
        (with("resource: /x"), E::Line(7)),
        (with("resource: table/ x"), E::Line(7)),
        (with("operation:  x"), E::Line(7)),
        (with("class: drop"), E::Twice("class").clone()),
        (with("class: write"), E::Twice("class")),
        (with("target: cloud"), E::Twice("target")),
        (with("resource: table/x\u{202e}y"), E::Hidden),
        (with("operation: x\ty"), E::Hidden),
        (with("operation: a\u{200b}"), E::Hidden),
        (text(&["class: delete"]), E::Lacks("resource")),
        (text(&["resource: table/x"]), E::Lacks("class")),
        (format!("{FIRST}\ntarget: cloud\nenvironment: prod\nclass: read\nresource: a/b"), E::Lacks("requester")),
        (format!("{FIRST}\nrequester: {}\nenvironment: prod\nclass: read\nresource: a/b", agent()), E::Lacks("target")),
        (format!("{FIRST}\nrequester: {}\ntarget: cloud\nclass: read\nresource: a/b", agent()), E::Lacks("environment")),
        (text(&[&"x".repeat(9_000)]), E::TooLong),
    ] {
        let found = Scope::find(&text);
        let same = match (&found, &want) {
            // An unknown class is not understood before it is the second.
            (Err(E::Line(7)), E::Twice("class")) => text.contains("drop"),
            _ => found == Err(want.clone()),
        };
        assert!(same, "{text}: {found:?}, not {want:?}");
    }
    let many: Vec<String> = (0..51).map(|at| format!("resource: table/{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(Scope::find(&text(&many)), Err(E::Line(55)));
}

#[test]
fn a_star_stands_for_anything_and_nothing_else_does() {
    for (pattern, name, want) in [
        ("logs", "logs", true),
        ("logs", "logs2", false),
        ("logs", "Logs", false),
        ("logs-*", "logs-", true),
        ("logs-*", "logs", false),
        ("*", "", true),
        ("*-old", "a-old", true),
        ("*-old", "a-older", false),
        ("a*b", "ab", true),
        ("a*a", "a", false),
        ("a*b*c", "a-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("a*b*b", "ab", false),
        ("a**b", "a/x/b", true),
        ("a.b", "axb", false),
        ("[ab]", "a", false),
    ] {
        assert_eq!(matches(pattern, name), want, "{pattern} {name}");
    }
}
