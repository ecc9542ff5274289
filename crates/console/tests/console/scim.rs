//! A provisioning client's side of the console: requests of the shapes that Okta and Microsoft Entra send, through the
//! door they come by; and everything such a client may not do.

use crate::stage::{Answer, Browser, Stage, request, signed};
use countersign_core::Class;
use http::header;
use serde_json::{Value, json};

struct Client<'s> {
    stage: &'s Stage,
    token: String,
}

impl<'s> Client<'s> {
    async fn of(stage: &'s Stage) -> Self {
        let made = json!({"label": "Okta", "expires_in": "90d"});
        let made = stage.operator("POST", "/api/v1/scim/tokens", Some(made)).await.ok();
        Self { stage, token: made["token"].as_str().unwrap().to_owned() }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut asked = request(method, &format!("/scim/v2{path}"), body);
        asked.headers_mut().remove(header::ORIGIN);
        asked
            .headers_mut()
            .insert(header::CONTENT_TYPE, "application/scim+json; charset=utf-8".parse().unwrap());
        asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {}", self.token).parse().unwrap());
        let answer = self.stage.call(asked).await;
        if !answer.body.is_empty() {
            assert_eq!(answer.headers[header::CONTENT_TYPE], "application/scim+json", "{}", answer.text());
        }
        answer
    }

    /// The resources that fit a filter, as clients look for them.
    async fn find(&self, kind: &str, filter: &str) -> Vec<Value> {
        let query: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let list =
            self.call("GET", &format!("/{kind}?filter={query}&startIndex=1&count=100"), None).await.ok();
        let found = list["Resources"].as_array().unwrap().clone();
        assert_eq!(list["totalResults"], found.len());
        found
    }

    /// As Okta makes somebody.
    async fn make(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        assert!(self.find("Users", &format!("userName eq \"{email}\"")).await.is_empty());
        let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": email,
            "name": {"givenName": name, "familyName": "Roe"}, "emails": [{"primary": true, "value": email, "type": "work"}],
            "displayName": "x", "locale": "en-US", "externalId": format!("00u{name}"), "groups": [], "active": true});
        let made = self.call("POST", "/Users", Some(user)).await;
        assert_eq!((made.status.as_u16(), made.headers.contains_key(header::LOCATION)), (201, true));
        let made = made.ok();
        assert_eq!((&made["active"], &made["displayName"]), (&json!(true), &json!(format!("{name} Roe"))));
        made["id"].as_str().unwrap().to_owned()
    }

    async fn patch(&self, path: &str, operations: Value) -> Answer {
        let body =
            json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations});
        self.call("PATCH", path, Some(body)).await
    }
}

fn fault(answer: &Answer) -> (u16, String) {
    let said = answer.json();
    assert_eq!(said["status"], answer.status.as_u16().to_string());
    assert_eq!(said["schemas"][0], "urn:ietf:params:scim:api:messages:2.0:Error");
    (answer.status.as_u16(), said["scimType"].as_str().unwrap_or_default().to_owned())
}

/// The person made by the client has come in.
async fn come_in(stage: &Stage, id: &str) -> Browser {
    let path = format!("/api/v1/people/{id}/link");
    let link = stage.operator("POST", &path, Some(json!({}))).await.ok();
    let mut browser = stage.open_link(link["link"].as_str().unwrap()).await;
    stage.register(&mut browser).await;
    browser
}

async fn into_sre(client: &Client<'_>, ids: &[&String]) {
    let values: Vec<Value> = ids.iter().map(|id| json!({"value": id})).collect();
    client.patch("/Groups/sre", json!([{"op": "add", "path": "members", "value": values}])).await.ok();
}

