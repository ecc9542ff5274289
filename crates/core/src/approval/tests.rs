use super::{Event as E, Outcome as O, Refused as R, State as S, *};
use crate::{PolicyId, decision::Approvers};
use proptest::prelude::*;
use std::num::NonZeroU32;

const ME: u64 = 1;

fn person(n: u128) -> PersonId {
    PersonId::from_parts(0, n)
}

fn here() -> GatewayId {
    GatewayId::from_parts(0, 1)
}

fn there() -> GatewayId {
    GatewayId::from_parts(0, 2)
}

fn gate(name: &str, quorum: u32, assurance: Assurance) -> Gate {
    Gate {
        name: GateName::new(name).unwrap(),
        policies: [PolicyId::new(name).unwrap()].into(),
        approvers: Approvers::default(),
        quorum: NonZeroU32::new(quorum).unwrap(),
        assurance,
        reason: "because".into(),
        distinct: false,
        break_glass: None,
        sign_in: None,
        tickets: [].into(),
    }
}

fn round(number: u32, gates: Vec<Gate>) -> Round {
    Round {
        number,
        bundle: Digest([9; 32]),
        evidence: Digest([8; 32]),
        view: Digest([7; 32]),
        opened_at: Timestamp(0),
        deadline: Timestamp(100),
        valid_for_micros: 50,
        gates,
        votes: BTreeMap::new(),
        broken: None,
    }
}

/// Requester's side is person 1; the gates are `data` (two voices, session) and, where asked, `pass` (passkey).
fn pending(gates: Vec<Gate>) -> Approval {
    let (id, action) = (ApprovalId::from_parts(0, 1), ActionId::from_parts(0, 1));
    Approval::open(id, action, Digest([1; 32]), [person(1)].into(), round(1, gates))
}

fn data() -> Approval {
    pending(vec![gate("data", 2, Assurance::Session)])
}

fn yes(n: u128) -> E {
    vote(n, 1, "data", Assurance::Session)
}

fn vote(n: u128, round: u32, name: &str, assurance: Assurance) -> E {
    let gate = GateName::new(name).unwrap();
    E::Approve { voter: person(n), on_behalf_of: None, round, gate, assurance }
}

fn no(n: u128) -> E {
    E::Reject { voter: person(n), round: 1, gate: GateName::new("data").unwrap(), reason: "no".into() }
}

fn leave(n: u128) -> E {
    E::Leave { voter: person(n) }
}

fn begin() -> E {
    E::Begin { digest: Digest([1; 32]), owner: here(), epoch: ME }
}

fn finish(outcome: O) -> E {
    E::Finish { owner: here(), epoch: ME, outcome }
}

fn release() -> E {
    E::Release { owner: here(), epoch: ME }
}

fn reopen(gates: Vec<Gate>) -> E {
    E::Reopen(Box::new(round(2, gates)))
}

fn orphan(epoch: u64) -> E {
    E::Orphan { successor: here(), epoch }
}

/// Plays the script at the given moments; the last step's result decides.
fn play(start: Approval, script: Vec<(E, i64)>) -> Result<&'static str, R> {
    let mut at = start;
    let mut last = Ok(());
    for (event, now) in script {
        last.clone().map_err(|refused: R| format!("only the last step may fail: {refused}")).unwrap();
        last = at.step(event, Timestamp(now));
    }
    last.map(|()| at.state.as_str())
}

