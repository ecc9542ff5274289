//! Issues in Jira: how they are drawn, and how they live through an approval, against a server that refuses what Jira refuses.

use crate::stage::{CORPUS, held, letter, message};
use countersign_core::{ActionId, ApprovalId, EntryId};
use countersign_reviewer::{
    Again, Before, ChannelSection, Failed, Letter, Scope, Tell, issue, message::Message,
};
use countersign_testkit::jira::{
    Issue, Jira, PROJECT, Refusal, TOKEN, USER,
    document::{check, runs, text, texts_of},
};
use std::{sync::Arc, time::Duration};

struct Stage {
    jira: Jira,
    tell: Arc<dyn Tell>,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Self {
        Self::open_with(|_| ()).await
    }

    async fn open_with(change: impl FnOnce(&mut ChannelSection)) -> Self {
        let (jira, folder) = (Jira::start().await.unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
        let mut section = ChannelSection {
            name: "tickets".into(),
            kind: "jira".into(),
            site: Some(jira.site()),
            user: Some(USER.into()),
            token_from: Some("file:token".into()),
            project: Some(PROJECT.into()),
            ..ChannelSection::default()
        };
        change(&mut section);
        let channel = section.check(folder.path()).unwrap();
        Self { jira, tell: Arc::clone(channel.tell()), folder }
    }

    async fn tell(&self, letter: &Letter) -> Result<Option<String>, Failed> {
        self.tell.tell(letter).await
    }

    fn one(&self) -> Issue {
        let issues = self.jira.issues();
        assert_eq!(issues.len(), 1, "{issues:?}");
        issues[0].clone()
    }
}

/// The news after another, with what was remembered of it.
fn after(first: &Letter, number: u32, (kind, state): (&str, &str), posted: Option<&String>) -> Letter {
    Letter { approval: first.approval, posted: posted.cloned(), ..letter(number, kind, state) }
}

#[tokio::test]
async fn one_issue_lives_through_it_all_and_is_closed_with_outcome_and_proof() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    let asked = stage.one();
    assert_eq!((posted.as_ref(), &*asked.status), (Some(&asked.id), "Waiting"));
    assert_eq!(asked.labels, [first.approval.to_string()]);
    let mut entries = Vec::new();
    for (number, kind, state, status) in [
        (2, "approval.voted", "granted", "Waiting"),
        (3, "approval.granted", "granted", "Waiting"),
        (4, "execution.authorized", "executing", "Waiting"),
        (5, "execution.result", "done", "Done"),
        (6, "result.delivered", "done", "Done"),
    ] {
        let later = after(&first, number, (kind, state), posted.as_ref());
        assert_eq!(stage.tell(&later).await, Ok(None), "{kind}");
        entries.push(later.news.entry.to_string());
        assert_eq!(stage.one().status, status, "{kind}");
    }
    let said = stage.one().said();
    assert_eq!(said.len(), 5);
    assert!(said[0].starts_with("Ana approved: ."), "{said:?}");
    assert!(said[3].starts_with("It ran."), "{said:?}");
    assert!(said.iter().zip(&entries).all(|(said, entry)| said.contains(entry)), "{said:?}");
    assert!(said.iter().all(|said| said.contains(&first.message.code)), "{said:?}");
    // What is asked stays as it is.
    assert_eq!(stage.one().description, asked.description);
    assert!(stage.jira.calls().iter().all(|(call, status)| *status < 300 && !call.contains("DELETE")));
}

#[tokio::test]
async fn a_new_round_is_written_down_anew_and_a_rejection_says_why() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    let mut round = after(&first, 2, ("approval.round_opened", "pending"), posted.as_ref());
    round.message.drifted = Some("planted drift".into());
    // What cannot be said to the end is not shown yet: nobody decides on words that nobody remembers.
    stage.jira.refuse_on("{\"body\":", Refusal::Error(403, ""), 1);
    assert_eq!(stage.tell(&round).await.unwrap_err().scope, Scope::News);
    assert!(!text(&stage.one().description).contains("planted drift"));
    stage.tell(&round).await.unwrap();
    assert!(text(&stage.one().description).contains("planted drift"));
    let mut no = after(&first, 3, ("approval.voted", "rejected"), posted.as_ref());
    no.message.rejection = Some("not tonight".into());
    stage.tell(&no).await.unwrap();
    let issue = stage.one();
    assert_eq!(issue.status, "Done");
    let said = issue.said();
    assert!(said[1].starts_with("Ana rejected it.\nnot tonight\n"), "{said:?}");
}

