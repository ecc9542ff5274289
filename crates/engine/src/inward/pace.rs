//! How much one user of a channel may say at once: memory is bounded, and nobody spends another's share.

use countersign_core::{ChannelName, Digest, Timestamp};
use parking_lot::Mutex;
use std::{collections::HashMap, time::Duration};

/// Words a user may have at once.
const BURST: u32 = 30;
/// One more is given each time so much passes.
const REFILL: Duration = Duration::from_secs(2);
/// Users remembered; those that have their whole share are forgotten.
const USERS: usize = 4096;

/// What each user has said lately.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<HashMap<Digest, Spent>>);

#[derive(Clone, Copy, Debug)]
struct Spent {
    words: u32,
    since: Timestamp,
}

impl Spent {
    fn left(&self, now: Timestamp) -> u32 {
        let given = now.since(self.since).as_micros() / REFILL.as_micros();
        self.words.saturating_sub(u32::try_from(given).unwrap_or(u32::MAX))
    }
}

impl Pace {
    /// Takes one word from a user's share; the error is how long to wait.
    pub(super) fn take(&self, channel: &ChannelName, user: &str, now: Timestamp) -> Result<(), Duration> {
        let key = Digest::of_parts("countersign/pace/v1", &[channel.as_str().as_bytes(), user.as_bytes()]);
        let mut users = self.0.lock();
        let spent = users.get(&key).map_or(0, |spent| spent.left(now));
        if spent >= BURST {
            return Err(REFILL);
        }
        if users.len() >= USERS && !users.contains_key(&key) {
            users.retain(|_, spent| spent.left(now) > 0);
            if users.len() >= USERS {
                return Err(REFILL);
            }
        }
        users.insert(key, Spent { words: spent + 1, since: now });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_too_much_waits_and_nobody_else() {
        let (pace, team) = (Pace::default(), ChannelName::new("team").unwrap());
        let at = |second: i64| Timestamp(second * 1_000_000);
        for _ in 0..BURST {
            assert_eq!(pace.take(&team, "U1", at(0)), Ok(()));
        }
        assert_eq!(pace.take(&team, "U1", at(1)), Err(REFILL));
        assert_eq!(pace.take(&team, "U2", at(1)), Ok(()));
        assert_eq!(pace.take(&ChannelName::new("other").unwrap(), "U1", at(1)), Ok(()));
        assert_eq!(pace.take(&team, "U1", at(2)), Ok(()));
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let (pace, team) = (Pace::default(), ChannelName::new("team").unwrap());
        let taken = (0..10_000).filter(|user| pace.take(&team, &user.to_string(), Timestamp(0)).is_ok());
        assert_eq!(taken.count(), USERS);
        assert_eq!(pace.take(&team, "late", Timestamp(60_000_000)), Ok(()));
    }
}