#[tokio::test]
async fn somebody_made_by_the_directory_votes_and_whoever_leaves_it_has_left_here_at_once() {
    let stage = Stage::new().await;
    let okta = Client::of(&stage).await;
    let (ana, ben) = (okta.make("ana").await, okta.make("ben").await);
    into_sre(&okta, &[&ana, &ben]).await;
    let mut signed_in = come_in(&stage, &ana).await;
    // One vote of two, and a grant that nobody has come to use.
    let (waits, granted) = (stage.hold(Class::Export, b"a").await, stage.hold(Class::Configure, b"b").await);
    let frozen = json!({"scope": "target", "name": "cloud"});
    stage.operator("POST", "/api/v1/freezes", Some(frozen)).await.ok();
    stage
        .operator("PATCH", &format!("/api/v1/people/{ana}"), Some(json!({"add": ["privacy"], "remove": []})))
        .await
        .ok();
    stage.approve(&mut signed_in, &waits).await.ok();
    stage.approve(&mut signed_in, &granted).await.ok();
    assert_eq!(stage.state(&granted).await, "granted");

    // Okta deactivates with a value that has no path.
    let gone =
        okta.patch(&format!("/Users/{ana}"), json!([{"op": "replace", "value": {"active": false}}])).await;
    assert_eq!(gone.ok()["active"], false);
    assert_eq!(stage.as_person(&signed_in, "GET", "/api/v1/session", None).await.problem().0, 401);
    assert_eq!(
        (stage.state(&waits).await, stage.state(&granted).await),
        ("pending".into(), "revoked".into())
    );
    for entry in ["person.disabled", "session.closed", "approval.votes_withdrawn", "approval.closed"] {
        assert_eq!(stage.count(entry).await, 1, "{entry}");
    }
    // Back again, they come in anew, and only what they vote from now on counts.
    let back = okta
        .patch(&format!("/Users/{ana}"), json!([{"op": "Replace", "path": "active", "value": "True"}]))
        .await;
    assert_eq!((back.ok()["active"].clone(), stage.count("person.returned").await), (json!(true), 1));
    assert_eq!(stage.as_person(&signed_in, "GET", "/api/v1/session", None).await.problem().0, 401);
    assert_eq!(stage.state(&waits).await, "pending");

    assert_eq!(okta.call("DELETE", &format!("/Users/{ben}"), None).await.status.as_u16(), 204);
    assert_eq!(fault(&okta.call("GET", &format!("/Users/{ben}"), None).await).0, 404);
    // An address is not handed on.
    let again = json!({"userName": "ben@example.com"});
    assert_eq!(fault(&okta.call("POST", "/Users", Some(again)).await), (409, "uniqueness".into()));
    let export = stage.operator("GET", "/api/v1/ledger/export", None).await;
    countersign_ledger::verify::verify(export.body.as_slice(), stage.keys.log().verifier()).unwrap();
    assert!(!export.text().contains(&okta.token), "the secret is nowhere");
}

