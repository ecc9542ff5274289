//! One person alone, and one in another's place, in real browsers with passkeys; the record checked offline.
#![expect(clippy::unwrap_used, reason = "a failed expectation is how a test fails")]

use countersign_e2e::{Gateway, Setup, browser::Browser, client::curl};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const POLICY: &str = r#"
@id("agents") permit (principal in Group::"agents", action, resource in Environment::"prod");
@id("deletes") @gate("deletes") @approvers("Group::\"dba\"") @quorum("2") @step_up("passkey")
@break_glass("Group::\"on-call\"") @reason("what is deleted is gone")
forbid (principal, action in Action::"delete", resource);
"#;

/// A target that says yes to everything.
async fn target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut buffer = [0; 1024];
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(read @ 1..) => head.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                        Ok(_) | Err(_) => return,
                    }
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngone";
                let _ = stream.write_all(answer).await;
            });
        }
    });
    format!("http://{address}")
}

async fn enrol(gateway: &Gateway, name: &str, group: &str) -> Browser {
    let link = gateway.invite(&format!("{name}@example.com"), group).await.unwrap();
    let browser = Browser::start(1280, 900).await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.click("#open-link").await.unwrap();
    browser.click("#register-passkey button").await.unwrap();
    browser.until_text("h1", "Inbox").await.unwrap();
    browser
}

async fn ask(gateway: &Gateway, token: &str, table: &str) {
    let (bearer, url) = (format!("Authorization: Bearer {token}"), format!("{}/tables/{table}", gateway.url));
    let arguments = ["-X", "DELETE", "-H", &bearer, "-H", "Prefer: respond-async", &url];
    assert_eq!(curl(&arguments).await.unwrap().status, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alone_and_one_in_anothers_place() {
    let upstream = target().await;
    let section = format!(
        "[[http]]\nlisten = \"127.0.0.1:WIRE\"\nname = \"shop\"\nenvironment = \"prod\"\nupstream = \"{upstream}\"\n\n[[http.operations]]\nname = \"dropTable\"\nmethod = \"DELETE\"\npath = \"/tables/{{table}}\"\nclass = \"delete\"\nsentence = \"Drop the table {{table}}\"\n"
    );
    let groups = r#"["agents", "dba", "on-call", "others"]"#;
    let setup = Setup { policy: POLICY, groups, sections: &section, files: &[] };
    let gateway = Gateway::start(&setup).await.unwrap();
    gateway.invite("olga@example.com", "dba").await.unwrap();
    let token = gateway.agent("night", "olga@example.com", "agents").await.unwrap();
    let ana = enrol(&gateway, "ana", "on-call").await;
    let ben = enrol(&gateway, "ben", "dba").await;

    // Ana breaks the glass; Ben's open inbox says so at once, and he closes the review.
    ask(&gateway, &token, "logs").await;
    ana.open_approval(&gateway.console_url, "“logs”").await.unwrap();
    ben.until_text("#inbox", "“logs”").await.unwrap();
    ana.page
        .execute("document.getElementById('break-glass').closest('details').open = true", vec![])
        .await
        .unwrap();
    ana.write("#break-glass textarea", "the disk is full").await.unwrap();
    ana.click("#break-glass-button").await.unwrap();
    ana.until_text("#approval", "ana broke the glass").await.unwrap();
    ana.until_text("#approval", "It ran to its end: the target answered 200").await.unwrap();
    ben.until_text("#inbox", "Break-glass to be reviewed").await.unwrap();
    assert_eq!(gateway.command(&["approvals", "reviews"]).await.unwrap().as_array().unwrap().len(), 1);
    ben.open_approval(&gateway.console_url, "“logs”").await.unwrap();
    // What is written keeps the page from being loaded anew.
    ben.write("#glass textarea", "the graph says so").await.unwrap();
    ben.click("#glass input[value=justified]").await.unwrap();
    ben.click("#glass button.go").await.unwrap();
    ben.until_text("#glass", "ben reviewed it").await.unwrap();
    assert_eq!(gateway.command(&["approvals", "reviews"]).await.unwrap().as_array().unwrap().len(), 0);

    // Ben is away; Dora, who has no say of her own, votes in his place.
    let dora = enrol(&gateway, "dora", "others").await;
    ben.go(&format!("{}/account", gateway.console_url)).await.unwrap();
    let away = "const form = document.querySelector('form[data-api*=delegation]');
        const local = (moment) => new Date(moment - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16);
        form.elements.to.value = [...form.elements.to.options].find((one) => one.text === 'dora').value;
        form.elements.from.value = local(Date.now() - 120000);
        form.elements.until.value = local(Date.now() + 3600000);
        form.requestSubmit();";
    ben.page.execute(away, vec![]).await.unwrap();
    ben.until_text("main", "dora votes in your place").await.unwrap();
    ask(&gateway, &token, "old").await;
    dora.open_approval(&gateway.console_url, "“old”").await.unwrap();
    dora.until_text("#approval", "You stand in for ben").await.unwrap();
    dora.click("#approve").await.unwrap();
    dora.until_text("#approval", "dora in place of ben").await.unwrap();

    let export = gateway.command(&["export"]).await.unwrap();
    let key = export["log_key"].as_str().unwrap();
    let verified = gateway.command(&["verify", "countersign-export.jsonl", "--key", key]).await.unwrap();
    assert_eq!(verified["verified"], true, "{verified}");
    for browser in [ana, ben, dora] {
        browser.close().await.unwrap();
    }
}
