//! Devices beside the real binary: a phone that installs the console, subscribes, is told, and taps through to a decision.
//!
//! Chromium without a screen reaches no push service of Google's: what `pushManager` would hand over is the testkit's, and what
//! was pushed there is handed to the service worker by Chromium itself.

use crate::{Stage, driver};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_e2e::{browser::Browser, night};
use countersign_testkit::push::{Device, Message, PushService};
use fantoccini::Locator;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::process::Command;

/// Stands in for the browser's own push service, and for nothing else.
const SUBSCRIBES: &str = r#"
    const mine = () => JSON.parse(localStorage.getItem("stands-in") ?? "null");
    const subscription = (keys) => ({
        endpoint: keys.endpoint,
        toJSON: () => ({ endpoint: keys.endpoint, expirationTime: null, keys: { p256dh: keys.p256dh, auth: keys.auth } }),
        unsubscribe: async () => { localStorage.removeItem("subscribed"); return true; },
    });
    PushManager.prototype.getSubscription = async () => localStorage.getItem("subscribed") ? subscription(mine()) : null;
    PushManager.prototype.subscribe = async (options) => {
        if (!options.userVisibleOnly || !mine()) throw new DOMException("", "AbortError");
        const key = btoa(String.fromCharCode(...new Uint8Array(options.applicationServerKey)));
        localStorage.setItem("subscribed", key.replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, ""));
        return subscription(mine());
    };
"#;

/// Nothing where the worker does not say it soon, as when the page is loaded anew in that moment.
const NOTES: &str = "const done = arguments[arguments.length - 1];
setTimeout(done, 5000, null);
navigator.serviceWorker.getRegistration('/').then((there) => there.getNotifications()).then((notes) => done(notes.map((note) =>
  ({ title: note.title, body: note.body, tag: note.tag, path: note.data?.path, silent: note.silent })))).catch(() => done(null));";

/// What a tap is to the worker; that it may open a window is the browser's to say.
const TAP: &str = "registration.getNotifications().then(([notification]) => {
  self.dispatchEvent(new NotificationEvent('notificationclick', { notification }));
})";

const KEPT: &str = "const done = arguments[arguments.length - 1];
caches.keys().then(async (names) => {
  const kept = [];
  for (const name of names) for (const one of await (await caches.open(name)).keys()) kept.push(new URL(one.url).pathname);
  done(kept.sort());
});";

/// Plays the browser with the libraries that the RFCs' own authors keep: reads what was sent, checks who signed it, and sends
/// something itself.
const OFFICIAL: &str = r"
const [fs, crypto, ece, jws, push] = ['fs', 'crypto', 'http_ece', 'jws', 'web-push'].map(require);
const given = JSON.parse(fs.readFileSync(process.argv[1]));
const bytes = (text) => Buffer.from(text, 'base64url');
const own = crypto.createECDH('prime256v1');
own.setPrivateKey(bytes(given.private));
const text = ece.decrypt(bytes(given.body), { version: 'aes128gcm', privateKey: own, authSecret: given.auth }).toString();
const [, token, key] = /^vapid t=(.+), k=(.+)$/.exec(given.authorization);
const [x, y] = [bytes(key).subarray(1, 33), bytes(key).subarray(33)].map((half) => half.toString('base64url'));
const pem = crypto.createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
const believed = jws.verify(token, 'ES256', pem);
const back = push.encrypt(given.p256dh, given.auth, 'said by web-push', 'aes128gcm').cipherText.toString('base64url');
console.log(JSON.stringify({ text, believed, claims: jws.decode(token).payload, back }));
";

/// What the official libraries make of a message to a device, and the other way round.
async fn read_by_others(phone: &Phone, message: &Message, device: &Device) {
    let file = phone.stage.gateway.folder().join("pushed.json");
    let given = json!({
        "private": device.private_key().unwrap(), "p256dh": device.p256dh, "auth": device.auth,
        "body": URL_SAFE_NO_PAD.encode(&message.body), "authorization": message.authorization,
    });
    std::fs::write(&file, given.to_string()).unwrap();
    let mut node = Command::new("node");
    node.env("NODE_PATH", format!("{}/node_modules", driver("push"))).args(["-e", OFFICIAL]).arg(&file);
    let said = node.kill_on_drop(true).output().await.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&said["text"], &said["believed"]), (&json!(message.text), &json!(true)));
    assert_eq!(said["claims"]["aud"], phone.service.url());
    let back = URL_SAFE_NO_PAD.decode(said["back"].as_str().unwrap()).unwrap();
    assert_eq!(device.decrypt(&back).unwrap(), b"said by web-push");
}

struct Phone {
    browser: Browser,
    service: PushService,
    stage: Stage,
}

