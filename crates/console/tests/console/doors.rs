//! Who gets in, and who does not: every route, one by one.

use crate::stage::{ORIGIN, Stage, request, signed};
use http::{StatusCode, header};
use serde_json::json;
use std::collections::BTreeSet;

/// Every route there is. A new one fails here until somebody has thought about who may reach it.
const ROUTES: [(&str, &str); 42] = [
    ("POST", "/api/v1/session/link"),
    ("POST", "/api/v1/session/passkey/options"),
    ("POST", "/api/v1/session/passkey"),
    ("GET", "/api/v1/session"),
    ("DELETE", "/api/v1/session"),
    ("GET", "/api/v1/passkeys"),
    ("POST", "/api/v1/passkeys"),
    ("POST", "/api/v1/passkeys/options"),
    ("DELETE", "/api/v1/passkeys/{id}"),
    ("GET", "/api/v1/approvals"),
    ("GET", "/api/v1/approvals/{id}"),
    ("POST", "/api/v1/approvals/{id}/ballot"),
    ("POST", "/api/v1/approvals/{id}/votes"),
    ("POST", "/api/v1/approvals/{id}/revoke"),
    ("GET", "/api/v1/actions"),
    ("GET", "/api/v1/actions/{id}"),
    ("GET", "/api/v1/actions/{id}/proof"),
    ("POST", "/api/v1/actions/{id}/resolve"),
    ("GET", "/api/v1/unresolved"),
    ("GET", "/api/v1/ledger"),
    ("GET", "/api/v1/ledger/export"),
    ("POST", "/api/v1/ledger/tiles"),
    ("POST", "/api/v1/ledger/redact"),
    ("GET", "/api/v1/targets"),
    ("GET", "/api/v1/policy"),
    ("POST", "/api/v1/policy/why"),
    ("GET", "/api/v1/agents"),
    ("POST", "/api/v1/agents"),
    ("GET", "/api/v1/agents/{id}"),
    ("PATCH", "/api/v1/agents/{id}"),
    ("DELETE", "/api/v1/agents/{id}"),
    ("GET", "/api/v1/agents/{id}/tokens"),
    ("POST", "/api/v1/agents/{id}/tokens"),
    ("DELETE", "/api/v1/tokens/{id}"),
    ("GET", "/api/v1/people"),
    ("POST", "/api/v1/people"),
    ("GET", "/api/v1/people/{id}"),
    ("PATCH", "/api/v1/people/{id}"),
    ("DELETE", "/api/v1/people/{id}"),
    ("POST", "/api/v1/people/{id}/link"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/freezes"),
];
const MORE: [(&str, &str); 43] = [
    ("POST", "/api/v1/approvals/{id}/summons"),
    ("GET", "/api/v1/people/{id}/passkeys"),
    ("DELETE", "/api/v1/people/{id}/sessions"),
    ("POST", "/api/v1/bindings/look"),
    ("POST", "/api/v1/bindings"),
    ("GET", "/api/v1/bindings"),
    ("GET", "/api/v1/people/{id}/bindings"),
    ("DELETE", "/api/v1/people/{id}/bindings/{binding}"),
    ("GET", "/api/v1/scim/tokens"),
    ("POST", "/api/v1/scim/tokens"),
    ("DELETE", "/api/v1/scim/tokens/{id}"),
    ("GET", "/api/v1/channels"),
    ("GET", "/api/v1/channels/{id}/outgoing"),
    ("POST", "/api/v1/channels/{id}/replay"),
    ("GET", "/api/v1/reviews"),
    ("POST", "/api/v1/approvals/{id}/review"),
    ("PUT", "/api/v1/people/{id}/delegation"),
    ("DELETE", "/api/v1/people/{id}/delegation"),
    ("GET", "/api/v1/activity"),
    ("GET", "/api/v1/targets/{id}/tools"),
    ("GET", "/api/v1/targets/{id}/tools/{definition}"),
    ("POST", "/api/v1/targets/{id}/tools/look"),
    ("POST", "/api/v1/targets/{id}/tools/decide"),
    ("PUT", "/api/v1/people/{id}/role"),
    ("POST", "/api/v1/session/provider"),
    ("POST", "/api/v1/accounts"),
    ("DELETE", "/api/v1/accounts/{id}"),
    ("POST", "/api/v1/freezes"),
    ("DELETE", "/api/v1/freezes"),
    ("GET", "/api/v1/agents/{id}/chain"),
    ("GET", "/api/v1/issuers"),
    ("GET", "/api/v1/transmitters"),
    ("POST", "/api/v1/session/device"),
    ("POST", "/api/v1/session/device/token"),
    ("POST", "/api/v1/sessions/device"),
    ("GET", "/api/v1/sessions"),
    ("POST", "/api/v1/sessions"),
    ("DELETE", "/api/v1/sessions/{id}"),
    ("GET", "/api/v1/subscriptions"),
    ("POST", "/api/v1/subscriptions"),
    ("DELETE", "/api/v1/subscriptions/{id}"),
    ("POST", "/api/v1/subscriptions/{id}/test"),
    ("GET", "/api/v1/people/{id}/subscriptions"),
];

/// What channels deliver is signed by them: `said.rs` shows who is believed.
const SIGNED: [(&str, &str); 4] = [
    ("POST", "/api/v1/channels/{id}/events"),
    ("POST", "/api/v1/channels/{id}/slack"),
    ("POST", "/api/v1/channels/{id}/teams"),
    ("POST", "/api/v1/channels/{id}/jira"),
];

/// The pages and what is fetched for them.
const PAGES: [&str; 20] = [
    "/bind",
    "/channels",
    "/targets/cloud/tools",
    "/targets/cloud/tools/sha256:0",
    "/",
    "/fragments/inbox",
    "/fragments/banner",
    "/approvals",
    "/history",
    "/unresolved",
    "/ledger",
    "/policy",
    "/targets",
    "/agents",
    "/agents/activity",
    "/people",
    "/freezes",
    "/account",
    "/approvals/apr_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "/approvals/apr_01ARZ3NDEKTSV4RRFFQ69G5FAV/decide",
];

pub(crate) fn routes() -> Vec<(&'static str, &'static str)> {
    ROUTES.iter().chain(&MORE).copied().collect()
}

#[test]
fn the_description_names_every_route_and_no_other() {
    let document = serde_json::to_value(countersign_console::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.insert((method.to_uppercase(), path.clone()));
            assert!(operation["summary"].is_string(), "{method} {path} says nothing of itself");
        }
    }
    let known: BTreeSet<_> = routes()
        .into_iter()
        .chain(SIGNED)
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(described, known);
}

