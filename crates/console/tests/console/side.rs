//! The requester's side: every way to be on it or too near to it, through every door that decides. Everybody here is in every
//! reviewing group and has a passkey, so nothing but that rule keeps them from anything.

use crate::stage::{Browser, Stage, request};
use countersign_core::{Class, PrincipalKind};
use countersign_identity::{
    Algorithm, Behalf, Description, EmailAddress, Issuer, KeySource, Outward, Pattern, Rule, Template,
};
use countersign_testkit::issuer::{SigningKey, TokenIssuer};
use http::header;
use serde_json::{Value, json};
use std::time::Duration;

const GROUPS: [&str; 2] = ["privacy", "sre"];
const AUDIENCE: &str = "https://sign.example.com";

fn email(name: &str) -> EmailAddress {
    EmailAddress::new(&format!("{name}@example.com")).unwrap()
}

/// An issuer whose tokens are the service `deploy`, for Uma, through the agents its actor claims name.
fn issuer(url: String) -> Issuer {
    let described = Description {
        kind: PrincipalKind::Service,
        owners: [email("wilma")].into(),
        groups: ["agents".parse().unwrap()].into(),
        clearances: [].into(),
    };
    let behalf = Behalf {
        claim: "sub".into(),
        people: [("u-1".to_owned(), email("uma"))].into(),
        actors: [("planner-client".to_owned(), "planner".to_owned())].into(),
    };
    let rule = Rule {
        agent: Template::new("deploy").unwrap(),
        wanted: [("/act/sub".to_owned(), vec![Pattern::new("deploy-client").unwrap()])].into(),
        described: Some(described),
        obtainable_by: [email("rob")].into(),
        behalf: Some(behalf),
    };
    Issuer {
        name: "ci".into(),
        issuer: url,
        audiences: [AUDIENCE.to_owned()].into(),
        keys: KeySource::Discovery,
        outward: Outward::new(None).unwrap(),
        algorithms: [Algorithm::Es256].into(),
        skew: Duration::from_mins(1),
        longest: Duration::from_hours(24),
        rules: vec![rule],
        tags: [].into(),
    }
}

/// Somebody on the requester's side or too near to it, and which credential asked.
struct Row {
    why: &'static str,
    who: Browser,
    credential: usize,
}

struct World {
    stage: Stage,
    /// Of the agent itself, of one somebody created, made by somebody, for somebody, signed by an issuer.
    tokens: Vec<String>,
    rows: Vec<Row>,
    /// Two who have nothing to do with any of them.
    free: [Browser; 2],
    /// Somebody else in every reviewing group.
    other: String,
    _issuer: TokenIssuer,
}

async fn made(stage: &Stage, who: &Browser, path: &str, body: Value) -> Value {
    stage.as_person(who, "POST", path, Some(body)).await.ok()
}

/// A reviewer in every reviewing group whom this administrator invites.
async fn invited(stage: &Stage, by: &Browser, name: &str) -> Browser {
    let email = format!("{}@example.com", name.to_lowercase());
    let who = json!({"name": name, "email": email, "groups": GROUPS, "role": "reviewer"});
    let link = made(stage, by, "/api/v1/people", who).await;
    let mut browser = stage.open_link(link["link"].as_str().unwrap()).await;
    stage.register(&mut browser).await;
    browser
}

