//! Votes that were cast in a ticket beforehand: counted only where a gate takes tickets, while the ticket holds, and for no more
//! actions than it says.

use super::{rule, story::*};
use crate::{
    Rule,
    event::{Actor, Event, GateTerms, TicketVote},
};
use countersign_core::{Assurance, Digest, TicketCheck, Timestamp, statement::Verdict};

type Tell = fn(&mut Story, &mut Vote);

fn ticketed(wanted: Assurance) -> GateTerms {
    GateTerms { tickets: ["team".parse().unwrap()].into(), ..gate("data", 1, wanted) }
}

fn ticket(used: u32, uses: u32) -> TicketVote {
    TicketVote {
        system: "jira".into(),
        ticket: "OPS-12".parse().unwrap(),
        id: "10012".into(),
        change: "10124".into(),
        approved_at: Timestamp(1),
        read_at: Timestamp(2),
        scope: Digest([4; 32]),
        uses,
        used,
        from: None,
        until: None,
        checked: TicketCheck::ALL.into(),
    }
}

fn begun() -> Story {
    let mut story = Story::begin();
    let (person, through) = (person(1), through("team", 70));
    let event = Event::ChannelBound { person, binding: through.binding, channel: through.channel };
    story.log.add(None, Actor::Person { id: person }, event);
    story
}

/// Person 1's word in a ticket for an action, after `change`; granted and run.
fn used(story: &mut Story, n: u128, (used, uses): (u32, u32), change: Tell) {
    let mut vote = story.ballot(n, 1, "data", 1);
    vote.assurance = Assurance::Chat;
    vote.through = Some(through("team", 70));
    let at = Timestamp(story.log.now);
    vote.ticket = Some(TicketVote { approved_at: at, read_at: at, ..ticket(used, uses) });
    change(story, &mut vote);
    story.cast(n, &vote);
    story.grant(n);
    story.run(n, 1);
}

fn once(gate: GateTerms, change: Tell) -> Option<Rule> {
    let mut story = begun();
    story.request(1, vec![gate]);
    used(&mut story, 1, (1, 1), change);
    rule(&story.log.export(), &story.log)
}

#[test]
fn a_word_in_a_ticket_is_a_vote_where_the_gate_takes_one() {
    assert_eq!(once(ticketed(Assurance::Chat), |_, _| {}), None);
    assert_eq!(once(ticketed(Assurance::Session), |_, _| {}), Some(Rule::Assurance));
    assert_eq!(once(gate("data", 1, Assurance::Chat), |_, _| {}), Some(Rule::Ticket));
}

#[test]
fn a_ticket_that_does_not_hold_is_told() {
    let told: [(&str, Tell, Rule); 12] = [
        (
            "approved before its approver was bound",
            |_, vote| vote.ticket.as_mut().unwrap().approved_at = Timestamp(1),
            Rule::Ticket,
        ),
        (
            "approved in the time to come",
            |story, vote| {
                vote.ticket.as_mut().unwrap().approved_at = Timestamp(story.log.now + 900_000_000);
            },
            Rule::Ticket,
        ),
        (
            "read long ago",
            |story, vote| vote.ticket.as_mut().unwrap().read_at = Timestamp(story.log.now - 600_000_000),
            Rule::Ticket,
        ),
        (
            "read later",
            |story, vote| vote.ticket.as_mut().unwrap().read_at = Timestamp(story.log.now + 60_000_000),
            Rule::Ticket,
        ),
        ("in another channel", |_, vote| vote.through = Some(through("other", 70)), Rule::Chat),
        ("through nothing", |_, vote| vote.through = None, Rule::Chat),
        ("by a user nobody bound", |_, vote| vote.through = Some(through("team", 71)), Rule::Chat),
        ("a rejection", |_, vote| vote.statement.decision = Verdict::Reject, Rule::Ticket),
        ("raised to a session", |_, vote| vote.assurance = Assurance::Session, Rule::Chat),
        (
            "before its time",
            |story, vote| {
                vote.ticket.as_mut().unwrap().from = Some(Timestamp(story.log.now + 60_000_000));
            },
            Rule::Ticket,
        ),
        ("after its time", |_, vote| vote.ticket.as_mut().unwrap().until = Some(Timestamp(1)), Rule::Ticket),
        ("used more often than it says", |_, vote| vote.ticket.as_mut().unwrap().used = 2, Rule::Ticket),
    ];
    for (what, change, wanted) in told {
        assert_eq!(once(ticketed(Assurance::Chat), change), Some(wanted), "{what}");
    }
}

