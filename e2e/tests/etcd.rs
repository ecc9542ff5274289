//! etcd behind the gateway, through its HTTP/JSON API: reading is permitted, a production key is held, deleting needs
//! two people; `curl` and Python see byte for byte what they would see without the gateway.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_demo::person::Strength;
use countersign_e2e::{
    Gateway, Setup,
    client::{Seen, curl, python},
};
use countersign_testkit::etcd::Etcd;
use serde_json::{Value, json};
use std::time::Duration;

const PYTHON: &str = r#"
import http.client, sys
host, token, path, body = sys.argv[1:5]
connection = http.client.HTTPConnection(host.removeprefix("http://"), timeout=60)
headers = {"Content-Type": "application/json"}
if token:
    headers["Authorization"] = "Bearer " + token
connection.request("POST", path, body=body, headers=headers)
answer = connection.getresponse()
sys.stdout.buffer.write(str(answer.status).encode() + b"\n" + answer.read())
"#;

struct Stage {
    etcd: Etcd,
    gateway: Gateway,
    token: String,
}

impl Stage {
    async fn open() -> Self {
        let etcd = Etcd::start().await.unwrap();
        let target = format!(
            "[[http]]\nlisten = \"127.0.0.1:WIRE\"\nname = \"etcd\"\nenvironment = \"prod\"\nupstream = \"{}\"\nopenapi = \"etcd-openapi.json\"",
            etcd.url()
        );
        let setup = Setup {
            policy: include_str!("../fixtures/etcd.cedar"),
            groups: r#"["operators", "sre"]"#,
            sections: &target,
            files: &[("etcd-openapi.json", include_str!("../fixtures/etcd-openapi.json"))],
        };
        let gateway = Gateway::start(&setup).await.unwrap();
        gateway.invite("olga@example.com", "sre").await.unwrap();
        let token = gateway.agent("bot", "olga@example.com", "operators").await.unwrap();
        Self { etcd, gateway, token }
    }

    /// Past the gateway.
    async fn directly(&self, path: &str, body: &Value) -> Seen {
        let (url, body) = (format!("{}{path}", self.etcd.url()), body.to_string());
        curl(&["-H", "Content-Type: application/json", "-d", &body, &url]).await.unwrap()
    }

    /// Through the gateway, as the agent.
    async fn asked(&self, path: &str, body: &Value) -> Seen {
        let (url, body) = (format!("{}{path}", self.gateway.url), body.to_string());
        let authorization = format!("Authorization: Bearer {}", self.token);
        let content = "Content-Type: application/json";
        curl(&["-H", &authorization, "-H", content, "-H", "Prefer: respond-async", "-d", &body, &url])
            .await
            .unwrap()
    }

    /// The value of a key, past the gateway.
    async fn value(&self, key: &str) -> Option<String> {
        let found = self.directly("/v3/kv/range", &json!({ "key": b64(key) })).await;
        let found: Value = serde_json::from_slice(&found.body).unwrap();
        let value = found.pointer("/kvs/0/value")?.as_str()?.to_owned();
        Some(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap())
    }

