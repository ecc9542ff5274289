//! Ballots handed out and not used yet: each is filled in once, as it was handed out, in time.

use countersign_core::{Timestamp, statement::Statement};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Ballots handed out and not used yet, by their nonces.
#[derive(Debug, Default)]
pub(crate) struct Nonces(Mutex<HashMap<String, (Statement, Timestamp)>>);

/// Ballots kept at once.
const BALLOTS: usize = 100_000;
/// Ballots one person can have at once; the oldest go first. So nobody takes up the room of the others.
const BALLOTS_EACH: usize = 100;

impl Nonces {
    pub(super) fn hand_out(&self, statement: &Statement, now: Timestamp) {
        let mut handed = self.0.lock();
        if handed.len() >= BALLOTS {
            handed.retain(|_, (_, expires)| *expires > now);
        }
        let mine = || handed.values().filter(|(known, _)| known.voter == statement.voter);
        if mine().count() >= BALLOTS_EACH {
            let oldest = mine().min_by_key(|(_, expires)| *expires).map(|(known, _)| known.nonce.clone());
            oldest.and_then(|nonce| handed.remove(&nonce));
        }
        if handed.len() < BALLOTS {
            handed.insert(statement.nonce.clone(), (statement.clone(), statement.expires));
        }
    }

    /// Whether this very statement was handed out, is fresh, and was not used before.
    pub(super) fn use_up(&self, statement: &Statement, now: Timestamp) -> bool {
        let mut handed = self.0.lock();
        let known = handed.get(&statement.nonce).is_some_and(|(issued, _)| issued == statement);
        known && handed.remove(&statement.nonce).is_some_and(|(_, expires)| now < expires)
    }
}
