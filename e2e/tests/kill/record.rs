//! What happened at the cloud against what the record says: every effect authorised, by enough people, once.

use crate::agent::{Ask, Ended};
use countersign_demo::cloud::Effect;
use countersign_e2e::ledger::Entry;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Compares with the entries, request by request, what had happened before they were read, and what had afterwards.
pub(crate) fn compare(
    asks: &[Ask],
    before: &[Effect],
    entries: &[Entry],
    after: &[Effect],
) -> Result<(), String> {
    let mut actions: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| !entry.action.is_empty()) {
        actions.entry(&entry.action).or_default().push(entry);
    }
    for ask in asks {
        let own: Vec<&Vec<&Entry>> = actions.values().filter(|action| speaks_of(action, &ask.tag)).collect();
        let (mut most, mut least) = (0, 0);
        for action in own {
            let attempts = attempts(action, ask)?;
            most += attempts.may_have_run;
            least += attempts.ran;
        }
        let count = |effects: &[Effect]| effects.iter().filter(|it| it.detail.contains(&ask.tag)).count();
        let (happened_before, happened) = (count(before), count(after));
        if happened_before > most {
            return Err(format!("{}: happened {happened_before} times, authorised {most} times", ask.tag));
        }
        if happened < least {
            return Err(format!("{}: on record as done {least} times, happened {happened} times", ask.tag));
        }
    }
    Ok(())
}

/// Every execution that was authorised has its end on record: a result, taken back before it was sent, or unknown.
pub(crate) fn nothing_is_open(entries: &[Entry]) -> Result<(), String> {
    let mut open: BTreeMap<&str, i32> = BTreeMap::new();
    for entry in entries {
        let change = match entry.kind.as_str() {
            "execution.authorized" => 1,
            "execution.result" | "execution.released" | "execution.outcome_unknown" => -1,
            _ => 0,
        };
        *open.entry(&entry.action).or_default() += change;
    }
    match open.iter().find(|(_, open)| **open != 0) {
        Some((action, open)) => Err(format!("{action}: {open} executions without an end on record")),
        None => Ok(()),
    }
}

/// What an agent was told about its end agrees with the cloud.
pub(crate) fn ends(ends: &[Ended], effects: &[Effect]) -> Result<(), String> {
    for end in ends {
        let happened = effects.iter().filter(|effect| effect.detail.contains(&end.tag)).count();
        match (end.status, end.code.as_str()) {
            (200..300, _) if happened == 0 => return Err(format!("{end:?}, and nothing happened")),
            (200..300, _) | (_, "rejected" | "revoked" | "spent" | "unknown" | "outcome-unknown") => {}
            _ => return Err(format!("an answer nobody expects: {end:?}")),
        }
    }
    Ok(())
}

fn speaks_of(action: &[&Entry], tag: &str) -> bool {
    action.iter().any(|entry| entry.disclosed.get("request_head").is_some_and(|head| head.contains(tag)))
}

/// How often one action may have run, and how often it did for certain.
#[derive(Debug, Default)]
struct Attempts {
    may_have_run: usize,
    ran: usize,
}

fn attempts(action: &[&Entry], ask: &Ask) -> Result<Attempts, String> {
    let mut attempts = Attempts::default();
    let mut quorum = 0;
    let mut excluded = BTreeSet::new();
    let mut voices = BTreeSet::new();
    for entry in action {
        let person = entry.text("/statement/voter").to_owned();
        match entry.kind.as_str() {
            "approval.requested" | "approval.round_opened" => {
                let gates = entry.data.pointer("/round/gates").and_then(Value::as_array);
                let quorums = gates.into_iter().flatten().filter_map(|gate| gate.get("quorum")?.as_u64());
                quorum = usize::try_from(quorums.max().unwrap_or(0)).unwrap_or(usize::MAX);
                let out = entry.data.pointer("/round/excluded").and_then(Value::as_array);
                excluded.extend(out.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
                if quorum != ask.quorum {
                    return Err(format!("{}: {quorum} people asked instead of {}", ask.tag, ask.quorum));
                }
            }
            "approval.voted" if entry.text("/statement/decision") == "approve" => {
                if excluded.contains(&person) {
                    return Err(format!("{}: {person} voted on the requester's side", ask.tag));
                }
                voices.insert(person);
            }
            "execution.authorized" => {
                if voices.len() < ask.quorum.max(quorum) {
                    return Err(format!("{}: authorised with {} of {}", ask.tag, voices.len(), ask.quorum));
                }
                attempts.may_have_run += 1;
            }
            "execution.released" => attempts.may_have_run -= 1,
            "execution.result" if entry.text("/outcome") == "done" => attempts.ran += 1,
            "approval.closed" if attempts.may_have_run > 0 => {
                return Err(format!("{}: closed as not run after it was authorised", ask.tag));
            }
            _ => {}
        }
    }
    if attempts.may_have_run > 1 {
        return Err(format!("{}: one approval authorised {} runs", ask.tag, attempts.may_have_run));
    }
    Ok(attempts)
}
