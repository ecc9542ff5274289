//! Hostile text in whatever comes behind the first message: steps in threads, comments and notes, endings, short forms,
//! notifications. Each is held to what the first message of its channel is held to.

use crate::{
    corpus::{CORPUS, hides},
    email, slack,
    stage::{held, letter, message, steps},
    teams,
    together::gathering,
};
use countersign_core::{PersonId, visible};
use countersign_reviewer::{ChannelSection, Decider, Gathering, Letter, Said, Tell};
use countersign_testkit::{
    jira::{
        self, Jira,
        document::{check, runs},
    },
    opsgenie::{self, Opsgenie},
    servicenow::{self, ServiceNow},
    slack::Slack,
    smtp::{Mail, Mode, Smtp},
    teams::{CHANNEL, CHAT},
};
use futures_util::{StreamExt as _, stream};
use std::sync::Arc;

/// Conversations that are written to at once.
const AT_ONCE: usize = 8;

/// A channel with one secret.
fn channel(secret: &str, section: ChannelSection) -> (Arc<dyn Tell>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), secret).unwrap();
    let section = ChannelSection { name: "ops".into(), ..section };
    (Arc::clone(section.check(folder.path()).unwrap().tell()), folder)
}

fn marked(text: &str) -> String {
    format!("zqz{text}zqz")
}

fn secret() -> String {
    "file:secret".into()
}

fn first() -> Letter {
    letter(1, "approval.requested", "pending")
}

#[tokio::test]
async fn lines_of_slacks_threads() {
    let one = async |text: &str| {
        let server = Slack::start().await.unwrap();
        let (tell, _folder) = channel(
            countersign_testkit::slack::TOKEN,
            ChannelSection {
                kind: "slack".into(),
                token_from: Some(secret()),
                channel: Some(countersign_testkit::slack::CHANNEL.into()),
                api: Some(server.api()),
                ..ChannelSection::default()
            },
        );
        let (text, first) = (marked(text), first());
        let posted = tell.tell(&first).await.unwrap();
        let steps = steps(&first, &text, posted.as_ref());
        for step in &steps {
            tell.tell(step).await.unwrap();
        }
        let messages = server.messages();
        assert_eq!(messages.len(), 1 + steps.len());
        let all = serde_json::to_string(&messages.iter().map(|one| &one.blocks).collect::<Vec<_>>()).unwrap();
        assert!(all.contains("zqz"));
        for said in messages {
            slack::draw::means_nothing(&said.text, &said.blocks, &text);
            for (text, blocks) in &said.before {
                slack::draw::means_nothing(text, blocks, text);
            }
        }
    };
    // Each has a channel of its own, which takes a message a second.
    stream::iter(CORPUS.into_iter().chain(slack::draw::MARKS)).for_each_concurrent(AT_ONCE, one).await;
}

#[tokio::test]
async fn answers_and_calls_in_teams() {
    let one = async |(conversation, text): (&str, &str)| {
        let (stage, text, first) = (teams::deliver::Stage::open(conversation).await, marked(text), first());
        let posted = stage.tell(&first).await.unwrap();
        for step in steps(&first, &text, posted.as_ref()) {
            stage.tell(&step).await.unwrap();
        }
        let messages = stage.teams.messages();
        assert!(messages.iter().skip(1).any(|one| one.card.to_string().contains("zqz")), "{text:?}");
        for said in &messages {
            teams::draw::means_nothing(&said.card, &said.summary, &text);
        }
    };
    let texts: Vec<&str> = CORPUS.into_iter().chain(teams::draw::MARKS).collect();
    // Two in each conversation.
    let pairs: Vec<String> = texts.chunks(2).map(|two| two.join("zqz")).collect();
    let both = pairs.iter().flat_map(|text| [(CHANNEL, text.as_str()), (CHAT, text)]);
    stream::iter(both).for_each_concurrent(AT_ONCE, one).await;
}

#[tokio::test]
async fn comments_in_jira() {
    for text in CORPUS {
        let server = Jira::start().await.unwrap();
        let (tell, _folder) = channel(
            jira::TOKEN,
            ChannelSection {
                kind: "jira".into(),
                site: Some(server.site()),
                user: Some(jira::USER.into()),
                token_from: Some(secret()),
                project: Some(jira::PROJECT.into()),
                ..ChannelSection::default()
            },
        );
        let (text, first) = (marked(text), first());
        let posted = tell.tell(&first).await.unwrap();
        let steps = steps(&first, &text, posted.as_ref());
        for step in &steps {
            tell.tell(step).await.unwrap();
        }
        let issue = server.issues().pop().unwrap();
        assert_eq!(issue.comments.len(), steps.len());
        for comment in &issue.comments {
            assert_eq!(check(&comment.body), Ok(()), "{text:?}");
            for (said, marks) in runs(&comment.body) {
                assert!(!hides(&said) && !said.contains('\n'), "{text:?} in {said:?}");
                let is_code = marks.iter().any(|mark| mark["type"] == "code");
                assert!(is_code || !said.contains("zqz"), "{text:?} in {said}");
                let mut links = marks.iter().filter_map(|mark| mark["attrs"]["href"].as_str());
                assert!(links.all(|link| link == "https://sign.example/approvals/x"), "{text:?}");
            }
        }
    }
}

