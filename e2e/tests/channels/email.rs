//! E-mail beside the real binary: from the mail to the page, with a browser and a passkey; and what a link is worth.

use crate::{Stage, picture};
use countersign_demo::person::{Person, Strength};
use countersign_e2e::client::{curl, python};
use countersign_testkit::smtp::{Identity, Mode, PASSWORD, Smtp, Taken, USER};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use std::path::PathBuf;

/// Reads mails with Python's own library and compares them with what was made of them here.
const READ: &str = r#"
import email, email.policy, json, sys
mails = json.load(open(sys.argv[1]))
for mail in mails:
    read = email.message_from_bytes(mail["data"].encode(), policy=email.policy.default)
    assert not read.defects, read.defects
    parts = {part.get_content_type(): part for part in read.walk()}
    assert sorted(parts) == ["multipart/alternative", "text/html", "text/plain"], sorted(parts)
    for kind, name in (("text/plain", "text"), ("text/html", "html")):
        assert not parts[kind].defects, parts[kind].defects
        assert parts[kind].get_content().strip().replace("\r\n", "\n") == mail[name].strip().replace("\r\n", "\n")
    [to] = read["to"].addresses
    assert to.addr_spec == mail["to"] and read["from"].addresses[0].addr_spec == "countersign@example.com"
    assert read["date"].datetime is not None and read["auto-submitted"] == "auto-generated"
    assert read["message-id"].strip("<>").count("@") == 1
print(len(mails))
"#;

struct Post {
    smtp: Smtp,
    stage: Stage,
}

impl Post {
    async fn open(more: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (chain, key_text) = (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem());
        let smtp =
            Smtp::start(Mode::StartTls, Some(Identity { chain: &chain, key: &key_text })).await.unwrap();
        let section = format!(
            "[[channel]]\nname = \"dba\"\nkind = \"email\"\nserver = \"localhost\"\nport = {}\ntls = \"starttls\"\n\
             ca = \"mail-ca.pem\"\nuser = \"{USER}\"\npassword_from = \"file:mail-password\"\n\
             from = \"countersign@example.com\"\n{more}\n",
            smtp.port()
        );
        let files = [("mail-ca.pem", &*authority.pem()), ("mail-password", PASSWORD)];
        let stage = Stage::open_with(&section, &files).await;
        Self { smtp, stage }
    }

    async fn mails(&self, count: usize) -> Vec<Taken> {
        self.smtp.until("a mail", |taken| taken.len() >= count).await.unwrap()
    }
}