#[test]
#[rustfmt::skip]
fn every_rule_has_a_row() {
    let quorate = || vec![(yes(2), 10), (yes(3), 10)];
    let running = || { let mut script = quorate(); script.push((begin(), 20)); script };
    let then = |mut script: Vec<(E, i64)>, event: E, now: i64| { script.push((event, now)); script };
    let other = E::Begin { digest: Digest([2; 32]), owner: here(), epoch: ME };
    let stranger = E::Finish { owner: there(), epoch: ME, outcome: O::Done };
    let revoke = || E::Revoke(Taker::Person(person(7)));
    let strong = || pending(vec![gate("data", 1, Assurance::Passkey)]);
    let two_gates = || pending(vec![gate("data", 1, Assurance::Session), gate("pass", 1, Assurance::Session)]);
    let apart = || {
        let mut distinct = gate("pass", 1, Assurance::Session);
        distinct.distinct = true;
        pending(vec![gate("data", 1, Assurance::Session), distinct])
    };
    let named = |name: &str| GateName::new(name).unwrap();
    for (rule, start, script, want) in [
        ("one voice is not a quorum",        data(), vec![(yes(2), 10)], Ok("pending")),
        ("quorum grants",                    data(), quorate(), Ok("granted")),
        ("one voice counts once",            data(), vec![(yes(2), 10), (yes(2), 11)], Ok("pending")),
        ("the requester's side has no vote", data(), vec![(yes(1), 10)], Err(R::RequesterSide)),
        ("nor a veto",                       data(), vec![(no(1), 10)], Err(R::RequesterSide)),
        ("a weak vote does not count",       strong(), vec![(yes(2), 10)],
            Err(R::TooWeak { given: Assurance::Session, wanted: Assurance::Passkey })),
        ("a strong one does",                strong(), vec![(vote(2, 1, "data", Assurance::Passkey), 10)], Ok("granted")),
        ("every gate must be lifted",        two_gates(), vec![(yes(2), 10)], Ok("pending")),
        ("one person may lift two gates",    two_gates(), vec![(yes(2), 10), (vote(2, 1, "pass", Assurance::Session), 11)], Ok("granted")),
        ("unless a gate wants other people", apart(), vec![(yes(2), 10), (vote(2, 1, "pass", Assurance::Session), 11)], Err(R::NotDistinct)),
        ("an unknown gate is refused",       data(), vec![(vote(2, 1, "none", Assurance::Passkey), 10)], Err(R::NoSuchGate(named("none")))),
        ("an older round is over",           data(), vec![(vote(2, 0, "data", Assurance::Passkey), 10)], Err(R::OldRound { given: 0, open: 1 })),
        ("on the deadline is too late",      data(), vec![(yes(2), 100)], Err(R::TooLate)),
        ("so is a late no",                  data(), vec![(no(2), 100)], Err(R::TooLate)),
        ("silence lapses",                   data(), vec![(E::Elapse, 100)], Ok("lapsed")),
        ("an early timer changes nothing",   data(), vec![(E::Elapse, 99)], Err(R::TooEarly)),
        ("one no closes",                    data(), vec![(yes(2), 10), (no(3), 11)], Ok("rejected")),
        ("closed stays closed",              data(), vec![(no(3), 11), (yes(2), 12)], Err(R::OutOfOrder("rejected"))),
        ("a requester may withdraw",         data(), vec![(E::Withdraw, 10)], Ok("withdrawn")),
        ("a withdrawn action never begins",  data(), vec![(E::Withdraw, 10), (begin(), 11)], Err(R::OutOfOrder("withdrawn"))),
        ("pending can be revoked",           data(), vec![(revoke(), 10)], Ok("revoked")),
        ("nothing runs before the quorum",   data(), vec![(yes(2), 10), (begin(), 11)], Err(R::OutOfOrder("pending"))),
        ("the approved bytes run",           data(), running(), Ok("executing")),
        ("swapped bytes do not",             data(), then(quorate(), other, 20), Err(R::DigestMismatch)),
        ("a grant runs once",                data(), then(running(), begin(), 21), Err(R::OutOfOrder("executing"))),
        ("a grant lapses",                   data(), then(quorate(), begin(), 60), Err(R::TooLate)),
        ("and its timer closes it",          data(), then(quorate(), E::Elapse, 60), Ok("lapsed")),
        ("but not before",                   data(), then(quorate(), E::Elapse, 59), Err(R::TooEarly)),
        ("a grant can be revoked",           data(), then(quorate(), revoke(), 20), Ok("revoked")),
        ("a grant can be withdrawn",         data(), then(quorate(), E::Withdraw, 20), Ok("withdrawn")),
        ("a reviewer's no takes it back",    data(), then(quorate(), no(4), 20), Ok("rejected")),
        ("a vote after the quorum is told",  data(), then(quorate(), yes(4), 20), Err(R::OutOfOrder("granted"))),
        ("nothing sent: granted again",      data(), then(running(), release(), 30), Ok("granted")),
        ("with the old deadline",            data(), then(then(running(), release(), 30), begin(), 60), Err(R::TooLate)),
        ("and it may begin again",           data(), then(then(running(), release(), 30), begin(), 31), Ok("executing")),
        ("revoked while running: not again", data(), then(then(running(), revoke(), 30), release(), 31), Ok("revoked")),
        ("revoked while running: it ends",   data(), then(then(running(), revoke(), 30), finish(O::Cancelled), 31), Ok("cancelled")),
        ("running cannot be withdrawn",      data(), then(running(), E::Withdraw, 30), Err(R::OutOfOrder("executing"))),
        ("running does not lapse",           data(), then(running(), E::Elapse, 500), Err(R::OutOfOrder("executing"))),
        ("running cannot be rejected",       data(), then(running(), no(4), 30), Err(R::OutOfOrder("executing"))),
        ("running takes no new gate",        data(), then(running(), reopen(vec![gate("pass", 1, Assurance::Chat)]), 30), Err(R::OutOfOrder("executing"))),
        ("the owner closes it",              data(), then(running(), finish(O::Done), 30), Ok("done")),
        ("late too",                         data(), then(running(), finish(O::Done), 5000), Ok("done")),
        ("a stranger does not",              data(), then(running(), stranger, 30), Err(R::NotTheOwner)),
        ("lost from sight is not done",      data(), then(running(), finish(O::Unknown), 30), Ok("unknown")),
        ("a successor closes it unknown",    data(), then(running(), orphan(ME + 1), 30), Ok("unknown")),
        ("the same life does not",           data(), then(running(), orphan(ME), 30), Err(R::NotTheOwner)),
        ("finished is finished",             data(), then(then(running(), finish(O::Done), 30), begin(), 31), Err(R::OutOfOrder("done"))),
        ("and is not revoked afterwards",    data(), then(then(running(), finish(O::Done), 30), revoke(), 31), Err(R::OutOfOrder("done"))),
        ("pending cannot finish",            data(), vec![(finish(O::Done), 10)], Err(R::OutOfOrder("pending"))),
        ("pending cannot be released",       data(), vec![(release(), 10)], Err(R::OutOfOrder("pending"))),
        ("pending has no orphan",            data(), vec![(orphan(9), 10)], Err(R::OutOfOrder("pending"))),
        ("a new gate opens a round",         data(), then(quorate(), reopen(vec![gate("pass", 1, Assurance::Chat)]), 20), Ok("pending")),
        ("and holds what was granted",       data(), then(then(quorate(), reopen(vec![gate("pass", 1, Assurance::Chat)]), 20), begin(), 21), Err(R::OutOfOrder("pending"))),
        ("until it is lifted as well",       data(), then(then(quorate(), reopen(vec![gate("pass", 1, Assurance::Chat)]), 20), vote(4, 2, "pass", Assurance::Chat), 21), Ok("granted")),
        ("what was shut moves along",        data(), vec![(yes(2), 10), (reopen(vec![gate("pass", 1, Assurance::Chat)]), 11), (vote(4, 2, "pass", Assurance::Chat), 12)], Ok("pending")),
        ("a round without gates is refused", data(), vec![(reopen(vec![]), 10)], Err(R::OldRound { given: 2, open: 1 })),
    ] {
        assert_eq!(play(start, script), want, "{rule}");
    }
}

