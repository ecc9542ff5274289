//! People through a real OpenID provider, in a real browser: they come in by the provider's word, an address that it
//! has not verified opens nothing, and an account is linked by whoever is here already.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use countersign_e2e::{Gateway, Setup, browser::Browser, client::curl, night};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// The provider. Dropping it ends it.
struct Provider {
    child: Child,
    /// Held open: a program that cannot speak ends.
    _out: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Provider {
    /// Starts it and waits until it listens.
    fn start(port: u16, origin: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/oidc_provider.mjs");
        let modules = drivers().join("node/node_modules");
        assert!(modules.join("oidc-provider").exists(), "it is missing: run `make setup`");
        // Modules are looked for beside the script: it runs from a folder that has them.
        let beside = drivers().join("node/oidc_provider.mjs");
        countersign_e2e::put(&script, &beside).unwrap();
        let mut child = Command::new("node")
            .arg(beside)
            .args([&port.to_string(), origin])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        Self { child, _out: out }
    }
}

fn drivers() -> PathBuf {
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    target.join("drivers")
}

const SECTIONS: &str = r#"[[sign_in]]
name = "corp"
label = "Example SSO"
issuer = "http://localhost:PROVIDER"
client_id = "countersign"
client_secret_from = "file:client-secret"
domains = ["example.com"]
scopes = ["email", "profile", "groups"]
groups = { "Reliability" = "sre" }

[[http]]
name = "api"
environment = "prod"
listen = "127.0.0.1:WIRE"
upstream = "http://127.0.0.1:9"
"#;

/// Types a login at the provider's own pages, and says yes.
async fn at_the_provider(browser: &Browser, login: &str) {
    log_in(browser, login, "x").await;
    browser.until_text("body", "Continue").await.unwrap();
    browser.click("button[type=submit]").await.unwrap();
}

/// Types a login there. Whoever said yes before is not asked again.
async fn log_in(browser: &Browser, login: &str, password: &str) {
    browser.text("input[name=login]").await.unwrap();
    browser.write("input[name=login]", login).await.unwrap();
    browser.write("input[name=password]", password).await.unwrap();
    browser.click("button[type=submit]").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn people_come_in_by_their_providers_word_and_by_nothing_less() {
    let port = countersign_testkit::ports::free().unwrap();
    let setup = Setup {
        policy: include_str!("../fixtures/postgres.cedar"),
        groups: r#"["agents", "sre"]"#,
        sections: &SECTIONS.replace("PROVIDER", &port.to_string()),
        files: &[("client-secret", "planted-client-secret\n")],
    };
    let gateway = Gateway::start(&setup).await.unwrap();
    let provider = Provider::start(port, &gateway.console_url);
    let console = &gateway.console_url;
    gateway.command(&["person", "invite", "ana@example.com"]).await.unwrap();

    // Eve has given herself Ana's address at the provider, which has not verified it.
    let eve = Browser::start(1280, 900).await.unwrap();
    eve.page.goto(&format!("{console}/history")).await.unwrap();
    eve.until_text("[data-provider=corp]", "Sign in with Example SSO").await.unwrap();
    eve.picture("sign-in").await.unwrap();
    assert_eq!(eve.overflow().await.unwrap(), 0);
    eve.click("[data-provider=corp]").await.unwrap();
    at_the_provider(&eve, "eve").await;
    eve.until_text("main", "Nobody here is known by that account").await.unwrap();
    eve.picture("sign-in-refused").await.unwrap();
    eve.close().await.unwrap();

    // Ana comes in, lands where she wanted to go, and is in the group her provider says.
    let ana = Browser::start(390, 800).await.unwrap();
    ana.page.goto(&format!("{console}/history")).await.unwrap();
    ana.text("[data-provider=corp]").await.unwrap();
    ana.picture("sign-in-phone").await.unwrap();
    assert_eq!(ana.overflow().await.unwrap(), 0);
    ana.click("[data-provider=corp]").await.unwrap();
    at_the_provider(&ana, "ana").await;
    ana.until("location.pathname === '/history'").await.unwrap();
    ana.page.goto(&format!("{console}/account")).await.unwrap();
    let account = ana.until_text("main", "Example SSO").await.unwrap();
    assert!(
        account.contains("sre") && account.contains("linked") && account.contains("with corp"),
        "{account}"
    );
    ana.picture("account-phone").await.unwrap();
    let address = ana.page.current_url().await.unwrap();
    assert!(address.query().is_none(), "{address}");
    let people = gateway.command(&["person", "list"]).await.unwrap();
    let items = people.as_array().unwrap();
    assert_eq!(items.len(), 1);
    assert_eq!(items.first().and_then(|one| one.get("state")).and_then(Value::as_str), Some("enrolled"));

    // Signing out leads to the provider, which asks once more, and back.
    // To where it can be reached, whatever else the page shows.
    let reach = "document.querySelector(\"form[data-api='DELETE /api/v1/session']\").scrollIntoView({block: 'center'})";
    ana.page.execute(reach, vec![]).await.unwrap();
    ana.click("form[data-api='DELETE /api/v1/session'] button.plain").await.unwrap();
    ana.until("location.port !== '' && location.pathname.startsWith('/session/end')").await.unwrap();
    ana.click("button[name=logout][value=yes]").await.unwrap();
    ana.until("location.pathname === '/sign-in'").await.unwrap();

    // An answer without the cookie that asked for it, or of another sign-in, is nobody's.
    ana.page.goto(&format!("{console}/sign-in/corp/back?code=x&state=y")).await.unwrap();
    ana.until_text("main", "was not begun in this browser").await.unwrap();
    ana.close().await.unwrap();
    drop(provider);

    for secret in ["planted-client-secret", "code="] {
        assert!(!gateway.log().contains(secret), "{secret}");
    }
}

/// A gate that asks how its voter signed in.
const STEP_UP: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("gold") @gate("gold") @approvers("Group::\"sre\"") @acr("gold") @fresh("5m") @reason("the shop changes")
forbid (principal, action, resource);
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_wants_a_stronger_sign_in_leads_to_the_provider_which_asks_anew() {
    let port = countersign_testkit::ports::free().unwrap();
    let setup = Setup {
        policy: STEP_UP,
        groups: r#"["agents", "sre"]"#,
        sections: &SECTIONS.replace("PROVIDER", &port.to_string()),
        files: &[("client-secret", "planted-client-secret\n")],
    };
    let gateway = Gateway::start(&setup).await.unwrap();
    let provider = Provider::start(port, &gateway.console_url);
    gateway.invite("ana@example.com", "sre").await.unwrap();
    gateway.invite("olga@example.com", "sre").await.unwrap();
    let token = gateway.agent("bot", "olga@example.com", "agents").await.unwrap();
    let (authorization, url) =
        (format!("Authorization: Bearer {token}"), format!("{}/orders/7", gateway.url));
    let asked = ["-X", "DELETE", "-H", &authorization, "-H", "Prefer: respond-async", &url];
    assert_eq!(curl(&asked).await.unwrap().status, 202);
    let id = gateway.approval("pending").await.unwrap();

    let page = format!("{}/approvals/{id}", gateway.console_url);
    let again = format!("form:has(input[value='/approvals/{id}']) button");
    for (width, name) in [(1280, "step-up"), (390, "step-up-phone")] {
        let ana = Browser::start(width, 900).await.unwrap();
        ana.page.goto(&page).await.unwrap();
        ana.text("[data-provider=corp]").await.unwrap();
        ana.click("[data-provider=corp]").await.unwrap();
        at_the_provider(&ana, "ana").await;
        ana.until_text("main", "This gate wants").await.unwrap();
        assert_eq!(ana.overflow().await.unwrap(), 0);
        ana.until("document.querySelector('#approve').disabled").await.unwrap();
        ana.page
            .execute("document.querySelector('.banner.amber').scrollIntoView({block: 'center'})", vec![])
            .await
            .unwrap();
        ana.picture(name).await.unwrap();
        // Ana is signed in at the provider, and still has to say who she is.
        ana.click(&again).await.unwrap();
        log_in(&ana, "ana", "x").await;
        ana.until(&format!("location.pathname === '/approvals/{id}'")).await.unwrap();
        // She did, a moment ago; this provider says nothing of gold.
        ana.until_text("main", "This gate wants a sign-in of another strength at your provider.")
            .await
            .unwrap();
        if width == 1280 {
            ana.close().await.unwrap();
            continue;
        }
        // With what is strong there she may, and so it is recorded.
        ana.click(&again).await.unwrap();
        log_in(&ana, "ana", "gold").await;
        ana.until(&format!("location.pathname === '/approvals/{id}'")).await.unwrap();
        ana.click("#approve").await.unwrap();
        ana.until_text("#approval .state", "Approved").await.unwrap();
        ana.close().await.unwrap();
    }
    drop(provider);
    let entries = night::verified_entries(&gateway).await.unwrap();
    let vote = entries.iter().find(|entry| entry.kind == "approval.voted").unwrap();
    assert_eq!(vote.data.pointer("/sign_in/acr").and_then(Value::as_str), Some("gold"));
}
