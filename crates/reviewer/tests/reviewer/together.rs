//! Several approvals in one message, on each channel that people read, against servers that refuse what the real ones
//! refuse, with hostile text in every sentence.

use crate::stage::{CORPUS, now};
use countersign_core::{ApprovalId, PersonId, visible::escaped};
use countersign_reviewer::{ChannelSection, Common, Decider, Gathering, Item, Over, Said, Tell, Why};
use countersign_testkit::{
    opsgenie::{self, Opsgenie},
    pagerduty::{self, PagerDuty, Status},
    slack::{self, Slack},
    smtp::{At, Mode, Smtp},
    teams::{self, Teams, cards},
};
use std::sync::Arc;

const LIST: &str = "https://sign.example/approvals?status=pending&class=delete";

/// So many approvals, with these sentences over and over.
pub(crate) fn gathering(count: usize, sentences: &[String]) -> Gathering {
    let now = now();
    let items = sentences.iter().cycle().take(count.min(20)).enumerate().map(|(at, sentence)| Item {
        approval: ApprovalId::from_parts(now.unix_ms(), at as u128),
        code: format!("{at:08x}"),
        sentence: sentence.clone(),
        deadline: Some(now),
        link: format!("https://sign.example/approvals/{at}"),
    });
    Gathering {
        id: "0123456789abcdef0123456789abcdef".into(),
        why: Why::Similar,
        items: items.collect(),
        count,
        common: Some(Common {
            requester: "agt_1".into(),
            target: "shop".into(),
            environment: "prod".into(),
            kind: format!("delete {}", sentences[0]),
            gates: "deletes".into(),
        }),
        link: LIST.into(),
        deciders: Vec::new(),
        source: "https://sign.example".into(),
        now,
    }
}

pub(crate) fn hostile() -> Vec<String> {
    let longest = "🎈".repeat(10_000);
    CORPUS.iter().map(|text| escaped(text)).chain([longest, String::new()]).collect()
}

pub(crate) fn over(posted: &str) -> Over {
    Over { id: "0".into(), posted: posted.into(), link: LIST.into(), now: now() }
}

struct Channel {
    tell: Arc<dyn Tell>,
    _folder: tempfile::TempDir,
}