#[test]
#[rustfmt::skip]
fn who_leaves_takes_their_voice_along() {
    for (rule, start, script, want) in [
        ("who leaves takes their voice",     data(), vec![(yes(2), 10), (leave(2), 11), (yes(3), 12)], Ok("pending")),
        ("and another one makes up for it",  data(), vec![(yes(2), 10), (leave(2), 11), (yes(3), 12), (yes(4), 13)], Ok("granted")),
        ("others keep theirs",               data(), vec![(yes(2), 10), (yes(3), 10), (leave(2), 20)], Err(R::OutOfOrder("granted"))),
        ("without a voice nothing changes",  data(), vec![(yes(2), 10), (leave(3), 11)], Err(R::OutOfOrder("without a vote of theirs"))),
        ("cast for them it goes as well",    data(), vec![(for_another(2, 4, "data"), 10), (leave(4), 11), (yes(3), 12)], Ok("pending")),
        ("what runs goes on",                data(), vec![(yes(2), 10), (yes(3), 10), (begin(), 20), (leave(2), 30)], Err(R::OutOfOrder("executing"))),
    ] {
        assert_eq!(play(start, script), want, "{rule}");
    }
}

fn events() -> impl Strategy<Value = E> {
    let who = 1..6_u128;
    let strength = prop_oneof![Just(Assurance::Chat), Just(Assurance::Session), Just(Assurance::Passkey)];
    let name = prop_oneof![Just("data"), Just("pass")];
    prop_oneof![
        6 => (who.clone(), 1..3_u32, name, strength).prop_map(|(n, round, name, how)| vote(n, round, name, how)),
        1 => who.clone().prop_map(no),
        1 => who.prop_map(leave),
        1 => Just(E::Withdraw),
        2 => Just(E::Elapse),
        1 => Just(E::Revoke(Taker::Operator)),
        1 => Just(reopen(vec![gate("pass", 1, Assurance::Passkey)])),
        4 => any::<bool>().prop_map(|same| E::Begin { digest: Digest([if same { 1 } else { 2 }; 32]), owner: here(), epoch: ME }),
        2 => Just(release()),
        2 => Just(finish(O::Done)),
        1 => (1..3_u64).prop_map(orphan),
    ]
}

