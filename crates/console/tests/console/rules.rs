//! Whoever changes the rules while something waits does not decide on it.

use crate::stage::{Browser, POLICY, Stage};
use countersign_core::{Class, PersonId};
use serde_json::{Value, json};
use std::time::Duration;

/// Other rules, and who is named as having changed them.
async fn change_policy(stage: &Stage, remark: &str, by: &Browser) {
    let author: PersonId = by.id.parse().unwrap();
    stage.put_in_force_by(&format!("{POLICY}\n// {remark}\n"), [author].into()).await;
}

/// Asks for a ballot; says whether there is one.
async fn may(stage: &Stage, who: &Browser, id: &str) -> Result<(), String> {
    let path = format!("/api/v1/approvals/{id}/ballot");
    let answer = stage.as_person(who, "POST", &path, Some(json!({"decision": "approve"}))).await;
    if answer.status.is_success() {
        return Ok(());
    }
    assert_eq!(answer.problem(), (409, "not-eligible".into()), "{}", answer.text());
    Err(answer.json()["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn whoever_changed_the_policy_decides_nothing_that_waited_or_is_asked_soon_after() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["privacy"]).await;
    let mut ben = stage.reviewer("Ben", &["privacy"]).await;
    let mut cora = stage.reviewer("Cora", &["privacy"]).await;
    let first = stage.hold(Class::Export, b"first").await;
    stage.approve(&mut ana, &first).await.ok();
    change_policy(&stage, "one", &ana).await;
    // The vote cast before the change is worth nothing once the action would run.
    stage.approve(&mut ben, &first).await.ok();
    stage.claim(Class::Export, b"first").await;
    stage.until(&first, "pending").await;
    assert_eq!(stage.effects(), 0);
    let why = may(&stage, &ana, &first).await.unwrap_err();
    assert!(why.contains("changed the policy"), "{why}");
    let shown = stage.operator("GET", &format!("/api/v1/approvals/{first}"), None).await.ok();
    assert!(
        shown["excluded"].as_array().unwrap().iter().any(|one| one["id"] == ana.id.as_str()),
        "everybody sees who is out: {shown}"
    );
    // Everything is decided again, by those who may.
    stage.approve(&mut ben, &first).await.ok();
    stage.approve(&mut cora, &first).await.ok();
    stage.claim(Class::Export, b"first").await;
    stage.until(&first, "done").await;

    let soon = stage.hold(Class::Export, b"soon").await;
    assert!(may(&stage, &ana, &soon).await.is_err());
    stage.pass(Duration::from_hours(25));
    stage.sign_in(&mut ana).await;
    stage.sign_in(&mut ben).await;
    let later = stage.hold(Class::Export, b"later").await;
    may(&stage, &ana, &later).await.unwrap();
    may(&stage, &ben, &later).await.unwrap();
}

#[tokio::test]
async fn whoever_changed_a_deciding_group_or_the_agent_decides_nothing_that_waited() {
    let stage = Stage::new().await;
    let carl = stage.person("Carl", &["privacy", "sre"], "administrator").await;
    let tom = stage.person("Tom", &["privacy", "sre"], "administrator").await;
    let mut ida = stage.person("Ida", &["privacy", "sre"], "administrator").await;
    stage.register(&mut ida).await;
    let dora = stage.reviewer("Dora", &["privacy"]).await;
    let new = stage.reviewer("New", &[]).await;
    stage.reviewer("Ben", &["privacy"]).await;
    stage.pass(Duration::from_secs(1));
    let waiting = stage.hold(Class::Configure, b"waiting").await;
    let export = stage.hold(Class::Export, b"export").await;
    let person = |who: &Browser| format!("/api/v1/people/{}", who.id);
    // One puts somebody in, one takes somebody out, one changes what the agent belongs to.
    stage.as_person(&carl, "PATCH", &person(&new), Some(json!({"add": ["sre"]}))).await.ok();
    stage.as_person(&tom, "PATCH", &person(&dora), Some(json!({"remove": ["privacy"]}))).await.ok();
    let agent = format!("/api/v1/agents/{}", stage.agent);
    let clearances = Some(json!({"clearances": ["eu"]}));
    stage.as_person(&ida, "PATCH", &agent, clearances).await.ok();
    let says = |outcome: Result<(), String>| outcome.err().unwrap_or_default();
    for (who, id, words) in [
        (&carl, &waiting, "changed who is in a group"),
        (&carl, &export, ""),
        (&tom, &waiting, ""),
        (&tom, &export, "changed who is in a group"),
        (&ida, &waiting, "changed what the agent belongs to"),
        (&ida, &export, "changed what the agent belongs to"),
        (&new, &waiting, ""),
    ] {
        let said = says(may(&stage, who, id).await);
        assert!(said.contains(words), "{said}");
        assert_eq!(said.is_empty(), words.is_empty(), "{said}");
    }
    stage.pass(Duration::from_secs(1));
    let after = stage.hold(Class::Configure, b"after").await;
    for who in [&carl, &tom] {
        may(&stage, who, &after).await.unwrap();
    }
    // Taking the request back and asking again does not help who gave the agent more.
    assert!(may(&stage, &ida, &after).await.is_err());
    stage.pass(Duration::from_hours(25));
    stage.sign_in(&mut ida).await;
    let later = stage.hold(Class::Configure, b"later").await;
    may(&stage, &ida, &later).await.unwrap();
}

/// Everybody here is in every deciding group, and an administrator is not.
#[tokio::test]
async fn an_administrator_gains_no_voice_by_being_one() {
    let stage = Stage::new().await;
    let mallory = stage.person("Mallory", &[], "administrator").await;
    let ana = stage.person("Ana", &["privacy"], "reviewer").await;
    let ben = stage.person("Ben", &["privacy"], "reviewer").await;
    let id = stage.hold(Class::Export, b"x").await;
    // Not in another's place,
    let at = stage.gate.now();
    let away = json!({"to": mallory.id, "from": at.to_string(),
        "until": at.plus(Duration::from_hours(1)).to_string()});
    let path = format!("/api/v1/people/{}/delegation", ana.id);
    let refused = stage.as_person(&mallory, "PUT", &path, Some(away)).await;
    assert_eq!(refused.problem(), (403, "not-allowed".into()));
    // and not as two whose links they made.
    let mut sessions = Vec::new();
    for who in [&ana, &ben] {
        let path = format!("/api/v1/people/{}/link", who.id);
        let link = stage.as_person(&mallory, "POST", &path, Some(json!({}))).await.ok();
        let mut browser = stage.open_link(link["link"].as_str().unwrap()).await;
        stage.register(&mut browser).await;
        sessions.push(browser);
    }
    let [first, second] = sessions.as_mut_slice() else { panic!("two") };
    stage.approve(first, &id).await.ok();
    let refused = stage.approve(second, &id).await;
    assert_eq!(refused.problem(), (409, "not-eligible".into()));
    assert!(refused.text().contains("one voice"), "{}", refused.text());
    // Somebody of their own is another voice; whoever is one with another may still say no.
    let mut cora = stage.reviewer("Cora", &["privacy"]).await;
    let no = json!({"decision": "reject"});
    stage.as_person(second, "POST", &format!("/api/v1/approvals/{id}/ballot"), Some(no)).await.ok();
    stage.approve(&mut cora, &id).await.ok();
    stage.claim(Class::Export, b"x").await;
    stage.until(&id, "done").await;
}

#[tokio::test]
async fn two_votes_of_one_hand_at_the_same_moment_let_nothing_run() {
    let stage = Stage::new().await;
    let mallory = stage.person("Mallory", &[], "administrator").await;
    let id = stage.hold(Class::Export, b"x").await;
    let mut votes = Vec::new();
    for name in ["Ann", "Bob"] {
        let email = format!("{name}@example.com").to_lowercase();
        let new = json!({"name": name, "email": email, "groups": ["privacy"], "role": "reviewer"});
        let link = stage.as_person(&mallory, "POST", "/api/v1/people", Some(new)).await.ok();
        let mut browser = stage.open_link(link["link"].as_str().unwrap()).await;
        stage.register(&mut browser).await;
        let path = format!("/api/v1/approvals/{id}");
        let asked = json!({"decision": "approve"});
        let ballot = stage.as_person(&browser, "POST", &format!("{path}/ballot"), Some(asked)).await.ok();
        let passkey = browser.passkey.as_mut().unwrap();
        let assertion = passkey.assert(&ballot["publicKey"], crate::stage::ORIGIN).unwrap();
        let vote = json!({"statement": ballot["statement"], "assertion": assertion, "reason": null});
        votes.push((browser, vote));
    }
    let path = format!("/api/v1/approvals/{id}/votes");
    let cast = |at: usize| stage.as_person(&votes[at].0, "POST", &path, Some(votes[at].1.clone()));
    tokio::join!(cast(0), cast(1));
    stage.claim(Class::Export, b"x").await;
    stage.until(&id, "pending").await;
    assert_eq!(stage.effects(), 0);
}

#[tokio::test]
async fn whoever_makes_a_puppet_the_owner_of_an_agent_does_not_decide_for_it() {
    let stage = Stage::new().await;
    let mallory = stage.person("Mallory", &["privacy", "sre"], "administrator").await;
    let someone = stage.person("Someone", &[], "administrator").await;
    for role in ["auditor", "operator", "reviewer"] {
        let email = format!("{role}@example.com");
        let puppet = json!({"name": role, "email": email, "groups": [], "role": role});
        stage.as_person(&mallory, "POST", "/api/v1/people", Some(puppet)).await.ok();
        let agent =
            json!({"name": format!("of-{role}"), "kind": "agent", "owner": email, "groups": ["agents"]});
        let made = stage.as_person(&someone, "POST", "/api/v1/agents", Some(agent)).await.ok();
        let path = format!("/api/v1/agents/{}/tokens", made["id"].as_str().unwrap());
        let label = json!({"label": "x", "expires_in": "30d"});
        let token = stage.operator("POST", &path, Some(label)).await.ok();
        let id = stage.hold_with(token["token"].as_str().unwrap(), Class::Configure, role.as_bytes()).await;
        let why = may(&stage, &mallory, &id).await.unwrap_err();
        assert!(why.contains("brought in the requester's side"), "{role}: {why}");
    }
}

#[tokio::test]
async fn a_vote_given_by_a_role_is_brought_in_by_whoever_gave_it() {
    let stage = Stage::new().await;
    let mut olga = stage.olga.again();
    stage.register(&mut olga).await;
    let audrey = stage.person("Audrey", &["sre"], "auditor").await;
    stage.pass(Duration::from_hours(24 * 10));
    stage.sign_in(&mut olga).await;
    let path = format!("/api/v1/people/{}/role", audrey.id);
    stage.as_person(&olga, "PUT", &path, Some(json!({"role": "reviewer"}))).await.ok();
    let id = stage.hold(Class::Configure, b"x").await;
    let link = stage.operator("POST", &format!("/api/v1/people/{}/link", audrey.id), Some(json!({}))).await;
    let audrey = stage.open_link(link.ok()["link"].as_str().unwrap()).await;
    let why = may(&stage, &audrey, &id).await.unwrap_err();
    assert!(why.contains("was brought in by the requester's side"), "{why}");
}

#[tokio::test]
async fn whoever_stands_behind_an_agent_does_not_say_what_it_belongs_to() {
    let stage = Stage::new().await;
    let tom = stage.person("Tom", &[], "administrator").await;
    let path = format!("/api/v1/agents/{}", stage.agent);
    for change in [json!({"groups": ["agents", "sre"]}), json!({"clearances": []})] {
        let refused = stage.as_person(&stage.olga, "PATCH", &path, Some(change.clone())).await;
        assert_eq!(refused.problem(), (403, "not-allowed".into()), "{change}");
        stage.as_person(&tom, "PATCH", &path, Some(change)).await.ok();
    }
    // While something of it waits, the attempt is an entry there; so is lifting its freeze.
    assert_eq!(stage.count("approval.vote_refused").await, 0);
    stage.hold(Class::Export, b"x").await;
    let freeze = json!({"scope": "agent", "id": stage.agent});
    stage.operator("POST", "/api/v1/freezes", Some(freeze.clone())).await.ok();
    stage.as_person(&stage.olga, "PATCH", &path, Some(json!({"groups": []}))).await;
    stage.as_person(&stage.olga, "DELETE", "/api/v1/freezes", Some(freeze)).await;
    assert_eq!(stage.count("approval.vote_refused").await, 2);
    // Who else answers for it, an owner may say.
    let both = json!({"owners": ["olga@example.com", "tom@example.com"]});
    stage.as_person(&stage.olga, "PATCH", &path, Some(both)).await.ok();
}

#[tokio::test]
async fn whoever_stands_behind_an_agent_does_not_lift_its_freeze() {
    let stage = Stage::new().await;
    let freeze = json!({"scope": "agent", "id": stage.agent});
    stage.operator("POST", "/api/v1/freezes", Some(freeze.clone())).await.ok();
    let refused = stage.as_person(&stage.olga, "DELETE", "/api/v1/freezes", Some(freeze.clone())).await;
    assert_eq!(refused.problem().0, 403);
    let tom = stage.person("Tom", &[], "administrator").await;
    stage.as_person(&tom, "DELETE", "/api/v1/freezes", Some(freeze)).await.ok();
}

/// A freeze is how others stop what somebody's agent is about to do: it does not lift from that side.
#[tokio::test]
async fn nobody_lifts_a_freeze_of_what_their_own_side_waits_for() {
    let stage = Stage::new().await;
    let tom = stage.person("Tom", &[], "administrator").await;
    let scopes = [json!({"scope": "all"}), json!({"scope": "target", "name": "cloud"})];
    let frozen =
        async |scope: &Value| stage.operator("POST", "/api/v1/freezes", Some(scope.clone())).await.ok();
    let lift = async |who: &Browser, scope: &Value| {
        stage.as_person(who, "DELETE", "/api/v1/freezes", Some(scope.clone())).await
    };
    // Nothing waits.
    for scope in &scopes {
        frozen(scope).await;
        lift(&stage.olga, scope).await.ok();
    }
    let id = stage.hold(Class::Configure, b"x").await;
    for scope in &scopes {
        frozen(scope).await;
        assert_eq!(lift(&stage.olga, scope).await.problem(), (403, "requester-side".into()), "{scope}");
        lift(&tom, scope).await.ok();
    }
    assert_eq!(stage.count("approval.vote_refused").await, 2);
    // Approved, it waits for the freeze to end.
    for scope in &scopes {
        frozen(scope).await;
    }
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    stage.approve(&mut ana, &id).await.ok();
    for scope in &scopes {
        assert_eq!(lift(&stage.olga, scope).await.problem().0, 403, "{scope}");
        assert_eq!(stage.effects(), 0);
        lift(&tom, scope).await.ok();
    }
    stage.until(&id, "done").await;
}

/// Two gates that want voices of their own, each lifted by one: two puppets are not two.
#[tokio::test]
async fn one_hand_lifts_only_one_of_two_gates_that_want_voices_of_their_own() {
    const TWO: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("a") @gate("a") @approvers("Group::\"sre\"") @quorum("1") @distinct("true") @step_up("session") @reason("a")
forbid (principal, action in Action::"configure", resource);
@id("b") @gate("b") @approvers("Group::\"privacy\"") @quorum("1") @distinct("true") @step_up("session") @reason("b")
forbid (principal, action in Action::"configure", resource);
"#;
    let stage = Stage::new().await;
    stage.put_in_force(TWO).await;
    let mallory = stage.person("Mallory", &[], "administrator").await;
    let id = stage.hold(Class::Configure, b"x").await;
    let mut puppets = Vec::new();
    for (name, group) in [("Ann", "sre"), ("Bob", "privacy")] {
        let email = format!("{name}@example.com").to_lowercase();
        let new = json!({"name": name, "email": email, "groups": [group], "role": "reviewer"});
        let link = stage.as_person(&mallory, "POST", "/api/v1/people", Some(new)).await.ok();
        puppets.push(stage.open_link(link["link"].as_str().unwrap()).await);
    }
    let [ann, bob] = puppets.as_mut_slice() else { panic!("two") };
    stage.approve(ann, &id).await.ok();
    assert!(stage.approve(bob, &id).await.text().contains("one voice"));
    let mut cora = stage.person("Cora", &["privacy"], "reviewer").await;
    stage.approve(&mut cora, &id).await.ok();
    stage.claim(Class::Configure, b"x").await;
    stage.until(&id, "done").await;
}