#[tokio::test]
async fn no_route_takes_an_agents_credential() {
    let stage = Stage::new().await;
    let id = stage.hold(countersign_core::Class::Configure, b"x").await;
    for (method, path) in routes().into_iter().chain(SIGNED) {
        let path = path.replace("{id}", &id);
        // Even together with a person's own session.
        for mut asked in
            [request(method, &path, Some(json!({}))), signed(&stage.olga, method, &path, Some(json!({})))]
        {
            let bearer = format!("Bearer {}", stage.token);
            asked.headers_mut().insert(header::AUTHORIZATION, bearer.parse().unwrap());
            assert_eq!(
                stage.call(asked).await.problem(),
                (403, "agent-credential".into()),
                "{method} {path}"
            );
        }
        let mut asked = request(method, &path, Some(json!({})));
        asked.headers_mut().insert(header::AUTHORIZATION, "bearer csn_nobodys".parse().unwrap());
        assert_eq!(stage.call(asked).await.problem(), (403, "agent-credential".into()), "{method} {path}");
    }
    // Deciding was tried on four routes: each attempt of the known agent is an entry. A stranger's attempts are counted, and
    // what the agent tried to write elsewhere.
    assert_eq!(stage.count("approval.vote_refused").await, 4);
    // Two at once, and the rest once in a while, which on a slow machine may have passed.
    assert!(stage.count("intake.refused").await >= 2);
    assert_eq!(stage.state(&id).await, "pending");
}

