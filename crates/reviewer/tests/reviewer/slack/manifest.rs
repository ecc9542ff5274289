//! The manifests that are handed out: an app that is made from one may do what the gateway calls, and nothing else. The
//! server of all these tests has that app, so that any call beyond it fails where it is tested.

use super::deliver::Stage;
use crate::stage::{letter, now};
use countersign_core::{ActionId, ApprovalId, EntryId, PersonId};
use countersign_reviewer::{ChannelSection, Decider, Letter, Said, Tell};
use countersign_testkit::slack::{
    Slack, TOKEN,
    manifest::{AT_AN_ADDRESS, App, COMMANDS, NEEDED, ON_A_SOCKET},
};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

fn apps() -> [App; 2] {
    [AT_AN_ADDRESS, ON_A_SOCKET].map(|manifest| App::of(manifest).unwrap())
}

#[test]
fn an_app_may_do_what_is_called_and_nothing_else() {
    let needed: BTreeSet<String> =
        NEEDED.iter().map(|(_, _, scope)| *scope).chain([COMMANDS]).map(str::to_owned).collect();
    for app in apps() {
        assert_eq!(app.scopes, needed);
        assert_eq!(app.commands, ["/countersign".to_owned()].into());
        assert!(app.is_interactive, "buttons and forms are handed in");
        assert_eq!(app.manifest.pointer("/features/slash_commands/0/should_escape"), Some(&false.into()));
        assert_eq!(app.manifest.pointer("/settings/token_rotation_enabled"), Some(&false.into()));
        assert_eq!(app.manifest.pointer("/settings/event_subscriptions"), None, "no event is heard");
    }
}

#[test]
fn one_speaks_to_the_console_and_the_other_to_nobody() {
    let [at, on] = apps();
    assert!(!at.has_sockets && on.has_sockets);
    for pointer in ["/features/slash_commands/0/url", "/settings/interactivity/request_url"] {
        let address = at.manifest.pointer(pointer).and_then(Value::as_str).unwrap();
        assert_eq!(address, "https://sign.example.com/api/v1/channels/dba/slack");
        assert_eq!(on.manifest.pointer(pointer), None, "with Socket Mode nothing is sent to an address");
    }
    // But for that they make the same app.
    let without = |app: &App| {
        let mut manifest = app.manifest.clone();
        manifest["features"]["slash_commands"][0].as_object_mut().unwrap().remove("url");
        manifest["settings"]["interactivity"].as_object_mut().unwrap().remove("request_url");
        manifest["settings"].as_object_mut().unwrap().remove("socket_mode_enabled");
        manifest
    };
    assert_eq!(without(&at), without(&on));
}

/// <https://docs.slack.dev/reference/app-manifest>.
#[test]
fn slack_takes_them_as_they_are() {
    for App { manifest, .. } in apps() {
        for (pointer, most) in [
            ("/display_information/name", 35),
            ("/display_information/description", 140),
            ("/features/bot_user/display_name", 80),
            ("/features/slash_commands/0/command", 32),
            ("/features/slash_commands/0/description", 2_000),
            ("/features/slash_commands/0/usage_hint", 1_000),
        ] {
            let text = manifest.pointer(pointer).and_then(Value::as_str).unwrap();
            assert!((1..=most).contains(&text.chars().count()), "{pointer}: {text}");
        }
        let colour = manifest["display_information"]["background_color"].as_str().unwrap();
        let digits = colour.strip_prefix('#').unwrap();
        assert!(digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{colour}");
    }
}

#[test]
fn the_guide_names_every_scope() {
    let guide = include_str!("../../../../../docs/book/src/guide/slack.md");
    for scope in &apps()[0].scopes {
        assert!(guide.contains(&format!("`{scope}`")), "the guide does not say why it asks for `{scope}`");
    }
    assert!(guide.contains("`connections:write`"));
}

#[tokio::test]
async fn without_a_scope_of_the_manifest_the_gateway_cannot_do_its_work() {
    let without = |scope: &str| {
        let line = format!("      - {scope}\n");
        assert!(AT_AN_ADDRESS.contains(&line), "{scope}");
        AT_AN_ADDRESS.replace(&line, "")
    };
    let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
    let test = Letter::of_test(EntryId::from_parts(1, 1), (approval, action), "https://sign.example", now());
    for scope in ["chat:write", "channels:history"] {
        let stage = Stage::open().await;
        stage.tell(&test).await.unwrap();
        stage.slack.install(&without(scope)).unwrap();
        // Another message: where the one before is, it is not posted again.
        let other = Letter { approval: ApprovalId::from_parts(1, 2), ..test.clone() };
        let failed = stage.tell(&other).await.unwrap_err();
        assert!(failed.why.contains("lacks a scope"), "{scope}: {}", failed.why);
    }
    let (slack, folder) = (Slack::start().await.unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("token"), TOKEN).unwrap();
    let section = ChannelSection {
        name: "ops".into(),
        kind: "slack".into(),
        token_from: Some("file:token".into()),
        people_of: Some("dba".into()),
        api: Some(slack.api()),
        ..ChannelSection::default()
    };
    let tell: Arc<dyn Tell> = Arc::clone(section.check(folder.path()).unwrap().tell());
    let decider = Decider {
        person: PersonId::from_parts(1, 1),
        address: "T0123456789/U0000000001".into(),
        link: String::new(),
        said: Said::Nothing,
    };
    let asked = Letter { deciders: vec![decider], ..letter(1, "approval.requested", "pending") };
    slack.install(&without("im:write")).unwrap();
    let failed = tell.tell(&asked).await.unwrap_err();
    assert!(failed.why.contains("lacks a scope"), "{}", failed.why);
    slack.install(AT_AN_ADDRESS).unwrap();
    assert!(tell.tell(&asked).await.unwrap().is_some());
}

#[test]
fn what_is_no_manifest_is_not_taken_for_one() {
    for wrong in [
        "features: [a]",
        "a: b\n   c: d",
        "a: |\n  text",
        "a: 'b'",
        "a: \"b\\u0041\"",
        "a: 1\na: 2",
        "- a\nb: c",
        "just words",
        "a: b: c",
    ] {
        assert!(App::of(wrong).is_err(), "{wrong:?}");
    }
}