#[test]
fn each_use_is_a_later_one_and_there_are_no_more_than_the_ticket_says() {
    for (uses, want) in [
        (&[(1, 2), (2, 2)][..], None),
        // Something before this part of the log used it as well.
        (&[(2, 3), (3, 3)], None),
        (&[(1, 1), (1, 1)], Some(Rule::Ticket)),
        (&[(2, 2), (1, 2)], Some(Rule::Ticket)),
        (&[(1, 1), (2, 1)], Some(Rule::Ticket)),
    ] {
        let mut story = begun();
        for (at, one) in uses.iter().enumerate() {
            let n = at as u128 + 1;
            story.request(n, vec![ticketed(Assurance::Chat)]);
            used(&mut story, n, *one, |_, _| {});
        }
        assert_eq!(rule(&story.log.export(), &story.log), want, "{uses:?}");
    }
}

/// The gate's ticket stopped counting, as the engine records it.
fn stops(story: &mut Story, n: u128, (channel, key): (&str, &str), gate: Option<&str>) {
    let event = Event::ApprovalTicketRefused {
        approval: approval(n),
        channel: Some(channel.parse().unwrap()),
        ticket: Some(key.parse().unwrap()),
        check: TicketCheck::State,
        gate: gate.map(|gate| gate.parse().unwrap()),
    };
    story.add(n, Actor::Gateway, event);
}

/// Granted on person 1's word in a ticket and what `votes` adds; then `after` happens, and it runs.
fn granted_then(quorum: u32, votes: fn(&mut Story), after: impl FnOnce(&mut Story)) -> Option<Rule> {
    let mut story = begun();
    story.request(1, vec![GateTerms { quorum, ..ticketed(Assurance::Chat) }]);
    let mut vote = story.ballot(1, 1, "data", 1);
    vote.assurance = Assurance::Chat;
    vote.through = Some(through("team", 70));
    let at = Timestamp(story.log.now);
    vote.ticket = Some(TicketVote { approved_at: at, read_at: at, ..ticket(1, 1) });
    story.cast(1, &vote);
    votes(&mut story);
    story.grant(1);
    after(&mut story);
    story.run(1, 1);
    rule(&story.log.export(), &story.log)
}

#[test]
fn behind_a_ticket_that_stopped_counting_nothing_runs_without_a_new_round() {
    let stopped: fn(&mut Story) = |story| stops(story, 1, ("team", "OPS-12"), Some("data"));
    let alone: fn(&mut Story) = |_| {};
    assert_eq!(granted_then(1, alone, stopped), Some(Rule::Ticket), "a gateway that ran all the same");
    let another: fn(&mut Story) = |story| story.vote(1, 1, "data", 2);
    assert_eq!(granted_then(2, another, stopped), Some(Rule::Ticket), "one voice of two is left");
    assert_eq!(granted_then(1, another, stopped), None, "somebody else's word is enough");
    let stronger: fn(&mut Story) = |story| story.vote(1, 1, "data", 1);
    assert_eq!(granted_then(1, stronger, stopped), None, "their own stronger word needs no ticket");
    // A new round that somebody else lifted.
    let reopened: fn(&mut Story) = |story| {
        stops(story, 1, ("team", "OPS-12"), Some("data"));
        let round = story.round(1, 2, vec![ticketed(Assurance::Chat)]);
        story.add(1, Actor::Gateway, Event::ApprovalRoundOpened { round, because: None });
        story.vote(1, 2, "data", 2);
        story.grant(1);
    };
    assert_eq!(granted_then(1, alone, reopened), None);
    // Another ticket, another channel's, another gate's, or a look that took no vote away.
    for (place, gate) in [
        (("team", "OPS-13"), Some("data")),
        (("desk", "OPS-12"), Some("data")),
        (("team", "OPS-12"), Some("finance")),
        (("team", "OPS-12"), None),
    ] {
        let found = granted_then(1, alone, |story| stops(story, 1, place, gate));
        assert_eq!(found, None, "{place:?} {gate:?}");
    }
}