#[tokio::test]
async fn what_a_try_before_may_have_done_is_found_and_not_done_again() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    stage.jira.refuse(&[Refusal::Lost]);
    assert_eq!(stage.tell(&first).await.unwrap_err().scope, Scope::Channel);
    // Somebody else's issue with the same label is not ours.
    stage.jira.by_hand(|issues| {
        let other = Issue { id: "9".into(), creator: "557058:mallory".into(), ..issues[0].clone() };
        issues.insert(0, other);
    });
    let first = Letter { before: Before::Perhaps, ..first };
    let posted = stage.tell(&first).await.unwrap();
    let issues = stage.jira.issues();
    assert_eq!((issues.len(), posted.as_ref()), (2, Some(&issues[1].id)));
    let later = after(&first, 2, ("execution.result", "done"), posted.as_ref());
    // Two calls lead to the end, and the third is the comment.
    let later = Letter { before: Before::Perhaps, ..later };
    stage.tell(&later).await.unwrap();
    stage.tell(&later).await.unwrap();
    assert_eq!(stage.jira.issues()[1].comments.len(), 1);
    // One that somebody deleted is created anew, as it stands then.
    stage.jira.by_hand(|issues| issues.truncate(1));
    let anew = stage.tell(&after(&first, 3, ("result.delivered", "done"), posted.as_ref())).await.unwrap();
    let issues = stage.jira.issues();
    assert_eq!((anew.as_ref(), &*issues[1].status), (Some(&issues[1].id), "Done"));
}

#[tokio::test]
async fn whoever_writes_what_we_would_does_not_keep_us_from_writing_it() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    let posted = stage.tell(&first).await.unwrap();
    let over = after(&first, 2, ("approval.closed", "lapsed"), posted.as_ref());
    let forged = format!("It ran. Recorded as {} for action x.", over.news.entry);
    stage.jira.say("557058:mallory", posted.as_ref().unwrap(), &forged);
    let over = Letter { before: Before::Perhaps, ..over };
    stage.tell(&over).await.unwrap();
    stage.tell(&over).await.unwrap();
    let said = stage.one().said();
    assert_eq!(said.len(), 2, "the forged one, and ours once: {said:?}");
    assert!(said[1].starts_with("⛔ Lapsed"), "{said:?}");
}

