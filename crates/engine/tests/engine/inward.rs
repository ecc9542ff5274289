//! What comes in through a channel: whose word it is, what it is worth, on what it was said, and that it counts once.

use crate::stage::{POLICY, Stage, olga, person};
use countersign_core::{ApprovalId, Assurance, ChannelName, Class, CredentialId, GateName, PersonId};
use countersign_engine::{
    inward::{self, Answer, NotHeard, Outcome, Said, Says, Seen},
    journal::Note,
    port::identity::Bound,
    read,
};
use countersign_ledger::event::{Actor, Event};
use std::{sync::Arc, time::Duration};

/// A gate that accepts a word in a channel, and one beside it that does not.
const CHAT: &str = r#"
@id("tidy") @gate("tidy") @approvers("Group::\"sre\"") @quorum("2") @expires("30m") @valid_for("10m") @step_up("chat")
@reason("what is deleted is gone") forbid (principal, action in Action::"delete", resource);
@id("launch") @gate("launch") @approvers("Group::\"sre\"") @expires("30m") @valid_for("10m") @step_up("passkey")
@reason("what is launched costs") forbid (principal, action in Action::"execute", resource);
"#;

fn team() -> ChannelName {
    ChannelName::new("team").unwrap()
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.policy(&format!("{POLICY}{CHAT}")).await;
    for n in 1..=4 {
        bind(&stage, n, person(n)).await;
    }
    bind(&stage, 100, olga()).await;
    stage
}

/// The user `u{n}` of the channel speaks for a person from now on.
async fn bind(stage: &Stage, n: u128, person: PersonId) {
    let binding = CredentialId::from_parts(1, n);
    stage
        .people
        .bound
        .lock()
        .unwrap()
        .insert((team(), format!("u{n}")), Bound { person, binding, since: countersign_core::Timestamp(0) });
    let event = Event::ChannelBound { person, binding, channel: team() };
    stage.gate.journal().commit(vec![], vec![Note::new(Actor::Person { id: person }, event)]).await.unwrap();
}

/// What a message about the approval carries now.
async fn shown(stage: &Stage, id: ApprovalId, seen: Seen) -> String {
    let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
    inward::token(&stage.gate, &team(), &hold, seen)
}

async fn word(stage: &Stage, user: &str, delivery: &str, id: ApprovalId) -> Said {
    Said {
        channel: team(),
        user: user.into(),
        delivery: delivery.into(),
        approval: id,
        shown: shown(stage, id, Seen::Whole).await,
        says: Says::Approve,
        gate: None,
        reason: None,
    }
}

async fn no(stage: &Stage, user: &str, delivery: &str, id: ApprovalId) -> Said {
    let (says, reason) = (Says::Reject, Some("not today".into()));
    Said { says, reason, ..word(stage, user, delivery, id).await }
}

async fn say(stage: &Stage, said: &Said) -> Answer {
    inward::answer(&stage.gate, said).await.unwrap().unwrap()
}

async fn code(stage: &Stage, said: &Said) -> String {
    say(stage, said).await.code
}

