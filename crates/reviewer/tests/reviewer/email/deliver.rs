//! Handing mails over, to a server that refuses what real ones refuse.

use crate::stage::{letter, now};
use countersign_core::{ActionId, ApprovalId, EntryId, PersonId};
use countersign_reviewer::{Again, ChannelSection, Decider, Failed, Letter, Said, Scope, Tell};
use countersign_testkit::smtp::{At, Identity, Mode, PASSWORD, Smtp, Tampering, USER};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;

struct Stage {
    smtp: Smtp,
    tell: Arc<dyn Tell>,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn open(mode: Mode, change: impl FnOnce(&mut ChannelSection)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let (chain, key_text) = (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem());
        let smtp = Smtp::start(mode, Some(Identity { chain: &chain, key: &key_text })).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let shielded = mode != Mode::Plain;
        let mut section = ChannelSection {
            name: "mail".into(),
            kind: "email".into(),
            server: Some("localhost".into()),
            port: Some(smtp.port()),
            tls: Some(match mode {
                Mode::Plain => "none".into(),
                Mode::StartTls => "starttls".into(),
                Mode::Implicit => "implicit".into(),
            }),
            user: shielded.then(|| USER.into()),
            password_from: shielded.then(|| "file:password".into()),
            from: Some("countersign@example.com".into()),
            ca: shielded.then(|| "ca.pem".into()),
            ..ChannelSection::default()
        };
        change(&mut section);
        let tell = Arc::clone(section.check(folder.path()).unwrap().tell());
        Self { smtp, tell, folder }
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        let told = self.tell.tell(letter).await;
        if let Err(failed) = &told {
            for secret in [PASSWORD, "@example.com", "summons#"] {
                assert!(!failed.why.contains(secret), "{}", failed.why);
            }
        }
        told
    }

    fn to(&self) -> Vec<String> {
        self.smtp.taken().into_iter().map(|taken| taken.to).collect()
    }

    fn refuses(&self, at: At, code: u16) {
        self.smtp.trouble(|trouble| trouble.refusals.push_back((at, code)));
    }
}

fn decider(name: &str, number: u128) -> Decider {
    Decider {
        person: PersonId::from_parts(1, number),
        address: format!("{name}@example.com"),
        link: format!("https://sign.example/approvals/x/summons#{name}"),
        said: Said::Nothing,
    }
}

fn asked() -> Letter {
    let deciders = vec![decider("ana", 1), decider("bea", 2)];
    Letter { deciders, ..letter(1, "approval.requested", "pending") }
}

#[tokio::test]
async fn each_of_those_who_may_decide_gets_a_mail_of_their_own_and_nobody_is_told_of_every_step() {
    let stage = Stage::open(Mode::StartTls, |_| {}).await;
    let asked = asked();
    assert!(stage.tell(&asked).await.unwrap().is_some());
    let taken = stage.smtp.taken();
    assert_eq!(stage.to(), ["ana@example.com", "bea@example.com"]);
    for (one, name) in taken.iter().zip(["ana", "bea"]) {
        assert!(one.shielded && one.user.as_deref() == Some(USER) && one.from == "countersign@example.com");
        assert_eq!(one.mail.links(), [format!("https://sign.example/approvals/x/summons#{name}")]);
        assert_eq!(one.mail.header("to"), format!("<{name}@example.com>"));
    }
    let of = |number, kind, state| Letter {
        approval: asked.approval,
        deciders: vec![Decider { said: Said::Something, ..decider("ana", 1) }, decider("bea", 2)],
        posted: Some("mailed".into()),
        ..letter(number, kind, state)
    };
    // A step on the way, others who are called, a question that is answered already.
    for (number, kind, state) in [
        (2, "approval.voted", "pending"),
        (3, "approval.escalated", "pending"),
        (4, "approval.reminded", "granted"),
    ] {
        stage.tell(&of(number, kind, state)).await.unwrap();
    }
    assert_eq!(stage.to().len(), 2);
    // Whoever has voted is not reminded; at the end everybody is told, and needs no link of their own.
    stage.tell(&of(5, "approval.reminded", "pending")).await.unwrap();
    assert_eq!(stage.to()[2..], ["bea@example.com"]);
    stage.tell(&of(6, "approval.granted", "granted")).await.unwrap();
    assert_eq!(stage.to()[3..], ["ana@example.com", "bea@example.com"]);
    let last = &stage.smtp.taken()[4].mail;
    assert_eq!(last.links(), ["https://sign.example/approvals/x"]);
    assert_eq!(last.header("references"), stage.smtp.taken()[1].mail.header("message-id"));
}

