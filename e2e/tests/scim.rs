//! A directory's own client against the real binary, with `curl`: it makes people, puts them where they decide, and whoever it
//! takes out has left at once, votes and grants included.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

use countersign_demo::person::{Person, Strength};
use countersign_e2e::{Gateway, Setup, client::curl};
use countersign_testkit::server::{Server, json};
use serde_json::{Value, json as value};
use std::sync::Arc;

/// What stands in `[people]`.
const GROUPS: &str = r#"["agents", "sre"]
scim_groups = { "Site Reliability" = "sre" }"#;

const SECTIONS: &str = include_str!("../fixtures/things.toml");

const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("change") @gate("change") @approvers("Group::\"sre\"") @quorum("2") @step_up("session") @reason("production changes")
forbid (principal, action in Action::"configure", resource);
"#;

struct Client<'g> {
    gateway: &'g Gateway,
    token: String,
}

impl Client<'_> {
    async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let bearer = format!("Authorization: Bearer {}", self.token);
        let url = format!("{}/scim/v2{path}", self.gateway.console_url);
        let kind = "Content-Type: application/scim+json";
        let seen =
            curl(&["-X", method, "-H", &bearer, "-H", kind, "-d", &body.to_string(), &url]).await.unwrap();
        (seen.status, serde_json::from_slice(&seen.body).unwrap_or_default())
    }

    /// Somebody made by the directory who has come in by a link.
    async fn make(&self, name: &str) -> (String, Person) {
        let email = format!("{name}@example.com");
        let (status, made) = self.call("POST", "/Users", &value!({"userName": email, "active": true})).await;
        assert_eq!(status, 201, "{made}");
        let id = made["id"].as_str().unwrap().to_owned();
        let member = value!({"Operations": [{"op": "add", "path": "members", "value": [{"value": id}]}]});
        assert_eq!(self.call("PATCH", "/Groups/sre", &member).await.0, 200);
        let link = self.gateway.command(&["person", "link", &email]).await.unwrap();
        let link = link["link"].as_str().unwrap().to_owned();
        (id, Person::open(&self.gateway.console_url, &link).await.unwrap())
    }
}

async fn is_signed_in(person: &Person) -> bool {
    person.read("session").await.unwrap().status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_the_directory_takes_out_has_left_at_once() {
    let upstream = Server::start(Arc::new(|_| json(http::StatusCode::OK, &value!({})))).await.unwrap();
    let sections = SECTIONS.replace("UPSTREAM", &upstream.url());
    let setup = Setup { policy: POLICY, groups: GROUPS, sections: &sections, files: &[] };
    let gateway = Gateway::start(&setup).await.unwrap();
    gateway.invite("olga@example.com", "agents").await.unwrap();
    let agent = gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
    let made =
        gateway.command(&["scim", "token", "create", "--label", "Okta", "--expires", "1d"]).await.unwrap();
    let okta = Client { gateway: &gateway, token: made["token"].as_str().unwrap().to_owned() };
    let ((ana_id, mut ana), (_, mut ben)) = (okta.make("ana").await, okta.make("ben").await);

    let bearer = format!("Authorization: Bearer {agent}");
    let url = format!("{}/things/7", gateway.url);
    let asked =
        curl(&["-X", "PUT", "-H", &bearer, "-H", "Prefer: respond-async", "-d", "{}", &url]).await.unwrap();
    assert_eq!(asked.status, 202);
    let id = gateway.approval("pending").await.unwrap();
    assert!(ana.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    let off = value!({"Operations": [{"op": "replace", "value": {"active": false}}]});
    let (status, gone) = okta.call("PATCH", &format!("/Users/{ana_id}"), &off).await;
    assert_eq!((status, &gone["active"]), (200, &value!(false)));
    assert!(!is_signed_in(&ana).await && is_signed_in(&ben).await);
    // Her vote is gone: one more is not enough, and nothing ran.
    assert!(ben.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    assert_eq!(gateway.approval("pending").await.unwrap(), id);
    assert!(upstream.asked().is_empty());
    let (_, mut cleo) = okta.make("cleo").await;
    assert!(cleo.vote(&id, "approve", Strength::Session, None).await.unwrap().is_success());
    assert_eq!(gateway.approval("done").await.unwrap(), id);
    assert_eq!(upstream.asked(), ["/things/7"]);
    // The token opens nothing else, and no other opens this.
    let with = |token: &str| format!("Authorization: Bearer {token}");
    for (token, path) in [(okta.token.as_str(), "/api/v1/approvals"), (agent.as_str(), "/scim/v2/Users")] {
        let seen = curl(&["-H", &with(token), &format!("{}{path}", gateway.console_url)]).await.unwrap();
        assert!(matches!(seen.status, 401 | 403), "{path}: {}", seen.status);
    }
    assert!(!gateway.log().contains(&okta.token));
}
