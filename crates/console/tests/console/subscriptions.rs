//! The devices on which people are told, and what an installed console is made of.

use crate::stage::{Browser, PUSH_KEY, Stage, request, signed};
use http::{StatusCode, header};
use serde_json::{Value, json};

fn device(endpoint: &str) -> Value {
    json!({"name": "Ana’s phone", "endpoint": endpoint, "p256dh": "planted-p256dh", "auth": "planted-auth", "key": PUSH_KEY})
}

async fn add(stage: &Stage, who: &Browser, endpoint: &str) -> String {
    let made = stage.as_person(who, "POST", "/api/v1/subscriptions", Some(device(endpoint))).await.ok();
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_person_adds_tries_and_removes_their_own_devices() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let bea = stage.reviewer("Bea", &["sre"]).await;
    stage.sign_in(&mut ana).await;
    let id = add(&stage, &ana, "https://push.example/planted-1").await;
    let listed = stage.as_person(&ana, "GET", "/api/v1/subscriptions", None).await;
    assert!(!listed.text().contains("planted"), "{}", listed.text());
    let listed = listed.ok();
    assert_eq!(listed["key"], PUSH_KEY);
    assert_eq!(listed["items"][0]["name"], "Ana’s phone");
    assert_eq!(listed["items"][0]["service"], "https://push.example");
    let page = stage.as_person(&ana, "GET", "/account", None).await.text();
    assert!(page.contains("Ana’s phone") && page.contains("data-key=\"stage-key\""), "{page}");
    assert!(!page.contains("planted"));

    let path = format!("/api/v1/subscriptions/{id}");
    let test = format!("{path}/test");
    assert_eq!(stage.as_person(&ana, "POST", &test, None).await.status, StatusCode::NO_CONTENT);
    let full = add(&stage, &ana, "https://push.example/full").await;
    let failed = stage.as_person(&ana, "POST", &format!("/api/v1/subscriptions/{full}/test"), None).await;
    assert_eq!(failed.problem(), (502, "not-told".into()));
    // Nobody else's but an administrator's.
    for (method, path) in [("POST", &test), ("DELETE", &path)] {
        let by_bea = stage.as_person(&bea, method, path, None).await;
        assert_eq!(by_bea.problem(), (403, "not-allowed".into()), "{method}");
    }
    assert_eq!(stage.as_person(&ana, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    let theirs = format!("/api/v1/people/{}/subscriptions", ana.id);
    assert_eq!(stage.as_person(&bea, "GET", &theirs, None).await.problem(), (403, "not-allowed".into()));
    assert_eq!(stage.operator("GET", &theirs, None).await.ok().as_array().unwrap().len(), 1);
    let full = format!("/api/v1/subscriptions/{full}");
    assert_eq!(stage.operator("DELETE", &full, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!((stage.count("push.subscribed").await, stage.count("push.unsubscribed").await), (2, 2));
}

#[tokio::test]
async fn an_administrator_finds_and_removes_devices_on_the_page_of_people() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let bea = stage.reviewer("Bea", &["sre"]).await;
    stage.sign_in(&mut ana).await;
    let id = add(&stage, &ana, "https://push.example/planted-1").await;
    let path = format!("/api/v1/subscriptions/{id}");
    let button = format!("data-api=\"DELETE {path}\"");
    let page = stage.page(&stage.olga, "/people").await.text();
    assert!(page.contains(&button) && page.contains("Told on <strong>Ana’s phone</strong>"), "{page}");
    assert!(
        page.contains("push.example") && !page.contains("planted"),
        "where it is told stays between browser and gateway"
    );
    // Nobody else sees what people carry, not even on their own row.
    for other in [&ana, &bea] {
        let page = stage.page(other, "/people").await.text();
        assert!(!page.contains(&button) && !page.contains("Ana’s phone"), "{page}");
    }
    assert_eq!(stage.as_person(&stage.olga, "DELETE", &path, None).await.status, StatusCode::NO_CONTENT);
    assert!(!stage.page(&stage.olga, "/people").await.text().contains("Ana’s phone"));
    assert_eq!(stage.count("push.unsubscribed").await, 1);
}

#[tokio::test]
async fn what_a_browser_hands_over_is_looked_at_and_not_repeated() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    // A session that is not fresh any more adds nothing that would outlast it.
    let old =
        stage.as_person(&ana, "POST", "/api/v1/subscriptions", Some(device("https://push.example/1"))).await;
    assert_eq!(old.problem(), (403, "not-fresh".into()));
    stage.sign_in(&mut ana).await;
    let with = |change: fn(&mut Value)| {
        let mut asked = device("https://push.example/1");
        change(&mut asked);
        asked
    };
    for (asked, status, code) in [
        (with(|asked| asked["endpoint"] = json!("http://169.254.169.254/planted")), 422, "invalid"),
        (with(|asked| asked["key"] = json!("another")), 409, "other-key"),
        (with(|asked| asked["name"] = json!("a\u{202e}b")), 422, "invalid"),
        (with(|asked| asked["name"] = json!("")), 422, "invalid"),
    ] {
        let answer = stage.as_person(&ana, "POST", "/api/v1/subscriptions", Some(asked)).await;
        assert!(!answer.text().contains("planted"), "{}", answer.text());
        assert_eq!(answer.problem(), (status, code.into()));
    }
    let more = with(|asked| asked["person"] = json!("somebody"));
    assert!(
        stage.as_person(&ana, "POST", "/api/v1/subscriptions", Some(more)).await.status.is_client_error()
    );
    add(&stage, &ana, "https://push.example/1").await;
    let again = device("https://push.example/1");
    let again = stage.as_person(&ana, "POST", "/api/v1/subscriptions", Some(again)).await;
    assert_eq!(again.problem(), (409, "taken".into()));
    // A personal token reads, and adds nothing.
    assert_eq!(stage.count("push.subscribed").await, 1);
}

#[tokio::test]
async fn what_an_installed_console_is_made_of_is_the_same_for_everybody() {
    let stage = Stage::new().await;
    for (path, kind) in [
        ("/worker.js", "text/javascript; charset=utf-8"),
        ("/offline", "text/html; charset=utf-8"),
        ("/assets/devices.js", "text/javascript; charset=utf-8"),
        ("/assets/manifest.webmanifest", "application/manifest+json"),
    ] {
        let stranger = stage.call(request("GET", path, None)).await;
        assert_eq!(stranger.headers[header::CONTENT_TYPE], kind, "{path}");
        let policy = stranger.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("worker-src 'self'"), "{policy}");
        // Nothing of who asks is in it.
        let olga = stage.call(signed(&stage.olga, "GET", path, None)).await;
        assert_eq!(olga.text(), stranger.text(), "{path}");
    }
    let worker = stage.call(request("GET", "/worker.js", None)).await;
    assert_eq!(worker.headers[header::CACHE_CONTROL], "no-cache");
    assert!(!worker.headers.contains_key("service-worker-allowed"), "its scope is that of its own address");

    let manifest = stage.call(request("GET", "/assets/manifest.webmanifest", None)).await.json();
    assert_eq!(
        (&manifest["display"], &manifest["start_url"], &manifest["scope"]),
        (&json!("standalone"), &json!("/"), &json!("/"))
    );
    let mut purposes = Vec::new();
    for icon in manifest["icons"].as_array().unwrap() {
        let path = icon["src"].as_str().unwrap();
        let picture = stage.call(request("GET", path, None)).await;
        assert_eq!(picture.headers[header::CONTENT_TYPE], icon["type"].as_str().unwrap(), "{path}");
        purposes.push(icon["purpose"].as_str().unwrap().to_owned());
        if icon["type"] == "image/png" {
            assert_eq!(size(&picture.body), icon["sizes"].as_str().unwrap(), "{path}");
        }
    }
    assert!(purposes.contains(&"maskable".to_owned()));
    for (path, want) in [("/assets/icon-180.png", "180x180"), ("/assets/badge-96.png", "96x96")] {
        assert_eq!(size(&stage.call(request("GET", path, None)).await.body), want, "{path}");
    }
}

/// Width and height of a PNG, as its head says them.
fn size(png: &[u8]) -> String {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    format!("{}x{}", number(16), number(20))
}
