//! A real Chromium with a virtual authenticator, driven over WebDriver.

mod worker;

use crate::E2eError;
use fantoccini::{Client, ClientBuilder, Locator, error::NewSessionError, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::{
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// How long a page may take to show what is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// A browser of one person. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    pub page: Client,
    authenticator: String,
    driver: Child,
    profile: TempDir,
}

/// Chromium's own `POST /session/{id}/goog/cdp/execute`.
#[derive(Debug)]
struct Devtools(Value);

impl WebDriverCompatibleCommand for Devtools {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.0.to_string()))
    }
}

/// `POST /session/{id}/webauthn/authenticator` (WebAuthn Level 3, section 11.3).
#[derive(Debug)]
struct AddAuthenticator;

impl WebDriverCompatibleCommand for AddAuthenticator {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/webauthn/authenticator", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        let authenticator = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true, "isUserConsenting": true,
        });
        (http::Method::POST, Some(authenticator.to_string()))
    }
}

/// What is asked of an authenticator and its credentials (WebAuthn Level 3, sections 11.5 to 11.9).
#[derive(Debug)]
struct Credentials {
    authenticator: String,
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    All,
    Forget,
    Hold(Value),
    Verify(bool),
}

impl WebDriverCompatibleCommand for Credentials {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        let what = match self.ask {
            Ask::All | Ask::Forget => "credentials",
            Ask::Hold(_) => "credential",
            Ask::Verify(_) => "uv",
        };
        let (session, authenticator) = (session.unwrap_or_default(), &self.authenticator);
        base.join(&format!("session/{session}/webauthn/authenticator/{authenticator}/{what}"))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        match &self.ask {
            Ask::All => (http::Method::GET, None),
            Ask::Forget => (http::Method::DELETE, None),
            Ask::Hold(credential) => (http::Method::POST, Some(credential.to_string())),
            Ask::Verify(whether) => {
                (http::Method::POST, Some(json!({"isUserVerified": whether}).to_string()))
            }
        }
    }
}

