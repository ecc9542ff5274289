//! Stories a gateway must not sign, each refused for its reason.

use super::{rule, story::*};
use crate::{
    Rule, bundle_digest,
    event::{Actor, ClosedAs, Event, GateTerms},
};
use countersign_core::{
    Assurance, Digest, SignIn, SignInTerms, Timestamp, approval::Taker, decision::Approvers,
    statement::Verdict,
};

fn told(tell: impl FnOnce(&mut Story)) -> Option<Rule> {
    let mut story = Story::begin();
    tell(&mut story);
    rule(&story.log.export(), &story.log)
}

/// A vote on a held action in which one thing is off, then everything as if it were not.
fn with_vote(change: impl FnOnce(&mut Vote)) -> Option<Rule> {
    told(|story| {
        story.request(1, vec![gate("data", 2, Assurance::Passkey)]);
        story.vote(1, 1, "data", 1);
        let mut vote = story.ballot(1, 1, "data", 2);
        change(&mut vote);
        story.cast(1, &vote);
        story.grant(1);
        story.run(1, 1);
    })
}

fn with_gates(gates: Vec<GateTerms>, tell: impl FnOnce(&mut Story)) -> Option<Rule> {
    told(|story| {
        story.request(1, gates);
        tell(story);
    })
}

#[test]
fn an_unchanged_vote_is_good() {
    assert_eq!(with_vote(|_| {}), None);
}

#[test]
#[rustfmt::skip]
fn a_vote_that_is_about_something_else_is_told() {
    for (what, found, wanted) in [
        ("another approval", with_vote(|vote| vote.statement.approval = approval(7)), Rule::Ballot),
        ("another round", with_vote(|vote| vote.statement.round = 2), Rule::Ballot),
        ("another gate", with_vote(|vote| vote.statement.gate = gate("other", 1, Assurance::Chat).gate), Rule::Ballot),
        ("another action", with_vote(|vote| vote.statement.action_digest = Digest([9; 32])), Rule::Ballot),
        ("other evidence", with_vote(|vote| vote.statement.evidence_digest = Digest([9; 32])), Rule::Ballot),
        ("another view", with_vote(|vote| vote.statement.view_digest = Digest([9; 32])), Rule::Ballot),
        ("an expired statement", with_vote(|vote| vote.statement.expires = Timestamp(0)), Rule::Deadline),
        ("a nonce of no form", with_vote(|vote| vote.statement.nonce = "1".into()), Rule::Nonce),
        ("a weaker vote", with_vote(|vote| vote.assurance = Assurance::Session), Rule::Assurance),
        ("another's passkey", with_vote(|vote| vote.credential = credential(3)), Rule::Passkey),
        ("a forged assertion", with_vote(|vote| vote.signer = 3), Rule::Passkey),
        ("a passkey never registered", with_vote(|vote| vote.credential = credential(50)), Rule::Passkey),
        ("an agent that votes", with_vote(|vote| vote.actor = agent()), Rule::Voter),
        ("a vote in another's name", with_vote(|vote| vote.actor = Actor::Person { id: person(3) }), Rule::Voter),
        ("the other decision", with_vote(|vote| vote.statement.decision = Verdict::Reject), Rule::Order),
        ("the same voter twice", with_vote(|vote| {
            vote.statement.voter = person(1);
            (vote.actor, vote.signer, vote.credential) = (Actor::Person { id: person(1) }, 1, credential(1));
        }), Rule::Quorum),
    ] {
        assert_eq!(found, Some(wanted), "{what}");
    }
}

#[test]
fn requester_side_approves_is_told() {
    let found = told(|story| {
        let mut round = story.round(1, 1, vec![gate("data", 1, Assurance::Passkey)]);
        round.excluded.insert(person(2));
        story.add(1, agent(), Event::ApprovalRequested { asked: asked(1), round });
        story.vote(1, 1, "data", 2);
    });
    assert_eq!(found, Some(Rule::Side));
}

