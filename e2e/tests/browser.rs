//! The demo as a person lives it: three people in three real browsers, with passkeys, while the agent waits.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed expectation is how a test fails")]

use countersign_e2e::{browser::Browser, cli::countersign};
use fantoccini::Locator;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// `countersign demo` with a person watching: what it prints, line by line.
struct Demo {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    folder: TempDir,
    console: String,
}

impl Demo {
    /// Starts one; again where somebody took one of its ports meanwhile, which ends it before it says anything.
    fn start() -> Self {
        for _ in 0..10 {
            let mut demo = Self::try_start();
            if let Ok(line) = demo.lines.recv_timeout(Duration::from_mins(3)) {
                demo.seen.push(line);
                return demo;
            }
        }
        panic!("the demo ended ten times before it said anything");
    }

    fn try_start() -> Self {
        let folder = TempDir::new().unwrap();
        // The wire listens on the next port.
        let console = countersign_testkit::ports::free_pair().unwrap();
        let mut child = Command::new(countersign_e2e::binary().unwrap())
            .args(["demo", "--port", &console.to_string(), "--folder"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (told, lines) = channel();
        let out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
        });
        let console = format!("http://localhost:{console}");
        Self { child, lines, seen: Vec::new(), folder, console }
    }

    /// Waits until a line holds this, and gives it.
    fn until(&mut self, part: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        let end = Instant::now() + Duration::from_mins(3);
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("the demo never said `{part}`; it said:\n{}", self.seen.join("\n"));
                }
            }
        }
    }

    /// The sign-in links in the order they are printed: Ana, Ben, Olga.
    fn links(&mut self) -> Vec<String> {
        self.until("The agent waits");
        self.seen.iter().filter(|line| line.contains("/enrol#")).map(|line| line.trim().to_owned()).collect()
    }

    fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("countersign.toml")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens the link and registers a passkey.
