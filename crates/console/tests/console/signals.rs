//! What a transmitter of shared signals pushes: whose sessions, votes and grants it ends, and everything it is not believed.

use crate::stage::{Answer, Stage, request};
use countersign_core::Class;
use countersign_engine::port::clock::Clock as _;
use countersign_identity::{
    Algorithm, Issuer, KeySource, Outward, Provider, SecretSource, Transmitter as Configured,
};
use countersign_testkit::transmitter::{AUDIENCE, Transmitter};
use http::{StatusCode, header};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use zeroize::Zeroizing;

const PUSHED_WITH: &str = "planted-push-token";

fn issuer(name: &str, url: &str, audience: &str, keys: KeySource) -> Issuer {
    Issuer {
        name: name.into(),
        issuer: url.into(),
        audiences: [audience.to_owned()].into(),
        keys,
        outward: Outward::new(None).unwrap(),
        algorithms: [Algorithm::Rs256].into(),
        skew: Duration::from_secs(5),
        longest: Duration::from_hours(24),
        tags: BTreeSet::new(),
        rules: Vec::new(),
    }
}

/// The provider whose people the transmitter speaks of; nobody signs in with it here.
fn provider() -> Provider {
    Provider {
        issuer: issuer("corp", "https://corp.example", "countersign", KeySource::Discovery),
        label: "Corp".into(),
        client_id: "countersign".into(),
        secret: None,
        scopes: ["openid".to_owned()].into(),
        domains: ["example.com".to_owned()].into(),
        email_is_verified: false,
        admits: false,
        groups_claim: "groups".into(),
        groups: BTreeMap::new(),
        attributes: BTreeMap::new(),
        acr: [].into(),
        amr: [].into(),
        max_age: None,
    }
}

struct Scene {
    stage: Stage,
    okta: Transmitter,
}

impl Scene {
    async fn new() -> Self {
        let okta = Transmitter::start().await.unwrap();
        let configured = Configured {
            issuer: issuer("okta", &okta.url(), AUDIENCE, KeySource::SignalsDiscovery),
            provider: "corp".into(),
            push_token: Some(SecretSource::new(|| Ok(Zeroizing::new(PUSHED_WITH.into())))),
            poll: None,
        };
        let stage = Stage::with(|settings| {
            settings.providers = vec![provider()];
            settings.transmitters = vec![configured];
        })
        .await;
        Self { stage, okta }
    }

    /// The stage's time, in Unix seconds.
    fn at(&self) -> i64 {
        self.stage.clock.now().0 / 1_000_000
    }

    /// Ten seconds later: beyond what a clock may be off.
    fn later(&self) {
        self.stage.pass(Duration::from_secs(10));
    }

    async fn push(&self, token: &str) -> Answer {
        push_to(&self.stage, "/signals/okta", "application/secevent+jwt", token, PUSHED_WITH).await
    }

    /// Says that it happened to somebody with this address at that moment.
    async fn say(&self, id: &str, event: &str, name: &str, at: i64) {
        let subject = json!({"format": "email", "email": format!("{name}@example.com")});
        let answer = self.push(&self.okta.sign(&self.okta.claims(id, event, &subject, at)).unwrap()).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::ACCEPTED, String::new()));
    }

    async fn signed_in(&self, who: &crate::stage::Browser) -> bool {
        self.stage.as_person(who, "GET", "/api/v1/session", None).await.status == StatusCode::OK
    }
}

async fn push_to(stage: &Stage, to: &str, kind: &str, token: &str, bearer: &str) -> Answer {
    let mut asked = request("POST", to, None);
    asked.headers_mut().remove(header::ORIGIN);
    asked.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
    asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {bearer}").parse().unwrap());
    *asked.body_mut() = axum::body::Body::from(token.to_owned());
    stage.call(asked).await
}