#[tokio::test]
async fn no_route_is_open_to_strangers() {
    let stage = Stage::new().await;
    for (method, path) in routes() {
        let path = path.replace("{id}", "apr_01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let answer = stage.call(request(method, &path, Some(json!({})))).await;
        let knocks = path.starts_with("/api/v1/session/");
        if !knocks {
            assert_eq!(answer.problem(), (401, "not-signed-in".into()), "{method} {path}");
        }
        assert!(path.ends_with("/options") && knocks || !answer.status.is_success(), "{method} {path}");
    }
    for path in PAGES {
        let answer = stage.call(request("GET", path, None)).await;
        let turned_away = answer.status == StatusCode::SEE_OTHER || answer.status == StatusCode::UNAUTHORIZED;
        assert!(turned_away && !answer.text().contains("night-agent"), "{path} {}", answer.status);
    }
}

#[tokio::test]
async fn a_write_needs_the_pages_own_origin_host_and_token() {
    let stage = Stage::new().await;
    let writes = routes().into_iter().filter(|(method, _)| *method != "GET");
    for (method, path) in writes {
        let path = path.replace("{id}", "apr_01ARZ3NDEKTSV4RRFFQ69G5FAV");
        let fresh = || signed(&stage.olga, method, &path, Some(json!({})));
        for origin in [None, Some("null"), Some("http://localhost:7101"), Some("https://localhost:7100")] {
            let mut asked = fresh();
            asked.headers_mut().remove(header::ORIGIN);
            if let Some(origin) = origin {
                asked.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(
                stage.call(asked).await.problem(),
                (403, "origin".into()),
                "{method} {path} {origin:?}"
            );
        }
        let mut twice = fresh();
        twice.headers_mut().append(header::ORIGIN, ORIGIN.parse().unwrap());
        assert_eq!(stage.call(twice).await.problem(), (403, "origin".into()), "{method} {path}");
        if !path.starts_with("/api/v1/session/") {
            for token in ["", "wrong"] {
                let mut asked = fresh();
                asked.headers_mut().insert("x-countersign-csrf", token.parse().unwrap());
                assert_eq!(stage.call(asked).await.problem(), (403, "csrf".into()), "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_rebound_host_name_reads_nothing() {
    let stage = Stage::new().await;
    for host in
        ["evil.example", "localhost", "localhost:7101", "127.0.0.1:7100", "localhost:7100.evil.example"]
    {
        for path in ["/", "/api/v1/session", "/assets/console.js"] {
            let mut asked = signed(&stage.olga, "GET", path, None);
            asked.headers_mut().insert(header::HOST, host.parse().unwrap());
            assert_eq!(stage.call(asked).await.problem(), (421, "host".into()), "{host} {path}");
        }
    }
}

#[tokio::test]
async fn every_answer_keeps_the_browser_on_a_short_leash() {
    let stage = Stage::new().await;
    for path in
        ["/", "/api/v1/session", "/nowhere", "/api/v1/nowhere", "/assets/console.js", "/sign-in", "/healthz"]
    {
        let answer = stage.page(&stage.olga, path).await;
        let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
            "{path}"
        );
        assert!(policy.contains("frame-ancestors 'none'; base-uri 'none'"), "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(answer.headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(answer.headers["cross-origin-opener-policy"], "same-origin", "{path}");
        assert!(path.starts_with("/assets") || answer.headers["cache-control"] == "no-store", "{path}");
    }
}

#[tokio::test]
async fn what_is_not_understood_is_a_problem_that_says_why() {
    let stage = Stage::new().await;
    let olga = &stage.olga;
    let bad = |body: &str, kind: &str| {
        let mut asked = signed(olga, "POST", "/api/v1/people", None);
        asked.headers_mut().insert(header::CONTENT_TYPE, kind.parse().unwrap());
        *asked.body_mut() = body.to_owned().into();
        asked
    };
    for (asked, status, code, says) in [
        (signed(olga, "GET", "/api/v1/nowhere", None), 404, "not-found", "nothing"),
        (signed(olga, "PUT", "/api/v1/people", None), 405, "method-not-allowed", "method"),
        (bad("{}", "text/plain"), 415, "not-json", "JSON"),
        (bad("{", "application/json"), 400, "malformed", "line 1"),
        (bad("{\"name\":\"a\"}", "application/json"), 422, "invalid", "`email`"),
        (
            bad("{\"name\":\"a\",\"email\":\"a@b.c\",\"rôle\":1}", "application/json"),
            422,
            "invalid",
            "unknown field",
        ),
        (
            bad("{\"name\":\"a\",\"name\":\"b\",\"email\":\"a@b.c\"}", "application/json"),
            422,
            "invalid",
            "duplicate",
        ),
        (
            bad("{\"name\":\"a\",\"email\":\"a@b.c\",\"groups\":[\"sr\"]}", "application/json"),
            422,
            "invalid",
            "`sr`",
        ),
        (bad(&format!("\"{}\"", "x".repeat(3 << 20)), "application/json"), 413, "too-large", "length"),
        (signed(olga, "GET", "/api/v1/approvals?stat=x", None), 400, "query", "stat"),
        (signed(olga, "GET", "/api/v1/approvals?limit=0", None), 422, "invalid", "limit"),
        (signed(olga, "GET", "/api/v1/approvals/x", None), 404, "not-found", "`x`"),
    ] {
        let answer = stage.call(asked).await;
        assert_eq!(answer.problem(), (status, code.into()), "{}", answer.text());
        assert!(answer.text().contains(says), "{}", answer.text());
    }
}

#[tokio::test]
async fn probes_need_no_credential_and_tell_nothing() {
    let stage = Stage::new().await;
    for path in ["/healthz", "/readyz"] {
        let mut asked = request("GET", path, None);
        asked.headers_mut().insert(header::HOST, "10.0.0.7:7100".parse().unwrap());
        let answer = stage.call(asked).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.text().len() < 40, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_session_ends_when_its_owner_says_so() {
    let stage = Stage::new().await;
    let ana = stage.person("Ana", &["sre"], "reviewer").await;
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/session", None).await.ok()["person"]["name"], "Ana");
    let out = stage.as_person(&ana, "DELETE", "/api/v1/session", Some(json!({"everywhere": true}))).await;
    assert_eq!(out.status, StatusCode::OK);
    assert!(out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/session", None).await.problem().0, 401);
}

#[tokio::test]
async fn a_passkey_signs_its_owner_in() {
    let stage = Stage::new().await;
    let mut ana = stage.reviewer("Ana", &["sre"]).await;
    let asked = stage.call(request("POST", "/api/v1/session/passkey/options", Some(json!({})))).await.ok();
    let response = ana.passkey.as_mut().unwrap().assert(&asked["publicKey"], ORIGIN).unwrap();
    let body = json!({"response": response});
    let opened = stage.call(request("POST", "/api/v1/session/passkey", Some(body.clone()))).await;
    let cookie = opened.headers[header::SET_COOKIE].to_str().unwrap().to_owned();
    assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
    let session = opened.ok();
    assert_eq!(
        (session["person"]["name"].as_str(), session["assurance"].as_str()),
        (Some("Ana"), Some("passkey"))
    );
    let again = stage.call(request("POST", "/api/v1/session/passkey", Some(body))).await;
    assert_eq!(again.problem(), (409, "ceremony-over".into()));
    let spent = stage.call(request("POST", "/api/v1/session/link", Some(json!({"token": "x"})))).await;
    assert_eq!(spent.problem(), (410, "link-spent".into()));
}

#[tokio::test]
async fn a_providers_notice_needs_no_origin_and_is_believed_by_its_signature_alone() {
    let stage = Stage::new().await;
    let notice = |body: &'static str| {
        let mut asked = request("POST", "/sign-in/corp/logout", None);
        asked.headers_mut().remove(header::ORIGIN);
        asked
            .headers_mut()
            .insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded".parse().unwrap());
        *asked.body_mut() = axum::body::Body::from(body);
        asked
    };
    for (body, status) in [("", 400), ("logout_token=a&logout_token=b", 400), ("logout_token=a.b.c", 404)] {
        assert_eq!(stage.call(notice(body)).await.problem().0, status, "{body}");
    }
    // The same address without the last word is a page's business again.
    let mut elsewhere = notice("logout_token=a");
    *elsewhere.uri_mut() = "/api/v1/session".parse().unwrap();
    assert_eq!(stage.call(elsewhere).await.problem(), (403, "origin".into()));
}

#[tokio::test]
async fn a_page_brings_an_older_session_another_cookie_and_a_copy_of_the_old_one_ends_it() {
    let stage = Stage::new().await;
    let mut ana = stage.person("Ana", &["sre"], "reviewer").await;
    let fresh = stage.page(&ana, "/").await;
    assert!(!fresh.headers.contains_key(header::SET_COOKIE));
    let thief = ana.again();
    stage.pass(std::time::Duration::from_mins(20));
    let asked = stage.as_person(&ana, "GET", "/api/v1/approvals", None).await;
    assert!(!asked.headers.contains_key(header::SET_COOKIE), "programs keep theirs");
    let page = stage.page(&ana, "/").await;
    let cookie = page.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    ana.cookie = cookie.split(';').next().unwrap().to_owned();
    stage.as_person(&ana, "GET", "/api/v1/approvals", None).await.ok();
    assert!(page.text().contains(&ana.csrf), "forms that are open already stay good");
    stage.pass(std::time::Duration::from_mins(2));
    let freeze = Some(serde_json::json!({"scope": "target", "name": "cloud"}));
    stage.as_person(&ana, "POST", "/api/v1/freezes", freeze).await.ok();
    assert_eq!(stage.as_person(&thief, "GET", "/api/v1/approvals", None).await.problem().0, 401);
    assert_eq!(stage.as_person(&ana, "GET", "/api/v1/approvals", None).await.problem().0, 401);
}