proptest! {
    /// Whatever happens in whatever order: execution starts in time, with the approved digest, after a quorum of
    /// voices off the requester's side, never twice without a release between, and closed approvals never move.
    #[test]
    fn no_script_breaks_the_promises(script in prop::collection::vec((events(), 0..40_i64), 0..60)) {
        let mut at = data();
        let mut now = 0;
        let mut running = false;
        for (event, pause) in script {
            now += pause / 8;
            let before = at.clone();
            let begins = matches!(&event, E::Begin { digest, .. } if *digest == before.digest);
            let releases = matches!(&event, E::Release { .. });
            if at.step(event, Timestamp(now)).is_err() {
                prop_assert_eq!(&at, &before, "a refusal changes nothing");
            }
            prop_assert!(!before.state.is_closed() || at == before, "closed approvals never move");
            if let (S::Granted { use_by }, S::Executing(attempt)) = (&before.state, &at.state) {
                prop_assert!(begins && !running && Timestamp(now) < *use_by);
                prop_assert_eq!(attempt.number, before.attempts + 1);
                for round in &at.rounds {
                    for gate in &round.gates {
                        let voices: BTreeSet<_> = round.votes.get(&gate.name).into_iter().flatten()
                            .filter(|(_, vote)| vote.assurance >= gate.assurance).map(|(voter, _)| *voter).collect();
                        prop_assert!(voices.len() >= gate.quorum.get() as usize);
                        prop_assert!(voices.is_disjoint(&at.side));
                    }
                }
                running = true;
            }
            if releases && matches!(at.state, S::Granted { .. }) && matches!(before.state, S::Executing(_)) {
                running = false;
            }
        }
    }
}

fn glass(gates: Vec<Gate>) -> Approval {
    let open = |gate: Gate| Gate { break_glass: Some(Approvers::default()), ..gate };
    pending(gates.into_iter().map(open).collect())
}

fn shatter(n: u128, round: u32, assurance: Assurance) -> E {
    E::BreakGlass { voter: person(n), round, assurance }
}

