//! Text that somebody wrote to fool a reviewer, through every page.

use crate::stage::{Stage, request};
use countersign_core::Class;
use countersign_engine::Reply;
use serde_json::json;

const CORPUS: [&str; 9] = [
    "bidi \u{202e}txt.exe\u{2066} isolated",
    "zero\u{200b}width\u{200d}\u{feff}joined",
    "\u{1b}[2J\u{1b}[31mred\u{7}",
    "NUL\0and\u{8}\u{8}\u{8}backspace\roverwritten",
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><b>",
    "</pre></blockquote></section><section class=\"computed\"><h2>Computed by Countersign</h2>",
    "\" data-api=\"POST /api/v1/freezes\" autofocus onfocus=\"alert(1)",
    "⟨U+0041⟩ {{ 7*7 }} {% raw %} javascript:alert(1)",
    "tag\u{e0041}\u{e007f} var\u{fe0f} nbsp\u{a0} filler\u{3164} marks e\u{301}\u{301}\u{301}\u{301}\u{301}",
];

const PAGES: [&str; 13] = [
    "/",
    "/fragments/inbox",
    "/approvals",
    "/history",
    "/unresolved",
    "/ledger",
    "/policy",
    "/targets",
    "/agents",
    "/people",
    "/channels",
    "/freezes",
    "/account",
];

/// What no page may ever hold: characters that are not seen, and the attackers' markup as markup.
fn harmless(page: &str, text: &str) {
    let hidden = text.chars().find(|seen| {
        let code = u32::from(*seen);
        matches!(code, 0..=8 | 11..=31 | 127..=159 | 0xa0 | 0x200b..=0x200f | 0x202a..=0x202e | 0x2066..=0x2069)
            || matches!(code, 0x3164 | 0xfe00..=0xfe0f | 0xfeff | 0xe0000..=0xe0fff)
    });
    assert_eq!(hidden, None, "{page}");
    for markup in
        ["<script>", "<img", "<b>", "onerror=alert(1)>", "\" data-api=\"POST /api/v1/freezes\" autofocus"]
    {
        assert!(!text.contains(markup), "{page} holds {markup}");
    }
    // Nothing of ours stands inline, so the policy on content can forbid all of it.
    for inline in ["<style", " style=\"", " onclick=", " onload=", "javascript:\"", "<script src=\"http"] {
        assert!(!text.contains(inline), "{page} holds {inline}");
    }
    assert_eq!(
        text.matches("<h2 id=\"facts\">").count(),
        usize::from(text.contains("id=\"approval\"")),
        "{page}"
    );
}

#[tokio::test]
async fn no_page_is_fooled_by_what_an_agent_writes() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["privacy", "sre"]).await;
    let mut all: Vec<String> = PAGES.iter().map(ToString::to_string).collect();
    let mut actions = Vec::new();
    for (n, text) in CORPUS.iter().enumerate() {
        let body = serde_json::to_vec(&json!({"n": n, "text": text})).unwrap();
        let id = stage.hold_as(Class::Configure, &body, text, Some(text)).await;
        let raw = format!("{n} {text}");
        let rawer = stage.hold_as(Class::Export, raw.as_bytes(), text, Some(text)).await;
        if let Reply::Refused(refused) = stage.ask(Class::Administer, raw.as_bytes(), text, Some(text)).await
        {
            actions.push(refused.action.unwrap().to_string());
        }
        all.extend([
            format!("/approvals/{id}"),
            format!("/approvals/{rawer}"),
            format!("/approvals/{rawer}/decide"),
            format!("/approvals/{id}/body"),
        ]);
        let seen = stage.as_person(&ana, "GET", &format!("/api/v1/approvals/{id}"), None).await.ok();
        actions.push(seen["action"].as_str().unwrap().to_owned());
    }
    // A rejection in the words of somebody who was told to paste them.
    let id = stage.hold(Class::Configure, b"reject me").await;
    let asked = stage
        .as_person(
            &ana,
            "POST",
            &format!("/api/v1/approvals/{id}/ballot"),
            Some(json!({"decision": "reject"})),
        )
        .await
        .ok();
    let vote = json!({"statement": asked["statement"], "assertion": null, "reason": CORPUS.concat()});
    stage.as_person(&ana, "POST", &format!("/api/v1/approvals/{id}/votes"), Some(vote)).await.ok();
    all.push(format!("/approvals/{id}"));
    all.extend(actions.iter().map(|action| format!("/actions/{action}")));
    assert_eq!(actions.len(), CORPUS.len() * 2);
    for path in &all {
        let page = stage.page(&ana, path).await;
        assert!(page.status.is_success(), "{path} {} {}", page.status, page.text());
        if !path.ends_with("/body") {
            harmless(path, std::str::from_utf8(&page.body).unwrap());
        }
    }
    let query = "/history?q=%3Cscript%3E&type=%22%3E&actor=&target=%E2%80%AE&since=&until=";
    harmless(query, &stage.page(&ana, query).await.text());
    let next = "/sign-in?next=%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    harmless(next, &stage.call(request("GET", next, None)).await.text());
}

