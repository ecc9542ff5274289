use super::*;
use countersign_core::{
    Assurance,
    decision::{Approvers, Gate},
};
use std::num::NonZeroU32;

fn named<T: std::str::FromStr<Err: fmt::Debug> + Ord>(names: &[&str]) -> BTreeSet<T> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn gate(name: &str, groups: &[&str]) -> Gate {
    Gate {
        name: name.parse().unwrap(),
        policies: [].into(),
        approvers: Approvers { groups: named(groups), people: [].into() },
        quorum: NonZeroU32::MIN,
        assurance: Assurance::Session,
        reason: String::new(),
        distinct: false,
        break_glass: None,
        sign_in: None,
        tickets: BTreeSet::new(),
    }
}

fn route(when: When, channels: &[&str], escalate: &[(u64, &[&str])], remind: Option<u64>) -> Route {
    let minutes = |minutes: u64| Duration::from_mins(minutes);
    let escalate = escalate.iter().map(|(after, channels)| (minutes(*after), named(channels)));
    Route {
        name: "r".into(),
        when,
        channels: named(channels),
        escalate: escalate.collect(),
        remind: remind.map(minutes),
        urgency: Urgency::Unsaid,
    }
}

fn planned(routes: &[Route]) -> Plan {
    let (target, environment) = ("shop".parse().unwrap(), "prod".parse().unwrap());
    let gates = [gate("deletes", &["dba", "leads"]), gate("pii", &["privacy"])];
    let class = Class::Delete;
    plan(routes, &Facts { target: &target, environment: &environment, class, gates: &gates })
}

#[test]
fn a_route_is_for_what_has_one_of_each_thing_it_asks() {
    let any = When::default;
    for (case, when, is_for) in [
        ("nothing asked", any(), true),
        ("a group", When { groups: named(&["x", "dba"]), ..any() }, true),
        ("the other gate's group", When { groups: named(&["privacy"]), ..any() }, true),
        ("another group", When { groups: named(&["sre"]), ..any() }, false),
        ("a gate", When { gates: named(&["pii"]), ..any() }, true),
        ("another gate", When { gates: named(&["exports"]), ..any() }, false),
        ("the target", When { targets: named(&["shop"]), ..any() }, true),
        ("another target", When { targets: named(&["bank"]), ..any() }, false),
        ("the environment", When { environments: named(&["prod", "dev"]), ..any() }, true),
        ("another environment", When { environments: named(&["dev"]), ..any() }, false),
        ("the class", When { classes: [Class::Delete].into(), ..any() }, true),
        ("another class", When { classes: [Class::Read].into(), ..any() }, false),
        (
            "one of two things",
            When { groups: named(&["dba"]), environments: named(&["dev"]), ..any() },
            false,
        ),
    ] {
        let told = planned(&[route(when, &["ops"], &[], None)]).channels;
        assert_eq!(!told.is_empty(), is_for, "{case}");
    }
}

#[test]
fn every_route_that_is_for_it_counts() {
    let other = When { targets: named(&["bank"]), ..When::default() };
    let plan = planned(&[
        route(When::default(), &["ops"], &[(20, &["boss"]), (10, &["leads"])], Some(30)),
        route(other, &["bank"], &[(1, &["bank"])], Some(1)),
        route(When::default(), &["dba"], &[(10, &["page"])], Some(15)),
    ]);
    assert_eq!(plan.channels, named(&["dba", "ops"]));
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.after_s, step.channels.clone())).collect();
    assert_eq!(steps, [(600, named(&["leads", "page"])), (1200, named(&["boss"]))]);
    assert_eq!(plan.remind_s, Some(900));
}

/// Follows a plan from minute 0 to minute `until`, each call at its moment; votes come at the minutes given.
fn followed(plan: &Plan, votes: &[i64], until: i64) -> Vec<(i64, String)> {
    let minute = |minute: i64| Timestamp(minute * 60_000_000);
    let (mut calls, mut said) = (Calls::new(plan.clone()), Vec::new());
    for now in 0..=until {
        let silent_since =
            votes.iter().filter(|vote| **vote <= now).max().map_or(minute(0), |at| minute(*at));
        while let Some((_, call)) = calls.next(silent_since).filter(|(moment, _)| *moment <= minute(now)) {
            said.push((
                now,
                match &call {
                    Call::Remind { reminder } => format!("remind {reminder}"),
                    Call::Escalate { step, .. } => format!("step {step}"),
                },
            ));
            calls.made(&call, minute(now));
        }
    }
    said
}

