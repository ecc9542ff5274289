//! Posting, changing in place and answering in threads, against servers that refuse what Microsoft's refuse.

use crate::stage::{letter, now};
use countersign_core::{ActionId, ApprovalId, EntryId};
use countersign_reviewer::{Again, Behind, ChannelSection, Failed, Letter, Scope, Tell};
use countersign_testkit::teams::{
    APP, CHANNEL, CHAT, Message, Refusal, SECRET, TENANT, Teams,
    cards::{links, says, texts_of},
};
use std::{sync::Arc, time::Duration};

pub(crate) struct Stage {
    pub(crate) teams: Teams,
    pub(crate) tell: Arc<dyn Tell>,
    folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn open(conversation: &str) -> Self {
        let (teams, folder) = (Teams::start().await.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let section = ChannelSection {
            name: "ops".into(),
            kind: "teams".into(),
            app_id: Some(APP.to_uppercase()),
            tenant: Some(TENANT.into()),
            client_secret_from: Some("file:secret".into()),
            conversation: Some(conversation.into()),
            service: Some(teams.service()),
            login: Some(teams.login()),
            issuer: Some(teams.issuer()),
            ..ChannelSection::default()
        };
        let channel = section.check(folder.path()).unwrap();
        Self { teams, tell: Arc::clone(channel.tell()), folder }
    }

    pub(crate) async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        self.tell.tell(letter).await
    }

    fn roots(&self) -> Vec<Message> {
        self.teams.messages().into_iter().filter(Message::is_root).collect()
    }
}

fn heading(message: &Message) -> String {
    texts_of(&message.card, "TextBlock")[0].clone()
}

#[tokio::test]
async fn one_card_lives_through_it_all_and_its_thread_says_every_step() {
    for conversation in [CHANNEL, CHAT] {
        let stage = Stage::open(conversation).await;
        let first = letter(1, "approval.requested", "pending");
        let posted = stage.tell(&first).await.unwrap();
        for (number, kind, state) in [
            (2, "approval.voted", "granted"),
            (3, "approval.granted", "granted"),
            (4, "execution.result", "done"),
        ] {
            let behind = if number == 2 { Behind::More } else { Behind::Nothing };
            let later = letter(number, kind, state);
            let later = Letter { posted: posted.clone(), approval: first.approval, behind, ..later };
            assert_eq!(stage.tell(&later).await, Ok(None));
        }
        let messages = stage.teams.messages();
        let (root, lines) = messages.split_first().unwrap();
        assert_eq!(Some(root.id.clone()), posted);
        assert!(heading(root).contains("Approved and done"), "{}", heading(root));
        // With the vote nothing was changed, since the grant waited behind it.
        assert_eq!(root.before.len(), 2);
        // A chat has no threads: there the card alone changes.
        assert_eq!(lines.len(), if conversation == CHANNEL { 3 } else { 0 });
        assert!(lines.iter().all(|line| line.conversation == root.conversation && line.before.is_empty()));
        if let Some(line) = lines.first() {
            assert_eq!(line.summary, "Ana approved: .");
            assert!(says(&line.card, "Ana") && says(&line.card, " approved: "), "{}", line.card);
        }
        assert_eq!(stage.teams.logins(), 1, "one token is enough");
        let calls = stage.teams.calls();
        assert!(
            calls.iter().all(|(call, said)| said.starts_with('2') && !call.contains("DELETE")),
            "{calls:?}"
        );
    }
}

#[tokio::test]
async fn a_chat_has_no_threads_and_whoever_is_called_once_more_there_gets_a_message() {
    let stage = Stage::open(CHAT).await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    for (number, kind, state, messages) in [
        (2, "approval.voted", "pending", 1),
        (3, "approval.reminded", "pending", 2),
        (4, "approval.escalated", "pending", 3),
        // Late: it was decided before this could be told.
        (5, "approval.reminded", "granted", 3),
        (6, "execution.result", "done", 3),
    ] {
        let later = letter(number, kind, state);
        let later = Letter { posted: posted.clone(), approval: first.approval, ..later };
        assert_eq!(stage.tell(&later).await, Ok(None), "{kind}");
        assert_eq!(stage.teams.messages().len(), messages, "{kind}");
    }
    let messages = stage.teams.messages();
    assert!(messages[1].summary.starts_with("Nobody has decided yet."), "{}", messages[1].summary);
    assert!(says(&messages[1].card, "Drop the table") && heading(&messages[1]).contains("Waiting"));
    let link = ("Review in Countersign".to_owned(), "https://sign.example/approvals/x".to_owned());
    assert_eq!(links(&messages[1].card), [link]);
    assert!(heading(&messages[0]).contains("Approved and done"), "the card shows how it ended");
}