#[tokio::test]
async fn entra_speaks_in_its_own_way_and_is_understood() {
    let stage = Stage::new().await;
    let entra = Client::of(&stage).await;
    let user = json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
        "externalId": "guid-1", "userName": "ana@corp.onmicrosoft.com", "active": true, "displayName": "Ana Roe",
        "emails": [{"primary": true, "type": "work", "value": "ana@example.com"}], "meta": {"resourceType": "User"},
        "name": {"formatted": "Ana Roe", "familyName": "Roe", "givenName": "Ana"}, "title": null,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "x"}});
    let id = entra.call("POST", "/Users", Some(user.clone())).await.ok()["id"].as_str().unwrap().to_owned();
    assert_eq!(fault(&entra.call("POST", "/Users", Some(user)).await), (409, "uniqueness".into()));
    assert_eq!(entra.find("Users", "externalId eq \"guid-1\"").await[0]["id"], id.as_str());
    let path = format!("/Users/{id}");
    let after = entra
        .patch(&path, json!([
            {"op": "Replace", "path": "emails[type eq \"work\"].value", "value": "ana.roe@example.com"},
            {"op": "Add", "path": "name.familyName", "value": "Rowe"},
            {"op": "Add", "path": "name.givenName", "value": "Ana"},
            {"op": "Add", "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "value": "y"},
            {"op": "Replace", "path": "active", "value": "False"},
        ]))
        .await
        .ok();
    assert_eq!(after["emails"][0]["value"], "ana.roe@example.com");
    assert_eq!((&after["displayName"], &after["active"]), (&json!("Ana Rowe"), &json!(false)));
    // The old address is free, the new one is not.
    let other = |email: &str| json!({"userName": email, "emails": [{"type": "work", "value": email}]});
    assert_eq!(entra.call("POST", "/Users", Some(other("ana@example.com"))).await.status.as_u16(), 201);
    assert_eq!(fault(&entra.call("POST", "/Users", Some(other("ana.roe@example.com"))).await).0, 409);

    entra.patch(&path, json!([{"op": "Replace", "path": "active", "value": "True"}])).await.ok();
    let group = &entra.find("Groups", "displayName eq \"Site Reliability\"").await[0];
    assert_eq!(group["id"], "sre");
    let shown = entra.call("GET", "/Groups/sre?excludedAttributes=members", None).await.ok();
    assert_eq!(shown.get("members"), None);
    let members = |op: &str, value: Value| json!([{"op": op, "path": "members", "value": value}]);
    entra.patch("/Groups/sre", members("Add", json!([{"$ref": null, "value": id}]))).await.ok();
    let fits = format!("id eq \"sre\" and members[value eq \"{id}\"]");
    assert_eq!(entra.find("Groups", &fits).await.len(), 1);
    assert_eq!(entra.call("GET", &path, None).await.ok()["groups"][0]["value"], "sre");
    entra.patch("/Groups/sre", members("Remove", json!([{"$ref": null, "value": id}]))).await.ok();
    assert!(entra.find("Groups", &fits).await.is_empty());
    entra.patch("/Groups/sre", members("Add", json!([{"value": id}]))).await.ok();
    entra
        .patch("/Groups/sre", json!([{"op": "Remove", "path": format!("members[value eq \"{id}\"]")}]))
        .await
        .ok();
    assert!(entra.find("Groups", &fits).await.is_empty());
    assert_eq!(stage.count("person.groups_changed").await, 4);
}

#[tokio::test]
async fn whoever_was_invited_here_keeps_address_role_and_what_an_administrator_said() {
    let stage = Stage::new().await;
    let okta = Client::of(&stage).await;
    let ana = stage.person("Ana", &["privacy"], "reviewer").await;
    let root = stage.person("Root", &[], "reviewer").await;
    let found = &okta.find("Users", "userName eq \"ANA@example.com\"").await[0];
    assert_eq!(found["id"], ana.id.as_str());
    let put = |id: &str, name: &str, active: bool| {
        let user = json!({"userName": name, "externalId": "x-1", "active": active, "roles": [{"value": "administrator"}]});
        let path = format!("/Users/{id}");
        let okta = &okta;
        async move { okta.call("PUT", &path, Some(user)).await }
    };
    let linked = put(&ana.id, "ana@example.com", true).await.ok();
    assert_eq!((&linked["externalId"], stage.count("person.provisioned").await), (&json!("x-1"), 1));
    put(&ana.id, "ana@example.com", true).await.ok();
    assert_eq!(stage.count("person.provisioned").await, 1, "nothing new was said");
    let person = |id: &str| {
        let (path, stage) = (format!("/api/v1/people/{id}"), &stage);
        async move { stage.operator("GET", &path, None).await.ok() }
    };
    assert_eq!(person(&ana.id).await["role"], "reviewer");
    assert_eq!(person(&ana.id).await["groups"], json!(["privacy"]), "that group is not the directory's");
    // Another address would bring in another.
    assert_eq!(fault(&put(&ana.id, "eve@example.com", true).await), (400, "mutability".into()));
    // Whom the configuration names as an administrator no client touches: not to take, not to empty, not to make.
    for answer in [
        put(&root.id, "root@example.com", false).await,
        put(&root.id, "root@example.com", true).await,
        okta.call("DELETE", &format!("/Users/{}", root.id), None).await,
        okta.patch("/Groups/sre", json!([{"op": "add", "path": "members", "value": [{"value": root.id}]}]))
            .await,
    ] {
        assert_eq!(fault(&answer).0, 403, "{}", answer.text());
    }
    assert_eq!(stage.as_person(&root, "GET", "/api/v1/session", None).await.status.as_u16(), 200);
    // Whom an administrator disabled no client brings back.
    okta.call(
        "PUT",
        &format!("/Users/{}", ana.id),
        Some(json!({"userName": "ana@example.com", "externalId": "x-1"})),
    )
    .await
    .ok();
    stage.operator("DELETE", &format!("/api/v1/people/{}", ana.id), None).await.ok();
    assert_eq!(fault(&put(&ana.id, "ana@example.com", true).await), (400, "mutability".into()));
    assert_eq!(person(&ana.id).await["state"], "disabled");
}

