//! Routes of the configuration, as those who are told and those who look at the console see them.

use super::{Stage, has, picture, webhook};
use crate::receiver::{Receiver, TAKEN};
use countersign_e2e::browser::Browser;

#[tokio::test(flavor = "multi_thread")]
async fn a_route_tells_whom_no_gate_names_and_the_pages_say_who_is_called_next() {
    let (ops, leads) = (Receiver::start(TAKEN).await, Receiver::start(TAKEN).await);
    let route = r#"
[[route]]
name = "writes"
when = { targets = ["shop"], classes = ["write"] }
channels = ["ops"]
escalate = [{ after = "10m", channels = ["leads"] }]
remind = "15m"

[[route]]
name = "tunings"
when = { targets = ["shop"], classes = ["configure"] }
channels = ["leads"]
urgency = "low"
zone = "Europe/Berlin"
quiet = ["18:00-08:00", "sat", "sun"]
digest_at = ["09:00"]
"#;
    let sections = [webhook("ops", &ops.url, ""), webhook("leads", &leads.url, ""), route.to_owned()];
    let stage = Stage::open(&sections.concat()).await;
    stage.gateway.person("ana@example.com", "dba").await.unwrap();
    stage.ask("DELETE", "logs").await;
    stage.ask("PUT", "logs").await;
    let got = ops.until("the write", |got| has(got, "approval.requested")).await;
    assert_eq!(got.len(), 1, "deletes go another way");
    let approval = got[0].event()["subject"].as_str().unwrap().to_owned();
    assert!(leads.got().is_empty(), "not yet");

    let link = stage.gateway.invite("bea@example.com", "dba").await.unwrap();
    let browser = Browser::start(1280, 1400).await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    let page = |path: &str| format!("{}{path}", stage.gateway.console_url);
    for (width, name) in [(1280, "desktop"), (390, "phone")] {
        browser.page.set_window_size(width, 1400).await.unwrap();
        browser.go(&page("/channels")).await.unwrap();
        let shown = browser.until_text("main", "Routes").await.unwrap();
        for words in [
            "target shop, class write",
            "after 10 min: leads",
            "again every 15 min",
            "can wait (quiet 18:00-08:00, sat, sun; together at 09:00; Europe/Berlin)",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert_eq!(browser.overflow().await.unwrap(), 0);
        picture(&browser, &format!("routes-{name}")).await;
        browser.go(&page(&format!("/approvals/{approval}"))).await.unwrap();
        let shown = browser.until_text("main", "If nobody decides").await.unwrap();
        assert!(shown.contains("leads is told as well"), "{shown}");
        assert_eq!(browser.overflow().await.unwrap(), 0);
        picture(&browser, &format!("told-{name}")).await;
        // Where a message about several leads: exactly these.
        browser.go(&page("/approvals?status=pending&environment=prod&class=write")).await.unwrap();
        let shown = browser.until_text("main", "class write").await.unwrap();
        assert!(shown.contains("environment prod") && !shown.contains("No approval matches"), "{shown}");
        browser.until("document.querySelectorAll('.cards > li').length === 1").await.unwrap();
        assert_eq!(browser.overflow().await.unwrap(), 0);
        picture(&browser, &format!("several-{name}")).await;
    }
}