#[tokio::test]
async fn a_refusal_stops_the_channel_or_this_issue_and_says_nothing_that_jira_said() {
    let stage = Stage::open().await;
    let first = letter(1, "approval.requested", "pending");
    for (refusal, scope, again) in [
        (Refusal::Error(401, ""), Scope::Channel, Again::Yes),
        (Refusal::Error(403, ""), Scope::Channel, Again::Yes),
        (Refusal::Error(400, "project"), Scope::Channel, Again::Yes),
        (Refusal::Error(400, "customfield_10010"), Scope::Channel, Again::Yes),
        (Refusal::Error(503, ""), Scope::Channel, Again::Yes),
    ] {
        stage.jira.refuse(&[refusal]);
        let failed = stage.tell(&first).await.unwrap_err();
        assert_eq!((failed.scope, failed.again), (scope, again), "{refusal:?}");
        assert!(!failed.why.contains("planted"), "{}", failed.why);
    }
    // A text that it does not take leaves a link.
    let text_refused = Refusal::Error(400, "description");
    stage.jira.refuse(&[text_refused, text_refused]);
    assert_eq!(stage.tell(&first).await.unwrap_err().scope, Scope::News);
    stage.jira.refuse(&[text_refused]);
    let posted = stage.tell(&first).await.unwrap();
    let said = text(&stage.one().description);
    assert!(said.contains("Not all of it is shown here") && !said.contains("DELETE /x"), "{said}");
    // A workflow without the way out is said, and nothing is lost.
    let over = after(&first, 2, ("approval.closed", "lapsed"), posted.as_ref());
    stage.jira.by_hand(|issues| issues[0].status = "Done".into());
    stage.tell(&over).await.unwrap();
    stage.jira.by_hand(|issues| {
        issues[0].status = "Waiting".into();
        issues[0].comments.clear();
    });
    let elsewhere = Stage::open_with(|section| section.closed = Some("Shipped".into())).await;
    let posted = elsewhere.tell(&first).await.unwrap();
    let failed =
        elsewhere.tell(&after(&first, 2, ("approval.closed", "lapsed"), posted.as_ref())).await.unwrap_err();
    assert!(failed.scope == Scope::News && failed.why.contains("`Shipped`"), "{}", failed.why);
    // Asked for fewer calls, it makes none until then.
    stage.jira.refuse(&[Refusal::Later(600)]);
    let failed = stage.tell(&first).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::After(Duration::from_mins(10))));
    let calls = stage.jira.calls().len();
    let failed = stage.tell(&first).await.unwrap_err();
    assert!(matches!(failed.again, Again::After(left) if left > Duration::from_mins(5)), "{failed:?}");
    assert_eq!((failed.scope, stage.jira.calls().len()), (Scope::Channel, calls));
}

#[tokio::test]
async fn the_token_is_read_when_it_is_used_and_nobody_reads_it_here() {
    let stage = Stage::open().await;
    std::fs::write(stage.folder.path().join("token"), "planted-other").unwrap();
    let failed = stage.tell(&letter(1, "approval.requested", "pending")).await.unwrap_err();
    assert!(failed.scope == Scope::Channel && !failed.why.contains("planted"), "{}", failed.why);
    std::fs::remove_file(stage.folder.path().join("token")).unwrap();
    let failed = stage.tell(&letter(1, "approval.requested", "pending")).await.unwrap_err();
    assert_eq!((failed.scope, failed.again), (Scope::Channel, Again::Yes));
    let shown = format!("{:?}", stage.tell);
    assert!(!shown.contains("planted"), "{shown}");
}

#[tokio::test]
async fn a_test_creates_an_issue_and_closes_it_or_says_why_not() {
    let test = |count| {
        let (approval, action) = (ApprovalId::from_parts(1, count), ActionId::from_parts(1, 1));
        Letter::of_test(
            EntryId::from_parts(1, 1),
            (approval, action),
            "https://sign.example",
            crate::stage::now(),
        )
    };
    let stage = Stage::open().await;
    stage.tell(&test(1)).await.unwrap();
    let issue = stage.one();
    assert_eq!(issue.status, "Done");
    assert!(issue.summary.contains("This is a test"), "{}", issue.summary);
    assert!(!text(&issue.description).contains("Not all of it"));
    let stage = Stage::open_with(|section| section.closed = Some("Shipped".into())).await;
    let failed = stage.tell(&test(2)).await.unwrap_err();
    assert!(failed.why.contains("`Shipped`"), "{}", failed.why);
}

#[tokio::test]
async fn a_test_of_a_channel_that_decides_goes_every_way_or_says_which_is_missing() {
    let letter = || {
        let (approval, action) = (ApprovalId::from_parts(1, 1), ActionId::from_parts(1, 1));
        let entry = EntryId::from_parts(1, 1);
        Letter::of_test(entry, (approval, action), "https://sign.example", crate::stage::now())
    };
    let decides = |approved: Option<&str>| {
        let approved = approved.map(str::to_owned);
        Stage::open_with(move |section| {
            (section.decides, section.waiting) = (Some(true), Some("Waiting".into()));
            section.approved = approved;
        })
    };
    let stage = decides(None).await;
    stage.tell(&letter()).await.unwrap();
    let issue = stage.one();
    let (moves, texts): (Vec<_>, Vec<_>) =
        issue.changes.iter().map(|change| &change.items[0]).partition(|item| item.field == "status");
    let moves: Vec<&str> = moves.iter().map(|item| &*item.to).collect();
    assert_eq!(moves, ["Approved", "Waiting", "Rejected", "Waiting", "Done"]);
    // Whether it is kept who changes what it says is found out as well.
    assert_eq!(texts.len(), 2);
    let failed = decides(Some("Genehmigt")).await.tell(&letter()).await.unwrap_err();
    assert!(failed.why.contains("`Genehmigt`"), "{}", failed.why);
}