#[tokio::test]
async fn a_revoked_session_ends_with_what_was_approved_from_it_and_has_not_run() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let mut ana = stage.reviewer("Ana", &["privacy", "sre"]).await;
    let mut ben = stage.reviewer("Ben", &["privacy"]).await;
    let (waits, granted) = (stage.hold(Class::Export, b"a").await, stage.hold(Class::Configure, b"b").await);
    let frozen = json!({"scope": "target", "name": "cloud"});
    stage.operator("POST", "/api/v1/freezes", Some(frozen)).await.ok();
    stage.approve(&mut ana, &waits).await.ok();
    stage.approve(&mut ana, &granted).await.ok();
    assert_eq!(stage.state(&granted).await, "granted");
    let reading = json!({"label": "report"});
    let reading = stage.as_person(&ana, "POST", "/api/v1/sessions", Some(reading)).await.ok();
    let reading = reading["token"].as_str().unwrap().to_owned();
    scene.later();
    let happened = scene.at();
    scene.say("s-1", "session-revoked", "ana", happened).await;
    assert!(!scene.signed_in(&ana).await && scene.signed_in(&ben).await);
    assert_eq!(
        stage.with_token(&reading, "GET", "/api/v1/session", None).await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        (stage.state(&waits).await, stage.state(&granted).await),
        ("pending".into(), "revoked".into())
    );
    for entry in ["signal.received", "session.closed", "approval.votes_withdrawn", "approval.closed"] {
        assert_eq!(stage.count(entry).await, 1, "{entry}");
    }
    // She is nobody's enemy: signed in anew, her vote counts, and the old event coming again does not touch it.
    scene.later();
    let link = format!("/api/v1/people/{}/link", ana.id);
    let link = stage.operator("POST", &link, Some(json!({}))).await.ok();
    ana = stage.open_link(link["link"].as_str().unwrap()).await;
    stage.register(&mut ana).await;
    stage.approve(&mut ana, &waits).await.ok();
    scene.say("s-1", "session-revoked", "ana", happened).await;
    scene.say("s-2", "session-revoked", "ana", happened).await;
    assert!(scene.signed_in(&ana).await);
    assert_eq!((stage.count("signal.received").await, stage.count("approval.votes_withdrawn").await), (2, 1));
    stage.approve(&mut ben, &waits).await.ok();
    assert_ne!(stage.state(&waits).await, "pending");
    let export = stage.operator("GET", "/api/v1/ledger/export", None).await;
    countersign_ledger::verify::verify(export.body.as_slice(), stage.keys.log().verifier()).unwrap();
    assert!(!export.text().contains(PUSHED_WITH), "the secret is nowhere");
}

/// The signal comes ten minutes late, and whoever has the session has used them.
#[tokio::test]
async fn what_a_session_did_and_made_after_the_moment_it_was_revoked_is_taken_back_too() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let mut ana = stage.reviewer("Ana", &["privacy"]).await;
    let (waits, early) = (stage.hold(Class::Export, b"a").await, stage.hold(Class::Export, b"b").await);
    let frozen = json!({"scope": "target", "name": "cloud"});
    stage.operator("POST", "/api/v1/freezes", Some(frozen)).await.ok();
    stage.approve(&mut ana, &early).await.ok();
    let happened = scene.at();
    stage.pass(Duration::from_mins(5));
    stage.approve(&mut ana, &waits).await.ok();
    let reading = stage.reading_token(&ana).await;
    stage.bind(&mut ana, "thief").await;
    stage.pass(Duration::from_mins(5));
    scene.say("s-1", "session-revoked", "ana", happened).await;
    assert!(!scene.signed_in(&ana).await);
    let read = stage.with_token(&reading, "GET", "/api/v1/session", None).await;
    assert_eq!(read.status, StatusCode::UNAUTHORIZED);
    for id in [&waits, &early] {
        let seen = stage.operator("GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
        assert_eq!(seen["gates"][0]["votes"], 0, "{seen}");
    }
    // The passkey was registered in that session, the user of the channel bound from it: neither brings anybody back.
    assert_eq!((stage.count("passkey.removed").await, stage.count("channel.unbound").await), (1, 1));
    let user =
        json!({"type": "approve", "user": "thief", "approval": waits, "shown": stage.shown(&waits).await});
    assert_eq!(stage.deliver("d-1", &user).await.ok()["outcome"], "refused");
    let passkeys = format!("/api/v1/people/{}/passkeys", ana.id);
    assert_eq!(stage.operator("GET", &passkeys, None).await.ok(), json!([]));
}

