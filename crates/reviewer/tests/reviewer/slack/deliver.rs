//! Posting, changing in place and answering in threads, against a server that refuses what Slack refuses.

use crate::stage::{letter, now};
use countersign_core::{ActionId, ApprovalId, EntryId};
use countersign_reviewer::{Again, Before, Behind, ChannelSection, Failed, Letter, Scope, Tell};
use countersign_testkit::slack::{CHANNEL, Message, Refusal, Slack, TOKEN};
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub(super) struct Stage {
    pub(super) slack: Slack,
    tell: Arc<dyn Tell>,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(super) async fn open() -> Self {
        let (slack, folder) = (Slack::start().await.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let section = ChannelSection {
            name: "ops".into(),
            kind: "slack".into(),
            token_from: Some("file:token".into()),
            channel: Some(CHANNEL.into()),
            api: Some(slack.api()),
            ..ChannelSection::default()
        };
        let channel = section.check(folder.path()).unwrap();
        Self { slack, tell: Arc::clone(channel.tell()), _folder: folder }
    }

    pub(super) async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        self.tell.tell(letter).await
    }

    fn posts(&self) -> usize {
        self.slack
            .calls()
            .iter()
            .filter(|(method, said)| method == "chat.postMessage" && said == "ok")
            .count()
    }
}

fn heading(message: &Message) -> &str {
    message.blocks[0]["text"]["text"].as_str().unwrap()
}

#[tokio::test]
async fn one_message_lives_through_it_all_and_its_thread_says_every_step() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    assert!(posted.is_some());
    for (number, kind, state) in [
        (2, "approval.voted", "granted"),
        (3, "approval.granted", "granted"),
        (4, "execution.authorized", "executing"),
        (5, "execution.result", "done"),
    ] {
        let behind = if number == 2 { Behind::More } else { Behind::Nothing };
        let later = letter(number, kind, state);
        let later = Letter { posted: posted.clone(), approval: first.approval, behind, ..later };
        assert_eq!(stage.tell(&later).await, Ok(None));
    }
    let messages = stage.slack.messages();
    let [root, lines @ ..] = messages.as_slice() else { panic!("nothing was posted") };
    assert_eq!((Some(root.ts.clone()), root.thread.clone()), (posted.clone(), None));
    assert!(heading(root).contains("Approved and done"), "{}", heading(root));
    // With the vote nothing was changed, since the grant waited behind it.
    assert_eq!(root.before.len(), 3);
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line.thread == posted && line.before.is_empty()));
    assert_eq!(lines[0].text, "`Ana` approved: .");
    let calls = stage.slack.calls();
    assert!(calls.iter().all(|(method, said)| said == "ok" && !method.contains("delete")), "{calls:?}");
}

#[tokio::test]
async fn who_is_asked_again_sees_it_in_the_channel_and_other_steps_are_in_the_thread_alone() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    for (number, kind) in [(2, "approval.reminded"), (3, "approval.escalated"), (4, "approval.round_opened")]
    {
        let later = letter(number, kind, "pending");
        let later = Letter { posted: posted.clone(), approval: first.approval, ..later };
        assert_eq!(stage.tell(&later).await, Ok(None));
    }
    let lines: Vec<_> = stage.slack.messages().into_iter().skip(1).collect();
    let said: Vec<_> = lines.iter().map(|line| (line.broadcast, line.text.as_str())).collect();
    assert_eq!(
        said,
        [
            (true, "Nobody has decided yet. It still waits for people."),
            (false, "Nobody has decided yet. Further people are told now."),
            (true, "It waits for people again."),
        ]
    );
}