#[tokio::test]
async fn a_card_that_somebody_deleted_is_posted_anew_as_it_stands() {
    let stage = Stage::open(CHANNEL).await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    stage.teams.delete(posted.as_deref().unwrap());
    let later = letter(2, "approval.voted", "granted");
    let later = Letter { posted: posted.clone(), approval: first.approval, ..later };
    let anew = stage.tell(&later).await.unwrap();
    assert!(anew.is_some() && anew != posted);
    let messages = stage.teams.messages();
    assert_eq!(messages.len(), 1);
    assert!(heading(&messages[0]).contains("Approved"), "{}", heading(&messages[0]));
}

#[tokio::test]
async fn a_refusal_stops_the_channel_or_this_message_and_size_leaves_a_link() {
    let stage = Stage::open(CHANNEL).await;
    let letter = letter(1, "approval.requested", "pending");
    for (refusal, scope, again) in [
        (Refusal::Error(403, "BotNotInConversationRoster"), Scope::Channel, Again::Yes),
        (Refusal::Error(404, "ConversationNotFound"), Scope::Channel, Again::Yes),
        (Refusal::Later(7), Scope::Channel, Again::After(Duration::from_secs(7))),
        (Refusal::Error(503, "ServiceUnavailable"), Scope::Channel, Again::Yes),
    ] {
        stage.teams.trouble(|trouble| trouble.answers.push_back(refusal));
        let failed = stage.tell(&letter).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (scope, again), "{refusal:?}");
        assert!(!failed.why.contains("planted"), "{}", failed.why);
    }
    let large = Refusal::Error(413, "MessageSizeTooBig");
    stage.teams.trouble(|trouble| trouble.answers.extend([large, large]));
    let failed = stage.tell(&letter).await.unwrap_err();
    assert_eq!(failed.scope, Scope::News);
    stage.teams.trouble(|trouble| trouble.answers.push_back(large));
    stage.tell(&letter).await.unwrap();
    let messages = stage.teams.messages();
    assert_eq!(messages.len(), 1);
    assert!(says(&messages[0].card, "Not all of it is shown here"), "{}", messages[0].card);
    // An unknown conversation, as the server itself sees it.
    let elsewhere = Stage::open("19:elsewhere0123456@thread.tacv2").await;
    let failed = elsewhere.tell(&letter).await.unwrap_err();
    assert!(failed.why.contains("`ConversationNotFound`"), "{}", failed.why);
}

#[tokio::test]
async fn a_token_is_got_anew_when_it_ends_or_is_refused_and_nobody_reads_it() {
    let stage = Stage::open(CHANNEL).await;
    let told = |number| letter(number, "approval.requested", "pending");
    stage.tell(&told(1)).await.unwrap();
    stage.teams.revoke();
    stage.tell(&told(2)).await.unwrap();
    assert_eq!((stage.roots().len(), stage.teams.logins()), (2, 2), "refused once, then with a new one");
    // On the gateway's clock it has ended.
    let later = told(3);
    let later = Letter { now: later.now.plus(Duration::from_hours(2)), ..later };
    stage.tell(&later).await.unwrap();
    assert_eq!(stage.teams.logins(), 3);
    for (refusal, words) in [
        (Refusal::Error(401, "invalid_client"), "the app's secret is not right"),
        (Refusal::Error(400, "unauthorized_client"), "does not know this app"),
    ] {
        stage.teams.revoke();
        stage.teams.trouble(|trouble| trouble.login = Some(refusal));
        let failed = stage.tell(&told(4)).await.unwrap_err();
        assert!(failed.scope == Scope::Channel && failed.why.contains(words), "{}", failed.why);
    }
    stage.teams.trouble(|trouble| trouble.login = None);
    // Another secret in the file counts at once.
    std::fs::write(stage.folder.path().join("secret"), "another").unwrap();
    let failed = stage.tell(&told(5)).await.unwrap_err();
    assert!(!failed.why.contains("another") && failed.why.contains("`invalid_client`"), "{}", failed.why);
    let shown = format!("{:?}", stage.tell);
    assert!(!shown.contains(SECRET) && !shown.contains("planted-teams-token"), "{shown}");
    std::fs::remove_file(stage.folder.path().join("secret")).unwrap();
    let failed = stage.tell(&told(6)).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
}

#[tokio::test]
async fn messages_come_no_faster_than_teams_takes_them_and_a_test_says_that_it_is_one() {
    let stage = Stage::open(CHANNEL).await;
    let letters: Vec<_> = (1..10)
        .map(|number| {
            let approval = ApprovalId::from_parts(now().unix_ms(), u128::from(number));
            Letter { approval, ..letter(number, "approval.requested", "pending") }
        })
        .collect();
    let told = futures_util::future::join_all(letters.iter().map(|letter| stage.tell(letter))).await;
    assert!(told.iter().all(Result::is_ok), "{told:?}");
    let calls = stage.teams.calls();
    assert!(
        calls.iter().all(|(_, said)| said.starts_with('2')),
        "no call was refused as too fast: {calls:?}"
    );
    let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
    let test = Letter::of_test(EntryId::from_parts(1, 1), (approval, action), "https://sign.example", now());
    stage.tell(&test).await.unwrap();
    let roots = stage.roots();
    assert!(says(&roots[9].card, "This is a test"), "{}", roots[9].card);
}