#[tokio::test]
async fn a_closed_account_is_nobody_here_until_the_same_transmitter_opens_it_again() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let root = stage.person("Root", &[], "reviewer").await;
    let state = |id: &str| {
        let (path, stage) = (format!("/api/v1/people/{id}"), stage);
        async move { stage.operator("GET", &path, None).await.ok()["state"].as_str().unwrap().to_owned() }
    };
    scene.later();
    let closed = scene.at();
    scene.say("c-1", "account-disabled", "ana", closed).await;
    assert_eq!((state(&ana.id).await.as_str(), scene.signed_in(&ana).await), ("disabled", false));
    // What is older than the last word is no news, whichever way round it comes.
    scene.later();
    scene.say("c-2", "account-enabled", "ana", closed - 60).await;
    assert_eq!(state(&ana.id).await, "disabled");
    let opened = scene.at();
    scene.say("c-3", "account-enabled", "ana", opened).await;
    assert_ne!(state(&ana.id).await, "disabled");
    scene.say("c-4", "account-disabled", "ana", opened - 5).await;
    assert_ne!(state(&ana.id).await, "disabled");
    assert_eq!((stage.count("person.disabled").await, stage.count("person.returned").await), (1, 1));
    // Whom an administrator disabled no transmitter brings back.
    stage.operator("DELETE", &format!("/api/v1/people/{}", ana.id), None).await.ok();
    scene.later();
    scene.say("c-5", "account-enabled", "ana", scene.at()).await;
    assert_eq!(state(&ana.id).await, "disabled");
    // Whom the configuration names keeps their place, and signs in anew.
    scene.say("c-6", "account-disabled", "root", scene.at()).await;
    assert!(!scene.signed_in(&root).await);
    assert_ne!(state(&root.id).await, "disabled");
}

/// Claims with these changed; what is `null` is left out.
fn changed(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name.as_str()] = value.clone();
        }
    }
    claims
}