#[test]
fn votes_that_were_taken_back_lift_nothing() {
    let withdrawn = |who: u128, vote_again: bool| {
        told(|story| {
            story.request(1, vec![gate("data", 2, Assurance::Passkey)]);
            story.vote(1, 1, "data", 1);
            story.vote(1, 1, "data", 2);
            let event = Event::ApprovalVotesWithdrawn { approval: approval(1), person: person(who) };
            story.add(1, Actor::Gateway, event);
            if vote_again {
                story.vote(1, 1, "data", 3);
            }
            story.grant(1);
            story.run(1, 1);
        })
    };
    assert_eq!(withdrawn(2, false), Some(Rule::Quorum));
    assert_eq!(withdrawn(2, true), None);
    assert_eq!(withdrawn(4, false), None, "others keep theirs");
}

#[test]
fn one_nonce_counts_once() {
    let found = told(|story| {
        story.request(1, vec![gate("data", 2, Assurance::Passkey)]);
        let first = story.ballot(1, 1, "data", 1);
        story.cast(1, &first);
        let mut second = story.ballot(1, 1, "data", 2);
        second.statement.nonce = first.statement.nonce.clone();
        story.cast(1, &second);
    });
    assert_eq!(found, Some(Rule::Nonce));
}

#[test]
fn a_removed_passkey_cannot_vote() {
    let found = told(|story| {
        story.request(1, vec![gate("data", 1, Assurance::Passkey)]);
        let removed = Event::PasskeyRemoved { person: person(1), credential: credential(1) };
        story.log.add(None, Actor::Operator, removed);
        story.vote(1, 1, "data", 1);
    });
    assert_eq!(found, Some(Rule::Passkey));
}

#[test]
fn a_vote_after_the_deadline_is_told() {
    let found = told(|story| {
        story.request(1, vec![gate("data", 1, Assurance::Passkey)]);
        story.log.now += 700_000_000;
        story.vote(1, 1, "data", 1);
    });
    assert_eq!(found, Some(Rule::Deadline));
}

#[test]
fn one_person_cannot_lift_two_gates_meant_for_different_people() {
    let mut apart = gate("finance", 1, Assurance::Session);
    apart.distinct = true;
    let found = with_gates(vec![gate("data", 1, Assurance::Session), apart], |story| {
        story.vote(1, 1, "data", 1);
        story.vote(1, 1, "finance", 1);
    });
    assert_eq!(found, Some(Rule::Distinct));
}

#[test]
fn only_named_people_vote_where_people_are_named() {
    let mut named = gate("data", 1, Assurance::Session);
    (named.groups, named.people) = ([].into(), [person(2)].into());
    assert_eq!(with_gates(vec![named], |story| story.vote(1, 1, "data", 1)), Some(Rule::Voter));
}

#[test]
fn vacuous_rounds_are_told() {
    assert_eq!(with_gates(vec![], |_| {}), Some(Rule::Round));
    assert_eq!(with_gates(vec![gate("data", 0, Assurance::Chat)], |_| {}), Some(Rule::Round));
    let twice = vec![gate("data", 1, Assurance::Chat), gate("data", 1, Assurance::Chat)];
    assert_eq!(with_gates(twice, |_| {}), Some(Rule::Round));
}

#[test]
fn a_round_cannot_lose_a_gate_still_shut() {
    let both = vec![gate("data", 1, Assurance::Session), gate("finance", 1, Assurance::Session)];
    let found = with_gates(both, |story| {
        story.vote(1, 1, "data", 1);
        let round = story.round(1, 2, vec![gate("extra", 1, Assurance::Session)]);
        story.add(1, Actor::Gateway, Event::ApprovalRoundOpened { round, because: None });
    });
    assert_eq!(found, Some(Rule::Round));
}

#[test]
fn a_grant_of_an_earlier_round_is_gone() {
    let found = told(|story| {
        story.granted(1);
        let round = story.round(1, 2, vec![gate("extra", 1, Assurance::Session)]);
        story.add(1, Actor::Gateway, Event::ApprovalRoundOpened { round, because: None });
        story.run(1, 1);
    });
    assert_eq!(found, Some(Rule::Granted));
}