impl Phone {
    async fn open() -> Self {
        let service = PushService::start().await.unwrap();
        let section = format!(
            "[[channel]]\nname = \"dba\"\nkind = \"push\"\nprivate_services = [\"{}\"]\n",
            service.url()
        );
        let stage = Stage::open(&section).await;
        let link = stage.gateway.invite("ana@example.com", "dba").await.unwrap();
        let browser = Browser::start(500, 900).await.unwrap();
        browser.as_phone(375, 740).await.unwrap();
        browser.before_every_page(SUBSCRIBES).await.unwrap();
        let granted = json!({"origin": stage.gateway.console_url, "permissions": ["notifications"]});
        browser.devtools("Browser.grantPermissions", &granted).await.unwrap();
        browser.page.goto(&link).await.unwrap();
        browser.click("#open-link").await.unwrap();
        browser.click("#register-passkey button").await.unwrap();
        browser.until_text("h1", "Inbox").await.unwrap();
        Self { browser, service, stage }
    }

    async fn go(&self, path: &str) {
        self.browser.go(&format!("{}{path}", self.stage.gateway.console_url)).await.unwrap();
    }

    async fn look(&self, name: &str) {
        assert!(self.browser.overflow().await.unwrap() <= 0, "{name} is too wide");
        self.browser.picture(&format!("push-{name}")).await.unwrap();
    }

    /// Signs in again with the passkey: only then devices are added.
    async fn sign_in(&self) {
        self.go("/account").await;
        self.browser.click("form[data-api='DELETE /api/v1/session'] button.plain").await.unwrap();
        self.browser.click("#sign-in-button").await.unwrap();
        self.browser.until_text("h1", "Inbox").await.unwrap();
    }

    /// Adds this device on the page, as its owner does.
    async fn subscribe(&self) -> Arc<Device> {
        self.go("/account").await;
        self.browser.until("navigator.serviceWorker.controller").await.unwrap();
        let form = self.browser.page.find(Locator::Css("#add-device")).await.unwrap();
        let key = form.attr("data-key").await.unwrap().unwrap();
        let device = self.service.subscribe("phone", &key).unwrap();
        let mine = json!({"endpoint": device.endpoint, "p256dh": device.p256dh, "auth": device.auth});
        let put = "localStorage.setItem('stands-in', JSON.stringify(arguments[0]))";
        self.browser.page.execute(put, vec![mine]).await.unwrap();
        self.browser.click("#add-device button").await.unwrap();
        self.browser.until("document.querySelector('[data-device] .this')?.hidden === false").await.unwrap();
        let made = self.browser.page.execute("return localStorage.getItem('subscribed')", vec![]).await;
        assert_eq!(made.unwrap(), key.as_str(), "the browser was given another key");
        device
    }

    /// Has Chromium hand the newest message to the worker, as if its push service had.
    async fn deliver(&self, message: &Message) {
        self.browser.devtools("ServiceWorker.enable", &json!({})).await.unwrap();
        let pushed = json!({
            "origin": format!("{}/", self.stage.gateway.console_url), "registrationId": "0", "data": message.text,
        });
        self.browser.devtools("ServiceWorker.deliverPushMessage", &pushed).await.unwrap();
    }