#[tokio::test]
async fn nothing_is_believed_but_the_transmitters_own_event_for_this_gateway_about_its_own_people() {
    let scene = Scene::new().await;
    let stage = &scene.stage;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let ben = stage.reviewer("Ben", &["sre"]).await;
    scene.later();
    let at = scene.at();
    let email = |address: &str| json!({"format": "email", "email": address});
    let revoked = |id: &str, subject: &Value| scene.okta.claims(id, "session-revoked", subject, at);
    let good = || revoked("x", &email("ana@example.com"));
    let token = |changes: Value| scene.okta.sign(&changed(good(), &changes)).unwrap();
    let evil = Transmitter::start().await.unwrap();
    let said = |answer: &Answer| answer.json()["err"].as_str().unwrap().to_owned();
    for (what, token, code) in [
        ("another audience", token(json!({"aud": "https://other.example"})), "invalid_request"),
        ("another issuer", token(json!({"iss": "https://evil.example"})), "invalid_request"),
        ("with an end, as an ID token has", token(json!({"exp": at + 60})), "invalid_request"),
        ("with a subject of the wrong kind", token(json!({"sub": "ana"})), "invalid_request"),
        ("without a name", token(json!({"jti": null})), "invalid_request"),
        ("without its time", token(json!({"iat": null})), "invalid_request"),
        ("from the future", token(json!({"iat": at + 86_400})), "invalid_request"),
        ("from last month", token(json!({"iat": at - 30 * 86_400})), "invalid_request"),
        ("without an event", token(json!({"events": {}})), "invalid_request"),
        ("about nobody", token(json!({"sub_id": null})), "invalid_request"),
        (
            "names within names within names",
            token(
                json!({"sub_id": {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": []}]}}),
            ),
            "invalid_request",
        ),
        ("an ID token", scene.okta.sign_as("jwt", &good()).unwrap(), "invalid_request"),
        ("another's signature", evil.sign(&good()).unwrap(), "invalid_key"),
        ("no token", "a.b.c".into(), "invalid_key"),
    ] {
        let answer = scene.push(&token).await;
        assert_eq!(
            (answer.status.as_u16(), said(&answer).as_str()),
            (400, code),
            "{what}: {}",
            answer.text()
        );
        assert!(scene.signed_in(&ana).await, "{what}");
    }
    let fresh = |id: &str, subject: &Value| {
        let claims = scene.okta.claims(id, "session-revoked", subject, scene.at());
        scene.okta.sign(&claims).unwrap()
    };
    let to_ana = fresh("d", &email("ana@example.com"));
    for (to, kind, bearer, status) in [
        ("/signals/okta", "application/secevent+jwt", "wrong", 400),
        ("/signals/okta", "application/json", PUSHED_WITH, 400),
        ("/signals/none", "application/secevent+jwt", PUSHED_WITH, 404),
    ] {
        let answer = push_to(stage, to, kind, &to_ana, bearer).await;
        assert_eq!(answer.status.as_u16(), status, "{to} {kind}: {}", answer.text());
    }
    // Wrong ones slow down their source, and hold up no right one that comes from there, behind a proxy or not.
    let mut slowed = 0;
    for _ in 0..25 {
        slowed += usize::from(scene.push("a.b.c").await.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(slowed > 0);
    // Sound, and about nobody here: taken, and nothing is done.
    for (id, subject) in [
        ("e", email("ana@other.example")),
        ("f", email("nobody@example.com")),
        ("g", json!({"format": "iss_sub", "iss": "https://evil.example", "sub": "ana"})),
        ("h", json!({"format": "phone_number", "phone_number": "+1"})),
        // Two people are nobody in particular.
        (
            "i",
            json!({"format": "aliases", "identifiers": [email("ana@example.com"), email("ben@example.com")]}),
        ),
    ] {
        assert_eq!(scene.push(&fresh(id, &subject)).await.status, StatusCode::ACCEPTED, "{subject}");
    }
    let check =
        scene.okta.claims("j", "verification", &json!({"format": "opaque", "id": "stream"}), scene.at());
    assert_eq!(scene.push(&scene.okta.sign(&check).unwrap()).await.status, StatusCode::ACCEPTED);
    assert!(scene.signed_in(&ana).await && scene.signed_in(&ben).await);
    assert_eq!(stage.count("signal.received").await, 0);
    // The same person under several names, in a session: all of theirs end.
    let complex = json!({"format": "complex", "user": email("ana@example.com"),
        "session": {"format": "opaque", "id": "s-1"}});
    assert_eq!(scene.push(&fresh("k", &complex)).await.status, StatusCode::ACCEPTED);
    assert!(!scene.signed_in(&ana).await && scene.signed_in(&ben).await);
}

#[tokio::test]
async fn while_its_keys_cannot_be_had_nothing_is_taken_and_it_comes_again() {
    let scene = Scene::new().await;
    let ana = scene.stage.reviewer("Ana", &["sre"]).await;
    scene.later();
    let claims = scene.okta.claims(
        "s",
        "credential-change",
        &json!({"format": "email", "email": "ana@example.com"}),
        scene.at(),
    );
    let token = scene.okta.sign(&claims).unwrap();
    let Scene { stage, okta } = scene;
    drop(okta);
    let answer = push_to(&stage, "/signals/okta", "application/secevent+jwt", &token, PUSHED_WITH).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/session", None).await.status, StatusCode::OK);
}