#[tokio::test]
async fn hidden_characters_are_written_out_where_they_stand() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let id = stage.hold_as(Class::Configure, "a\u{202e}b\u{ff}".as_bytes(), "Set x\u{202e}y.", None).await;
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("Set x<mark>⟨U+202E⟩</mark>y."), "{page}");
    assert!(page.contains("characters that are not seen"));
    let raw = stage.hold(Class::Configure, b"ok\xff\xfe").await;
    let page = stage.page(&ana, &format!("/approvals/{raw}")).await.text();
    assert!(page.contains("ok<mark>⟨0xFF⟩</mark><mark>⟨0xFE⟩</mark>"), "{page}");
}

#[tokio::test]
async fn claimed_text_stands_apart_from_what_is_computed() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let claim = "Computed by Countersign: harmless, approved by Olga";
    let id = stage.hold_as(Class::Configure, b"{\"a\":1}", "Set x.", Some(claim)).await;
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    let (computed, rest) = page.split_once("<section class=\"claimed\"").unwrap();
    assert!(!computed.contains(claim));
    let (claimed, rest) = rest.split_once("</section>").unwrap();
    assert!(claimed.contains("Claimed by the requester (not verified)") && claimed.contains(claim));
    assert!(!rest.contains(claim));
    assert!(rest.contains("Decoded JSON") && rest.contains("Exact bytes"));
}

#[tokio::test]
async fn a_body_too_large_for_the_page_cannot_be_approved_unseen() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let mut body = vec![b'a'; 10 << 20];
    body.extend_from_slice(b"THE END\xff");
    let id = stage.hold(Class::Configure, &body).await;
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("data-large=\"true\"") && page.contains("id=\"approve\" disabled"));
    assert!(!page.contains("THE END") && page.len() < 100_000);
    let whole = stage.page(&ana, &format!("/approvals/{id}/body")).await;
    assert_eq!(whole.headers["content-type"], "text/plain; charset=utf-8");
    assert!(whole.text().ends_with("THE END⟨0xFF⟩") && whole.body.len() > 10 << 20);
    // What fits is whole on the page.
    let mut body = vec![b'b'; 256 * 1024 - 7];
    body.extend_from_slice(b"THE END");
    let id = stage.hold(Class::Configure, &body).await;
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    assert!(page.contains("THE END") && page.contains("data-large=\"false\""));
}

#[tokio::test]
async fn json_too_deep_to_lay_out_is_shown_as_bytes() {
    let stage = Stage::new().await;
    let ana = stage.reviewer("Ana", &["sre"]).await;
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let id = stage.hold(Class::Configure, deep.as_bytes()).await;
    let page = stage.page(&ana, &format!("/approvals/{id}")).await.text();
    assert!(page.contains(&deep) && !page.contains("Decoded JSON"));
}

/// The escaper stands behind every interpolation; only markup drawn by our own two modules goes around it.
#[test]
fn templates_interpolate_markup_of_ours_only() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/templates");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for piece in text.split("{{").skip(1) {
            let inside = piece.split("}}").next().unwrap().trim();
            seen += 1;
            if inside.contains('|') {
                let drawn = inside.starts_with("draw::") || inside.starts_with("escape::");
                assert!(drawn && inside.ends_with("|safe"), "{}: {inside}", path.display());
            }
        }
        for forbidden in ["<style", " style=", "onclick", "http://", "https://", "{% autoescape"] {
            assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
        }
    }
    assert!(seen > 100);
}

#[tokio::test]
async fn a_problem_writes_out_what_a_hostile_name_would_hide() {
    let stage = Stage::new().await;
    let hostile = "a\u{202e}b\u{200b}";
    for (method, path, body) in [
        ("POST", "/api/v1/people", json!({"name": "x", "email": "x@example.com", hostile: 1})),
        ("POST", "/api/v1/people", json!({"name": "x", "email": hostile})),
        ("POST", "/api/v1/people", json!({"name": hostile, "email": "x@example.com", "groups": [hostile]})),
        ("POST", "/api/v1/agents", json!({"name": "x", "kind": "agent", "owner": hostile})),
        ("POST", "/api/v1/freezes", json!({"scope": "target", "name": hostile})),
        ("GET", "/api/v1/approvals/%E2%80%AEx", json!({})),
    ] {
        let answer = stage.as_person(&stage.olga, method, path, Some(body.clone())).await;
        assert!(answer.status.is_client_error(), "{path} {body}: {}", answer.text());
        let told = answer.text();
        assert!(!told.contains('\u{202e}') && !told.contains('\u{200b}'), "{path} {body}: {told}");
        assert!(!told.contains("⟨U+27E8⟩"), "marked twice: {told}");
    }
}
