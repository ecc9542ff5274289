//! Keeps groups as the schedules of others say who is on call. What a schedule said last holds for a while where it does not
//! answer; then nobody is on call, until it does. What a schedule said that is not configured any more ends with the start.

use crate::failure::Failure;
use countersign_identity::Directory;
use countersign_reviewer::{Again, Roster};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};

/// One schedule, followed.
pub(super) struct Following {
    directory: Arc<Directory>,
    roster: Roster,
    /// Up to when its last answer holds; `None`: it has none.
    holds_until: Option<Instant>,
    /// What went wrong last, so that it is said once.
    trouble: Option<String>,
    /// How many addresses were nobody's here, so that this is said once.
    strangers: usize,
    next: Instant,
}

/// Asks every schedule once, all at the same time: what was so before the start may be long over. Whom a schedule put into
/// a group that none keeps now is out of it.
pub(super) async fn open(
    directory: &Arc<Directory>,
    rosters: Vec<Roster>,
) -> Result<Vec<Following>, Failure> {
    let ended = directory.end_rosters(&directory.settings().on_call).await.map_err(|error| {
        Failure::of(
            "those who were on call by a schedule that is gone cannot be taken out of their groups",
            &error,
        )
    })?;
    if ended > 0 {
        tracing::info!(ended, "some are not on call any more: their schedule is not configured");
    }
    let mut looks = JoinSet::new();
    for roster in rosters {
        let directory = Arc::clone(directory);
        looks.spawn(async move {
            let next = Instant::now();
            let mut following =
                Following { directory, roster, holds_until: None, trouble: None, strangers: 0, next };
            following.look().await;
            following
        });
    }
    Ok(looks.join_all().await)
}

impl Following {
    /// Follows it until the task is dropped.
    pub(super) async fn run(mut self) {
        loop {
            if let Some(end) = self.holds_until.filter(|end| *end < self.next) {
                tokio::time::sleep_until(end).await;
                self.holds_until = None;
                self.take(&BTreeSet::new()).await;
            }
            tokio::time::sleep_until(self.next).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let mut pause = self.roster.every;
        match self.roster.look().await {
            Ok(addresses) => {
                self.holds_until = Some(Instant::now() + self.roster.holds_for);
                if self.trouble.take().is_some() {
                    tracing::info!(schedule = self.roster.name, "the schedule says again who is on call");
                }
                self.take(&addresses).await;
            }
            Err(failed) => {
                if let Again::After(wish) = failed.again {
                    pause = pause.max(wish);
                }
                if self.trouble.as_ref() != Some(&failed.why) {
                    let schedule = &self.roster.name;
                    tracing::warn!(schedule, why = failed.why, "who is on call cannot be read");
                    self.trouble = Some(failed.why);
                }
                if self.holds_until.is_none() {
                    self.take(&BTreeSet::new()).await;
                }
            }
        }
        self.next = Instant::now() + pause.max(Duration::from_secs(1));
    }

    async fn take(&mut self, addresses: &BTreeSet<String>) {
        let (schedule, group) = (&self.roster.name, &self.roster.group);
        match self.directory.follow_roster(schedule, group, addresses).await {
            Ok(followed) => {
                if followed.strangers > 0 && followed.strangers != self.strangers {
                    let strangers = followed.strangers;
                    tracing::warn!(schedule, strangers, "some who are on call are nobody here");
                }
                self.strangers = followed.strangers;
            }
            // It is tried again with the next look.
            Err(error) => tracing::error!(%error, schedule, "who is on call cannot be kept"),
        }
    }
}