impl Channel {
    fn open(secret: &str, section: ChannelSection) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), secret).unwrap();
        let section = ChannelSection { name: "ops".into(), ..section };
        let tell = Arc::clone(section.check(folder.path()).unwrap().tell());
        assert!(tell.gathers());
        Self { tell, _folder: folder }
    }

    async fn tell(&self, count: usize) -> String {
        self.tell.tell_together(&gathering(count, &hostile())).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn slack_shows_them_in_one_message_that_decides_nothing_and_says_when_none_waits() {
    let server = Slack::start().await.unwrap();
    let channel = Channel::open(
        slack::TOKEN,
        ChannelSection {
            kind: "slack".into(),
            token_from: Some("file:secret".into()),
            channel: Some(slack::CHANNEL.into()),
            api: Some(server.api()),
            ..ChannelSection::default()
        },
    );
    let mut posted = String::new();
    for count in [2, 20, 10_000] {
        posted = channel.tell(count).await;
    }
    let messages = server.messages();
    assert_eq!(messages.len(), 3);
    let blocks = serde_json::to_string(&messages[2].blocks).unwrap();
    assert!(blocks.contains("⏳ 10000 similar approvals wait for people"), "{blocks}");
    assert!(blocks.contains("status=pending&amp;class=delete|Review in Countersign"), "{blocks}");
    assert!(blocks.contains(" more") && !blocks.contains("action_id"), "{blocks}");
    assert!(!blocks.contains("<!channel>") && !blocks.contains("<@U123>"), "{blocks}");
    channel.tell.over(&over(&posted)).await.unwrap();
    let last = &server.messages()[2];
    assert_eq!(last.before.len(), 1);
    assert!(last.blocks[0]["text"]["text"].as_str().unwrap().contains("None of these approvals waits"));
    assert!(server.calls().iter().all(|(_, said)| said == "ok"), "{:?}", server.calls());
}

#[tokio::test]
async fn teams_shows_them_in_one_card_that_decides_nothing_and_says_when_none_waits() {
    for conversation in [teams::CHANNEL, teams::CHAT] {
        let server = Teams::start().await.unwrap();
        let channel = Channel::open(
            teams::SECRET,
            ChannelSection {
                kind: "teams".into(),
                app_id: Some(teams::APP.into()),
                tenant: Some(teams::TENANT.into()),
                client_secret_from: Some("file:secret".into()),
                conversation: Some(conversation.into()),
                service: Some(server.service()),
                login: Some(server.login()),
                issuer: Some(server.issuer()),
                ..ChannelSection::default()
            },
        );
        let posted = channel.tell(10_000).await;
        let messages = server.messages();
        let [message] = messages.as_slice() else { panic!("one card") };
        let card = message.card.to_string();
        assert!(cards::texts_of(&message.card, "TextBlock")[0].contains("10000 similar approvals"), "{card}");
        assert!(card.contains("Action.OpenUrl") && card.contains(LIST), "{card}");
        assert!(!card.contains("Action.Execute") && !card.contains("Action.Submit"), "{card}");
        channel.tell.over(&over(&posted)).await.unwrap();
        let messages = server.messages();
        assert!(cards::texts_of(&messages[0].card, "TextBlock")[0].contains("None of these"), "{card}");
    }
}

#[tokio::test]
async fn one_page_is_sent_for_all_of_them_and_ends_with_the_last() {
    let server = PagerDuty::start().await.unwrap();
    let channel = Channel::open(
        pagerduty::ROUTING_KEY,
        ChannelSection {
            kind: "pagerduty".into(),
            routing_key_from: Some("file:secret".into()),
            api: Some(server.url()),
            ..ChannelSection::default()
        },
    );
    let posted = channel.tell(10_000).await;
    assert_eq!(channel.tell(10_000).await, posted, "told twice, it is one page");
    let incidents = server.incidents();
    assert_eq!((incidents.len(), &*incidents[0].key), (1, &*posted));
    let summary = incidents[0].events[0]["payload"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("⏳ 10000 similar approvals wait for people"), "{summary}");
    channel.tell.over(&over(&posted)).await.unwrap();
    assert_eq!(server.incidents()[0].status, Status::Resolved);
}

#[tokio::test]
async fn one_alert_is_made_for_all_of_them_and_ends_with_the_last() {
    let server = Opsgenie::start().await.unwrap();
    let channel = Channel::open(
        opsgenie::API_KEY,
        ChannelSection {
            kind: "opsgenie".into(),
            api_key_from: Some("file:secret".into()),
            api: Some(server.url()),
            ..ChannelSection::default()
        },
    );
    let posted = channel.tell(10_000).await;
    assert_eq!(channel.tell(10_000).await, posted, "told twice, it is one alert");
    let alerts = server.alerts();
    assert_eq!((alerts.len(), &*alerts[0].alias), (1, &*posted));
    let payload = &alerts[0].payload;
    assert!(payload["message"].as_str().unwrap().starts_with("⏳ 10000 similar approvals wait"), "{payload}");
    assert!(payload["description"].as_str().unwrap().contains(LIST), "{payload}");
    channel.tell.over(&over(&posted)).await.unwrap();
    assert_eq!(server.alerts()[0].status, opsgenie::Status::Closed);
}

#[tokio::test]
async fn a_mail_lists_them_for_each_who_may_decide() {
    let server = Smtp::start(Mode::Plain, None).await.unwrap();
    let section = |to: Option<Vec<String>>| ChannelSection {
        kind: "email".into(),
        server: Some("127.0.0.1".into()),
        port: Some(server.port()),
        tls: Some("none".into()),
        from: Some("countersign@example.com".into()),
        to,
        ..ChannelSection::default()
    };
    let people = Channel::open("", section(None));
    let decider = |name: &str, number| Decider {
        person: PersonId::from_parts(1, number),
        address: format!("{name}@example.com"),
        link: LIST.into(),
        said: if name == "cleo" { Said::Something } else { Said::Nothing },
    };
    let deciders = vec![decider("ana", 1), decider("bea", 2), decider("cleo", 3)];
    let all = Gathering { deciders, ..gathering(10_000, &hostile()) };
    people.tell.tell_together(&all).await.unwrap();
    let nobody = gathering(2, &hostile());
    let failed = people.tell.tell_together(&nobody).await.unwrap_err();
    assert!(failed.why.contains("nobody who may decide"), "{failed:?}");
    let list = Channel::open("", section(Some(vec!["dba@example.com".into()])));
    list.tell(2).await;
    let taken = server.taken();
    let to: Vec<&str> = taken.iter().map(|taken| &*taken.to).collect();
    assert_eq!(to, ["ana@example.com", "bea@example.com", "dba@example.com"]);
    let mail = &taken[0].mail;
    assert_eq!(mail.header("subject"), "[Countersign] 10000 similar approvals wait for people");
    assert_eq!(mail.links(), [LIST.replace('&', "&amp;")]);
    assert!(
        mail.text.contains("… and 9980 more") && !mail.text.contains("javascript:alert(1)://"),
        "{}",
        mail.text
    );
    assert!(!format!("{:?}", list.tell).contains("example.com"), "{:?}", list.tell);
}

#[tokio::test]
async fn one_mailbox_keeps_nothing_from_the_others() {
    let server = Smtp::start(Mode::Plain, None).await.unwrap();
    let channel = Channel::open(
        "",
        ChannelSection {
            kind: "email".into(),
            server: Some("127.0.0.1".into()),
            port: Some(server.port()),
            tls: Some("none".into()),
            from: Some("countersign@example.com".into()),
            ..ChannelSection::default()
        },
    );
    let decider = |name: &str, number, said| Decider {
        person: PersonId::from_parts(1, number),
        address: format!("{name}@example.com"),
        link: LIST.into(),
        said,
    };
    let asked = |deciders| Gathering { deciders, ..gathering(2, &hostile()) };
    let refuses = |code| server.trouble(|trouble| trouble.refusals.push_back((At::Rcpt, code)));
    for (at, code) in [450, 550].into_iter().enumerate() {
        refuses(code);
        let both = vec![decider("ana", 1, Said::Nothing), decider("bea", 2, Said::Nothing)];
        channel.tell.tell_together(&asked(both)).await.unwrap();
        assert_eq!(server.taken().len(), at + 1, "{code}");
        assert_eq!(server.taken()[at].to, "bea@example.com");
        refuses(code);
        let alone = vec![decider("ana", 1, Said::Nothing)];
        channel.tell.tell_together(&asked(alone)).await.unwrap_err();
    }
    let voted = vec![decider("ana", 1, Said::Something)];
    let failed = channel.tell.tell_together(&asked(voted)).await.unwrap_err();
    assert!(failed.why.contains("nobody who may decide"), "{failed:?}");
}