#[tokio::test]
async fn addresses_of_the_configuration_get_a_link_that_is_nobodys() {
    let to = vec!["oncall@example.com".to_owned(), "audit@example.com".into(), "oncall@example.com".into()];
    let stage = Stage::open(Mode::Implicit, |section| section.to = Some(to)).await;
    stage.tell(&asked()).await.unwrap();
    assert_eq!(stage.to(), ["audit@example.com", "oncall@example.com"]);
    for taken in stage.smtp.taken() {
        assert!(taken.shielded);
        assert_eq!(taken.mail.links(), ["https://sign.example/approvals/x"]);
        assert!(!taken.mail.text.contains("for you alone"));
    }
}

#[tokio::test]
async fn nothing_is_said_without_the_tls_that_is_demanded() {
    let stage = Stage::open(Mode::StartTls, |_| {}).await;
    for (change, why) in [
        (Tampering::Strips, "offers no STARTTLS: nothing is sent without TLS"),
        (Tampering::Injects, "does not speak SMTP before TLS"),
    ] {
        stage.smtp.trouble(|trouble| trouble.on_the_way = change);
        let failed = stage.tell(&asked()).await.unwrap_err();
        assert!(failed.why.contains(why), "{}", failed.why);
        assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
    }
    let said = stage.smtp.said();
    assert!(said.iter().all(|(word, _)| !matches!(&**word, "AUTH" | "MAIL")), "{said:?}");
    // A certificate that nobody vouches for, or for another name.
    for (ca, server) in [(None, "localhost"), (Some("ca.pem"), "127.0.0.1")] {
        let stage = Stage::open(Mode::Implicit, |section| {
            (section.ca, section.server) = (ca.map(Into::into), Some(server.into()));
        });
        let failed = stage.await.tell(&asked()).await.unwrap_err();
        assert!(failed.why.starts_with("no TLS with"), "{}", failed.why);
    }
    // A server that demands more than the configuration gives.
    let stage = Stage::open(Mode::StartTls, |section| {
        (section.tls, section.user, section.password_from, section.ca) =
            (Some("none".into()), None, None, None);
    });
    let failed = stage.await.tell(&asked()).await.unwrap_err();
    assert!(failed.why.ends_with("refused the sender's address (530)"), "{}", failed.why);
}

#[tokio::test]
async fn a_refusal_stops_the_channel_this_news_or_one_recipient() {
    let stage = Stage::open(Mode::StartTls, |_| {}).await;
    for (at, code, scope, again) in [
        (At::Connection, 554, Scope::Channel, Again::Yes),
        (At::Auth, 535, Scope::Channel, Again::Yes),
        (At::Auth, 454, Scope::Channel, Again::Yes),
        (At::Mail, 451, Scope::Channel, Again::Yes),
        (At::Mail, 550, Scope::Channel, Again::Yes),
        (At::Rcpt, 421, Scope::Channel, Again::Yes),
        (At::Rcpt, 451, Scope::News, Again::Yes),
        (At::Rcpt, 550, Scope::News, Again::No),
        (At::Data, 451, Scope::News, Again::Yes),
        (At::Content, 450, Scope::News, Again::Yes),
        (At::Content, 554, Scope::News, Again::No),
    ] {
        stage.refuses(at, code);
        let failed = stage.tell(&asked()).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (scope, again), "{at:?} {code}: {}", failed.why);
        assert!(failed.why.contains(&format!("({code})")), "{}", failed.why);
    }
    std::fs::write(stage.folder.path().join("password"), "hunter2").unwrap();
    let failed = stage.tell(&asked()).await.unwrap_err();
    assert!(failed.why.ends_with("refused user and password (535)"), "{}", failed.why);
    stage.smtp.trouble(|trouble| trouble.down = true);
    let failed = stage.tell(&asked()).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_on() {
    for mode in [Mode::Plain, Mode::StartTls, Mode::Implicit] {
        let stage = Stage::open(mode, |_| {}).await;
        stage.smtp.trouble(|trouble| trouble.endless = true);
        let failed = stage.tell(&asked()).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
        // Not because the time ran out, in which it could have sent gigabytes.
        assert!(failed.why.contains("ended the connection"), "{mode:?}: {}", failed.why);
    }
}