async fn world() -> World {
    let key = SigningKey::p256("k1").unwrap();
    let ci = TokenIssuer::start(&[&key]).await.unwrap();
    let mut stage = Stage::trusting(vec![issuer(ci.url())]).await;
    let mut olga = stage.olga.again();
    stage.register(&mut olga).await;
    let cora = stage.reviewer("Cora", &GROUPS).await;
    let (mut carl, mut tom) = (
        stage.person("Carl", &GROUPS, "administrator").await,
        stage.person("Tom", &GROUPS, "administrator").await,
    );
    stage.register(&mut carl).await;
    stage.register(&mut tom).await;
    let una = stage.reviewer("Una", &GROUPS).await;
    let [wilma, rob, uma, fay] = [
        stage.reviewer("Wilma", &GROUPS).await,
        stage.reviewer("Rob", &GROUPS).await,
        stage.reviewer("Uma", &GROUPS).await,
        stage.reviewer("Fay", &GROUPS).await,
    ];
    let mut bri = stage.person("Bri", &GROUPS, "administrator").await;
    stage.register(&mut bri).await;
    let pia = invited(&stage, &bri, "Pia").await;
    let dela = stage.reviewer("Dela", &GROUPS).await;
    let gus = stage.reviewer("Gus", &[]).await;
    let free = [stage.reviewer("Ana", &GROUPS).await, stage.reviewer("Ben", &GROUPS).await];

    for owners in [["olga@example.com", "fay@example.com"], ["olga@example.com", "cora@example.com"]] {
        let path = format!("/api/v1/agents/{}", stage.agent);
        stage.operator("PATCH", &path, Some(json!({"owners": owners}))).await.ok();
    }
    let agent = |name: &str, owner: &str| json!({"name": name, "kind": "agent", "owner": owner, "groups": ["agents"]});
    let carls = made(&stage, &carl, "/api/v1/agents", agent("carls", "olga@example.com")).await;
    stage.operator("POST", "/api/v1/agents", Some(agent("planner", "pia@example.com"))).await.ok();
    let token = |answer: Value| answer["token"].as_str().unwrap().to_owned();
    let label = json!({"label": "x", "expires_in": "30d"});
    let of_carls = format!("/api/v1/agents/{}/tokens", carls["id"].as_str().unwrap());
    let own = format!("/api/v1/agents/{}/tokens", stage.agent);
    let by_operator = token(stage.operator("POST", &of_carls, Some(label.clone())).await.ok());
    let by_tom = token(made(&stage, &tom, &own, label).await);
    let for_una = json!({"label": "y", "expires_in": "30d", "on_behalf_of": "una@example.com"});
    let for_una = token(stage.operator("POST", &own, Some(for_una)).await.ok());
    let now = stage.gate.now().0 / 1_000_000;
    let act = json!({"sub": "deploy-client", "act": {"sub": "planner-client"}});
    let claims = json!({"iss": ci.url(), "aud": AUDIENCE, "sub": "u-1", "act": act,
        "iat": now, "nbf": now, "exp": now + 86_000});
    let signed = key.token(&json!({"alg": key.algorithm(), "kid": key.id, "typ": "JWT"}), &claims).unwrap();
    let tokens = vec![stage.token.clone(), by_operator, by_tom, for_una, signed];

    let at = stage.gate.now();
    let away =
        json!({"to": dela.id, "from": at.to_string(), "until": at.plus(Duration::from_hours(1)).to_string()});
    let path = format!("/api/v1/people/{}/delegation", olga.id);
    stage.as_person(&olga, "PUT", &path, Some(away)).await.ok();
    let fred = invited(&stage, &olga, "Fred").await;
    let groups = Some(json!({"add": GROUPS}));
    stage.as_person(&olga, "PATCH", &format!("/api/v1/people/{}", gus.id), groups).await.ok();

    let in_groups = stage.reviewer("Hal", &GROUPS).await.id;
    let row = |why, who, credential| Row { why, who, credential };
    let rows = vec![
        row("owner", olga, 0),
        row("co-owner", cora, 0),
        row("owner before", fay, 0),
        row("brought in an owner of an agent on the way", bri, 4),
        row("creator of the agent", carl, 1),
        row("maker of the token", tom, 2),
        row("the person it acts for", una, 3),
        row("owner by configuration", wilma, 4),
        row("can come by the issuer's tokens", rob, 4),
        row("the person of a signed token", uma, 4),
        row("owner of an agent on the way", pia, 4),
        row("stands in for an owner", dela, 0),
        row("invited by an owner", fred, 0),
        row("put into the groups by an owner", gus, 0),
    ];
    stage.token.clone_from(&tokens[0]);
    World { stage, tokens, rows, free, other: in_groups, _issuer: ci }
}

async fn ballot(stage: &Stage, who: &Browser, id: &str, decision: &str) -> crate::stage::Answer {
    let path = format!("/api/v1/approvals/{id}/ballot");
    stage.as_person(who, "POST", &path, Some(json!({"decision": decision}))).await
}

/// Held by each credential: an export and a deletion that wait, one whose outcome nobody knows, one whose glass was broken.
struct Held {
    export: String,
    delete: String,
    unknown: String,
    broken: String,
}

