//! Tokens of a CI service through the real binary, with `curl` and `psql`: they are an agent's credential on both
//! wires, whoever they act for has no vote, and nothing of them is written anywhere.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_demo::person::Strength;
use countersign_e2e::{Gateway, Setup, client::curl};
use countersign_testkit::{
    issuer::{SigningKey, TokenIssuer},
    postgres::{Options, Postgres},
    server::{Server, json},
};
use serde_json::{Value, json};
use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

const SECRET: &str = "planted-upstream-secret";
const AUDIENCE: &str = "https://countersign.test";

struct Stage {
    cluster: Postgres,
    gateway: Gateway,
    target: Server,
    issuer: TokenIssuer,
    key: SigningKey,
}

impl Stage {
    async fn open() -> Self {
        let cluster = Postgres::start(&Options::default()).await.unwrap();
        cluster.run("postgres", &format!("create role app login password '{SECRET}'")).unwrap();
        cluster.run("postgres", "create database shop owner app").unwrap();
        let rows = "set role app; create table orders (id int primary key); \
            insert into orders select generate_series(1, 100)";
        cluster.run("shop", rows).unwrap();
        let target =
            Server::start(Arc::new(|_| json(http::StatusCode::OK, &json!({"status": "fine"})))).await;
        let target = target.unwrap();
        let key = SigningKey::rsa("ci-1").unwrap();
        let issuer = TokenIssuer::start(&[&key]).await.unwrap();
        let text = format!(
            r#"[[http]]
name = "api"
environment = "prod"
listen = "127.0.0.1:WIRE"
upstream = "{}"

[[http.operations]]
name = "getStatus"
method = "GET"
path = "/status"
class = "read"
sentence = "Read the status"

[[postgres]]
name = "shop"
environment = "prod"
listen = "127.0.0.1:SECOND"
upstream = "127.0.0.1:{}"
databases = ["shop"]
credential = {{ profile = "shop-app", user = "app", value_from = "file:secret" }}

[[issuers]]
name = "ci"
issuer = "{}"
audiences = ["{AUDIENCE}"]
algorithms = ["RS256"]

[[issuers.agents]]
agent = "ci/{{repository}}"
match = {{ repository_owner_id = "4711", ref = ["refs/heads/main", "refs/tags/*"] }}
owners = ["olga@example.com"]
groups = ["agents"]
kind = "service"
on_behalf_of = "actor"
people = {{ "ana-gh" = "ana@example.com" }}
"#,
            target.url(),
            cluster.port(),
            issuer.url(),
        );
        let setup = Setup {
            policy: include_str!("../fixtures/postgres.cedar"),
            groups: r#"["agents", "sre"]"#,
            sections: &text,
            files: &[("secret", SECRET)],
        };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        Self { cluster, gateway, target, issuer, key }
    }

    fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims = json!({
            "iss": self.issuer.url(), "aud": AUDIENCE, "sub": "repo:acme/shop:ref:refs/heads/main",
            "iat": now, "nbf": now, "exp": now + 600, "repository": "acme/shop", "repository_owner_id": "4711",
            "ref": "refs/heads/main", "actor": "ana-gh",
        });
        change(&mut claims);
        self.key.token(&json!({"alg": "RS256", "kid": self.key.id, "typ": "JWT"}), &claims).unwrap()
    }

    async fn get(&self, token: &str) -> (u16, String) {
        let header = format!("Authorization: Bearer {token}");
        let seen = curl(&["-H", &header, &format!("{}/status", self.gateway.url)]).await.unwrap();
        (seen.status, String::from_utf8_lossy(&seen.body).into_owned())
    }

    fn psql(&self, token: &str, sql: &str) -> Child {
        let mut command: Command = self.cluster.program("psql");
        command.env("PGPASSWORD", token).args([
            "-h",
            "127.0.0.1",
            "-p",
            &self.gateway.second_port.to_string(),
            "-U",
            "ci",
            "-d",
            "shop",
        ]);
        command.args(["-X", "-A", "-t", "-c", sql]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

async fn ended(child: Child) -> (String, String) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_token_is_a_credential_on_every_wire_and_its_person_has_no_vote() {
    let stage = Stage::open().await;
    let token = stage.token(|_| {});
    let (status, said) = stage.get(&token).await;
    assert_eq!(status, 401, "nobody here is the person it acts for: {said}");
    let mut ana = stage.gateway.person("ana@example.com", "sre").await.unwrap();
    let mut others = [
        stage.gateway.person("ben@example.com", "sre").await.unwrap(),
        stage.gateway.person("cleo@example.com", "sre").await.unwrap(),
    ];
    assert_eq!(stage.get(&token).await, (200, r#"{"status":"fine"}"#.into()));
    assert_eq!(ended(stage.psql(&token, "select count(*) from orders")).await, ("100".into(), String::new()));

    // What is not for this gateway, or not of that owner, or not of its issuer, gets nowhere and is told why.
    let asked = stage.target.asked().len();
    let other = SigningKey::rsa("ci-1").unwrap();
    let head = json!({"alg": "RS256", "kid": "ci-1"});
    for (token, why) in [
        (stage.token(|claims| claims["aud"] = "https://other.test".into()), "audience"),
        (stage.token(|claims| claims["repository_owner_id"] = "4712".into()), "no rule"),
        (stage.token(|claims| claims["ref"] = "refs/heads/evil".into()), "no rule"),
        (stage.token(|claims| claims["exp"] = 1.into()), "expired"),
        (other.token(&head, &json!({"iss": stage.issuer.url(), "aud": AUDIENCE})).unwrap(), "signature"),
    ] {
        let (status, said) = stage.get(&token).await;
        assert!(status == 401 && said.contains(why), "{status} {said}");
        let (out, err) = ended(stage.psql(&token, "select 1")).await;
        assert!(out.is_empty() && err.contains(why), "{err}");
    }
    assert_eq!(stage.target.asked().len(), asked);

    // Held on one wire; the person it acts for is told why they have no vote.
    let held = stage.psql(&token, "delete from orders where id <= 14");
    let id = stage.gateway.approval("pending").await.unwrap();
    let refused = ana.vote(&id, "approve", Strength::Session, None).await.unwrap();
    assert!(!refused.is_success(), "{}", refused.told());
    assert!(refused.told().contains("requester's side"), "{}", refused.told());
    let chain = stage.gateway.command(&["agent", "chain", "ci/acme/shop"]).await.unwrap();
    let chain: Vec<String> =
        chain.as_array().unwrap().iter().map(|one| format!("{} {}", one["name"], one["why"])).collect();
    assert_eq!(chain.len(), 2, "{chain:?}");
    assert!(chain[0].contains("olga") && chain[0].contains("owns it"), "{chain:?}");
    assert!(chain[1].contains("ana") && chain[1].contains("acts for them"), "{chain:?}");
    for person in &mut others {
        let vote = person.vote(&id, "approve", Strength::Session, None).await.unwrap();
        assert!(vote.is_success(), "{}", vote.told());
    }
    assert_eq!(ended(held).await.0, "DELETE 14");

    let issuers = stage.gateway.command(&["agent", "issuers"]).await.unwrap();
    assert_eq!((&issuers[0]["name"], &issuers[0]["keys"]), (&json!("ci"), &json!(1)));
    assert!(stage.issuer.fetched() <= 2, "keys are fetched once, and not for every request");
    let signature = token.rsplit('.').next().unwrap();
    assert!(!stage.gateway.log().contains(signature));
    for file in std::fs::read_dir(stage.gateway.folder().join("data")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            // One that the gateway took away meanwhile.
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let found = bytes.windows(signature.len()).any(|window| window == signature.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
}