#[tokio::test]
async fn whoever_has_it_does_not_get_it_again_while_others_are_tried() {
    let stage = Stage::open(Mode::StartTls, |_| {}).await;
    // One mailbox is not there, and the server wants to be asked twice about the other.
    stage.smtp.trouble(|trouble| {
        trouble.unknown.insert("bea@example.com".into());
        trouble.greylists = true;
    });
    let mut asked = asked();
    asked.deciders.push(decider("cem", 3));
    let failed = stage.tell(&asked).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::Yes));
    assert!(stage.to().is_empty());
    stage.refuses(At::Content, 452);
    let failed = stage.tell(&asked).await.unwrap_err();
    assert!(failed.again == Again::Yes && failed.why.ends_with("was not taken yet (452)"), "{}", failed.why);
    assert_eq!(stage.to(), ["cem@example.com"], "ana is the one that is tried again");
    let failed = stage.tell(&asked).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::No));
    assert!(failed.why.starts_with("1 of 3 mails were refused for good"), "{}", failed.why);
    assert_eq!(stage.to(), ["cem@example.com", "ana@example.com"]);
    // Given up and replayed, when the mailbox is there.
    stage.smtp.trouble(|trouble| {
        trouble.unknown.clear();
        trouble.greylists = false;
    });
    stage.tell(&asked).await.unwrap();
    assert_eq!(stage.to(), ["cem@example.com", "ana@example.com", "bea@example.com"]);
    // An answer that is lost makes a second mail, under the same id.
    stage.smtp.trouble(|trouble| trouble.lost = 1);
    let next = Letter { deciders: vec![decider("ana", 1)], ..letter(2, "approval.reminded", "pending") };
    assert_eq!(stage.tell(&next).await.unwrap_err().scope, Scope::Channel);
    stage.tell(&next).await.unwrap();
    let ids: Vec<String> =
        stage.smtp.taken()[3..].iter().map(|taken| taken.mail.header("message-id").to_owned()).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
}

#[tokio::test]
async fn a_mail_too_large_for_the_server_leaves_state_and_link() {
    let stage = Stage::open(Mode::Implicit, |_| {}).await;
    stage.smtp.trouble(|trouble| trouble.largest = Some(4_000));
    let asked = Letter { deciders: vec![decider("ana", 1)], ..asked() };
    stage.tell(&asked).await.unwrap();
    let taken = stage.smtp.taken();
    assert_eq!(taken.len(), 1);
    assert!(
        taken[0].mail.text.contains("Review in Countersign") && !taken[0].mail.text.contains("DELETE /x")
    );
    assert_eq!(taken[0].mail.links(), [asked.deciders[0].link.as_str()]);
    stage.smtp.trouble(|trouble| trouble.largest = Some(10));
    let next = Letter { id: "another".into(), ..asked };
    let failed = stage.tell(&next).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::No));
}

#[tokio::test]
async fn a_question_that_reaches_nobody_is_no_success_and_a_test_goes_to_whoever_answers() {
    let stage = Stage::open(Mode::Plain, |section| section.reply_to = Some("desk@example.com".into())).await;
    let nobody = letter(1, "approval.requested", "pending");
    let failed = stage.tell(&nobody).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::News, Again::Yes));
    assert!(failed.why.contains("nobody who may decide"), "{}", failed.why);
    let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
    let test = Letter::of_test(EntryId::from_parts(1, 1), (approval, action), "https://sign.example", now());
    stage.tell(&test).await.unwrap();
    let taken = stage.smtp.taken();
    assert_eq!(stage.to(), ["desk@example.com"]);
    assert_eq!(taken[0].mail.header("reply-to"), "<desk@example.com>");
    assert!(taken[0].mail.text.contains("This is a test") && taken[0].mail.text.contains("Open Countersign"));
}