#[test]
#[rustfmt::skip]
fn one_person_lifts_what_is_shut_where_every_gate_allows_it() {
    use Assurance::{Passkey, Session};
    let two = || vec![gate("data", 2, Session), gate("pass", 3, Passkey)];
    let data = GateName::new("data").unwrap();
    let apart = || Gate { distinct: true, ..gate("apart", 1, Session) };
    for (rule, start, script, wanted) in [
        ("it grants at once",              glass(two()),   vec![(shatter(2, 1, Passkey), 10)], Ok("granted")),
        ("what is granted may begin",      glass(two()),   vec![(shatter(2, 1, Passkey), 10), (begin(), 20)], Ok("executing")),
        ("a grant lapses all the same",    glass(two()),   vec![(shatter(2, 1, Passkey), 10), (begin(), 60)], Err(R::TooLate)),
        ("after a vote it lifts the rest", glass(two()),   vec![(yes(3), 5), (shatter(2, 1, Passkey), 10)], Ok("granted")),
        ("never the requester's side",     glass(two()),   vec![(shatter(1, 1, Passkey), 10)], Err(R::RequesterSide)),
        ("never with less than a passkey", glass(two()),   vec![(shatter(2, 1, Session), 10)], Err(R::TooWeak { given: Session, wanted: Passkey })),
        ("never of another round",         glass(two()),   vec![(shatter(2, 2, Passkey), 10)], Err(R::OldRound { given: 2, open: 1 })),
        ("never after the deadline",       glass(two()),   vec![(shatter(2, 1, Passkey), 100)], Err(R::TooLate)),
        ("never where policy has none",    pending(two()), vec![(shatter(2, 1, Passkey), 10)], Err(R::NoBreakGlass(data))),
        ("never once it is decided",       glass(two()),   vec![(shatter(2, 1, Passkey), 10), (shatter(3, 1, Passkey), 11)], Err(R::OutOfOrder("granted"))),
        ("it is a voice at each of them",  glass(two()),   vec![(shatter(2, 1, Passkey), 10), (reopen(vec![apart()]), 11), (vote(2, 2, "apart", Session), 12)], Err(R::NotDistinct)),
        ("and another's is none",          glass(two()),   vec![(shatter(2, 1, Passkey), 10), (reopen(vec![apart()]), 11), (vote(3, 2, "apart", Session), 12)], Ok("granted")),
        ("a further gate shuts it again",  glass(two()),   vec![(shatter(2, 1, Passkey), 10), (reopen(vec![gate("more", 1, Session)]), 11)], Ok("pending")),
    ] {
        assert_eq!(play(start, script), wanted, "{rule}");
    }
    // What was lifted alone stays lifted; what matched later is shut, and has to allow it itself.
    let mut at = glass(two());
    at.step(shatter(2, 1, Passkey), Timestamp(10)).unwrap();
    at.step(reopen(vec![gate("more", 1, Session)]), Timestamp(11)).unwrap();
    assert_eq!(at.lifted_gates().len(), 2);
    let more = GateName::new("more").unwrap();
    assert_eq!(at.clone().step(shatter(3, 2, Passkey), Timestamp(12)), Err(R::NoBreakGlass(more)));
    at.step(vote(3, 2, "more", Session), Timestamp(12)).unwrap();
    assert_eq!(at.state.as_str(), "granted");
}

fn for_another(n: u128, whom: u128, name: &str) -> E {
    let gate = GateName::new(name).unwrap();
    let on_behalf_of = Some(person(whom));
    E::Approve { voter: person(n), on_behalf_of, round: 1, gate, assurance: Assurance::Session }
}

#[test]
#[rustfmt::skip]
fn standing_in_for_somebody_is_no_second_voice() {
    let apart = || {
        let mut gates = vec![gate("data", 1, Assurance::Session), gate("pass", 1, Assurance::Session)];
        for gate in &mut gates { gate.distinct = true; }
        pending(gates)
    };
    for (rule, start, script, wanted) in [
        ("a stand-in counts as one",            data(),  vec![(for_another(2, 4, "data"), 10)], Ok("pending")),
        ("with another it is a quorum",         data(),  vec![(for_another(2, 4, "data"), 10), (yes(3), 11)], Ok("granted")),
        ("for two absent ones it is one voice", data(),  vec![(for_another(2, 4, "data"), 10), (for_another(2, 5, "data"), 11)], Ok("pending")),
        ("their own say adds nothing",          data(),  vec![(yes(2), 10), (for_another(2, 4, "data"), 11)], Ok("pending")),
        ("not for whom has voted",              data(),  vec![(yes(4), 10), (for_another(2, 4, "data"), 11)], Err(R::SeatTaken)),
        ("nor votes whom it was done for",      data(),  vec![(for_another(2, 4, "data"), 10), (yes(4), 11)], Err(R::SeatTaken)),
        ("nor a second one for the same",       data(),  vec![(for_another(2, 4, "data"), 10), (for_another(3, 4, "data"), 11)], Err(R::SeatTaken)),
        ("not for the requester's side",        data(),  vec![(for_another(2, 1, "data"), 10)], Err(R::RequesterSide)),
        ("not by the requester's side",         data(),  vec![(for_another(1, 4, "data"), 10)], Err(R::RequesterSide)),
        ("distinct gates count both",           apart(), vec![(for_another(2, 4, "data"), 10), (vote(4, 1, "pass", Assurance::Session), 11)], Err(R::NotDistinct)),
    ] {
        assert_eq!(play(start, script), wanted, "{rule}");
    }
}
