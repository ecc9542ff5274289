//! `kill -9` at seeded random moments of the story: agents ask, people vote, the gateway dies and is started again on
//! the same folder. Afterwards the cloud, which outlives every gateway, is compared with the record.
//!
//! `COUNTERSIGN_SOAK_RUNS` says how often; 25 times unless said.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod agent;
mod midway;
mod record;
mod reviewer;

use agent::{Ask, Ended, Pursuit};
use countersign_e2e::{
    Gateway,
    ledger::Entry,
    night::{self, Night},
    seed::Seed,
};
use reviewer::Reviewer;
use std::time::Duration;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

const USUAL_RUNS: u64 = 25;
/// Runs that share one folder, so that a log of many lives is verified too.
const RUNS_OF_A_NIGHT: u64 = 5;
/// The story of one run takes about this long when nobody kills it.
const KILLED_WITHIN: Duration = Duration::from_millis(350);
/// A gateway that starts is killed within this time, now and then.
const KILLED_AT_START_WITHIN: Duration = Duration::from_millis(150);
/// How long a run may take to come to its end.
const PATIENCE: Duration = Duration::from_mins(4);
/// How long the last entries of a run may take after everybody has their answer.
const SETTLED_WITHIN: Duration = Duration::from_mins(3);

/// What everybody is told about the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It runs, and will be killed.
    First,
    /// It is dead, or just came back and is looked at.
    Down,
    /// It runs again, and stays.
    Second,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_runs_unapproved_or_twice_and_the_log_verifies() {
    let runs = std::env::var("COUNTERSIGN_SOAK_RUNS").map_or(USUAL_RUNS, |text| text.parse().unwrap());
    let mut run = 0;
    for night in 0.. {
        if run >= runs {
            break;
        }
        let mut stage = Night::open(&[]).await.unwrap();
        for _ in 0..RUNS_OF_A_NIGHT.min(runs - run) {
            let seed = Seed::new(run.wrapping_mul(7919) + 1);
            let asks = Ask::of_a_run(night, run);
            one_run(&mut stage, asks, seed).await.unwrap_or_else(|why| {
                panic!("run {run} (seed {}): {why}\n{}", run.wrapping_mul(7919) + 1, stage.gateway.log())
            });
            run += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_starts_for_the_first_time_it_starts_again() {
    let mut seed = Seed::new(2);
    let cloud = countersign_demo::Cloud::start(night::CREDENTIAL).await.unwrap();
    let upstream = cloud.url();
    let mut gateway =
        Gateway::start_written(|folder, ports| night::write(folder, &upstream, ports), &[]).await.unwrap();
    for moment in 0..12 {
        gateway.kill().unwrap();
        for folder in ["data", "mark"] {
            std::fs::remove_dir_all(gateway.folder().join(folder)).unwrap_or_default();
        }
        gateway.start_again().unwrap();
        sleep(seed.shorter_than(KILLED_AT_START_WITHIN)).await;
        gateway.kill().unwrap();
        gateway.restart().await.unwrap_or_else(|error| panic!("kill {moment}: {error}"));
        night::verified_entries(&gateway).await.unwrap();
    }
}

/// Plays the story once, killed and continued; says what does not hold.
async fn one_run(night: &mut Night, asks: Vec<Ask>, mut seed: Seed) -> Result<(), String> {
    let Night { cloud, gateway, ana, ben, token, .. } = night;
    let (tell, phase) = watch::channel(Phase::First);
    let mut pursuits = JoinSet::new();
    for ask in &asks {
        let pursuit = Pursuit::new(gateway.url.clone(), token.clone(), ask.clone(), phase.clone());
        pursuits.spawn(pursuit.pursue());
    }
    let voices = (seed.number(), seed.number());
    let mut ana = Reviewer::new(ana, voices.0, phase.clone());
    let mut ben = Reviewer::new(ben, voices.1, phase.clone());
    let control = async {
        sleep(seed.shorter_than(KILLED_WITHIN)).await;
        // Whoever loses the connection now waits until it is said that the gateway is back.
        tell.send_replace(Phase::Down);
        gateway.kill().map_err(|error| error.to_string())?;
        if seed.below(3) == 0 {
            gateway.start_again().map_err(|error| error.to_string())?;
            sleep(seed.shorter_than(KILLED_AT_START_WITHIN)).await;
            gateway.kill().map_err(|error| error.to_string())?;
        }
        // Before anything is continued: whatever happened until now must be on record already.
        let happened = cloud.effects();
        gateway.restart().await.map_err(|error| error.to_string())?;
        let entries = night::verified_entries(gateway).await.map_err(|error| error.to_string())?;
        record::compare(&asks, &happened, &entries, &cloud.effects())?;
        tell.send_replace(Phase::Second);
        let mut ends = Vec::new();
        while let Some(end) = pursuits.join_next().await {
            ends.push(end.map_err(|error| error.to_string())??);
        }
        Ok::<Vec<Ended>, String>(ends)
    };
    let ends = tokio::select! {
        ends = timeout(PATIENCE, control) => ends.map_err(|_| "it does not come to its end".to_owned())??,
        () = ana.vote() => return Err("Ana went home".into()),
        () = ben.vote() => return Err("Ben went home".into()),
    };
    let entries = settled(gateway).await?;
    let happened = cloud.effects();
    record::compare(&asks, &happened, &entries, &happened)?;
    record::ends(&ends, &happened)
}

/// Waits until everything has its end; the entries then. The answer may reach an agent before its end is on record.
async fn settled(gateway: &Gateway) -> Result<Vec<Entry>, String> {
    let begun = Instant::now();
    loop {
        let left = nothing_is_left(gateway).await;
        let entries = night::verified_entries(gateway).await.map_err(|error| error.to_string())?;
        let left = left.and_then(|()| record::nothing_is_open(&entries));
        match left {
            Ok(()) => return Ok(entries),
            Err(why) if begun.elapsed() > SETTLED_WITHIN => return Err(why),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Nothing waits, is granted or runs any more.
async fn nothing_is_left(gateway: &Gateway) -> Result<(), String> {
    for state in ["pending", "granted", "executing"] {
        let left = gateway.approvals(state).await.map_err(|error| error.to_string())?;
        if !left.is_empty() {
            return Err(format!("still {state}: {left:#?}"));
        }
    }
    Ok(())
}
