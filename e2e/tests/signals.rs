//! A transmitter of shared signals beside the real binary: its events are fetched, acknowledged once what they end has ended,
//! and survive a gateway that was away.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_demo::person::Person;
use countersign_e2e::{Gateway, Setup};
use countersign_testkit::transmitter::{AUDIENCE, TOKEN, Transmitter};
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

const POLICY: &str = r#"@id("all") permit (principal in Group::"agents", action, resource);"#;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Waits, within bounds, until something holds.
async fn until(what: &str, gateway: &Gateway, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_mins(3), "{what}: {}", gateway.log());
        sleep(Duration::from_millis(50)).await;
    }
}

async fn state(gateway: &Gateway, email: &str) -> String {
    let people = gateway.command(&["person", "list"]).await.unwrap();
    let person = people.as_array().unwrap().iter().find(|one| one["email"] == email).unwrap();
    person["state"].as_str().unwrap().to_owned()
}

async fn is_signed_in(person: &Person) -> bool {
    person.read("session").await.unwrap().status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_fetched_and_acknowledged_when_what_they_end_has_ended() {
    let okta = Transmitter::start().await.unwrap();
    let sections = format!(
        r#"[[sign_in]]
name = "corp"
issuer = "https://login.example.com"
client_id = "countersign"
domains = ["example.com"]

[[signals]]
name = "okta"
issuer = "{}"
audiences = ["{AUDIENCE}"]
provider = "corp"
poll_url = "{}"
poll_token_from = "file:poll-token"
poll_every = "1s"
"#,
        okta.url(),
        okta.poll_url()
    );
    let setup = Setup {
        policy: POLICY,
        groups: r#"["agents", "sre"]"#,
        sections: &sections,
        files: &[("poll-token", TOKEN)],
    };
    let mut gateway = Gateway::start(&setup).await.unwrap();
    let ana = gateway.person("ana@example.com", "sre").await.unwrap();
    gateway.person("ben@example.com", "sre").await.unwrap();
    assert!(is_signed_in(&ana).await);
    let about = |name: &str| json!({"format": "email", "email": format!("{name}@example.com")});
    let say = |id: &str, event: &str, name: &str| {
        okta.keep(id, okta.sign(&okta.claims(id, event, &about(name), now())).unwrap());
    };
    okta.keep("forged", "a.b.c".into());
    say("revoked", "session-revoked", "ana");
    say("closed", "account-disabled", "ben");
    until("every event is answered", &gateway, async || okta.waiting().is_empty()).await;
    assert_eq!(okta.refused(), json!({"forged": "invalid_key"}).as_object().unwrap().clone());
    assert!(!is_signed_in(&ana).await);
    assert_eq!(
        (
            state(&gateway, "ana@example.com").await.as_str(),
            state(&gateway, "ben@example.com").await.as_str()
        ),
        ("enrolled", "disabled")
    );
    let seen = gateway.command(&["person", "signals"]).await.unwrap();
    assert_eq!(
        (&seen[0]["name"], &seen[0]["delivery"], &seen[0]["failure"]),
        (&json!("okta"), &json!("poll"), &json!(null))
    );
    assert!(seen[0]["heard_at"].is_string());

    // Nobody was there to hear it: it waits at the transmitter.
    gateway.kill().unwrap();
    // Events tell their moment in seconds, and only a later one is news.
    let closed = now();
    until("a second passes", &gateway, async || now() > closed).await;
    say("opened", "account-enabled", "ben");
    assert_eq!(okta.waiting(), ["opened"]);
    gateway.restart().await.unwrap();
    until("the event is answered", &gateway, async || okta.waiting().is_empty()).await;
    assert_eq!(state(&gateway, "ben@example.com").await, "enrolled");
    assert!(!gateway.log().contains(TOKEN));
}
