//! Every way of a passkey in a real browser: several of them, one removed, one lost and replaced through an administrator, a
//! copy, and one that is used on another page.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed expectation is how a test fails")]

use countersign_e2e::{
    browser::Browser,
    night::{self, Night},
};
use countersign_testkit::server::{Server, json};
use serde_json::{Value, json as value};
use std::sync::Arc;

struct Person {
    browser: Browser,
    console: String,
}

impl Person {
    /// Opens a one-time link and registers a passkey.
    async fn enrol(night: &Night, link: &str) -> Self {
        let browser = Browser::start(1280, 900).await.unwrap();
        let person = Self { browser, console: night.gateway.console_url.clone() };
        person.open(link).await;
        person
    }

    async fn open(&self, link: &str) {
        self.browser.page.goto(link).await.unwrap();
        self.browser.click("#open-link").await.unwrap();
        self.browser.click("#register-passkey button").await.unwrap();
        self.browser.until_text("h1", "Inbox").await.unwrap();
    }

    async fn go(&self, path: &str) {
        self.browser.page.goto(&format!("{}{path}", self.console)).await.unwrap();
    }

    async fn sign_out(&self) {
        self.go("/account").await;
        self.browser.click("form[data-api='DELETE /api/v1/session'] button.plain").await.unwrap();
        self.browser.until_text("h1", "Countersign").await.unwrap();
    }

    async fn sign_in(&self) {
        self.go("/").await;
        self.browser.click("#sign-in-button").await.unwrap();
        self.browser.until_text("h1", "Inbox").await.unwrap();
    }

    /// Tries to sign in; what the page says then.
    async fn is_refused(&self, words: &str) {
        self.go("/").await;
        self.browser.click("#sign-in-button").await.unwrap();
        self.browser.until_text("#outcome", words).await.unwrap();
    }

    async fn register(&self, name: &str) {
        self.go("/account").await;
        self.browser.write("#register-passkey input", name).await.unwrap();
        self.browser.click("#register-passkey button").await.unwrap();
    }

    /// Presses a button that asks whether one is sure, and is.
    async fn press_surely(&self, css: &str) {
        self.browser.click(css).await.unwrap();
        self.browser.click("#ask-yes").await.unwrap();
    }

    /// The only passkey in the authenticator, taken out of it.
    async fn take(&self) -> Value {
        let [passkey] = <[Value; 1]>::try_from(self.browser.take_passkeys().await.unwrap()).unwrap();
        passkey
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passkeys_are_added_removed_and_replaced_and_a_copy_is_found_out() {
    let night = Night::open(&[]).await.unwrap();
    let link = night.gateway.invite("dana@example.com", "sre").await.unwrap();
    let dana = Person::enrol(&night, &link).await;
    // Whoever is signed in by a link only proves nothing by it, once there is a passkey.
    dana.register("Second").await;
    dana.browser.until_text("#outcome", "within five minutes of signing in with one").await.unwrap();
    dana.sign_out().await;
    dana.sign_in().await;
    let first = dana.take().await;
    dana.register("Second").await;
    dana.browser.until_text("main", "Second").await.unwrap();
    dana.sign_out().await;
    dana.sign_in().await;

    dana.browser.picture("account-passkeys").await.unwrap();
    // The first is removed: it signs nobody in any more.
    dana.go("/account").await;
    dana.press_surely("form[data-confirm*='My passkey'] button").await;
    dana.browser
        .until("document.querySelectorAll(\"form[data-api^='DELETE /api/v1/passkeys']\").length === 1")
        .await
        .unwrap();
    dana.sign_out().await;
    let second = dana.take().await;
    dana.browser.hold_passkey(&first).await.unwrap();
    dana.is_refused("not known here").await;

    // Two copies of the second: the one that lags behind is found out, and that is recorded.
    dana.browser.take_passkeys().await.unwrap();
    dana.browser.hold_passkey(&second).await.unwrap();
    dana.sign_in().await;
    dana.sign_out().await;
    dana.browser.take_passkeys().await.unwrap();
    dana.browser.hold_passkey(&second).await.unwrap();
    dana.is_refused("there may be a copy of it").await;

    // It is lost: an administrator removes it and hands over a link, with which there is another one.
    let made = night
        .gateway
        .command(&["person", "invite", "ada@example.com", "--role", "administrator"])
        .await
        .unwrap();
    let ada = Person::enrol(&night, made["link"].as_str().unwrap()).await;
    ada.go("/people").await;
    ada.browser.click("li.card:has(form[data-confirm*='passkey Second of dana']) summary").await.unwrap();
    ada.browser.picture("people-passkeys").await.unwrap();
    ada.press_surely("form[data-confirm*='passkey Second of dana'] button").await;
    ada.browser.until("!document.querySelector(\"form[data-confirm*='passkey Second']\")").await.unwrap();
    let path =
        format!("form[data-api='POST /api/v1/people/{}/link']", id_of(&night, "dana@example.com").await);
    ada.browser.click(&format!("li.card:has({path}) summary")).await.unwrap();
    ada.browser.click(&format!("{path} button")).await.unwrap();
    let link = ada.browser.until_text("code.digest", "/enrol#").await.unwrap();
    dana.browser.take_passkeys().await.unwrap();
    dana.open(&link).await;
    dana.sign_out().await;
    dana.sign_in().await;

    let entries = night::verified_entries(&night.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count("passkey.removed"), count("passkey.registered")), (2, 2 + 4));
    let copy =
        entries.iter().find(|entry| entry.disclosed.values().any(|said| said.contains("may be a copy")));
    assert_eq!(copy.unwrap().kind, "intake.refused");
    for person in [dana, ada] {
        person.browser.close().await.unwrap();
    }
}

async fn id_of(night: &Night, email: &str) -> String {
    let people = night.gateway.command(&["person", "list"]).await.unwrap();
    let listed = people.get("items").unwrap_or(&people).as_array().unwrap().clone();
    let found = listed.into_iter().find(|person| person["email"] == email).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

const ASK: &str = "const [done] = [arguments[arguments.length - 1]];
fetch('/api/v1/session/passkey/options', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' })
  .then((answer) => answer.json()).then((options) => done(options.publicKey));";

const USE: &str = "const [options, done] = [arguments[0], arguments[arguments.length - 1]];
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
navigator.credentials.get({ publicKey: { ...options, challenge: bytes(options.challenge), allowCredentials: [] } }).then((used) => done({
  id: used.id, rawId: text(used.rawId), type: used.type, clientExtensionResults: {},
  response: {
    clientDataJSON: text(used.response.clientDataJSON), authenticatorData: text(used.response.authenticatorData),
    signature: text(used.response.signature), userHandle: text(used.response.userHandle),
  },
}), (error) => done({ error: String(error) }));";

const PRESENT: &str = "const [response, done] = [arguments[0], arguments[arguments.length - 1]];
fetch('/api/v1/session/passkey', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ response }) })
  .then(async (answer) => done([answer.status, await answer.text()]));";