impl Browser {
    /// Starts Chromium under its own driver, with an empty profile and one authenticator built in.
    pub async fn start(width: u32, height: u32) -> Result<Self, E2eError> {
        let (chromium, chromedriver) = programs()?;
        let profile = TempDir::new()?;
        let port = countersign_testkit::ports::free()?;
        let driver = Command::new(chromedriver)
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, with every browser that it starts: a test that fails leaves none behind.
            .process_group(0)
            .spawn()?;
        let mut browser = Starting(Some(driver));
        let arguments = [
            "--headless=new".to_owned(),
            // Root has no user namespace to put a sandbox into; the pages are our own.
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            // Containers keep little of it.
            "--disable-dev-shm-usage".into(),
            "--disable-quic".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--disable-sync".into(),
            format!("--window-size={width},{height}"),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            // In milliseconds.
            "timeouts": {"script": 180_000, "pageLoad": 300_000},
        });
        let Value::Object(wanted) = wanted else { return Err(E2eError::Browser("no capabilities".into())) };
        let connect = async {
            // Chromium itself may not come up in time on a busy machine.
            let mut tries_left = 5;
            loop {
                let mut builder = ClientBuilder::new(HttpConnector::new());
                match builder.capabilities(wanted.clone()).connect(&format!("http://127.0.0.1:{port}")).await
                {
                    Ok(page) => return Ok(page),
                    Err(
                        NewSessionError::Failed(_) | NewSessionError::FailedC(_) | NewSessionError::Lost(_),
                    ) => {}
                    Err(NewSessionError::SessionNotCreated(_)) if tries_left > 0 => tries_left -= 1,
                    Err(error) => return Err(E2eError::Browser(error.to_string())),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let page = tokio::time::timeout(PATIENCE, connect)
            .await
            .map_err(|_| E2eError::Browser("chromedriver does not answer".into()))??;
        let added = page.issue_cmd(AddAuthenticator).await?;
        let authenticator = added.as_str().unwrap_or_default().to_owned();
        let driver = browser.0.take().ok_or_else(|| E2eError::Browser("chromedriver is gone".into()))?;
        Ok(Self { page, authenticator, driver, profile })
    }

    /// Takes every passkey out of the authenticator: whoever gets them has copies.
    pub async fn take_passkeys(&self) -> Result<Vec<Value>, E2eError> {
        let all = self.page.issue_cmd(self.credentials(Ask::All)).await?;
        self.page.issue_cmd(self.credentials(Ask::Forget)).await?;
        Ok(all.as_array().cloned().unwrap_or_default())
    }

    /// Puts a passkey into the authenticator.
    pub async fn hold_passkey(&self, passkey: &Value) -> Result<(), E2eError> {
        self.page.issue_cmd(self.credentials(Ask::Hold(passkey.clone()))).await?;
        Ok(())
    }

    /// Whether the authenticator finds, from now on, that it is its owner who uses it.
    pub async fn recognises_its_owner(&self, whether: bool) -> Result<(), E2eError> {
        self.page.issue_cmd(self.credentials(Ask::Verify(whether))).await?;
        Ok(())
    }

    fn credentials(&self, ask: Ask) -> Credentials {
        Credentials { authenticator: self.authenticator.clone(), ask }
    }

    /// Goes to a page of whoever is signed in. A page that loads itself anew in that moment would stay where it is: it is left
    /// once more.
    pub async fn go(&self, url: &str) -> Result<(), E2eError> {
        let goes = async {
            loop {
                self.page.goto(url).await?;
                if self.page.current_url().await?.as_str().trim_end_matches('/') == url.trim_end_matches('/')
                {
                    return Ok(());
                }
            }
        };
        let gone = tokio::time::timeout(PATIENCE, goes).await;
        gone.map_err(|_| E2eError::Browser(format!("`{url}` leads elsewhere")))?
    }

    /// Waits for an element and gives its text.
    pub async fn text(&self, css: &str) -> Result<String, E2eError> {
        let read = async {
            loop {
                // A page that is loaded anew takes its elements with it.
                if let Ok(element) = self.page.find(Locator::Css(css)).await
                    && let Ok(text) = element.text().await
                {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        read.map_err(|_| E2eError::Browser(format!("there is no `{css}`")))
    }

    /// Waits until the text of an element holds this; the text otherwise is in the error.
    pub async fn until_text(&self, css: &str, part: &str) -> Result<String, E2eError> {
        let mut seen = String::new();
        let found = async {
            loop {
                if let Ok(element) = self.page.find(Locator::Css(css)).await {
                    seen = element.text().await.unwrap_or_default();
                    if seen.contains(part) {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        match found {
            Ok(()) => Ok(seen),
            Err(_) => Err(E2eError::Browser(format!("`{css}` never showed `{part}`; it shows: {seen}"))),
        }
    }

    /// Waits for an element that can be used, and clicks it.
    pub async fn click(&self, css: &str) -> Result<(), E2eError> {
        let mut why = String::new();
        let clicked = async {
            loop {
                let tried = async {
                    let element = self.page.find(Locator::Css(css)).await?;
                    if element.is_enabled().await? { element.click().await.map(|()| true) } else { Ok(false) }
                };
                match tried.await {
                    Ok(true) => return,
                    Ok(false) => "it is disabled".clone_into(&mut why),
                    Err(error) => why = error.to_string(),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let clicked = tokio::time::timeout(PATIENCE, clicked).await;
        clicked.map_err(|_| E2eError::Browser(format!("`{css}` could not be clicked: {why}")))
    }

    /// Waits for a link of the inbox whose sentence holds this, and follows it to the approval.
    pub async fn open_approval(&self, console: &str, part: &str) -> Result<(), E2eError> {
        self.go(console).await?;
        let opened = async {
            loop {
                let cards = self.page.find_all(Locator::Css("a.sentence")).await.unwrap_or_default();
                for card in cards {
                    if card.text().await.is_ok_and(|text| text.contains(part)) && card.click().await.is_ok() {
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        opened.map_err(|_| E2eError::Browser(format!("no approval in the inbox says `{part}`")))?;
        self.until_text("h1", part).await.map(drop)
    }

    /// Waits for a field and writes these words into it, in place of what is there. A page that is loaded anew meanwhile is
    /// written into once more.
    pub async fn write(&self, css: &str, words: &str) -> Result<(), E2eError> {
        let written = async {
            loop {
                if let Ok(field) = self.page.find(Locator::Css(css)).await
                    && field.clear().await.is_ok()
                    && field.send_keys(words).await.is_ok()
                    && field.prop("value").await.is_ok_and(|value| value.as_deref() == Some(words))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let written = tokio::time::timeout(PATIENCE, written).await;
        written.map_err(|_| E2eError::Browser(format!("`{css}` could not be written into")))
    }

    /// Has Chromium itself do something, by the name its `DevTools` have for it.
    pub async fn devtools(&self, command: &str, parameters: &Value) -> Result<Value, E2eError> {
        Ok(self.page.issue_cmd(Devtools(json!({"cmd": command, "params": parameters}))).await?)
    }

    /// Runs this script in every page from now on, before the page's own.
    pub async fn before_every_page(&self, script: &str) -> Result<(), E2eError> {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script})).await?;
        Ok(())
    }

    /// Shows pages as a phone of this width does, which no window is as narrow as.
    pub async fn as_phone(&self, width: u32, height: u32) -> Result<(), E2eError> {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 2, "mobile": true});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await?;
        Ok(())
    }

    /// Runs this script in the service worker of an origin, and gives what it comes to. Its driver knows pages alone.
    pub async fn in_worker(&self, origin: &str, script: &str) -> Result<Value, E2eError> {
        tokio::time::timeout(PATIENCE, worker::run(self.profile.path(), origin, script))
            .await
            .map_err(|_| E2eError::Browser("the worker does not answer".into()))?
    }

    /// Waits until this expression is true in the page.
    pub async fn until(&self, expression: &str) -> Result<(), E2eError> {
        let script = format!("return Boolean({expression})");
        let holds = async {
            while !matches!(self.page.execute(&script, vec![]).await, Ok(Value::Bool(true))) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let held = tokio::time::timeout(PATIENCE, holds).await;
        held.map_err(|_| E2eError::Browser(format!("`{expression}` never became true")))
    }

    /// The horizontal overflow of the page in pixels: 0 when everything fits.
    pub async fn overflow(&self) -> Result<i64, E2eError> {
        let script = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        Ok(self.page.execute(script, vec![]).await?.as_i64().unwrap_or(i64::MAX))
    }

    /// Keeps a picture of the page in the folder that `COUNTERSIGN_PICTURES` names, for whoever wants to look at it.
    pub async fn picture(&self, name: &str) -> Result<(), E2eError> {
        if let Some(folder) = std::env::var_os("COUNTERSIGN_PICTURES") {
            std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), self.page.screenshot().await?)?;
        }
        Ok(())
    }

    pub async fn close(self) -> Result<(), E2eError> {
        self.page.clone().close().await?;
        Ok(())
    }
}

/// A driver that is ended when the browser does not come up.
struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(mut driver) = self.0.take() {
            end(&mut driver);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.driver);
    }
}

fn end(driver: &mut Child) {
    // It may have ended by itself; there is nothing left to do about a failure here.
    let group = format!("-{}", driver.id());
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let _ = driver.kill();
    let _ = driver.wait();
}

/// Chromium and its driver: `CHROME` and `CHROMEDRIVER`, or where Debian puts them.
fn programs() -> Result<(PathBuf, PathBuf), E2eError> {
    let named = |variable: &str, usual: &str| {
        let path = std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from);
        let missing = || {
            E2eError::Browser(format!(
                "`{}` is not there: run `make setup` as root, or `apt-get install chromium chromium-driver`, or set {variable}",
                path.display()
            ))
        };
        if path.exists() { Ok(path.clone()) } else { Err(missing()) }
    };
    Ok((named("CHROME", "/usr/bin/chromium")?, named("CHROMEDRIVER", "/usr/bin/chromedriver")?))
}