    /// What a held request came to.
    async fn outcome(&self, held: &Seen) -> Seen {
        let url = format!("{}{}", self.gateway.url, held.header("location").unwrap());
        let authorization = format!("Authorization: Bearer {}", self.token);
        for _ in 0..500 {
            let seen = curl(&["-H", &authorization, "-H", "Prefer: wait=5", &url]).await.unwrap();
            if seen.status != 202 {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("nothing came of {url}: {}", self.gateway.log())
    }
}

fn b64(text: &str) -> String {
    STANDARD.encode(text)
}

fn code(seen: &Seen) -> String {
    let problem: Value = serde_json::from_slice(&seen.body).unwrap();
    problem.get("code").and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn approval(held: &Seen) -> String {
    assert_eq!(held.status, 202, "{}", String::from_utf8_lossy(&held.body));
    held.header("location").unwrap().rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn reads_through_the_gateway_are_byte_for_byte_what_etcd_says() {
    let stage = Stage::open().await;
    for key in ["a/1", "a/2", "b/ünïcode"] {
        stage.directly("/v3/kv/put", &json!({ "key": b64(key), "value": b64(&"v".repeat(3000)) })).await;
    }
    for body in [
        json!({ "key": b64("a/1") }),
        json!({ "key": b64("b/ünïcode") }),
        json!({ "key": b64("a/"), "range_end": b64("a0") }),
        json!({ "key": b64("a/"), "rangeEnd": b64("a0"), "limit": "1" }),
        json!({ "key": b64("nothing") }),
    ] {
        let (plain, through) =
            (stage.directly("/v3/kv/range", &body).await, stage.asked("/v3/kv/range", &body).await);
        assert_eq!(through.status, 200, "{}", String::from_utf8_lossy(&through.body));
        assert_eq!(plain.body, through.body, "{body}");
        assert_eq!(plain.own_headers(), through.own_headers(), "{body}");
        let body = body.to_string();
        let plain = python(PYTHON, &[&stage.etcd.url(), "", "/v3/kv/range", &body]).await.unwrap();
        let through =
            python(PYTHON, &[&stage.gateway.url, &stage.token, "/v3/kv/range", &body]).await.unwrap();
        assert_eq!(plain, through, "{body}");
    }
}

#[tokio::test]
async fn a_production_key_is_put_only_with_a_persons_word() {
    let stage = Stage::open().await;
    let mut ana = stage.gateway.person("ana@example.com", "sre").await.unwrap();
    let free = stage.asked("/v3/kv/put", &json!({ "key": b64("dev/timeout"), "value": b64("1") })).await;
    assert_eq!((free.status, stage.value("dev/timeout").await.as_deref()), (200, Some("1")));
    let put = json!({ "key": b64("prod/timeout"), "value": b64("30") });
    let held = stage.asked("/v3/kv/put", &put).await;
    let waiting = approval(&held);
    assert_eq!(stage.value("prod/timeout").await, None);
    let shown: Value =
        serde_json::from_slice(&ana.read(&format!("approvals/{waiting}")).await.unwrap().body).unwrap();
    assert_eq!(shown["sentence"], "Set the key “prod/timeout” to “30” (prod).");
    let vote = ana.vote(&waiting, "approve", Strength::Session, None).await.unwrap();
    assert!(vote.is_success(), "{}", vote.told());
    let done = stage.outcome(&held).await;
    assert_eq!(done.status, 200, "{}", String::from_utf8_lossy(&done.body));
    assert!(
        done.body.starts_with(br#"{"header":"#),
        "etcd's own answer: {}",
        String::from_utf8_lossy(&done.body)
    );
    assert_eq!(stage.value("prod/timeout").await.as_deref(), Some("30"));
    let again = approval(&stage.asked("/v3/kv/put", &put).await);
    assert_ne!(again, waiting, "what was delivered is spent");
}

#[tokio::test]
async fn deleting_a_range_is_refused_without_two_people() {
    let stage = Stage::open().await;
    let (mut ana, mut ben) = (
        stage.gateway.person("ana@example.com", "sre").await.unwrap(),
        stage.gateway.person("ben@example.com", "sre").await.unwrap(),
    );
    for key in ["a/1", "a/2"] {
        stage.directly("/v3/kv/put", &json!({ "key": b64(key), "value": b64("v") })).await;
    }
    let held = stage.asked("/v3/kv/deleterange", &json!({ "key": b64("a/"), "rangeEnd": b64("a0") })).await;
    let waiting = approval(&held);
    let told: Value = serde_json::from_slice(&held.body).unwrap();
    assert_eq!(told["sentence"], "Delete every key from “a/” up to “a0” (prod).");
    let vote = ana.vote(&waiting, "approve", Strength::Passkey, None).await.unwrap();
    assert!(vote.is_success(), "{}", vote.told());
    assert!(stage.value("a/1").await.is_some(), "one vote is not two");
    let vote = ben.vote(&waiting, "approve", Strength::Passkey, None).await.unwrap();
    assert!(vote.is_success(), "{}", vote.told());
    let done = stage.outcome(&held).await;
    let deleted: Value = serde_json::from_slice(&done.body).unwrap();
    assert_eq!(deleted["deleted"], "2");
    assert_eq!((stage.value("a/1").await, stage.value("a/2").await), (None, None));
}

#[tokio::test]
async fn what_is_not_looked_into_or_not_declared_is_refused() {
    let stage = Stage::open().await;
    let put = json!({ "requestPut": { "key": b64("prod/x"), "value": b64("1") } });
    let both = format!(r#"{{"key":"{}","key":"{}","value":"MQ=="}}"#, b64("dev/x"), b64("prod/x"));
    for (path, body, wanted) in [
        ("/v3/kv/txn", json!({ "success": [put] }).to_string(), "not-permitted"),
        ("/v3/maintenance/snapshot", "{}".into(), "not-permitted"),
        ("/v3beta/kv/put", json!({ "key": b64("prod/x"), "value": b64("1") }).to_string(), "not-permitted"),
        ("/v3/kv/put", both, "malformed"),
        ("/v3/kv/put", json!({ "Key": b64("prod/x"), "value": b64("1") }).to_string(), "malformed"),
        ("/v3/kv/put", json!({ "key": "/w==", "value": b64("1") }).to_string(), "malformed"),
    ] {
        let authorization = format!("Authorization: Bearer {}", stage.token);
        let url = format!("{}{path}", stage.gateway.url);
        let seen = curl(&["-H", &authorization, "-H", "Content-Type: application/json", "-d", &body, &url])
            .await
            .unwrap();
        assert!((400..500).contains(&seen.status), "{path} {body}: {}", seen.status);
        assert_eq!(code(&seen), wanted, "{path} {body}");
    }
    assert_eq!(stage.value("prod/x").await, None);
    let stranger = curl(&["-d", "{}", &format!("{}/v3/kv/range", stage.gateway.url)]).await.unwrap();
    assert_eq!((stranger.status, code(&stranger).as_str()), (401, "unauthenticated"));
}