async fn votes(stage: &Stage) -> usize {
    let entries = stage.entries().await;
    entries.iter().filter(|entry| matches!(entry.event, Event::ApprovalVoted { .. })).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn words_in_a_channel_lift_a_gate_that_accepts_them() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    let first = say(&stage, &word(&stage, "u1", "d1", id).await).await;
    assert_eq!((first.outcome, &*first.code), (Outcome::Done, "counted"));
    assert!(first.link.ends_with(&format!("/approvals/{id}")), "{}", first.link);
    let second = say(&stage, &word(&stage, "u2", "d2", id).await).await;
    assert_eq!(second.code, "granted");
    stage.until(id, "done").await;
    assert_eq!(stage.cloud.count(), 1);
    let entries = stage.entries().await;
    let ways: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ApprovalVoted { assurance, through, assertion: None, .. } => {
                Some((*assurance, through.clone().unwrap()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(ways.len(), 2);
    for (n, (assurance, through)) in ways.into_iter().enumerate() {
        let binding = CredentialId::from_parts(1, n as u128 + 1);
        assert_eq!((assurance, through.channel, through.binding), (Assurance::Chat, team(), binding));
    }
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_asks_for_more_is_not_lifted_and_says_where_to_go() {
    let stage = stage().await;
    for (class, reject) in [(Class::Configure, "d3"), (Class::Execute, "d4")] {
        let id = stage.hold(class, "on").await;
        let answer = say(&stage, &word(&stage, "u1", reject, id).await).await;
        assert_eq!((answer.outcome, &*answer.code), (Outcome::Refused, "open-page"));
        assert!(answer.link.ends_with(&format!("/approvals/{id}/decide")), "{}", answer.link);
        assert_eq!(stage.state(id).await, "pending");
        assert_eq!(stage.events_of(id).await, ["approval.requested", "approval.vote_refused"]);
        // Stopping needs no more than a word, whatever the gate asks for.
        let rejection = no(&stage, "u1", &format!("{reject}-no"), id).await;
        assert_eq!(code(&stage, &rejection).await, "rejected");
        assert_eq!(stage.state(id).await, "rejected");
    }
    assert_eq!(stage.cloud.count(), 0);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_comes_again_is_answered_as_before_and_counts_once() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    let said = word(&stage, "u1", "d1", id).await;
    let first = say(&stage, &said).await;
    for _ in 0..3 {
        assert_eq!(say(&stage, &said).await, first);
    }
    let other = Said { user: "u2".into(), ..said.clone() };
    assert_eq!(inward::answer(&stage.gate, &other).await.unwrap(), Err(NotHeard::Reused));
    assert_eq!(votes(&stage).await, 1);
    // The same click delivered under another id does not count twice either, nor moves on to another gate.
    let clicked_twice = Said { delivery: "d2".into(), ..said.clone() };
    assert_eq!(code(&stage, &clicked_twice).await, "said-before");
    assert_eq!(votes(&stage).await, 1);
    let people = stage.people.bound.lock().unwrap().clone();
    let stage = stage.restart().await;
    *stage.people.bound.lock().unwrap() = people;
    assert_eq!(say(&stage, &said).await, first, "after a restart");
    assert_eq!(votes(&stage).await, 1);
    assert_eq!(stage.state(id).await, "pending");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_delivery_that_comes_many_times_at_once_one_counts() {
    let stage = Arc::new(stage().await);
    for says in [Says::Approve, Says::Reject] {
        let id = stage.hold(Class::Delete, if says == Says::Approve { "a" } else { "b" }).await;
        let said = Said { says, ..no(&stage, "u1", &format!("d{says:?}"), id).await };
        let before = votes(&stage).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (stage, said) = (Arc::clone(&stage), said.clone());
            tasks.spawn(async move { say(&stage, &said).await });
        }
        let answers = tasks.join_all().await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!(answers[0].outcome, Outcome::Done);
        assert_eq!(votes(&stage).await, before + 1);
    }
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_approves_in_many_deliveries_at_once_has_said_it_once() {
    let stage = Arc::new(stage().await);
    // Two people have to: the second word of the first is none of theirs.
    let id = stage.hold(Class::Delete, "a").await;
    let said = word(&stage, "u1", "d", id).await;
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..8 {
        let (stage, said) = (Arc::clone(&stage), Said { delivery: format!("d{at}"), ..said.clone() });
        tasks.spawn(async move { say(&stage, &said).await.code });
    }
    let mut codes = tasks.join_all().await;
    codes.sort();
    assert_eq!(codes, [["counted"].as_slice(), &["said-before"; 7]].concat(), "one counts");
    assert_eq!((votes(&stage).await, stage.state(id).await.as_str()), (1, "pending"));
    assert!(!stage.events_of(id).await.contains(&"approval.vote_refused"));
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_shown_must_be_what_waits_and_whole() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    let another = stage.hold(Class::Delete, "customers").await;
    let good = word(&stage, "u1", "d0", id).await;
    let part = shown(&stage, id, Seen::Part).await;
    let elsewhere = {
        let hold = read::hold(&stage.gate, id).await.unwrap().unwrap();
        inward::token(&stage.gate, &ChannelName::new("other").unwrap(), &hold, Seen::Whole)
    };
    for (n, (what, shown, want)) in [
        ("nothing", String::new(), "shown-changed"),
        ("another approval", shown(&stage, another, Seen::Whole).await, "shown-changed"),
        ("another channel's message", elsewhere, "shown-changed"),
        ("in capitals", good.shown.to_uppercase(), "shown-changed"),
        ("not all of it", part.clone(), "open-page"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = Said { shown, delivery: format!("s{n}"), ..good.clone() };
        assert_eq!(code(&stage, &said).await, want, "{what}");
    }
    assert_eq!((votes(&stage).await, stage.state(id).await.as_str()), (0, "pending"));
    // Part of it is enough to say no.
    let said = Said { shown: part, ..no(&stage, "u1", "d9", id).await };
    assert_eq!(code(&stage, &said).await, "rejected");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_an_earlier_round_decides_nothing() {
    let stage = stage().await;
    stage.cloud.offline.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
    let id = stage.hold(Class::Delete, "logs").await;
    let late = word(&stage, "u3", "late", id).await;
    let late_no = no(&stage, "u3", "late-no", id).await;
    for (user, delivery) in [("u1", "d1"), ("u2", "d2")] {
        assert_eq!(say(&stage, &word(&stage, user, delivery, id).await).await.outcome, Outcome::Done);
    }
    stage.people.left.lock().unwrap().insert(person(1));
    stage.until(id, "pending").await;
    let round = read::hold(&stage.gate, id).await.unwrap().unwrap().approval.round().unwrap().number;
    assert_eq!(round, 2, "a second round is open");
    assert_eq!(code(&stage, &late).await, "shown-changed");
    assert_eq!(code(&stage, &late_no).await, "shown-changed");
    assert_eq!(stage.cloud.count(), 0);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_user_decides_and_its_attempt_is_recorded() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    for (n, user) in
        ["stranger", "U1", "u1 ", "u\u{202e}1", "<script>alert(1)</script>\0\n"].iter().enumerate()
    {
        let said = word(&stage, user, &format!("s{n}"), id).await;
        assert_eq!(code(&stage, &said).await, "not-bound", "{user:?}");
        let said = no(&stage, user, &format!("n{n}"), id).await;
        assert_eq!(code(&stage, &said).await, "not-bound", "{user:?}");
    }
    assert_eq!(stage.state(id).await, "pending");
    let entries = stage.entries().await;
    let refused: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Event::ApprovalVoteRefused { channel, .. } => Some((entry.actor.clone(), channel.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 10);
    assert!(refused.iter().all(|found| *found == (Actor::Unknown, Some(team()))), "{refused:?}");
    // Bound later, the click from before stays what it was; a new one counts.
    let before = word(&stage, "u9", "before", id).await;
    assert_eq!(code(&stage, &before).await, "not-bound");
    bind(&stage, 9, person(4)).await;
    assert_eq!(code(&stage, &before).await, "not-bound");
    assert_eq!(code(&stage, &word(&stage, "u9", "after", id).await).await, "counted");
    // And a binding that was ended ends it.
    stage.people.bound.lock().unwrap().remove(&(team(), "u1".into()));
    assert_eq!(code(&stage, &word(&stage, "u1", "gone", id).await).await, "not-bound");
    stage.verify();
}

type Change = fn(&Stage);

/// The rows of the separation of duties, through a channel.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_decide_may_not_through_a_channel_either() {
    let rows: [(&str, Change, &str, &str); 5] = [
        ("the owner", |_| {}, "u100", "requester-side"),
        (
            "brought in by the owner",
            |stage| {
                stage.people.introduced_by_olga.lock().unwrap().insert(person(1));
            },
            "u1",
            "not-eligible",
        ),
        (
            "who brought the owner in",
            |stage| *stage.people.brought_olga.lock().unwrap() = Some(person(1)),
            "u1",
            "not-eligible",
        ),
        (
            "who left the group",
            |stage| {
                stage.people.left.lock().unwrap().insert(person(1));
            },
            "u1",
            "not-eligible",
        ),
        (
            "bound to nobody who is enrolled",
            |stage| {
                let (person, binding) = (person(77), CredentialId::from_parts(1, 77));
                stage.people.bound.lock().unwrap().insert(
                    (team(), "u77".into()),
                    Bound { person, binding, since: countersign_core::Timestamp(0) },
                );
            },
            "u77",
            "not-eligible",
        ),
    ];
    for (who, change, user, want) in rows {
        let stage = stage().await;
        let id = stage.hold(Class::Delete, "logs").await;
        change(&stage);
        for (says, delivery) in [(Says::Approve, "yes"), (Says::Reject, "no")] {
            let said = Said { says, ..no(&stage, user, delivery, id).await };
            assert_eq!(code(&stage, &said).await, want, "{who} {says:?}");
        }
        let events = stage.events_of(id).await;
        assert_eq!(events, ["approval.requested", "approval.vote_refused", "approval.vote_refused"], "{who}");
        assert_eq!(stage.state(id).await, "pending", "{who}");
        stage.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_page_and_in_the_channel_at_once_one_person_is_one_voice() {
    for _ in 0..10 {
        let stage = Arc::new(stage().await);
        let id = stage.hold(Class::Delete, "logs").await;
        let said = word(&stage, "u1", "d1", id).await;
        let chat = tokio::spawn({
            let stage = Arc::clone(&stage);
            async move { say(&stage, &said).await }
        });
        let page = stage.approve(person(1), id).await;
        let chat = chat.await.unwrap();
        assert!(page.is_ok() && chat.outcome == Outcome::Done, "{page:?} {chat:?}");
        assert_eq!(stage.state(id).await, "pending", "two are asked for, one spoke");
        // Two people at once are two.
        let said = word(&stage, "u2", "d2", id).await;
        let other = Arc::clone(&stage);
        let chat = tokio::spawn(async move { say(&other, &said).await });
        let page = stage.approve(person(3), id).await;
        let chat = chat.await.unwrap();
        assert!(page.is_ok() || chat.outcome == Outcome::Done, "{page:?} {chat:?}");
        stage.until(id, "done").await;
        assert_eq!(stage.cloud.count(), 1);
        stage.verify();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_come_after_the_end_change_nothing() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    let (yes, again) = (word(&stage, "u1", "yes", id).await, no(&stage, "u3", "no2", id).await);
    assert_eq!(code(&stage, &no(&stage, "u2", "no", id).await).await, "rejected");
    assert_eq!(code(&stage, &yes).await, "out-of-order");
    assert_eq!(code(&stage, &again).await, "out-of-order");
    let id = stage.hold(Class::Delete, "others").await;
    let late = word(&stage, "u1", "late", id).await;
    stage.clock.pass(Duration::from_mins(31));
    let answer = say(&stage, &late).await;
    assert_eq!(answer.outcome, Outcome::Refused, "{answer:?}");
    assert_eq!(stage.cloud.count(), 0);
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_gate_is_the_only_one_meant() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    let named = |name: &str| Some(GateName::new(name).unwrap());
    let said = Said { gate: named("data"), ..word(&stage, "u1", "d1", id).await };
    assert_eq!(code(&stage, &said).await, "old-round");
    let said = Said { gate: named("tidy"), ..word(&stage, "u1", "d2", id).await };
    assert_eq!(code(&stage, &said).await, "counted");
    stage.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_in_is_not_recorded() {
    let stage = stage().await;
    let id = stage.hold(Class::Delete, "logs").await;
    let good = word(&stage, "u1", "d", id).await;
    let silent = Said { says: Says::Reject, delivery: "silent".into(), ..good.clone() };
    assert_eq!(code(&stage, &silent).await, "reason-missing");
    let before = stage.happened().await.len();
    for bad in [
        Said { user: String::new(), ..good.clone() },
        Said { user: "u".repeat(257), ..good.clone() },
        Said { delivery: String::new(), ..good.clone() },
        Said { reason: Some("x".repeat(2_001)), ..good.clone() },
    ] {
        let refused = inward::answer(&stage.gate, &bad).await.unwrap();
        assert!(matches!(refused, Err(NotHeard::Invalid(_))), "{refused:?}");
    }
    let flood = async {
        for n in 0..100 {
            let said = Said { user: "flood".into(), delivery: format!("f{n}"), ..good.clone() };
            if let Err(NotHeard::TooMany { .. }) = inward::answer(&stage.gate, &said).await.unwrap() {
                return n;
            }
        }
        100
    };
    assert_eq!(flood.await, 30);
    assert_eq!(stage.happened().await.len(), before + 30);
    assert_eq!(code(&stage, &good).await, "counted", "others are heard");
    stage.verify();
}