#[test]
#[rustfmt::skip]
fn whatever_runs_without_a_grant_in_force_is_told() {
    let request = |story: &mut Story| story.request(1, vec![gate("data", 1, Assurance::Passkey)]);
    for (what, found, wanted) in [
        ("missing quorum", told(|story| story.voted_once_but_granted(1)), Rule::Quorum),
        ("before the grant", told(|story| { request(story); story.vote(1, 1, "data", 1); story.run(1, 1); }), Rule::Granted),
        ("without its approval", told(|story| { story.granted(1); story.add(1, agent(), authorization(1, 1, None)); }), Rule::Granted),
        ("on an approval nobody saw", told(|story| story.run(1, 1)), Rule::Granted),
        ("on another's approval", told(|story| { story.granted(1); story.add(1, agent(), authorization(1, 1, Some(approval(2)))); }), Rule::Granted),
        ("recorded afterwards, by approval", told(|story| { story.granted(1); story.add(1, agent(), deferred(1, "export", Some(approval(1)))); }), Rule::Granted),
        ("recorded afterwards, no read", told(|story| story.add(1, agent(), deferred(1, "export", None))), Rule::Granted),
        ("after it was revoked", told(|story| { story.revoked(1); story.run(1, 1); }), Rule::Granted),
        ("after it was rejected", told(|story| { story.rejected(1); story.run(1, 1); }), Rule::Granted),
        ("after use_by", told(|story| { story.granted(1); story.log.now += 400_000_000; story.run(1, 1); }), Rule::Deadline),
        ("two executions", told(|story| { story.approved_by_two(1); story.run(1, 2); }), Rule::Once),
        ("two executions under policy", told(|story| { story.permitted(1); story.permitted(1); }), Rule::Once),
        ("two live attempts", told(|story| {
            story.granted(1);
            story.add(1, Actor::Gateway, authorization(1, 1, Some(approval(1))));
            story.run(1, 2);
        }), Rule::Once),
        ("again after unknown", told(|story| { story.unknown_and_resolved(1); story.run(1, 2); }), Rule::Once),
        ("again under policy after nothing was sent", told(|story| {
            story.add(1, agent(), authorization(1, 1, None));
            story.add(1, Actor::Gateway, Event::ExecutionReleased { attempt: 1, why: "unreachable".into() });
            story.add(1, agent(), authorization(1, 2, None));
        }), Rule::Granted),
        ("again after revoked while running", told(|story| {
            story.granted(1);
            story.add(1, Actor::Gateway, authorization(1, 1, Some(approval(1))));
            story.add(1, Actor::Operator, Event::ApprovalRevokedWhileRunning { approval: approval(1), by: Taker::Operator });
            story.add(1, Actor::Gateway, Event::ExecutionReleased { attempt: 1, why: "revoked".into() });
            story.run(1, 2);
        }), Rule::Granted),
        ("an attempt that skips a number", told(|story| { story.granted(1); story.run(1, 2); }), Rule::Attempt),
        ("a result without an execution", told(|story| { story.granted(1); story.add(1, Actor::Gateway, result(1)); }), Rule::Attempt),
        ("two results", told(|story| { story.permitted(1); story.add(1, Actor::Gateway, result(1)); }), Rule::Attempt),
        ("a vote while it runs", told(|story| {
            story.granted(1);
            story.add(1, Actor::Gateway, authorization(1, 1, Some(approval(1))));
            story.vote(1, 1, "data", 3);
        }), Rule::Order),
        ("closed as rejected without a vote", told(|story| { story.granted(1); story.close(1, ClosedAs::Rejected); }), Rule::Order),
        ("resolved though it was known", told(|story| {
            story.permitted(1);
            let found = crate::event::Found::Ran;
            story.add(1, Actor::Operator, Event::ExecutionResolved { by: Taker::Operator, found });
        }), Rule::Order),
    ] {
        assert_eq!(found, Some(wanted), "{what}");
    }
}

#[test]
fn approved_one_thing_then_ran_another_is_told() {
    let found = told(|story| {
        story.granted(1);
        let Event::ExecutionAuthorized(mut facts) = authorization(1, 1, Some(approval(1))) else {
            panic!("an authorization")
        };
        facts.asked.digest = Digest([9; 32]);
        story.add(1, Actor::Gateway, Event::ExecutionAuthorized(facts));
    });
    assert_eq!(found, Some(Rule::SameAction));
}