async fn hold(world: &mut World, credential: usize) -> Held {
    let World { stage, tokens, free: [ana, ben], .. } = world;
    let token = &tokens[credential];
    let named = |what: &str| format!("{what} {credential}").into_bytes();
    let export = stage.hold_with(token, Class::Export, &named("export")).await;
    let delete = stage.hold_with(token, Class::Delete, &named("delete")).await;
    let unknown = stage.hold_with(token, Class::Export, &named("lose sight")).await;
    stage.approve(ana, &unknown).await.ok();
    stage.approve(ben, &unknown).await.ok();
    stage.until(&unknown, "unknown").await;
    let broken = stage.hold_with(token, Class::Delete, &named("broken")).await;
    // One open review for each person: the one before is closed first.
    for open in stage.operator("GET", "/api/v1/reviews", None).await.ok().as_array().unwrap() {
        let said = json!({"broken_by": ana.id, "found": "justified", "note": "seen"});
        let path = format!("/api/v1/approvals/{}/review", open["approval"].as_str().unwrap());
        stage.as_person(ben, "POST", &path, Some(said)).await.ok();
    }
    stage.break_glass(ana, &broken, "now").await.ok();
    stage.until(&broken, "done").await;
    Held { export, delete, unknown, broken }
}

/// Who is in the groups that decide, administrator or not: one in, one out, somebody new, a say for somebody.
async fn regroups_nobody(stage: &Stage, why: &str, who: &Browser, other: &str) {
    let now = stage.gate.now();
    let until = now.plus(Duration::from_hours(1)).to_string();
    let away = json!({"to": other, "from": now.to_string(), "until": until});
    let person = format!("/api/v1/people/{other}");
    let new = json!({"name": "New", "email": "new@example.com", "groups": ["sre"], "role": "reviewer"});
    for (method, path, change) in [
        ("PATCH", person.clone(), json!({"add": ["privacy"]})),
        ("PATCH", person.clone(), json!({"remove": ["sre"]})),
        ("POST", "/api/v1/people".to_owned(), new),
        ("PUT", format!("{person}/role"), json!({"role": "auditor"})),
        ("POST", format!("{person}/link"), json!({})),
        ("PATCH", person.clone(), json!({"add": ["agents"]})),
        ("PUT", format!("/api/v1/people/{}/delegation", who.id), away),
    ] {
        let changed = stage.as_person(who, method, &path, Some(change)).await;
        assert_eq!(changed.problem(), (403, "requester-side".into()), "{why} {method} {path}");
    }
}

/// The agent itself has no way in at all, whatever it presents.
async fn no_credential_of_an_agent_opens_a_door(stage: &Stage, tokens: &[String], export: &str) {
    for token in tokens {
        for path in ["ballot", "votes", "review", "revoke"] {
            let body = Some(json!({"decision": "approve"}));
            let mut asked = request("POST", &format!("/api/v1/approvals/{export}/{path}"), body);
            asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            assert_eq!(stage.call(asked).await.problem(), (403, "agent-credential".into()), "{path}");
        }
    }
    // Nor to anything else that is written; that is counted.
    let before = stage.count("intake.refused").await;
    for (method, path) in [("POST", "/api/v1/people"), ("DELETE", "/api/v1/freezes")] {
        let mut asked = request(method, path, Some(json!({})));
        asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {}", tokens[0]).parse().unwrap());
        assert_eq!(stage.call(asked).await.problem(), (403, "agent-credential".into()), "{path}");
    }
    // The first at once; the next with others, once in a while.
    let counted = stage.count("intake.refused").await - before;
    assert!((1..=2).contains(&counted), "{counted}");
}