async fn enrol(link: &str) -> Browser {
    let browser = Browser::start(1280, 900).await.unwrap();
    browser.page.goto(link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn people_decide_in_real_browsers_with_passkeys() {
    let mut demo = Demo::start();
    let links = demo.links();
    let [ana, ben, olga] = <[String; 3]>::try_from(links).unwrap();
    let (ana, ben) = (enrol(&ana).await, enrol(&ben).await);
    let console = demo.console.clone();

    // Two people for the export; the first page follows what the second person does, live.
    ana.open_approval(&console, "Export the whole customer table").await.unwrap();
    ana.click("#approve").await.unwrap();
    ana.until_text("main", "1 of 2").await.unwrap();
    ben.open_approval(&console, "Export the whole customer table").await.unwrap();
    ben.click("#approve").await.unwrap();
    ana.until_text("#approval", "It ran to its end: the target answered 200").await.unwrap();
    demo.until("export of the customer table: done");

    // A rejection reaches the agent with its reason.
    ben.open_approval(&console, "Give the role").await.unwrap();
    ben.write("textarea[name=words]", "ask for less").await.unwrap();
    ben.click("#reject-button").await.unwrap();
    ben.until_text("#approval", "Rejected").await.unwrap();
    assert!(demo.until("administrator role for itself: rejected").contains("ask for less"));

    // The owner sees why she cannot decide, and has no button.
    let olga = enrol(&olga).await;
    olga.open_approval(&console, "Set “checkout-timeout-ms”").await.unwrap();
    olga.until_text("main", "requester's side").await.unwrap();
    assert!(olga.page.find(Locator::Css("#approve")).await.is_err(), "the owner was offered a vote");
    ana.open_approval(&console, "Set “checkout-timeout-ms”").await.unwrap();
    ana.click("#approve").await.unwrap();
    ana.until_text("#approval", "Done").await.unwrap();
    demo.until("The agent is done for tonight");

    // The record, checked offline by the printed commands.
    let config = demo.config();
    let folder = demo.folder.path();
    let export =
        countersign(folder, &["export", "-c", config.to_str().unwrap(), "--output", "json"]).await.unwrap();
    let key = export.json()["log_key"].as_str().unwrap().to_owned();
    let verified = verify(folder, &key).await;
    assert_eq!(verified["verified"], true, "{verified}");
    assert_eq!(verified["executed"], 3);
    for browser in [ana, ben, olga] {
        browser.close().await.unwrap();
    }
}

/// Holds back every event stream of a page until it is let go, counts what it heard, and holds back every passkey until
/// it is refused.
const HELD_BACK: &str = r#"
    const Stream = EventSource;
    window.heard = 0;
    window.held = [];
    window.EventSource = class {
        static CLOSED = 2;
        constructor(path) { this.path = path; this.waiting = []; window.held.push(this); }
        letGo() {
            this.real = new Stream(this.path);
            this.real.addEventListener("approval", () => { window.heard += 1; });
            for (const [name, work] of this.waiting) this.real.addEventListener(name, work);
        }
        addEventListener(name, work) { this.waiting.push([name, work]); }
        close() { this.real?.close(); }
        get readyState() { return this.real?.readyState ?? 0; }
    };
    window.letGo = () => { for (const stream of window.held.splice(0)) stream.letGo(); };
    if (navigator.credentials) {
        const get = navigator.credentials.get.bind(navigator.credentials);
        navigator.credentials.get = (options) => sessionStorage.getItem("refuse") === null ? get(options)
            : new Promise((_, refuse) => { window.refusePasskey = () => refuse(new DOMException("", "NotAllowedError")); });
    }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_catches_up_with_what_it_did_not_hear() {
    let mut demo = Demo::start();
    let links = demo.links();
    let [ana, ben, _] = <[String; 3]>::try_from(links).unwrap();
    let (ana, ben) = (enrol(&ana).await, enrol(&ben).await);
    let console = demo.console.clone();
    ana.before_every_page(HELD_BACK).await.unwrap();

    // Everything happens after the page is drawn and before its stream is open.
    ana.open_approval(&console, "Set “checkout-timeout-ms”").await.unwrap();
    ana.until_text("#approval", "Waiting").await.unwrap();
    ben.open_approval(&console, "Set “checkout-timeout-ms”").await.unwrap();
    ben.click("#approve").await.unwrap();
    ben.until_text("#approval", "It ran to its end").await.unwrap();
    assert!(ana.text("#approval").await.unwrap().contains("Waiting"), "the page was not held back");
    ana.page.execute("window.letGo()", vec![]).await.unwrap();
    ana.until_text("#approval", "It ran to its end").await.unwrap();

    // The inbox was drawn before, too.
    ana.go(&console).await.unwrap();
    ana.until_text("#inbox", "Give the role").await.unwrap();
    ben.open_approval(&console, "Give the role").await.unwrap();
    ben.write("textarea[name=words]", "no").await.unwrap();
    ben.click("#reject-button").await.unwrap();
    ben.until_text("#approval", "Rejected").await.unwrap();
    let stale = ana.text("#inbox").await.unwrap();
    assert!(!stale.contains("Rejected"), "the inbox was not held back: {stale}");
    ana.page.execute("window.letGo()", vec![]).await.unwrap();
    ana.until_text("#inbox .quiet", "Rejected").await.unwrap();

    // News that comes while a vote is on its way is acted on when the vote has failed, and why it failed stays to be read.
    ana.open_approval(&console, "Export the whole customer table").await.unwrap();
    ana.page.execute("window.letGo(); sessionStorage.setItem('refuse', 'yes')", vec![]).await.unwrap();
    ana.click("#approve").await.unwrap();
    ana.until("window.refusePasskey").await.unwrap();
    ben.open_approval(&console, "Export the whole customer table").await.unwrap();
    ben.write("textarea[name=words]", "no").await.unwrap();
    ben.click("#reject-button").await.unwrap();
    ben.until_text("#approval", "Rejected").await.unwrap();
    ana.until("window.heard > 0").await.unwrap();
    assert!(ana.text("#approval").await.unwrap().contains("Waiting"), "a page was loaded during a vote");
    ana.page.execute("window.refusePasskey()", vec![]).await.unwrap();
    ana.until_text("#approval .state", "Rejected").await.unwrap();
    ana.until_text("#outcome", "The passkey was not used.").await.unwrap();
    for browser in [ana, ben] {
        browser.close().await.unwrap();
    }
}

async fn verify(folder: &Path, key: &str) -> serde_json::Value {
    let arguments = ["verify", "countersign-export.jsonl", "--key", key, "--output", "json"];
    countersign(folder, &arguments).await.unwrap().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_fits_a_phone_and_a_desk() {
    let mut demo = Demo::start();
    let links = demo.links();
    let browser = enrol(links.first().unwrap()).await;
    let console = demo.console.clone();
    browser.open_approval(&console, "Give the role").await.unwrap();
    let approval = browser.page.current_url().await.unwrap().path().to_owned();
    let timeline = browser.page.find(Locator::Css("a[href^='/actions/']")).await.unwrap();
    let timeline = timeline.attr("href").await.unwrap().unwrap();
    let pages = [
        "/",
        &approval,
        &timeline,
        "/approvals",
        "/history",
        "/ledger",
        "/policy",
        "/targets",
        "/agents",
        "/agents/activity",
        "/people",
        "/freezes",
        "/unresolved",
        "/account",
    ];
    let mut wide = Vec::new();
    for width in [1280, 500, 375] {
        match width {
            375 => browser.as_phone(width, 740).await.unwrap(),
            _ => browser.page.set_window_size(width, 900).await.unwrap(),
        }
        for path in pages {
            browser.go(&format!("{console}{path}")).await.unwrap();
            browser.text("h1").await.unwrap();
            let overflow = browser.overflow().await.unwrap();
            if overflow > 0 {
                wide.push(format!("{path} is {overflow} px too wide at {width}"));
            }
            let name = if path.len() > 30 { path.get(..10).unwrap_or(path) } else { path };
            browser.picture(&format!("fits-{width}{}", name.replace('/', "-"))).await.unwrap();
        }
    }
    assert!(wide.is_empty(), "{}", wide.join("\n"));
    browser.close().await.unwrap();
}
