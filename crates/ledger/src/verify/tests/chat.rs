//! Votes that came through a channel: counted only where a gate accepts them, and only from a user bound to the voter.

use super::{rule, story::*};
use crate::{
    Rule,
    event::{Actor, ClosedAs, Event},
};
use countersign_core::{Assurance, statement::Verdict};

type Tell = fn(&mut Story, &mut Vote);

fn bind(story: &mut Story, binding: u128, to: u128) {
    let (person, through) = (person(to), through("team", binding));
    let event = Event::ChannelBound { person, binding: through.binding, channel: through.channel };
    story.log.add(None, Actor::Person { id: person }, event);
}

/// A vote through the channel `team` by the user bound as 70 to person 1, after `change`; granted and run.
fn chatted(wanted: Assurance, change: Tell) -> Option<Rule> {
    let mut story = Story::begin();
    bind(&mut story, 70, 1);
    story.request(1, vec![gate("data", 1, wanted)]);
    let mut vote = story.ballot(1, 1, "data", 1);
    vote.assurance = Assurance::Chat;
    vote.through = Some(through("team", 70));
    change(&mut story, &mut vote);
    story.cast(1, &vote);
    if vote.statement.decision == Verdict::Reject {
        story.close(1, ClosedAs::Rejected);
    } else {
        story.grant(1);
        story.run(1, 1);
    }
    rule(&story.log.export(), &story.log)
}

#[test]
fn a_chat_vote_counts_where_the_gate_accepts_one() {
    assert_eq!(chatted(Assurance::Chat, |_, _| {}), None);
}

#[test]
fn a_chat_vote_on_a_gate_that_asks_for_more_is_told() {
    assert_eq!(chatted(Assurance::Session, |_, _| {}), Some(Rule::Assurance));
    assert_eq!(chatted(Assurance::Passkey, |_, _| {}), Some(Rule::Assurance));
}

#[test]
fn a_rejection_through_a_channel_is_good_whatever_the_gate_asks() {
    let reject: Tell = |_, vote| vote.statement.decision = Verdict::Reject;
    for wanted in [Assurance::Chat, Assurance::Session, Assurance::Passkey] {
        assert_eq!(chatted(wanted, reject), None, "{wanted:?}");
    }
}

#[test]
fn a_chat_vote_of_nobody_who_is_bound_is_told() {
    let told: [(&str, Tell); 9] = [
        ("through nothing", |_, vote| vote.through = None),
        ("by a user nobody bound", |_, vote| vote.through = Some(through("team", 71))),
        ("through another channel", |_, vote| vote.through = Some(through("other", 70))),
        ("by another's user", |story, vote| {
            bind(story, 72, 2);
            vote.through = Some(through("team", 72));
        }),
        ("after the binding ended", |story, _| {
            let (person, through) = (person(1), through("team", 70));
            let event = Event::ChannelUnbound { person, binding: through.binding, channel: through.channel };
            story.log.add(None, Actor::Operator, event);
        }),
        ("raised to a session", |_, vote| vote.assurance = Assurance::Session),
        ("raised to a passkey", |_, vote| vote.assurance = Assurance::Passkey),
        ("on a binding made twice", |story, _| bind(story, 70, 1)),
        ("on the end of another's binding", |story, _| {
            let through = through("team", 70);
            let event = Event::ChannelUnbound {
                person: person(2),
                binding: through.binding,
                channel: through.channel,
            };
            story.log.add(None, Actor::Operator, event);
        }),
    ];
    for (what, change) in told {
        assert_eq!(chatted(Assurance::Chat, change), Some(Rule::Chat), "{what}");
    }
}

#[test]
fn a_part_of_the_log_brings_the_bindings_it_rests_on() {
    let mut story = Story::begin();
    bind(&mut story, 70, 1);
    story.request(1, vec![gate("data", 1, Assurance::Chat)]);
    let before = story.log.entries.len() as u64;
    let mut vote = story.ballot(1, 1, "data", 1);
    vote.assurance = Assurance::Chat;
    vote.through = Some(through("team", 70));
    story.cast(1, &vote);
    story.grant(1);
    let part = story.log.export_range(before, before + 1);
    assert_eq!(rule(&part, &story.log), None);
}