/// Whoever holds the device is not its owner: what a page gets that does not insist on knowing is refused here.
#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_in_somebody_elses_hand_signs_nobody_in() {
    let night = Night::open(&[]).await.unwrap();
    let link = night.gateway.invite("dana@example.com", "sre").await.unwrap();
    let dana = Person::enrol(&night, &link).await;
    dana.sign_out().await;
    let page = &dana.browser.page;
    for (owner, insists, status) in
        [(false, "discouraged", 401), (false, "required", 0), (true, "required", 200)]
    {
        dana.browser.recognises_its_owner(owner).await.unwrap();
        dana.go("/").await;
        let mut options = page.execute_async(ASK, vec![]).await.unwrap();
        options["userVerification"] = value!(insists);
        let used = page.execute_async(USE, vec![options]).await.unwrap();
        if status == 0 {
            assert!(used["error"].as_str().unwrap().contains("NotAllowedError"), "the browser asks: {used}");
            continue;
        }
        let answer = page.execute_async(PRESENT, vec![used]).await.unwrap();
        assert_eq!(answer[0], status, "{insists}: {answer}");
    }
    dana.browser.close().await.unwrap();
}

/// Another page on the same host may use the passkey; what it gets is of that page, and is refused here.
#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_used_on_another_page_signs_nobody_in() {
    let night = Night::open(&[]).await.unwrap();
    let link = night.gateway.invite("dana@example.com", "sre").await.unwrap();
    let dana = Person::enrol(&night, &link).await;
    dana.sign_out().await;
    let elsewhere = Server::start(Arc::new(|_| json(http::StatusCode::OK, &value!({})))).await.unwrap();
    let page = &dana.browser.page;
    for (origin, status) in [(elsewhere.url(), 401), (dana.console.clone(), 200)] {
        dana.go("/").await;
        let options = page.execute_async(ASK, vec![]).await.unwrap();
        page.goto(&origin).await.unwrap();
        let used = page.execute_async(USE, vec![options]).await.unwrap();
        assert!(used.get("error").is_none(), "the browser would not: {used}");
        dana.go("/").await;
        let answer = page.execute_async(PRESENT, vec![used]).await.unwrap();
        assert_eq!(answer[0], status, "{origin}: {answer}");
    }
    dana.browser.close().await.unwrap();
}