fn link_of<'t>(taken: &'t [Taken], to: &str) -> String {
    let mail: &'t Taken = taken.iter().find(|taken| taken.to == to).unwrap();
    mail.mail.links().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_leads_whom_it_is_for_to_the_page_once_and_the_end_is_told_in_the_same_thread() {
    let post = Post::open("").await;
    post.stage.gateway.command(&["channel", "test", "dba"]).await.unwrap();
    assert_eq!(post.mails(1).await[0].to, "countersign@example.com");
    let browser = post.stage.browser("ana@example.com", 390).await;
    let bea = post.stage.browser("bea@example.com", 1280).await;
    // Somebody who is behind the agent and in the group: they may not decide, and are not asked.
    let link = post.stage.gateway.command(&["person", "link", "olga@example.com"]).await.unwrap();
    let link = link["link"].as_str().unwrap();
    Person::open(&post.stage.gateway.console_url, link).await.unwrap().register_passkey().await.unwrap();
    let bearer = format!("Authorization: Bearer {}", post.stage.token);
    let url = format!("{}/tables/logs", post.stage.gateway.url);
    let because = "Countersign-Reason: <b>urgent</b> see https://evil.example";
    let arguments = ["-X", "DELETE", "-H", &bearer, "-H", "Prefer: respond-async", "-H", because, &url];
    assert_eq!(curl(&arguments).await.unwrap().status, 202);
    let taken = post.mails(3).await;
    let mut to: Vec<&str> = taken[1..].iter().map(|taken| &*taken.to).collect();
    to.sort_unstable();
    assert_eq!(to, ["ana@example.com", "bea@example.com"]);
    let mail = &taken.iter().find(|taken| taken.to == "ana@example.com").unwrap().mail;
    for part in [&mail.text, &mail.html] {
        for words in [
            "Drop the table “logs” (prod).",
            "what is deleted is gone",
            "DELETE /tables/logs",
            "Decide in Countersign",
        ] {
            assert!(part.contains(words), "{words}: {part}");
        }
        assert!(!part.contains("https://evil.example"), "{part}");
    }
    assert!(mail.html.contains("&lt;b&gt;urgent") && !mail.html.contains("<b>urgent"), "{}", mail.html);

    // The mail as a browser draws it: nothing is fetched, and the only link is ours.
    let drawn = post.stage.gateway.folder().join("mail.html");
    std::fs::write(&drawn, &mail.html).unwrap();
    for (width, name) in [(390, "phone"), (900, "desktop")] {
        browser.page.set_window_size(width, 1400).await.unwrap();
        browser.page.goto(&format!("file://{}", drawn.display())).await.unwrap();
        browser.until_text("h1", "Waiting for people").await.unwrap();
        assert_eq!(browser.overflow().await.unwrap(), 0);
        picture(&browser, &format!("email-asked-{name}")).await;
    }
    let fetched = "return performance.getEntriesByType('resource').length + document.links.length";
    assert_eq!(browser.page.execute(fetched, vec![]).await.unwrap(), json!(1));

    // Somebody else's link leads nowhere, and is not used up by that.
    let link = link_of(&taken, "ana@example.com");
    bea.page.goto(&link).await.unwrap();
    let said = bea.until_text("#outcome", "was not sent to you").await.unwrap();
    assert!(said.contains("sign in as the person"), "{said}");
    picture(&bea, "email-not-yours").await;
    let approval = post.stage.gateway.approval("pending").await.unwrap();
    // Whoever is not signed in sees nothing behind it, and a program that fetches it uses nothing up.
    let (address, code) = link.split_once('#').unwrap();
    assert_ne!(curl(&[address]).await.unwrap().status, 200);
    let posted = format!("{{\"code\": \"{code}\"}}");
    let api = format!("{}/api/v1/approvals/{approval}/summons", post.stage.gateway.console_url);
    let origin = format!("Origin: {}", post.stage.gateway.console_url);
    let kind = "Content-Type: application/json";
    let answered = curl(&["-X", "POST", "-H", kind, "-H", &origin, "-d", &posted, &api]).await.unwrap();
    assert_eq!(answered.status, 401);
    assert!(post.stage.gateway.log().find(code).is_none(), "the link is in the log");

    // Ana's own browser: the page, and nothing was decided by coming. The second time the link is used up.
    browser.page.goto(&link).await.unwrap();
    let shown = browser.until_text("main", "what is deleted is gone").await.unwrap();
    assert!(shown.contains("Drop the table"), "{shown}");
    let at = browser.page.current_url().await.unwrap();
    assert!(at.path() == format!("/approvals/{approval}/decide") && at.fragment().is_none(), "{at}");
    picture(&browser, "email-page").await;
    assert_eq!(post.stage.gateway.approval("pending").await.unwrap(), approval);
    browser.page.goto("about:blank").await.unwrap();
    browser.page.goto(&link).await.unwrap();
    browser.until_text("#outcome", "each is good once").await.unwrap();
    picture(&browser, "email-used").await;

    // After deciding everybody who was asked is told.
    browser.go(&format!("{}/approvals/{approval}", post.stage.gateway.console_url)).await.unwrap();
    browser.click("#approve").await.unwrap();
    let to = |taken: &[Taken], who: &str| taken.iter().filter(|taken| taken.to == who).count();
    let all = |taken: &[Taken]| ["ana@example.com", "bea@example.com"].iter().all(|who| to(taken, who) == 2);
    let taken =
        post.smtp.until("the ends", |taken| all(taken) && to(taken, "olga@example.com") > 0).await.unwrap();
    for end in &taken[3..] {
        assert!(end.mail.links().iter().all(|link| !link.contains('#')), "{}", end.mail.text);
        // Whoever owns the agent hears of the end alone.
        if end.to == "olga@example.com" {
            continue;
        }
        assert!(end.mail.text.contains("Approved by everybody who had to"), "{}", end.mail.text);
        let first = taken[1..3].iter().find(|first| first.to == end.to).unwrap();
        assert_eq!(end.mail.header("in-reply-to"), first.mail.header("message-id"));
    }
    let mails: Vec<_> = taken
        .iter()
        .map(|taken| json!({"data": taken.data, "to": taken.to, "text": taken.mail.text, "html": taken.mail.html}))
        .collect();
    let file = post.stage.gateway.folder().join("mails.json");
    std::fs::write(&file, json!(mails).to_string()).unwrap();
    let said = python(READ, &[&file.display().to_string()]).await.unwrap();
    assert_eq!(String::from_utf8(said).unwrap().trim(), mails.len().to_string());

    // A test goes to one of them, where one is named.
    let test = |email: &'static str| {
        let gateway = &post.stage.gateway;
        async move { gateway.command(&["channel", "test", "dba", "--person", email]).await }
    };
    let said = test("nobody@example.com").await.unwrap_err().to_string();
    assert!(said.contains("nobody has the e-mail `nobody@example.com`"), "{said}");
    test("bea@example.com").await.unwrap();
    let is = |taken: &Taken| taken.to == "bea@example.com" && taken.mail.text.contains("This is a test");
    post.smtp.until("the test", |taken| taken.iter().any(is)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_is_told_and_a_password_that_is_not_taken_is_told_to_whoever_tries_it() {
    let post = Post::open("show = 0\nreply_to = \"desk@example.com\"").await;
    let mut ana = post.stage.gateway.person("ana@example.com", "dba").await.unwrap();
    post.stage.ask("DELETE", "logs").await;
    let taken = post.mails(1).await;
    assert!(
        taken[0].mail.text.contains("Not all of it is shown here")
            && !taken[0].mail.text.contains("DELETE /tables")
    );
    let id = post.stage.gateway.approval("pending").await.unwrap();
    let why = "not <i>tonight</i>\r\nBcc: x@evil.example";
    assert!(ana.vote(&id, "reject", Strength::Session, Some(why)).await.unwrap().is_success());
    let taken = post.mails(2).await;
    let end = &taken[1].mail;
    assert!(
        end.text.contains("Rejected because:") && end.html.contains("not &lt;i&gt;tonight&lt;/i&gt;"),
        "{}",
        end.html
    );
    assert_eq!((end.header("bcc"), end.header("reply-to")), ("", "<desk@example.com>"));
    let password: PathBuf = post.stage.gateway.folder().join("mail-password");
    std::fs::write(password, "another one").unwrap();
    let said = post.stage.gateway.command(&["channel", "test", "dba"]).await.unwrap_err().to_string();
    assert!(
        said.contains("`dba` was not told") && said.contains("refused user and password (535)"),
        "{said}"
    );
    assert!(!said.contains("another one"), "{said}");
    let shown = post.stage.gateway.command(&["channel", "list"]).await.unwrap().to_string();
    assert!(shown.contains("from countersign@example.com"), "{shown}");
    let log = post.stage.gateway.log();
    for secret in [PASSWORD, "ana@example.com"] {
        assert!(!shown.contains(secret) && !log.contains(secret), "{secret}");
    }
    assert_eq!(post.smtp.taken().len(), 2, "one mail for the question and one for its end");
}