#[test]
fn a_policy_bundle_that_is_not_kept_cannot_be_referred_to() {
    let mut story = Story::begin();
    story.permitted(1);
    let bundle = story.log.export();
    let without: Vec<u8> = bundle
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !line.starts_with(b"{\"policy\""))
        .flatten()
        .copied()
        .collect();
    assert_eq!(rule(&without, &story.log), Some(Rule::Policy));
    story.log.policies.insert(bundle_digest(crate::testlog::POLICY), b"permit everything".as_slice().into());
    assert_eq!(rule(&story.log.export(), &story.log), Some(Rule::Policy));
}

#[test]
fn keys_handed_over_by_nobody_are_told() {
    let found = told(|story| {
        let stranger = crate::keys::tests::keys(21);
        let event = stranger.rotation(&crate::keys::tests::keys(23)).unwrap();
        story.log.add(None, Actor::Operator, event);
    });
    assert_eq!(found, Some(Rule::Trusted));
}

#[test]
fn any_key_that_was_in_force_is_a_good_anchor_and_no_other() {
    let mut story = Story::begin();
    story.permitted(1);
    let first = story.log.verifier().clone();
    story.log.rotate();
    let handed_over = story.log.export();
    story.permitted(2);
    let second = story.log.keys.log().verifier().clone();
    let bundle = story.log.export();
    assert_eq!(crate::verify(&bundle[..], &first), crate::verify(&bundle[..], &second));
    assert!(crate::verify(&bundle[..], &first).is_ok());
    // Naming a key is not being signed by it: anybody can rotate a log of their own to our key.
    assert!(crate::verify(&handed_over[..], &first).is_ok());
    assert_eq!(crate::verify(&handed_over[..], &second).unwrap_err().rule, Rule::Trusted);
}

#[test]
fn an_attempt_revoked_while_it_ran_and_taken_back_is_closed() {
    let mut story = Story::begin();
    story.granted(1);
    story.add(1, Actor::Gateway, authorization(1, 1, Some(approval(1))));
    let revoked = Event::ApprovalRevokedWhileRunning { approval: approval(1), by: Taker::Operator };
    story.add(1, Actor::Operator, revoked);
    story.add(1, Actor::Gateway, Event::ExecutionReleased { attempt: 1, why: "revoked".into() });
    assert_eq!(rule(&story.log.export(), &story.log), None);
    story.close(1, ClosedAs::Revoked);
    assert_eq!(rule(&story.log.export(), &story.log), None);
    story.close(1, ClosedAs::Revoked);
    assert_eq!(rule(&story.log.export(), &story.log), Some(Rule::Order));
}

#[test]
fn a_log_opened_with_other_keys_is_told() {
    let mut story = Story::begin();
    story.permitted(1);
    let stranger = crate::keys::tests::keys(21);
    let fault = crate::verify(&story.log.export()[..], stranger.log().verifier()).unwrap_err();
    assert_eq!(fault.rule, Rule::Trusted);
}

/// Held on a gate with break-glass, broken by person 1 with something changed, then as if nothing were wrong.
fn with_glass(gates: Vec<GateTerms>, told: &[u128], change: impl FnOnce(&mut Vote)) -> Option<Rule> {
    with_gates(gates, |story| {
        let mut vote = story.alone(1, "data", 1);
        change(&mut vote);
        story.shatter(1, &vote, told);
        story.grant(1);
        story.run(1, 1);
    })
}

#[test]
fn an_honest_break_glass_is_good_and_binds_until_it_is_reviewed() {
    let twice = |between: fn(&mut Story)| {
        told(|story| {
            story.broken_and_reviewed(1);
            story.request(2, vec![glass("data", 2)]);
            let vote = story.alone(2, "data", 1);
            story.shatter(2, &vote, &[2]);
            story.grant(2);
            story.request(3, vec![glass("data", 2)]);
            between(story);
            let vote = story.alone(3, "data", 1);
            story.shatter(3, &vote, &[2]);
        })
    };
    assert_eq!(twice(|story| story.reviewed(2, 1, Actor::Person { id: person(3) })), None);
    assert_eq!(twice(|_| {}), Some(Rule::BreakGlass), "a second one while the first is open");
    assert_eq!(twice(|story| story.reviewed(2, 1, Actor::Person { id: person(1) })), Some(Rule::BreakGlass));
    assert_eq!(twice(|story| story.reviewed(2, 1, Actor::Person { id: person(9) })), Some(Rule::BreakGlass));
    assert_eq!(twice(|story| story.reviewed(2, 1, Actor::Operator)), Some(Rule::BreakGlass));
    assert_eq!(twice(|story| story.reviewed(2, 3, Actor::Person { id: person(2) })), Some(Rule::BreakGlass));
}

