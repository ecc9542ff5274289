//! A seed drives one gateway: each step asks, votes, rejects, revokes, withdraws, lets time pass, loses the target or
//! kills the process. After each, and in the end by the offline verifier, the promises are checked.

use crate::stage::{LONG, Stage, authorized, olga, person};
use countersign_core::{ApprovalId, Class, PersonId, approval::Taker};
use countersign_engine::{Reply, settle};
use countersign_ledger::event::Actor;
use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

/// The `SplitMix64` generator: small, seeded, the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

const STEPS: usize = 60;

async fn play(seed: u64) {
    let mut dice = Dice(seed);
    let mut stage = Stage::new().await;
    let mut held: Vec<ApprovalId> = Vec::new();
    for _ in 0..STEPS {
        let class = if dice.below(2) == 0 { Class::Export } else { Class::Configure };
        let some = (!held.is_empty()).then(|| held[usize::try_from(dice.below(held.len() as u64)).unwrap()]);
        let who: PersonId = if dice.below(6) == 0 { olga() } else { person(u128::from(1 + dice.below(5))) };
        match (dice.below(16), some) {
            (0..=4, _) | (_, None) => {
                let body = dice.below(5).to_string();
                if let Reply::Pending(ticket) = stage.ask(class, &body, Duration::ZERO).await.unwrap() {
                    held.push(ticket.approval);
                }
            }
            (5..=9, Some(id)) => {
                let voted = stage.approve(who, id).await;
                assert!(voted.is_err() || who != olga(), "the owner voted");
            }
            (10, Some(id)) => drop(stage.reject(who, id, "no").await),
            (11, Some(id)) => drop(settle::revoke(&stage.gate, id, Taker::Operator, "no").await.unwrap()),
            (12, Some(id)) => {
                settle::withdraw(&stage.gate, &Stage::requester(), Actor::Gateway, id)
                    .await
                    .unwrap()
                    .unwrap()
                    .ok();
            }
            (13, _) => stage.clock.pass(Duration::from_mins(dice.below(20))),
            (14, _) => {
                stage.cloud.offline.store(usize::from(dice.below(2) == 0), Ordering::SeqCst);
                stage.cloud.breaks.store(usize::from(dice.below(2) == 0), Ordering::SeqCst);
            }
            _ => stage = stage.crash().await,
        }
        let (ran, entries) = (stage.cloud.count(), stage.entries().await);
        assert!(ran <= authorized(&entries), "seed {seed}: {ran} effects");
    }
    // What was granted with a handle still runs or lapses; then nothing may be half done.
    for id in held {
        let deadline = Duration::from_hours(2);
        if stage.state(id).await == "pending" {
            stage.clock.pass(deadline);
        }
        for state in ["granted", "executing"] {
            if stage.state(id).await == state {
                settled(&stage, id).await;
            }
        }
    }
    let mut runs: BTreeMap<_, usize> = BTreeMap::new();
    for entry in stage.entries().await {
        if entry.event.kind() == "execution.result" {
            *runs.entry(entry.action).or_default() += 1;
        }
    }
    assert!(runs.values().all(|count| *count == 1), "seed {seed}: an action ran twice");
    stage.verify();
}

async fn settled(stage: &Stage, id: ApprovalId) {
    let mut changes = stage.gate.changes();
    let over = async {
        while matches!(stage.state(id).await.as_str(), "granted" | "executing") {
            stage.clock.pass(Duration::from_mins(1));
            let _ = tokio::time::timeout(Duration::from_millis(100), changes.recv()).await;
        }
    };
    assert!(tokio::time::timeout(LONG, over).await.is_ok(), "{id} hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_seed_breaks_a_promise() {
    for seed in 0..16 {
        play(seed).await;
    }
}