#[tokio::test]
async fn whoever_is_on_the_requesters_side_decides_nothing_of_it_through_any_door() {
    let mut world = world().await;
    let mut held = Vec::new();
    for credential in 0..world.tokens.len() {
        held.push(hold(&mut world, credential).await);
    }
    let World { stage, tokens, rows, free: [ana, ben], other, .. } = &mut world;
    for Row { why, who, credential } in rows {
        let Held { export, delete, unknown, broken } = &held[*credential];
        let before = stage.count("approval.vote_refused").await;
        let refused =
            |code: &str| assert!(["requester-side", "not-eligible"].contains(&code), "{why}: {code}");
        // Asking for a ballot: yes, no, or alone.
        for (id, decision) in [(export, "approve"), (export, "reject"), (delete, "break-glass")] {
            let (status, code) = ballot(stage, who, id, decision).await.problem();
            assert_eq!(status, 409, "{why} {decision}");
            refused(&code);
        }
        // Somebody else's ballot, signed with their own passkey.
        let asked = ballot(stage, ben, export, "approve").await.ok();
        let assertion = who.passkey.as_mut().unwrap().assert(&asked["publicKey"], crate::stage::ORIGIN);
        for (assertion, decision) in [(json!(assertion.ok()), "theirs"), (Value::Null, "unsigned")] {
            let vote = json!({"statement": asked["statement"], "assertion": assertion, "reason": "x"});
            let path = format!("/api/v1/approvals/{export}/votes");
            let cast = stage.as_person(who, "POST", &path, Some(vote)).await;
            assert_eq!(cast.problem(), (409, "ballot".into()), "{why} {decision}");
        }
        // Through a channel, as whoever is bound to them.
        let user = format!("user of {why}");
        stage.bind(who, &user).await;
        for says in ["approve", "reject"] {
            let mut event =
                json!({"type": says, "user": user, "approval": export, "shown": stage.shown(export).await});
            if says == "reject" {
                event["reason"] = json!("no");
            }
            let answer = stage.deliver(&format!("{says}-{user}"), &event).await.ok();
            assert_eq!(answer["outcome"], "refused", "{why} {says}: {answer}");
            refused(answer["code"].as_str().unwrap());
        }
        // Taking it back: what others decided is not theirs to undo.
        let path = format!("/api/v1/approvals/{export}/revoke");
        let taken = stage.as_person(who, "POST", &path, Some(json!({"reason": "x"}))).await;
        assert_eq!(taken.problem(), (403, "not-allowed".into()), "{why} revokes");
        // From a command line.
        let token = stage.reading_token(who).await;
        let mut asked = request(
            "POST",
            &format!("/api/v1/approvals/{export}/ballot"),
            Some(json!({"decision": "approve"})),
        );
        asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        assert_eq!(stage.call(asked).await.problem(), (403, "reading-only".into()), "{why}");
        // What became of it, and of a break-glass.
        let seen = stage.as_person(ana, "GET", &format!("/api/v1/approvals/{unknown}"), None).await.ok();
        let found = json!({"found": "ran", "note": "looked"});
        let path = format!("/api/v1/actions/{}/resolve", seen["action"].as_str().unwrap());
        assert_eq!(stage.as_person(who, "POST", &path, Some(found)).await.problem().0, 403, "{why} resolves");
        let said = json!({"broken_by": ana.id, "found": "justified", "note": "fine"});
        let path = format!("/api/v1/approvals/{broken}/review");
        let closed = stage.as_person(who, "POST", &path, Some(said)).await;
        assert_eq!(closed.problem(), (403, "not-eligible".into()), "{why} reviews");
        regroups_nobody(stage, why, who, other).await;
        // The page offers nothing and says why; so does the list.
        for id in [export, delete] {
            for path in [format!("/approvals/{id}"), format!("/approvals/{id}/decide")] {
                let page = stage.page(who, &path).await.text();
                assert!(!page.contains("id=\"approve\"") && !page.contains("approve alone"), "{why}: {page}");
                assert!(page.contains("<h3>Excluded</h3>"), "{why}: {path} says who may not decide");
            }
            let shown = stage.as_person(who, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
            assert_eq!(
                (&shown["you"]["can_vote"], &shown["break_glass"]),
                (&json!(false), &Value::Null),
                "{why}"
            );
            assert!(shown["you"]["why_not"].is_string(), "{why}: {shown}");
            let excluded =
                shown["excluded"].as_array().unwrap().iter().any(|one| one["id"] == who.id.as_str());
            assert!(excluded, "{why} is named to everybody: {}", shown["excluded"]);
        }
        assert_eq!(
            stage.count("approval.vote_refused").await,
            before + 18,
            "{why}: each attempt is an entry"
        );
    }
    no_credential_of_an_agent_opens_a_door(stage, tokens, &held[0].export).await;
    // Administrators who have no part in it go on as ever, and others are told that it is not theirs to do.
    let tina = stage.person("Tina", &GROUPS, "administrator").await;
    let path = format!("/api/v1/people/{other}");
    let change = Some(json!({"add": GROUPS}));
    stage.as_person(&tina, "PATCH", &path, change.clone()).await.ok();
    assert_eq!(stage.as_person(ana, "PATCH", &path, change).await.problem(), (403, "not-allowed".into()));
    // Nothing was decided by any of them, and those who are free of it still may.
    for Held { export, delete, .. } in &held {
        assert_eq!(
            (stage.state(export).await.as_str(), stage.state(delete).await.as_str()),
            ("pending", "pending")
        );
        stage.approve(ana, export).await.ok();
        stage.approve(ben, export).await.ok();
        stage.until(export, "done").await;
    }
}