#[tokio::test]
async fn what_was_posted_before_anybody_remembered_it_is_found_and_not_posted_twice() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    // Another app of the workspace says that it is about this approval.
    let forged = json!({"event_type": "countersign_approval", "event_payload":
        {"approval": first.approval, "entry": first.id, "part": "message"}});
    stage.slack.post_as("B9999999999", forged);
    stage.slack.trouble(|trouble| trouble.lost = 1);
    let failed = stage.tell(&first).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
    let again = Letter { before: Before::Perhaps, ..first.clone() };
    let posted = stage.tell(&again).await.unwrap();
    assert_eq!(stage.tell(&again).await.unwrap(), posted);
    assert_eq!(stage.posts(), 1);
    // The same in the thread.
    let line =
        Letter { posted: posted.clone(), approval: first.approval, ..letter(2, "approval.voted", "granted") };
    stage.slack.trouble(|trouble| trouble.lost = 1);
    stage.tell(&line).await.unwrap_err();
    let again = Letter { before: Before::Perhaps, ..line.clone() };
    assert_eq!(stage.tell(&again).await, Ok(None));
    assert_eq!(stage.posts(), 2);
    let next = Letter {
        posted,
        approval: first.approval,
        before: Before::Perhaps,
        ..letter(3, "approval.granted", "granted")
    };
    stage.tell(&next).await.unwrap();
    assert_eq!(stage.posts(), 3, "another line is another");
    // Where the app may not look, twice is better than not at all; trying the channel says so.
    stage.slack.trouble(|trouble| trouble.lacks = ["channels:history"].into());
    stage.tell(&Letter { before: Before::Perhaps, ..first }).await.unwrap();
    assert_eq!(stage.posts(), 4);
    let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
    let test = Letter::of_test(EntryId::from_parts(1, 1), (approval, action), "https://sign.example", now());
    let failed = stage.tell(&test).await.unwrap_err();
    assert!(failed.why.contains("lacks a scope"), "{}", failed.why);
    stage.slack.trouble(|trouble| trouble.lacks.clear());
    stage.tell(&test).await.unwrap();
}

#[tokio::test]
async fn a_message_that_somebody_deleted_is_posted_anew_as_it_stands() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    stage.slack.delete(posted.as_deref().unwrap());
    let later = letter(2, "approval.voted", "granted");
    let later = Letter { posted: posted.clone(), approval: first.approval, ..later };
    let anew = stage.tell(&later).await.unwrap();
    assert!(anew.is_some() && anew != posted);
    let messages = stage.slack.messages();
    assert_eq!(messages.len(), 1);
    assert!(heading(&messages[0]).contains("Approved"), "{}", heading(&messages[0]));
}

#[tokio::test]
async fn a_refusal_stops_the_channel_or_this_message_and_size_leaves_a_link() {
    let stage = Stage::open().await;
    let letter = letter(1, "approval.requested", "pending");
    for (refusal, scope, again) in [
        (Refusal::Error("invalid_auth"), Scope::Channel, Again::Yes),
        (Refusal::Error("not_in_channel"), Scope::Channel, Again::Yes),
        (Refusal::Error("no_text"), Scope::News, Again::Yes),
        (Refusal::Later(7), Scope::Channel, Again::After(Duration::from_secs(7))),
        (Refusal::Status(503), Scope::Channel, Again::Yes),
    ] {
        stage.slack.trouble(|trouble| trouble.answers.push_back(refusal));
        let failed = stage.tell(&letter).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (scope, again), "{refusal:?}");
        assert!(!failed.why.contains(TOKEN), "{}", failed.why);
    }
    stage.slack.trouble(|trouble| trouble.answers.push_back(Refusal::Error("msg_blocks_too_long")));
    stage.tell(&letter).await.unwrap();
    let messages = stage.slack.messages();
    assert_eq!(messages.len(), 1);
    let said = messages[0].blocks.iter().map(ToString::to_string).collect::<String>();
    assert!(said.contains("Not all of it is shown here") && said.contains("Review in Countersign"), "{said}");
}

#[tokio::test]
async fn messages_come_no_faster_than_slack_takes_them() {
    let stage = Stage::open().await;
    let letters: Vec<_> = (1..5)
        .map(|number| {
            let approval = ApprovalId::from_parts(now().unix_ms(), u128::from(number));
            Letter { approval, ..letter(number, "approval.requested", "pending") }
        })
        .collect();
    let told = futures_util::future::join_all(letters.iter().map(|letter| stage.tell(letter))).await;
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    assert_eq!((stage.posts(), stage.slack.calls().len()), (4, 4), "no call was refused as too fast");
}