#[tokio::test]
async fn lists_come_in_pages_and_what_is_wrong_is_said_in_the_standards_words() {
    let stage = Stage::new().await;
    let okta = Client::of(&stage).await;
    for name in ["a", "b", "c"] {
        okta.make(name).await;
    }
    for (query, start, items) in [
        ("startIndex=2&count=2", 2, 2),
        ("count=0", 1, 0),
        ("startIndex=-3&count=900", 1, 4),
        ("startIndex=99", 99, 0),
    ] {
        let list = okta.call("GET", &format!("/Users?{query}"), None).await.ok();
        let shape =
            (list["totalResults"].as_u64(), list["startIndex"].as_u64(), list["itemsPerPage"].as_u64());
        assert_eq!(shape, (Some(4), Some(start), Some(items)), "{query}");
    }
    let id = okta.find("Users", "userName sw \"a@\"").await[0]["id"].as_str().unwrap().to_owned();
    let user = format!("/Users/{id}");
    let operations = |one: Value| Some(json!({"Operations": [one]}));
    for (method, path, body, wanted) in [
        ("GET", "/Users?filter=userName%20gt%203", None, (400, "invalidFilter")),
        ("GET", "/Users?count=x", None, (400, "invalidValue")),
        ("GET", "/Users/per_none", None, (404, "")),
        ("GET", "/Nothing", None, (404, "")),
        ("POST", "/Users", Some(json!({"displayName": "x"})), (400, "invalidValue")),
        ("POST", "/Users", Some(json!({"userName": "no address"})), (400, "invalidValue")),
        ("POST", "/Users", Some(json!({"userName": "root@example.com"})), (403, "")),
        ("POST", "/Users", Some(json!([])), (400, "invalidSyntax")),
        ("POST", "/Groups", Some(json!({"displayName": "Other"})), (400, "invalidValue")),
        (
            "PATCH",
            &user,
            operations(json!({"op": "replace", "path": "a b", "value": 1})),
            (400, "invalidPath"),
        ),
        ("PATCH", &user, operations(json!({"op": "remove"})), (400, "noTarget")),
        (
            "PATCH",
            &user,
            operations(json!({"op": "replace", "path": "id", "value": "per_x"})),
            (400, "mutability"),
        ),
        (
            "PATCH",
            &user,
            operations(json!({"op": "replace", "path": "active", "value": "perhaps"})),
            (400, "invalidValue"),
        ),
        (
            "PATCH",
            "/Groups/sre",
            operations(json!({"op": "replace", "path": "displayName", "value": "x"})),
            (400, "mutability"),
        ),
        (
            "PATCH",
            "/Groups/sre",
            operations(json!({"op": "add", "path": "members", "value": [{"value": "x"}]})),
            (400, "invalidValue"),
        ),
        ("PATCH", "/Groups/privacy", operations(json!({"op": "remove", "path": "members"})), (404, "")),
    ] {
        let answer = okta.call(method, path, body).await;
        assert_eq!(fault(&answer), (wanted.0, wanted.1.to_owned()), "{method} {path}: {}", answer.text());
    }
    let service = okta.call("GET", "/ServiceProviderConfig", None).await.ok();
    assert_eq!(
        (&service["patch"]["supported"], &service["bulk"]["supported"]),
        (&json!(true), &json!(false))
    );
    for (path, total) in [("/Schemas", 2), ("/ResourceTypes", 2)] {
        assert_eq!(okta.call("GET", path, None).await.ok()["totalResults"], total);
    }
    let schema = okta.call("GET", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", None).await.ok();
    assert_eq!(schema["name"], "User");
    assert_eq!(okta.call("GET", "/ResourceTypes/Group", None).await.ok()["endpoint"], "/Groups");
}

#[tokio::test]
async fn a_clients_token_opens_its_own_door_and_no_other_and_no_other_opens_its_door() {
    let stage = Stage::new().await;
    let okta = Client::of(&stage).await;
    // Only the operator makes, sees and ends them.
    for (method, path) in [
        ("GET", "/api/v1/scim/tokens"),
        ("POST", "/api/v1/scim/tokens"),
        ("DELETE", "/api/v1/scim/tokens/crd_01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ] {
        let body = (method == "POST").then(|| json!({"label": "mine"}));
        assert_eq!(stage.as_person(&stage.olga, method, path, body).await.problem().0, 403, "{method}");
    }
    // It is nobody anywhere else.
    let mut asked = request("GET", "/api/v1/people", None);
    asked.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {}", okta.token).parse().unwrap());
    assert_eq!(stage.call(asked).await.problem(), (403, "agent-credential".into()));
    let presented = countersign_engine::port::identity::Presented::Bearer(&okta.token);
    assert!(stage.gate.authenticate(presented).await.is_err());
    // An agent's token, a person's session, nothing and two of them open nothing here.
    let wrong = Client { stage: &stage, token: stage.token.clone() };
    assert_eq!(fault(&wrong.call("GET", "/Users", None).await), (401, String::new()));
    let mut with_session = signed(&stage.olga, "GET", "/scim/v2/Users", None);
    assert_eq!(stage.call(with_session).await.status.as_u16(), 401);
    with_session = signed(&stage.olga, "GET", "/scim/v2/Users", None);
    for _ in 0..2 {
        let bearer = format!("Bearer {}", okta.token).parse().unwrap();
        with_session.headers_mut().append(header::AUTHORIZATION, bearer);
    }
    assert_eq!(stage.call(with_session).await.status.as_u16(), 401);
    // Whoever guesses is slowed down; the client is not.
    let guess = Client { stage: &stage, token: okta.token.replace("css_", "csn_") };
    let mut last = 401;
    for _ in 0..30 {
        last = guess.call("GET", "/Users", None).await.status.as_u16();
    }
    assert_eq!(last, 429);
    assert_eq!(okta.call("GET", "/Users", None).await.status.as_u16(), 200);
    let listed = stage.operator("GET", "/api/v1/scim/tokens", None).await.ok();
    assert!(!listed.to_string().contains(&okta.token) && listed[0]["state"] == "good", "{listed}");
    let path = format!("/api/v1/scim/tokens/{}", listed[0]["id"].as_str().unwrap());
    stage.operator("DELETE", &path, None).await.ok();
    assert_eq!(fault(&okta.call("GET", "/Users", None).await).0, 429, "it is a wrong one now");
    assert_eq!((stage.count("provisioner.created").await, stage.count("provisioner.revoked").await), (1, 1));
    let mut stranger = request("GET", "/scim/v2/Users", None);
    stranger.headers_mut().insert(header::HOST, "evil.example".parse().unwrap());
    assert_eq!(stage.call(stranger).await.problem().0, 421);
}