#[test]
#[rustfmt::skip]
fn a_break_glass_that_is_not_as_it_must_be_is_told() {
    let both = || vec![glass("data", 2), glass("finance", 1)];
    let half = || vec![glass("data", 2), gate("finance", 1, Assurance::Passkey)];
    let named = |n| {
        let alone = Approvers { groups: [].into(), people: [person(n)].into() };
        vec![GateTerms { break_glass: Some(alone), ..gate("data", 2, Assurance::Passkey) }]
    };
    for (what, found, wanted) in [
        ("nothing", with_glass(both(), &[2], |_| {}), None),
        ("by whom the gate names", with_glass(named(1), &[2], |_| {}), None),
        ("by somebody else", with_glass(named(2), &[2], |_| {}), Some(Rule::BreakGlass)),
        ("a gate that has none", with_glass(half(), &[2], |_| {}), Some(Rule::BreakGlass)),
        ("nobody told", with_glass(both(), &[], |_| {}), Some(Rule::BreakGlass)),
        ("only themself told", with_glass(both(), &[1], |_| {}), Some(Rule::BreakGlass)),
        ("a vote that is none", with_glass(both(), &[2], |vote| vote.statement.decision = Verdict::Approve), Some(Rule::BreakGlass)),
        ("another's passkey", with_glass(both(), &[2], |vote| vote.credential = credential(3)), Some(Rule::Passkey)),
        ("another's act", with_glass(both(), &[2], |vote| vote.actor = Actor::Person { id: person(3) }), Some(Rule::Voter)),
        ("an agent's act", with_glass(both(), &[2], |vote| vote.actor = agent()), Some(Rule::Voter)),
        ("another view", with_glass(both(), &[2], |vote| vote.statement.view_digest = Digest([9; 32])), Some(Rule::Ballot)),
        ("too late", with_glass(both(), &[2], |vote| vote.statement.expires = Timestamp(0)), Some(Rule::Deadline)),
        ("recorded as a vote", with_vote(|vote| vote.statement.decision = Verdict::BreakGlass), Some(Rule::Order)),
        ("the requester's side", told(|story| {
            let mut round = story.round(1, 1, both());
            round.excluded.insert(person(1));
            story.add(1, agent(), Event::ApprovalRequested { asked: asked(1), round });
            let vote = story.alone(1, "data", 1);
            story.shatter(1, &vote, &[2]);
        }), Some(Rule::Side)),
    ] {
        assert_eq!(found, wanted, "{what}");
    }
}

/// What a story does.
type Tell = fn(&mut Story);

/// A vote in another's place on the first action.
fn for_one(story: &mut Story, voter: u128, absent: u128) {
    let mut vote = story.ballot(1, 1, "data", voter);
    vote.statement.on_behalf_of = Some(person(absent));
    story.cast(1, &vote);
}
#[test]
fn a_vote_for_another_needs_a_delegation_in_force_and_is_no_second_say() {
    let stands = |tell: fn(&mut Story)| {
        told(|story| {
            let (from, until) = (Timestamp(story.log.now), Timestamp(story.log.now + 500_000_000));
            let set = Event::DelegationSet { person: person(1), to: person(2), from, until };
            story.log.add(None, Actor::Person { id: person(1) }, set);
            story.request(1, vec![gate("data", 2, Assurance::Passkey)]);
            tell(story);
            story.grant(1);
        })
    };
    let both = stands(|story| {
        for_one(story, 2, 1);
        story.vote(1, 1, "data", 3);
    });
    assert_eq!(both, None);
    let told: [(&str, Tell, Rule); 6] = [
        ("somebody else", |story| for_one(story, 3, 1), Rule::StandIn),
        ("the other way round", |story| for_one(story, 1, 2), Rule::StandIn),
        (
            "after its end",
            |story| {
                story.log.now += 550_000_000;
                for_one(story, 2, 1);
            },
            Rule::StandIn,
        ),
        (
            "ended before",
            |story| {
                let ended = Event::DelegationEnded { person: person(1), to: person(2) };
                story.log.add(None, Actor::Operator, ended);
                for_one(story, 2, 1);
            },
            Rule::StandIn,
        ),
        (
            "one say twice",
            |story| {
                for_one(story, 2, 1);
                story.vote(1, 1, "data", 1);
            },
            Rule::StandIn,
        ),
        (
            "one voice for two",
            |story| {
                for_one(story, 2, 1);
                story.vote(1, 1, "data", 2);
            },
            Rule::Quorum,
        ),
    ];
    for (what, tell, wanted) in told {
        assert_eq!(stands(tell), Some(wanted), "{what}");
    }
    let side = stands(|story| for_one(story, 2, 9));
    assert!(side.is_some(), "the say of the requester's side");
}