#[tokio::test]
async fn work_notes_in_servicenow() {
    for text in CORPUS.into_iter().chain(["[code]<b>Approved</b>[/code]"]) {
        let server = ServiceNow::start().await.unwrap();
        let (tell, _folder) = channel(
            servicenow::PASSWORD,
            ChannelSection {
                kind: "servicenow".into(),
                site: Some(server.site()),
                user: Some(servicenow::USER.into()),
                password_from: Some(secret()),
                ..ChannelSection::default()
            },
        );
        let (text, first) = (marked(text), first());
        let posted = tell.tell(&first).await.unwrap();
        let steps = steps(&first, &text, posted.as_ref());
        for step in &steps {
            tell.tell(step).await.unwrap();
        }
        let record = server.records().pop().unwrap();
        let notes = server.notes(servicenow::USER, &record["sys_id"]);
        assert_eq!(notes.len(), steps.len());
        for line in notes.iter().flat_map(|note| note.lines()) {
            assert!(!hides(line) && !line.contains('['), "{text:?} in {line:?}");
            let ours = ["Now: ", "It was said: | ", "Recorded as ", "See it in Countersign: "];
            assert!(ours.iter().any(|start| line.starts_with(start)), "{line:?} of {text:?}");
            assert!(!line.contains("zqz") || !line.starts_with("Recorded"), "{line:?} of {text:?}");
        }
    }
}

#[test]
fn endings_and_further_steps_by_mail() {
    for text in CORPUS.into_iter().chain(email::draw::MARKS) {
        let text = marked(text);
        for step in steps(&first(), &text, None) {
            email::draw::means_nothing(&email::draw::read(&step), email::draw::LINK, &text);
        }
    }
}

#[tokio::test]
async fn short_forms_and_several_by_mail() {
    let server = Smtp::start(Mode::Plain, None).await.unwrap();
    let (tell, _folder) = channel(
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
    let decider = |link: &str| Decider {
        person: PersonId::from_parts(1, 1),
        address: "ana@example.com".into(),
        link: link.into(),
        said: Said::Nothing,
    };
    for text in CORPUS.into_iter().chain(email::draw::MARKS) {
        let text = marked(text);
        let (hold, action) = held(&text, &text);
        let said = message(&hold, Some(&action), Some(8192));
        let asked = Letter { message: said, deciders: vec![decider(email::draw::LINK)], ..first() };
        let sentences = vec![visible::escaped(&text)];
        let several = Gathering { deciders: vec![decider("")], ..gathering(3, &sentences) };
        // The least that leaves room for the short form.
        for most in [None, Some(5_000)] {
            server.trouble(|trouble| trouble.largest = most);
            let before = server.taken().len();
            tell.tell(&asked).await.unwrap();
            tell.tell_together(&several).await.unwrap();
            let taken = server.taken();
            let [one, many] = &taken[before..] else { panic!("two mails") };
            email::draw::means_nothing(&one.mail, email::draw::LINK, &text);
            let link = several.link.replace('&', "&amp;");
            email::draw::means_nothing(&many.mail, &link, &text);
            let brief = |mail: &Mail| mail.text.contains("takes no mail with all of it");
            assert_eq!(brief(&one.mail), most.is_some(), "{text:?}");
        }
    }
}

#[tokio::test]
async fn notes_of_opsgenie() {
    let server = Opsgenie::start().await.unwrap();
    let (tell, _folder) = channel(
        opsgenie::API_KEY,
        ChannelSection {
            kind: "opsgenie".into(),
            api_key_from: Some(secret()),
            api: Some(server.url()),
            ..ChannelSection::default()
        },
    );
    for text in CORPUS {
        let (text, mut first) = (marked(text), first());
        first.approval = countersign_core::ApprovalId::from_parts(7, text.len() as u128);
        let mut posted = tell.tell(&first).await.unwrap();
        for step in steps(&first, &text, posted.as_ref()) {
            let step = Letter { posted: posted.clone(), ..step };
            posted = tell.tell(&step).await.unwrap().or(posted);
        }
    }
    let notes: Vec<String> = server.alerts().into_iter().flat_map(|alert| alert.notes).collect();
    assert!(!notes.is_empty());
    for note in notes {
        assert!(!hides(&note) && !note.contains("zqz") && !note.contains("://"), "{note:?}");
    }
}