fn chat(text: &str, body: &str) -> Message {
    let (hold, action) = held(text, body);
    let mut message = message(&hold, Some(&action), Some(64 << 10));
    message.hidden_characters = false;
    message
}

#[test]
fn others_texts_stand_as_code_and_nothing_hides() {
    for hostile in CORPUS {
        let (hold, action) = held(hostile, &format!("body {hostile}"));
        let message = message(&hold, Some(&action), Some(8192));
        let drawn = issue(&message);
        assert_eq!(check(&drawn.description), Ok(()), "{hostile:?}");
        assert!(!drawn.summary.contains('\n') && drawn.summary.chars().count() <= 255);
        let said = text(&drawn.description);
        for one in [&said, &drawn.summary] {
            let hides = |one: char| {
                (one.is_control() && one != '\n') || "\u{202e}\u{200b}\u{feff}\u{2066}\u{e0041}".contains(one)
            };
            assert!(!one.chars().any(hides), "{hostile:?}: {one}");
        }
        let links: Vec<String> = runs(&drawn.description)
            .iter()
            .flat_map(|(_, marks)| marks.iter().filter_map(|mark| mark["attrs"]["href"].as_str()))
            .map(str::to_owned)
            .collect();
        assert_eq!(links, ["https://sign.example/approvals/x"], "{hostile:?}");
        // What a requester can write stands as code wherever it stands.
        let words: String = runs(&drawn.description)
            .into_iter()
            .filter(|(_, marks)| marks.iter().all(|mark| mark["type"] != "code"))
            .map(|(text, _)| text)
            .collect();
        let fenced = texts_of(&drawn.description, "codeBlock").concat();
        let ours = fenced.lines().fold(words, |words, line| words.replace(line, ""));
        assert!(!ours.contains("alert(1)") && !ours.contains("javascript"), "{ours}");
    }
}

#[test]
fn what_does_not_fit_is_counted_and_said() {
    let message = chat("logs", "drop");
    let drawn = issue(&message);
    assert!(drawn.whole && !text(&drawn.description).contains("Decide where all of it is shown"));
    let (hold, action) = held("logs", "drop");
    assert!(!issue(&crate::stage::message(&hold, Some(&action), None)).whole, "no bytes are shown");
    let long = "a".repeat(3_000);
    for which in 0..8 {
        let mut message = message.clone();
        let ask = message.asks[0].clone();
        match which {
            0 => message.computed.sentence.clone_from(&long),
            1 => message.claimed.reason = Some(long.clone()),
            2 => message.drifted = Some(long.clone()),
            3 => message.computed.resources = vec![long.clone()],
            4 => message.asks[0].reason.clone_from(&long),
            5 => message.asks = vec![ask; 60],
            6 => message.computed.facts = (0..60).map(|at| (format!("f{at}"), long.clone().into())).collect(),
            _ => message = chat("logs", &"b\n".repeat(30_000)),
        }
        let drawn = issue(&message);
        assert_eq!(check(&drawn.description), Ok(()), "{which}");
        assert!(drawn.description.to_string().chars().count() <= 32_767, "{which}");
        let said = text(&drawn.description);
        assert!(!drawn.whole && said.contains("Decide where all of it is shown"), "{which}");
        assert!(said.contains("Review in Countersign"), "{which}");
        let counted = ["characters more", "… and", "are not shown here"].iter().any(|one| said.contains(one));
        assert!(counted, "{which}: {said}");
    }
}