#[test]
fn whoever_lifted_a_gate_alone_lifts_no_gate_for_others_of_its_own_later() {
    let later = |voter: u128| {
        with_gates(vec![glass("data", 2)], |story| {
            let vote = story.alone(1, "data", 1);
            story.shatter(1, &vote, &[2]);
            story.grant(1);
            let apart = GateTerms { distinct: true, ..gate("apart", 1, Assurance::Passkey) };
            let round = story.round(1, 2, vec![apart]);
            story.add(1, Actor::Gateway, Event::ApprovalRoundOpened { round, because: None });
            story.vote(1, 2, "apart", voter);
            story.grant(1);
        })
    };
    assert_eq!(later(2), None);
    assert_eq!(later(1), Some(Rule::Distinct));
}

#[test]
fn people_are_called_again_only_while_it_waits_for_them() {
    let reminded = |id| Event::ApprovalReminded { approval: id, reminder: 1 };
    let further = |id| Event::ApprovalEscalated { approval: id, step: 1, channels: [].into() };
    for call in [reminded, further] {
        let waits = |late: i64, id: u128| {
            with_gates(vec![gate("data", 1, Assurance::Session)], |story| {
                story.log.now += late;
                story.add(1, Actor::Gateway, call(approval(id)));
            })
        };
        assert_eq!(waits(0, 1), None);
        assert_eq!(waits(0, 2), Some(Rule::Order), "another approval");
        assert_eq!(waits(i64::from(u32::MAX), 1), Some(Rule::Deadline));
        let decided = told(|story| {
            story.granted(1);
            story.add(1, Actor::Gateway, call(approval(1)));
        });
        assert_eq!(decided, Some(Rule::Order), "decided");
    }
}

#[test]
fn a_permitted_read_may_be_recorded_afterwards() {
    let told = told(|story| {
        story.add(1, agent(), deferred(1, "read", None));
        story.add(1, agent(), result(1));
    });
    assert_eq!(told, None);
}

#[test]
fn a_vote_after_another_sign_in_than_the_gate_asks_is_told() {
    let voted = |ago: Option<i64>, acr: Option<&str>| {
        let terms = SignInTerms { within_s: Some(60), acr: ["gold".to_owned()].into(), amr: [].into() };
        let asks = GateTerms { sign_in: Some(terms), ..gate("data", 1, Assurance::Session) };
        with_gates(vec![asks], |story| {
            let mut vote = story.ballot(1, 1, "data", 1);
            vote.assurance = Assurance::Session;
            let proven_at = ago.map(|ago| Timestamp(story.log.now - ago * 1_000_000));
            vote.sign_in = Some(SignIn { proven_at, acr: acr.map(str::to_owned), amr: [].into() });
            story.cast(1, &vote);
        })
    };
    assert_eq!(voted(Some(50), Some("gold")), None);
    for (ago, acr) in
        [(Some(70), Some("gold")), (None, Some("gold")), (Some(50), Some("tin")), (Some(50), None)]
    {
        assert_eq!(voted(ago, acr), Some(Rule::SignIn), "{ago:?} {acr:?}");
    }
}