#[test]
fn the_calls_of_a_silent_approval_are_a_table() {
    let of =
        |escalate: &[(u64, &[&str])], remind| planned(&[route(When::default(), &["ops"], escalate, remind)]);
    let two: &[(u64, &[&str])] = &[(10, &["leads"]), (20, &["boss"])];
    for (case, plan, votes, want) in [
        ("no route", Plan::default(), &[][..], &[][..]),
        ("reminders", of(&[], Some(15)), &[], &[(15, "remind 1"), (30, "remind 2"), (45, "remind 3")]),
        ("steps", of(two, None), &[], &[(10, "step 1"), (20, "step 2")]),
        (
            "a step is a reminder too",
            of(two, Some(15)),
            &[],
            &[(10, "step 1"), (20, "step 2"), (35, "remind 1"), (50, "remind 2")],
        ),
        (
            "at the same moment the step",
            of(two, Some(10)),
            &[],
            &[(10, "step 1"), (20, "step 2"), (30, "remind 1"), (40, "remind 2"), (50, "remind 3")],
        ),
        (
            "a vote is no silence",
            of(two, Some(15)),
            &[9, 30],
            &[(19, "step 1"), (29, "step 2"), (45, "remind 1")],
        ),
    ] {
        let said = followed(&plan, votes, 50);
        let said: Vec<_> = said.iter().map(|(at, what)| (*at, what.as_str())).collect();
        assert_eq!(said, want, "{case}");
    }
}

#[test]
fn what_was_missed_is_said_once_and_reminders_end() {
    let plan = planned(&[route(When::default(), &[], &[(10, &["leads"]), (20, &["boss"])], Some(5))]);
    let (mut calls, now) = (Calls::new(plan.clone()), Timestamp(120 * 60_000_000));
    let mut made = Vec::new();
    while let Some((_, call)) = calls.next(Timestamp(0)).filter(|(moment, _)| *moment <= now) {
        calls.made(&call, now);
        made.push(call);
    }
    // A reminder for all the time that nobody was there, and every step.
    let steps = made.iter().filter(|call| matches!(call, Call::Escalate { .. })).count();
    assert_eq!((steps, made.len()), (2, 3), "{made:?}");
    let reminders = followed(&plan, &[], 10_000);
    let reminders = reminders.iter().filter(|(_, what)| what.starts_with("remind")).count();
    assert_eq!(reminders, usize::try_from(MOST_REMINDERS).unwrap());
}

#[test]
fn a_channel_waits_only_where_nothing_leads_there_that_does_not() {
    let rest = |zone: &str| Rest { zone: zone.into(), every_s: Some(3600), ..Rest::default() };
    let low = |channels: &[&str], steps: &[(u64, &[&str])], zone| Route {
        urgency: Urgency::Low(rest(zone)),
        ..route(When::default(), channels, steps, None)
    };
    let calm = low(&["ops", "mail"], &[(10, &["leads"])], "UTC");
    let at_once = route(When::default(), &["ops"], &[], None);
    let urgent = Route { urgency: Urgency::High, ..route(When::default(), &[], &[], Some(5)) };
    let elsewhere = route(When { classes: [Class::Read].into(), ..When::default() }, &["mail"], &[], None);
    let waits =
        |routes: &[Route]| -> Vec<String> { planned(routes).rests.keys().map(ToString::to_string).collect() };
    assert_eq!(waits(std::slice::from_ref(&calm)), ["leads", "mail", "ops"]);
    assert_eq!(waits(&[calm.clone(), at_once, elsewhere]), ["leads", "mail"]);
    assert!(waits(&[calm.clone(), urgent]).is_empty());
    let two = planned(&[calm, low(&["mail"], &[], "Asia/Tokyo")]);
    assert_eq!(two.rests.get(&"mail".parse().unwrap()).map(Vec::len), Some(2));
}

#[test]
fn what_waits_is_told_when_half_of_its_time_is_over() {
    let minute = |minute: i64| Timestamp(minute * 60_000_000);
    let rest = Rest { zone: "UTC".into(), at: [600].into(), ..Rest::default() };
    let calm =
        Route { urgency: Urgency::Low(rest), ..route(When::default(), &["ops"], &[(10, &["leads"])], None) };
    let plan = planned(&[calm]);
    for (asked, deadline, told) in [
        (0, 1440, Some(600)),
        (0, 60, Some(30)),
        (590, 640, Some(600)),
        (600, 640, None),
        // Asked anew when less is left than that.
        (0, 2, Some(1)),
    ] {
        let release = plan.release("ops", minute(asked), (minute(asked), minute(deadline)));
        assert_eq!(release, told.map(minute), "{asked} {deadline}");
    }
    assert_eq!(plan.release("ops", minute(40), (minute(0), minute(60))), None, "the half is over");
    assert_eq!(plan.release("siem", minute(0), (minute(0), minute(60))), None, "nobody said it can wait");
    let mut calls = Calls::new(plan);
    assert_eq!(calls.next(minute(0)).map(|(moment, _)| moment), Some(minute(10)));
    calls.heard_from = Some(minute(30));
    assert_eq!(
        calls.next(minute(0)).map(|(moment, _)| moment),
        Some(minute(40)),
        "silence begins when they hear"
    );
}