    /// Waits until what is shown is as somebody wants it; between two looks the page may load itself anew.
    async fn noted(&self, as_wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let looks = async {
            loop {
                if let Ok(Value::Array(notes)) = self.browser.page.execute_async(NOTES, vec![]).await
                    && as_wanted(&notes)
                {
                    return notes;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(crate::COMES_WITHIN, looks).await.unwrap()
    }

    /// Has a message delivered, and waits until what it says is shown, and it alone. A worker that is being started may lose
    /// what is handed to it: it is delivered once more then, as a push service does that was not answered.
    async fn shows(&self, message: &Message, title: &str) -> Value {
        let says = |note: &Value| note["title"].as_str().is_some_and(|said| said.contains(title));
        let shown = async {
            loop {
                self.deliver(message).await;
                let seen = self.noted(|notes| notes.iter().any(says));
                if let Ok(notes) = tokio::time::timeout(Duration::from_secs(10), seen).await {
                    return notes;
                }
            }
        };
        let notes = tokio::time::timeout(crate::COMES_WITHIN, shown).await.unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        notes[0].clone()
    }

    async fn newest(&self, what: &str) -> Message {
        let found = self.service.until(what, |messages| messages.iter().any(|one| is(one, what))).await;
        found.unwrap().into_iter().rev().find(|one| is(one, what)).unwrap()
    }
}

fn is(message: &Message, what: &str) -> bool {
    let note: Value = serde_json::from_str(&message.text).unwrap();
    note["what"] == what
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_is_told_and_a_tap_leads_to_the_page_where_the_passkey_decides() {
    let phone = Phone::open().await;
    phone.look("inbox").await;
    phone.sign_in().await;
    let device = phone.subscribe().await;
    phone.browser.until_text("#add-device-note", "This device is told").await.unwrap();
    phone.look("account").await;

    let gateway = &phone.stage.gateway;
    assert!(gateway.command(&["channel", "test", "dba"]).await.is_err(), "it names nobody");
    let tried = gateway.command(&["channel", "test", "dba", "--person", "ana@example.com"]).await.unwrap();
    assert_eq!(
        (&tried["items"][0]["device"], &tried["items"][0]["taken"]),
        (&json!("My phone"), &json!(true))
    );
    // One may be tried every ten seconds, which a busy machine may need to come to the next try.
    for _ in 0..10 {
        phone.browser.click("[data-test] button").await.unwrap();
        if phone.browser.until_text("#outcome", "a moment").await.unwrap().contains("tried a moment ago") {
            break;
        }
    }
    phone.browser.until_text("#outcome", "tried a moment ago").await.unwrap();
    assert_eq!(phone.shows(&phone.newest("test").await, "A test").await["path"], "/account");
    phone.browser.in_worker(&phone.stage.gateway.console_url, CLOSE).await.unwrap();

    // It is told in the computed sentence, and what is shown leads to the page.
    phone.go("/").await;
    phone.stage.ask("DELETE", "logs").await;
    let message = phone.newest("ask").await;
    assert_eq!(message.urgency, "high");
    read_by_others(&phone, &message, &device).await;
    let note = phone.shows(&message, "An approval waits").await;
    let body = note["body"].as_str().unwrap();
    assert!(body.starts_with("Drop the table “logs” (prod).\nshop in prod\nuntil "), "{body}");
    let approval = note["tag"].as_str().unwrap().to_owned();
    assert_eq!(note["path"], format!("/approvals/{approval}").as_str());
    phone.browser.in_worker(&phone.stage.gateway.console_url, TAP).await.unwrap();
    phone.browser.until_text("h1", "Drop the table").await.unwrap();
    let address = phone.browser.page.current_url().await.unwrap();
    assert_eq!(address.path(), format!("/approvals/{approval}"));
    phone.look("approval").await;
    // What is looked at is not shown any more.
    phone.noted(<[Value]>::is_empty).await;
    phone.browser.click("#approve").await.unwrap();
    phone.browser.until_text("#approval .state", "Done").await.unwrap();

    // The end takes the place of what is shown, without a sound.
    let over = phone.newest("over").await;
    assert_eq!((over.urgency.as_str(), &over.topic), ("normal", &message.topic));
    // Away from its page, which takes down what is shown of it whenever it loads.
    phone.go("/account").await;
    phone.shows(&message, "An approval waits").await;
    let note = phone.shows(&over, "Approved").await;
    assert_eq!((&note["tag"], &note["silent"]), (&json!(approval), &json!(true)));

    // Removed: nothing is sent there any more.
    phone.look("account-told").await;
    phone.browser.click("form[data-api^='DELETE /api/v1/subscriptions'] button").await.unwrap();
    phone.browser.click("#ask-yes").await.unwrap();
    phone.browser.until_text("main", "No device of yours is told").await.unwrap();
    let entries = night::verified_entries(&phone.stage.gateway).await.unwrap();
    let count = |kind: &str| entries.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!((count("push.subscribed"), count("push.unsubscribed")), (1, 1));
    phone.browser.close().await.unwrap();
}

const CLOSE: &str = "registration.getNotifications().then((notes) => notes.forEach((note) => note.close()))";

#[tokio::test(flavor = "multi_thread")]
async fn an_installed_console_says_that_it_is_offline_and_keeps_nothing_of_anybodys() {
    let mut phone = Phone::open().await;
    phone.stage.ask("DELETE", "logs").await;
    let approval = phone.stage.gateway.approval("pending").await.unwrap();
    phone.go("/").await;
    phone.browser.until("navigator.serviceWorker.controller").await.unwrap();
    phone.go(&format!("/approvals/{approval}")).await;
    phone.browser.until_text("h1", "Drop the table").await.unwrap();
    let installable = phone.browser.devtools("Page.getInstallabilityErrors", &json!({})).await.unwrap();
    let errors = installable["installabilityErrors"].as_array().cloned().unwrap_or_default();
    // Nobody installs anything into a browser that is thrown away.
    let left: Vec<&Value> = errors.iter().filter(|one| one["errorId"] != "in-incognito").collect();
    assert!(left.is_empty(), "{left:?}");
    let manifest = phone.browser.devtools("Page.getAppManifest", &json!({})).await.unwrap();
    assert!(manifest["errors"].as_array().unwrap().is_empty(), "{manifest}");

    let mine = ["/assets/console.css", "/assets/icon.svg", "/offline"];
    let kept = phone.browser.page.execute_async(KEPT, vec![]).await.unwrap();
    assert_eq!(kept, json!(mine));
    phone.stage.gateway.kill().unwrap();
    for path in ["/", &format!("/approvals/{approval}"), "/approvals?status=pending", "/account"] {
        phone.go(path).await;
        phone.browser.until_text("h1", "Countersign cannot be reached").await.unwrap();
    }
    phone.look("offline").await;
    let kept = phone.browser.page.execute_async(KEPT, vec![]).await.unwrap();
    assert_eq!(kept, json!(mine));
    phone.stage.gateway.restart().await.unwrap();
    phone.browser.click("main a.button").await.unwrap();
    phone.browser.until_text("h1", "Inbox").await.unwrap();
    phone.browser.until_text("main", "Drop the table").await.unwrap();
    phone.browser.close().await.unwrap();
}
